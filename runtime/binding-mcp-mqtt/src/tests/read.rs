//! `resources/read`.

use serde_json::json;
use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpCacheScope, McpResetKind, McpResourcesRead};

use super::*;

fn read(house: &mut House, uri: &str) -> StreamId {
    house.open(McpResourcesRead {
        uri: uri.into(),
        session_id: Some("s-1".into()),
        ..McpResourcesRead::default()
    })
}

#[test]
fn the_first_message_is_the_content() {
    let mut house = house(r#"{"subscribe":["sensors/+"]}"#);
    let call = read(&mut house, "mqtt://sensors/1");
    // The uri in the params counts for nothing.
    house.say(
        call,
        Frame::data(Bytes::from_static(b"{\"uri\":\"mqtt://x\"}")),
    );
    let (mqtt, begin) = house.opened();
    let expected = subscription("s-1", "sensors/1");
    assert_eq!(begin, MqttBeginEx::Subscribe(expected.clone()));
    house.reply(mqtt, Frame::begin(expected));
    house.reply(mqtt, message("sensors/1", "21.5 \"C\""));
    house.ended(mqtt);
    let answered = house.answer(call);
    let content =
        json!({"uri": "mqtt://sensors/1", "mimeType": "text/plain", "text": "21.5 \"C\""});
    assert_eq!(answered.json, json!({ "contents": [content] }));
    assert_eq!(answered.end.ttl_ms, Some(0));
    assert_eq!(answered.end.cache_scope, Some(McpCacheScope::Private));
    assert_eq!(answered.end.outcome, McpOutcome::Ok);
    house.rig.assert_idle();
}

#[test]
fn bytes_are_a_blob_and_a_content_type_is_passed_on() {
    let mut house = house("{}");
    let call = read(&mut house, "mqtt://t");
    let mqtt = house.confirmed();
    house.reply(mqtt, part(DataFlags::INIT, "t", &b"\xff"[..]));
    house.reply(
        mqtt,
        Frame::part(DataFlags::FIN, Bytes::from_static(b"\x00")),
    );
    house.ended(mqtt);
    let content =
        json!({"uri": "mqtt://t", "mimeType": "application/octet-stream", "blob": "/wA="});
    assert_eq!(house.answer(call).json["contents"][0], content);

    let call = read(&mut house, "mqtt://t");
    let mqtt = house.confirmed();
    let extension = MqttSubscribeData {
        content_type: Some("application/json".into()),
        ..MqttSubscribeData::default()
    };
    let payload = Bytes::from_static(b"{}");
    house.reply(mqtt, Frame::data_with(DataFlags::WHOLE, payload, extension));
    house.ended(mqtt);
    assert_eq!(
        house.answer(call).json["contents"][0]["mimeType"],
        "application/json"
    );
    house.rig.assert_idle();
}

#[test]
fn a_payload_without_escapes_reaches_the_caller_as_it_came() {
    let mut house = house("{}");
    let call = read(&mut house, "mqtt://t");
    let mqtt = house.confirmed();
    let payload = Bytes::from("x".repeat(10_000));
    house.reply(mqtt, message("t", payload.clone()));
    house.ended(mqtt);
    let frames = house.rig.frames(house.caller, call);
    let found = frames.iter().any(
        |frame| matches!(frame, Frame::Data(data) if data.payload.as_ptr() == payload.as_ptr()),
    );
    assert!(found, "the payload was copied");
    answer_in(&frames);
    house.say(call, Frame::end());
    house.rig.assert_idle();
}

#[test]
fn no_message_in_time_is_told_in_the_specified_words() {
    let mut house = house(r#"{"readTimeout":2500}"#);
    let call = read(&mut house, "mqtt://sensors/1");
    let mqtt = house.confirmed();
    house.rig.advance(Duration::from_millis(2_499));
    assert!(house.rig.outputs(house.caller).is_empty());
    house.rig.advance(Duration::from_millis(1));
    let reset = house.refusal(call);
    assert_eq!(reset.kind, McpResetKind::TimedOut);
    assert_eq!(
        reset.message,
        "No message received on topic 'sensors/1' within 2500ms"
    );
    house.ended(mqtt);
    house.rig.assert_idle();
}

#[test]
fn a_broker_that_cannot_be_reached_is_another_error() {
    let mut house = house("{}");
    let call = read(&mut house, "mqtt://t");
    let (mqtt, _) = house.opened_subscribe();
    house.refuse(mqtt, lost(MqttDelivery::None));
    let reset = house.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(
        reset.message.contains("broker.example:1883"),
        "{}",
        reset.message
    );

    let call = read(&mut house, "mqtt://t");
    let (mqtt, _) = house.opened_subscribe();
    house.expire(mqtt, 5_000, MqttDelivery::None);
    let reset = house.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(reset.message.contains("took too long"));

    let call = read(&mut house, "mqtt://t");
    let mqtt = house.confirmed();
    house.reply(mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    assert_eq!(house.refusal(call).kind, McpResetKind::Unavailable);
    house.rig.assert_idle();
}

#[test]
fn refused_uris_open_no_stream() {
    let mut house = house(r#"{"subscribe":["sensors/+","Plant/1"]}"#);
    for (uri, kind) in [
        ("mqtt://other/1", McpResetKind::NotFound),
        ("file:///x", McpResetKind::NotFound),
        ("mqtt://sensors/+", McpResetKind::Invalid),
        ("mqtt://", McpResetKind::Invalid),
    ] {
        let call = read(&mut house, uri);
        let reset = house.refusal(call);
        assert_eq!(reset.kind, kind, "{uri}");
        let data: serde_json::Value =
            serde_json::from_slice(&reset.data.expect("data")).expect("JSON");
        assert_eq!(data, json!({ "uri": uri }));
    }
    // A first level that a client lower-cased; the answer bears the URI as it was given.
    let call = read(&mut house, "mqtt://plant/1");
    let (mqtt, pattern) = house.opened_subscribe();
    assert_eq!(pattern, "Plant/1");
    house.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
    house.reply(mqtt, message("Plant/1", ""));
    house.ended(mqtt);
    let content = json!({"uri": "mqtt://plant/1", "mimeType": "text/plain", "text": ""});
    assert_eq!(house.answer(call).json["contents"][0], content);
    house.rig.assert_idle();
}

#[test]
fn a_message_over_the_bound_is_refused() {
    let mut house = house(r#"{"receiveBytes":1024}"#);
    // Over the bound as it comes, and as JSON only.
    for payload in ["x".repeat(1_025), "\0".repeat(300)] {
        let call = read(&mut house, "mqtt://t");
        let mqtt = house.confirmed();
        house.reply(mqtt, message("t", payload));
        house.ended(mqtt);
        assert_eq!(house.refusal(call).kind, McpResetKind::TooLarge);
    }
    house.rig.assert_idle();
}

#[test]
fn a_cancelled_read_gives_its_subscription_up() {
    for confirm in [false, true] {
        let mut house = house("{}");
        let call = read(&mut house, "mqtt://t");
        let (mqtt, pattern) = house.opened_subscribe();
        if confirm {
            house.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
        }
        house.say(call, Frame::abort());
        house.given_up(mqtt);
        assert_eq!(house.rig.frames(house.caller, call), [Frame::abort()]);
        house.rig.assert_idle();
    }
}
