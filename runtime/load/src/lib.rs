//! `tidegate bench`: drives an MCP endpoint, the floor beneath it and its peers, round by round, and
//! tells what each call costs.
//!
//! A call cannot be faster than the HTTP exchange that brings it and the MQTT exchange that it
//! causes. The floor is those two and nothing else; ratios of ours to the floor's are taken within a
//! round, where the machine is in one mood, and the median of the rounds is reported.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod broker;
mod caller;
mod child;
mod drive;
mod fanout;
mod floor;
mod gateway;
mod measure;
mod message;
mod mqtt;
mod pace;
mod plan;
mod play;
mod process;
mod progress;
mod report;
mod statistics;
mod stdio;
mod target;
mod targets;
mod template;
mod wire;

use std::io;

use thiserror::Error;

pub use floor::{Floor, run_floor};
pub use plan::{CONCURRENCY_MAX, Cell, Nagle, Operation, PAYLOAD_MAX, Settings, Size, Unreadable};
pub use play::{Outcome, run};
pub use targets::{Peer, Url, read_targets};

/// A run did not come to its end.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The operating system refused.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The broker does not serve.
    #[error("the broker {0}: {1}")]
    Broker(String, String),
    /// The floor cannot be had.
    #[error("the floor: {0}")]
    Floor(String),
    /// A target does not answer.
    #[error("{name} does not answer: {why}")]
    Target {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// The settings contradict each other.
    #[error(transparent)]
    Settings(#[from] Unreadable),
    /// Results cannot be written.
    #[error("the results cannot be written: {0}")]
    Report(String),
}
