//! `resources/subscribe`.

use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpResetKind, McpResourcesSubscribe, McpResourcesUpdated};

use super::*;

fn watch(harness: &mut Harness, uri: &str) -> StreamId {
    harness.open(McpResourcesSubscribe {
        uri: uri.into(),
        session_id: Some("s-1".into()),
        ..McpResourcesSubscribe::default()
    })
}

/// A confirmed subscription.
fn standing(harness: &mut Harness, uri: &str) -> (StreamId, StreamId) {
    let call = watch(harness, uri);
    let (mqtt, pattern) = harness.opened_subscribe();
    assert!(harness.rig.outputs(harness.caller).is_empty());
    harness.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
    let begin = Frame::begin(McpResourcesSubscribe::default());
    assert_eq!(harness.rig.frames(harness.caller, call), [begin]);
    (call, mqtt)
}

#[test]
fn each_message_is_an_update_until_the_caller_ends_the_stream() {
    let mut harness = harness(r#"{"subscribe":["Sensors/#"]}"#);
    let (call, mqtt) = standing(&mut harness, "mqtt://sensors/+");
    let update = || {
        Frame::flush(McpResourcesUpdated {
            uri: "mqtt://sensors/+".into(),
        })
    };
    harness.reply(mqtt, message("Sensors/1", "x"));
    harness.reply(mqtt, message("Sensors/2", ""));
    assert_eq!(
        harness.rig.frames(harness.caller, call),
        [update(), update()]
    );
    harness.reply(mqtt, part(DataFlags::INIT, "Sensors/1", "x"));
    assert!(harness.rig.frames(harness.caller, call).is_empty());
    harness.reply(mqtt, Frame::part(DataFlags::FIN, Bytes::from_static(b"y")));
    assert_eq!(harness.rig.frames(harness.caller, call), [update()]);
    // It has no deadline once it is confirmed.
    harness.rig.advance(Duration::from_secs(100_000));
    harness.send(call, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    harness.reply(mqtt, message("Sensors/1", "late"));
    assert!(harness.rig.frames(harness.caller, call).is_empty());
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.caller, call), [Frame::end()]);
    harness.rig.assert_idle();
}

#[test]
fn payloads_are_acknowledged_and_dropped() {
    let mut harness = harness("{}");
    let (call, mqtt) = standing(&mut harness, "mqtt://t");
    for _ in 0..100 {
        let credit = harness.rig.turn(harness.exit, |cx| cx.credit(mqtt));
        assert!(credit >= 30_000);
        harness.reply(mqtt, message("t", vec![0; 30_000]));
    }
    assert_eq!(harness.rig.frames(harness.caller, call).len(), 100);
    harness.rig.frames(harness.exit, mqtt);
    harness.send(call, Frame::end());
    harness.ended(mqtt);
    assert_eq!(harness.rig.frames(harness.caller, call), [Frame::end()]);
    harness.rig.assert_idle();
}

#[test]
fn a_failure_refuses_before_and_after_the_confirmation() {
    let mut harness = harness("{}");
    let call = watch(&mut harness, "mqtt://t");
    let (mqtt, _) = harness.opened_subscribe();
    harness.refuse(mqtt, lost(MqttDelivery::None));
    let reset = harness.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(
        reset
            .message
            .contains("broker.example:1883 said: not authorized")
    );

    let (call, mqtt) = standing(&mut harness, "mqtt://t");
    harness.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(harness.refusal(call).kind, McpResetKind::Unavailable);

    let (call, mqtt) = standing(&mut harness, "mqtt://t");
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    assert_eq!(harness.refusal(call).kind, McpResetKind::Unavailable);

    let call = watch(&mut harness, "mqtt://t");
    let (mqtt, pattern) = harness.opened_subscribe();
    let mut refused = subscription("s-1", &pattern);
    refused.filters[0].reason_code = 0x8f;
    harness.reply(mqtt, Frame::begin(refused));
    assert!(harness.refusal(call).message.contains("0x8f"));
    harness.given_up(mqtt);

    let call = watch(&mut harness, "mqtt://t");
    let (mqtt, _) = harness.opened_subscribe();
    harness.expire(mqtt, 60_000, MqttDelivery::None);
    assert!(harness.refusal(call).message.contains("took too long"));
    harness.rig.assert_idle();
}

#[test]
fn refused_uris_open_no_stream() {
    let mut harness = harness(r#"{"subscribe":["sensors/temperature/+"]}"#);
    for (uri, kind) in [
        ("mqtt://sensors/#", McpResetKind::NotFound),
        ("mqtt://sensors/humidity/1", McpResetKind::NotFound),
        ("mqtt://sensors/temperature/a+", McpResetKind::Invalid),
        ("https://sensors", McpResetKind::NotFound),
    ] {
        let call = watch(&mut harness, uri);
        assert_eq!(harness.refusal(call).kind, kind, "{uri}");
    }
    harness.rig.assert_idle();
}

#[test]
fn a_cancelled_subscription_terminates_only_its_own_stream() {
    let mut harness = harness("{}");
    let (other, other_mqtt) = standing(&mut harness, "mqtt://u");
    for frame in [Frame::abort(), Frame::reset()] {
        let (call, mqtt) = standing(&mut harness, "mqtt://t");
        harness.send(call, frame);
        harness.given_up(mqtt);
        harness.rig.frames(harness.caller, call);
    }
    // Before the confirmation, an END cancels it too.
    for frame in [Frame::abort(), Frame::end()] {
        let call = watch(&mut harness, "mqtt://t");
        let (mqtt, _) = harness.opened_subscribe();
        harness.send(call, frame);
        harness.given_up(mqtt);
        harness.rig.frames(harness.caller, call);
    }
    harness.reply(other_mqtt, message("u", "x"));
    assert_eq!(harness.rig.frames(harness.caller, other).len(), 1);
    harness.send(other, Frame::end());
    harness.ended(other_mqtt);
    assert_eq!(harness.rig.frames(harness.caller, other), [Frame::end()]);
    harness.rig.assert_idle();
}

#[test]
fn an_unsubscribe_that_the_broker_does_not_answer_still_ends_the_stream() {
    let mut harness = harness("{}");
    let (call, mqtt) = standing(&mut harness, "mqtt://t");
    harness.send(call, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::end()]);
    harness.rig.advance(Duration::from_secs(10));
    assert_eq!(harness.rig.frames(harness.exit, mqtt), [Frame::reset()]);
    assert_eq!(harness.rig.frames(harness.caller, call), [Frame::abort()]);
    // So does one that loses its connection meanwhile.
    let (call, mqtt) = standing(&mut harness, "mqtt://t");
    harness.send(call, Frame::end());
    harness.rig.frames(harness.exit, mqtt);
    harness.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(harness.rig.frames(harness.caller, call), [Frame::end()]);
    harness.rig.assert_idle();
}
