//! `mcp_mqtt · proxy`: MQTT topics as MCP tools and resources.
//!
//! Accepts mcp streams and opens mqtt streams towards its single exit. Each accepted stream is one
//! exchange, which owns the mqtt stream that it opens:
//!
//! | mcp | mqtt |
//! |---|---|
//! | `lifecycle` | a session stream, opened beside the first operation of the session |
//! | `toolsCall publish` | a publish stream with one message |
//! | `toolsCall receive` | a subscribe stream until the limit of messages, bytes or time |
//! | `resourcesRead` | a subscribe stream until the first message |
//! | `resourcesSubscribe` | a subscribe stream for as long; a FLUSH for each message |
//! | `toolsList`, `resourcesList`, `resourcesTemplatesList` | nothing: known from the options |
//!
//! What it promises: no mqtt stream is opened for a topic that the options do not allow, or for which
//! a broker would close the connection; of a shared subscription, no message is acknowledged that was
//! not given to the caller; a publish is answered as done only when the mqtt stream said so, and
//! otherwise by a sentence that says whether the message may have been delivered; a payload without
//! JSON escapes goes to the mqtt stream as slices of the call's own buffers; every operation ends by
//! its deadline; what an exchange holds in memory has a limit.
#![forbid(unsafe_code)]

mod arguments;
mod call;
mod exchange;
mod json_text;
mod lists;
mod message;
mod operation;
mod options;
mod policy;
mod proxy;
mod publish;
mod read;
mod receive;
mod result;
mod session;
mod settings;
mod subscribe;
#[cfg(test)]
mod tests;
mod tools;
mod uri;
mod work;

pub use operation::CallCompleted;
pub use options::{Options, TopicPattern};
pub use proxy::McpMqtt;
