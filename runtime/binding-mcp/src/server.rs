//! `mcp · server`: MCP with clients, over http and line streams, onto mcp streams.
//!
//! Both eras on the same endpoint, told apart by each message:
//!
//! - *modern* (2026-07-28): a request stands alone; who asks, in which version, stands in its
//!   `params._meta` and, over HTTP, in headers that must agree with it;
//! - *legacy* (2025-11-25, 2025-06-18, 2025-03-26): `initialize` begins a session.
//!
//! Behind this binding nobody knows the era, nor JSON-RPC ids, nor HTTP. `params` and `result` pass
//! as slices of what came; the envelope is written around them.
//!
//! # Parts
//!
//! Each part owns its state and calls no other one; it returns events, on which `binding` acts.
//!
//! | part | owns | tells |
//! |---|---|---|
//! | `http` | http streams: requests as they come, responses as they go out | `HttpEvent` |
//! | `line` | line streams, and what their clients have under way | `LineEvent`, `Ended` |
//! | `batch` | batches: messages that wait, answers that are gathered | `Done` |
//! | `request` | streams of requests, and results until they are whole | `RequestEvent` |
//! | `subscription` | streams of subscriptions, and who waits for them | `SubscriptionEvent` |
//! | `capabilities` | what the exit can do, and who waits for that | `CapabilitiesEvent` |
//! | `session` | legacy sessions, and what belongs to each | `SessionEvent`, `Ended` |
//! | `listen` | open `subscriptions/listen` requests | `Acknowledgement`, `Closed` |
//!
//! The other files have no state: `era`, `headers` and `initialize` check what a request says, `errors`
//! knows the code and the status of each refusal, `result` and `payload` write, `events` and `calls` say
//! what operators are told. JSON-RPC itself is [`crate::jsonrpc`].
//!
//! # Bounds
//!
//! `maxMessageSize` for a message, 100 messages and 16 MiB of results of a batch, 256 requests
//! at a time of a session or of standard input (one more is refused), `maxSessions`; 1,000
//! subscriptions of a session or a `listen` with `maxSessionBytes` of URIs, and `maxSubscriptionBytes`
//! of a worker. Updates for a client that does not read are coalesced by URI. Beyond 256 KiB that a
//! client does not read, the sender of its result is held back, its progress is not told, and on a
//! line it is not heard. What is kept for longer than a request is copied out of the buffer it came in.

mod batch;
mod binding;
mod caller;
mod calls;
mod capabilities;
mod challenge;
mod deadline;
mod era;
mod errors;
pub mod events;
mod headers;
mod http;
mod initialize;
mod key;
mod line;
mod listen;
mod notifications;
mod options;
mod payload;
mod request;
mod result;
mod session;
mod session_id;
mod sink;
mod subscription;
#[cfg(test)]
mod tests;
mod under_way;
mod updates;

pub use binding::McpServer;
pub use options::Options;
