//! What operators are told.

use tidegate_engine::streams::Severity;
use tidegate_engine::{Measures, MeterKind};

use super::house::{House, REMOTE, ack, incoming};
use crate::codec::{Connack, Packet, ReasonCode};

/// The figures other than 0, with the value of their label.
fn figures(house: &House) -> Vec<String> {
    let mut measures = Measures::default();
    house.rig.worker.report(&mut measures);
    let own = measures
        .iter()
        .filter(|it| it.binding == "binding" && it.value > 0);
    let mut shown: Vec<String> = own
        .map(|it| {
            let label = it.labels.first().map_or("", |label| label.1);
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
    let mut house = House::new(r#"{"reconnect":{"min":1000,"max":5000}}"#);
    let first = house.publish("a", 0, "1");
    let bytes = house.opened();
    house.break_off(bytes, "connection refused");
    house.seen(first);
    let lost = format!(
        "broker connection failed: The broker {REMOTE} cannot be reached: connection refused."
    );
    assert_eq!(house.told(), [("binding.mqtt.connection.lost", lost)]);
    // Whoever asks, for a minute and a half.
    let mut told = Vec::new();
    for _ in 0..90 {
        for _ in 0..10 {
            house.publish("a", 0, "1");
        }
        if house.is_opened() {
            let bytes = house.opened();
            house.break_off(bytes, "connection refused");
        }
        house.rig.outputs(house.caller);
        told.extend(house.told());
        house.advance(1_000);
    }
    let [("binding.mqtt.connection.down", down)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        down.starts_with("broker still not connected after 6"),
        "{down}"
    );
    assert!(
        down.contains("cannot be reached: connection refused"),
        "{down}"
    );
    house.advance(5_000);
    let back = house.publish("a", 0, "1");
    let (bytes, _) = house.connect();
    house.published(bytes);
    house.seen(back);
    let told = house.told();
    let [("binding.mqtt.connection.restored", restored)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(
        restored.contains("connected again after 95 s"),
        "{restored}"
    );
    house.finish(bytes);
}

#[test]
fn links_that_are_cut_are_no_reason_to_warn_of_packets() {
    let mut house = House::new("{}");
    for _ in 0..6 {
        let publish = house.publish("a", 1, "1");
        let bytes = if house.is_opened() {
            house.connect().0
        } else {
            house.connections()[0]
        };
        house.published(bytes);
        house.break_off(bytes, "the connection was reset");
        house.seen(publish);
        house.advance(5_000);
    }
    let told = house.told();
    let quarantine = |(id, _): &&(&str, String)| id.contains("quarantine");
    assert_eq!(told.iter().find(quarantine), None);
    assert_eq!(told[0].0, "binding.mqtt.connection.lost");
    house.assert_idle();
}

#[test]
fn a_refusal_is_an_outage_too() {
    let mut house = House::new("{}");
    let publish = house.publish("a", 1, "1");
    let bytes = house.accept();
    house.packets(bytes);
    let connack = Connack {
        reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ..Connack::default()
    };
    house.broker(bytes, &Packet::Connack(Box::new(connack)));
    house.seen(publish);
    let told = house.told();
    let [("binding.mqtt.connection.lost", lost)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(lost.contains("Bad User Name or Password (0x86)"), "{lost}");
    house.assert_idle();
}

#[test]
fn what_happens_is_counted_once() {
    let mut house = House::new("{}");
    let done = house.publish("a", 1, "1");
    let unconfirmed = house.publish("b", 1, "1");
    let subscriber = house.subscribe(&[("s", 0)]);
    let (bytes, _) = house.connect();
    let packets = house.packets(bytes);
    let [
        Packet::Subscribe(subscribe),
        Packet::Publish(sent),
        Packet::Publish(_),
    ] = packets.as_slice()
    else {
        panic!("{packets:?}");
    };
    house.suback(bytes, subscribe, 0);
    house.broker(
        bytes,
        &Packet::Puback(ack(sent.packet_id, ReasonCode::SUCCESS)),
    );
    let id = subscribe.properties.subscription_id.expect("an identifier");
    house.broker(bytes, &Packet::Publish(incoming("s", "m", &[id])));
    assert!(house.seen(done).is_done());
    assert_eq!(
        figures(&house),
        [
            "messaging.client.consumed.messages  1",
            "messaging.client.sent.messages  2",
            "mqtt.client.connections connectednow 1",
            "mqtt.client.connects accepted 1",
            "mqtt.client.publications done 1",
            "mqtt.client.streams now 2",
        ]
    );
    house.cancel(subscriber);
    house.unsubscribed(bytes);
    house.break_off(bytes, "the connection was reset");
    house.seen(unconfirmed);
    let late = house.publish("c", 1, "1");
    let bytes = house.opened();
    house.break_off(bytes, "connection refused");
    let refused = house.publish("d", 1, "1");
    house.seen(late);
    house.seen(refused);
    assert_eq!(
        figures(&house),
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
fn a_call_can_be_followed_by_its_trace() {
    let mut house = House::new("{}");
    house.rig.worker.listen_from(Severity::Debug);
    let trace_of = |house: &mut House, stream| {
        let call = house
            .rig
            .turn(house.caller, |cx| cx.call_of(stream).cloned());
        call.expect("it is open").trace
    };
    let done = house.publish("a", 1, "1");
    let lost = house.publish("b", 1, "1");
    let traces = [trace_of(&mut house, done), trace_of(&mut house, lost)];
    let (bytes, connect) = house.connect();
    let packets = house.packets(bytes);
    let [Packet::Publish(first), Packet::Publish(_)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    let puback = ack(first.packet_id, ReasonCode::SUCCESS);
    house.broker(bytes, &Packet::Puback(puback));
    house.seen(done);
    house.break_off(bytes, "the connection was reset");
    house.seen(lost);
    let worker = &mut house.rig.worker;
    let events: Vec<_> = std::iter::from_fn(|| worker.poll_event()).collect();
    let mut told = events.iter().filter(|it| it.severity == Severity::Debug);
    let (published, reset) = (told.next().expect("one"), told.next().expect("another"));
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
            .contains("went away: the connection was reset"),
        "{}",
        reset.message
    );
}
