//! The config: parses YAML into a checked model, or reports every fault at once with line and column.
//!
//! This crate depends on no binding and not on the engine. The command passes a [`Registry`] of
//! [`Descriptor`]s, one for each kind: the streams it accepts, its exits, its options, the conditions of
//! its routes, and its factory. [`load`] checks a text against the registry, [`schema`] generates the
//! JSON Schema, and a factory receives a [`Declared`] binding.
#![forbid(unsafe_code)]

mod check;
mod declared;
mod decode;
mod draft;
mod exporters;
mod expression;
mod fault;
mod load;
mod locate;
mod model;
mod reference;
mod registry;
mod schema;

pub use declared::{Declared, MakeError};
pub use exporters::{Exporter, ExporterType};
pub use expression::MissingVariables;
pub use fault::{Fault, Faults};
pub use load::{LoadError, Validated, load, read, validate};
pub use model::{Binding, Config, Exit, Route};
pub use reference::{example, reference};
pub use registry::{Descriptor, Registry};
pub use schema::schema;
pub use tidegate_streams::Protocol;
