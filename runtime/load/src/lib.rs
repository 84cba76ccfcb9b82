//! `tidegate bench`: measures an MCP endpoint, a baseline (the floor) and other servers, round by round.
//!
//! A call cannot be faster than its HTTP exchange plus its MQTT exchange. The floor consists of exactly
//! these two. Ratios to the floor are computed within a round, under the same machine conditions, and
//! the median of the rounds is reported. What a proxied call costs is measured against its upstream, called
//! without anything between them; what a request of a machine costs, against a bridge that does nothing else.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

mod broker;
mod caller;
mod certificates;
mod child;
mod device;
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
mod socket;
mod statistics;
mod stdio;
mod target;
mod targets;
mod template;
mod upstream;
mod wire;

use std::io;

use thiserror::Error;

pub use floor::{Floor, run_floor};
pub use plan::{
    CONCURRENCY_MAX, Cell, InvalidSetting, Nagle, Operation, PAYLOAD_MAX, Settings, Size,
};
pub use play::{Outcome, run};
pub use socket::BrokerAddress;
pub use targets::{Peer, Url, read_targets};
pub use upstream::{Upstream, run_upstream};

/// A benchmark run failed.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A system call failed.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The broker is not usable.
    #[error("broker {0}: {1}")]
    Broker(String, String),
    /// The floor cannot be started.
    #[error("floor: {0}")]
    Floor(String),
    /// A target does not respond.
    #[error("{name} does not respond: {why}")]
    Target {
        /// Name of the target.
        name: String,
        /// The reason.
        why: String,
    },
    /// Invalid settings.
    #[error(transparent)]
    Settings(#[from] InvalidSetting),
    /// Results cannot be written.
    #[error("cannot write the results: {0}")]
    Report(String),
}
