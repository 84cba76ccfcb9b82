//! `publish`.

use tidegate_engine::Duration;
use tidegate_json::{Document, Limits, Parts};
use tidegate_streams::mcp::McpParams;
use tidegate_streams::mqtt::{MqttPayloadFormat, MqttPublishFlags};
use tidegate_streams::{Data, Window};

use super::*;

const OPEN: &str = "{}";

#[test]
fn a_call_becomes_one_stream_with_one_message() {
    let mut harness = harness(OPEN);
    let call = harness.call("publish", r#"{"topic":"commands/1/set","payload":"on"}"#);
    let (mqtt, begin, frames) = harness.opened_publish();
    assert_eq!(
        begin,
        MqttPublish {
            client_id: Some("s-1".into()),
            topic: "commands/1/set".into(),
            flags: MqttPublishFlags::NONE,
            qos: 0,
        }
    );
    let extension = MqttPublishData {
        deferred: 0,
        qos: 0,
        flags: MqttPublishFlags::NONE,
        packet_id: 0,
        expiry_interval: -1,
        content_type: None,
        format: MqttPayloadFormat::Text,
        response_topic: None,
        correlation: None,
        properties: Vec::new(),
    };
    let data = Frame::data_with(DataFlags::WHOLE, Bytes::from_static(b"on"), extension);
    assert_eq!(frames, [data, Frame::end()]);
    // The caller receives nothing before the broker answers.
    assert!(harness.rig.frames(harness.caller, call).is_empty());
    harness.reply(mqtt, Frame::begin(begin));
    assert!(harness.rig.frames(harness.caller, call).is_empty());
    harness.reply(mqtt, Frame::end());
    let frames = harness.rig.frames(harness.caller, call);
    let expected = [
        Frame::begin(McpToolsCall::default()),
        Frame::data(Bytes::from_static(
            br#"{"content":[],"structuredContent":{"outcome":"sent","reasonCode":null,"matched":null}}"#,
        )),
        Frame::end_with(McpEnd::default()),
    ];
    assert_eq!(frames, expected);
    harness.send(call, Frame::end());
    harness.rig.assert_idle();
}

#[test]
fn parsed_params_are_used_only_with_the_text_they_were_parsed_from() {
    let text = Bytes::from_static(br#"{"arguments":{"topic":"a","payload":"one"}}"#);
    let other = Bytes::from_static(br#"{"arguments":{"topic":"a","payload":"two"}}"#);
    let rows = [(&text, "one"), (&other, "two")];
    for ((payload, expected), cut) in rows.into_iter().flat_map(|row| [(row, 0), (row, 30)]) {
        let mut harness = harness(OPEN);
        let call = harness.open(McpToolsCall {
            name: "publish".into(),
            ..McpToolsCall::default()
        });
        let read = Document::parse(Parts::from(text.clone()), Limits::default()).expect("JSON");
        let read = McpParams::new(read);
        if cut == 0 {
            harness.send(
                call,
                Frame::data_with(DataFlags::WHOLE, payload.clone(), read),
            );
        } else {
            let first = payload.slice(..cut);
            let flags = DataFlags::of(true, false);
            harness.send(call, Frame::data_with(flags, first, read));
            let flags = DataFlags::of(false, true);
            harness.send(call, Frame::part(flags, payload.slice(cut..)));
        }
        let (_, _, frames) = harness.opened_publish();
        let Frame::Data(data) = &frames[0] else {
            panic!("{frames:?}");
        };
        assert_eq!(data.payload, expected);
    }
}

#[test]
fn retain_and_qos_are_on_both_begin_and_message() {
    let mut harness = harness(r#"{"publishExpiry":60}"#);
    for (arguments, flags, qos, expiry) in [
        (
            r#"{"topic":"t","payload":"","qos":1,"retain":true}"#,
            MqttPublishFlags::RETAIN,
            1,
            -1,
        ),
        (
            r#"{"topic":"t","payload":"","qos":2e0}"#,
            MqttPublishFlags::NONE,
            2,
            60,
        ),
        (
            r#"{"topic":"t","payload":"","qos":0,"retain":false}"#,
            MqttPublishFlags::NONE,
            0,
            60,
        ),
    ] {
        let call = harness.call("publish", arguments);
        let (mqtt, begin, frames) = harness.opened_publish();
        assert_eq!((begin.flags, begin.qos), (flags, qos));
        let extension = publish_data(&frames[0]);
        assert_eq!((extension.flags, extension.qos), (flags, qos));
        assert_eq!(extension.expiry_interval, expiry);
        harness.reply(mqtt, Frame::begin(begin));
        harness.reply(mqtt, Frame::end());
        harness.answer(call);
    }
    harness.rig.assert_idle();
}

#[test]
fn base64_is_decoded_and_its_format_is_that_of_the_bytes() {
    let mut harness = harness(OPEN);
    for (payload, bytes, format) in [
        ("AP8=", &b"\0\xff"[..], MqttPayloadFormat::Binary),
        ("b24=", b"on", MqttPayloadFormat::Text),
        ("", b"", MqttPayloadFormat::Text),
    ] {
        let arguments = format!(r#"{{"topic":"t","payload":"{payload}","encoding":"base64"}}"#);
        let call = harness.call("publish", &arguments);
        let (mqtt, _, frames) = harness.opened_publish();
        assert_eq!(publish_data(&frames[0]).format, format);
        let Frame::Data(data) = &frames[0] else {
            panic!()
        };
        assert_eq!(data.payload, bytes);
        harness.reply(mqtt, Frame::begin(MqttPublish::default()));
        harness.reply(mqtt, Frame::end());
        harness.answer(call);
    }
    harness.rig.assert_idle();
}

#[test]
fn a_refusal_names_the_broker_and_says_whether_the_message_may_have_been_delivered() {
    let mut harness = harness(OPEN);
    for (reset, expected) in [
        (
            Some(lost(MqttDelivery::None)),
            "The message to 't' was not published: broker.example:1883 said: not authorized. It was not delivered.",
        ),
        (
            Some(lost(MqttDelivery::Possible)),
            "Publishing to 't' was not confirmed: broker.example:1883 said: not authorized. The message may have been delivered; check before publishing it again.",
        ),
        (None, "may have been delivered"),
        (
            Some(MqttReset::default()),
            "the broker answered with reason code 0x80. It was not delivered.",
        ),
    ] {
        let call = harness.call("publish", r#"{"topic":"t","payload":"on","qos":1}"#);
        let (mqtt, _, _) = harness.opened_publish();
        harness.refuse(mqtt, reset);
        let sentence = harness.answer(call).sentence();
        assert!(sentence.contains(expected), "{sentence}");
    }
    harness.rig.assert_idle();
}

#[test]
fn after_its_deadline_a_publish_is_unconfirmed() {
    let mut harness = harness(OPEN);
    let call = harness.call("publish", r#"{"topic":"t","payload":"on","qos":1}"#);
    let (mqtt, publish, _) = harness.opened_publish();
    harness.reply(mqtt, Frame::begin(publish));
    harness.expire(mqtt, 60_000, MqttDelivery::Possible);
    let sentence = harness.answer(call).sentence();
    assert!(sentence.contains("took too long. The message may have been delivered"));
    harness.rig.assert_idle();
}

#[test]
fn a_payload_waits_for_credit_and_states_the_deferred_length() {
    let mut harness = harness_with_windows(OPEN, MIB, 4);
    let call = harness.call("publish", r#"{"topic":"t","payload":"0123456789"}"#);
    let (mqtt, begin, mut frames) = harness.opened_publish();
    assert_eq!(publish_data(&frames[0]).deferred, 6);
    for acknowledge in [4, 8] {
        harness.reply(
            mqtt,
            Frame::Window(Window {
                acknowledge,
                maximum: 4,
                padding: 0,
            }),
        );
    }
    frames.extend(harness.rig.frames(harness.exit, mqtt));
    let parts: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Data(Data { flags, payload, .. }) => (*flags, payload.as_ref()),
            Frame::End(None) => (DataFlags::WHOLE, &b"end"[..]),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        parts,
        [
            (DataFlags::INIT, &b"0123"[..]),
            (DataFlags::MIDDLE, b"4567"),
            (DataFlags::FIN, b"89"),
            (DataFlags::WHOLE, b"end"),
        ]
    );
    harness.reply(mqtt, Frame::begin(begin));
    harness.reply(mqtt, Frame::end());
    harness.answer(call);
    harness.rig.assert_idle();
}

#[test]
fn a_message_that_was_sent_in_part_was_not_delivered() {
    let mut harness = harness_with_windows(OPEN, MIB, 0);
    let call = harness.call("publish", r#"{"topic":"t","payload":"on"}"#);
    let (mqtt, _, frames) = harness.opened_publish();
    assert!(frames.is_empty());
    // The delivery that the stream reports does not matter.
    harness.expire(mqtt, 60_000, MqttDelivery::Possible);
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("It was not delivered.")
    );
    // An END that answers an incomplete message is not a success.
    let call = harness.call("publish", r#"{"topic":"t","payload":"on"}"#);
    let (mqtt, begin, _) = harness.opened_publish();
    harness.reply(mqtt, Frame::begin(begin));
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::abort()]);
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("It was not delivered.")
    );
    harness.rig.assert_idle();
}

#[test]
fn an_unescaped_payload_is_a_slice_of_the_params_however_they_are_split() {
    let payload = "x".repeat(100_000);
    let params = format!(r#"{{"arguments":{{"topic":"t","payload":"{payload}"}}}}"#);
    for cuts in [vec![], vec![40_000], vec![10, 50_000, 100_030]] {
        let mut harness = harness(OPEN);
        let call = harness.open(McpToolsCall {
            name: "publish".into(),
            ..McpToolsCall::default()
        });
        let whole = Bytes::from(params.clone());
        let start = whole.as_ptr() as usize;
        let mut from = 0;
        for to in cuts.iter().copied().chain([whole.len()]) {
            let flags = DataFlags::of(from == 0, to == whole.len());
            harness.send_within_credit(call, flags, whole.slice(from..to));
            from = to;
        }
        let (mqtt, begin, frames) = harness.opened_publish();
        let mut at = start + params.find("xxx").expect("the payload");
        let mut received = 0;
        for frame in &frames {
            if let Frame::Data(data) = frame {
                assert_eq!(data.payload.as_ptr() as usize, at, "a copy");
                at += data.payload.len();
                received += data.payload.len();
            }
        }
        assert_eq!(received, payload.len());
        harness.reply(mqtt, Frame::begin(begin));
        harness.reply(mqtt, Frame::end());
        harness.answer(call);
        harness.rig.assert_idle();
    }
}

#[test]
fn an_escaped_payload_is_copied_once() {
    let mut harness = harness(OPEN);
    let call = harness.call(
        "publish",
        r#"{"topic":"\u0074","payload":"a\n\"\ud83d\ude00"}"#,
    );
    let (mqtt, begin, frames) = harness.opened_publish();
    assert_eq!(begin.topic, "t");
    let Frame::Data(data) = &frames[0] else {
        panic!()
    };
    assert_eq!(data.payload, "a\n\"\u{1f600}".as_bytes());
    assert!(data.flags == DataFlags::WHOLE && frames.len() == 2);
    harness.reply(mqtt, Frame::begin(begin));
    harness.reply(mqtt, Frame::end());
    harness.answer(call);
    harness.rig.assert_idle();
}

#[test]
fn a_cancelled_call_terminates_only_its_own_stream() {
    // No credit, so that it is cancelled before, while and after its message is sent.
    for window in [0, 1, MIB] {
        for frame in [Frame::abort(), Frame::reset()] {
            let mut harness = harness_with_windows(OPEN, MIB, window);
            let other = harness.call("publish", r#"{"topic":"u","payload":""}"#);
            let (other_mqtt, other_begin, _) = harness.opened_publish();
            let call = harness.call("publish", r#"{"topic":"t","payload":"on"}"#);
            let (mqtt, _, _) = harness.opened_publish();
            harness.send(call, frame);
            harness.given_up(mqtt);
            harness.rig.frames(harness.caller, call);
            harness.reply(other_mqtt, Frame::begin(other_begin));
            harness.reply(other_mqtt, Frame::end());
            assert_eq!(harness.answer(other).end.outcome, McpOutcome::Ok);
            harness.rig.assert_idle();
        }
    }
    let mut harness = harness(OPEN);
    let call = harness.open(McpToolsCall {
        name: "publish".into(),
        ..McpToolsCall::default()
    });
    harness.send(call, Frame::part(DataFlags::INIT, Bytes::from_static(b"{")));
    harness.send(call, Frame::abort());
    assert_eq!(harness.rig.frames(harness.caller, call), [Frame::abort()]);
    harness.rig.assert_idle();
}

#[test]
fn an_answered_call_is_removed_when_its_caller_ends_it_however_late() {
    let mut harness = harness(OPEN);
    let call = harness.call("publish", "{}");
    answer_in(&harness.rig.frames(harness.caller, call));
    harness.rig.advance(Duration::from_secs(3_600));
    harness.send(call, Frame::end());
    harness.rig.assert_idle();
}
