//! Events and metrics.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::streams::Severity;
use tidegate_engine::{CallContext, Duration, Measures, StreamId, Token};
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::mcp::{McpEnd, McpOutcome, McpResetKind};
use tidegate_streams::{Frame, Identity};

use super::{Harness, harness, headers, legacy_headers, modern_headers, request, with_meta};

impl Harness {
    fn events(&mut self) -> Vec<(&'static str, String)> {
        let events = std::iter::from_fn(|| self.rig.worker.poll_event());
        events.map(|event| (event.id, event.message)).collect()
    }

    /// A request on behalf of an authenticated caller.
    fn http_for(&mut self, call: CallContext, pairs: &[(&str, &str)], body: &Value) -> StreamId {
        let head = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: headers(pairs),
            content_length: -1,
            peer: None,
        };
        let server = self.server;
        let opened = self.rig.turn(self.client, |cx| {
            cx.open_for(call, server, head, Token::default())
        });
        let stream = opened.expect("room");
        for frame in [Frame::data(Bytes::from(body.to_string())), Frame::end()] {
            self.rig.send(self.client, stream, frame);
        }
        stream
    }

    fn measures(&mut self) -> Measures {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        measures
    }
}

fn listening() -> Harness {
    let mut harness = harness();
    harness.rig.worker.listen_from(Severity::Debug);
    harness
}

#[test]
fn each_call_emits_one_event_when_it_has_ended() {
    let mut harness = listening();
    let client = json!({ "io.modelcontextprotocol/clientInfo": { "name": "inspector" } });
    let params = json!({ "name": "publish", "_meta": client });
    for (outcome, told) in [
        (McpOutcome::Ok, "ok"),
        (McpOutcome::Error, "tool_error"),
        (McpOutcome::InputRequired, "input_required"),
    ] {
        let stream = harness.modern(&json!(1), "tools/call", params.clone());
        let asked = harness.exit_stream();
        harness.begin(&asked);
        harness.rig.advance(Duration::from_millis(40));
        assert_eq!(harness.events(), [], "not before it has ended");
        let end = McpEnd {
            outcome,
            ..McpEnd::default()
        };
        harness.exit_sends(&asked, Frame::end_with(end));
        assert!(harness.response(stream).ended);
        assert_eq!(harness.at_exit(&asked), ["end"]);
        let message = format!("tools/call 'publish': {told} in 40 ms (client 'inspector')");
        assert_eq!(harness.events(), [("binding.mcp.call.completed", message)]);
    }
    harness.finish();
}

#[test]
fn a_refused_late_or_cancelled_call_emits_an_event() {
    let mut harness = listening();
    let stream = harness.modern(&json!(1), "tools/list", json!({}));
    let asked = harness.exit_stream();
    harness.refuse(&asked, McpResetKind::NotFound);
    assert_eq!(harness.response(stream).error(), (200, -32602));
    let stream = harness.modern(&json!(1), "resources/read", json!({ "uri": "u" }));
    let asked = harness.exit_stream();
    harness.rig.advance(Duration::from_millis(60_500));
    assert_eq!(harness.response(stream).error(), (200, -32603));
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let told = [
        "tools/list '': error in 0 ms (client '')",
        "resources/read 'u': timed_out in 60500 ms (client '')",
        "tools/call 't': cancelled in 0 ms (client '')",
    ];
    let events = harness.events();
    assert_eq!(events.len(), told.len(), "{events:?}");
    for ((id, message), told) in events.iter().zip(told) {
        assert_eq!((*id, &**message), ("binding.mcp.call.completed", told));
    }
    harness.finish();
}

#[test]
fn a_call_event_has_the_callers_identity() {
    let mut harness = listening();
    let identity = Identity {
        subject: "alice".into(),
        ..Identity::default()
    };
    let call = CallContext {
        identity: Some(Arc::new(identity)),
        ..CallContext::default()
    };
    let params = with_meta(json!({ "name": "t" }));
    let stream = harness.http_for(
        call,
        &modern_headers("tools/call", "t"),
        &request(&json!(1), "tools/call", &params),
    );
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert!(harness.response(stream).ended);
    let event = harness.rig.worker.poll_event().expect("the call");
    let identity = event.fields.iter().find(|(name, _)| *name == "identity");
    let (_, value) = identity.expect("an identity");
    assert_eq!(value.to_string(), "\"alice\"");
    harness.finish();
}

#[test]
fn call_events_are_not_created_when_disabled() {
    let mut harness = harness();
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert!(harness.response(stream).ended);
    assert_eq!(harness.events(), []);
    harness.finish();
}

#[test]
fn a_refused_message_emits_an_event_with_the_reason() {
    let mut harness = listening();
    let body = request(&json!(1), "no/such", &json!({}));
    let stream = harness.post(&legacy_headers("")[..2], &body);
    assert_eq!(harness.response(stream).error(), (400, -32600));
    let events = harness.events();
    let [("binding.mcp.request.refused", message)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        message.starts_with("request refused with -32600: No session: send 'initialize'"),
        "{message}"
    );
    let measures = harness.measures();
    assert_eq!(measures.value("binding", "mcp.server.requests.refused"), 1);
    harness.finish();
}

#[test]
fn a_session_emits_events_when_it_begins_and_ends() {
    let mut harness = listening();
    let (session, lifecycle) = harness.session("2025-11-25");
    let name = &session[..6];
    let begun = format!("session {name} begun in protocol version 2025-11-25 (client '')");
    assert_eq!(harness.events(), [("binding.mcp.session.begun", begun)]);
    harness.end_session(&session, &lifecycle);
    let ended = format!("session {name} ended by the client (client '')");
    assert_eq!(harness.events(), [("binding.mcp.session.ended", ended)]);

    let (session, lifecycle) = harness.session("2025-11-25");
    let name = &session[..6];
    assert_eq!(harness.events().len(), 1);
    let measures = harness.measures();
    assert_eq!(measures.value("binding", "mcp.server.sessions"), 1);
    harness.rig.advance(Duration::from_millis(300_000));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    let expired = format!("session {name} expired after 300000 ms without a request (client '')");
    assert_eq!(harness.events(), [("binding.mcp.session.expired", expired)]);

    let measures = harness.measures();
    assert_eq!(measures.value("binding", "mcp.server.sessions"), 0);
    assert_eq!(measures.value("binding", "mcp.server.sessions.begun"), 2);
    assert_eq!(measures.value("binding", "mcp.server.sessions.expired"), 1);
    harness.finish();
}

#[test]
fn calls_are_counted_by_their_outcome() {
    let mut harness = harness();
    for _ in 0..2 {
        let stream = harness.call(1);
        let asked = harness.exit_stream();
        let measures = harness.measures();
        assert_eq!(measures.value("binding", "mcp.server.requests"), 1);
        harness.reply(&asked, "{}");
        assert!(harness.response(stream).ended);
    }
    let measures = harness.measures();
    let counts: Vec<(&str, u64)> = measures
        .iter()
        .filter(|measure| measure.name == "mcp.server.calls")
        .map(|measure| (&*measure.labels[0].1, measure.value))
        .collect();
    assert_eq!(counts[..2], [("ok", 2), ("tool_error", 0)]);
    assert_eq!(counts.len(), 6, "an outcome that has not happened is 0");
    harness.finish();
}

#[test]
fn a_lost_subscription_of_a_session_emits_an_event() {
    let mut harness = listening();
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscription = harness.subscribe(&session, "u");
    harness.events();
    harness.refuse(&subscription, McpResetKind::Unavailable);
    let events = harness.events();
    let [("binding.mcp.subscription.lost", message)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        message.starts_with("subscription to 'u' lost: So it is.;"),
        "{message}"
    );
    assert!(
        harness.at_exit(&subscription).is_empty(),
        "the exit has ended it"
    );
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_refused_subscription_emits_an_event_with_its_reason() {
    let mut harness = listening();
    let (session, lifecycle) = harness.session("2025-11-25");
    let subscribe = json!({ "uri": "u" });
    let stream = harness.legacy(&session, &json!(1), "resources/subscribe", &subscribe);
    let asked = harness.exit_stream();
    harness.events();
    harness.refuse(&asked, McpResetKind::NotFound);
    let refused = |uri: &str| {
        let message = format!("subscription to '{uri}' refused: So it is.");
        ("binding.mcp.subscription.refused", message)
    };
    assert!(harness.events().contains(&refused("u")));
    harness.response(stream);
    harness.end_session(&session, &lifecycle);

    // A log line has the beginning of a URI, which may be as long as a body.
    let long = "u".repeat(300);
    let listen = json!({ "notifications": { "resourceSubscriptions": [long] } });
    let stream = harness.modern(&json!(2), "subscriptions/listen", listen);
    let asked = harness.exit_stream();
    harness.events();
    harness.refuse(&asked, McpResetKind::NotFound);
    let shown = format!("{}…", "u".repeat(100));
    assert!(harness.events().contains(&refused(&shown)));
    let acknowledged = harness.response(stream).events();
    assert_eq!(
        acknowledged[0]["params"]["_meta"]["tidegate/refused"],
        json!([{ "uri": long, "reason": "So it is." }])
    );
    harness.disconnect(stream);
    harness.finish();
}

#[test]
fn the_refused_subscriptions_of_a_listen_emit_one_event() {
    let mut harness = listening();
    let uris = ["u1", "u2", "u3", "u4", "u5"];
    let listen = json!({ "notifications": { "resourceSubscriptions": uris } });
    let stream = harness.modern(&json!(1), "subscriptions/listen", listen);
    let asked = harness.exit_streams();
    assert_eq!(asked.len(), uris.len());
    harness.events();
    for subscription in &asked {
        harness.refuse(subscription, McpResetKind::NotFound);
    }
    let events = harness.events();
    let refused: Vec<&str> = events
        .iter()
        .filter(|(id, _)| id.contains("refused"))
        .map(|(_, message)| &**message)
        .collect();
    assert_eq!(
        refused,
        [
            "5 subscriptions refused, to 'u1', 'u2', 'u3' and 2 more; the reason of the first: So it is."
        ]
    );
    harness.response(stream);
    harness.disconnect(stream);
    harness.finish();
}
