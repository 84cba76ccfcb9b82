//! What a binding declares to the config: its options with bounds and warnings, and the conditions of
//! its routes.
//!
//! A binding implements [`Options`] for the type of its `options` and, if it has routes, [`Condition`]
//! for an element of `when`. Invalid values are rejected during deserialization ([`Bounded`],
//! [`positive`]), so every deserialized value is valid for its binding.
#![forbid(unsafe_code)]

mod bounded;
mod condition;
mod options;
mod positive;

pub use bounded::Bounded;
pub use condition::{Condition, RouteFault};
pub use options::{OptionConflict, OptionWarning, Options};
pub use positive::{positive, positive_or_absent};
