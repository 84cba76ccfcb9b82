//! Messages that the caller of a subscription acknowledges, when it is done with them, so that the
//! broker keeps them until then.
//!
//! Such a subscription has its own connection, with a Receive Maximum of its own: unacknowledged messages
//! hold up no other stream, and each goes to one stream.
//!
//! - **Order**: PUBACK and PUBREC are sent in the order of receipt (MQTT 5.0, 4.6). An acknowledgement
//!   waits for those before it.
//! - **A lost connection**: in a resumed session, the broker sends unacknowledged messages again. One
//!   that the caller has is recognised by DUP, content and packet identifier (or, with another identifier, as the
//!   oldest of this content that is missing), and is not delivered again; its acknowledgement is sent once, on the new
//!   connection, after the broker has sent it again.
//! - **The stream ends**: what it has not acknowledged stays in the session, for the next subscription
//!   with this client identifier, in this process or another. So the connection continues a session that it has
//!   not begun, and leaves it without UNSUBSCRIBE. Without `sessionExpiry`, and if the client identifier is
//!   random, the session ends; a broker should then give the messages of a shared subscription to
//!   another member.
//! - **A session that this process has not begun** may contain messages for filters, and with
//!   subscription identifiers, of its predecessor: such a message goes to the stream if one of its filters matches, and is
//!   acknowledged otherwise. Such copies cannot be told apart, so a filter is left out if another of the stream
//!   covers it.
//! - **A message that cannot be read**, because it is too large or violates the protocol, is acknowledged and
//!   reported: the broker would send it again on each connection, and keep all others behind it.
//!
//! Bound: 65,535 messages; a broker that respects the Receive Maximum needs no more than that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::MqttSubscribe;

use super::connection::{Connection, Env, Phase, Shared};
use super::counted::Counted;
use super::events::MessageUnreadable;
use super::failure::Failure;
use super::packets;
use super::redelivery::{Acknowledged, content};
use super::refused::Repetitions;
use super::streams::Streams;
use super::subscriptions::{Recipient, Recipients};
use crate::codec::{DecodeError, PassedOver, Publish, ReasonCode, Version};

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
    /// On the connection on which it was sent last.
    packet_id: u16,
    qos: u8,
    content: u64,
    /// It may be acknowledged.
    is_done: bool,
    /// The caller does not have it: it was acknowledged on an earlier connection, or is passed over.
    is_kept_back: bool,
}

impl Message {
    fn is(&self, qos: u8, content: u64) -> bool {
        (self.qos, self.content) == (qos, content)
    }
}

/// The messages of the only subscription of a connection.
#[derive(Debug)]
pub(super) struct Held {
    terms: Terms,
    /// The client identifier is not random: the session may outlive this process.
    is_lasting: bool,
    /// Of the requests for refused filters.
    pub(super) repetitions: Repetitions,
    /// By number, in order of receipt.
    messages: BTreeMap<u64, Message>,
    /// What the packet identifiers of this connection stand for.
    here: BTreeMap<u16, u64>,
    /// Those that the broker has sent on this connection, in order of receipt.
    order: VecDeque<u64>,
    /// Those that it has not sent on this connection.
    absent: BTreeSet<u64>,
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
            repetitions: Repetitions::new(),
            messages: BTreeMap::new(),
            here: BTreeMap::new(),
            order: VecDeque::new(),
            absent: BTreeSet::new(),
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
        let (id, qos, content) = (publish.packet_id, publish.qos, content(publish));
        if publish.dup && self.is_again(id, qos, content) {
            return None;
        }
        let number = self.add(Message {
            packet_id: id,
            qos,
            content,
            is_done: answered,
            is_kept_back: answered,
        });
        (!answered).then_some(number)
    }

    /// Whether a message that the broker sends again is one that the caller has. Its packet identifier may
    /// be another one: `RabbitMQ` counts anew on each connection.
    fn is_again(&mut self, id: u16, qos: u8, content: u64) -> bool {
        let there = |number: &u64| self.messages.get(number);
        let is_same = |number: &u64| there(number).is_some_and(|it| it.is(qos, content));
        if self.here.get(&id).is_some_and(is_same) {
            return true;
        }
        let same = || self.absent.iter().copied().filter(|number| is_same(number));
        let named = same().find(|number| there(number).is_some_and(|it| it.packet_id == id));
        let Some(number) = named.or_else(|| same().next()) else {
            return false;
        };
        self.absent.remove(&number);
        if let Some(message) = self.messages.get_mut(&number) {
            message.packet_id = id;
        }
        self.arrived(id, number);
        true
    }

    /// A message that cannot be read is acknowledged in its turn.
    fn pass_over(&mut self, passed: &PassedOver) {
        self.add(Message {
            packet_id: passed.packet_id,
            qos: passed.qos,
            content: 0,
            is_done: true,
            is_kept_back: true,
        });
    }

    fn add(&mut self, message: Message) -> u64 {
        let id = message.packet_id;
        self.last += 1;
        self.messages.insert(self.last, message);
        self.arrived(id, self.last);
        if self.messages.len() > usize::from(u16::MAX)
            && let Some(oldest) = self.absent.pop_first()
        {
            self.messages.remove(&oldest);
        }
        self.last
    }

    /// The packet identifier stands for this message now. If it stood for another, the broker no longer has
    /// that one.
    fn arrived(&mut self, id: u16, number: u64) {
        if let Some(other) = self.here.insert(id, number) {
            self.messages.remove(&other);
            self.order.retain(|it| *it != other);
        }
        self.order.push_back(number);
    }

    /// The caller is done with a message, or nobody takes it.
    fn acknowledge(&mut self, number: u64) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.is_done = true;
        }
    }

    /// The next acknowledgement, once all before it are sent.
    fn next(&mut self) -> Option<Due> {
        let number = *self.order.front()?;
        if !self.messages.get(&number)?.is_done {
            return None;
        }
        self.order.pop_front();
        let message = self.messages.remove(&number)?;
        self.here.remove(&message.packet_id);
        Some(Due {
            packet_id: message.packet_id,
            qos: message.qos,
            content: message.content,
        })
    }

    /// The broker released a message of `QoS` 2 (PUBREL): a PUBREC that still waits to be repeated is not
    /// needed, and would stand for the next message with its identifier.
    pub(super) fn released(&mut self, packet_id: u16) {
        let number = self.here.get(&packet_id).copied();
        if let Some(number) = number
            && self.messages.get(&number).is_some_and(|it| it.is_kept_back)
        {
            self.here.remove(&packet_id);
            self.messages.remove(&number);
            self.order.retain(|it| *it != number);
        }
    }

    /// The connection was lost.
    pub(super) fn interrupted(&mut self) {
        self.absent.extend(self.order.drain(..));
        self.here.clear();
    }

    /// The broker has no session any more: no message comes again as the same one.
    fn ended(&mut self) {
        self.order.clear();
        self.here.clear();
        self.absent.clear();
        self.messages.clear();
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
            self.session.received.clear();
            self.session.acknowledged = Acknowledged::default();
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

    /// Acknowledges a message that cannot be read.
    pub(super) fn pass_over(
        &mut self,
        env: &mut Env<'_, '_>,
        passed: &PassedOver,
        error: &DecodeError,
    ) {
        env.cx.event(&MessageUnreadable {
            client: self.client_id.clone(),
            broker: self.remote.clone(),
            topic: passed.topic.clone(),
            reason: error.to_string().into(),
        });
        if let Some(held) = &mut self.held {
            held.pass_over(passed);
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
        assert!(held.messages.is_empty() && held.here.is_empty());
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
    fn a_message_with_another_identifier_on_the_new_connection_is_the_same() {
        let mut held = held();
        for (id, payload, number) in [(1, "a", 1), (2, "b", 2), (3, "b", 3)] {
            let got = held.receive(&message(id, payload, false), false);
            assert_eq!(got, Some(number));
        }
        held.acknowledge(1);
        assert_eq!(due(&mut held), [1]);
        held.interrupted();
        assert_eq!(held.receive(&message(1, "b", true), false), None);
        assert_eq!(held.receive(&message(2, "b", true), false), None);
        assert_eq!(
            held.receive(&message(3, "b", true), false),
            Some(4),
            "a third one"
        );
        for number in [3, 2, 4] {
            held.acknowledge(number);
        }
        assert_eq!(due(&mut held), [1, 2, 3]);
        assert!(held.messages.is_empty() && held.here.is_empty() && held.absent.is_empty());
    }

    #[test]
    fn a_message_that_cannot_be_read_is_acknowledged_in_its_turn() {
        let mut held = held();
        assert_eq!(held.receive(&message(1, "a", false), false), Some(1));
        held.pass_over(&PassedOver {
            packet_id: 2,
            qos: 1,
            topic: "a".into(),
        });
        assert_eq!(due(&mut held), NONE);
        held.acknowledge(1);
        assert_eq!(due(&mut held), [1, 2]);
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
