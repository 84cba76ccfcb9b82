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

/// The messages of a result, which must say the same twice.
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
    assert_eq!(answered.json["content"].as_array().map(Vec::len), Some(1));
    read
}

#[test]
fn a_call_becomes_one_subscription_until_its_limit() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"sensors/+/#","limit":2}"#);
    let (mqtt, begin) = house.opened();
    let expected = subscription("s-1", "sensors/+/#");
    assert_eq!(begin, MqttBeginEx::Subscribe(expected.clone()));
    house.reply(mqtt, Frame::begin(expected));
    house.reply(mqtt, retained("sensors/1/a", b"2\"1"));
    assert!(house.rig.outputs(house.caller).is_empty());
    house.reply(mqtt, message("sensors/1/b", &b"\xff\x00"[..]));
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    // What comes behind the limit is dropped.
    house.reply(mqtt, message("sensors/1/c", "x"));
    let answered = house.answer(call);
    assert_eq!(
        messages(&answered),
        json!([
            {"topic": "sensors/1/a", "payload": "2\"1", "qos": 0, "retain": true},
            {"topic": "sensors/1/b", "payload": "/wA=", "qos": 1, "retain": false,
             "encoding": "base64"},
        ])
    );
    house.reply(mqtt, Frame::end());
    house.rig.assert_idle();
}

#[test]
fn ten_messages_are_the_default() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"t"}"#);
    let mqtt = house.confirmed();
    for _ in 0..10 {
        assert!(house.rig.outputs(house.caller).is_empty());
        house.reply(mqtt, message("t", "x"));
    }
    house.ended(mqtt);
    assert_eq!(
        messages(&house.answer(call)).as_array().map(Vec::len),
        Some(10)
    );
    house.rig.assert_idle();
}

#[test]
fn the_time_limit_returns_what_came() {
    let mut house = house(r#"{"receiveTimeout":3000}"#);
    for (arguments, timeout, come) in [
        (r#"{"topic":"t"}"#, 3_000, 2),
        (r#"{"topic":"t","timeout":10000}"#, 10_000, 0),
        // The caller's deadline is before that.
        (r#"{"topic":"t","timeout":3600000}"#, 60_000, 1),
    ] {
        let call = house.call("receive", arguments);
        let mqtt = house.confirmed();
        for _ in 0..come {
            house.reply(mqtt, message("t", "x"));
        }
        house.rig.advance(Duration::from_millis(timeout - 1));
        assert!(house.rig.outputs(house.caller).is_empty());
        house.rig.advance(Duration::from_millis(1));
        house.ended(mqtt);
        let messages = messages(&house.answer(call));
        assert_eq!(messages.as_array().map(Vec::len), Some(come));
    }
    house.rig.assert_idle();
}

#[test]
fn the_stream_s_end_and_the_caller_s_enough_return_what_came() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"t"}"#);
    let mqtt = house.confirmed();
    house.reply(mqtt, message("t", "x"));
    house.reply(mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    assert_eq!(
        messages(&house.answer(call)).as_array().map(Vec::len),
        Some(1)
    );
    house.rig.assert_idle();

    let call = house.call("receive", r#"{"topic":"t"}"#);
    let mqtt = house.confirmed();
    house.reply(mqtt, message("t", "x"));
    house.say(call, Frame::end());
    house.ended(mqtt);
    let answered = answer_in(&house.rig.frames(house.caller, call));
    assert_eq!(messages(&answered).as_array().map(Vec::len), Some(1));
    house.rig.assert_idle();
}

#[test]
fn messages_come_in_fragments_and_are_acknowledged() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = house.confirmed();
    let text = "ä".repeat(150_000);
    let bytes = Bytes::from(text.clone());
    let mut sent = 0;
    while sent < bytes.len() {
        let credit = house.rig.turn(house.exit, |cx| cx.credit(mqtt));
        assert!(credit > 0, "the binding takes what it is sent");
        // An odd length cuts through characters.
        let end = (sent + credit.min(30_001)).min(bytes.len());
        let flags = DataFlags::of(sent == 0, end == bytes.len());
        house.reply(mqtt, part(flags, "t", bytes.slice(sent..end)));
        sent = end;
    }
    let frames = house.rig.frames(house.exit, mqtt);
    assert_eq!(frames.last(), Some(&Frame::end()));
    house.reply(mqtt, Frame::end());
    assert_eq!(messages(&house.answer(call))[0]["payload"], text);
    house.rig.assert_idle();
}

#[test]
fn the_result_has_a_bound_in_bytes() {
    let mut house = house(r#"{"receiveBytes":1024}"#);
    let call = house.call("receive", r#"{"topic":"t"}"#);
    let mqtt = house.confirmed();
    let mut sent = 0;
    while house.rig.frames(house.exit, mqtt).is_empty() {
        // Each quote is an escape in an escape.
        house.reply(mqtt, message("t", "\"".repeat(20)));
        sent += 1;
    }
    house.reply(mqtt, Frame::end());
    let frames = house.rig.frames(house.caller, call);
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
    house.say(call, Frame::end());

    // A first message that has no room at all, whole or in fragments.
    for flags in [DataFlags::WHOLE, DataFlags::INIT] {
        let call = house.call("receive", r#"{"topic":"t"}"#);
        let mqtt = house.confirmed();
        house.reply(mqtt, part(flags, "t", "x".repeat(1_025)));
        house.ended(mqtt);
        let sentence = house.answer(call).sentence();
        assert!(
            sentence.contains("larger than a result may be (1024 bytes)"),
            "{sentence}"
        );
    }
    house.rig.assert_idle();
}

#[test]
fn bad_arguments_are_tool_errors() {
    let mut house = house(r#"{"receiveLimit":50}"#);
    for (arguments, told) in [
        (
            "{}",
            "Argument 'topic' is missing; add the topic filter to receive from.",
        ),
        (r#"{"topic":""}"#, "it is empty"),
        (r#"{"topic":"a+"}"#, "must stand alone between slashes"),
        (r##"{"topic":"#/a"}"##, "'#' must be the last level"),
        (r#"{"topic":"$share/g"}"#, "$share/NAME/FILTER"),
        (r#"{"topic":"a\u0000b"}"#, "U+0000"),
        (
            r#"{"topic":["a"]}"#,
            "Argument 'topic' is an array; write a string.",
        ),
        (
            r#"{"topic":"t","limit":0}"#,
            "Argument 'limit' is 0; write 1 to 50.",
        ),
        (
            r#"{"topic":"t","limit":1000000000}"#,
            "Argument 'limit' is 1000000000; write 1 to 50.",
        ),
        (r#"{"topic":"t","limit":-1}"#, "a whole number from 1 to 50"),
        (
            r#"{"topic":"t","limit":1.5}"#,
            "a whole number from 1 to 50",
        ),
        (
            r#"{"topic":"t","limit":"5"}"#,
            "Argument 'limit' is a string",
        ),
        (r#"{"topic":"t","timeout":0}"#, "Argument 'timeout' is 0"),
        (
            r#"{"topic":"t","limit":1,"limit":2}"#,
            "Argument 'limit' is given twice",
        ),
    ] {
        let call = house.call("receive", arguments);
        let sentence = house.answer(call).sentence();
        assert!(sentence.contains(told), "{arguments}: {sentence}");
    }
    house.rig.assert_idle();
}

#[test]
fn only_what_a_pattern_covers_is_subscribed_to() {
    let mut house = house(r##"{"subscribe":["sensors/temperature/+","#"]}"##);
    let call = house.call("receive", r#"{"topic":"$SYS/#"}"#);
    assert!(
        house
            .answer(call)
            .sentence()
            .contains("Receiving from '$SYS/#' is not allowed.")
    );
    house.rig.assert_idle();
    let mut house = super::house(r#"{"subscribe":["sensors/temperature/+"]}"#);
    for filter in [
        "sensors/#",
        "sensors/temperature",
        "+/+/+",
        "$share/g/sensors/#",
    ] {
        let call = house.call("receive", &format!(r#"{{"topic":"{filter}"}}"#));
        assert!(
            house
                .answer(call)
                .sentence()
                .contains("sensors/temperature/+")
        );
    }
    let shared = "$share/g/sensors/temperature/+";
    let call = house.call("receive", &format!(r#"{{"topic":"{shared}"}}"#));
    assert!(
        house
            .answer(call)
            .sentence()
            .contains("sharedSubscriptions")
    );
    let mut house =
        super::house(r#"{"subscribe":["sensors/temperature/+"],"sharedSubscriptions":true}"#);
    for filter in ["sensors/temperature/1", "sensors/temperature/+", shared] {
        let call = house.call("receive", &format!(r#"{{"topic":"{filter}","limit":1}}"#));
        let (mqtt, pattern) = house.opened_subscribe();
        assert_eq!(pattern, filter);
        house.say(call, Frame::abort());
        house.given_up(mqtt);
        house.rig.frames(house.caller, call);
    }
    house.rig.assert_idle();
}

#[test]
fn a_subscription_that_is_refused_or_never_confirmed_is_a_tool_error() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"t"}"#);
    let (mqtt, _) = house.opened_subscribe();
    house.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(
        house.answer(call).sentence(),
        "Receiving from 't' failed: broker.example:1883 said: not authorized."
    );

    let call = house.call("receive", r#"{"topic":"t"}"#);
    let (mqtt, _) = house.opened_subscribe();
    let mut refused = subscription("s-1", "t");
    refused.filters[0].reason_code = 0x87;
    house.reply(mqtt, Frame::begin(refused));
    house.ended(mqtt);
    assert!(
        house
            .answer(call)
            .sentence()
            .contains("refused the subscription with reason code 0x87")
    );

    let call = house.call("receive", r#"{"topic":"t","timeout":100}"#);
    let (mqtt, _) = house.opened_subscribe();
    house.expire(mqtt, 100, MqttDelivery::None);
    assert!(house.answer(call).sentence().contains("took too long"));
    house.rig.assert_idle();
}

#[test]
fn messages_that_came_before_a_failure_are_not_lost() {
    let mut house = house("{}");
    for come in [0, 1] {
        let call = house.call("receive", r#"{"topic":"t"}"#);
        let mqtt = house.confirmed();
        for _ in 0..come {
            house.reply(mqtt, message("t", "x"));
        }
        house.refuse(mqtt, lost(MqttDelivery::None));
        let answered = house.answer(call);
        if come == 0 {
            assert!(answered.sentence().contains("broker.example:1883"));
        } else {
            assert_eq!(messages(&answered).as_array().map(Vec::len), Some(1));
        }
    }
    house.rig.assert_idle();
}

#[test]
fn a_caller_with_a_small_window_gets_the_result_piece_by_piece() {
    let mut house = house_of_windows("{}", 100, MIB);
    let call = house.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = house.confirmed();
    house.reply(mqtt, message("t", "x".repeat(5_000)));
    house.ended(mqtt);
    let mut frames = house.rig.frames(house.caller, call);
    assert!(!matches!(frames.last(), Some(Frame::End(_))));
    while !matches!(frames.last(), Some(Frame::End(_))) {
        house.rig.turn(house.caller, |cx| cx.acknowledge(call, 100));
        let more = house.rig.frames(house.caller, call);
        assert!(!more.is_empty(), "credit is used");
        frames.extend(more);
    }
    let answered = answer_in(&frames);
    assert_eq!(
        messages(&answered)[0]["payload"].as_str().map(str::len),
        Some(5_000)
    );
    house.say(call, Frame::end());
    house.rig.assert_idle();
}

#[test]
fn a_caller_that_leaves_in_the_middle_of_its_result_is_forgotten() {
    let mut house = house_of_windows("{}", 100, MIB);
    let call = house.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = house.confirmed();
    house.reply(mqtt, message("t", "x".repeat(5_000)));
    house.say(call, Frame::abort());
    assert!(house.rig.frames(house.exit, mqtt).contains(&Frame::end()));
    house.rig.frames(house.caller, call);
    house.rig.frames(house.exit, mqtt);
    house.rig.assert_idle();
}

#[test]
fn a_cancelled_call_gives_its_subscription_up() {
    for confirm in [false, true] {
        let mut house = house("{}");
        let call = house.call("receive", r#"{"topic":"t"}"#);
        let (mqtt, pattern) = house.opened_subscribe();
        if confirm {
            house.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
            house.reply(mqtt, part(DataFlags::INIT, "t", "x"));
        }
        house.say(call, Frame::abort());
        house.given_up(mqtt);
        house.rig.frames(house.caller, call);
        house.rig.assert_idle();
    }
}

#[test]
fn a_broker_that_never_ends_its_half_is_given_up_in_the_end() {
    let mut house = house("{}");
    let call = house.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = house.confirmed();
    house.reply(mqtt, message("t", "x"));
    house.answer(call);
    house.rig.advance(Duration::from_millis(60_000));
    house.given_up(mqtt);
    house.rig.assert_idle();
}
