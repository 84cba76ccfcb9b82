//! A subscription with a limit: it takes so many messages, and gives back what it does not take.
//!
//! A message of a shared subscription is for one of the sharers (MQTT 5.0, 4.8.2): what is acknowledged
//! here, nobody else will see. So the messages are counted, on a connection of their own:
//!
//! - its Receive Maximum is the limit, and nothing is acknowledged while the stream lasts, so that the
//!   broker sends no more messages of `QoS` 1 than that;
//! - a caller that wants no more says so with FLUSH *unsubscribe*. Its reply ends behind UNSUBACK,
//!   and so behind all that the broker had on its way; nothing of it comes too late to be given;
//! - END tells how many the caller has taken. UNSUBSCRIBE, their PUBACKs and DISCONNECT go out
//!   together: an acknowledgement that makes room is behind the end of the subscription;
//! - the session ends with the connection, and what was not acknowledged is for the broker to give to
//!   another sharer. MQTT says that it should; a broker that does not loses it.
//! - a stream that is cancelled has taken nothing, and one whose connection is lost is RESET: what it
//!   has brought may come to another sharer too.
//!
//! A message of `QoS` 0 has no acknowledgement. One beyond the limit is given to nobody.

use std::collections::BTreeSet;

use tidegate_engine::StreamId;
use tidegate_engine::streams::{EndEx, Pooled};

use super::connection::{Connection, Work};
use super::packets;
use super::streams::{Streams, Subscriber};
use crate::codec::{Publish, ReasonCode};

/// The messages of the one subscription of a connection.
#[derive(Debug)]
pub(super) struct Counted {
    limit: u16,
    /// UNSUBSCRIBE was sent.
    unsubscribed: bool,
    /// The reply ends behind what there is.
    complete: bool,
    /// The packet identifiers of those that were handed to the stream, in order; 0 at `QoS` 0.
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

    /// The most messages that may be unacknowledged, which is all that come.
    pub(super) const fn limit(&self) -> u16 {
        self.limit
    }

    pub(super) const fn is_unsubscribed(&self) -> bool {
        self.unsubscribed
    }

    /// Whether what comes now is given to nobody.
    fn is_over(&self) -> bool {
        self.complete || self.is_full()
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
        let over = self.counted.as_ref().is_none_or(Counted::is_over);
        if over || !self.deliver(w, publish) {
            return;
        }
        w.shared.counts.consumed += 1;
        if let Some(counted) = &mut self.counted {
            counted.delivered.push(publish.packet_id);
        }
        self.complete_if_full(w);
    }

    /// Once the last message has come, the broker is asked for no more, and the reply ends.
    pub(super) fn complete_if_full(&mut self, w: &mut Work<'_, '_>) {
        if self.counted.as_ref().is_some_and(Counted::is_full) {
            self.ask_no_more(w);
            self.complete(w);
        }
    }

    /// Asks the broker for no more, unless it was, or has not granted anything yet.
    pub(super) fn ask_no_more(&mut self, w: &mut Work<'_, '_>) {
        let (Some(counted), Some((_, subscriber))) =
            (&mut self.counted, counting(&self.streams, w.streams))
        else {
            return;
        };
        if counted.unsubscribed || !subscriber.accepted {
            return;
        }
        counted.unsubscribed = true;
        // What is on its way still has to find its stream: the subscription stays in the table.
        let filter = subscriber.all().next().map(|(_, wish)| wish.filter.text());
        if let Some(filter) = filter {
            self.send_unsubscribe(w, filter);
        }
    }

    /// Nothing more comes: the reply ends behind what there is.
    pub(super) fn complete(&mut self, w: &mut Work<'_, '_>) {
        if let Some(counted) = &mut self.counted
            && let Some((id, subscriber)) = counting(&self.streams, w.streams)
        {
            counted.complete = true;
            subscriber.complete = true;
            subscriber.flush(w.cx, id);
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

/// The one stream of a connection that counts.
fn counting<'w>(
    keys: &BTreeSet<usize>,
    streams: &'w mut Streams,
) -> Option<(StreamId, &'w mut Subscriber)> {
    streams.subscriber(*keys.first()?)
}
