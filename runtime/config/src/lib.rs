//! The config: parses YAML into a checked model, or reports every fault at once with line and column.
//!
//! This crate depends on no binding and not on the engine. The command passes a [`Registry`] of
//! [`Descriptor`]s, one for each kind: the streams it accepts, its exits, its options, the conditions of
//! its routes, and its factory; and of [`MemberType`]s, one for each type of guard and of exporter.
//! [`load`] checks a text against the registry, [`schema`] generates the JSON Schema, and a factory
//! receives a [`Declared`] binding.
#![forbid(unsafe_code)]

mod attachment;
mod check;
mod declared;
mod decode;
mod draft;
mod edit;
mod exclusive;
mod exporters;
mod expression;
mod fault;
mod fit;
mod guards;
mod load;
mod locate;
mod model;
mod preset;
mod reference;
mod registry;
mod schema;
mod section;
mod shorthand;

pub use attachment::Attachment;
pub use declared::{Declared, DeclaredRoute, MakeError};
pub use edit::append;
pub use expression::{MissingVariables, read_text};
pub use fault::{Fault, Faults};
pub use fit::{BindingFault, CheckBinding};
pub use load::{LoadError, Validated, expanded, load, read, read_with, validate};
pub use model::{Binding, Config, Exit, Route};
pub use preset::Preset;
pub use reference::{example, reference};
pub use registry::{Descriptor, Registry};
pub use schema::schema;
pub use section::{Member, MemberType};
pub use shorthand::{Chain, Link, Shorthand};
pub use tidegate_streams::Protocol;
