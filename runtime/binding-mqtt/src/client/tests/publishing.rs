use bytes::Bytes;
use tidegate_engine::streams::mqtt::{
    MqttDelivery, MqttPayloadFormat, MqttPublishData, MqttPublishFlags, MqttUserProperty,
};
use tidegate_engine::streams::{DataFlags, Frame};

use tidegate_engine::StreamId;

use super::house::*;
use crate::codec::{ConnackProperties, Packet, ReasonCode};

/// A connection that is ready and has no stream.
fn ready(json: &str) -> (House, StreamId) {
    let mut house = House::new(json);
    let first = house.publish("warm/up", 0, "");
    let (bytes, _) = house.connect();
    house.published(bytes);
    assert!(house.seen(first).is_done());
    (house, bytes)
}

fn puback(packet_id: u16, reason: ReasonCode) -> Packet {
    Packet::Puback(ack(packet_id, reason))
}

#[test]
fn a_message_is_sent_as_it_was_given_and_done_with_its_acknowledgement() {
    let (mut house, bytes) = ready("{}");
    let stream = house.open(publication("a/b", 0));
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
    house.rig.send(house.caller, stream, frame);
    house.end(stream);
    let sent = house.published(bytes);
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
    assert!(house.seen(stream).is_nothing());
    house.broker(bytes, &puback(1, ReasonCode::NO_MATCHING_SUBSCRIBERS));
    assert!(house.seen(stream).is_done(), "nobody listens: success");
    house.finish(bytes);
}

#[test]
fn a_message_that_the_broker_refuses_is_an_error() {
    let (mut house, bytes) = ready("{}");
    let stream = house.publish("a", 1, "1");
    let sent = house.published(bytes);
    let mut refusal = ack(sent.packet_id, ReasonCode::QUOTA_EXCEEDED);
    refusal.properties.reason_string = Some("full".into());
    house.broker(bytes, &Packet::Puback(refusal));
    let seen = house.seen(stream);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert_eq!(
        seen.reset().reason,
        "The broker broker.example:1883 refused the message: Quota exceeded (0x97, \"full\")."
    );
    assert_eq!(seen.reset().delivery, MqttDelivery::None);
    house.finish(bytes);
}

#[test]
fn exactly_once_takes_four_packets() {
    let (mut house, bytes) = ready("{}");
    let stream = house.publish("a", 2, "1");
    let id = house.published(bytes).packet_id;
    house.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::SUCCESS)));
    assert_eq!(
        house.one(bytes),
        Packet::Pubrel(ack(id, ReasonCode::SUCCESS))
    );
    house.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::SUCCESS)));
    assert_eq!(
        house.one(bytes),
        Packet::Pubrel(ack(id, ReasonCode::SUCCESS)),
        "again"
    );
    assert!(house.seen(stream).is_nothing());
    house.broker(bytes, &Packet::Pubcomp(ack(id, ReasonCode::SUCCESS)));
    assert!(house.seen(stream).is_done());

    let refused = house.publish("a", 2, "1");
    let id = house.published(bytes).packet_id;
    house.broker(bytes, &Packet::Pubrec(ack(id, ReasonCode::NOT_AUTHORIZED)));
    assert_eq!(house.seen(refused).reset().reason_code, 0x87);
    house.quiet(bytes);

    let lost = house.publish("a", 2, "1");
    let id = house.published(bytes).packet_id;
    house.broker(
        bytes,
        &Packet::Pubrec(ack(id, ReasonCode::NO_MATCHING_SUBSCRIBERS)),
    );
    house.packets(bytes);
    let unknown = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
    house.broker(bytes, &Packet::Pubcomp(ack(id, unknown)));
    assert_eq!(house.seen(lost).reset().delivery, MqttDelivery::Possible);

    house.broker(bytes, &Packet::Pubrec(ack(77, ReasonCode::SUCCESS)));
    assert_eq!(house.one(bytes), Packet::Pubrel(ack(77, unknown)));
    house.broker(bytes, &Packet::Pubcomp(ack(77, unknown)));
    house.finish(bytes);
}

#[test]
fn each_message_of_a_longer_stream_is_acknowledged() {
    let (mut house, bytes) = ready("{}");
    let stream = house.open(publication("a", 1));
    house.message(stream, "12345");
    house.message(stream, "");
    house.message(stream, "678");
    let ids: Vec<u16> = house
        .packets(bytes)
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    house.broker(bytes, &puback(ids[0], ReasonCode::SUCCESS));
    assert_eq!(house.seen(stream).windows, [5]);
    house.broker(bytes, &puback(ids[2], ReasonCode::SUCCESS));
    assert!(
        house.seen(stream).windows.is_empty(),
        "the second is not safe"
    );
    house.broker(bytes, &puback(ids[1], ReasonCode::SUCCESS));
    assert_eq!(house.seen(stream).windows, [5, 8]);
    house.end(stream);
    assert!(house.seen(stream).is_done());
    house.finish(bytes);
}

#[test]
fn a_message_in_parts_goes_out_whole_and_uncopied() {
    let (mut house, bytes) = ready("{}");
    let other = house.open(publication("other", 0));
    let stream = house.open(publication("big", 1));
    let parts = [vec![1u8; 60_000], vec![2; 60_000], vec![3; 60_000]].map(Bytes::from);
    let extension = MqttPublishData {
        deferred: 120_000,
        ..MqttPublishData::default()
    };
    let caller = house.caller;
    let send = |house: &mut House, flags, part: &Bytes, extension: Option<&MqttPublishData>| {
        let credit = house.rig.turn(caller, |cx| cx.credit(stream));
        assert!(credit >= part.len(), "there is room for the part: {credit}");
        let frame = match extension {
            Some(extension) => Frame::data_with(flags, part.clone(), extension.clone()),
            None => Frame::part(flags, part.clone()),
        };
        house.rig.send(caller, stream, frame);
    };
    send(&mut house, DataFlags::INIT, &parts[0], Some(&extension));
    house.quiet(bytes);
    send(&mut house, DataFlags::MIDDLE, &parts[1], None);
    house.message(other, "meanwhile");
    assert_eq!(house.published(bytes).topic, "other");
    send(&mut house, DataFlags::FIN, &parts[2], None);
    let frames = house.rig.frames(house.exit, bytes);
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
        house
            .seen(stream)
            .windows
            .iter()
            .all(|acknowledged| *acknowledged == 0)
    );
    house.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert_eq!(house.seen(stream).windows, [180_000]);
    house.end(stream);
    house.end(other);
    assert!(house.seen(stream).is_done() && house.seen(other).is_done());
    house.finish(bytes);
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_written() {
    let mut house = House::new(r#"{"maxMessageSize":1000}"#);
    let early = house.open(publication("a", 0));
    let extension = MqttPublishData {
        deferred: 991,
        ..MqttPublishData::default()
    };
    let frame = Frame::data_with(DataFlags::INIT, Bytes::from(vec![0; 10]), extension);
    house.rig.send(house.caller, early, frame);
    assert_eq!(house.seen(early).reset().reason_code, 0x95);
    let waits = house.publish("a", 1, &"x".repeat(900));
    let (bytes, _) = house.connect_with(ConnackProperties {
        maximum_packet_size: Some(500),
        ..ConnackProperties::default()
    });
    let seen = house.seen(waits);
    assert_eq!(seen.reset().reason_code, 0x95);
    assert_eq!(seen.reset().delivery, MqttDelivery::None);
    house.quiet(bytes);
    let fits = house.publish("a", 1, &"x".repeat(400));
    assert_eq!(house.published(bytes).packet_id, 2);
    house.broker(bytes, &puback(2, ReasonCode::SUCCESS));
    assert!(house.seen(fits).is_done());
    house.finish(bytes);
}

#[test]
fn what_the_broker_does_not_grant_is_refused_here() {
    let mut house = House::new("{}");
    let qos = house.publish("a", 2, "1");
    let mut begin = publication("a", 0);
    begin.flags = MqttPublishFlags::RETAIN;
    let retain = house.open(begin);
    house.message(retain, "1");
    let (bytes, _) = house.connect_with(ConnackProperties {
        maximum_qos: Some(1),
        retain_available: Some(false),
        ..ConnackProperties::default()
    });
    assert_eq!(house.seen(qos).reset().reason_code, 0x9B);
    assert_eq!(house.seen(retain).reset().reason_code, 0x9A);
    house.quiet(bytes);
    let topic = house.open(publication("a/+", 0));
    let seen = house.seen(topic);
    assert_eq!(seen.reset().reason_code, 0x90);
    assert!(seen.reset().reason.contains("wildcard '+'"), "{seen:?}");
    house.finish(bytes);
}

#[test]
fn the_receive_maximum_holds_back_what_is_acknowledged_and_nothing_else() {
    let mut house = House::new("{}");
    let streams = [1, 2, 1].map(|qos| house.publish("acknowledged", qos, "1"));
    let plain = house.publish("plain", 0, "1");
    let (bytes, _) = house.connect_with(ConnackProperties {
        receive_maximum: Some(1),
        ..ConnackProperties::default()
    });
    let packets = house.packets(bytes);
    let [Packet::Publish(first), Packet::Publish(second)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert_eq!((first.qos, second.qos), (1, 0));
    assert!(house.seen(plain).is_done());
    house.broker(bytes, &puback(first.packet_id, ReasonCode::SUCCESS));
    assert!(house.seen(streams[0]).is_done());
    let second = house.published(bytes);
    assert_eq!(second.qos, 2);
    let rec = ack(second.packet_id, ReasonCode::SUCCESS);
    house.broker(bytes, &Packet::Pubrec(rec.clone()));
    assert!(
        matches!(house.one(bytes), Packet::Pubrel(_)),
        "it is not over yet"
    );
    house.broker(bytes, &Packet::Pubcomp(rec));
    assert!(house.seen(streams[1]).is_done());
    let third = house.published(bytes);
    house.broker(bytes, &puback(third.packet_id, ReasonCode::SUCCESS));
    assert!(house.seen(streams[2]).is_done());
    house.finish(bytes);
}

#[test]
fn a_lost_connection_tells_what_may_have_been_delivered() {
    let mut house = House::new("{}");
    let streams = [1, 1].map(|qos| house.publish("a", qos, "1"));
    let (bytes, _) = house.connect_with(ConnackProperties {
        receive_maximum: Some(1),
        ..ConnackProperties::default()
    });
    house.published(bytes);
    let gathering = house.open(publication("later", 0));
    let part = Frame::part(DataFlags::INIT, Bytes::from_static(b"first,"));
    house.rig.send(house.caller, gathering, part);
    house.break_off(bytes, "connection reset");
    let [written, waiting] = streams.map(|stream| house.seen(stream));
    assert_eq!(written.reset().delivery, MqttDelivery::Possible);
    assert!(waiting.is_nothing(), "it goes out on the next connection");
    assert!(
        house.seen(gathering).is_nothing(),
        "nothing of it is under way"
    );
    let part = Frame::part(DataFlags::FIN, Bytes::from_static(b"last"));
    house.rig.send(house.caller, gathering, part);
    house.end(gathering);
    let (bytes, _) = house.connect();
    let packets = house.packets(bytes);
    let [Packet::Publish(waited), Packet::Publish(gathered)] = packets.as_slice() else {
        panic!("{packets:?}");
    };
    assert_eq!(gathered.payload.concat(), b"first,last");
    assert!(house.seen(gathering).is_done());
    house.broker(bytes, &puback(waited.packet_id, ReasonCode::SUCCESS));
    assert!(house.seen(streams[1]).is_done());
    house.finish(bytes);
}

#[test]
fn messages_are_not_interleaved_and_wait_for_credit() {
    let mut house = House::with_window("{}", 100);
    house.reads = false;
    let first = house.publish("first", 0, &"1".repeat(200));
    let second = house.publish("second", 1, "2");
    let third = house.publish("third", 1, "3");
    let bytes = house.accept();
    assert_eq!(house.packets(bytes).len(), 1, "CONNECT");
    house.broker(bytes, &Packet::Connack(Box::default()));
    house.quiet(bytes);
    assert!(house.seen(first).is_nothing(), "not written yet");
    house.cancel(third);
    house.reads = true;
    let packets = house.packets(bytes);
    let topics: Vec<&str> = packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.topic.as_ref(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(topics, ["first", "second"]);
    assert!(house.seen(first).is_done());
    house.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert!(house.seen(second).is_done());
    house.finish(bytes);
}

#[test]
fn a_message_that_was_written_in_part_may_have_been_delivered() {
    let mut house = House::with_window("{}", 100);
    house.reads = false;
    let first = house.publish("first", 0, &"1".repeat(200));
    let second = house.publish("second", 0, "2");
    let bytes = house.accept();
    house.packets(bytes);
    house.broker(bytes, &Packet::Connack(Box::default()));
    house.break_off(bytes, "reset");
    assert_eq!(house.seen(first).reset().delivery, MqttDelivery::Possible);
    assert!(house.seen(second).is_nothing(), "nothing of it was written");
    let bytes = house.opened();
    house.break_off(bytes, "refused");
    assert_eq!(house.seen(second).reset().delivery, MqttDelivery::None);
    house.assert_idle();
}

#[test]
fn cancelling_a_message_on_its_way_harms_no_other() {
    let (mut house, bytes) = ready("{}");
    let cancelled = house.publish("a", 1, "1");
    let id = house.published(bytes).packet_id;
    house.cancel(cancelled);
    let other = house.publish("b", 1, "2");
    let second = house.published(bytes).packet_id;
    assert_ne!(id, second);
    house.broker(bytes, &puback(id, ReasonCode::NOT_AUTHORIZED));
    assert!(house.seen(other).is_nothing());
    house.broker(bytes, &puback(second, ReasonCode::SUCCESS));
    assert!(house.seen(other).is_done());
    house.finish(bytes);
}

#[test]
fn packet_identifiers_wrap_on_one_connection() {
    let (mut house, bytes) = ready("{}");
    let stream = house.open(publication("a", 1));
    let slow = house.publish("slow", 1, "1");
    assert_eq!(house.published(bytes).packet_id, 1);
    for round in 2..=u32::from(u16::MAX) + 10 {
        house.message(stream, "");
        let id = house.published(bytes).packet_id;
        let expected = if round > u32::from(u16::MAX) {
            round - 65_535 + 1
        } else {
            round
        };
        assert_eq!(u32::from(id), expected, "1 stays in use and 0 is none");
        house.broker(bytes, &puback(id, ReasonCode::SUCCESS));
        house.seen(stream);
    }
    house.broker(bytes, &puback(1, ReasonCode::SUCCESS));
    assert!(house.seen(slow).is_done());
    house.end(stream);
    assert!(house.seen(stream).is_done());
    house.finish(bytes);
}

#[test]
fn what_waits_is_bounded() {
    let mut house = House::new(r#"{"maxPending":2000}"#);
    let kept = house.publish("a", 0, &"x".repeat(1_500));
    let refused = house.publish("a", 0, &"x".repeat(600));
    let seen = house.seen(refused);
    assert_eq!(seen.reset().reason_code, 0x97);
    assert!(seen.reset().reason.contains("maxPending"), "{seen:?}");
    let (bytes, _) = house.connect();
    assert_eq!(house.published(bytes).payload.concat().len(), 1_500);
    assert!(house.seen(kept).is_done());
    let after = house.publish("a", 0, &"x".repeat(600));
    house.published(bytes);
    assert!(house.seen(after).is_done());
    house.finish(bytes);
}

#[test]
fn an_end_within_a_message_sends_nothing() {
    let (mut house, bytes) = ready("{}");
    let stream = house.open(publication("a", 0));
    let part = Frame::part(DataFlags::INIT, Bytes::from_static(b"half"));
    house.rig.send(house.caller, stream, part);
    house.end(stream);
    assert_eq!(house.seen(stream).reset().reason_code, 0x83);
    house.quiet(bytes);
    let empty = house.open(publication("a", 0));
    house.end(empty);
    assert!(
        house.seen(empty).is_done(),
        "nothing to publish is soon published"
    );
    house.finish(bytes);
}
