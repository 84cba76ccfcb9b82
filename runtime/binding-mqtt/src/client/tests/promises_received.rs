//! What a subscriber misses, it is told, and nothing is repeated, whatever happens to the connections of its session:
//! a model of a broker knows what it lost.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use tidegate_engine::StreamId;

use super::harness::*;
use crate::codec::{Connack, Packet, Publish, ReasonCode, Version};

#[derive(Debug, Clone)]
enum Step {
    /// Somebody publishes that many messages.
    Publish(usize),
    /// The broker sends that many of the messages that wait for the subscriber.
    Send(usize),
    /// The broker reads acknowledgements.
    Read,
    /// The connection is lost, with what the broker has not read.
    Lose,
    /// It is lost, and the broker has lost the session.
    Forget,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1usize..5).prop_map(Step::Publish),
        5 => (1usize..5).prop_map(Step::Send),
        3 => Just(Step::Read),
        3 => Just(Step::Lose),
        1 => Just(Step::Forget),
        2 => (1u64..3_000).prop_map(Step::Wait),
    ]
}

/// A message that the broker has sent and that is not acknowledged.
struct InFlight {
    packet_id: u16,
    number: usize,
    /// PUBREC was read: PUBREL is sent.
    released: bool,
}

struct Broker {
    qos: u8,
    /// Whether sessions outlive a connection, of MQTT 5.
    keeps: bool,
    connection: Option<StreamId>,
    /// Whether the session outlives the connection.
    lasting: bool,
    /// The identifiers of the subscription.
    subscription: Option<Vec<u32>>,
    waiting: VecDeque<usize>,
    in_flight: VecDeque<InFlight>,
    last_id: u16,
    /// Number of connections that were lost.
    losses: usize,
    /// The messages that it did not keep, with the number of losses before.
    dropped: Vec<(usize, usize)>,
}

impl Broker {
    fn accept(&mut self, harness: &mut Harness) {
        if self.connection.is_some() || !harness.is_opened() {
            return;
        }
        let bytes = harness.accept();
        let packets = harness.packets(bytes);
        let [Packet::Connect(connect)] = packets.as_slice() else {
            panic!("one CONNECT, not {packets:?}");
        };
        let present = self.subscription.is_some() && !connect.clean_start;
        if !present {
            self.end_session();
        }
        self.lasting = match harness.version {
            Version::V5 => self.keeps,
            Version::V311 => !connect.clean_start,
        };
        self.connection = Some(bytes);
        let connack = Connack {
            session_present: present,
            ..Connack::default()
        };
        harness.broker(bytes, &Packet::Connack(Box::new(connack)));
        self.read(harness);
        // What was in flight is sent again, in order.
        if self.connection == Some(bytes) {
            for index in 0..self.in_flight.len() {
                self.send_again(harness, bytes, index);
            }
        }
    }

    fn end_session(&mut self) {
        self.subscription = None;
        let unsent = self.waiting.drain(..);
        let numbers = self.in_flight.drain(..).map(|it| it.number).chain(unsent);
        self.dropped.extend(numbers.map(|it| (it, self.losses)));
    }

    fn lose(&mut self, harness: &mut Harness) {
        let Some(bytes) = self.connection.take() else {
            return;
        };
        harness.break_off(bytes, "connection reset");
        self.losses += 1;
        if !self.lasting {
            self.end_session();
        }
    }

    fn read(&mut self, harness: &mut Harness) {
        let Some(bytes) = self.connection else { return };
        for packet in harness.packets(bytes) {
            match packet {
                Packet::Subscribe(subscribe) => {
                    let id = subscribe.properties.subscription_id;
                    self.subscription = Some(id.into_iter().collect());
                    harness.suback(bytes, &subscribe, self.qos);
                }
                Packet::Puback(ack) | Packet::Pubcomp(ack) => {
                    self.in_flight.retain(|it| it.packet_id != ack.packet_id);
                }
                Packet::Pubrec(received) => {
                    let id = received.packet_id;
                    let message = self.in_flight.iter_mut().find(|it| it.packet_id == id);
                    message.expect("was sent").released = true;
                    let release = ack(id, ReasonCode::SUCCESS);
                    harness.broker(bytes, &Packet::Pubrel(release));
                }
                Packet::Pingreq => harness.broker(bytes, &Packet::Pingresp),
                Packet::Disconnect(_) => self.connection = None,
                other => panic!("unexpected {other:?}"),
            }
        }
        if !harness.connections().contains(&bytes) {
            self.connection = None;
        }
    }

    fn publish(&mut self, number: usize) {
        if self.subscription.is_some() {
            self.waiting.push_back(number);
        } else {
            self.dropped.push((number, self.losses));
        }
    }

    fn send(&mut self, harness: &mut Harness) {
        let Some(bytes) = self.connection else { return };
        if self.subscription.is_none() {
            return;
        }
        let Some(number) = self.waiting.pop_front() else {
            return;
        };
        self.last_id = self.last_id % 50 + 1;
        let packet_id = self.last_id;
        if self.in_flight.iter().any(|it| it.packet_id == packet_id) {
            self.waiting.push_front(number);
            return;
        }
        self.in_flight.push_back(InFlight {
            packet_id,
            number,
            released: false,
        });
        harness.broker(bytes, &self.message(number, packet_id, false));
    }

    fn send_again(&self, harness: &mut Harness, bytes: StreamId, index: usize) {
        let Some(it) = self.in_flight.get(index) else {
            return;
        };
        let packet = if it.released {
            Packet::Pubrel(ack(it.packet_id, ReasonCode::SUCCESS))
        } else {
            self.message(it.number, it.packet_id, true)
        };
        harness.broker(bytes, &packet);
    }

    fn message(&self, number: usize, packet_id: u16, dup: bool) -> Packet {
        let ids = self.subscription.clone().unwrap_or_default();
        Packet::Publish(Publish {
            dup,
            qos: self.qos,
            packet_id,
            ..incoming("a/b", &number.to_string(), &ids)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_a_subscriber_misses_it_is_told_and_nothing_is_repeated(
        steps in prop::collection::vec(step(), 1..80),
        qos in 1u8..3,
        keeps: bool,
        old: bool,
    ) {
        let version = if old { "3.1.1" } else { "5" };
        let expiry = if keeps { 600 } else { 0 };
        let options = format!(
            r#"{{"clientId":"gate","version":"{version}","sessionExpiry":{expiry},"keepAlive":0,
                "reconnect":{{"min":1,"max":2}}}}"#
        );
        let mut harness = Harness::new(&options);
        harness.version = if old { Version::V311 } else { Version::V5 };
        let mut broker = Broker {
            qos,
            keeps,
            connection: None,
            lasting: false,
            subscription: None,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            last_id: 0,
            losses: 0,
            dropped: Vec::new(),
        };
        let stream = harness.subscribe(&[("a/+", qos)]);
        broker.accept(&mut harness);
        let mut published = 0;
        let (mut numbers, mut gaps) = (Vec::new(), 0);
        let calm = (0..40).flat_map(|_| [Step::Wait(5), Step::Send(5), Step::Read]);
        for step in steps.into_iter().chain(calm) {
            match step {
                Step::Publish(count) => (0..count).for_each(|_| {
                    broker.publish(published);
                    published += 1;
                }),
                Step::Send(count) => (0..count).for_each(|_| broker.send(&mut harness)),
                Step::Read => broker.read(&mut harness),
                Step::Lose => broker.lose(&mut harness),
                Step::Forget => {
                    broker.lose(&mut harness);
                    broker.end_session();
                }
                Step::Wait(milliseconds) => harness.advance(milliseconds),
            }
            broker.accept(&mut harness);
            let seen = harness.seen(stream);
            prop_assert!(seen.reset.is_none() && !seen.ended, "{:?}", seen.reset);
            let payloads = seen.payloads();
            numbers.extend(payloads.into_iter().map(|it| it.parse::<usize>().expect("a number")));
            gaps += seen.gaps.len();
        }
        prop_assert!(numbers.is_sorted_by(|one, next| one < next), "repeated or out of order: {numbers:?}");
        let arrived: BTreeSet<usize> = numbers.iter().copied().collect();
        let missing: Vec<usize> = (0..published).filter(|it| !arrived.contains(it)).collect();
        let mut told: BTreeSet<usize> = BTreeSet::new();
        for number in &missing {
            let dropped = broker.dropped.iter().find(|(it, _)| it == number);
            let (_, losses) = dropped.expect("the broker has it, and did not deliver it");
            told.insert(*losses);
        }
        prop_assert!(gaps >= told.len(), "{gaps} gaps, and messages {missing:?} are missing");
        prop_assert!(gaps <= broker.losses, "{gaps} gaps, and {} losses", broker.losses);
        harness.end(stream);
    }
}
