//! Events and metrics.

use tidegate_engine::streams::Severity;
use tidegate_engine::{Measures, MeterKind};

use super::harness::{Harness, REMOTE, ack, incoming};
use crate::codec::{Connack, Packet, ReasonCode};

/// The metrics that are not 0, with the values of their labels.
fn figures(harness: &Harness) -> Vec<String> {
    let mut measures = Measures::default();
    harness.rig.worker.report(&mut measures);
    let own = measures
        .iter()
        .filter(|it| it.binding == "binding" && it.value > 0);
    let mut shown: Vec<String> = own
        .map(|it| {
            let label = it.labels.first().map_or("", |label| &*label.1);
            let kind = if it.kind == MeterKind::Gauge {
                "now"
            } else {
                ""
            };
            format!("{} {label}{kind} {}", it.name, it.value)
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn an_outage_is_three_events_however_many_calls_fail() {
    let mut harness = Harness::new(r#"{"reconnect":{"min":1000,"max":5000}}"#);
    let first = harness.publish("a", 0, "1");
    let bytes = harness.opened();
    harness.break_off(bytes, "connection refused");
    harness.seen(first);
    let lost = format!(
        "broker connection failed: The broker {REMOTE} cannot be reached: connection refused."
    );
    assert_eq!(harness.events(), [("binding.mqtt.connection.lost", lost)]);
    // Calls for a minute and a half.
    let mut events = Vec::new();
    for _ in 0..90 {
        for _ in 0..10 {
            harness.publish("a", 0, "1");
        }
        if harness.is_opened() {
            let bytes = harness.opened();
            harness.break_off(bytes, "connection refused");
        }
        harness.rig.outputs(harness.caller);
        events.extend(harness.events());
        harness.advance(1_000);
    }
    let [("binding.mqtt.connection.down", down)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(
        down.starts_with("broker still not connected after 6"),
        "{down}"
    );
    assert!(
        down.contains("cannot be reached: connection refused"),
        "{down}"
    );
    harness.advance(5_000);
    let back = harness.publish("a", 0, "1");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    harness.seen(back);
    let events = harness.events();
    let [("binding.mqtt.connection.restored", restored)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(
        restored.contains("connected again after 95 s"),
        "{restored}"
    );
    harness.finish(bytes);
}

#[test]
fn unexplained_closes_do_not_warn_about_packets() {
    let mut harness = Harness::new("{}");
    for _ in 0..6 {
        let publish = harness.publish("a", 1, "1");
        let bytes = if harness.is_opened() {
            harness.connect().0
        } else {
            harness.connections()[0]
        };
        harness.published(bytes);
        harness.break_off(bytes, "connection reset");
        harness.seen(publish);
        harness.advance(5_000);
    }
    let events = harness.events();
    let quarantine = |(id, _): &&(&str, String)| id.contains("quarantine");
    assert_eq!(events.iter().find(quarantine), None);
    assert_eq!(events[0].0, "binding.mqtt.connection.lost");
    harness.assert_idle();
}

#[test]
fn a_refusal_is_an_outage_too() {
    let mut harness = Harness::new("{}");
    let publish = harness.publish("a", 1, "1");
    let bytes = harness.accept();
    harness.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ..Connack::default()
    };
    harness.broker(bytes, &Packet::Connack(Box::new(connack)));
    harness.seen(publish);
    let events = harness.events();
    let [("binding.mqtt.connection.lost", lost)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(lost.contains("Bad User Name or Password (0x86)"), "{lost}");
    harness.assert_idle();
}

#[test]
fn everything_is_counted_once() {
    let mut harness = Harness::new("{}");
    let done = harness.publish("a", 1, "1");
    let unconfirmed = harness.publish("b", 1, "1");
    let subscriber = harness.subscribe(&[("s", 0)]);
    let (bytes, _) = harness.connect();
    let packets = harness.packets(bytes);
    let [
        Packet::Subscribe(subscribe),
        Packet::Publish(sent),
        Packet::Publish(_),
    ] = packets.as_slice()
    else {
        panic!("{packets:?}");
    };
    harness.suback(bytes, subscribe, 0);
    harness.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    let id = subscribe.properties.subscription_id.expect("an identifier");
    harness.broker(bytes, &Packet::Publish(incoming("s", "m", &[id])));
    assert!(harness.seen(done).is_done());
    assert_eq!(
        figures(&harness),
        [
            "messaging.client.consumed.messages  1",
            "messaging.client.sent.messages  2",
            "mqtt.client.connections connectednow 1",
            "mqtt.client.connects accepted 1",
            "mqtt.client.publications done 1",
            "mqtt.client.streams now 2",
        ]
    );
    harness.cancel(subscriber);
    harness.unsubscribed(bytes);
    harness.break_off(bytes, "connection reset");
    harness.seen(unconfirmed);
    let late = harness.publish("c", 1, "1");
    let bytes = harness.opened();
    harness.break_off(bytes, "connection refused");
    let refused = harness.publish("d", 1, "1");
    harness.seen(late);
    harness.seen(refused);
    assert_eq!(
        figures(&harness),
        [
            "messaging.client.consumed.messages  1",
            "messaging.client.sent.messages  2",
            "mqtt.client.connections.lost  1",
            "mqtt.client.connects accepted 1",
            "mqtt.client.connects failed 1",
            "mqtt.client.down now 1",
            "mqtt.client.outages  1",
            "mqtt.client.publications done 1",
            "mqtt.client.publications not_sent 2",
            "mqtt.client.publications unconfirmed 1",
            "mqtt.client.streams.refused  1",
        ]
    );
}

#[test]
fn events_have_the_trace_of_their_call() {
    let mut harness = Harness::new("{}");
    harness.rig.worker.listen_from(Severity::Debug);
    let trace_of = |harness: &mut Harness, stream| {
        let call = harness
            .rig
            .turn(harness.caller, |cx| cx.call_of(stream).cloned());
        call.expect("it is open").trace
    };
    let done = harness.publish("a", 1, "1");
    let lost = harness.publish("b", 1, "1");
    let traces = [trace_of(&mut harness, done), trace_of(&mut harness, lost)];
    let (bytes, connect) = harness.connect();
    let packets = harness.packets(bytes);
    let [Packet::Publish(first), Packet::Publish(_)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    let puback = ack(first.packet_id, ReasonCode::SUCCESS);
    harness.broker(bytes, &Packet::Puback(puback));
    harness.seen(done);
    harness.break_off(bytes, "connection reset");
    harness.seen(lost);
    let worker = &mut harness.rig.worker;
    let events: Vec<_> = std::iter::from_fn(|| worker.poll_event()).collect();
    let mut events = events.iter().filter(|it| it.severity == Severity::Debug);
    let (published, reset) = (events.next().expect("one"), events.next().expect("another"));
    assert_eq!([published.trace, reset.trace], traces);
    let client = connect.client_id;
    assert_eq!(
        published.message,
        format!("published to 'a' at QoS 1 as client '{client}'")
    );
    assert_eq!(reset.id, "binding.mqtt.stream.reset");
    assert!(
        reset
            .message
            .contains("dropped the connection: connection reset"),
        "{}",
        reset.message
    );
}
