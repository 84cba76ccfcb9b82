//! The config: YAML in, a checked model out, or every fault in it at once, each with its place.
//!
//! This crate knows no binding and no engine. The command hands it a [`Registry`] of [`Descriptor`]s,
//! one for each kind: which streams it accepts, its exits, its options, the conditions of its routes,
//! and the factory that makes it. [`load`] checks a text against that, [`schema`] is the JSON Schema
//! of it, and a factory is handed a [`Declared`] binding.
#![forbid(unsafe_code)]

mod check;
mod declared;
mod decode;
mod draft;
mod expression;
mod fault;
mod load;
mod locate;
mod model;
mod reference;
mod registry;
mod schema;

pub use declared::{Declared, MakeError};
pub use expression::MissingVariables;
pub use fault::{Fault, Faults};
pub use load::{LoadError, Validated, load, read, validate};
pub use model::{Binding, Config, Exit, Route};
pub use reference::{example, reference};
pub use registry::{Descriptor, Registry};
pub use schema::schema;
pub use tidegate_streams::Protocol;
