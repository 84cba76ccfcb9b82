//! `resources/read`.

use serde_json::json;
use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpCacheScope, McpResetKind, McpResourcesRead};

use super::*;

fn read(harness: &mut Harness, uri: &str) -> StreamId {
    harness.open(McpResourcesRead {
        uri: uri.into(),
        session_id: Some("s-1".into()),
        ..McpResourcesRead::default()
    })
}

#[test]
fn the_first_message_is_the_content() {
    let mut harness = harness(r#"{"subscribe":["sensors/+"]}"#);
    let call = read(&mut harness, "mqtt://sensors/1");
    // The uri in the params is ignored.
    harness.send(
        call,
        Frame::data(Bytes::from_static(b"{\"uri\":\"mqtt://x\"}")),
    );
    let (mqtt, begin) = harness.opened();
    let expected = subscription("s-1", "sensors/1");
    assert_eq!(begin, MqttBeginEx::Subscribe(expected.clone()));
    harness.reply(mqtt, Frame::begin(expected));
    harness.reply(mqtt, message("sensors/1", "21.5 \"C\""));
    harness.ended(mqtt);
    let answered = harness.answer(call);
    let content =
        json!({"uri": "mqtt://sensors/1", "mimeType": "text/plain", "text": "21.5 \"C\""});
    assert_eq!(answered.json, json!({ "contents": [content] }));
    assert_eq!(answered.end.ttl_ms, Some(0));
    assert_eq!(answered.end.cache_scope, Some(McpCacheScope::Private));
    assert_eq!(answered.end.outcome, McpOutcome::Ok);
    harness.rig.assert_idle();
}

#[test]
fn bytes_are_a_blob_and_a_content_type_is_passed_on() {
    let mut harness = harness("{}");
    let call = read(&mut harness, "mqtt://t");
    let mqtt = harness.confirmed();
    harness.reply(mqtt, part(DataFlags::INIT, "t", &b"\xff"[..]));
    harness.reply(
        mqtt,
        Frame::part(DataFlags::FIN, Bytes::from_static(b"\x00")),
    );
    harness.ended(mqtt);
    let content =
        json!({"uri": "mqtt://t", "mimeType": "application/octet-stream", "blob": "/wA="});
    assert_eq!(harness.answer(call).json["contents"][0], content);

    let call = read(&mut harness, "mqtt://t");
    let mqtt = harness.confirmed();
    let extension = MqttSubscribeData {
        content_type: Some("application/json".into()),
        ..MqttSubscribeData::default()
    };
    let payload = Bytes::from_static(b"{}");
    harness.reply(mqtt, Frame::data_with(DataFlags::WHOLE, payload, extension));
    harness.ended(mqtt);
    assert_eq!(
        harness.answer(call).json["contents"][0]["mimeType"],
        "application/json"
    );
    harness.rig.assert_idle();
}

#[test]
fn a_payload_without_escapes_reaches_the_caller_without_a_copy() {
    let mut harness = harness("{}");
    let call = read(&mut harness, "mqtt://t");
    let mqtt = harness.confirmed();
    let payload = Bytes::from("x".repeat(10_000));
    harness.reply(mqtt, message("t", payload.clone()));
    harness.ended(mqtt);
    let frames = harness.rig.frames(harness.caller, call);
    let found = frames.iter().any(
        |frame| matches!(frame, Frame::Data(data) if data.payload.as_ptr() == payload.as_ptr()),
    );
    assert!(found, "the payload was copied");
    answer_in(&frames);
    harness.send(call, Frame::end());
    harness.rig.assert_idle();
}

#[test]
fn a_timeout_has_the_specified_sentence() {
    let mut harness = harness(r#"{"readTimeout":2500}"#);
    let call = read(&mut harness, "mqtt://sensors/1");
    let mqtt = harness.confirmed();
    harness.rig.advance(Duration::from_millis(2_499));
    assert!(harness.rig.outputs(harness.caller).is_empty());
    harness.rig.advance(Duration::from_millis(1));
    let reset = harness.refusal(call);
    assert_eq!(reset.kind, McpResetKind::TimedOut);
    assert_eq!(
        reset.message,
        "No message received on topic 'sensors/1' within 2500ms: it has no retained message and \
         nothing was published. To wait longer, use the tool 'receive' with a longer 'timeout'."
    );
    harness.ended(mqtt);
    harness.rig.assert_idle();
}

#[test]
fn an_unreachable_broker_is_another_error() {
    let mut harness = harness("{}");
    let call = read(&mut harness, "mqtt://t");
    let (mqtt, _) = harness.opened_subscribe();
    harness.refuse(mqtt, lost(MqttDelivery::None));
    let reset = harness.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(
        reset.message.contains("broker.example:1883"),
        "{}",
        reset.message
    );

    let call = read(&mut harness, "mqtt://t");
    let (mqtt, _) = harness.opened_subscribe();
    harness.expire(mqtt, 5_000, MqttDelivery::None);
    let reset = harness.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(reset.message.contains("took too long"));

    let call = read(&mut harness, "mqtt://t");
    let mqtt = harness.confirmed();
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    assert_eq!(harness.refusal(call).kind, McpResetKind::Unavailable);
    harness.rig.assert_idle();
}

#[test]
fn refused_uris_open_no_stream() {
    let mut harness = harness(r#"{"subscribe":["sensors/+","Plant/1"]}"#);
    for (uri, kind) in [
        ("mqtt://other/1", McpResetKind::NotFound),
        ("file:///x", McpResetKind::NotFound),
        ("mqtt://sensors/+", McpResetKind::Invalid),
        ("mqtt://", McpResetKind::Invalid),
    ] {
        let call = read(&mut harness, uri);
        let reset = harness.refusal(call);
        assert_eq!(reset.kind, kind, "{uri}");
        let data: serde_json::Value =
            serde_json::from_slice(&reset.data.expect("data")).expect("JSON");
        assert_eq!(data, json!({ "uri": uri }));
    }
    // A first level that a client lower-cased; the answer has the URI as the client wrote it.
    let call = read(&mut harness, "mqtt://plant/1");
    let (mqtt, pattern) = harness.opened_subscribe();
    assert_eq!(pattern, "Plant/1");
    harness.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
    harness.reply(mqtt, message("Plant/1", ""));
    harness.ended(mqtt);
    let content = json!({"uri": "mqtt://plant/1", "mimeType": "text/plain", "text": ""});
    assert_eq!(harness.answer(call).json["contents"][0], content);
    harness.rig.assert_idle();
}

#[test]
fn a_message_over_the_bound_is_refused() {
    let mut harness = harness(r#"{"receiveBytes":1024}"#);
    // Over the bound as a payload, and only as JSON.
    for payload in ["x".repeat(1_025), "\0".repeat(300)] {
        let call = read(&mut harness, "mqtt://t");
        let mqtt = harness.confirmed();
        harness.reply(mqtt, message("t", payload));
        harness.ended(mqtt);
        assert_eq!(harness.refusal(call).kind, McpResetKind::TooLarge);
    }
    harness.rig.assert_idle();
}

#[test]
fn a_cancelled_read_terminates_its_subscription() {
    for confirm in [false, true] {
        let mut harness = harness("{}");
        let call = read(&mut harness, "mqtt://t");
        let (mqtt, pattern) = harness.opened_subscribe();
        if confirm {
            harness.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
        }
        harness.send(call, Frame::abort());
        harness.given_up(mqtt);
        assert_eq!(harness.rig.frames(harness.caller, call), [Frame::abort()]);
        harness.rig.assert_idle();
    }
}
