//! What a binding declares to the config: its options with bounds and warnings, and the conditions of
//! its routes.
//!
//! Both may say who is permitted ([`Guarded`]), and name the guards that they refer to
//! ([`GuardReference`]), so that the config can check that those exist. Topics that a caller may access
//! are entries of a list ([`TopicEntry`]), compiled once ([`TopicAccess`]).
//!
//! A binding implements [`Options`] for the type of its `options` and, if it has routes, [`Condition`]
//! for an element of `when`, and [`Action`] for `with` if its routes do something themselves. Invalid values are rejected during deserialization ([`Bounded`],
//! [`positive`]), so every deserialized value is valid for its binding.
#![forbid(unsafe_code)]

mod action;
mod bounded;
mod caller_text;
mod condition;
mod glob;
mod guarded;
mod options;
mod positive;
mod required;
mod topic_access;
mod topic_entry;
mod topic_pattern;

pub use action::{Action, ActionFault, ActionRoute};
pub use bounded::Bounded;
pub use caller_text::CallerText;
pub use condition::{Condition, RouteFault, RouteRule};
pub use glob::Glob;
pub use guarded::{GuardReference, Guarded};
pub use options::{OptionConflict, OptionWarning, Options, OwnFile};
pub use positive::{positive, positive_or_absent};
pub use required::Required;
pub use topic_access::{TopicAccess, TopicRequest};
pub use topic_entry::TopicEntry;
pub use topic_pattern::TopicPattern;
