use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tidegate_engine::streams::mqtt::{MqttAcknowledge, MqttEnd, MqttSubscribe, MqttUnsubscribe};
use tidegate_engine::streams::{DataFlags, Frame};

use super::harness::*;
use crate::codec::{
    Connack, ConnackProperties, Packet, Publish, ReasonCode, Suback, Unsuback, Version, encode,
};

/// Packets from a broker: valid ones, and plausible invalid ones.
fn packet() -> impl Strategy<Value = Packet> {
    let id = || 0u16..6;
    let reason = || {
        prop_oneof![
            Just(0u8),
            Just(1),
            Just(0x10),
            Just(0x80),
            Just(0x87),
            Just(0x92)
        ]
    };
    let acknowledged = move || (id(), reason()).prop_map(|(id, code)| ack(id, ReasonCode(code)));
    prop_oneof![
        4 => (id(), 0u8..3, any::<bool>(), "[ab]/[ab]", "[a-z]{0,20}", prop::collection::vec(1u32..5, 0..3))
            .prop_map(|(packet_id, qos, retain, topic, payload, ids)| {
                Packet::Publish(Publish {
                    dup: qos > 0 && packet_id % 2 == 1,
                    qos,
                    retain,
                    packet_id: if qos == 0 { 0 } else { packet_id + 1 },
                    ..incoming(&topic, &payload, &ids)
                })
            }),
        2 => acknowledged().prop_map(Packet::Puback),
        2 => acknowledged().prop_map(Packet::Pubrec),
        2 => acknowledged().prop_map(Packet::Pubrel),
        2 => acknowledged().prop_map(Packet::Pubcomp),
        4 => (id(), reason()).prop_map(|(packet_id, code)| Packet::Suback(Suback {
            packet_id,
            reasons: vec![ReasonCode(code)],
            ..Suback::default()
        })),
        2 => id().prop_map(|packet_id| Packet::Unsuback(Unsuback {
            packet_id,
            reasons: vec![ReasonCode::SUCCESS],
            ..Unsuback::default()
        })),
        1 => Just(Packet::Pingresp),
        1 => Just(Packet::Disconnect(Box::default())),
        6 => Just(Packet::Connack(Box::default())),
        4 => (1u16..4).prop_map(|most| Packet::Connack(Box::new(Connack {
            session_present: true,
            properties: ConnackProperties {
                receive_maximum: Some(most),
                ..ConnackProperties::default()
            },
            ..Connack::default()
        }))),
    ]
}

#[allow(clippy::large_enum_variant, reason = "a test makes few of them")]
#[derive(Debug, Clone)]
enum Step {
    Broker(Packet),
    Raw(Vec<u8>),
    Publish(u8, usize),
    Part,
    Subscribe(usize),
    Limited(u32),
    /// With a receive maximum, and a filter.
    Held(u16, usize),
    Acknowledge(usize, u64),
    NoMore(usize),
    Session,
    Cancel(usize),
    End(usize, u32),
    Wait(u64),
    Break,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => packet().prop_map(Step::Broker),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Raw),
        3 => (0u8..3, 0usize..3_000).prop_map(|(qos, length)| Step::Publish(qos, length)),
        1 => Just(Step::Part),
        4 => (0usize..6).prop_map(Step::Subscribe),
        2 => (1u32..4).prop_map(Step::Limited),
        2 => (1u16..4, 0usize..6).prop_map(|(most, which)| Step::Held(most, which)),
        4 => (any::<prop::sample::Index>(), 0u64..5)
            .prop_map(|(index, number)| Step::Acknowledge(index.index(8), number)),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::NoMore(index.index(8))),
        1 => Just(Step::Session),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Cancel(index.index(8))),
        2 => (any::<prop::sample::Index>(), 0u32..4)
            .prop_map(|(index, taken)| Step::End(index.index(8), taken)),
        2 => (0u64..40_000).prop_map(Step::Wait),
        1 => Just(Step::Break),
        1 => Just(Step::Close),
    ]
}

const FILTERS: [&[(&str, u8)]; 6] = [
    &[("a/+", 1)],
    &[("#", 0)],
    &[("a/b", 2), ("a/#", 0)],
    &[("$share/g/a/#", 1)],
    &[("b/a", 0), ("b/a", 1)],
    &[("a/+", 2)],
];

/// The newest connection, accepted if necessary.
fn newest(harness: &mut Harness) -> Option<tidegate_engine::StreamId> {
    if harness.is_opened() {
        harness.accept();
    }
    harness.connections().last().copied()
}

/// Sessions end with their connections, or outlive them.
const OPTIONS: [&str; 2] = [
    r#"{"queueMessages":4,"receiveMaximum":3,"maxStreams":12,"maxConnections":6}"#,
    r#"{"queueMessages":4,"receiveMaximum":3,"maxStreams":12,"maxConnections":6,"sessionExpiry":60,"offlineQueue":3}"#,
];

fn play(options: &str, steps: Vec<Step>) {
    let mut harness = Harness::with_window(options, 2_000);
    let mut streams = Vec::new();
    for step in steps {
        let bytes = newest(&mut harness);
        match (step, bytes) {
            (Step::Broker(packet), Some(bytes)) => {
                let mut out = BytesMut::new();
                if encode(&packet, Version::V5, usize::MAX, &mut out).is_ok() {
                    harness.raw_if_open(bytes, out.freeze());
                }
            }
            (Step::Raw(wire), Some(bytes)) => harness.raw_if_open(bytes, Bytes::from(wire)),
            (Step::Publish(qos, length), _) => {
                streams.push(harness.publish("a/b", qos, &"x".repeat(length)));
            }
            (Step::Part, _) => {
                let stream = harness.open(publication("a/b", 1));
                let part = Frame::part(DataFlags::INIT, Bytes::from_static(b"part"));
                harness.rig.send(harness.caller, stream, part);
                streams.push(stream);
            }
            (Step::Subscribe(which), _) => streams.push(harness.subscribe(FILTERS[which])),
            (Step::Limited(limit), _) => streams.push(harness.open(MqttSubscribe {
                limit,
                ..subscription(&[("$share/g/a/#", 1)])
            })),
            (Step::Held(most, which), _) => streams.push(harness.open(MqttSubscribe {
                client_id: Some(format!("held-{}", most % 2).into()),
                receive_maximum: most,
                session_expiry: u32::from(most % 3) * 60,
                ..subscription(FILTERS[which])
            })),
            (Step::Acknowledge(index, number), _) if index < streams.len() => {
                let stream = streams[index];
                harness.rig.turn(harness.caller, |cx| {
                    if cx.is_sending(stream) {
                        cx.send(stream, Frame::flush(MqttAcknowledge { number }));
                    }
                });
            }
            (Step::Session, _) => streams.push(harness.session("")),
            (Step::Cancel(index), _) if index < streams.len() => harness.cancel(streams[index]),
            (Step::NoMore(index), _) if index < streams.len() => {
                let stream = streams[index];
                harness.rig.turn(harness.caller, |cx| {
                    if cx.is_sending(stream) {
                        cx.send(stream, Frame::flush(MqttUnsubscribe::default()));
                    }
                });
            }
            (Step::End(index, taken), _) if index < streams.len() => {
                let stream = streams[index];
                let end = Frame::end_with(MqttEnd {
                    taken,
                    ..MqttEnd::default()
                });
                harness.rig.turn(harness.caller, |cx| cx.end(stream, end));
            }
            (Step::Wait(milliseconds), _) => harness.advance(milliseconds),
            (Step::Break, Some(bytes)) => harness.break_off(bytes, "broken"),
            (Step::Close, Some(bytes)) => {
                harness
                    .rig
                    .turn(harness.exit, |cx| cx.end(bytes, Frame::end()));
            }
            _ => {}
        }
        for bytes in harness.connections() {
            harness.packets(bytes);
        }
    }
    for stream in streams {
        harness.cancel(stream);
    }
    // Everything ends by itself.
    for _ in 0..4 {
        if harness.is_opened() {
            harness.opened();
        }
        for bytes in harness.connections() {
            harness.packets(bytes);
        }
        harness.advance(70_000);
    }
    for bytes in harness.connections() {
        harness.packets(bytes);
    }
    harness.rig.outputs(harness.caller);
    harness.assert_idle();
    // The binding has removed all its connections.
    let sessions: Vec<_> = (0..6)
        .map(|number| harness.session(&format!("client-{number}")))
        .collect();
    for session in sessions {
        assert!(
            harness.seen(session).is_nothing(),
            "it waits for its connection"
        );
        harness.cancel(session);
    }
    harness.assert_idle();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_and_nothing_remains_after_any_events(
        steps in prop::collection::vec(step(), 0..60),
        kept in 0usize..2,
    ) {
        play(OPTIONS[kept], steps);
    }

    #[test]
    fn nothing_panics_and_nothing_remains_after_any_packets(
        wire in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
        connected in any::<bool>(),
    ) {
        let mut steps = vec![Step::Subscribe(2), Step::Publish(2, 10)];
        if connected {
            steps.push(Step::Broker(Packet::Connack(Box::default())));
        }
        steps.extend(wire.into_iter().map(Step::Raw));
        play(OPTIONS[0], steps);
    }
}
