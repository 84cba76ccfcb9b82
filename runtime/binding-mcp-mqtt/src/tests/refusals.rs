//! Requests that are refused before an mqtt stream is opened.

use tidegate_streams::mcp::{McpHeader, McpResetKind};

use super::*;

const OPEN: &str = "{}";

#[test]
fn a_refusal_does_not_repeat_a_long_argument() {
    let mut harness = harness(OPEN);
    let digits = "7".repeat(100_000);
    let list = format!("[{digits}]");
    let text = format!("\"{digits}\"");
    for (argument, value) in [
        ("payload", &digits),
        ("payload", &list),
        ("topic", &digits),
        ("topic", &list),
        ("qos", &digits),
        ("qos", &text),
        ("retain", &text),
        ("encoding", &text),
        (&digits, &text),
    ] {
        let others = [("topic", "\"t\""), ("payload", "\"\"")];
        let others = others.iter().filter(|(name, _)| *name != argument);
        let others = others.map(|(name, value)| format!(",\"{name}\":{value}"));
        let others = others.collect::<Vec<_>>().concat();
        let call = harness.call("publish", &format!("{{\"{argument}\":{value}{others}}}"));
        let sentence = harness.answer(call).sentence();
        assert!(sentence.len() < 1_000, "{} bytes", sentence.len());
    }
}

#[test]
fn bad_arguments_are_tool_errors_that_say_what_to_change() {
    let mut harness = harness(OPEN);
    let long = format!(r#"{{"topic":"{}","payload":""}}"#, "a".repeat(65_536));
    for (arguments, expected) in [
        ("{}", "'topic' is missing; add the topic to publish to."),
        ("null", "must be an object"),
        ("[]", "must be an object"),
        (
            r#"{"topic":"t"}"#,
            "'payload' is missing; add the message as a string.",
        ),
        (
            r#"{"topic":7,"payload":""}"#,
            "'topic' must be a string, not the number 7.",
        ),
        (
            r#"{"topic":"t","payload":null}"#,
            "'payload' must be a string, not null.",
        ),
        (
            r#"{"topic":"t","payload":{}}"#,
            r#"'payload' must be a string, not the object {}. Send JSON as text: "{}"."#,
        ),
        (
            r#"{"topic":"t","payload":"","qos":7}"#,
            "'qos' is 7; use 0, 1 or 2.",
        ),
        (
            r#"{"topic":"t","payload":"","qos":"1"}"#,
            "'qos' must be 0, 1 or 2, not the string \"1\". Send 1 without quotes.",
        ),
        (r#"{"topic":"t","payload":"","qos":-1}"#, "use 0, 1 or 2."),
        (
            r#"{"topic":"t","payload":"","retain":1}"#,
            "'retain' must be true or false, not the number 1.",
        ),
        (
            r#"{"topic":"","payload":""}"#,
            "it is empty; write at least one character",
        ),
        (
            r#"{"topic":"a/+","payload":""}"#,
            "the wildcard '+' is only allowed in a topic filter",
        ),
        (r##"{"topic":"#","payload":""}"##, "name one concrete topic"),
        (r#"{"topic":"a\u0000","payload":""}"#, "U+0000"),
        (&long, "65536 bytes long and at most 65535 are allowed"),
        (
            r#"{"topic":"t","payload":"","encoding":"hex"}"#,
            "'encoding' is 'hex'; use 'text' or 'base64'.",
        ),
        (
            r#"{"topic":"t","payload":"","encoding":1}"#,
            "'encoding' must be 'text' or 'base64', not the number 1.",
        ),
        (
            r#"{"topic":"t","payload":"?","encoding":"base64"}"#,
            "'payload' is not valid base64",
        ),
        (
            r#"{"topic":"t","topic":"u","payload":""}"#,
            "'topic' is given twice; send it once.",
        ),
        (
            r#"{"topic":"t","payload":"","payload":""}"#,
            "'payload' is given twice",
        ),
    ] {
        let call = harness.call("publish", arguments);
        let sentence = harness.answer(call).sentence();
        assert!(sentence.contains(expected), "{arguments}: {sentence}");
        assert!(sentence.len() < 400);
    }
    // Params without arguments, and empty params.
    let call = harness.open(McpToolsCall {
        name: "publish".into(),
        ..McpToolsCall::default()
    });
    harness.send(call, Frame::data(Bytes::from_static(b"{}")));
    assert!(
        harness
            .answer(call)
            .sentence()
            .contains("'topic' is missing")
    );
    let call = harness.open(McpToolsCall {
        name: "publish".into(),
        ..McpToolsCall::default()
    });
    harness.send(call, Frame::end());
    let frames = harness.rig.frames(harness.caller, call);
    assert!(answer_in(&frames).sentence().contains("'topic' is missing"));
    harness.rig.assert_idle();
}

#[test]
fn a_common_mistake_is_answered_with_the_value_and_the_next_step() {
    let mut harness = harness(OPEN);
    for (arguments, expected) in [
        (
            r#"{"topic":"t","payload":{"state":"on"}}"#,
            r#"'payload' must be a string, not the object {"state":"on"}. Send JSON as text: "{\"state\":\"on\"}"."#,
        ),
        (
            r#"{"topic":"t","payload":21.5}"#,
            r#"'payload' must be a string, not the number 21.5. Send "21.5"."#,
        ),
        (
            r#"{"topic":"t","payload":"","QoS":1}"#,
            "Unknown argument 'QoS' of 'publish'; did you mean 'qos'?",
        ),
        (
            r#"{"topic":"t","payload":"","note":1}"#,
            "Unknown argument 'note' of 'publish'. Arguments: 'topic', 'payload', 'qos', 'encoding', 'retain'.",
        ),
        (
            r#"{"topic":"mqtt://a/b","payload":""}"#,
            "send the topic without 'mqtt://': 'a/b'",
        ),
    ] {
        let call = harness.call("publish", arguments);
        let sentence = harness.answer(call).sentence();
        assert!(sentence.contains(expected), "{arguments}: {sentence}");
    }
    harness.rig.assert_idle();
}

#[test]
fn params_that_are_not_an_object_are_refused() {
    let mut harness = harness(OPEN);
    for params in [
        "[1]",
        "{",
        "{\"arguments\":{\"topic\":\"\\ud800\"}}",
        "\u{0}",
    ] {
        let call = harness.open(McpToolsCall {
            name: "publish".into(),
            ..McpToolsCall::default()
        });
        harness.send(call, Frame::data(Bytes::from(params)));
        assert_eq!(
            harness.refusal(call).kind,
            McpResetKind::Invalid,
            "{params}"
        );
    }
    harness.rig.assert_idle();
}

#[test]
fn a_topic_that_no_pattern_matches_is_refused_before_a_stream_is_opened() {
    let mut harness = harness(r#"{"publish":["commands/+/set","devices/+/control"]}"#);
    for topic in [
        "commands/set",
        "commands/1/2/set",
        "Commands/1/set",
        "$share/g/commands/1/set",
    ] {
        let call = harness.call(
            "publish",
            &format!(r#"{{"topic":"{topic}","payload":"on"}}"#),
        );
        assert_eq!(
            harness.answer(call).sentence(),
            format!(
                "Publishing to '{topic}' is not allowed. Allowed topics: \
                 commands/+/set, devices/+/control."
            )
        );
    }
    let call = harness.call("publish", r#"{"topic":"devices/x/control","payload":"on"}"#);
    let (mqtt, _, _) = harness.opened_publish();
    harness.reply(mqtt, Frame::begin(MqttPublish::default()));
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.answer(call).end.outcome, McpOutcome::Ok);
    harness.rig.assert_idle();
}

#[test]
fn an_empty_list_of_patterns_leaves_no_tool() {
    let mut harness = harness(r#"{"publish":[],"subscribe":[]}"#);
    for tool in ["publish", "receive"] {
        let call = harness.open(McpToolsCall {
            name: tool.into(),
            ..McpToolsCall::default()
        });
        let reset = harness.refusal(call);
        assert_eq!(reset.kind, McpResetKind::NotFound);
        assert_eq!(
            reset.message,
            format!("Unknown tool '{tool}'; no tools are available.")
        );
    }
    harness.rig.assert_idle();
}

#[test]
fn an_unknown_tool_is_not_found() {
    let mut harness = harness(OPEN);
    let call = harness.open(McpToolsCall {
        name: "Publish".into(),
        ..McpToolsCall::default()
    });
    let reset = harness.refusal(call);
    assert_eq!(reset.kind, McpResetKind::NotFound);
    assert!(
        reset
            .message
            .contains("available tools: 'publish', 'receive'"),
        "{}",
        reset.message
    );
    harness.rig.assert_idle();
}

#[test]
fn params_over_the_limit_are_refused() {
    let mut harness = harness(r#"{"maxParams":1024}"#);
    let begin = |content_length| McpToolsCall {
        name: "publish".into(),
        content_length,
        ..McpToolsCall::default()
    };
    let announced = harness.open(begin(1_025));
    assert_eq!(harness.refusal(announced).kind, McpResetKind::TooLarge);
    let call = harness.open(begin(-1));
    harness.send(call, Frame::part(DataFlags::INIT, vec![b' '; 1_024].into()));
    assert!(harness.rig.outputs(harness.caller).is_empty());
    harness.send(call, Frame::part(DataFlags::FIN, vec![b' '].into()));
    assert_eq!(harness.refusal(call).kind, McpResetKind::TooLarge);
    harness.rig.assert_idle();
}

#[test]
fn headers_are_checked_against_the_topic_if_the_option_is_set() {
    let call = |harness: &mut Harness, header: &[&str], required, arguments: &str| {
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
        harness.call_with(begin, arguments)
    };
    let t = r#"{"topic":"t","payload":""}"#;
    let mut on = harness(r#"{"topicHeader":true}"#);
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
    // Without the argument, no header is required.
    let stream = call(&mut on, &[], true, r#"{"payload":""}"#);
    assert!(on.answer(stream).sentence().contains("'topic' is missing"));
    let mut off = harness("{}");
    for (is_on, header, required) in [
        (true, &["t"][..], true),
        (true, &[][..], false),
        (false, &["u"][..], true),
    ] {
        let harness = if is_on { &mut on } else { &mut off };
        let stream = call(harness, header, required, t);
        let (mqtt, begin, _) = harness.opened_publish();
        harness.reply(mqtt, Frame::begin(begin));
        harness.reply(mqtt, Frame::end());
        harness.answer(stream);
    }
    on.rig.assert_idle();
    off.rig.assert_idle();
}
