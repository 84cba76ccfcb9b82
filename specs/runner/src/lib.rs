//! Scenarios: a script states the frames sent to a binding and the frames that it must send, in one
//! total order, under a virtual clock.
//!
//! - [`Script::parse`] parses a file; errors have line and column;
//! - [`play`] runs the script against the real binding, created from a real config;
//! - [`bless`] rewrites the reactions of a script, on request only;
//! - [`chart`] prints a script as a sequence chart.
//!
//! Scripts are exhaustive: every frame that the binding sends must be in the script, and no stream,
//! timer or message waiting for credit may remain at the end.
#![forbid(unsafe_code)]

mod bless;
mod captures;
mod chart;
mod compare;
mod difference;
mod event;
mod factory;
pub mod fixtures;
mod json;
mod lexer;
mod player;
mod print;
#[cfg(test)]
mod round_trip;
mod script;
mod statement;
mod value;

pub use bless::bless;
pub use captures::{Captures, Unbound};
pub use chart::chart;
pub use compare::fields as fields_agree;
pub use difference::Difference;
pub use event::Event;
pub use factory::Factory;
pub use player::{Failure, Mode, Played, play};
pub use script::{Script, ScriptError, Step};
pub use statement::{Payload, Statement};
pub use value::Pattern;
