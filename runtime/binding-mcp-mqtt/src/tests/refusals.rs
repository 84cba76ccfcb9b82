//! What is refused before any mqtt stream is opened.

use tidegate_streams::mcp::{McpHeader, McpResetKind};

use super::*;

const OPEN: &str = "{}";

#[test]
fn bad_arguments_are_tool_errors_that_say_what_to_change() {
    let mut house = house(OPEN);
    let long = format!(r#"{{"topic":"{}","payload":""}}"#, "a".repeat(65_536));
    for (arguments, told) in [
        (
            "{}",
            "Argument 'topic' is missing; add the topic to publish to.",
        ),
        ("null", "must be an object"),
        ("[]", "must be an object"),
        (
            r#"{"topic":"t"}"#,
            "Argument 'payload' is missing; add the message as a string.",
        ),
        (
            r#"{"topic":7,"payload":""}"#,
            "Argument 'topic' is a number; write a string.",
        ),
        (
            r#"{"topic":"t","payload":null}"#,
            "Argument 'payload' is null; write a string.",
        ),
        (
            r#"{"topic":"t","payload":{}}"#,
            "Argument 'payload' is an object; write a string.",
        ),
        (
            r#"{"topic":"t","payload":"","qos":7}"#,
            "Argument 'qos' is 7; write 0, 1 or 2.",
        ),
        (
            r#"{"topic":"t","payload":"","qos":"1"}"#,
            "Argument 'qos' is a string; write the number 0, 1 or 2.",
        ),
        (
            r#"{"topic":"t","payload":"","qos":-1}"#,
            "write the number 0, 1 or 2",
        ),
        (
            r#"{"topic":"t","payload":"","retain":1}"#,
            "Argument 'retain' is a number; write true or false.",
        ),
        (
            r#"{"topic":"","payload":""}"#,
            "it is empty; write at least one character",
        ),
        (
            r#"{"topic":"a/+","payload":""}"#,
            "contains the wildcard '+'",
        ),
        (r##"{"topic":"#","payload":""}"##, "name one concrete topic"),
        (r#"{"topic":"a\u0000","payload":""}"#, "U+0000"),
        (&long, "65536 bytes long and at most 65535 are allowed"),
        (
            r#"{"topic":"t","payload":"","encoding":"hex"}"#,
            "Argument 'encoding' is 'hex'; write 'text' or 'base64'.",
        ),
        (
            r#"{"topic":"t","payload":"","encoding":1}"#,
            "write 'text' or 'base64'",
        ),
        (
            r#"{"topic":"t","payload":"?","encoding":"base64"}"#,
            "Argument 'payload' is no base64",
        ),
        (
            r#"{"topic":"t","topic":"u","payload":""}"#,
            "Argument 'topic' is given twice; write it once.",
        ),
        (
            r#"{"topic":"t","payload":"","payload":""}"#,
            "Argument 'payload' is given twice",
        ),
    ] {
        let call = house.call("publish", arguments);
        let sentence = house.answer(call).sentence();
        assert!(sentence.contains(told), "{arguments}: {sentence}");
        assert!(sentence.len() < 400);
    }
    // Params without arguments, and none at all.
    let call = house.open(McpToolsCall {
        name: "publish".into(),
        ..McpToolsCall::default()
    });
    house.say(call, Frame::data(Bytes::from_static(b"{}")));
    assert!(house.answer(call).sentence().contains("'topic' is missing"));
    let call = house.open(McpToolsCall {
        name: "publish".into(),
        ..McpToolsCall::default()
    });
    house.say(call, Frame::end());
    let frames = house.rig.frames(house.caller, call);
    assert!(answer_in(&frames).sentence().contains("'topic' is missing"));
    house.rig.assert_idle();
}

#[test]
fn params_that_are_no_object_are_refused() {
    let mut house = house(OPEN);
    for params in [
        "[1]",
        "{",
        "{\"arguments\":{\"topic\":\"\\ud800\"}}",
        "\u{0}",
    ] {
        let call = house.open(McpToolsCall {
            name: "publish".into(),
            ..McpToolsCall::default()
        });
        house.say(call, Frame::data(Bytes::from(params)));
        assert_eq!(house.refusal(call).kind, McpResetKind::Invalid, "{params}");
    }
    house.rig.assert_idle();
}

#[test]
fn a_topic_that_no_pattern_matches_is_refused_before_any_stream() {
    let mut house = house(r#"{"publish":["commands/+/set","devices/+/control"]}"#);
    for topic in [
        "commands/set",
        "commands/1/2/set",
        "Commands/1/set",
        "$share/g/commands/1/set",
    ] {
        let call = house.call(
            "publish",
            &format!(r#"{{"topic":"{topic}","payload":"on"}}"#),
        );
        assert_eq!(
            house.answer(call).sentence(),
            format!(
                "Publishing to '{topic}' is not allowed. Allowed is what these patterns match: \
                 commands/+/set, devices/+/control."
            )
        );
    }
    let call = house.call("publish", r#"{"topic":"devices/x/control","payload":"on"}"#);
    let (mqtt, _, _) = house.opened_publish();
    house.reply(mqtt, Frame::begin(MqttPublish::default()));
    house.reply(mqtt, Frame::end());
    assert_eq!(house.answer(call).end.outcome, McpOutcome::Ok);
    house.rig.assert_idle();
}

#[test]
fn an_empty_list_of_patterns_allows_nothing() {
    let mut house = house(r#"{"publish":[],"subscribe":[]}"#);
    for tool in ["publish", "receive"] {
        let call = house.call(tool, r#"{"topic":"t","payload":"on"}"#);
        assert!(
            house
                .answer(call)
                .sentence()
                .contains("No topic is allowed.")
        );
    }
    house.rig.assert_idle();
}

#[test]
fn an_unknown_tool_is_not_found() {
    let mut house = house(OPEN);
    let call = house.open(McpToolsCall {
        name: "Publish".into(),
        ..McpToolsCall::default()
    });
    let reset = house.refusal(call);
    assert_eq!(reset.kind, McpResetKind::NotFound);
    assert!(
        reset.message.contains("'publish' and 'receive'"),
        "{}",
        reset.message
    );
    house.rig.assert_idle();
}

#[test]
fn params_over_the_limit_are_refused() {
    let mut house = house(r#"{"maxParams":1024}"#);
    let begin = |content_length| McpToolsCall {
        name: "publish".into(),
        content_length,
        ..McpToolsCall::default()
    };
    let told = house.open(begin(1_025));
    assert_eq!(house.refusal(told).kind, McpResetKind::TooLarge);
    let call = house.open(begin(-1));
    house.say(call, Frame::part(DataFlags::INIT, vec![b' '; 1_024].into()));
    assert!(house.rig.outputs(house.caller).is_empty());
    house.say(call, Frame::part(DataFlags::FIN, vec![b' '].into()));
    assert_eq!(house.refusal(call).kind, McpResetKind::TooLarge);
    house.rig.assert_idle();
}

#[test]
fn headers_are_checked_against_the_topic_where_they_are_asked_for() {
    let call = |house: &mut House, header: &[&str], required, arguments: &str| {
        let headers = header
            .iter()
            .map(|value| McpHeader {
                name: "topic".into(),
                value: (*value).into(),
            })
            .collect();
        let begin = McpToolsCall {
            name: "publish".into(),
            headers,
            headers_required: required,
            ..McpToolsCall::default()
        };
        house.call_with(begin, arguments)
    };
    let t = r#"{"topic":"t","payload":""}"#;
    let mut on = house(r#"{"topicHeader":true}"#);
    for (header, required, arguments) in [
        (&["u"][..], false, t),
        (&["t", "u"], true, t),
        (&["T"], false, t),
        (&[], true, t),
        (&["t"], false, r#"{"payload":""}"#),
        (&["1"], false, r#"{"topic":1,"payload":""}"#),
    ] {
        let stream = call(&mut on, header, required, arguments);
        let reset = on.refusal(stream);
        assert_eq!(reset.kind, McpResetKind::HeaderMismatch, "{header:?}");
    }
    // Nothing is owed for an argument that is not there.
    let stream = call(&mut on, &[], true, r#"{"payload":""}"#);
    assert!(on.answer(stream).sentence().contains("'topic' is missing"));
    let mut off = house("{}");
    for (is_on, header, required) in [
        (true, &["t"][..], true),
        (true, &[][..], false),
        (false, &["u"][..], true),
    ] {
        let house = if is_on { &mut on } else { &mut off };
        let stream = call(house, header, required, t);
        let (mqtt, begin, _) = house.opened_publish();
        house.reply(mqtt, Frame::begin(begin));
        house.reply(mqtt, Frame::end());
        house.answer(stream);
    }
    on.rig.assert_idle();
    off.rig.assert_idle();
}
