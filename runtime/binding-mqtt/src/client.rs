//! `mqtt · client`: many mqtt streams over few connections to a broker.
//!
//! It accepts mqtt streams (see [`tidegate_engine::streams::mqtt`]) and opens one `bytes` stream
//! per connection to its exit. It does no I/O itself.
//!
//! **Connections.** One per `clientId`, opened by its first stream; streams without a `clientId`
//! share the binding's own connection. By option, all streams share that one, or each authenticated
//! caller has its own, with an account of its own (see `accounts`). A connection is closed when its session stream and all other
//! streams have ended or, if it never had a session stream, after `idleTimeout` without streams.
//! Cancelling one stream does not affect the others. A filter that cannot share a connection (see
//! `subscriptions`) gets a separate one, with a suffix to the client identifier. So do a
//! subscription with a limit (see `counted`), one whose caller acknowledges its messages (see `held`), and a topic or filter over which the broker may have
//! closed a connection (see `quarantine`), so that it cannot affect other streams again.
//!
//! **Errors.** If the broker refuses, is unreachable, does not answer or violates the protocol, the
//! waiting streams are RESET with a reason code and a sentence that names the broker, within
//! `connectTimeout` for each version that is tried, or at the deadline of the stream (see `expired`). All connections share one
//! state of the broker (see `link`): after a failure, attempts are held off with exponential
//! backoff, and streams are refused meanwhile with the reason and the time of the next attempt. A
//! healthy connection that is lost is opened again at once (see `reconnect`). An accepted
//! subscription is restored on the new connection: retained messages are replayed, its stream gets
//! FLUSH *gap*, and it is RESET only if the broker then refuses it. A missing acknowledgement, and a
//! packet that stays incomplete, close the connection (see `overdue`).
//!
//! **Sessions.** With `sessionExpiry`, the session outlives a lost connection (see `session`):
//! publications in flight complete on the next one, and subscriptions at `QoS` 1 and 2 miss nothing.
//! Otherwise, or when the broker has ended the session, a publication that was written and not
//! acknowledged is not sent again: it fails with delivery *possible*. Publications that were not
//! written fail with delivery *none*, or wait for the broker (`offlineQueue`).
//!
//! **Credentials.** A password is in the options, or in a file that the command reads for each
//! connection (see `credentials`). With enhanced authentication (see `authentication`, `scram`), the
//! password is not sent, and a connection is used only after the broker has proven that it knows it.
//!
//! **Versions.** MQTT 5 and 3.1.1 share everything but the codec's version, which a connection learns
//! from `version` and from what the broker accepts (see `version`). What 3.1.1 cannot express is
//! refused before it is sent; what it does not tell is reported as unknown.
//!
//! **Publishing.** A message is written when it is complete, in one packet, without copying its
//! payload. At `QoS` 0 it is done when its last byte was sent to the byte stream, at 1 with PUBACK,
//! at 2 with PUBCOMP. The limits of the broker are respected: Receive Maximum, Maximum `QoS`, Retain
//! Available, Maximum Packet Size, Topic Alias Maximum (see `aliases`).
//!
//! **Bounds.** Each is an option with a default, see [`Options`]: the number of connections and of
//! streams per connection (further ones are refused with 0x97 *quota exceeded*), the size of a
//! message and of all messages that wait to be published (0x95, 0x97), the size of a packet from
//! the broker (the connection is closed), and the messages and bytes queued for a subscriber (it is
//! RESET with 0x97 as a slow consumer; if it is the only stream of its connection, reading from the
//! broker pauses instead).

mod accounts;
mod aliases;
mod attempt;
mod authentication;
mod binding;
mod client_ids;
mod connection;
mod counted;
mod credentials;
mod ending;
mod events;
mod expired;
mod failure;
mod foreseen;
mod granted;
mod held;
mod inbound;
mod keep_alive;
mod lifetime;
mod limits;
mod link;
mod meters;
mod options;
mod outage;
mod outbound;
mod overdue;
mod packet_ids;
mod packets;
mod peer;
mod permission;
mod publications;
mod publishing;
mod quarantine;
mod receiving;
mod reconnect;
mod redelivery;
mod redirect;
mod refused;
mod resume;
mod routing;
mod scram;
mod session;
mod streams;
mod strings;
mod subscribing;
mod subscriptions;
mod suspects;
#[cfg(test)]
mod tests;
mod version;
mod waiting;
mod will;

pub use accounts::{AccountEntry, Connections, WithoutAccount};
pub use authentication::{Authentication, Method};
pub use binding::MqttClient;
pub use credentials::{Password, ReadPassword};
pub use limits::Limits;
pub use options::{Name, NameError, Options, Reconnect};
pub use permission::{AccessRefused, Condition, explain};
pub use redirect::Redirects;
pub use version::Versions;
pub use will::WillMessage;
