//! Scenarios: one file says what goes into a binding and what must come out of it, in one total
//! order, under a virtual clock.
//!
//! - [`Script::parse`] reads a file; its errors name line and column and point at the place;
//! - [`play`] drives the real binding, made from the real config, through the engine;
//! - [`bless`] writes the reactions of a script anew, on request and never by itself;
//! - [`chart`] draws a script.
//!
//! A closed world: every frame that the binding emits must be in the script, and nothing may be
//! left at its end, be it a stream, a timer or a message that waits for credit.
#![forbid(unsafe_code)]

mod bless;
mod captures;
mod chart;
mod compare;
mod difference;
mod factory;
pub mod fixtures;
mod json;
mod lexer;
mod player;
mod print;
#[cfg(test)]
mod round_trip;
mod said;
mod script;
mod value;

pub use bless::bless;
pub use captures::{Captures, Unbound};
pub use chart::chart;
pub use compare::fields as fields_agree;
pub use difference::Difference;
pub use factory::Factory;
pub use player::{Failure, Mode, Played, play};
pub use said::{Payload, Said};
pub use script::{Script, ScriptError, Step};
pub use value::Pattern;
