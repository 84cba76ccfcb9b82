use tidegate_engine::StreamId;
use tidegate_engine::streams::mqtt::{MqttSubscribe, MqttSubscribeFlags, MqttTopicFilter};

use super::house::*;
use crate::codec::{ConnackProperties, Packet, Publish, ReasonCode, RetainHandling, Subscribe};

/// A connection with one accepted subscription.
fn subscribed(filters: &[(&str, u8)]) -> (House, StreamId, StreamId, Vec<Subscribe>) {
    let mut house = House::new("{}");
    let stream = house.subscribe(filters);
    let (bytes, _) = house.connect();
    let packets = house.packets(bytes);
    let subscribes: Vec<Subscribe> = packets
        .into_iter()
        .map(|packet| match packet {
            Packet::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        })
        .collect();
    for subscribe in &subscribes {
        house.suback(bytes, subscribe, subscribe.filters[0].qos);
    }
    house.seen(stream).granted();
    (house, bytes, stream, subscribes)
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

fn send(house: &mut House, bytes: StreamId, publish: Publish) {
    house.broker(bytes, &Packet::Publish(publish));
}

#[test]
fn the_reply_follows_suback_and_nothing_before_it_is_lost() {
    let mut house = House::new("{}");
    let mut begin = subscription(&[("a/+", 1)]);
    begin.filters[0].subscription_id = 42;
    let stream = house.open(begin);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    assert_eq!(subscribe.filters[0].filter, "a/+");
    assert_eq!(subscribe.filters[0].qos, 1);
    assert_eq!(subscribe.filters[0].retain_handling, RetainHandling::Send);
    let id = id_of(&subscribe);
    let mut early = retained("a/b", "early", &[id]);
    early.properties.message_expiry = Some(9);
    early.properties.payload_format = Some(1);
    send(&mut house, bytes, early);
    assert!(house.seen(stream).is_nothing());
    house.suback(bytes, &subscribe, 0);
    let seen = house.seen(stream);
    assert_eq!(seen.granted(), [0], "what the broker granted");
    assert_eq!(seen.payloads(), ["early"]);
    let message = &seen.messages[0].0;
    assert_eq!(message.topic, "a/b");
    assert!(message.flags.contains(MqttSubscribeFlags::RETAIN));
    assert_eq!(message.subscription_ids, [42]);
    assert_eq!(message.expiry_interval, 9);
    house.end(stream);
    assert!(house.seen(stream).ended);
    assert_eq!(house.unsubscribed(bytes), "a/+");
    send(&mut house, bytes, incoming("a/b", "late", &[id]));
    house.finish(bytes);
}

#[test]
fn a_subscription_that_the_broker_refuses_is_an_error() {
    let mut house = House::new("{}");
    let refused = house.subscribe(&[("a", 0)]);
    let partly = house.subscribe(&[("b", 0), ("c", 1)]);
    let (bytes, _) = house.connect();
    for packet in house.packets(bytes) {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        let granted = if subscribe.filters[0].filter == "c" {
            1
        } else {
            0x87
        };
        house.suback(bytes, &subscribe, granted);
    }
    let seen = house.seen(refused);
    assert_eq!(seen.reset().reason_code, 0x87);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 refused the subscription to 'a': Not authorized (0x87)."
    );
    assert_eq!(house.seen(partly).granted(), [0x87, 1]);
    for begin in [
        subscription(&[("a/#/b", 0)]),
        subscription(&[]),
        subscription(&[("a", 3)]),
    ] {
        let illegal = house.open(begin);
        assert!(house.seen(illegal).reset().reason_code >= 0x80);
    }
    house.cancel(partly);
    assert_eq!(house.unsubscribed(bytes), "c");
    house.finish(bytes);
}

#[test]
fn one_filter_is_one_subscription_and_a_replay_is_the_newcomers_alone() {
    let (mut house, bytes, first, subscribes) = subscribed(&[("a/+", 1)]);
    let old = id_of(&subscribes[0]);
    let second = house.subscribe(&[("a/+", 0)]);
    let again = house.subscribed(bytes);
    assert_eq!(again.filters[0].qos, 1, "never lowered while in use");
    let new = id_of(&again);
    send(&mut house, bytes, incoming("a/x", "between", &[old]));
    house.suback(bytes, &again, 1);
    send(&mut house, bytes, retained("a/x", "replay", &[new]));
    let mut live = incoming("a/x", "live", &[new]);
    live.qos = 1;
    live.packet_id = 5;
    send(&mut house, bytes, live);
    assert_eq!(
        house.one(bytes),
        Packet::Puback(ack(5, ReasonCode::SUCCESS))
    );
    let seen = house.seen(first);
    assert_eq!(seen.payloads(), ["between", "live"]);
    assert_eq!(seen.messages[1].0.qos, 1);
    let seen = house.seen(second);
    assert_eq!(seen.payloads(), ["replay", "live"]);
    assert_eq!(seen.messages[1].0.qos, 0, "up to which it was asked for");

    let unretained = house.open(flagged("a/+", MqttSubscribeFlags::NO_LOCAL));
    assert!(
        house.seen(unretained).reset.is_some(),
        "not without the client's own"
    );
    let quiet = house.open(flagged("a/+", MqttSubscribeFlags::RETAIN));
    house.quiet(bytes);
    assert_eq!(house.seen(quiet).granted(), [0], "nothing to ask for");
    house.cancel(first);
    house.cancel(quiet);
    house.quiet(bytes);
    house.cancel(second);
    assert_eq!(house.unsubscribed(bytes), "a/+");
    house.finish(bytes);
}

#[test]
fn a_higher_qos_is_asked_for_without_a_replay() {
    let (mut house, bytes, first, _) = subscribed(&[("a", 0)]);
    let mut begin = flagged("a", MqttSubscribeFlags::RETAIN);
    begin.qos = 2;
    let second = house.open(begin);
    let raised = house.subscribed(bytes);
    assert_eq!(raised.filters[0].qos, 2);
    assert_eq!(raised.filters[0].retain_handling, RetainHandling::DoNotSend);
    house.suback(bytes, &raised, 0x80);
    assert_eq!(house.seen(second).reset().reason_code, 0x80);
    assert!(house.seen(first).is_nothing(), "the first goes on");
    house.quiet(bytes);
    house.cancel(first);
    assert_eq!(house.unsubscribed(bytes), "a");
    house.finish(bytes);
}

#[test]
fn each_stream_gets_each_message_once_whichever_way_the_broker_sends_it() {
    let (mut house, bytes, both, subscribes) = subscribed(&[("a/+", 1), ("a/#", 0)]);
    let (plus, rest) = (id_of(&subscribes[0]), id_of(&subscribes[1]));
    let narrow = house.open(flagged("a/b", MqttSubscribeFlags::RETAIN));
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    let exact = id_of(&subscribe);
    house.seen(narrow);

    // A copy for each subscription.
    for (id, qos) in [(rest, 0), (exact, 0), (plus, 1)] {
        let copy = Publish {
            qos,
            packet_id: u16::from(qos),
            ..incoming("a/b", "copies", &[id])
        };
        send(&mut house, bytes, copy);
    }
    let seen = house.seen(both);
    assert_eq!(seen.payloads(), ["copies"]);
    assert_eq!(seen.messages[0].0.qos, 1, "the safest copy");
    assert_eq!(house.seen(narrow).payloads(), ["copies"]);
    // One copy for all.
    send(
        &mut house,
        bytes,
        incoming("a/b", "one", &[plus, rest, exact]),
    );
    assert_eq!(house.seen(both).payloads(), ["one"]);
    assert_eq!(house.seen(narrow).payloads(), ["one"]);
    // What one of the filters matches alone.
    send(&mut house, bytes, incoming("a/b/c", "deep", &[rest]));
    assert_eq!(house.seen(both).payloads(), ["deep"]);
    assert!(house.seen(narrow).is_nothing());
    house.cancel(both);
    house.cancel(narrow);
    house.packets(bytes);
    house.break_off(bytes, "done");
    house.assert_idle();
}

#[test]
fn without_identifiers_filters_that_overlap_are_on_connections_of_their_own() {
    let mut house = House::new(r#"{"clientId":"gate"}"#);
    let first = house.subscribe(&[("a/+", 0), ("a/b", 1), ("c", 0)]);
    let (bytes, _) = house.connect_with(no_identifiers());
    let mut filters = Vec::new();
    for packet in house.packets(bytes) {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(subscribe.properties.subscription_id, None);
        filters.push((
            subscribe.filters[0].filter.to_string(),
            subscribe.filters[0].qos,
        ));
        house.suback(bytes, &subscribe, 1);
    }
    assert_eq!(
        filters,
        [("a/+".to_owned(), 1), ("c".to_owned(), 0)],
        "one filter stands for the other"
    );
    assert_eq!(house.seen(first).granted(), [0, 1, 0]);
    send(&mut house, bytes, incoming("a/b", "m", &[]));
    assert_eq!(house.seen(first).payloads(), ["m"]);

    let second = house.subscribe(&[("a/b", 0)]);
    house.quiet(bytes);
    let (own, connect) = house.connect_with(no_identifiers());
    assert_eq!(connect.client_id, "gate_2");
    let subscribe = house.subscribed(own);
    house.suback(own, &subscribe, 0);
    assert_eq!(house.seen(second).granted(), [0]);
    send(&mut house, own, retained("a/b", "replay", &[]));
    assert_eq!(house.seen(second).payloads(), ["replay"]);
    assert!(house.seen(first).is_nothing());

    let tangled = house.subscribe(&[("x/+", 0), ("+/y", 0)]);
    assert_eq!(house.seen(tangled).reset().reason_code, 0xA1);
    house.cancel(second);
    let packets = house.packets(own);
    assert!(
        matches!(
            packets.as_slice(),
            [Packet::Unsubscribe(_), Packet::Disconnect(_)]
        ),
        "it is closed with its last stream: {packets:?}"
    );
    house.cancel(first);
    assert_eq!(house.packets(bytes).len(), 2);
    house.break_off(bytes, "done");
    house.assert_idle();
}

#[test]
fn shared_subscriptions_do_not_share_with_what_overlaps_them() {
    let (mut house, bytes, plain, _) = subscribed(&[("a/#", 0)]);
    let shared = house.subscribe(&[("$share/g/a/b", 0)]);
    let (own, _) = house.connect();
    let subscribe = house.subscribed(own);
    assert_eq!(subscribe.filters[0].filter, "$share/g/a/b");
    house.suback(own, &subscribe, 0);
    house.seen(shared);
    let same = house.subscribe(&[("$share/g/a/b", 0)]);
    let (third, _) = house.connect();
    let again = house.subscribed(third);
    house.suback(third, &again, 0);
    house.seen(same);
    send(
        &mut house,
        own,
        incoming("a/b", "mine", &[id_of(&subscribe)]),
    );
    assert_eq!(house.seen(shared).payloads(), ["mine"]);
    assert!(house.seen(same).is_nothing() && house.seen(plain).is_nothing());
    for (stream, connection) in [(shared, own), (same, third), (plain, bytes)] {
        house.cancel(stream);
        house.packets(connection);
    }
    house.break_off(bytes, "done");
    house.assert_idle();
}

#[test]
fn what_the_broker_does_not_grant_is_refused_here() {
    let mut house = House::new("{}");
    let wildcard = house.subscribe(&[("a/+", 0)]);
    let shared = house.subscribe(&[("$share/g/a", 0)]);
    let plain = house.subscribe(&[("a", 0)]);
    let (bytes, _) = house.connect_with(ConnackProperties {
        wildcard_subscription_available: Some(false),
        shared_subscription_available: Some(false),
        maximum_packet_size: Some(64),
        ..ConnackProperties::default()
    });
    assert_eq!(house.seen(wildcard).reset().reason_code, 0xA2);
    assert_eq!(house.seen(shared).reset().reason_code, 0x9E);
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    assert_eq!(house.seen(plain).granted(), [0]);
    let long = house.subscribe(&[("x".repeat(100).as_str(), 0)]);
    assert_eq!(house.seen(long).reset().reason_code, 0x95);
    house.cancel(plain);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn a_stream_that_is_cancelled_before_suback_leaves_nothing() {
    let mut house = House::new("{}");
    let first = house.subscribe(&[("a", 0)]);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.cancel(first);
    assert_eq!(house.unsubscribed(bytes), "a");
    house.suback(bytes, &subscribe, 0);
    let second = house.subscribe(&[("a", 0)]);
    let again = house.subscribed(bytes);
    send(
        &mut house,
        bytes,
        incoming("a", "old", &[id_of(&subscribe)]),
    );
    house.suback(bytes, &again, 0);
    let seen = house.seen(second);
    assert!(seen.payloads().is_empty() && seen.granted() == [0]);
    let third = house.subscribe(&[("a", 0)]);
    let last = house.subscribed(bytes);
    house.end(third);
    assert!(house.seen(third).reset.is_none());
    house.quiet(bytes);
    house.suback(bytes, &last, 0);
    house.cancel(second);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn retain_as_published_is_asked_for_and_not_shared() {
    let mut house = House::new("{}");
    let flags = MqttSubscribeFlags::RETAIN_AS_PUBLISHED.with(MqttSubscribeFlags::SEND_RETAINED);
    let first = house.open(flagged("a", flags));
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    assert!(subscribe.filters[0].retain_as_published);
    house.suback(bytes, &subscribe, 0);
    house.seen(first);
    let second = house.open(flagged("a", flags));
    let (own, _) = house.connect();
    let again = house.subscribed(own);
    house.suback(own, &again, 0);
    house.seen(second);
    send(
        &mut house,
        bytes,
        retained("a", "live", &[id_of(&subscribe)]),
    );
    assert_eq!(house.seen(first).payloads(), ["live"]);
    house.cancel(second);
    house.packets(own);
    house.cancel(first);
    house.unsubscribed(bytes);
    house.finish(bytes);
}

#[test]
fn many_who_ask_for_one_filter_at_a_time_share_few_subscribes() {
    let (mut house, bytes, first, _) = subscribed(&[("a", 0)]);
    let many: Vec<StreamId> = (0..20).map(|_| house.subscribe(&[("a", 0)])).collect();
    let asked = house.packets(bytes);
    assert_eq!(asked.len(), 4, "the others wait for company");
    let mut shared = None;
    for packet in &asked {
        let Packet::Subscribe(subscribe) = packet else {
            panic!("{packet:?}");
        };
        house.suback(bytes, subscribe, 0);
        send(
            &mut house,
            bytes,
            retained("a", "21.5", &[id_of(subscribe)]),
        );
        let next = house.packets(bytes);
        if let [Packet::Subscribe(subscribe)] = &next[..] {
            assert!(
                shared.replace(subscribe.clone()).is_none(),
                "one for all others"
            );
        }
    }
    let shared = shared.expect("a SUBSCRIBE for those who waited");
    assert!(house.seen(many[19]).is_nothing());
    house.suback(bytes, &shared, 0);
    send(&mut house, bytes, retained("a", "21.5", &[id_of(&shared)]));
    for stream in &many {
        let seen = house.seen(*stream);
        assert_eq!(seen.granted(), [0]);
        assert_eq!(seen.payloads(), ["21.5"], "once");
    }
    assert!(house.seen(first).is_nothing(), "its replay was before");
    for stream in many.into_iter().chain([first]) {
        house.end(stream);
        assert!(house.seen(stream).ended);
    }
    assert_eq!(house.unsubscribed(bytes), "a");
    house.finish(bytes);
}
