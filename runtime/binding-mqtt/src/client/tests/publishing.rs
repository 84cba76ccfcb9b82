use bytes::Bytes;
use tidegate_engine::streams::mqtt::{
    MqttDelivery, MqttPayloadFormat, MqttPublishData, MqttPublishFlags, MqttUserProperty,
};
use tidegate_engine::streams::{DataFlags, Frame};

use tidegate_engine::StreamId;

use super::harness::*;
use crate::codec::{ConnackProperties, Packet, ReasonCode};

/// A ready connection without streams.
fn ready(json: &str) -> (Harness, StreamId) {
    let mut harness = Harness::new(json);
    let first = harness.publish("warm/up", 0, "");
    let (bytes, _) = harness.connect();
    harness.published(bytes);
    assert!(harness.seen(first).is_done());
    (harness, bytes)
}

fn puback(packet_id: u16, reason: ReasonCode) -> Packet {
    Packet::Puback(ack(packet_id, reason))
}

#[test]
fn a_message_is_published_unchanged_and_done_with_its_acknowledgement() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.open(publication("a/b", 0));
    let extension = MqttPublishData {
        qos: 1,
        flags: MqttPublishFlags::RETAIN,
        expiry_interval: 60,
        content_type: Some("text/plain".into()),
        format: MqttPayloadFormat::Text,
        response_topic: Some("r".into()),
        correlation: Some(Bytes::from_static(b"c")),
        properties: vec![MqttUserProperty {
            key: "k".into(),
            value: "v".into(),
        }],
        ..MqttPublishData::default()
    };
    let payload = Bytes::from_static(b"on");
    let frame = Frame::data_with(DataFlags::WHOLE, payload, extension);
    harness.rig.send(harness.caller, stream, frame);
    harness.end(stream);
    let sent = harness.published(bytes);
    assert!(sent.qos == 1 && sent.retain && !sent.dup && sent.packet_id == 1);
    assert_eq!(
        (sent.topic.as_ref(), sent.payload.concat().as_slice()),
        ("a/b", &b"on"[..])
    );
    let properties = &sent.properties;
    assert_eq!(properties.message_expiry, Some(60));
    assert_eq!(properties.payload_format, Some(1));
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.response_topic.as_deref(), Some("r"));
    assert_eq!(properties.correlation.as_deref(), Some(&b"c"[..]));
    assert_eq!(properties.user.len(), 1);
    assert!(harness.seen(stream).is_nothing());
    harness.broker(bytes, &puback(1, ReasonCode::NO_MATCHING_SUBSCRIBERS));
    assert!(harness.seen(stream).is_done(), "nobody listens: success");
    harness.finish(bytes);
}

#[test]
fn a_message_that_the_broker_refuses_is_an_error() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.publish("a", 1, "1");
    let sent = harness.published(bytes);
    let mut refusal = ack(sent.packet_id, ReasonCode::QUOTA_EXCEEDED);
    refusal.properties.reason_string = Some("full".into());
    harness.broker(bytes, &Packet::Puback(refusal));
    let seen = harness.seen(stream);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 refused the message: Quota exceeded (0x97, \"full\")."
    );
    assert_eq!(seen.reset().delivery, MqttDelivery::None);
    harness.finish(bytes);
}

#[test]
fn qos_2_takes_four_packets() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.publish("a", 2, "1");
    let id = harness.published(bytes).packet_id;
    harness.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::SUCCESS)));
    assert_eq!(
        harness.one(bytes),
        Packet::Pubrel(ack(id, ReasonCode::SUCCESS))
    );
    harness.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::SUCCESS)));
    assert_eq!(
        harness.one(bytes),
        Packet::Pubrel(ack(id, ReasonCode::SUCCESS)),
        "again"
    );
    assert!(harness.seen(stream).is_nothing());
    harness.broker(bytes, &Packet::Pubcomp(ack(id, ReasonCode::SUCCESS)));
    assert!(harness.seen(stream).is_done());

    let refused = harness.publish("a", 2, "1");
    let id = harness.published(bytes).packet_id;
    harness.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::NOT_AUTHORIZED)));
    assert_eq!(harness.seen(refused).reset().reason_code, 0x87);
    harness.quiet(bytes);

    let lost = harness.publish("a", 2, "1");
    let id = harness.published(bytes).packet_id;
    harness.broker(
        bytes,
        &Packet::Pubrec(ack(id, ReasonCode::NO_MATCHING_SUBSCRIBERS)),
    );
    harness.packets(bytes);
    let unknown = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
    harness.broker(bytes, &Packet::Pubcomp(ack(id, unknown)));
    assert_eq!(harness.seen(lost).reset().delivery, MqttDelivery::Possible);

    harness.broker(bytes, &Packet::Pubrec(ack(77, ReasonCode::SUCCESS)));
    assert_eq!(harness.one(bytes), Packet::Pubrel(ack(77, unknown)));
    harness.broker(bytes, &Packet::Pubcomp(ack(77, unknown)));
    harness.finish(bytes);
}

#[test]
fn each_message_of_a_longer_stream_is_acknowledged() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.open(publication("a", 1));
    harness.message(stream, "12345");
    harness.message(stream, "");
    harness.message(stream, "678");
    let ids: Vec<u16> = harness
        .packets(bytes)
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    harness.broker(bytes, &puback(ids[0], ReasonCode::SUCCESS));
    assert_eq!(harness.seen(stream).windows, [5]);
    harness.broker(bytes, &puback(ids[2], ReasonCode::SUCCESS));
    assert!(
        harness.seen(stream).windows.is_empty(),
        "the second is not safe"
    );
    harness.broker(bytes, &puback(ids[1], ReasonCode::SUCCESS));
    assert_eq!(harness.seen(stream).windows, [5, 8]);
    harness.end(stream);
    assert!(harness.seen(stream).is_done());
    harness.finish(bytes);
}

#[test]
fn a_payload_of_at_most_1_kib_is_written_in_one_part_with_its_header() {
    for (length, parts) in [(0, 1), (1_024, 1), (1_025, 2)] {
        let (mut harness, bytes) = ready("{}");
        let stream = harness.open(publication("a", 1));
        harness.message(stream, &"x".repeat(length));
        let frames = harness.rig.frames(harness.exit, bytes);
        let written = frames
            .iter()
            .filter(|frame| matches!(frame, Frame::Data(_)));
        assert_eq!(written.count(), parts, "{length}");
    }
}

#[test]
fn a_message_in_parts_is_written_in_one_packet_without_a_copy() {
    let (mut harness, bytes) = ready("{}");
    let other = harness.open(publication("other", 0));
    let stream = harness.open(publication("big", 1));
    let parts = [vec![1u8; 60_000], vec![2; 60_000], vec![3; 60_000]].map(Bytes::from);
    let extension = MqttPublishData {
        deferred: 120_000,
        ..MqttPublishData::default()
    };
    let caller = harness.caller;
    let send = |harness: &mut Harness, flags, part: &Bytes, extension: Option<&MqttPublishData>| {
        let credit = harness.rig.turn(caller, |cx| cx.credit(stream));
        assert!(credit >= part.len(), "there is room for the part: {credit}");
        let frame = match extension {
            Some(extension) => Frame::data_with(flags, part.clone(), extension.clone()),
            None => Frame::part(flags, part.clone()),
        };
        harness.rig.send(caller, stream, frame);
    };
    send(&mut harness, DataFlags::INIT, &parts[0], Some(&extension));
    harness.quiet(bytes);
    send(&mut harness, DataFlags::MIDDLE, &parts[1], None);
    harness.message(other, "meanwhile");
    assert_eq!(harness.published(bytes).topic, "other");
    send(&mut harness, DataFlags::FIN, &parts[2], None);
    let frames = harness.rig.frames(harness.exit, bytes);
    let slices: Vec<&Bytes> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Data(data) => Some(&data.payload),
            _ => None,
        })
        .collect();
    assert_eq!(slices.len(), 4, "a header and three slices");
    for (slice, part) in slices[1..].iter().zip(&parts) {
        assert_eq!(slice.as_ptr(), part.as_ptr(), "the very same bytes");
        assert_eq!(slice.len(), part.len());
    }
    assert!(
        harness
            .seen(stream)
            .windows
            .iter()
            .all(|acknowledged| *acknowledged == 0)
    );
    harness.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert_eq!(harness.seen(stream).windows, [180_000]);
    harness.end(stream);
    harness.end(other);
    assert!(harness.seen(stream).is_done() && harness.seen(other).is_done());
    harness.finish(bytes);
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_is_written() {
    let mut harness = Harness::new(r#"{"maxMessageSize":1000}"#);
    let early = harness.open(publication("a", 0));
    let extension = MqttPublishData {
        deferred: 991,
        ..MqttPublishData::default()
    };
    let frame = Frame::data_with(DataFlags::INIT, Bytes::from(vec![0; 10]), extension);
    harness.rig.send(harness.caller, early, frame);
    assert_eq!(harness.seen(early).reset().reason_code, 0x95);
    let waits = harness.publish("a", 1, &"x".repeat(900));
    let (bytes, _) = harness.connect_with(ConnackProperties {
        maximum_packet_size: Some(500),
        ..ConnackProperties::default()
    });
    let seen = harness.seen(waits);
    assert_eq!(seen.reset().reason_code, 0x95);
    assert_eq!(seen.reset().delivery, MqttDelivery::None);
    harness.quiet(bytes);
    let fits = harness.publish("a", 1, &"x".repeat(400));
    assert_eq!(harness.published(bytes).packet_id, 2);
    harness.broker(bytes, &puback(2, ReasonCode::SUCCESS));
    assert!(harness.seen(fits).is_done());
    harness.finish(bytes);
}

#[test]
fn features_that_the_broker_does_not_grant_are_refused() {
    let mut harness = Harness::new("{}");
    let qos = harness.publish("a", 2, "1");
    let mut begin = publication("a", 0);
    begin.flags = MqttPublishFlags::RETAIN;
    let retain = harness.open(begin);
    harness.message(retain, "1");
    let (bytes, _) = harness.connect_with(ConnackProperties {
        maximum_qos: Some(1),
        retain_available: Some(false),
        ..ConnackProperties::default()
    });
    assert_eq!(harness.seen(qos).reset().reason_code, 0x9B);
    assert_eq!(harness.seen(retain).reset().reason_code, 0x9A);
    harness.quiet(bytes);
    let topic = harness.open(publication("a/+", 0));
    let seen = harness.seen(topic);
    assert_eq!(seen.reset().reason_code, 0x90);
    assert!(seen.reset().reason.contains("wildcard '+'"), "{seen:?}");
    harness.finish(bytes);
}

#[test]
fn receive_maximum_limits_only_qos_1_and_2() {
    let mut harness = Harness::new("{}");
    let streams = [1, 2, 1].map(|qos| harness.publish("acknowledged", qos, "1"));
    let plain = harness.publish("plain", 0, "1");
    let (bytes, _) = harness.connect_with(ConnackProperties {
        receive_maximum: Some(1),
        ..ConnackProperties::default()
    });
    let packets = harness.packets(bytes);
    let [Packet::Publish(first), Packet::Publish(second)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert_eq!((first.qos, second.qos), (1, 0));
    assert!(harness.seen(plain).is_done());
    harness.broker(bytes, &puback(first.packet_id, ReasonCode::SUCCESS));
    assert!(harness.seen(streams[0]).is_done());
    let second = harness.published(bytes);
    assert_eq!(second.qos, 2);
    let rec = ack(second.packet_id, ReasonCode::SUCCESS);
    harness.broker(bytes, &Packet::Pubrec(rec.clone()));
    assert!(
        matches!(harness.one(bytes), Packet::Pubrel(_)),
        "it is not over yet"
    );
    harness.broker(bytes, &Packet::Pubcomp(rec));
    assert!(harness.seen(streams[1]).is_done());
    let third = harness.published(bytes);
    harness.broker(bytes, &puback(third.packet_id, ReasonCode::SUCCESS));
    assert!(harness.seen(streams[2]).is_done());
    harness.finish(bytes);
}

#[test]
fn after_a_loss_the_reset_says_whether_the_message_may_have_been_delivered() {
    let mut harness = Harness::new("{}");
    let streams = [1, 1].map(|qos| harness.publish("a", qos, "1"));
    let (bytes, _) = harness.connect_with(ConnackProperties {
        receive_maximum: Some(1),
        ..ConnackProperties::default()
    });
    harness.published(bytes);
    let gathering = harness.open(publication("later", 0));
    let part = Frame::part(DataFlags::INIT, Bytes::from_static(b"first,"));
    harness.rig.send(harness.caller, gathering, part);
    harness.break_off(bytes, "connection reset");
    let [written, waiting] = streams.map(|stream| harness.seen(stream));
    assert_eq!(written.reset().delivery, MqttDelivery::Possible);
    assert!(waiting.is_nothing(), "it goes out on the next connection");
    assert!(
        harness.seen(gathering).is_nothing(),
        "nothing of it is under way"
    );
    let part = Frame::part(DataFlags::FIN, Bytes::from_static(b"last"));
    harness.rig.send(harness.caller, gathering, part);
    harness.end(gathering);
    let (bytes, _) = harness.connect();
    let packets = harness.packets(bytes);
    let [Packet::Publish(waited), Packet::Publish(gathered)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert_eq!(gathered.payload.concat(), b"first,last");
    assert!(harness.seen(gathering).is_done());
    harness.broker(bytes, &puback(waited.packet_id, ReasonCode::SUCCESS));
    assert!(harness.seen(streams[1]).is_done());
    harness.finish(bytes);
}

#[test]
fn messages_are_not_interleaved_and_wait_for_credit() {
    let mut harness = Harness::with_window("{}", 100);
    harness.reads = false;
    let first = harness.publish("first", 0, &"1".repeat(200));
    let second = harness.publish("second", 1, "2");
    let third = harness.publish("third", 1, "3");
    let bytes = harness.accept();
    assert_eq!(harness.packets(bytes).len(), 1, "CONNECT");
    harness.broker(bytes, &Packet::Connack(Box::default()));
    harness.quiet(bytes);
    assert!(harness.seen(first).is_nothing(), "not written yet");
    harness.cancel(third);
    harness.reads = true;
    let packets = harness.packets(bytes);
    let topics: Vec<&str> = packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.topic.as_ref(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, ["first", "second"]);
    assert!(harness.seen(first).is_done());
    harness.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert!(harness.seen(second).is_done());
    harness.finish(bytes);
}

#[test]
fn a_message_that_was_written_in_part_may_have_been_delivered() {
    let mut harness = Harness::with_window("{}", 100);
    harness.reads = false;
    let first = harness.publish("first", 0, &"1".repeat(200));
    let second = harness.publish("second", 0, "2");
    let bytes = harness.accept();
    harness.packets(bytes);
    harness.broker(bytes, &Packet::Connack(Box::default()));
    harness.break_off(bytes, "reset");
    assert_eq!(harness.seen(first).reset().delivery, MqttDelivery::Possible);
    assert!(
        harness.seen(second).is_nothing(),
        "nothing of it was written"
    );
    let bytes = harness.opened();
    harness.break_off(bytes, "refused");
    assert_eq!(harness.seen(second).reset().delivery, MqttDelivery::None);
    harness.assert_idle();
}

#[test]
fn cancelling_a_written_message_does_not_affect_others() {
    let (mut harness, bytes) = ready("{}");
    let cancelled = harness.publish("a", 1, "1");
    let id = harness.published(bytes).packet_id;
    harness.cancel(cancelled);
    let other = harness.publish("b", 1, "2");
    let second = harness.published(bytes).packet_id;
    assert_ne!(id, second);
    harness.broker(bytes, &puback(id, ReasonCode::NOT_AUTHORIZED));
    assert!(harness.seen(other).is_nothing());
    harness.broker(bytes, &puback(second, ReasonCode::SUCCESS));
    assert!(harness.seen(other).is_done());
    harness.finish(bytes);
}

#[test]
fn packet_identifiers_wrap_on_one_connection() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.open(publication("a", 1));
    let slow = harness.publish("slow", 1, "1");
    assert_eq!(harness.published(bytes).packet_id, 1);
    for round in 2..=u32::from(u16::MAX) + 10 {
        harness.message(stream, "");
        let id = harness.published(bytes).packet_id;
        let expected = if round > u32::from(u16::MAX) {
            round - 65_535 + 1
        } else {
            round
        };
        assert_eq!(u32::from(id), expected, "1 stays in use and 0 is none");
        harness.broker(bytes, &puback(id, ReasonCode::SUCCESS));
        harness.seen(stream);
    }
    harness.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert!(harness.seen(slow).is_done());
    harness.end(stream);
    assert!(harness.seen(stream).is_done());
    harness.finish(bytes);
}

#[test]
fn pending_messages_are_bounded() {
    let mut harness = Harness::new(r#"{"maxPending":2000}"#);
    let kept = harness.publish("a", 0, &"x".repeat(1_500));
    let refused = harness.publish("a", 0, &"x".repeat(600));
    let seen = harness.seen(refused);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert!(seen.reset().reason.contains("maxPending"), "{seen:?}");
    let (bytes, _) = harness.connect();
    assert_eq!(harness.published(bytes).payload.concat().len(), 1_500);
    assert!(harness.seen(kept).is_done());
    let after = harness.publish("a", 0, &"x".repeat(600));
    harness.published(bytes);
    assert!(harness.seen(after).is_done());
    harness.finish(bytes);
}

#[test]
fn an_end_within_a_message_sends_nothing() {
    let (mut harness, bytes) = ready("{}");
    let stream = harness.open(publication("a", 0));
    let part = Frame::part(DataFlags::INIT, Bytes::from_static(b"half"));
    harness.rig.send(harness.caller, stream, part);
    harness.end(stream);
    assert_eq!(harness.seen(stream).reset().reason_code, 0x83);
    harness.quiet(bytes);
    let empty = harness.open(publication("a", 0));
    harness.end(empty);
    assert!(
        harness.seen(empty).is_done(),
        "nothing to publish is soon published"
    );
    harness.finish(bytes);
}
