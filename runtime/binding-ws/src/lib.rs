//! `ws · client`: byte streams in, byte streams out, with WebSocket between them (RFC 6455).
//!
//! - When the exit is connected, the client asks for an upgrade with the subprotocol `mqtt`. An answer
//!   that is none fails the stream with a reason that says what to do, like a connection that was never
//!   open. `connected` is passed on after the upgrade.
//! - The bytes of the caller are sent as binary frames, those of the broker's binary messages are the
//!   caller's. MQTT packets and frames need not align (MQTT 5, 6), so a frame is passed on as it
//!   arrives and its size needs no limit. What is kept of the peer is bounded: the head of the response
//!   (16 KiB), the header of a frame (14 bytes), a control frame (125 bytes), and one unanswered ping.
//! - Masks and the key of the handshake come from the context, so a scenario can state every byte.
//! - Both directions are bounded by credit: bytes are acknowledged when they are passed on.
//!
//! The frames are our own: the libraries for them gather whole messages in memory, and draw their masks
//! from the system. tungstenite is the oracle of the tests. HTTP is parsed by httparse.
#![forbid(unsafe_code)]

mod binding;
mod events;
mod exchange;
pub mod frames;
mod handshake;
mod meters;
mod options;
#[cfg(test)]
mod tests;

pub use binding::WsClient;
pub use events::{HandshakeCompleted, HandshakeFailed};
pub use options::Options;
