//! The session with the broker (MQTT 5.0, 4.1): the state that outlives the byte stream, so that the
//! next connection continues where the last one stopped.
//!
//! - **Kept** if `sessionExpiry` is set: the first CONNECT starts clean and asks the broker to keep
//!   the session for that time; after a loss, CONNECT resumes it.
//! - **Resumed** if CONNACK says *session present*: unacknowledged messages are sent again in their
//!   order, with DUP and their packet identifiers, and PUBREL for those that the broker has
//!   received (4.4); subscriptions stay, except those that the broker could not keep messages for
//!   (see `resume`). Messages of the broker that this side has already delivered are only
//!   acknowledged.
//! - **Ended** if CONNACK says that the broker has none, if it has expired, if another client took
//!   it over, and if the broker closed the connection because of a packet, which sending it again
//!   would repeat. So does a session whose messages stay unanswered on [`UNANSWERED`] connections in
//!   a row. Then messages in flight are *unconfirmed*, and subscriptions are requested again.
//!
//! - **Not for long**: a message is sent again within `resendWithin` of the first time only, since a late
//!   command can do harm. Later, one of `QoS` 1 is left out: the broker keeps nothing of it. One of `QoS`
//!   2 ends the session, because the broker may hold it until it gets PUBREL.
//!
//! Bounds: at most the broker's Receive Maximum of messages is in flight; their payloads count as
//! pending (`maxPending`). At most `receiveMaximum` identifiers of received messages are remembered.
//! A session without `sessionExpiry` keeps no packets.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Duration, Time};

use super::connection::Pending;
use super::packet_ids::{PacketIds, Sent};
use super::redelivery::Acknowledged;
use super::subscriptions::Subscriptions;
use crate::codec::Parts;

/// How many connections in a row may end without an answer to a message that was sent again.
const UNANSWERED: u8 = 2;

/// How far a session is replaced that an earlier connection left at a broker of MQTT 3.1.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Replacement {
    #[default]
    None,
    /// This connection starts clean and ends it.
    Ending,
    /// This connection follows one that has ended it.
    Ended,
}

/// The state that this side keeps of a session.
#[derive(Debug, Default)]
pub(super) struct SessionState {
    /// Packets that wait for an acknowledgement.
    pub(super) ids: PacketIds<Pending>,
    /// Number of outgoing `QoS` 1 and 2 messages that are not acknowledged completely.
    pub(super) in_flight: usize,
    /// Unacknowledged messages, if they may have to be sent again.
    pub(super) unacknowledged: Unacknowledged,
    /// What is still to be sent again on this connection, in order: the PUBLISH of an identifier, or
    /// PUBREL.
    pub(super) again: Again,
    /// Packet identifiers of received `QoS` 2 messages that the broker has not released (PUBREL).
    pub(super) received: BTreeSet<u16>,
    /// `QoS` 1 messages whose PUBACK the broker may not have received.
    pub(super) acknowledged: Acknowledged,
    pub(super) subscriptions: Subscriptions,
    /// Filters to unsubscribe from once the session is resumed.
    pub(super) unsubscribe: Vec<ByteString>,
    pub(super) replacement: Replacement,
    /// How long the broker keeps the session without a connection; `None`: it ends with it.
    kept: Option<Duration>,
    /// When the connection was lost.
    lost: Option<Time>,
    /// Number of connections that have ended since an answer to a message that was sent again.
    unanswered: u8,
}

impl SessionState {
    /// The broker accepted the connection, and keeps the session for `kept` after it.
    pub(super) const fn accepted(&mut self, kept: Option<Duration>) {
        self.kept = kept;
        self.lost = None;
    }

    /// Whether unacknowledged packets must be kept.
    pub(super) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// How long the broker keeps the session after the connection.
    pub(super) const fn kept(&self) -> Option<Duration> {
        self.kept
    }

    /// The connection was lost.
    pub(super) fn interrupted(&mut self, now: Time) {
        if self.unanswered >= UNANSWERED {
            self.kept = None;
        }
        self.lost = Some(now);
        self.acknowledged.interrupted(self.ids.read_up_to());
    }

    /// The session cannot be resumed.
    pub(super) const fn discard(&mut self) {
        self.kept = None;
    }

    /// Whether the next CONNECT can resume it.
    pub(super) fn is_resumable(&self, now: Time) -> bool {
        match (self.kept, self.lost) {
            (Some(kept), Some(lost)) => now.since(lost) < kept,
            _ => false,
        }
    }

    /// Whether it contains a message of `QoS` 2 that is too late to be sent again. The broker may hold that
    /// message, and would deliver it with the next packet that has its identifier, such as PUBREL.
    pub(super) fn is_late(&self, now: Time, within: Duration) -> bool {
        self.ids.values().any(|pending| match pending {
            Pending::PubRec(sending) | Pending::PubComp(sending) => sending.is_late(now, within),
            _ => false,
        })
    }

    /// Since when it is interrupted.
    pub(super) const fn lost(&self) -> Option<Time> {
        self.lost
    }

    /// Messages are sent again.
    pub(super) fn repeats(&mut self) {
        if self.in_flight > 0 {
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    /// The broker answered a message: it is not sent again, even if the answer comes before that.
    pub(super) fn answered(&mut self, id: u16) {
        self.unanswered = 0;
        if !self.unacknowledged.is_empty()
            && let Some(sent) = self.ids.sent(id)
        {
            self.unacknowledged.take(sent);
        }
        self.again.remove(id);
    }

    /// Size of the packets that are kept, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.unacknowledged.bytes() + self.again.bytes
    }
}

/// What is to be sent again, by packet identifier: PUBLISH, or PUBREL.
#[derive(Debug, Default)]
pub(super) struct Again {
    queue: VecDeque<(u16, Option<Packet>)>,
    /// Size of the packets.
    bytes: usize,
}

impl Again {
    pub(super) fn push_back(&mut self, id: u16, packet: Option<Packet>) {
        self.bytes += packet.as_ref().map_or(0, Packet::len);
        self.queue.push_back((id, packet));
    }

    pub(super) fn pop_front(&mut self) -> Option<(u16, Option<Packet>)> {
        let (id, packet) = self.queue.pop_front()?;
        self.bytes -= packet.as_ref().map_or(0, Packet::len);
        Some((id, packet))
    }

    fn remove(&mut self, id: u16) {
        let index = self.queue.iter().position(|(queued, _)| *queued == id);
        if let Some((_, packet)) = index.and_then(|index| self.queue.remove(index)) {
            self.bytes -= packet.as_ref().map_or(0, Packet::len);
        }
    }

    /// Whether the packet at the front is a PUBLISH; otherwise it is a PUBREL.
    pub(super) fn next_is_publish(&self) -> Option<bool> {
        self.queue.front().map(|(_, packet)| packet.is_some())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u16> {
        self.queue.iter().map(|(id, _)| *id)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The packets of unacknowledged messages, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    /// By position in the byte stream. Acknowledged ones are empty until they are at the front.
    packets: VecDeque<(u64, Option<Packet>)>,
    bytes: usize,
}

/// An encoded PUBLISH: its header, and the parts of its payload that are not behind the header.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) header: Bytes,
    pub(super) payload: Parts,
    /// When the message expires.
    pub(super) expires: Option<Time>,
}

impl Packet {
    pub(super) fn len(&self) -> usize {
        self.header.len() + self.payload.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Unacknowledged {
    /// A packet was sent at this position, which is behind all others.
    pub(super) fn push(&mut self, sent: Sent, packet: Packet) {
        self.bytes += packet.len();
        self.packets.push_back((sent.position, Some(packet)));
    }

    /// Removes the packet that was sent at this position.
    pub(super) fn take(&mut self, sent: Sent) -> Option<Packet> {
        let index = self
            .packets
            .binary_search_by_key(&sent.position, |(position, _)| *position)
            .ok()?;
        let packet = self.packets.get_mut(index)?.1.take()?;
        self.bytes -= packet.len();
        while self.packets.front().is_some_and(|(_, it)| it.is_none()) {
            self.packets.pop_front();
        }
        Some(packet)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Size of the packets, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(length: usize) -> Packet {
        Packet {
            header: vec![0; length].into(),
            payload: Parts::new(),
            expires: None,
        }
    }

    const fn at(position: u64) -> Sent {
        Sent {
            at: Time::START,
            position,
        }
    }

    #[test]
    fn packets_are_removed_in_any_order_and_their_size_is_known() {
        let mut kept = Unacknowledged::default();
        for position in [0, 10, 30] {
            kept.push(at(position), packet(5));
        }
        assert_eq!(kept.bytes(), 15);
        assert!(kept.take(at(10)).is_some() && kept.take(at(10)).is_none());
        assert!(kept.take(at(20)).is_none());
        assert_eq!((kept.packets.len(), kept.bytes()), (3, 10));
        assert!(kept.take(at(0)).is_some());
        assert_eq!(kept.packets.len(), 1, "the empty one went too");
        assert!(kept.take(at(30)).is_some());
        assert_eq!((kept.packets.len(), kept.bytes()), (0, 0));
    }

    #[test]
    fn a_session_is_resumable_until_it_expires_or_nothing_is_answered() {
        let second = Duration::from_secs(1);
        let mut session = SessionState::default();
        session.interrupted(Time::START);
        assert!(!session.is_resumable(Time::START), "it is not kept");
        session.accepted(Some(second));
        assert!(!session.is_resumable(Time::START), "it is not interrupted");
        session.interrupted(Time::START);
        assert!(session.is_resumable(Time::START));
        assert!(!session.is_resumable(Time::START + second));
        session.in_flight = 1;
        for resumable in [true, false] {
            session.accepted(Some(second));
            session.repeats();
            session.interrupted(Time::START);
            assert_eq!(session.is_resumable(Time::START), resumable);
        }
    }
}
