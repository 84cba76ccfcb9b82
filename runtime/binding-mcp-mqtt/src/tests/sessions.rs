//! `lifecycle`, and the mqtt stream of a session.

use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpResetKind, McpResourcesSubscribe,
};
use tidegate_streams::mqtt::MqttSession;

use super::*;

fn begin_session(harness: &mut Harness) -> (StreamId, ByteString) {
    let session = harness.open(McpLifecycle::default());
    let frames = harness.rig.frames(harness.caller, session);
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

/// Publishes in a session, and answers the call. Returns the streams that were opened for it.
fn publish(harness: &mut Harness, identity: &ByteString) -> Vec<(StreamId, MqttBeginEx)> {
    let begin = McpToolsCall {
        name: "publish".into(),
        session_id: Some(identity.clone()),
        ..McpToolsCall::default()
    };
    let call = harness.call_with(begin, r#"{"topic":"t","payload":"x"}"#);
    let mut opened = Vec::new();
    for output in harness.rig.outputs(harness.exit) {
        if let Frame::Begin(begin) = output.frame {
            let BeginEx::Mqtt(begin) = begin.into_inner() else {
                panic!()
            };
            opened.push((output.at.stream, begin));
        }
    }
    let (mqtt, _) = opened.pop().expect("a publish stream");
    harness.reply(mqtt, Frame::begin(MqttPublish::default()));
    harness.reply(mqtt, Frame::end());
    assert_eq!(harness.answer(call).end.outcome, McpOutcome::Ok);
    opened
}

#[test]
fn identities_are_22_letters_and_digits_and_no_two_are_the_same() {
    let mut harness = harness("{}");
    let sessions: Vec<_> = (0..3).map(|_| begin_session(&mut harness)).collect();
    for (index, (session, identity)) in sessions.iter().enumerate() {
        assert_eq!(identity.len(), 22);
        assert!(identity.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(sessions[..index].iter().all(|(_, other)| other != identity));
        harness.send(*session, Frame::end());
        assert_eq!(harness.rig.frames(harness.caller, *session), [Frame::end()]);
    }
    harness.rig.assert_idle();
}

#[test]
fn the_mqtt_session_is_opened_with_the_first_operation_and_ends_with_the_session() {
    let mut harness = harness("{}");
    let (session, identity) = begin_session(&mut harness);
    assert!(
        harness.rig.outputs(harness.exit).is_empty(),
        "not before it is needed"
    );
    let opened = publish(&mut harness, &identity);
    let [(mqtt, begin)] = &opened[..] else {
        panic!("{opened:?}");
    };
    let expected = MqttSession {
        client_id: identity.clone(),
        ..MqttSession::default()
    };
    assert_eq!(begin, &MqttBeginEx::Session(expected.clone()));
    harness.reply(*mqtt, Frame::begin(expected));
    assert!(
        publish(&mut harness, &identity).is_empty(),
        "once is enough"
    );
    harness.send(session, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, *mqtt), [Frame::end()]);
    assert!(harness.rig.frames(harness.caller, session).is_empty());
    harness.reply(*mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.caller, session), [Frame::end()]);
    harness.rig.assert_idle();
}

#[test]
fn a_lost_mqtt_session_is_opened_again() {
    let mut harness = harness("{}");
    let (session, identity) = begin_session(&mut harness);
    let opened = publish(&mut harness, &identity);
    harness.refuse(opened[0].0, lost(MqttDelivery::None));
    let opened = publish(&mut harness, &identity);
    let (mqtt, begin) = &opened[0];
    harness.reply(*mqtt, Frame::begin(MqttSession::default()));
    harness.reply(*mqtt, Frame::end());
    assert_eq!(harness.rig.frames(harness.exit, *mqtt), [Frame::end()]);
    assert!(matches!(begin, MqttBeginEx::Session(_)));
    assert!(
        harness.rig.frames(harness.caller, session).is_empty(),
        "the session goes on"
    );
    harness.send(session, Frame::abort());
    assert_eq!(
        harness.rig.frames(harness.caller, session),
        [Frame::abort()]
    );
    // After the end of its session an operation has no session stream.
    assert!(publish(&mut harness, &identity).is_empty());
    harness.rig.assert_idle();
}

#[test]
fn aborting_a_session_terminates_its_mqtt_session_and_no_operation() {
    let mut harness = harness("{}");
    let (session, identity) = begin_session(&mut harness);
    let opened = publish(&mut harness, &identity);
    let watch = harness.open(McpResourcesSubscribe {
        uri: "mqtt://t".into(),
        session_id: Some(identity.clone()),
        ..McpResourcesSubscribe::default()
    });
    let (mqtt, pattern) = harness.opened_subscribe();
    harness.send(session, Frame::abort());
    harness.given_up(opened[0].0);
    harness.rig.frames(harness.caller, session);
    harness.reply(mqtt, Frame::begin(subscription(&identity, &pattern)));
    assert_eq!(harness.rig.frames(harness.caller, watch).len(), 1);
    harness.send(watch, Frame::end());
    harness.ended(mqtt);
    harness.rig.frames(harness.caller, watch);
    harness.rig.assert_idle();
}

#[test]
fn a_request_without_a_session_has_no_client_id() {
    let mut harness = harness("{}");
    let call = harness.call_with(
        McpToolsCall {
            name: "receive".into(),
            ..McpToolsCall::default()
        },
        r#"{"topic":"t"}"#,
    );
    let (mqtt, begin) = harness.opened();
    let MqttBeginEx::Subscribe(subscribe) = begin else {
        panic!()
    };
    assert_eq!(subscribe.client_id, None);
    harness.send(call, Frame::abort());
    harness.given_up(mqtt);
    harness.rig.frames(harness.caller, call);
    harness.rig.assert_idle();
}

#[test]
fn sessions_have_a_limit() {
    let mut harness = harness(r#"{"maxSessions":2}"#);
    let (first, _) = begin_session(&mut harness);
    let (second, _) = begin_session(&mut harness);
    let third = harness.open(McpLifecycle::default());
    let reset = harness.refusal(third);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert!(reset.message.contains("Session limit reached (2"));
    harness.send(first, Frame::end());
    let (third, _) = begin_session(&mut harness);
    for session in [second, third] {
        harness.send(session, Frame::end());
    }
    harness.rig.outputs(harness.caller);
    harness.rig.assert_idle();
}

#[test]
fn a_shutdown_ends_open_streams_and_refuses_new_ones() {
    let mut harness = harness("{}");
    let (session, identity) = begin_session(&mut harness);
    let opened = publish(&mut harness, &identity);
    let watch = harness.open(McpResourcesSubscribe {
        uri: "mqtt://t".into(),
        ..McpResourcesSubscribe::default()
    });
    let watched = harness.confirmed();
    let call = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    harness.rig.outputs(harness.caller);
    let now = harness.rig.now();
    harness.rig.worker.shutdown(now);
    harness.rig.turn(harness.exit, |_| ());
    for stream in [opened[0].0, watched] {
        harness.ended_with_begin(stream);
    }
    for stream in [session, watch] {
        assert_eq!(harness.rig.frames(harness.caller, stream), [Frame::end()]);
        harness.send(stream, Frame::end());
    }
    let late = harness.open(McpLifecycle::default());
    assert_eq!(harness.refusal(late).kind, McpResetKind::Unavailable);
    // A receive is answered with the messages received so far.
    harness.ended(mqtt);
    assert_eq!(harness.answer(call).end.outcome, McpOutcome::Ok);
    harness.rig.assert_idle();
}

impl Harness {
    /// The mqtt side receives an END and ends its half, which it may not have begun.
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
