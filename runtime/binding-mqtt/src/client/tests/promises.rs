//! What a publish stream is told is true, whatever happens to the connections of its session: a model of a broker
//! counts what it delivers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use proptest::prelude::*;
use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::harness::*;
use crate::codec::{Connack, ConnackProperties, Packet, ReasonCode, Version, encode};

#[derive(Debug, Clone)]
enum Step {
    Publish(u8, usize),
    Cancel(prop::sample::Index),
    /// The broker answers that many packets.
    Answer(usize),
    /// The broker does not answer a packet, but refuses it.
    Refuse,
    /// The connection is lost, with what the broker has not read.
    Lose,
    /// It is lost after the broker has read.
    Break,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..3, 1usize..120).prop_map(|(qos, length)| Step::Publish(qos, length)),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        4 => (1usize..4).prop_map(Step::Answer),
        1 => Just(Step::Refuse),
        2 => Just(Step::Lose),
        3 => Just(Step::Break),
        2 => (1u64..3_000).prop_map(Step::Wait),
    ]
}

/// How the broker answers CONNECT.
#[derive(Debug, Clone)]
struct Manner {
    receive_maximum: u16,
    /// It answers messages of the session in the bytes of CONNACK.
    early: bool,
    /// It has lost the session.
    forgets: bool,
}

fn manner() -> impl Strategy<Value = Manner> {
    (1u16..5, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(receive_maximum, early, forgets)| Manner {
            receive_maximum,
            early,
            forgets,
        },
    )
}

#[derive(Default)]
struct Broker {
    connection: Option<StreamId>,
    /// Identifiers of `QoS` 2 messages that are not released.
    received: BTreeSet<u16>,
    /// How often each message was delivered, by its number.
    delivered: BTreeMap<usize, usize>,
    /// The answers that are due, with the numbers of the messages.
    answers: VecDeque<(usize, Packet)>,
    has_session: bool,
}

impl Broker {
    /// Accepts the connection that is opened, if one is.
    fn accept(&mut self, harness: &mut Harness, manner: &Manner) {
        if self.connection.is_some() || !harness.is_opened() {
            return;
        }
        let bytes = harness.accept();
        let packets = harness.packets(bytes);
        let [Packet::Connect(connect)] = packets.as_slice() else {
            panic!("one CONNECT, not {packets:?}");
        };
        let present = self.has_session && !connect.clean_start && !manner.forgets;
        if !present {
            self.received.clear();
        }
        self.answers.clear();
        self.has_session = true;
        self.connection = Some(bytes);
        let mut answer = vec![Packet::Connack(Box::new(Connack {
            session_present: present,
            properties: ConnackProperties {
                receive_maximum: Some(manner.receive_maximum),
                ..ConnackProperties::default()
            },
            ..Connack::default()
        }))];
        if manner.early {
            let received = self.received.iter();
            answer.extend(received.map(|id| Packet::Pubrec(ack(*id, ReasonCode::SUCCESS))));
        }
        let mut all = BytesMut::new();
        for packet in answer {
            let mut one = BytesMut::new();
            encode(&packet, Version::V5, usize::MAX, &mut one).expect("legal");
            all.extend_from_slice(&one);
        }
        harness.raw(bytes, all.freeze());
    }

    /// Reads what was sent, and prepares the answers.
    fn read(&mut self, harness: &mut Harness) {
        let Some(bytes) = self.connection else { return };
        for packet in harness.packets(bytes) {
            match packet {
                Packet::Publish(publish) => {
                    let id = publish.packet_id;
                    let payload = publish.payload.concat();
                    let text = std::str::from_utf8(&payload).expect("text");
                    let number = text.split(' ').next().expect("one");
                    let number = number.parse().expect("a number");
                    if publish.qos == 1 || self.received.insert(id) {
                        *self.delivered.entry(number).or_default() += 1;
                    }
                    let answer = ack(id, ReasonCode::SUCCESS);
                    let answer = match publish.qos {
                        1 => Packet::Puback(answer),
                        _ => Packet::Pubrec(answer),
                    };
                    self.answers.push_back((number, answer));
                }
                Packet::Pubrel(release) => {
                    let reason = if self.received.remove(&release.packet_id) {
                        ReasonCode::SUCCESS
                    } else {
                        ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                    };
                    let answer = Packet::Pubcomp(ack(release.packet_id, reason));
                    self.answers.push_back((0, answer));
                }
                Packet::Subscribe(subscribe) => harness.suback(bytes, &subscribe, 1),
                Packet::Pingreq => harness.broker(bytes, &Packet::Pingresp),
                Packet::Disconnect(_) => self.connection = None,
                other => panic!("unexpected {other:?}"),
            }
        }
        if !harness.connections().contains(&bytes) {
            self.connection = None;
        }
    }

    fn answer(&mut self, harness: &mut Harness) {
        if let Some(bytes) = self.connection
            && let Some((_, answer)) = self.answers.pop_front()
        {
            harness.broker(bytes, &answer);
        }
    }

    /// Refuses a message of `QoS` 1 instead of delivering it. It may have delivered it before.
    fn refuse(&mut self, harness: &mut Harness) {
        let Some(bytes) = self.connection else { return };
        if let Some((number, Packet::Puback(answer))) = self.answers.front() {
            *self.delivered.entry(*number).or_default() -= 1;
            let refusal = ack(answer.packet_id, ReasonCode::QUOTA_EXCEEDED);
            self.answers.pop_front();
            harness.broker(bytes, &Packet::Puback(refusal));
        }
    }
}

struct Message {
    stream: StreamId,
    qos: u8,
    cancelled: bool,
}

proptest! {
    #[test]
    fn what_publish_streams_are_told_is_true(
        steps in prop::collection::vec((step(), manner()), 1..60),
    ) {
        let options = r#"{"clientId":"gate","sessionExpiry":600,"offlineQueue":100,"keepAlive":0,
            "reconnect":{"min":1,"max":2}}"#;
        let mut harness = Harness::with_window(options, 300);
        let mut broker = Broker::default();
        // It needs the connection when no message does.
        let subscription = harness.subscribe(&[("b", 1)]);
        let calm = Manner { receive_maximum: 10, early: false, forgets: false };
        broker.accept(&mut harness, &calm);
        broker.read(&mut harness);
        let mut messages: Vec<Message> = Vec::new();
        for (step, manner) in steps {
            broker.accept(&mut harness, &manner);
            match step {
                Step::Publish(qos, length) => {
                    let payload = format!("{} {}", messages.len(), "x".repeat(length));
                    // One topic for each: the quarantine concerns topics.
                    let topic = format!("a/{}", messages.len());
                    let stream = harness.publish(&topic, qos, &payload);
                    messages.push(Message { stream, qos, cancelled: false });
                }
                Step::Cancel(index) if !messages.is_empty() => {
                    let message = index.get_mut(&mut messages);
                    message.cancelled = true;
                    harness.cancel(message.stream);
                }
                Step::Cancel(_) => {}
                Step::Answer(count) => {
                    broker.read(&mut harness);
                    (0..count).for_each(|_| broker.answer(&mut harness));
                }
                Step::Refuse => {
                    broker.read(&mut harness);
                    broker.refuse(&mut harness);
                }
                Step::Lose | Step::Break => {
                    if matches!(step, Step::Break) {
                        broker.read(&mut harness);
                    }
                    if let Some(bytes) = broker.connection.take() {
                        harness.break_off(bytes, "connection reset");
                        broker.answers.clear();
                    }
                }
                Step::Wait(milliseconds) => {
                    broker.read(&mut harness);
                    harness.advance(milliseconds);
                }
            }
        }
        // In the end, the broker answers everything.
        for _ in 0..200 {
            harness.advance(3);
            broker.accept(&mut harness, &calm);
            broker.read(&mut harness);
            broker.answer(&mut harness);
        }
        for (number, message) in messages.iter().enumerate() {
            let delivered = broker.delivered.get(&number).copied().unwrap_or_default();
            prop_assert!(message.qos == 1 || delivered <= 1, "{number} was delivered {delivered} times");
            if message.cancelled {
                continue;
            }
            let seen = harness.seen(message.stream);
            match &seen.reset {
                None => {
                    prop_assert!(seen.is_done(), "{number} has no outcome");
                    prop_assert!(delivered >= 1, "{number} is done, and was not delivered");
                }
                Some(reset) if reset.delivery == MqttDelivery::None => {
                    prop_assert_eq!(delivered, 0, "{} was not sent, and was delivered", number);
                }
                Some(_) => {}
            }
        }
        harness.end(subscription);
    }
}
