use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::{MqttSubscribe, MqttSubscribeFlags, MqttTopicFilter};

use super::harness::*;
use crate::codec::{ConnackProperties, Packet, Publish, ReasonCode, RetainHandling, Subscribe};

/// A connection with one accepted subscription.
fn subscribed(filters: &[(&str, u8)]) -> (Harness, StreamId, StreamId, Vec<Subscribe>) {
    let mut harness = Harness::new("{}");
    let stream = harness.subscribe(filters);
    let (bytes, _) = harness.connect();
    let packets = harness.packets(bytes);
    let subscribes: Vec<Subscribe> = packets
        .into_iter()
        .map(|packet| match packet {
            Packet::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        })
        .collect();
    for subscribe in &subscribes {
        harness.suback(bytes, subscribe, subscribe.filters[0].qos);
    }
    harness.seen(stream).granted();
    (harness, bytes, stream, subscribes)
}

fn no_identifiers() -> ConnackProperties {
    ConnackProperties {
        subscription_identifiers_available: Some(false),
        ..ConnackProperties::default()
    }
}

fn flagged(filter: &str, flags: MqttSubscribeFlags) -> MqttSubscribe {
    MqttSubscribe {
        filters: vec![MqttTopicFilter {
            pattern: filter.into(),
            flags,
            ..MqttTopicFilter::default()
        }],
        ..MqttSubscribe::default()
    }
}

fn send(harness: &mut Harness, bytes: StreamId, publish: Publish) {
    harness.broker(bytes, &Packet::Publish(publish));
}

#[test]
fn the_reply_follows_suback_and_earlier_messages_are_kept() {
    let mut harness = Harness::new("{}");
    let mut begin = subscription(&[("a/+", 1)]);
    begin.filters[0].subscription_id = 42;
    let stream = harness.open(begin);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    assert_eq!(subscribe.filters[0].filter, "a/+");
    assert_eq!(subscribe.filters[0].qos, 1);
    assert_eq!(subscribe.filters[0].retain_handling, RetainHandling::Send);
    let id = id_of(&subscribe);
    let mut early = retained("a/b", "early", &[id]);
    early.properties.message_expiry = Some(9);
    early.properties.payload_format = Some(1);
    send(&mut harness, bytes, early);
    assert!(harness.seen(stream).is_nothing());
    harness.suback(bytes, &subscribe, 0);
    let seen = harness.seen(stream);
    assert_eq!(seen.granted(), [0], "what the broker granted");
    assert_eq!(seen.payloads(), ["early"]);
    let message = &seen.messages[0].0;
    assert_eq!(message.topic, "a/b");
    assert!(message.flags.contains(MqttSubscribeFlags::RETAIN));
    assert_eq!(message.subscription_ids, [42]);
    assert_eq!(message.expiry_interval, 9);
    harness.end(stream);
    assert!(harness.seen(stream).ended);
    assert_eq!(harness.unsubscribed(bytes), "a/+");
    send(&mut harness, bytes, incoming("a/b", "late", &[id]));
    harness.finish(bytes);
}

#[test]
fn a_subscription_that_the_broker_refuses_is_an_error() {
    let mut harness = Harness::new("{}");
    let refused = harness.subscribe(&[("a", 0)]);
    let partly = harness.subscribe(&[("b", 0), ("c", 1)]);
    let (bytes, _) = harness.connect();
    for packet in harness.packets(bytes) {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        let granted = if subscribe.filters[0].filter == "c" {
            1
        } else {
            0x87
        };
        harness.suback(bytes, &subscribe, granted);
    }
    let seen = harness.seen(refused);
    assert_eq!(seen.reset().reason_code, 0x87);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 refused the subscription to 'a': Not authorized (0x87)."
    );
    assert_eq!(harness.seen(partly).granted(), [0x87, 1]);
    for begin in [
        subscription(&[("a/#/b", 0)]),
        subscription(&[]),
        subscription(&[("a", 3)]),
    ] {
        let illegal = harness.open(begin);
        assert!(harness.seen(illegal).reset().reason_code >= 0x80);
    }
    harness.cancel(partly);
    assert_eq!(harness.unsubscribed(bytes), "c");
    harness.finish(bytes);
}

#[test]
fn streams_share_a_subscription_and_a_replay_goes_only_to_the_new_stream() {
    let (mut harness, bytes, first, subscribes) = subscribed(&[("a/+", 1)]);
    let old = id_of(&subscribes[0]);
    let second = harness.subscribe(&[("a/+", 0)]);
    let again = harness.subscribed(bytes);
    assert_eq!(again.filters[0].qos, 1, "never lowered while in use");
    let new = id_of(&again);
    send(&mut harness, bytes, incoming("a/x", "between", &[old]));
    harness.suback(bytes, &again, 1);
    send(&mut harness, bytes, retained("a/x", "replay", &[new]));
    let mut live = incoming("a/x", "live", &[new]);
    live.qos = 1;
    live.packet_id = 5;
    send(&mut harness, bytes, live);
    assert_eq!(
        harness.one(bytes),
        Packet::Puback(ack(5, ReasonCode::SUCCESS))
    );
    let seen = harness.seen(first);
    assert_eq!(seen.payloads(), ["between", "live"]);
    assert_eq!(seen.messages[1].0.qos, 1);
    let seen = harness.seen(second);
    assert_eq!(seen.payloads(), ["replay", "live"]);
    assert_eq!(seen.messages[1].0.qos, 0, "up to which it was asked for");

    let unretained = harness.open(flagged("a/+", MqttSubscribeFlags::NO_LOCAL));
    assert!(
        harness.seen(unretained).reset.is_some(),
        "not without the client's own"
    );
    let quiet = harness.open(flagged("a/+", MqttSubscribeFlags::RETAIN));
    harness.quiet(bytes);
    assert_eq!(harness.seen(quiet).granted(), [0], "nothing to ask for");
    harness.cancel(first);
    harness.cancel(quiet);
    harness.quiet(bytes);
    harness.cancel(second);
    assert_eq!(harness.unsubscribed(bytes), "a/+");
    harness.finish(bytes);
}

#[test]
fn a_higher_qos_is_requested_without_a_replay() {
    let (mut harness, bytes, first, _) = subscribed(&[("a", 0)]);
    let mut begin = flagged("a", MqttSubscribeFlags::RETAIN);
    begin.qos = 2;
    let second = harness.open(begin);
    let raised = harness.subscribed(bytes);
    assert_eq!(raised.filters[0].qos, 2);
    assert_eq!(raised.filters[0].retain_handling, RetainHandling::DoNotSend);
    harness.suback(bytes, &raised, 0x80);
    assert_eq!(harness.seen(second).reset().reason_code, 0x80);
    assert!(harness.seen(first).is_nothing(), "the first goes on");
    harness.quiet(bytes);
    harness.cancel(first);
    assert_eq!(harness.unsubscribed(bytes), "a");
    harness.finish(bytes);
}

#[test]
fn each_stream_gets_each_message_once() {
    let (mut harness, bytes, both, subscribes) = subscribed(&[("a/+", 1), ("a/#", 0)]);
    let (plus, rest) = (id_of(&subscribes[0]), id_of(&subscribes[1]));
    let narrow = harness.open(flagged("a/b", MqttSubscribeFlags::RETAIN));
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    let exact = id_of(&subscribe);
    harness.seen(narrow);

    // One copy per subscription.
    for (id, qos) in [(rest, 0), (exact, 0), (plus, 1)] {
        let copy = Publish {
            qos,
            packet_id: u16::from(qos),
            ..incoming("a/b", "copies", &[id])
        };
        send(&mut harness, bytes, copy);
    }
    let seen = harness.seen(both);
    assert_eq!(seen.payloads(), ["copies"]);
    assert_eq!(seen.messages[0].0.qos, 1, "the safest copy");
    assert_eq!(harness.seen(narrow).payloads(), ["copies"]);
    // One copy for all.
    send(
        &mut harness,
        bytes,
        incoming("a/b", "one", &[plus, rest, exact]),
    );
    assert_eq!(harness.seen(both).payloads(), ["one"]);
    assert_eq!(harness.seen(narrow).payloads(), ["one"]);
    // A message that only one filter matches.
    send(&mut harness, bytes, incoming("a/b/c", "deep", &[rest]));
    assert_eq!(harness.seen(both).payloads(), ["deep"]);
    assert!(harness.seen(narrow).is_nothing());
    harness.cancel(both);
    harness.cancel(narrow);
    harness.packets(bytes);
    harness.break_off(bytes, "done");
    harness.assert_idle();
}

#[test]
fn without_identifiers_overlapping_filters_use_separate_connections() {
    let mut harness = Harness::new(r#"{"clientId":"gate"}"#);
    let first = harness.subscribe(&[("a/+", 0), ("a/b", 1), ("c", 0)]);
    let (bytes, _) = harness.connect_with(no_identifiers());
    let mut filters = Vec::new();
    for packet in harness.packets(bytes) {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(subscribe.properties.subscription_id, None);
        filters.push((
            subscribe.filters[0].filter.to_string(),
            subscribe.filters[0].qos,
        ));
        harness.suback(bytes, &subscribe, 1);
    }
    assert_eq!(
        filters,
        [("a/+".to_owned(), 1), ("c".to_owned(), 0)],
        "one filter stands for the other"
    );
    assert_eq!(harness.seen(first).granted(), [0, 1, 0]);
    send(&mut harness, bytes, incoming("a/b", "m", &[]));
    assert_eq!(harness.seen(first).payloads(), ["m"]);

    let second = harness.subscribe(&[("a/b", 0)]);
    harness.quiet(bytes);
    let (own, connect) = harness.connect_with(no_identifiers());
    assert_eq!(connect.client_id, "gate_2");
    let subscribe = harness.subscribed(own);
    harness.suback(own, &subscribe, 0);
    assert_eq!(harness.seen(second).granted(), [0]);
    send(&mut harness, own, retained("a/b", "replay", &[]));
    assert_eq!(harness.seen(second).payloads(), ["replay"]);
    assert!(harness.seen(first).is_nothing());

    let tangled = harness.subscribe(&[("x/+", 0), ("+/y", 0)]);
    assert_eq!(harness.seen(tangled).reset().reason_code, 0xA1);
    harness.cancel(second);
    let packets = harness.packets(own);
    assert!(
        matches!(
            packets.as_slice(),
            [Packet::Unsubscribe(_), Packet::Disconnect(_)]
        ),
        "it is closed with its last stream: {packets:?}"
    );
    harness.cancel(first);
    assert_eq!(harness.packets(bytes).len(), 2);
    harness.break_off(bytes, "done");
    harness.assert_idle();
}

#[test]
fn shared_subscriptions_and_overlapping_filters_use_separate_connections() {
    let (mut harness, bytes, plain, _) = subscribed(&[("a/#", 0)]);
    let shared = harness.subscribe(&[("$share/g/a/b", 0)]);
    let (own, _) = harness.connect();
    let subscribe = harness.subscribed(own);
    assert_eq!(subscribe.filters[0].filter, "$share/g/a/b");
    harness.suback(own, &subscribe, 0);
    harness.seen(shared);
    let same = harness.subscribe(&[("$share/g/a/b", 0)]);
    let (third, _) = harness.connect();
    let again = harness.subscribed(third);
    harness.suback(third, &again, 0);
    harness.seen(same);
    send(
        &mut harness,
        own,
        incoming("a/b", "mine", &[id_of(&subscribe)]),
    );
    assert_eq!(harness.seen(shared).payloads(), ["mine"]);
    assert!(harness.seen(same).is_nothing() && harness.seen(plain).is_nothing());
    for (stream, connection) in [(shared, own), (same, third), (plain, bytes)] {
        harness.cancel(stream);
        harness.packets(connection);
    }
    harness.break_off(bytes, "done");
    harness.assert_idle();
}

#[test]
fn features_that_the_broker_does_not_grant_are_refused() {
    let mut harness = Harness::new("{}");
    let wildcard = harness.subscribe(&[("a/+", 0)]);
    let shared = harness.subscribe(&[("$share/g/a", 0)]);
    let plain = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect_with(ConnackProperties {
        wildcard_subscription_available: Some(false),
        shared_subscription_available: Some(false),
        maximum_packet_size: Some(64),
        ..ConnackProperties::default()
    });
    assert_eq!(harness.seen(wildcard).reset().reason_code, 0xA2);
    assert_eq!(harness.seen(shared).reset().reason_code, 0x9E);
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    assert_eq!(harness.seen(plain).granted(), [0]);
    let long = harness.subscribe(&[("x".repeat(100).as_str(), 0)]);
    assert_eq!(harness.seen(long).reset().reason_code, 0x95);
    harness.cancel(plain);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn a_stream_that_is_cancelled_before_suback_leaves_nothing() {
    let mut harness = Harness::new("{}");
    let first = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.cancel(first);
    assert_eq!(harness.unsubscribed(bytes), "a");
    harness.suback(bytes, &subscribe, 0);
    let second = harness.subscribe(&[("a", 0)]);
    let again = harness.subscribed(bytes);
    send(
        &mut harness,
        bytes,
        incoming("a", "old", &[id_of(&subscribe)]),
    );
    harness.suback(bytes, &again, 0);
    let seen = harness.seen(second);
    assert!(seen.payloads().is_empty() && seen.granted() == [0]);
    let third = harness.subscribe(&[("a", 0)]);
    let last = harness.subscribed(bytes);
    harness.end(third);
    assert!(harness.seen(third).reset.is_none());
    harness.quiet(bytes);
    harness.suback(bytes, &last, 0);
    harness.cancel(second);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn retain_as_published_is_requested_and_not_shared() {
    let mut harness = Harness::new("{}");
    let flags = MqttSubscribeFlags::RETAIN_AS_PUBLISHED.with(MqttSubscribeFlags::SEND_RETAINED);
    let first = harness.open(flagged("a", flags));
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    assert!(subscribe.filters[0].retain_as_published);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(first);
    let second = harness.open(flagged("a", flags));
    let (own, _) = harness.connect();
    let again = harness.subscribed(own);
    harness.suback(own, &again, 0);
    harness.seen(second);
    send(
        &mut harness,
        bytes,
        retained("a", "live", &[id_of(&subscribe)]),
    );
    assert_eq!(harness.seen(first).payloads(), ["live"]);
    harness.cancel(second);
    harness.packets(own);
    harness.cancel(first);
    harness.unsubscribed(bytes);
    harness.finish(bytes);
}

#[test]
fn concurrent_requests_for_a_filter_share_few_subscribes() {
    let (mut harness, bytes, first, _) = subscribed(&[("a", 0)]);
    let many: Vec<StreamId> = (0..20).map(|_| harness.subscribe(&[("a", 0)])).collect();
    let asked = harness.packets(bytes);
    assert_eq!(asked.len(), 4, "the others wait for company");
    let mut shared = None;
    for packet in &asked {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        harness.suback(bytes, subscribe, 0);
        send(
            &mut harness,
            bytes,
            retained("a", "21.5", &[id_of(subscribe)]),
        );
        let next = harness.packets(bytes);
        if let [Packet::Subscribe(subscribe)] = &next[..] {
            assert!(
                shared.replace(subscribe.clone()).is_none(),
                "one for all others"
            );
        }
    }
    let shared = shared.expect("a SUBSCRIBE for those who waited");
    assert!(harness.seen(many[19]).is_nothing());
    harness.suback(bytes, &shared, 0);
    send(
        &mut harness,
        bytes,
        retained("a", "21.5", &[id_of(&shared)]),
    );
    for stream in &many {
        let seen = harness.seen(*stream);
        assert_eq!(seen.granted(), [0]);
        assert_eq!(seen.payloads(), ["21.5"], "once");
    }
    assert!(harness.seen(first).is_nothing(), "its replay was before");
    for stream in many.into_iter().chain([first]) {
        harness.end(stream);
        assert!(harness.seen(stream).ended);
    }
    assert_eq!(harness.unsubscribed(bytes), "a");
    harness.finish(bytes);
}
