//! What a binding tells the config about itself: its options, their bounds and warnings, and the
//! conditions of its routes.
//!
//! A binding implements [`Options`] for the type that its `options` are read into, and, where it has
//! routes, [`Condition`] for an element of `when`. A value that a binding could not work with is
//! refused while it is read ([`Bounded`], [`positive`]), so that a binding can be made of any options
//! that were read.
#![forbid(unsafe_code)]

mod bounded;
mod condition;
mod options;
mod positive;

pub use bounded::Bounded;
pub use condition::{Condition, RouteFault};
pub use options::{OptionWarning, Options};
pub use positive::{positive, positive_or_absent};
