//! The config: YAML in, a checked model out, or every fault in it at once, each with its place.
//!
//! This crate knows no binding. The command hands it a [`Registry`] that tells, for each type and
//! kind, what it accepts, what it produces and what options it takes; [`load`] holds the text
//! against that. The same registry gives the config's JSON Schema.
#![forbid(unsafe_code)]

mod check;
mod decode;
mod environment;
mod fault;
mod load;
mod locate;
mod model;
mod registry;
mod schema;

pub use fault::{Fault, Faults};
pub use load::{LoadError, load, read};
pub use model::{Binding, Config, Route};
pub use registry::{Descriptor, Onward, Registry};
pub use schema::schema;
pub use tidegate_streams::Protocol;
