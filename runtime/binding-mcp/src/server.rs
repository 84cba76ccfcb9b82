//! `mcp · server`: serves MCP clients over http and line streams, and forwards their operations as
//! mcp streams.
//!
//! One endpoint serves both eras; each message determines its own:
//!
//! - *modern* (2026-07-28): a request stands alone. Its client and protocol version are in
//!   `params._meta` and, over HTTP, in headers that must agree with it;
//! - *legacy* (2025-11-25, 2025-06-18, 2025-03-26): `initialize` begins a session.
//!
//! Streams to the exit do not depend on the era, JSON-RPC ids or HTTP. `params` and `result` are
//! passed on as slices of the received data; the envelope is written around them.
//!
//! # Parts
//!
//! Each part has private state and does not call other parts. It returns events, on which `binding`
//! acts.
//!
//! | part | owns | returns |
//! |---|---|---|
//! | `http` | http streams: incoming requests, outgoing responses | `HttpEvent` |
//! | `line` | line streams, and their clients' running requests | `LineEvent`, `Ended` |
//! | `batch` | batches: unprocessed messages, collected responses | `Done` |
//! | `request` | streams of requests, and results until they are complete | `RequestEvent` |
//! | `subscription` | streams of subscriptions, and requests waiting for them | `SubscriptionEvent`
//! |
//! | `inputs` | requests to legacy clients that wait for a response | |
//! | `discovery` | capabilities of the exit for each caller, and requests waiting for them |
//! `CapabilitiesEvent` |
//! | `session` | legacy sessions, and what belongs to each | `SessionEvent`, `Ended` |
//! | `listen` | open `subscriptions/listen` requests | `Acknowledgement`, `Closed` |
//!
//! The other files are stateless: `era`, `headers` and `initialize` validate requests, `errors`
//! maps refusals to codes and statuses, `result` and `payload` write messages, `events` and `calls`
//! report to operators. JSON-RPC itself is in [`crate::jsonrpc`].
//!
//! # Callers
//!
//! A session belongs to the identity that began it, by guard and subject; to anyone else it does not
//! exist. When an identity expires, what is open for it ends (`expiry`).
//!
//! # Requests to clients
//!
//! The exit may ask the client of an operation for something (elicitation, sampling, roots), while the
//! operation runs or as its outcome (`tidegate_streams::mcp`). Each client is asked in the way of its
//! era: a legacy client gets a request, on the channel of its own request or on the event stream of its
//! session; a modern client gets the result `input_required`, and repeats its request with the answers
//! and a sealed state (`seal`).
//!
//! # Bounds
//!
//! - `maxMessageSize` for each message; 100 messages and 16 MiB of results for each batch.
//! - 256 running requests for each session or standard input; a further one is refused.
//!   `maxSessions`.
//! - 1,000 subscriptions and `maxSessionBytes` of URIs for each session or `listen`;
//!   `maxSubscriptionBytes` for each worker.
//! - `rate` and `concurrency` for each caller; 10,000 callers are told apart.
//! - `inputTimeout` for the answer of a client. 16 open requests to the client of an operation; 1,000
//!   operations of modern clients that wait for answers; the exit is told that nobody can be asked
//!   beyond that. 16 rounds in which an operation asks a legacy client.
//! - Capabilities are kept for 256 callers with different rights.
//! - Updates for a client that does not read are coalesced by URI. Above 256 KiB of unread data,
//!   the exit's data is not acknowledged, progress is dropped, and input on a line is not read.
//!
//! Data kept for longer than a request is copied out of its receive buffer.

mod batch;
mod binding;
mod calls;
mod capabilities;
mod challenge;
mod client_capabilities;
mod deadline;
mod discovery;
mod era;
mod errors;
pub mod events;
mod expiry;
mod headers;
mod http;
mod initialize;
mod inputs;
mod key;
mod limits;
mod line;
mod listen;
mod notifications;
mod options;
mod payload;
mod refused;
mod request;
mod result;
mod running;
mod seal;
mod session;
mod session_id;
mod sink;
mod source;
mod subscription;
#[cfg(test)]
mod tests;
mod updates;

pub use binding::McpServer;
pub use options::Options;
