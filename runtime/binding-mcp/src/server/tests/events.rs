//! What operators are told, and what is counted.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::streams::Severity;
use tidegate_engine::{CallContext, Duration, Measures, StreamId, Token};
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::mcp::{McpEnd, McpOutcome, McpResetKind};
use tidegate_streams::{Frame, Identity};

use super::{House, headers, house, legacy_headers, modern_headers, request, with_meta};

impl House {
    fn events(&mut self) -> Vec<(&'static str, String)> {
        let events = std::iter::from_fn(|| self.rig.worker.poll_event());
        events.map(|event| (event.id, event.message)).collect()
    }

    /// A request on behalf of a caller.
    fn http_for(&mut self, call: CallContext, pairs: &[(&str, &str)], body: &Value) -> StreamId {
        let head = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: headers(pairs),
            content_length: -1,
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

fn listening() -> House {
    let mut house = house();
    house.rig.worker.listen_from(Severity::Debug);
    house
}

#[test]
fn each_call_is_told_once_when_it_is_over() {
    let mut house = listening();
    let client = json!({ "io.modelcontextprotocol/clientInfo": { "name": "inspector" } });
    let params = json!({ "name": "publish", "_meta": client });
    for (outcome, told) in [
        (McpOutcome::Ok, "ok"),
        (McpOutcome::Error, "tool_error"),
        (McpOutcome::InputRequired, "input_required"),
    ] {
        let stream = house.modern(&json!(1), "tools/call", params.clone());
        let asked = house.asked();
        house.begin(&asked);
        house.rig.advance(Duration::from_millis(40));
        assert_eq!(house.events(), [], "not before it is over");
        let end = McpEnd {
            outcome,
            ..McpEnd::default()
        };
        house.exit_sends(&asked, Frame::end_with(end));
        assert!(house.response(stream).ended);
        assert_eq!(house.at_exit(&asked), ["end"]);
        let message = format!("tools/call 'publish': {told} in 40 ms (client 'inspector')");
        assert_eq!(house.events(), [("binding.mcp.call.completed", message)]);
    }
    house.done();
}

#[test]
fn a_call_that_is_refused_late_or_cancelled_is_told_too() {
    let mut house = listening();
    let stream = house.modern(&json!(1), "tools/list", json!({}));
    let asked = house.asked();
    house.refuse(&asked, McpResetKind::NotFound);
    assert_eq!(house.response(stream).error(), (200, -32602));
    let stream = house.modern(&json!(1), "resources/read", json!({ "uri": "u" }));
    let asked = house.asked();
    house.rig.advance(Duration::from_millis(60_500));
    assert_eq!(house.response(stream).error(), (200, -32603));
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    let stream = house.call(1);
    let asked = house.asked();
    house.leave(stream);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    let told = [
        "tools/list '': error in 0 ms (client '')",
        "resources/read 'u': timed_out in 60500 ms (client '')",
        "tools/call 't': cancelled in 0 ms (client '')",
    ];
    let events = house.events();
    assert_eq!(events.len(), told.len(), "{events:?}");
    for ((id, message), told) in events.iter().zip(told) {
        assert_eq!((*id, &**message), ("binding.mcp.call.completed", told));
    }
    house.done();
}

#[test]
fn a_call_is_told_with_the_identity_of_its_caller() {
    let mut house = listening();
    let identity = Identity {
        subject: "alice".into(),
        ..Identity::default()
    };
    let call = CallContext {
        identity: Some(Arc::new(identity)),
        ..CallContext::default()
    };
    let params = with_meta(json!({ "name": "t" }));
    let stream = house.http_for(
        call,
        &modern_headers("tools/call", "t"),
        &request(&json!(1), "tools/call", &params),
    );
    let asked = house.asked();
    house.reply(&asked, "{}");
    assert!(house.response(stream).ended);
    let event = house.rig.worker.poll_event().expect("the call");
    let identity = event.fields.iter().find(|(name, _)| *name == "identity");
    let (_, value) = identity.expect("an identity");
    assert_eq!(value.to_string(), "\"alice\"");
    house.done();
}

#[test]
fn nothing_is_told_of_calls_where_nobody_listens() {
    let mut house = house();
    let stream = house.call(1);
    let asked = house.asked();
    house.reply(&asked, "{}");
    assert!(house.response(stream).ended);
    assert_eq!(house.events(), []);
    house.done();
}

#[test]
fn a_message_that_is_refused_is_told_with_its_reason() {
    let mut house = listening();
    let body = request(&json!(1), "no/such", &json!({}));
    let stream = house.post(&legacy_headers("")[..2], &body);
    assert_eq!(house.response(stream).error(), (400, -32600));
    let events = house.events();
    let [("binding.mcp.request.refused", message)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        message.starts_with("request refused with -32600: No session: send 'initialize'"),
        "{message}"
    );
    let measures = house.measures();
    assert_eq!(measures.value("binding", "mcp.server.requests.refused"), 1);
    house.done();
}

#[test]
fn a_session_is_told_of_from_its_beginning_to_its_end() {
    let mut house = listening();
    let (session, lifecycle) = house.session("2025-11-25");
    let name = &session[..6];
    let begun = format!("session {name} begun in protocol version 2025-11-25 (client '')");
    assert_eq!(house.events(), [("binding.mcp.session.begun", begun)]);
    house.end_session(&session, &lifecycle);
    let ended = format!("session {name} ended by the client (client '')");
    assert_eq!(house.events(), [("binding.mcp.session.ended", ended)]);

    let (session, lifecycle) = house.session("2025-11-25");
    let name = &session[..6];
    assert_eq!(house.events().len(), 1);
    let measures = house.measures();
    assert_eq!(measures.value("binding", "mcp.server.sessions"), 1);
    house.rig.advance(Duration::from_millis(300_000));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    let expired = format!("session {name} expired after 300000 ms without a request (client '')");
    assert_eq!(house.events(), [("binding.mcp.session.expired", expired)]);

    let measures = house.measures();
    assert_eq!(measures.value("binding", "mcp.server.sessions"), 0);
    assert_eq!(measures.value("binding", "mcp.server.sessions.begun"), 2);
    assert_eq!(measures.value("binding", "mcp.server.sessions.expired"), 1);
    house.done();
}

#[test]
fn calls_are_counted_by_their_outcome() {
    let mut house = house();
    for _ in 0..2 {
        let stream = house.call(1);
        let asked = house.asked();
        let measures = house.measures();
        assert_eq!(measures.value("binding", "mcp.server.requests"), 1);
        house.reply(&asked, "{}");
        assert!(house.response(stream).ended);
    }
    let measures = house.measures();
    let counts: Vec<(&str, u64)> = measures
        .iter()
        .filter(|measure| measure.name == "mcp.server.calls")
        .map(|measure| (measure.labels[0].1, measure.value))
        .collect();
    assert_eq!(counts[..2], [("ok", 2), ("tool_error", 0)]);
    assert_eq!(counts.len(), 6, "an outcome that has not happened is 0");
    house.done();
}

#[test]
fn a_subscription_of_a_session_that_is_lost_is_told_to_operators() {
    let mut house = listening();
    let (session, lifecycle) = house.session("2025-11-25");
    let subscription = house.subscribe(&session, "u");
    house.events();
    house.refuse(&subscription, McpResetKind::Unavailable);
    let events = house.events();
    let [("binding.mcp.subscription.lost", message)] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(
        message.starts_with("subscription to 'u' lost: So it is.;"),
        "{message}"
    );
    assert!(
        house.at_exit(&subscription).is_empty(),
        "the exit has ended it"
    );
    house.end_session(&session, &lifecycle);
    house.done();
}
