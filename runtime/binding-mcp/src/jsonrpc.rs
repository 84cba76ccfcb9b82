//! JSON-RPC 2.0 as used by MCP: parses messages in place and writes envelopes, for servers and
//! clients.
//!
//! [`read`] parses the envelope of a message, [`read_batch`] splits a batch. `params` and results
//! remain slices of the received data ([`Params`], [`Outcome`]); the write functions add envelopes
//! around them. The module is stateless and independent of HTTP.
//!
//! Methods and their eras are in the operations table of the vocabulary.
//!
//! Bounds: ids of [`ID_MAX`] bytes, names and URIs of [`SUBJECT_MAX`] bytes, cursors of
//! [`CURSOR_MAX`] bytes, batches of
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
pub use params::{CURSOR_MAX, Meta, Params, SUBJECT_MAX};
pub use revision::{BATCHING, LEGACY, MODERN, supported_versions};
pub use tidegate_streams::mcp::{McpEra as Era, McpMethod as Method, McpSubject as Subject};
pub use write::{begin_notification, begin_response, error_response, request, response};
