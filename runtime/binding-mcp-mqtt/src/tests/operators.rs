//! Telemetry: counters, and an event for each call if events are subscribed to.

use std::sync::Arc;

use tidegate_engine::{CallContext, Measures, Token};
use tidegate_streams::mcp::{McpResourcesRead, McpToolsList};
use tidegate_streams::{Extension as _, Identity, Severity};

use super::*;
use crate::CallCompleted;
use crate::operation::QueryAnswered;

impl Harness {
    /// The operation counters, and the other values that are not 0.
    fn figures(&self) -> Vec<String> {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        let own = measures
            .iter()
            .filter(|it| it.binding == "binding" && it.value > 0 && it.histogram.is_none());
        own.map(|it| it.to_string().replace("binding/mcp_mqtt.", ""))
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        events
            .inspect(|event| assert_ne!(event.trace, 0, "{event:?}"))
            .map(|event| event.message)
            .collect()
    }

    fn publishes(&mut self, topic: &str) -> (StreamId, StreamId) {
        let arguments = format!(r#"{{"topic":"{topic}","payload":"on","qos":1}}"#);
        let call = self.call("publish", &arguments);
        (call, self.opened_publish().0)
    }
}

#[test]
fn outcomes_are_counted_and_reported_as_events() {
    let mut harness = harness(r#"{"publish":["a/#"]}"#);
    harness.rig.worker.listen_from(Severity::Debug);
    // Four outcomes: ok, unconfirmed, error, cancelled.
    let (done, mqtt) = harness.publishes("a/done");
    harness.rig.advance(Duration::from_millis(7));
    harness.reply(mqtt, Frame::begin(MqttPublish::default()));
    harness.reply(mqtt, Frame::end());
    harness.answer(done);
    for delivery in [MqttDelivery::Possible, MqttDelivery::None] {
        let (call, mqtt) = harness.publishes("a/lost");
        harness.refuse(mqtt, lost(delivery));
        harness.answer(call);
    }
    let (cancelled, _) = harness.publishes("a/cancelled");
    harness
        .rig
        .turn(harness.caller, |cx| cx.terminate(cancelled, None, None));
    // A topic that no pattern allows.
    let refused = harness.call("publish", r#"{"topic":"b","payload":"on"}"#);
    harness.answer(refused);
    // A read without a message, a list, and an unknown tool.
    let read = harness.open(McpResourcesRead {
        uri: "mqtt://news".into(),
        ..McpResourcesRead::default()
    });
    harness.rig.frames(harness.caller, cancelled);
    harness.rig.outputs(harness.exit).clear();
    harness.rig.advance(Duration::from_secs(61));
    let list = harness.open(McpToolsList::default());
    harness.answer(list);
    let unknown = harness.open(McpToolsCall {
        name: "shout".into(),
        ..McpToolsCall::default()
    });
    harness.refusal(unknown);
    assert_eq!(
        harness.figures(),
        [
            "requests.refused=1",
            "operations{operation=publish,outcome=ok}=1",
            "operations{operation=publish,outcome=error}=2",
            "operations{operation=publish,outcome=unconfirmed}=1",
            "operations{operation=publish,outcome=cancelled}=1",
            "operations{operation=list,outcome=ok}=1",
        ],
        "the read waits for the mqtt stream"
    );
    harness
        .rig
        .turn(harness.caller, |cx| cx.terminate(read, None, None));
    assert_eq!(
        harness.events(),
        [
            "publish 'a/done': ok in 7 ms",
            "publish 'a/lost': unconfirmed in 0 ms",
            "publish 'a/lost': not_sent in 0 ms",
            "publish 'a/cancelled': cancelled in 0 ms",
            "publish of 'b' refused: not allowed",
            "publish 'b': not_sent in 0 ms",
            "read 'news': cancelled in 61000 ms",
        ]
    );
}

#[test]
fn a_timer_is_attributed_to_its_call() {
    let mut harness = harness("{}");
    harness.rig.worker.listen_from(Severity::Debug);
    let receive = harness.call("receive", r#"{"topic":"t","timeout":1000}"#);
    let mqtt = harness.confirmed();
    harness.rig.advance(Duration::from_secs(1));
    harness.ended(mqtt);
    harness.answer(receive);
    assert_eq!(harness.events(), ["receive 't': ok in 1000 ms"]);
    assert_eq!(
        harness.figures(),
        ["operations{operation=receive,outcome=ok}=1"]
    );
    harness.rig.assert_idle();
}

#[test]
fn decisions_that_depend_on_the_caller_are_events_with_identity_and_rule() {
    let mut harness = harness(
        r#"{"publish":["x",{"pattern":"a/#","guarded":{"staff":["operator"]}}],"subscribe":["b"]}"#,
    );
    harness.rig.worker.listen_from(Severity::Debug);
    let mut call_as = |roles: &[&str], topic: &str| {
        let identity = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            ..Identity::default()
        };
        let (caller, proxy) = (harness.caller, harness.proxy);
        let call = harness.rig.turn(caller, |cx| {
            let call = CallContext {
                identity: Some(Arc::new(identity)),
                ..CallContext::default()
            };
            let begin = McpToolsCall {
                name: "publish".into(),
                ..McpToolsCall::default()
            };
            let stream = cx.open_for(call, proxy, begin, Token::default());
            let stream = stream.expect("room");
            let params = format!(r#"{{"arguments":{{"topic":"{topic}","payload":""}}}}"#);
            cx.send_whole(stream, params.into());
            stream
        });
        harness
            .rig
            .turn(caller, |cx| cx.terminate(call, None, None));
        let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
        let decisions = events.filter(|event| event.id.contains(".access."));
        decisions
            .map(|event| {
                let fields = event
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                format!("{} {}", event.id, fields.collect::<Vec<_>>().join(" "))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        call_as(&["operator"], "a/1"),
        [
            r#"binding.mcp_mqtt.access.permitted identity="alice" guard="staff" operation="publish" topic="a/1" rule="publish.1""#
        ]
    );
    assert_eq!(
        call_as(&[], "a/1"),
        [
            r#"binding.mcp_mqtt.access.refused identity="alice" guard="staff" operation="publish" topic="a/1" rule="publish" reason="not allowed""#
        ]
    );
}

/// The audited event since the last call: outcome, number of messages, and payload.
fn recorded(harness: &mut Harness) -> (String, String, Option<Vec<u8>>) {
    let worker = &mut harness.rig.worker;
    let events = std::iter::from_fn(|| worker.poll_event());
    let mut events: Vec<_> = events.filter(|it| it.id == CallCompleted::WORD).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.remove(0);
    let field = |wanted: &str| {
        let found = event.fields.iter().find(|(name, _)| *name == wanted);
        found.map_or_else(String::new, |(_, value)| value.to_string())
    };
    let payload = event.payload.as_ref().map(|parts| parts.concat());
    (field("outcome"), field("messages"), payload)
}

#[test]
fn what_was_received_or_read_is_recorded_for_an_audit_log() {
    let mut harness = harness("{}");
    harness.rig.worker.listen_to_audited();
    let receive = harness.call("receive", r#"{"topic":"t/+","limit":2}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t/1", "on"));
    harness.reply(mqtt, message("t/2", &b"\xff"[..]));
    harness.ended(mqtt);
    harness.answer(receive);
    assert_eq!(
        recorded(&mut harness),
        ("\"ok\"".into(), "2".into(), Some(b"on\xff".to_vec()))
    );
    let read = |harness: &mut Harness| {
        harness.open(McpResourcesRead {
            uri: "mqtt://t".into(),
            ..McpResourcesRead::default()
        })
    };
    let stream = read(&mut harness);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, part(DataFlags::INIT, "t", "o"));
    harness.reply(mqtt, Frame::part(DataFlags::FIN, Bytes::from_static(b"ff")));
    harness.ended(mqtt);
    harness.answer(stream);
    assert_eq!(
        recorded(&mut harness),
        ("\"ok\"".into(), "1".into(), Some(b"off".to_vec()))
    );
    // Nothing was received.
    let receive = harness.call("receive", r#"{"topic":"t","timeout":1000}"#);
    let mqtt = harness.confirmed();
    harness.rig.advance(Duration::from_secs(1));
    harness.ended(mqtt);
    harness.answer(receive);
    assert_eq!(
        recorded(&mut harness),
        ("\"ok\"".into(), String::new(), None)
    );
    // What the caller did not get is not on record.
    let receive = harness.call("receive", r#"{"topic":"t"}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "on"));
    harness
        .rig
        .turn(harness.caller, |cx| cx.terminate(receive, None, None));
    assert_eq!(
        recorded(&mut harness),
        ("\"cancelled\"".into(), String::new(), None)
    );
}

#[test]
fn a_query_is_recorded_with_the_payloads_of_its_request_and_its_answer() {
    for compatibility in [false, true] {
        let (options, tool, arguments) = if compatibility {
            let arguments = r#"{"request_topic":"get","response_topic":"got","payload":"now"}"#;
            (r#"{"compatibility":"mcpmqtt"}"#, "mqtt_query", arguments)
        } else {
            let arguments = r#"{"topic":"get","responseTopic":"got","payload":"now"}"#;
            ("{}", "query", arguments)
        };
        for answered in [true, false] {
            let mut harness = harness(options);
            harness.rig.worker.listen_to_audited();
            let query = harness.call(tool, arguments);
            let mqtt = harness.confirmed();
            let (request, ..) = harness.opened_publish();
            if answered {
                harness.reply(mqtt, message("got", "22.5"));
            } else {
                harness.refuse(mqtt, None);
            }
            harness.received(query);
            let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
            let events = events.filter(|it| it.audit != tidegate_streams::Audit::No);
            let payloads = events.map(|it| (it.id, it.payload.map(|parts| parts.concat())));
            let payloads: Vec<_> = payloads.collect();
            let of = |id| {
                payloads
                    .iter()
                    .find(|(known, _)| *known == id)
                    .map(|(_, it)| it.clone())
            };
            assert_eq!(of(CallCompleted::WORD), Some(Some(b"now".to_vec())));
            let answer = answered.then(|| Some(b"22.5".to_vec()));
            assert_eq!(of(QueryAnswered::WORD), answer);
            harness
                .rig
                .turn(harness.exit, |cx| cx.terminate(request, None, None));
        }
    }
}

#[test]
fn without_an_audit_log_no_message_is_kept() {
    let mut harness = harness("{}");
    harness.rig.worker.listen_from(Severity::Debug);
    let receive = harness.call("receive", r#"{"topic":"t","limit":1}"#);
    let mqtt = harness.confirmed();
    harness.reply(mqtt, message("t", "on"));
    harness.ended(mqtt);
    harness.answer(receive);
    assert_eq!(
        recorded(&mut harness),
        ("\"ok\"".into(), String::new(), None)
    );
}
