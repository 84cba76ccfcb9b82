//! Routes with `raw: json-rpc`: messages of devices that speak MCP themselves (specs/mcp-over-mqtt5.md).
//!
//! A message is a JSON-RPC request of the revision 2026-07-28, and its replies are JSON-RPC messages. What other
//! routes promise holds here too: such a request waits, is remembered, answered and acknowledged as every other one.
//!
//! | file | |
//! |---|---|
//! | `rules` | the methods and tools that a route allows |
//! | `request` | reads a message |
//! | `call` | the operation at the exit |
//! | `handling` | a request from its message to its response |
//! | `response` | results and errors as JSON-RPC messages |
//! | `listens`, `listen`, `listening` | `subscriptions/listen`: all, one, and what follows of messages and frames |
//! | `discovery` | the retained message that says what the server is |

pub(crate) mod call;
pub(crate) mod discovery;
mod handling;
pub(crate) mod listen;
mod listening;
pub(crate) mod listens;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod rules;

use tidegate_streams::mqtt::MqttUserProperty;

/// User property of the response, which is the last reply.
const FINAL: &str = "mcp-final";

/// The property that says that a reply is the last one.
pub(crate) fn final_property() -> MqttUserProperty {
    MqttUserProperty {
        key: bytestring::ByteString::from_static(FINAL),
        value: bytestring::ByteString::from_static("1"),
    }
}
