//! Messages that the caller of a subscription acknowledges, when it is done with them, so that the
//! broker keeps them until then.
//!
//! Such a subscription has its own connection, with a Receive Maximum of its own: unacknowledged messages
//! hold up no other stream, and each goes to one stream.
//!
//! - **Order**: PUBACK and PUBREC are sent in the order of receipt (MQTT 5.0, 4.6). An acknowledgement
//!   waits for those before it.
//! - **A lost connection**: in a resumed session, the broker sends unacknowledged messages again. One
//!   that the caller has is recognised by packet identifier, DUP and content, and is not delivered again; its
//!   acknowledgement is sent once, on the new connection, after the broker has sent it again.
//! - **The stream ends**: what it has not acknowledged stays in the session, for the next subscription
//!   with this client identifier, in this process or another. So the connection continues a session that it has
//!   not begun, and leaves it without UNSUBSCRIBE. Without `sessionExpiry`, and if the client identifier is
//!   random, the session ends; a broker should then give the messages of a shared subscription to
//!   another member.
//! - **A session that this process has not begun** may contain messages for filters, and with
//!   subscription identifiers, of its predecessor: such a message goes to the stream if one of its filters matches, and is
//!   acknowledged otherwise.
//!
//! Bound: one entry for each packet identifier, 65,535; a broker that respects the Receive Maximum needs no
//! more than that.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::MqttSubscribe;

use super::connection::{Connection, Env, Phase, Shared};
use super::counted::Counted;
use super::failure::Failure;
use super::packets;
use super::redelivery::content;
use super::streams::Streams;
use super::subscriptions::{Recipient, Recipients};
use crate::codec::{Publish, ReasonCode, Version};

/// What a subscription asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    receive_maximum: NonZeroU16,
    session_expiry: u32,
}

impl Terms {
    /// The terms of a BEGIN; `None` if messages are acknowledged when they are received.
    pub(super) fn new(
        receive_maximum: u16,
        session_expiry: u32,
        limit: Option<NonZeroU16>,
    ) -> Result<Option<Self>, Failure> {
        let Some(receive_maximum) = NonZeroU16::new(receive_maximum) else {
            return Ok(None);
        };
        if limit.is_some() {
            let reason =
                "Invalid subscription: it has a limit and a receive maximum; use one of them.";
            let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
            return Err(Failure::new(code, reason));
        }
        Ok(Some(Self {
            receive_maximum,
            session_expiry,
        }))
    }

    /// The client identifier of a subscription that names none.
    pub(super) fn client_id(own: &ByteString) -> ByteString {
        format!("{own}_subscription").into()
    }
}

/// A message that is not acknowledged to the broker.
#[derive(Debug)]
struct Message {
    /// 0 if the caller does not have it.
    number: u64,
    qos: u8,
    content: u64,
    /// It may be acknowledged.
    is_done: bool,
    /// The broker has sent it on this connection.
    is_here: bool,
}

/// The messages of the only subscription of a connection.
#[derive(Debug)]
pub(super) struct Held {
    terms: Terms,
    /// The client identifier is not random: the session may outlive this process.
    is_lasting: bool,
    /// By packet identifier.
    messages: BTreeMap<u16, Message>,
    /// Packet identifiers by the numbers of the messages.
    numbers: BTreeMap<u64, u16>,
    /// Those that the broker has sent on this connection, in order of receipt.
    order: VecDeque<u16>,
    last: u64,
}

/// An acknowledgement to send.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    packet_id: u16,
    qos: u8,
    content: u64,
}

impl Held {
    pub(super) const fn new(terms: Terms, is_lasting: bool) -> Self {
        Self {
            terms,
            is_lasting,
            messages: BTreeMap::new(),
            numbers: BTreeMap::new(),
            order: VecDeque::new(),
            last: 0,
        }
    }

    /// The session expiry for CONNECT. A broker of MQTT 3.1.1 never removes a session.
    pub(super) fn session_expiry(&self, version: Version) -> Option<u32> {
        let expiry = self.terms.session_expiry;
        let is_removed = version == Version::V5 || self.is_lasting;
        (expiry > 0 && is_removed).then_some(expiry)
    }

    /// A message arrived. Returns its number if it is to be delivered. `answered`: it was acknowledged
    /// before.
    fn receive(&mut self, publish: &Publish, answered: bool) -> Option<u64> {
        let id = publish.packet_id;
        let content = content(publish);
        if let Some(message) = self.messages.get_mut(&id)
            && publish.dup
            && (message.qos, message.content) == (publish.qos, content)
        {
            if !std::mem::replace(&mut message.is_here, true) {
                self.order.push_back(id);
            }
            return None;
        }
        // The broker uses the identifier for another message: it no longer has that one.
        if let Some(other) = self.messages.remove(&id) {
            self.numbers.remove(&other.number);
            if other.is_here {
                self.order.retain(|it| *it != id);
            }
        }
        let number = if answered { 0 } else { self.last + 1 };
        let message = Message {
            number,
            qos: publish.qos,
            content,
            is_done: answered,
            is_here: true,
        };
        self.messages.insert(id, message);
        self.order.push_back(id);
        if answered {
            return None;
        }
        self.last = number;
        self.numbers.insert(number, id);
        Some(number)
    }

    /// The caller is done with a message, or nobody takes it.
    fn acknowledge(&mut self, number: u64) {
        let id = self.numbers.remove(&number);
        if let Some(message) = id.and_then(|id| self.messages.get_mut(&id)) {
            message.is_done = true;
        }
    }

    /// The next acknowledgement, once all before it are sent.
    fn next(&mut self) -> Option<Due> {
        let packet_id = *self.order.front()?;
        if !self.messages.get(&packet_id)?.is_done {
            return None;
        }
        self.order.pop_front();
        let message = self.messages.remove(&packet_id)?;
        Some(Due {
            packet_id,
            qos: message.qos,
            content: message.content,
        })
    }

    /// The broker released a message of `QoS` 2 (PUBREL): a PUBREC that still waits to be repeated is not
    /// needed, and would stand for the next message with its identifier.
    pub(super) fn released(&mut self, packet_id: u16) {
        if self
            .messages
            .get(&packet_id)
            .is_some_and(|it| it.number == 0)
        {
            self.messages.remove(&packet_id);
            self.order.retain(|it| *it != packet_id);
        }
    }

    /// The connection was lost.
    pub(super) fn interrupted(&mut self) {
        self.order.clear();
        for message in self.messages.values_mut() {
            message.is_here = false;
        }
    }

    /// The broker has no session any more: no message comes again as the same one.
    fn ended(&mut self) {
        self.order.clear();
        self.messages.clear();
        self.numbers.clear();
    }
}

impl Connection {
    /// The Receive Maximum for CONNECT, if it is not that of the options.
    pub(super) fn receive_maximum(&self) -> Option<u16> {
        let held = self.held.as_ref();
        let held = held.map(|it| it.terms.receive_maximum.get());
        held.or_else(|| self.counted.as_ref().map(Counted::limit))
    }

    /// Whether it has a subscription whose caller acknowledges the messages.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some() && !self.streams.is_empty()
    }

    /// Whether CONNECT continues a session that an earlier connection, perhaps of another process, left
    /// at the broker.
    pub(super) fn continues_session(&self, shared: &Shared) -> bool {
        self.held.as_ref().is_some_and(|it| it.is_lasting) && self.session_expiry(shared).is_some()
    }

    /// Whether the session stays at the broker after the stream.
    pub(super) fn leaves_session(&self) -> bool {
        self.held.as_ref().is_some_and(|it| it.is_lasting) && self.session.is_kept()
    }

    /// Completes the reply BEGIN.
    pub(super) fn state_terms(&self, reply: &mut MqttSubscribe) {
        if let Some(held) = &self.held {
            reply.receive_maximum = held.terms.receive_maximum.get();
            let kept = self.session.kept().filter(|_| self.leaves_session());
            let seconds = kept.map_or(0, |it| it.as_millis() / 1_000);
            reply.session_expiry = u32::try_from(seconds).unwrap_or(u32::MAX);
        }
    }

    /// The broker accepted the connection. `known`: this process has begun the session.
    pub(super) fn note_session(&mut self, cx: &mut Context<'_>, resumed: bool, known: bool) {
        /// Identifiers from which the first one is drawn.
        const IDENTIFIERS: u64 = 1 << 27;
        let Some(held) = &mut self.held else { return };
        if !resumed {
            held.ended();
        } else if !known {
            let last = cx.random_below(IDENTIFIERS);
            let last = u32::try_from(last).unwrap_or(0);
            self.session.subscriptions.set_last_identifier(last);
        }
    }

    /// The filters of the only stream that match a topic.
    pub(super) fn held_recipients(&self, streams: &mut Streams, topic: &str) -> Recipients {
        let Some(stream) = self.streams.first().copied() else {
            return Recipients::new();
        };
        let Some((_, subscriber)) = streams.subscriber(stream) else {
            return Recipients::new();
        };
        let matching = subscriber.all().filter(|(_, it)| it.filter.matches(topic));
        matching
            .map(|(index, _)| Recipient { stream, index })
            .collect()
    }

    /// Handles a message of `QoS` 1 or 2.
    pub(super) fn on_held(&mut self, env: &mut Env<'_, '_>, publish: &Publish) {
        let answered = match publish.qos {
            1 => self.session.acknowledged.take(publish),
            _ => self.session.received.contains(&publish.packet_id),
        };
        let Some(held) = &mut self.held else { return };
        if let Some(number) = held.receive(publish, answered) {
            env.shared.counts.consumed += 1;
            let is_taken = self.deliver(env, publish, number);
            if self.streams.is_empty() {
                // It ended because it did not read: the session keeps its messages.
                return;
            }
            if let Some(held) = self.held.as_mut().filter(|_| !is_taken) {
                held.acknowledge(number);
            }
        }
        self.send_acknowledgements(env);
    }

    /// The caller is done with a message.
    pub(super) fn acknowledge(&mut self, env: &mut Env<'_, '_>, number: u64) {
        if let Some(held) = &mut self.held {
            held.acknowledge(number);
            self.send_acknowledgements(env);
        }
    }

    fn send_acknowledgements(&mut self, env: &mut Env<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(due) = self.held.as_mut().and_then(|held| held.next())
        {
            let id = due.packet_id;
            if due.qos == 2 {
                self.session.received.insert(id);
                let pubrec = packets::pubrec(&mut self.packets, id);
                self.send(env.cx, [pubrec]);
                continue;
            }
            let puback = packets::puback(&mut self.packets, id);
            let end = self.send(env.cx, [puback]);
            if self.session.is_kept() {
                let limit = self.receive_maximum().map_or(usize::MAX, usize::from);
                let read = self.session.ids.read_up_to();
                let acknowledged = &mut self.session.acknowledged;
                acknowledged.push(id, due.content, end, read, limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u16; 0] = [];

    fn held() -> Held {
        let terms = Terms::new(10, 60, None);
        let terms = terms.expect("valid").expect("a receive maximum");
        Held::new(terms, true)
    }

    fn message(packet_id: u16, payload: &'static str, dup: bool) -> Publish {
        Publish {
            dup,
            qos: 1,
            packet_id,
            topic: "a".into(),
            payload: std::iter::once(payload.into()).collect(),
            ..Publish::default()
        }
    }

    fn due(held: &mut Held) -> Vec<u16> {
        std::iter::from_fn(|| held.next())
            .map(|it| it.packet_id)
            .collect()
    }

    #[test]
    fn acknowledgements_are_due_in_the_order_of_receipt() {
        let mut held = held();
        for (id, number) in [(7, 1), (3, 2), (5, 3)] {
            assert_eq!(held.receive(&message(id, "m", false), false), Some(number));
        }
        held.acknowledge(2);
        assert_eq!(due(&mut held), NONE);
        held.acknowledge(1);
        assert_eq!(due(&mut held), [7, 3]);
        held.acknowledge(1);
        held.acknowledge(9);
        assert_eq!(due(&mut held), NONE, "unknown numbers are ignored");
        held.acknowledge(3);
        assert_eq!(due(&mut held), [5]);
        assert!(held.messages.is_empty() && held.numbers.is_empty());
    }

    #[test]
    fn a_message_that_is_sent_again_is_delivered_once_and_acknowledged_on_the_new_connection() {
        let mut held = held();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(1));
        assert_eq!(held.receive(&message(2, "b", false), false), Some(2));
        assert_eq!(held.receive(&message(2, "b", true), false), None);
        held.interrupted();
        held.acknowledge(2);
        assert_eq!(due(&mut held), NONE, "the broker has not sent it again");
        assert_eq!(held.receive(&message(2, "b", true), false), None);
        assert_eq!(due(&mut held), [2], "order of this connection");
        assert_eq!(held.receive(&message(1, "a", true), false), None);
        assert_eq!(due(&mut held), NONE);
        held.acknowledge(1);
        assert_eq!(due(&mut held), [1]);
    }

    #[test]
    fn another_message_with_a_known_identifier_is_new() {
        let mut held = held();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(1));
        held.interrupted();
        assert_eq!(held.receive(&message(1, "b", true), false), Some(2));
        held.acknowledge(1);
        assert_eq!(due(&mut held), NONE, "the number of the first one is gone");
        assert_eq!(
            held.receive(&message(1, "b", false), false),
            Some(3),
            "not repeated"
        );
        held.acknowledge(3);
        assert_eq!(due(&mut held), [1], "once");
    }

    #[test]
    fn what_was_acknowledged_before_waits_for_its_turn_and_is_not_delivered() {
        let mut held = held();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(1));
        assert_eq!(held.receive(&message(2, "b", true), true), None);
        assert_eq!(due(&mut held), NONE);
        held.acknowledge(1);
        assert_eq!(due(&mut held), [1, 2]);
    }

    #[test]
    fn numbers_of_an_ended_session_are_unknown() {
        let mut held = held();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(1));
        held.ended();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(2));
        held.acknowledge(1);
        assert_eq!(due(&mut held), NONE);
    }

    #[test]
    fn a_subscription_has_a_limit_or_a_receive_maximum() {
        assert!(Terms::new(0, 60, None).expect("valid").is_none());
        assert!(Terms::new(1, 60, NonZeroU16::new(1)).is_err());
    }
}
