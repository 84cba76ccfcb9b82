//! `resources/subscribe`.

use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpResetKind, McpResourcesSubscribe, McpResourcesUpdated};

use super::*;

fn watch(house: &mut House, uri: &str) -> StreamId {
    house.open(McpResourcesSubscribe {
        uri: uri.into(),
        session_id: Some("s-1".into()),
        ..McpResourcesSubscribe::default()
    })
}

/// A subscription that stands.
fn standing(house: &mut House, uri: &str) -> (StreamId, StreamId) {
    let call = watch(house, uri);
    let (mqtt, pattern) = house.opened_subscribe();
    assert!(house.rig.outputs(house.caller).is_empty());
    house.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
    let begin = Frame::begin(McpResourcesSubscribe::default());
    assert_eq!(house.rig.frames(house.caller, call), [begin]);
    (call, mqtt)
}

#[test]
fn each_message_is_an_update_until_the_caller_leaves() {
    let mut house = house(r#"{"subscribe":["Sensors/#"]}"#);
    let (call, mqtt) = standing(&mut house, "mqtt://sensors/+");
    let update = || {
        Frame::flush(McpResourcesUpdated {
            uri: "mqtt://sensors/+".into(),
        })
    };
    house.reply(mqtt, message("Sensors/1", "x"));
    house.reply(mqtt, message("Sensors/2", ""));
    assert_eq!(house.rig.frames(house.caller, call), [update(), update()]);
    house.reply(mqtt, part(DataFlags::INIT, "Sensors/1", "x"));
    assert!(house.rig.frames(house.caller, call).is_empty());
    house.reply(mqtt, Frame::part(DataFlags::FIN, Bytes::from_static(b"y")));
    assert_eq!(house.rig.frames(house.caller, call), [update()]);
    // It stands for as long as the caller likes.
    house.rig.advance(Duration::from_secs(100_000));
    house.say(call, Frame::end());
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    house.reply(mqtt, message("Sensors/1", "late"));
    assert!(house.rig.frames(house.caller, call).is_empty());
    house.reply(mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.caller, call), [Frame::end()]);
    house.rig.assert_idle();
}

#[test]
fn payloads_are_acknowledged_and_dropped() {
    let mut house = house("{}");
    let (call, mqtt) = standing(&mut house, "mqtt://t");
    for _ in 0..100 {
        let credit = house.rig.turn(house.exit, |cx| cx.credit(mqtt));
        assert!(credit >= 30_000);
        house.reply(mqtt, message("t", vec![0; 30_000]));
    }
    assert_eq!(house.rig.frames(house.caller, call).len(), 100);
    house.rig.frames(house.exit, mqtt);
    house.say(call, Frame::end());
    house.ended(mqtt);
    assert_eq!(house.rig.frames(house.caller, call), [Frame::end()]);
    house.rig.assert_idle();
}

#[test]
fn a_failure_refuses_before_and_after_the_confirmation() {
    let mut house = house("{}");
    let call = watch(&mut house, "mqtt://t");
    let (mqtt, _) = house.opened_subscribe();
    house.refuse(mqtt, lost(MqttDelivery::None));
    let reset = house.refusal(call);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(
        reset
            .message
            .contains("broker.example:1883 said: not authorized")
    );

    let (call, mqtt) = standing(&mut house, "mqtt://t");
    house.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(house.refusal(call).kind, McpResetKind::Unavailable);

    let (call, mqtt) = standing(&mut house, "mqtt://t");
    house.reply(mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    assert_eq!(house.refusal(call).kind, McpResetKind::Unavailable);

    let call = watch(&mut house, "mqtt://t");
    let (mqtt, pattern) = house.opened_subscribe();
    let mut refused = subscription("s-1", &pattern);
    refused.filters[0].reason_code = 0x8f;
    house.reply(mqtt, Frame::begin(refused));
    assert!(house.refusal(call).message.contains("0x8f"));
    house.given_up(mqtt);

    let call = watch(&mut house, "mqtt://t");
    let (mqtt, _) = house.opened_subscribe();
    house.expire(mqtt, 60_000, MqttDelivery::None);
    assert!(house.refusal(call).message.contains("took too long"));
    house.rig.assert_idle();
}

#[test]
fn refused_uris_open_no_stream() {
    let mut house = house(r#"{"subscribe":["sensors/temperature/+"]}"#);
    for (uri, kind) in [
        ("mqtt://sensors/#", McpResetKind::NotFound),
        ("mqtt://sensors/humidity/1", McpResetKind::NotFound),
        ("mqtt://sensors/temperature/a+", McpResetKind::Invalid),
        ("https://sensors", McpResetKind::NotFound),
    ] {
        let call = watch(&mut house, uri);
        assert_eq!(house.refusal(call).kind, kind, "{uri}");
    }
    house.rig.assert_idle();
}

#[test]
fn a_cancelled_subscription_is_given_up_and_harms_no_other() {
    let mut house = house("{}");
    let (other, other_mqtt) = standing(&mut house, "mqtt://u");
    for frame in [Frame::abort(), Frame::reset()] {
        let (call, mqtt) = standing(&mut house, "mqtt://t");
        house.say(call, frame);
        house.given_up(mqtt);
        house.rig.frames(house.caller, call);
    }
    // Before its confirmation an END cancels it too.
    for frame in [Frame::abort(), Frame::end()] {
        let call = watch(&mut house, "mqtt://t");
        let (mqtt, _) = house.opened_subscribe();
        house.say(call, frame);
        house.given_up(mqtt);
        house.rig.frames(house.caller, call);
    }
    house.reply(other_mqtt, message("u", "x"));
    assert_eq!(house.rig.frames(house.caller, other).len(), 1);
    house.say(other, Frame::end());
    house.ended(other_mqtt);
    assert_eq!(house.rig.frames(house.caller, other), [Frame::end()]);
    house.rig.assert_idle();
}

#[test]
fn an_unsubscribe_that_the_broker_does_not_answer_ends_nevertheless() {
    let mut house = house("{}");
    let (call, mqtt) = standing(&mut house, "mqtt://t");
    house.say(call, Frame::end());
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::end()]);
    house.rig.advance(Duration::from_secs(10));
    assert_eq!(house.rig.frames(house.exit, mqtt), [Frame::reset()]);
    assert_eq!(house.rig.frames(house.caller, call), [Frame::abort()]);
    // One that lost its connection in the meantime has left too.
    let (call, mqtt) = standing(&mut house, "mqtt://t");
    house.say(call, Frame::end());
    house.rig.frames(house.exit, mqtt);
    house.refuse(mqtt, lost(MqttDelivery::None));
    assert_eq!(house.rig.frames(house.caller, call), [Frame::end()]);
    house.rig.assert_idle();
}
