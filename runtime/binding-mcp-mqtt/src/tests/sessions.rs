//! `lifecycle`, and what a session has to do with the mqtt side.

use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpResetKind, McpResourcesSubscribe,
};
use tidegate_streams::mqtt::MqttSession;

use super::*;

fn begin_session(house: &mut House) -> (StreamId, ByteString) {
    let session = house.open(McpLifecycle::default());
    let frames = house.rig.frames(house.caller, session);
    let [Frame::Begin(begin)] = &frames[..] else {
        panic!("{frames:?}");
    };
    let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = &**begin else {
        panic!("{begin:?}");
    };
    let offered = McpCapabilities::SERVER_TOOLS
        .with(McpCapabilities::SERVER_RESOURCES)
        .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE);
    assert_eq!(lifecycle.capabilities, offered);
    let identity = lifecycle.session_id.clone().expect("an identity");
    (session, identity)
}

/// Publishes in a session: the streams opened for it, and the call done.
fn publish(house: &mut House, identity: &ByteString) -> Vec<(StreamId, MqttBeginEx)> {
    let begin = McpToolsCall {
        name: "publish".into(),
        session_id: Some(identity.clone()),
        ..McpToolsCall::default()
    };
    let call = house.call_with(begin, r#"{"topic":"t","payload":"x"}"#);
    let mut opened = Vec::new();
    for output in house.rig.outputs(house.exit) {
        if let Frame::Begin(begin) = output.frame {
            let BeginEx::Mqtt(begin) = begin.into_inner() else {
                panic!()
            };
            opened.push((output.at.stream, begin));
        }
    }
    let (mqtt, _) = opened.pop().expect("a publish stream");
    house.reply(mqtt, Frame::begin(MqttPublish::default()));
    house.reply(mqtt, Frame::end());
    assert_eq!(house.answer(call).end.outcome, McpOutcome::Ok);
    opened
}

#[test]
fn identities_are_22_letters_and_digits_and_no_two_are_the_same() {
    let mut house = house("{}");
    let sessions: Vec<_> = (0..3).map(|_| begin_session(&mut house)).collect();
    for (index, (session, identity)) in sessions.iter().enumerate() {
        assert_eq!(identity.len(), 22);
        assert!(identity.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(sessions[..index].iter().all(|(_, other)| other != identity));
        house.say(*session, Frame::end());
        assert_eq!(house.rig.frames(house.caller, *session), [Frame::end()]);
    }
    house.rig.assert_idle();
}

#[test]
fn the_mqtt_session_is_opened_beside_the_first_operation_and_ends_with_the_session() {
    let mut house = house("{}");
    let (session, identity) = begin_session(&mut house);
    assert!(
        house.rig.outputs(house.exit).is_empty(),
        "not before it is needed"
    );
    let opened = publish(&mut house, &identity);
    let [(mqtt, begin)] = &opened[..] else {
        panic!("{opened:?}");
    };
    let expected = MqttSession {
        client_id: identity.clone(),
        ..MqttSession::default()
    };
    assert_eq!(begin, &MqttBeginEx::Session(expected.clone()));
    house.reply(*mqtt, Frame::begin(expected));
    assert!(publish(&mut house, &identity).is_empty(), "once is enough");
    house.say(session, Frame::end());
    assert_eq!(house.rig.frames(house.exit, *mqtt), [Frame::end()]);
    assert!(house.rig.frames(house.caller, session).is_empty());
    house.reply(*mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.caller, session), [Frame::end()]);
    house.rig.assert_idle();
}

#[test]
fn an_mqtt_session_that_was_lost_is_opened_anew() {
    let mut house = house("{}");
    let (session, identity) = begin_session(&mut house);
    let opened = publish(&mut house, &identity);
    house.refuse(opened[0].0, lost(MqttDelivery::None));
    let opened = publish(&mut house, &identity);
    let (mqtt, begin) = &opened[0];
    house.reply(*mqtt, Frame::begin(MqttSession::default()));
    house.reply(*mqtt, Frame::end());
    assert_eq!(house.rig.frames(house.exit, *mqtt), [Frame::end()]);
    assert!(matches!(begin, MqttBeginEx::Session(_)));
    assert!(
        house.rig.frames(house.caller, session).is_empty(),
        "the session goes on"
    );
    house.say(session, Frame::abort());
    assert_eq!(house.rig.frames(house.caller, session), [Frame::abort()]);
    // Behind its session's end an operation stands alone.
    assert!(publish(&mut house, &identity).is_empty());
    house.rig.assert_idle();
}

#[test]
fn a_session_that_is_aborted_gives_its_mqtt_session_up_and_no_operation() {
    let mut house = house("{}");
    let (session, identity) = begin_session(&mut house);
    let opened = publish(&mut house, &identity);
    let watch = house.open(McpResourcesSubscribe {
        uri: "mqtt://t".into(),
        session_id: Some(identity.clone()),
        ..McpResourcesSubscribe::default()
    });
    let (mqtt, pattern) = house.opened_subscribe();
    house.say(session, Frame::abort());
    house.given_up(opened[0].0);
    house.rig.frames(house.caller, session);
    house.reply(mqtt, Frame::begin(subscription(&identity, &pattern)));
    assert_eq!(house.rig.frames(house.caller, watch).len(), 1);
    house.say(watch, Frame::end());
    house.ended(mqtt);
    house.rig.frames(house.caller, watch);
    house.rig.assert_idle();
}

#[test]
fn a_request_without_a_session_has_no_client_id() {
    let mut house = house("{}");
    let call = house.call_with(
        McpToolsCall {
            name: "receive".into(),
            ..McpToolsCall::default()
        },
        r#"{"topic":"t"}"#,
    );
    let (mqtt, begin) = house.opened();
    let MqttBeginEx::Subscribe(subscribe) = begin else {
        panic!()
    };
    assert_eq!(subscribe.client_id, None);
    house.say(call, Frame::abort());
    house.given_up(mqtt);
    house.rig.frames(house.caller, call);
    house.rig.assert_idle();
}

#[test]
fn sessions_have_a_limit() {
    let mut house = house(r#"{"maxSessions":2}"#);
    let (first, _) = begin_session(&mut house);
    let (second, _) = begin_session(&mut house);
    let third = house.open(McpLifecycle::default());
    let reset = house.refusal(third);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(reset.message.contains("2 sessions already"));
    house.say(first, Frame::end());
    let (third, _) = begin_session(&mut house);
    for session in [second, third] {
        house.say(session, Frame::end());
    }
    house.rig.outputs(house.caller);
    house.rig.assert_idle();
}

#[test]
fn a_shutdown_ends_what_stands_and_refuses_what_comes() {
    let mut house = house("{}");
    let (session, identity) = begin_session(&mut house);
    let opened = publish(&mut house, &identity);
    let watch = house.open(McpResourcesSubscribe {
        uri: "mqtt://t".into(),
        ..McpResourcesSubscribe::default()
    });
    let watched = house.confirmed();
    let call = house.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = house.confirmed();
    house.rig.outputs(house.caller);
    let now = house.rig.now();
    house.rig.worker.shutdown(now);
    house.rig.turn(house.exit, |_| ());
    for stream in [opened[0].0, watched] {
        house.ended_with_begin(stream);
    }
    for stream in [session, watch] {
        assert_eq!(house.rig.frames(house.caller, stream), [Frame::end()]);
        house.say(stream, Frame::end());
    }
    let late = house.open(McpLifecycle::default());
    assert_eq!(house.refusal(late).kind, McpResetKind::Unavailable);
    // What waited for messages is answered with those that there are.
    house.ended(mqtt);
    assert_eq!(house.answer(call).end.outcome, McpOutcome::Ok);
    house.rig.assert_idle();
}

impl House {
    /// The mqtt side sees an END and ends its half, which it may not have begun.
    fn ended_with_begin(&mut self, mqtt: StreamId) {
        assert_eq!(self.rig.frames(self.exit, mqtt), [Frame::end()]);
        self.rig.turn(self.exit, |cx| {
            if cx.is_sending(mqtt) {
                cx.send(mqtt, Frame::end());
            } else {
                cx.send(mqtt, Frame::begin(MqttSession::default()));
                cx.send(mqtt, Frame::end());
            }
        });
    }
}
