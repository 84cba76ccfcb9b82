use tidegate_engine::streams::BeginEx;
use tidegate_engine::streams::mqtt::{MqttBeginEx, MqttDelivery, MqttPublish};

use super::house::*;
use crate::codec::{Connack, ConnackProperties, Disconnect, Packet, ReasonCode};

#[test]
fn a_session_opens_a_connection_and_its_end_closes_it() {
    let mut house = House::new(r#"{"username":"u","password":{"base64":"AP8="},"keepAlive":20}"#);
    let session = house.session("agent-1");
    let (bytes, connect) = house.connect_with(ConnackProperties {
        maximum_qos: Some(1),
        maximum_packet_size: Some(1_000),
        ..ConnackProperties::default()
    });
    assert_eq!(connect.client_id, "agent-1");
    assert!(connect.clean_start && connect.keep_alive == 20 && connect.will.is_none());
    assert_eq!(connect.properties.session_expiry.unwrap_or(0), 0);
    assert_eq!(connect.properties.receive_maximum, Some(1_000));
    assert_eq!(connect.username.as_deref(), Some("u"));
    assert_eq!(connect.password.as_deref(), Some([0, 0xff].as_slice()));
    let seen = house.seen(session);
    let Some(BeginEx::Mqtt(MqttBeginEx::Session(granted))) = seen.begin else {
        panic!("{seen:?}");
    };
    assert_eq!(granted.client_id, "agent-1");
    assert_eq!(
        (granted.publish_qos_max, granted.packet_size_max),
        (1, 1_000)
    );
    house.end(session);
    assert!(house.seen(session).ended);
    assert!(matches!(house.one(bytes), Packet::Disconnect(it) if it.reason == ReasonCode::SUCCESS));
    house.assert_idle();
}

#[test]
fn a_connection_lasts_as_long_as_its_session_and_its_streams() {
    let mut house = House::new("{}");
    let session = house.session("agent-1");
    let (bytes, _) = house.connect();
    house.seen(session);
    let publish = house.open(MqttPublish {
        client_id: Some("agent-1".into()),
        ..publication("t", 1)
    });
    house.no_connection();
    house.message(publish, "m");
    house.end(publish);
    let sent = house.published(bytes);
    house.end(session);
    assert!(house.seen(session).ended);
    house.quiet(bytes);
    house.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(house.seen(publish).is_done());
    assert!(matches!(house.one(bytes), Packet::Disconnect(_)));
    house.assert_idle();
}

#[test]
fn streams_without_a_client_share_one_connection_that_closes_when_idle() {
    let mut house = House::new("{}");
    let first = house.publish("a", 0, "1");
    let (bytes, connect) = house.connect();
    let name = connect
        .client_id
        .strip_prefix("tidegate-")
        .expect("its name");
    assert!(name.len() == 8 && name.chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(house.published(bytes).topic, "a");
    assert!(house.seen(first).is_done());
    assert!(house.pass(bytes, 59).is_empty());
    let second = house.publish("b", 0, "2");
    assert_eq!(house.published(bytes).topic, "b");
    assert!(house.seen(second).is_done());
    assert!(house.pass(bytes, 59).is_empty(), "not idle for long enough");
    assert!(matches!(
        house.pass(bytes, 1).as_slice(),
        [Packet::Disconnect(_)]
    ));
    house.assert_idle();
}

#[test]
fn a_configured_name_is_told_and_clients_are_apart() {
    let mut house = House::new(r#"{"clientId":"gate"}"#);
    let own = house.subscribe(&[("a", 0)]);
    let (first, connect) = house.connect();
    assert_eq!(connect.client_id, "gate");
    let session = house.session("agent");
    let (second, connect) = house.connect();
    assert_eq!(connect.client_id, "agent");
    house.seen(session);
    house.break_off(second, "reset");
    house.no_connection();
    house.cancel(session);
    let subscribe = house.subscribed(first);
    house.suback(first, &subscribe, 0);
    assert_eq!(house.seen(own).granted(), [0]);
    house.cancel(own);
    assert_eq!(house.unsubscribed(first), "a");
    house.finish(first);
}

#[test]
fn workers_do_not_throw_each_other_off() {
    let mut house = House::on_worker(3);
    let publish = house.publish("a", 0, "1");
    let (bytes, connect) = house.connect();
    assert_eq!(connect.client_id, "gate-3");
    house.published(bytes);
    assert!(house.seen(publish).is_done());
    house.finish(bytes);
}

#[test]
fn a_refusal_is_told_to_who_waits_and_not_asked_for_again_at_once() {
    let mut house = House::new("{}");
    let first = house.publish("a", 1, "1");
    let second = house.subscribe(&[("a", 0)]);
    let bytes = house.accept();
    house.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::NOT_AUTHORIZED,
        ..Connack::default()
    };
    house.broker(bytes, &Packet::Connack(Box::new(connack)));
    for stream in [first, second] {
        let seen = house.seen(stream);
        let reset = seen.reset();
        assert_eq!(reset.reason_code, 0x87);
        assert_eq!(
            reset.reason,
            "The broker broker.example:1883 refused the connection: Not authorized (0x87)."
        );
        assert_eq!(reset.delivery, MqttDelivery::None);
    }
    let third = house.publish("a", 1, "1");
    house.no_connection();
    assert_eq!(house.seen(third).reset().reason_code, 0x87);
    house.advance(61_000);
    let fourth = house.publish("a", 0, "1");
    let (bytes, _) = house.connect();
    assert_eq!(house.published(bytes).topic, "a");
    assert!(house.seen(fourth).is_done());
    house.finish(bytes);
}

#[test]
fn an_unreachable_broker_is_told_by_name_and_tried_again_after_a_while() {
    let mut house = House::new("{}");
    let first = house.publish("a", 0, "1");
    let bytes = house.opened();
    house.break_off(bytes, "connection refused");
    let seen = house.seen(first);
    assert_eq!(seen.reset().reason_code, 0x88);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 cannot be reached: connection refused."
    );
    house.assert_idle();
    let meanwhile = house.publish("a", 0, "1");
    house.no_connection();
    assert_eq!(
        house.seen(meanwhile).reset().reason,
        "The broker broker.example:1883 cannot be reached: connection refused; next attempt in 1 s."
    );
    house.advance(1_000);
    let second = house.publish("a", 0, "1");
    let (bytes, _) = house.connect();
    house.published(bytes);
    assert!(house.seen(second).is_done());
    house.finish(bytes);
}

#[test]
fn a_broker_that_does_not_answer_is_given_up_in_time() {
    let mut house = House::new("{}");
    let first = house.publish("a", 2, "1");
    let bytes = house.accept();
    house.packets(bytes);
    house.advance(4_999);
    let second = house.session("");
    assert!(house.seen(first).is_nothing());
    house.advance(1);
    for stream in [first, second] {
        let seen = house.seen(stream);
        assert_eq!(
            seen.reset().reason,
            "The broker broker.example:1883 did not answer CONNECT within 5000 ms: check that this is not its port for TLS, and that it supports MQTT 5."
        );
        assert_eq!(seen.reset().delivery, MqttDelivery::None);
    }
    house.packets(bytes);
    house.assert_idle();
}

#[test]
fn what_is_cancelled_while_connecting_harms_no_other() {
    let mut house = House::new("{}");
    let cancelled = house.publish("a", 1, "never");
    let subscriber = house.subscribe(&[("a", 0)]);
    let stays = house.publish("b", 0, "1");
    house.cancel(cancelled);
    house.cancel(subscriber);
    let (bytes, _) = house.connect();
    assert_eq!(house.published(bytes).topic, "b");
    assert!(house.seen(stays).is_done());
    house.finish(bytes);

    let mut house = House::new("{}");
    let session = house.session("agent");
    let bytes = house.accept();
    house.packets(bytes);
    house.cancel(session);
    house.packets(bytes);
    house.assert_idle();
}

#[test]
fn connections_and_streams_are_bounded() {
    let mut house = House::new(r#"{"maxConnections":1,"maxStreams":2}"#);
    let first = house.session("one");
    let other = house.session("two");
    assert_eq!(house.seen(other).reset().reason_code, 0x97);
    let second = house.session("one");
    let third = house.session("one");
    assert_eq!(house.seen(third).reset().reason_code, 0x97);
    let (bytes, _) = house.connect();
    for stream in [first, second] {
        assert!(house.seen(stream).begin.is_some());
        house.end(stream);
        assert!(house.seen(stream).ended);
    }
    assert!(matches!(house.one(bytes), Packet::Disconnect(_)));
    house.assert_idle();
}

#[test]
fn silence_is_asked_about_and_ends_the_connection() {
    let mut house = House::new("{}");
    let subscriber = house.subscribe(&[("a", 0)]);
    let (bytes, _) = house.connect_with(ConnackProperties {
        server_keep_alive: Some(10),
        ..ConnackProperties::default()
    });
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    house.seen(subscriber);
    house.advance(10_000);
    assert_eq!(house.one(bytes), Packet::Pingreq);
    house.broker(bytes, &Packet::Pingresp);
    house.advance(10_000);
    assert_eq!(house.one(bytes), Packet::Pingreq);
    house.advance(4_999);
    house.quiet(bytes);
    let publish = house.publish("a", 1, "1");
    house.advance(1);
    let packets = house.packets(bytes);
    assert!(
        matches!(packets.as_slice(), [Packet::Publish(_), Packet::Disconnect(it)]
            if it.reason == ReasonCode::UNSPECIFIED_ERROR),
        "{packets:?}"
    );
    let seen = house.seen(publish);
    assert_eq!(seen.reset().reason_code, 0x8D);
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    let bytes = house.opened();
    house.cancel(subscriber);
    house.break_off(bytes, "refused");
    house.assert_idle();
}

#[test]
fn at_shutdown_what_is_under_way_finishes_and_the_rest_ends() {
    let mut house = House::new("{}");
    let session = house.session("");
    let subscriber = house.subscribe(&[("a", 0)]);
    let (bytes, _) = house.connect();
    let subscribe = house.subscribed(bytes);
    house.suback(bytes, &subscribe, 0);
    house.seen(session);
    house.seen(subscriber);
    let idle = house.open(publication("i", 1));
    let publish = house.publish("p", 1, "1");
    let sent = house.published(bytes);
    let now = house.rig.now();
    house.rig.worker.shutdown(now);
    house.advance(0);
    assert!(house.seen(session).ended);
    assert!(house.seen(subscriber).is_nothing(), "its caller ends it");
    assert_eq!(house.seen(idle).reset().reason_code, 0x8B);
    let late = house.publish("p", 0, "late");
    assert_eq!(house.seen(late).reset().reason_code, 0x8B);
    house.end(subscriber);
    assert!(house.seen(subscriber).ended);
    assert_eq!(house.unsubscribed(bytes), "a");
    assert!(house.seen(publish).is_nothing());
    house.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(house.seen(publish).is_done());
    assert!(matches!(house.one(bytes), Packet::Disconnect(_)));
    house.assert_idle();
}

#[test]
fn an_orderly_close_does_not_wait_for_ever() {
    let mut house = House::new("{}");
    let session = house.session("a");
    let (bytes, _) = house.connect();
    house.seen(session);
    house.end(session);
    house.seen(session);
    let again = house.session("a");
    let (second, _) = house.connect();
    assert!(
        house.seen(again).begin.is_some(),
        "a new connection meanwhile"
    );
    house.advance(5_000);
    house.packets(bytes);
    house.end(again);
    house.seen(again);
    house.packets(second);
    house.assert_idle();
}

#[test]
fn a_broker_may_say_goodbye_with_a_reason() {
    let mut house = House::new("{}");
    let publish = house.publish("a", 1, "1");
    let (bytes, _) = house.connect();
    house.published(bytes);
    let mut disconnect = Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        ..Disconnect::default()
    };
    disconnect.properties.reason_string = Some("elsewhere\u{7}".into());
    house.broker(bytes, &Packet::Disconnect(Box::new(disconnect)));
    let seen = house.seen(publish);
    assert_eq!(seen.reset().reason_code, 0x8E);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 closed the connection: Session taken over (0x8E, \
         \"elsewhere\")."
    );
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    house.packets(bytes);
    house.assert_idle();
}
