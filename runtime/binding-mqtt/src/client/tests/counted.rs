//! Subscriptions with a limit: only messages that the caller has taken are acknowledged.

use proptest::prelude::*;
use tidegate_engine::StreamId;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::{MqttEnd, MqttSubscribe};

use super::harness::*;
use crate::codec::{Packet, Publish};

fn limited(limit: u32) -> MqttSubscribe {
    MqttSubscribe {
        limit,
        ..subscription(&[("$share/g/a", 1)])
    }
}

/// An accepted subscription with a limit; `slow` streams have little credit.
fn standing(limit: u32, slow: bool) -> (Harness, StreamId, StreamId) {
    let mut harness = Harness::new(r#"{"clientId":"gate"}"#);
    let edge = if slow { harness.slow } else { harness.caller };
    let stream = harness.rig.open(edge, harness.client, limited(limit));
    let (bytes, connect) = harness.connect();
    assert_eq!(
        connect.properties.receive_maximum,
        u16::try_from(limit).ok()
    );
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 1);
    (harness, bytes, stream)
}

fn message(number: u16, qos: u8) -> Packet {
    Packet::Publish(Publish {
        qos,
        packet_id: if qos == 0 { 0 } else { number },
        ..incoming("a", &format!("message {number}"), &[1])
    })
}

fn acknowledged(packets: &[Packet]) -> Vec<u16> {
    let acks = packets.iter().filter_map(|packet| match packet {
        Packet::Puback(ack) => Some(ack.packet_id),
        _ => None,
    });
    acks.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // Whatever the broker sends and whenever the caller ends: the taken messages are acknowledged
    // in order, before DISCONNECT, and none earlier.
    #[test]
    fn what_is_taken_is_acknowledged_and_nothing_else(
        limit in 1u32..6,
        sent in prop::collection::vec(0u8..2, 0..9),
        taken in 0u32..9,
        slow in any::<bool>(),
    ) {
        let (mut harness, bytes, stream) = standing(limit, slow);
        for (qos, number) in sent.iter().zip(1..) {
            harness.broker(bytes, &message(number, *qos));
        }
        let before = harness.packets(bytes);
        prop_assert_eq!(acknowledged(&before), Vec::<u16>::new());
        let edge = if slow { harness.slow } else { harness.caller };
        let given = sent.len().min(limit as usize);
        if !slow {
            let seen = harness.seen(stream);
            prop_assert_eq!(seen.messages.len(), given);
            prop_assert_eq!(seen.ended, given == limit as usize);
        }
        let reached = given == limit as usize;
        let asked_no_more = matches!(before.as_slice(), [Packet::Unsubscribe(_)]);
        prop_assert_eq!((asked_no_more, before.is_empty()), (reached, !reached));

        harness.rig.send(edge, stream, Frame::end_with(MqttEnd { taken, ..MqttEnd::default() }));
        let mut packets = harness.packets(bytes);
        prop_assert!(matches!(packets.pop(), Some(Packet::Disconnect(_))));
        let first = packets.first();
        prop_assert_eq!(matches!(first, Some(Packet::Unsubscribe(_))), !reached);
        let expected = sent.iter().zip(1u16..).take(given).take(taken as usize);
        let expected = expected.filter(|(qos, _)| **qos > 0).map(|(_, number)| number);
        prop_assert_eq!(acknowledged(&packets), expected.collect::<Vec<_>>());
        harness.rig.frames(edge, stream);
        harness.assert_idle();
    }

    #[test]
    fn a_stream_that_is_cancelled_has_taken_nothing(sent in 0u16..4) {
        let (mut harness, bytes, stream) = standing(3, false);
        for number in 1..=sent {
            harness.broker(bytes, &message(number, 1));
        }
        harness.cancel(stream);
        prop_assert_eq!(acknowledged(&harness.packets(bytes)), Vec::<u16>::new());
        harness.rig.frames(harness.caller, stream);
        harness.assert_idle();
    }
}
