//! JSON-RPC 2.0 as used by MCP: parses messages in place and writes envelopes, for servers and
//! clients.
//!
//! [`read`] parses the envelope of a message, [`read_batch`] splits a batch. `params` and results
//! remain slices of the received data ([`Params`], [`Outcome`]); the write functions add envelopes
//! around them. The crate is stateless and independent of the transport.
//!
//! What a server of MCP writes around what an mcp stream carries is here too, since several bindings are servers:
//! the members of results ([`additions`]), the answer to `server/discover` ([`discovered`]), notifications
//! ([`notification`]), and the error of a refusal ([`code_of`]). So is what a `subscriptions/listen` asks for
//! ([`Wanted`]).
//!
//! Methods and their eras are in the operations table of the vocabulary.
//!
//! Bounds: ids of [`ID_MAX`] bytes, names and URIs of [`SUBJECT_MAX`] bytes, cursors of
//! [`CURSOR_MAX`] bytes, batches of
//! [`BATCH_MAX`] messages.
#![forbid(unsafe_code)]

mod batch;
mod discover;
mod error;
mod id;
mod listen;
mod message;
pub mod notification;
mod params;
mod refusal;
mod result;
mod revision;
mod write;

pub use batch::{BATCH_MAX, is_batch, read_batch};
pub use discover::{discovered, push_capabilities};
pub use error::{Error, code};
pub use id::{ID_MAX, Id};
pub use listen::{Wanted, WantedLimits};
pub use message::{Message, Outcome, Unreadable, is_answered, read};
pub use params::{CURSOR_MAX, Meta, Params, SUBJECT_MAX};
pub use refusal::code_of;
pub use result::{additions, push_server_info};
pub use revision::{BATCHING, LEGACY, MODERN, supported_versions};
pub use tidegate_streams::mcp::{McpEra as Era, McpMethod as Method, McpSubject as Subject};
pub use write::{begin_notification, begin_response, error_response, request, response};
