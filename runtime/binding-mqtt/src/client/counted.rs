//! A subscription with a limit: it takes at most that many messages, and returns the others to the
//! group.
//!
//! A message of a shared subscription is for one member of the group (MQTT 5.0, 4.8.2): once it is
//! acknowledged here, no other member receives it. So the messages are counted, on a separate
//! connection:
//!
//! - Its Receive Maximum is the limit, and nothing is acknowledged while the stream is open, so the
//!   broker sends no more `QoS` 1 messages than the limit.
//! - To stop early, the caller sends FLUSH *unsubscribe*. The reply ends after UNSUBACK and thus
//!   after all messages in flight, so that none arrives too late to be delivered.
//! - END states how many messages the caller has taken. UNSUBSCRIBE, their PUBACKs and DISCONNECT
//!   are sent together, so that an acknowledgement cannot make room for a further message.
//! - The session ends with the connection, and the broker should send unacknowledged messages to
//!   another member. MQTT recommends it; a broker that does not loses them.
//! - A cancelled stream takes nothing. A stream whose connection is lost is RESET; the messages it
//!   delivered may be sent to another member too.
//!
//! A message of `QoS` 0 has no acknowledgement. One beyond the limit is dropped.

use std::collections::BTreeSet;

use tidegate_engine::StreamId;
use tidegate_engine::streams::{EndEx, Pooled};

use super::connection::{Connection, Env};
use super::packets;
use super::streams::{Streams, Subscriber};
use crate::codec::{Publish, ReasonCode};

/// The messages of the only subscription of a connection.
#[derive(Debug)]
pub(super) struct Counted {
    limit: u16,
    /// UNSUBSCRIBE was sent.
    unsubscribed: bool,
    /// The reply ends after the queued messages.
    complete: bool,
    /// Packet identifiers of the messages delivered to the stream, in order; 0 for `QoS` 0.
    delivered: Vec<u16>,
}

impl Counted {
    pub(super) const fn new(limit: u16) -> Self {
        Self {
            limit,
            unsubscribed: false,
            complete: false,
            delivered: Vec::new(),
        }
    }

    /// The maximum number of unacknowledged messages, and so of all messages.
    pub(super) const fn limit(&self) -> u16 {
        self.limit
    }

    pub(super) const fn is_unsubscribed(&self) -> bool {
        self.unsubscribed
    }

    /// Whether further messages are dropped.
    fn is_over(&self) -> bool {
        self.complete || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.delivered.len() >= usize::from(self.limit)
    }
}

/// The number of taken messages that an END states.
pub(super) fn taken(end: Option<Pooled<EndEx>>) -> usize {
    match end.map(Pooled::into_inner) {
        Some(EndEx::Mqtt(end)) => usize::try_from(end.taken).unwrap_or(usize::MAX),
        Some(EndEx::Mcp(_)) | None => 0,
    }
}

impl Connection {
    /// Handles a message for the counted subscription.
    pub(super) fn on_counted(&mut self, env: &mut Env<'_, '_>, publish: &Publish) {
        if publish.qos == 2 {
            let what = "PUBLISH with QoS 2 for a subscription with QoS 1";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        }
        let over = self.counted.as_ref().is_none_or(Counted::is_over);
        if over || !self.deliver(env, publish, 0) {
            return;
        }
        env.shared.counts.consumed += 1;
        if let Some(counted) = &mut self.counted {
            counted.delivered.push(publish.packet_id);
        }
        self.complete_if_full(env);
    }

    /// After the last message, unsubscribes and ends the reply.
    pub(super) fn complete_if_full(&mut self, env: &mut Env<'_, '_>) {
        if self.counted.as_ref().is_some_and(Counted::is_full) {
            self.request_unsubscribe(env);
            self.complete(env);
        }
    }

    /// Sends UNSUBSCRIBE, unless it was sent or the subscription is not granted yet.
    pub(super) fn request_unsubscribe(&mut self, env: &mut Env<'_, '_>) {
        let (Some(counted), Some((_, subscriber))) =
            (&mut self.counted, counting(&self.streams, env.streams))
        else {
            return;
        };
        if counted.unsubscribed || !subscriber.accepted {
            return;
        }
        counted.unsubscribed = true;
        // Messages in flight must still be routed, so the subscription stays in the table.
        let filter = subscriber
            .all()
            .next()
            .map(|(_, request)| request.filter.text());
        if let Some(filter) = filter {
            self.send_unsubscribe(env, filter);
        }
    }

    /// No more messages follow: ends the reply after the queued ones.
    pub(super) fn complete(&mut self, env: &mut Env<'_, '_>) {
        if let Some(counted) = &mut self.counted
            && let Some((id, subscriber)) = counting(&self.streams, env.streams)
        {
            counted.complete = true;
            subscriber.complete = true;
            subscriber.flush(env.cx, id);
        }
    }

    /// The caller ended its subscription after taking the first `taken` messages.
    pub(super) fn end_subscription(&mut self, env: &mut Env<'_, '_>, key: usize, taken: usize) {
        self.remove_stream(env, key, None);
        let Some(counted) = &mut self.counted else {
            return;
        };
        let delivered = std::mem::take(&mut counted.delivered);
        let acknowledged = delivered.into_iter().take(taken).filter(|id| *id != 0);
        for packet_id in acknowledged {
            let puback = packets::puback(&mut self.packets, packet_id);
            self.send(env.cx, [puback]);
        }
    }
}

/// The only stream of a connection with a counted subscription.
fn counting<'w>(
    keys: &BTreeSet<usize>,
    streams: &'w mut Streams,
) -> Option<(StreamId, &'w mut Subscriber)> {
    streams.subscriber(*keys.first()?)
}
