//! `mqtt_mcp · proxy`: machines that ask. Messages of MQTT devices call MCP tools, and the results go back
//! as messages.
//!
//! Accepts no streams. It subscribes to the topics of requests on its exit `mqtt`, opens an mcp stream on
//! its exit `mcp` for each tool that a request needs, and a publish stream on `mqtt` for each answer:
//!
//! | mqtt | mcp |
//! |---|---|
//! | a message of the subscription: topic, payload, Correlation Data | `toolsCall` with the name and arguments that the route's templates make of it |
//! | a publish stream to the Response Topic, or to the topic of the config | the result, or the reason of the failure |
//! | a JSON-RPC message of a route with `raw`, and its replies | each operation of MCP (`raw.rs`) |
//!
//! Guarantees:
//! - a tool is called only if the route names or allows it, and an answer goes only to a topic that the
//!   config names or allows;
//! - what a message contains is data: it is never a template, and cannot leave its place in JSON;
//! - a request that comes again is not executed again while it is remembered, and gets the same answer;
//! - each request has an outcome, which says whether anything was executed; no answer is sent after the
//!   request has expired;
//! - requests that run and wait are bounded, in all and for each device, and devices take turns;
//! - with a queue, a request that was accepted survives a crash, and is not executed twice because of it:
//!   see `queue`.
#![forbid(unsafe_code)]

mod action;
mod aio;
mod annotated;
mod answer;
mod answering;
mod call;
mod conditions;
#[cfg(test)]
mod crash_tests;
mod crowd;
mod deadline;
mod document;
mod events;
mod exchange;
mod explain;
mod failure;
mod lanes;
mod levels;
mod meters;
#[cfg(test)]
mod operator_tests;
mod options;
mod progress;
mod properties;
mod proxy;
mod publication;
mod queue;
mod queued;
mod rate;
mod raw;
mod refusals;
mod remembered;
mod request;
mod restore;
mod route;
mod shares;
mod stopping;
mod subscription;
mod template;
#[cfg(test)]
mod tests;
mod triggers;
mod variables;

pub use action::With;
pub use events::{RequestCompleted, StepCompleted};
pub use explain::{Asks, Explainer, Explanation};
pub use options::{Condition, Options};
pub use proxy::MqttMcp;
#[doc(hidden)]
pub use queue::record_is_read_as_written;
pub use request::GUARD;
