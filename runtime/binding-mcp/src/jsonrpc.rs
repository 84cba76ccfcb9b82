//! JSON-RPC 2.0 as MCP uses it: messages read in place and envelopes written, for whoever speaks it on
//! the wire, be it as a server or as a client.
//!
//! [`read`] takes the envelope off one message, [`read_batch`] parts a batch. `params` and results stay
//! slices of what came ([`Params`], [`Outcome`]); around what is sent, the functions of this module write
//! the envelope. Nothing here keeps state, and nothing here knows HTTP.
//!
//! Methods, and which era has them, stand in the vocabulary's table of operations.
//!
//! Bounds: ids of [`ID_MAX`] bytes, names and URIs of [`SUBJECT_MAX`] bytes, batches of
//! [`BATCH_MAX`] messages.

mod batch;
mod error;
mod id;
mod message;
mod params;
mod revision;
mod write;

pub use batch::{BATCH_MAX, is_batch, read_batch};
pub use error::{Error, code};
pub use id::{ID_MAX, Id};
pub use message::{Message, Outcome, Unreadable, is_answered, read};
pub use params::{Meta, Params, SUBJECT_MAX};
pub use revision::{BATCHING, LEGACY, MODERN, supported_versions};
pub use tidegate_streams::mcp::{McpEra as Era, McpMethod as Method, McpSubject as Subject};
pub use write::{begin_notification, begin_response, error_response, request, response};
