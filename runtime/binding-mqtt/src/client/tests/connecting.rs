use tidegate_engine::streams::BeginEx;
use tidegate_engine::streams::mqtt::{MqttBeginEx, MqttDelivery, MqttPublish};

use super::harness::*;
use crate::codec::{Connack, ConnackProperties, Disconnect, Packet, ReasonCode};

#[test]
fn a_session_opens_a_connection_and_its_end_closes_it() {
    let mut harness =
        Harness::new(r#"{"username":"u","password":{"base64":"AP8="},"keepAlive":20}"#);
    let session = harness.session("agent-1");
    let (bytes, connect) = harness.connect_with(ConnackProperties {
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
    let seen = harness.seen(session);
    let Some(BeginEx::Mqtt(MqttBeginEx::Session(granted))) = seen.begin else {
        panic!("{seen:?}");
    };
    assert_eq!(granted.client_id, "agent-1");
    assert_eq!(
        (granted.publish_qos_max, granted.packet_size_max),
        (1, 1_000)
    );
    harness.end(session);
    assert!(harness.seen(session).ended);
    assert!(
        matches!(harness.one(bytes), Packet::Disconnect(it) if it.reason == ReasonCode::SUCCESS)
    );
    harness.assert_idle();
}

#[test]
fn a_connection_lasts_as_long_as_its_session_and_its_streams() {
    let mut harness = Harness::new("{}");
    let session = harness.session("agent-1");
    let (bytes, _) = harness.connect();
    harness.seen(session);
    let publish = harness.open(MqttPublish {
        client_id: Some("agent-1".into()),
        ..publication("t", 1)
    });
    harness.no_connection();
    harness.message(publish, "m");
    harness.end(publish);
    let sent = harness.published(bytes);
    harness.end(session);
    assert!(harness.seen(session).ended);
    harness.quiet(bytes);
    harness.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(harness.seen(publish).is_done());
    assert!(matches!(harness.one(bytes), Packet::Disconnect(_)));
    harness.assert_idle();
}

#[test]
fn streams_without_a_client_share_one_connection_that_closes_when_idle() {
    let mut harness = Harness::new("{}");
    let first = harness.publish("a", 0, "1");
    let (bytes, connect) = harness.connect();
    let name = connect
        .client_id
        .strip_prefix("tidegate-")
        .expect("its name");
    assert!(name.len() == 8 && name.chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(harness.published(bytes).topic, "a");
    assert!(harness.seen(first).is_done());
    assert!(harness.pass(bytes, 59).is_empty());
    let second = harness.publish("b", 0, "2");
    assert_eq!(harness.published(bytes).topic, "b");
    assert!(harness.seen(second).is_done());
    assert!(
        harness.pass(bytes, 59).is_empty(),
        "not idle for long enough"
    );
    assert!(matches!(
        harness.pass(bytes, 1).as_slice(),
        [Packet::Disconnect(_)]
    ));
    harness.assert_idle();
}

#[test]
fn a_configured_client_id_is_sent_and_clients_have_separate_connections() {
    let mut harness = Harness::new(r#"{"clientId":"gate"}"#);
    let own = harness.subscribe(&[("a", 0)]);
    let (first, connect) = harness.connect();
    assert_eq!(connect.client_id, "gate");
    let session = harness.session("agent");
    let (second, connect) = harness.connect();
    assert_eq!(connect.client_id, "agent");
    harness.seen(session);
    harness.break_off(second, "reset");
    harness.no_connection();
    harness.cancel(session);
    let subscribe = harness.subscribed(first);
    harness.suback(first, &subscribe, 0);
    assert_eq!(harness.seen(own).granted(), [0]);
    harness.cancel(own);
    assert_eq!(harness.unsubscribed(first), "a");
    harness.finish(first);
}

#[test]
fn workers_have_different_client_ids() {
    let mut harness = Harness::on_worker(3);
    let publish = harness.publish("a", 0, "1");
    let (bytes, connect) = harness.connect();
    assert_eq!(connect.client_id, "gate:3");
    harness.published(bytes);
    assert!(harness.seen(publish).is_done());
    harness.finish(bytes);
}

#[test]
fn a_refusal_resets_waiting_streams_and_holds_off_attempts() {
    let mut harness = Harness::new("{}");
    let first = harness.publish("a", 1, "1");
    let second = harness.subscribe(&[("a", 0)]);
    let bytes = harness.accept();
    harness.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::NOT_AUTHORIZED,
        ..Connack::default()
    };
    harness.broker(bytes, &Packet::Connack(Box::new(connack)));
    for stream in [first, second] {
        let seen = harness.seen(stream);
        let reset = seen.reset();
        assert_eq!(reset.reason_code, 0x87);
        assert_eq!(
            reset.reason,
            "The broker broker.example:1883 refused the connection: Not authorized (0x87)."
        );
        assert_eq!(reset.delivery, MqttDelivery::None);
    }
    let third = harness.publish("a", 1, "1");
    harness.no_connection();
    assert_eq!(harness.seen(third).reset().reason_code, 0x87);
    harness.advance(61_000);
    let fourth = harness.publish("a", 0, "1");
    let (bytes, _) = harness.connect();
    assert_eq!(harness.published(bytes).topic, "a");
    assert!(harness.seen(fourth).is_done());
    harness.finish(bytes);
}

#[test]
fn an_unreachable_broker_is_named_and_retried_with_backoff() {
    let mut harness = Harness::new("{}");
    let first = harness.publish("a", 0, "1");
    let bytes = harness.opened();
    harness.break_off(bytes, "connection refused");
    let seen = harness.seen(first);
    assert_eq!(seen.reset().reason_code, 0x88);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 cannot be reached: connection refused."
    );
    harness.assert_idle();
    let meanwhile = harness.publish("a", 0, "1");
    harness.no_connection();
    assert_eq!(
        harness.seen(meanwhile).reset().reason,
        "The broker broker.example:1883 cannot be reached: connection refused; next attempt in 1 s."
    );
    harness.advance(1_000);
    let second = harness.publish("a", 0, "1");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    assert!(harness.seen(second).is_done());
    harness.finish(bytes);
}

#[test]
fn a_connect_timeout_resets_waiting_streams() {
    let mut harness = Harness::new("{}");
    let first = harness.publish("a", 2, "1");
    let bytes = harness.accept();
    harness.packets(bytes);
    harness.advance(4_999);
    let second = harness.session("");
    assert!(harness.seen(first).is_nothing());
    harness.advance(1);
    for stream in [first, second] {
        let seen = harness.seen(stream);
        assert_eq!(
            seen.reset().reason,
            "The broker broker.example:1883 did not answer CONNECT within 5000 ms; check that the port is an MQTT port without TLS."
        );
        assert_eq!(seen.reset().delivery, MqttDelivery::None);
    }
    harness.packets(bytes);
    harness.assert_idle();
}

#[test]
fn cancelling_while_connecting_does_not_affect_other_streams() {
    let mut harness = Harness::new("{}");
    let cancelled = harness.publish("a", 1, "never");
    let subscriber = harness.subscribe(&[("a", 0)]);
    let stays = harness.publish("b", 0, "1");
    harness.cancel(cancelled);
    harness.cancel(subscriber);
    let (bytes, _) = harness.connect();
    assert_eq!(harness.published(bytes).topic, "b");
    assert!(harness.seen(stays).is_done());
    harness.finish(bytes);

    let mut harness = Harness::new("{}");
    let session = harness.session("agent");
    let bytes = harness.accept();
    harness.packets(bytes);
    harness.cancel(session);
    harness.packets(bytes);
    harness.assert_idle();
}

#[test]
fn connections_and_streams_are_bounded() {
    let mut harness = Harness::new(r#"{"maxConnections":1,"maxStreams":2}"#);
    let first = harness.session("one");
    let other = harness.session("two");
    assert_eq!(harness.seen(other).reset().reason_code, 0x97);
    let second = harness.session("one");
    let third = harness.session("one");
    assert_eq!(harness.seen(third).reset().reason_code, 0x97);
    let (bytes, _) = harness.connect();
    for stream in [first, second] {
        assert!(harness.seen(stream).begin.is_some());
        harness.end(stream);
        assert!(harness.seen(stream).ended);
    }
    assert!(matches!(harness.one(bytes), Packet::Disconnect(_)));
    harness.assert_idle();
}

#[test]
fn silence_leads_to_pingreq_and_closes_the_connection() {
    let mut harness = Harness::new("{}");
    let subscriber = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect_with(ConnackProperties {
        server_keep_alive: Some(10),
        ..ConnackProperties::default()
    });
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(subscriber);
    harness.advance(10_000);
    assert_eq!(harness.one(bytes), Packet::Pingreq);
    harness.broker(bytes, &Packet::Pingresp);
    harness.advance(10_000);
    assert_eq!(harness.one(bytes), Packet::Pingreq);
    harness.advance(4_999);
    harness.quiet(bytes);
    let publish = harness.publish("a", 1, "1");
    harness.advance(1);
    let packets = harness.packets(bytes);
    assert!(
        matches!(packets.as_slice(), [Packet::Publish(_), Packet::Disconnect(it)]
            if it.reason == ReasonCode::UNSPECIFIED_ERROR),
        "{packets:?}"
    );
    let seen = harness.seen(publish);
    assert_eq!(seen.reset().reason_code, 0x8D);
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    let bytes = harness.opened();
    harness.cancel(subscriber);
    harness.break_off(bytes, "refused");
    harness.assert_idle();
}

#[test]
fn at_shutdown_publications_complete_and_other_streams_end() {
    let mut harness = Harness::new("{}");
    let session = harness.session("");
    let subscriber = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(session);
    harness.seen(subscriber);
    let idle = harness.open(publication("i", 1));
    let publish = harness.publish("p", 1, "1");
    let sent = harness.published(bytes);
    let now = harness.rig.now();
    harness.rig.worker.shutdown(now);
    harness.advance(0);
    assert!(harness.seen(session).ended);
    assert!(harness.seen(subscriber).is_nothing(), "its caller ends it");
    assert_eq!(harness.seen(idle).reset().reason_code, 0x8B);
    let late = harness.publish("p", 0, "late");
    assert_eq!(harness.seen(late).reset().reason_code, 0x8B);
    harness.end(subscriber);
    assert!(harness.seen(subscriber).ended);
    assert_eq!(harness.unsubscribed(bytes), "a");
    assert!(harness.seen(publish).is_nothing());
    harness.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    assert!(harness.seen(publish).is_done());
    assert!(matches!(harness.one(bytes), Packet::Disconnect(_)));
    harness.assert_idle();
}

#[test]
fn a_close_waits_for_the_broker_for_a_limited_time() {
    let mut harness = Harness::new("{}");
    let session = harness.session("a");
    let (bytes, _) = harness.connect();
    harness.seen(session);
    harness.end(session);
    harness.seen(session);
    let again = harness.session("a");
    let (second, _) = harness.connect();
    assert!(
        harness.seen(again).begin.is_some(),
        "a new connection meanwhile"
    );
    harness.advance(5_000);
    harness.packets(bytes);
    harness.end(again);
    harness.seen(again);
    harness.packets(second);
    harness.assert_idle();
}

#[test]
fn a_disconnect_of_the_broker_is_reported_with_its_reason() {
    let mut harness = Harness::new("{}");
    let publish = harness.publish("a", 1, "1");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    let mut disconnect = Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        ..Disconnect::default()
    };
    disconnect.properties.reason_string = Some("elsewhere\u{7}".into());
    harness.broker(bytes, &Packet::Disconnect(Box::new(disconnect)));
    let seen = harness.seen(publish);
    assert_eq!(seen.reset().reason_code, 0x8E);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 closed the connection: Session taken over (0x8E, \
         \"elsewhere\")."
    );
    assert_eq!(seen.reset().delivery, MqttDelivery::Possible);
    harness.packets(bytes);
    harness.assert_idle();
}
