//! `mqtt · client`: many mqtt streams over few connections to a broker.
//!
//! It accepts mqtt streams (see [`tidegate_engine::streams::mqtt`]) and opens one `bytes` stream for
//! each connection towards its exit. It does no I/O itself.
//!
//! **Connections.** One for each `clientId`, made by its first stream; streams that name none share
//! the binding's own. It is closed once its session stream has ended and no stream is left or, where
//! there never was one, after `idleTimeout` without streams. Cancelling one stream harms no other. A
//! filter that cannot share a connection (see `subscriptions`) gets one of its own, with a suffix to
//! the client identifier; so does a subscription with a limit (see `counted`), and what the broker may
//! have closed a connection over (see `quarantine`), so that it does not take the neighbours along
//! again.
//!
//! **Trouble.** Whoever waits for a broker that refuses, cannot be reached, does not answer, falls
//! silent or breaks the protocol is told so by RESET with a reason code and a sentence that names it,
//! within `connectTimeout`, or by the deadline of its stream (see `expired`). All connections share one way to the broker (see `link`): after a failure attempts are held off
//! with exponential backoff, whoever asks, and streams are refused meanwhile with the reason and the time
//! of the next attempt. A connection that was healthy and is lost is opened again at once (see
//! `reconnect`). An accepted subscription survives: it is made again, its retained messages are replayed,
//! and it is RESET only if the broker then refuses it. A publication is never sent twice: one that was
//! written and not acknowledged fails with delivery *possible*. An acknowledgement that does not come in
//! time, and a packet that never becomes whole, end the connection (see `overdue`).
//!
//! **Publishing.** A message goes on the wire when it is whole, in one piece, its payload as the
//! slices in which it came. At `QoS` 0 it is done when its last byte was handed to the byte stream,
//! at 1 with PUBACK, at 2 with PUBCOMP. What the broker grants is kept: receive maximum, maximum
//! `QoS`, retain, maximum packet size.
//!
//! **Bounds.** Each in [`Options`], each with a default: connections and streams of a connection (one
//! more is refused with 0x97 *quota exceeded*), the size of a message and what waits to be published
//! (0x95, 0x97), the size of a packet from the broker (the connection is closed), the messages and
//! bytes that wait for a subscriber (it is RESET with 0x97 as a slow consumer; one that has its
//! connection to itself holds the broker back instead).

mod attempt;
mod binding;
mod connection;
mod counted;
mod ending;
mod events;
mod expired;
mod failure;
mod granted;
mod inbound;
mod keep_alive;
mod link;
mod meters;
mod options;
mod outage;
mod outbound;
mod overdue;
mod packet_ids;
mod packets;
mod peer;
mod publications;
mod publishing;
mod quarantine;
mod receiving;
mod reconnect;
mod routing;
mod streams;
mod strings;
mod subscribing;
mod subscriptions;
mod suspects;
#[cfg(test)]
mod tests;
mod waiting;

pub use binding::MqttClient;
pub use options::{Name, NameError, Options, Password, Reconnect};
