//! `mcp · client`: an MCP server somewhere else, over Streamable HTTP, on the standard input and output
//! of a process, or over MQTT.
//!
//! It turns mcp streams into JSON-RPC messages, which go out as http streams (`http · client`), on a
//! line stream (`stdio · client`), or as publications (`mqtt · client`).
//!
//! - **Either era.** Whether the server is modern (2026-07-28) or legacy is found out with
//!   `server/discover` and remembered; a legacy session is begun where one is needed. Members that belong
//!   to one hop or to one era are removed or added, and nothing else (`params.rs`, `result.rs`).
//! - **No re-encoding.** Params and results are slices of what was received.
//! - **Headers of tools.** What a tool declares with `x-mcp-header` is learnt from lists, and sent for callers that
//!   cannot send it; a tool whose declaration is invalid is taken out of lists (`tool_headers.rs`).
//! - **Own sessions.** Over HTTP, each caller's session is a session with the server; calls without a
//!   session share one for each caller. A session that the server does not know any more is opened again
//!   once, and its subscriptions are requested again. A process is one session for all callers.
//! - **Nothing of the caller goes out but its request**: neither its credentials nor its identity.
//!
//! Bounds: messages (`maxMessageSize`), running operations (`maxRequests`), sessions (`maxSessions`),
//! questions of the server that wait for an answer, and the time of everything that waits.

mod backoff;
mod binding;
mod call;
mod capabilities;
mod events;
mod handshake;
mod http;
mod key;
mod known_tools;
mod link;
mod mqtt;
mod notifications;
mod object;
mod options;
mod params;
mod post;
mod refusal;
mod result;
mod sse;
#[cfg(test)]
mod tests;
mod tool_headers;

pub use binding::{Exit, McpClient};
pub use options::{EraChoice, MqttOptions, Options, Transport};
