//! `mcp_mqtt · proxy`: MQTT topics as MCP tools and resources.
//!
//! Accepts mcp streams and opens mqtt streams to its single exit. Each accepted stream is one
//! exchange, which owns the mqtt stream that it opens:
//!
//! | mcp | mqtt |
//! |---|---|
//! | `lifecycle` | a session stream, opened with the first operation of the session |
//! | `toolsCall publish` | a publish stream with one message |
//! | `toolsCall receive` | a subscribe stream until the limit on messages, bytes or time is reached |
//! | `toolsCall read` | a subscribe stream until the first message |
//! | `toolsCall query` | a subscribe stream until the answer, and a publish stream with the request |
//! | `toolsCall list_topics` | none |
//! | `toolsCall mqtt_publish`, `mqtt_subscribe`, `mqtt_read`, `mqtt_query` (`compatibility: mcpmqtt`) | as `publish`, `receive`, `read` and `query` |
//! | `resourcesRead` | a subscribe stream until the first message |
//! | `resourcesSubscribe` | a subscribe stream for the whole subscription; one FLUSH per message |
//! | `toolsList`, `resourcesList`, `resourcesTemplatesList` | none: the options determine the result |
//!
//! Guarantees:
//! - no mqtt stream is opened for a topic that the options do not allow the caller, or over which a broker would
//!   close the connection;
//! - a message of a shared subscription is acknowledged only after it was delivered to the caller;
//! - a publish succeeds only after the mqtt stream has confirmed it; otherwise the error says whether
//!   the message may have been delivered;
//! - a payload without JSON escapes is passed to the mqtt stream as slices of the call's own buffers;
//! - every operation ends by its deadline;
//! - the memory of an exchange is bounded.
#![forbid(unsafe_code)]

mod approve;
mod arguments;
mod call;
mod catalog;
mod client_id;
mod complete;
mod decision;
mod exchange;
mod explain;
mod json_text;
mod lists;
mod mcpmqtt;
mod message;
mod messages;
mod operation;
mod options;
mod payload;
mod policy;
mod proxy;
mod publish;
mod published;
mod query;
mod read;
mod receive;
mod refusal;
mod request;
mod result;
mod rules;
mod seen;
mod session;
mod settings;
mod state;
mod subscribe;
mod taken;
#[cfg(test)]
mod tests;
mod tools;
mod trace;
mod tracked_stream;
mod uri;

pub use decision::{AccessPermitted, AccessRefused};
pub use explain::{Explainer, Explanation};
pub use mcpmqtt::Compatibility;
pub use operation::CallCompleted;
pub use options::{
    NamedPattern, Options, PayloadSchema, Permissions, PublishQos, QosRange, ReplyTopic, Topic,
};
pub use proxy::McpMqtt;
pub use tools::Tool;
