//! `mcp_device · proxy`: devices behind MQTT topics as MCP tools.
//!
//! Accepts mcp streams and opens mqtt streams to its single exit. One subscribe stream feeds a cache of
//! the devices' last values, and another one those of devices that announce themselves; each accepted stream is one exchange, which owns the mqtt stream that it
//! opens:
//!
//! | mcp | mqtt |
//! |---|---|
//! | `lifecycle`, lists, `resourcesRead` | none: options and cache have the result |
//! | `toolsCall list_devices` | none: the cache has the result |
//! | `toolsCall get_device_status` | none; without a fresh value a publish stream that asks the device, or a session stream that tells whether the broker can be reached |
//! | `toolsCall control_device` and typed tools | a publish stream with one message, after a CHALLENGE to the caller if a person has to approve it; the cache's stream brings the state that confirms it |
//! | `toolsCall subscribe_sensor` | a session stream that tells whether the broker can be reached |
//! | `resourcesSubscribe` | none: one FLUSH for each message of the device |
//!
//! Guarantees:
//! - a message costs one look-up and one copy of its payload, which is not parsed before somebody asks, unless it may
//!   say nothing about some values: these keep the message they are read from;
//! - devices and cached bytes are bounded;
//! - a command that is refused never reaches the exit, and a command is sent once;
//! - a command that requires approval is sent as a person has seen it, and checked again after the answer;
//! - a state from before a command, or a retained one, never confirms it;
//! - a repeated call with the same `requestId` is not run twice within a minute;
//! - what a caller may not use is absent from its lists, and refused like what does not exist;
//! - every operation ends by its deadline.
#![forbid(unsafe_code)]

mod address;
mod announcing;
mod approve;
mod begin;
mod calls;
mod commands;
mod control;
mod declared;
mod declared_rules;
mod entry;
mod exchange;
mod explain;
mod feed;
mod list_devices;
mod lowering;
mod model;
mod operation;
mod options;
mod params;
mod proxy;
mod publication;
mod question;
mod reading;
mod recency;
mod registry;
mod report;
mod requests;
mod resources;
mod result;
mod rules;
mod schema;
mod sensor;
mod sensors;
mod slot;
mod state;
mod status;
mod target;
#[cfg(test)]
mod tests;
mod tools;
mod typed;
mod view;
mod visible;

pub use address::{Address, Parts, filled, filter};
pub use explain::{Explainer, Explanation};
pub use operation::CallCompleted;
pub use options::{
    CommandOptions, ConfirmOptions, DeclaredCommandOptions, DeclaredConfirmOptions,
    DeclaredOptions, DeviceOptions, FormatOption, InterlockOptions, LimitOptions, MatchOptions,
    OnlineOptions, Options, PropertyOptions, RequestOptions, ToolsOption, TypeOptions,
};
pub use proxy::McpDevice;
