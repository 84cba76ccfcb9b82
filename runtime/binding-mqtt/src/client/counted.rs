//! A subscription with a limit: it takes so many messages, and gives back what it does not take.
//!
//! A message of a shared subscription is for one of the sharers (MQTT 5.0, 4.8.2): what is acknowledged
//! here, nobody else will see. So the messages are counted, on a connection of their own:
//!
//! - its Receive Maximum is the limit, and nothing is acknowledged while the stream lasts, so that the
//!   broker sends no more messages of `QoS` 1 than that;
//! - END tells how many the caller has taken. UNSUBSCRIBE, their PUBACKs and DISCONNECT go out
//!   together: an acknowledgement that makes room is behind the end of the subscription;
//! - the session ends with the connection, and what was not acknowledged is for the broker to give to
//!   another sharer. MQTT says that it should; a broker that does not loses it.
//! - a stream that is cancelled has taken nothing, and one whose connection is lost is RESET: what it
//!   has brought may come to another sharer too.
//!
//! A message of `QoS` 0 has no acknowledgement. One beyond the limit is given to nobody.

use tidegate_engine::streams::{EndEx, Pooled};

use super::connection::{Connection, Work};
use super::packets;
use crate::codec::{Publish, ReasonCode};

/// The messages of the one subscription of a connection.
#[derive(Debug)]
pub(super) struct Counted {
    limit: u16,
    /// The packet identifiers of those that were handed to the stream, in order; 0 at `QoS` 0.
    delivered: Vec<u16>,
}

impl Counted {
    pub(super) const fn new(limit: u16) -> Self {
        Self {
            limit,
            delivered: Vec::new(),
        }
    }

    /// The most messages that may be unacknowledged, which is all that come.
    pub(super) const fn limit(&self) -> u16 {
        self.limit
    }

    fn is_full(&self) -> bool {
        self.delivered.len() >= usize::from(self.limit)
    }
}

/// How many messages an END says were taken.
pub(super) fn taken(end: Option<Pooled<EndEx>>) -> usize {
    match end.map(Pooled::into_inner) {
        Some(EndEx::Mqtt(end)) => usize::try_from(end.taken).unwrap_or(usize::MAX),
        Some(EndEx::Mcp(_)) | None => 0,
    }
}

impl Connection {
    /// A message for the stream that counts.
    pub(super) fn on_counted(&mut self, w: &mut Work<'_, '_>, publish: &Publish) {
        if publish.qos == 2 {
            let what = "a message of QoS 2 for a subscription of QoS 1";
            return self.broken(w, ReasonCode::PROTOCOL_ERROR, what);
        }
        let full = self.counted.as_ref().is_none_or(Counted::is_full);
        if full || !self.deliver(w, publish) {
            return;
        }
        if let Some(counted) = &mut self.counted {
            counted.delivered.push(publish.packet_id);
            if counted.is_full() {
                self.complete(w);
            }
        }
    }

    /// The last message has come: the broker is asked for no more, and the reply ends.
    pub(super) fn complete(&mut self, w: &mut Work<'_, '_>) {
        if self.counted.as_ref().is_none_or(|it| !it.is_full()) {
            return;
        }
        let Some(key) = self.streams.first().copied() else {
            return;
        };
        let Some((id, subscriber)) = w.streams.subscriber(key) else {
            return;
        };
        subscriber.complete = true;
        // Before SUBACK there is nothing to end yet.
        if subscriber.accepted {
            subscriber.flush(w.cx, id);
            for filter in self.subscriptions.leave(key, subscriber.all()) {
                self.send_unsubscribe(w, filter);
            }
        }
    }

    /// The caller of a subscription ends it, having taken the first `taken` messages.
    pub(super) fn leave_having_taken(&mut self, w: &mut Work<'_, '_>, key: usize, taken: usize) {
        self.leave(w, key, None);
        let Some(counted) = &mut self.counted else {
            return;
        };
        let delivered = std::mem::take(&mut counted.delivered);
        let acknowledged = delivered.into_iter().take(taken).filter(|id| *id != 0);
        for packet_id in acknowledged {
            let puback = packets::puback(w.shared, &mut self.packets, packet_id);
            self.send(w.cx, [puback]);
        }
    }
}
