//! `receive`.

use serde_json::json;
use tidegate_engine::Duration;

use super::*;

fn retained(topic: &str, payload: &'static [u8]) -> Frame {
    let extension = MqttSubscribeData {
        topic: topic.into(),
        qos: 0,
        flags: MqttSubscribeFlags::RETAIN,
        ..MqttSubscribeData::default()
    };
    Frame::data_with(DataFlags::WHOLE, Bytes::from_static(payload), extension)
}

/// The messages of a result. Its text and its structured content must be equal.
fn messages(answered: &Answered) -> serde_json::Value {
    assert_eq!(answered.end, McpEnd::default());
    let text = answered.json["content"][0]["text"]
        .as_str()
        .expect("a text");
    let read: serde_json::Value = serde_json::from_str(text).expect("a JSON array");
    assert_eq!(
        answered.json["structuredContent"],
        json!({ "messages": read })
    );
    // A sentence explains the absence of messages.
    let blocks = if read == json!([]) { 2 } else { 1 };
    assert_eq!(
        answered.json["content"].as_array().map(Vec::len),
        Some(blocks)
    );
    read
}

#[test]
fn a_call_becomes_one_subscription_until_its_limit() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"sensors/+/#","limit":2}"#);
    let (mqtt, begin) = harness.opened();
    let expected = subscription("s-1", "sensors/+/#");
    assert_eq!(begin, MqttBeginEx::Subscribe(expected.clone()));
    harness.reply(mqtt, Frame::begin(expected));
    harness.reply(mqtt, retained("sensors/1/a", b"2\"1"));
    assert!(harness.rig.outputs(harness.caller).is_empty());
    harness.reply(mqtt, message("sensors/1/b", &b"\xff\x00"[..]));
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    // Messages beyond the limit are dropped.
    harness.reply(mqtt, message("sensors/1/c", "x"));
    let answered = harness.answer(call);
    assert_eq!(
        messages(&answered),
        json!([
            {"topic": "sensors/1/a", "payload": "2\"1", "qos": 0, "retain": true},
            {"topic": "sensors/1/b", "payload": "/wA=", "qos": 1, "retain": false,
             "encoding": "base64"},
        ])
    );
    harness.reply(mqtt, Frame::end());
    harness.rig.assert_idle();
}

#[test]
fn ten_messages_are_the_default() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let mqtt = harness.confirmed();
    for _ in 0..10 {
        assert!(harness.rig.outputs(harness.caller).is_empty());
        harness.reply(mqtt, message("t", "x"));
    }
    harness.ended(mqtt);
    assert_eq!(
        messages(&harness.answer(call)).as_array().map(Vec::len),
        Some(10)
    );
    harness.rig.assert_idle();
}

#[test]
fn the_timeout_returns_the_messages_received_so_far() {
    let mut harness = harness(r#"{"receiveTimeout":3000}"#);
    for (arguments, timeout, come) in [
        (r#"{"topic":"t"}"#, 3_000, 2),
        (r#"{"topic":"t","timeout":10000}"#, 10_000, 0),
        // The caller's deadline is earlier.
        (r#"{"topic":"t","timeout":3600000}"#, 60_000, 1),
    ] {
        let call = harness.call("receive", arguments);
        let mqtt = harness.confirmed();
        for _ in 0..come {
            harness.reply(mqtt, message("t", "x"));
        }
        harness.rig.advance(Duration::from_millis(timeout - 1));
        assert!(harness.rig.outputs(harness.caller).is_empty());
        harness.rig.advance(Duration::from_millis(1));
        harness.ended(mqtt);
        let messages = messages(&harness.answer(call));
        assert_eq!(messages.as_array().map(Vec::len), Some(come));
    }
    harness.rig.assert_idle();
}

#[test]
fn an_end_of_the_stream_or_of_the_caller_returns_the_messages_received_so_far() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "x"));
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    assert_eq!(
        messages(&harness.answer(call)).as_array().map(Vec::len),
        Some(1)
    );
    harness.rig.assert_idle();

    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "x"));
    harness.send(call, Frame::end());
    harness.ended(mqtt);
    let answered = answer_in(&harness.rig.frames(harness.caller, call));
    assert_eq!(messages(&answered).as_array().map(Vec::len), Some(1));
    harness.rig.assert_idle();
}

#[test]
fn messages_come_in_fragments_and_are_acknowledged() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    let text = "ä".repeat(150_000);
    let bytes = Bytes::from(text.clone());
    let mut sent = 0;
    while sent < bytes.len() {
        let credit = harness.rig.turn(harness.exit, |cx| cx.credit(mqtt));
        assert!(credit > 0, "the binding takes what it is sent");
        // An odd length splits characters.
        let end = (sent + credit.min(30_001)).min(bytes.len());
        let flags = DataFlags::of(sent == 0, end == bytes.len());
        harness.reply(mqtt, part(flags, "t", bytes.slice(sent..end)));
        sent = end;
    }
    let frames = harness.rig.frames(harness.exit, mqtt);
    assert_eq!(frames.last(), Some(&Frame::end()));
    harness.reply(mqtt, Frame::end());
    assert_eq!(messages(&harness.answer(call))[0]["payload"], text);
    harness.rig.assert_idle();
}

#[test]
fn the_result_is_bounded_in_bytes() {
    let mut harness = harness(r#"{"receiveBytes":1024}"#);
    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let mqtt = harness.confirmed();
    let mut sent = 0;
    while harness.rig.frames(harness.exit, mqtt).is_empty() {
        // Each quote is an escape in an escape.
        harness.reply(mqtt, message("t", "\"".repeat(20)));
        sent += 1;
    }
    harness.reply(mqtt, Frame::end());
    let frames = harness.rig.frames(harness.caller, call);
    let length: usize = frames
        .iter()
        .map(|frame| match frame {
            Frame::Data(data) => data.payload.len(),
            _ => 0,
        })
        .sum();
    assert!((700..=1_024).contains(&length), "{length}");
    let come = messages(&answer_in(&frames)).as_array().map(Vec::len);
    assert_eq!(come, Some(sent - 1), "the one without room is left out");
    harness.send(call, Frame::end());

    // A first message that does not fit, in one piece or in fragments.
    for flags in [DataFlags::WHOLE, DataFlags::INIT] {
        let call = harness.call("receive", r#"{"topic":"t"}"#);
        let mqtt = harness.confirmed();
        harness.reply(mqtt, part(flags, "t", "x".repeat(1_025)));
        harness.ended(mqtt);
        let sentence = harness.answer(call).sentence();
        assert!(
            sentence.contains("exceeds the result limit of 1024 bytes"),
            "{sentence}"
        );
    }
    harness.rig.assert_idle();
}

#[test]
fn bad_arguments_are_tool_errors() {
    let mut harness = harness(r#"{"receiveLimit":50}"#);
    for (arguments, expected) in [
        (
            "{}",
            "'topic' is missing; add the topic filter to receive from.",
        ),
        (r#"{"topic":""}"#, "it is empty"),
        (r#"{"topic":"a+"}"#, "must stand alone between slashes"),
        (r##"{"topic":"#/a"}"##, "'#' must be the last level"),
        (r#"{"topic":"$share/g"}"#, "$share/NAME/FILTER"),
        (r#"{"topic":"a\u0000b"}"#, "U+0000"),
        (
            r#"{"topic":["a"]}"#,
            "'topic' must be a string, not the array [\"a\"].",
        ),
        (
            r#"{"topic":"t","limit":0}"#,
            "'limit' is 0; use a whole number from 1 to 50.",
        ),
        (
            r#"{"topic":"t","limit":1000000000}"#,
            "'limit' is 1000000000; use a whole number from 1 to 50.",
        ),
        (
            r#"{"topic":"t","limit":-1}"#,
            "'limit' is -1; use a whole number from 1 to 50.",
        ),
        (
            r#"{"topic":"t","limit":1.5}"#,
            "a whole number from 1 to 50",
        ),
        (
            r#"{"topic":"t","limit":"5"}"#,
            "'limit' must be a whole number from 1 to 50, not the string \"5\". Send 5 without quotes.",
        ),
        (r#"{"topic":"t","timeout":0}"#, "'timeout' is 0"),
        (
            r#"{"topic":"t","Limit":1}"#,
            "Unknown argument 'Limit' of 'receive'; did you mean 'limit'? Arguments: 'topic', 'limit', 'timeout'.",
        ),
        (
            r#"{"topic":"mqtt://a/b"}"#,
            "Invalid topic filter 'mqtt://a/b': it is a resource URI; send the topic without 'mqtt://': 'a/b'.",
        ),
        (
            r#"{"topic":"t","limit":1,"limit":2}"#,
            "'limit' is given twice",
        ),
    ] {
        let call = harness.call("receive", arguments);
        let sentence = harness.answer(call).sentence();
        assert!(sentence.contains(expected), "{arguments}: {sentence}");
    }
    harness.rig.assert_idle();
}

#[test]
fn a_filter_must_be_covered_by_a_pattern() {
    let mut harness = harness(r##"{"subscribe":["sensors/temperature/+","#"]}"##);
    let call = harness.call("receive", r#"{"topic":"$SYS/#"}"#);
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("Receiving from '$SYS/#' is not allowed.")
    );
    harness.rig.assert_idle();
    let mut harness = super::harness(r#"{"subscribe":["sensors/temperature/+"]}"#);
    for filter in [
        "sensors/#",
        "sensors/temperature",
        "+/+/+",
        "$share/g/sensors/#",
    ] {
        let call = harness.call("receive", &format!(r#"{{"topic":"{filter}"}}"#));
        assert!(
            harness
                .answer(call)
                .sentence()
                .contains("sensors/temperature/+")
        );
    }
    let shared = "$share/g/sensors/temperature/+";
    let call = harness.call("receive", &format!(r#"{{"topic":"{shared}"}}"#));
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("sharedSubscriptions")
    );
    let mut harness =
        super::harness(r#"{"subscribe":["sensors/temperature/+"],"sharedSubscriptions":true}"#);
    for filter in ["sensors/temperature/1", "sensors/temperature/+", shared] {
        let call = harness.call("receive", &format!(r#"{{"topic":"{filter}","limit":1}}"#));
        let (mqtt, pattern) = harness.opened_subscribe();
        assert_eq!(pattern, filter);
        harness.send(call, Frame::abort());
        harness.given_up(mqtt);
        harness.rig.frames(harness.caller, call);
    }
    harness.rig.assert_idle();
}

#[test]
fn a_subscription_that_is_refused_or_never_confirmed_is_a_tool_error() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let (mqtt, _) = harness.opened_subscribe();
    harness.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(
        harness.answer(call).sentence(),
        "Receiving from 't' failed: broker.example:1883 said: not authorized."
    );

    let call = harness.call("receive", r#"{"topic":"t"}"#);
    let (mqtt, _) = harness.opened_subscribe();
    let mut refused = subscription("s-1", "t");
    refused.filters[0].reason_code = 0x87;
    harness.reply(mqtt, Frame::begin(refused));
    harness.ended(mqtt);
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("refused the subscription with reason code 0x87")
    );

    let call = harness.call("receive", r#"{"topic":"t","timeout":100}"#);
    let (mqtt, _) = harness.opened_subscribe();
    harness.expire(mqtt, 100, MqttDelivery::None);
    assert!(harness.answer(call).sentence().contains("took too long"));
    harness.rig.assert_idle();
}

#[test]
fn messages_received_before_a_failure_are_returned() {
    let mut harness = harness("{}");
    for come in [0, 1] {
        let call = harness.call("receive", r#"{"topic":"t"}"#);
        let mqtt = harness.confirmed();
        for _ in 0..come {
            harness.reply(mqtt, message("t", "x"));
        }
        harness.refuse(mqtt, lost(MqttDelivery::None));
        let answered = harness.answer(call);
        if come == 0 {
            assert!(answered.sentence().contains("broker.example:1883"));
        } else {
            assert_eq!(messages(&answered).as_array().map(Vec::len), Some(1));
        }
    }
    harness.rig.assert_idle();
}

#[test]
fn a_caller_with_a_small_window_gets_the_result_in_parts() {
    let mut harness = harness_with_windows("{}", 100, MIB);
    let call = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "x".repeat(5_000)));
    harness.ended(mqtt);
    let mut frames = harness.rig.frames(harness.caller, call);
    assert!(!matches!(frames.last(), Some(Frame::End(_))));
    while !matches!(frames.last(), Some(Frame::End(_))) {
        harness
            .rig
            .turn(harness.caller, |cx| cx.acknowledge(call, 100));
        let more = harness.rig.frames(harness.caller, call);
        assert!(!more.is_empty(), "credit is used");
        frames.extend(more);
    }
    let answered = answer_in(&frames);
    assert_eq!(
        messages(&answered)[0]["payload"].as_str().map(str::len),
        Some(5_000)
    );
    harness.send(call, Frame::end());
    harness.rig.assert_idle();
}

#[test]
fn a_caller_that_resets_within_its_result_is_removed() {
    let mut harness = harness_with_windows("{}", 100, MIB);
    let call = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "x".repeat(5_000)));
    harness.send(call, Frame::abort());
    assert!(
        harness
            .rig
            .frames(harness.exit, mqtt)
            .contains(&Frame::end())
    );
    harness.rig.frames(harness.caller, call);
    harness.rig.frames(harness.exit, mqtt);
    harness.rig.assert_idle();
}

#[test]
fn a_cancelled_call_terminates_its_subscription() {
    for confirm in [false, true] {
        let mut harness = harness("{}");
        let call = harness.call("receive", r#"{"topic":"t"}"#);
        let (mqtt, pattern) = harness.opened_subscribe();
        if confirm {
            harness.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
            harness.reply(mqtt, part(DataFlags::INIT, "t", "x"));
        }
        harness.send(call, Frame::abort());
        harness.given_up(mqtt);
        harness.rig.frames(harness.caller, call);
        harness.rig.assert_idle();
    }
}

#[test]
fn a_stream_that_the_broker_side_never_ends_is_terminated() {
    let mut harness = harness("{}");
    let call = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "x"));
    harness.answer(call);
    harness.rig.advance(Duration::from_millis(60_000));
    harness.given_up(mqtt);
    harness.rig.assert_idle();
}
