//! What an audit log gets: one event for each call, refusal and session, with who and from where.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::json;
use tidegate_engine::streams::Audit;
use tidegate_engine::{CallContext, Duration, Token};
use tidegate_streams::Identity;
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::mcp::McpResetKind;

use super::{
    ADDRESS, Harness, harness, harness_with, headers, legacy_headers, modern_headers, request,
};
use crate::server::Options;

/// An event as the audit log gets it.
#[derive(Debug)]
struct Recorded {
    id: &'static str,
    trace: u64,
    subject: String,
    fields: BTreeMap<&'static str, String>,
}

impl Recorded {
    fn of<'a>(&'a self, names: &[&str]) -> Vec<&'a str> {
        let values = names.iter().map(|name| self.fields.get::<str>(name));
        values
            .map(|value| value.map_or("", String::as_str))
            .collect()
    }
}

impl Harness {
    fn audited(&mut self) -> Vec<Recorded> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        let events = events.filter(|event| event.audit != Audit::No);
        let recorded = events.map(|event| Recorded {
            id: event.id,
            trace: event.trace,
            subject: event
                .identity
                .map_or_else(String::new, |identity| identity.subject.to_string()),
            fields: event
                .fields
                .iter()
                .map(|(name, value)| (*name, value.to_string().trim_matches('"').to_owned()))
                .collect(),
        });
        recorded.collect()
    }

    /// The only event since the last call.
    #[track_caller]
    fn only(&mut self) -> Recorded {
        let mut events = self.audited();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// A legacy request of alice.
    fn for_alice(&mut self, pairs: &[(&str, &str)], body: &serde_json::Value) -> super::StreamId {
        let identity = Identity {
            subject: "alice".into(),
            ..Identity::default()
        };
        let call = CallContext {
            trace: 7,
            identity: Some(Arc::new(identity)),
            deadline: None,
        };
        let head = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers: headers(pairs),
            content_length: -1,
            peer: Some(ADDRESS.parse().expect("an address")),
        };
        let server = self.server;
        let opened = self.rig.turn(self.client, |cx| {
            cx.open_for(call, server, head, Token::default())
        });
        let stream = opened.expect("room");
        let body = super::Bytes::from(body.to_string());
        for frame in [super::Frame::data(body), super::Frame::end()] {
            self.rig.send(self.client, stream, frame);
        }
        stream
    }
}

fn audited(options: Options) -> Harness {
    let mut harness = harness_with(options, 1 << 24);
    harness.rig.worker.listen_to_audited();
    harness
}

const CLIENT: [&str; 6] = [
    "method",
    "target",
    "client",
    "clientVersion",
    "era",
    "address",
];

#[test]
fn a_call_and_a_refusal_have_the_client_and_its_address() {
    let mut harness = audited(
        serde_json::from_str(r#"{"rate":{"perSecond":1},"concurrency":1}"#).expect("options"),
    );
    let info = json!({ "name": "inspector", "version": "3" });
    let params = json!({ "name": "t", "_meta": { "io.modelcontextprotocol/clientInfo": info } });
    let stream = harness.modern(&json!(1), "tools/call", params.clone());
    let asked = harness.exit_stream();
    let refused = harness.modern(&json!(2), "tools/call", params.clone());
    assert_eq!(harness.response(refused).error(), (429, -32_004));
    let expected = ["tools/call", "t", "inspector", "3", "modern", ADDRESS];
    let rate = harness.only();
    assert_eq!(rate.id, "binding.mcp.request.refused");
    assert_ne!(rate.trace, 0);
    assert_eq!(rate.of(&CLIENT), expected);
    assert_eq!(rate.of(&["rule", "code"]), ["rate", "-32004"]);
    assert!(rate.fields["reason"].starts_with("Rate limit reached"));

    harness.rig.advance(Duration::from_millis(1_000));
    let refused = harness.modern(&json!(3), "tools/call", params);
    assert_eq!(harness.response(refused).error(), (429, -32_004));
    let concurrency = harness.only();
    assert_eq!(concurrency.of(&CLIENT), expected);
    assert_eq!(concurrency.of(&["rule", "code"]), ["concurrency", "-32004"]);

    harness.reply(&asked, "{}");
    assert!(harness.response(stream).ended);
    let call = harness.only();
    assert_eq!(call.id, "binding.mcp.call.completed");
    assert_eq!(call.of(&CLIENT), expected);
    harness.finish();
}

#[test]
fn whoever_names_a_session_that_is_not_theirs_is_on_record() {
    let mut harness = audited(Options::default());
    let unknown = "0000000000000000000000";
    let get = harness.get(unknown);
    let delete = harness.http(Method::DELETE, &[("mcp-session-id", unknown)], "");
    for stream in [get, delete] {
        assert_eq!(harness.response(stream).status(), 404);
    }
    let told = harness.notify(unknown, "notifications/initialized", &json!({}));
    assert_eq!(told.status(), 404);
    let call = harness.legacy(unknown, &json!(1), "tools/call", &json!({ "name": "t" }));
    assert_eq!(harness.response(call).error(), (404, -32_001));
    let events = harness.audited();
    assert_eq!(events.len(), 4, "{events:?}");
    for event in &events {
        assert_eq!(event.id, "binding.mcp.request.refused");
        assert_eq!(event.of(&["code", "address"]), ["-32001", ADDRESS]);
    }
    assert_eq!(events[3].of(&["method", "target"]), ["tools/call", "t"]);
    harness.finish();
}

#[test]
fn an_initialize_that_the_exit_refuses_is_on_record() {
    let mut harness = audited(Options::default());
    let info = json!({ "name": "inspector", "version": "3" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
    let body = request(&json!(0), "initialize", &params);
    let stream = harness.post(&legacy_headers("")[..2], &body);
    let lifecycle = harness.exit_stream();
    harness.refuse(&lifecycle, McpResetKind::Unavailable);
    assert_eq!(harness.response(stream).error(), (200, -32_603));
    let refused = harness.only();
    assert_eq!(refused.id, "binding.mcp.request.refused");
    assert_eq!(
        refused.of(&CLIENT),
        ["initialize", "", "inspector", "3", "legacy", ADDRESS]
    );
    assert_eq!(refused.fields["reason"], "So it is.");
    harness.finish();
}

#[test]
fn a_session_has_its_owner_however_it_ends() {
    let mut harness = audited(Options::default());
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
    let body = request(&json!(0), "initialize", &params);
    let stream = harness.for_alice(&legacy_headers("")[..2], &body);
    let lifecycle = harness.exit_stream();
    harness.lifecycle_begun(&lifecycle);
    assert_eq!(harness.response(stream).status(), 200);
    let begun = harness.only();
    assert_eq!(
        (begun.id, &*begun.subject, &*begun.fields["address"]),
        ("binding.mcp.session.begun", "alice", ADDRESS)
    );
    harness.rig.advance(Duration::from_millis(300_000));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    let expired = harness.only();
    assert_eq!(
        (expired.id, &*expired.subject, expired.trace),
        ("binding.mcp.session.expired", "alice", begun.trace)
    );
    harness.finish();
}

#[test]
fn a_cancelled_call_has_its_own_trace_and_not_that_of_the_cancellation() {
    let mut harness = audited(Options::default());
    let (session, lifecycle) = harness.session("2025-11-25");
    harness.audited();
    let stream = harness.legacy(&session, &json!(1), "tools/call", &json!({ "name": "t" }));
    let asked = harness.exit_stream();
    let call = harness.rig.worker.call_of(asked.stream).cloned();
    let cancelled = json!({ "requestId": 1 });
    let told = harness.notify(&session, "notifications/cancelled", &cancelled);
    assert_eq!(told.status(), 202);
    assert!(harness.response(stream).ended);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let event = harness.only();
    assert_eq!(event.of(&["outcome"]), ["cancelled"]);
    assert_eq!(Some(event.trace), call.map(|call| call.trace));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_subscription_is_a_call_that_ends_when_it_is_confirmed_or_refused() {
    let mut harness = audited(Options::default());
    let (session, lifecycle) = harness.session("2025-11-25");
    harness.audited();
    let asked = harness.subscribe(&session, "u");
    let confirmed = harness.only();
    let names = ["method", "target", "era", "address", "outcome"];
    assert_eq!(
        confirmed.of(&names),
        ["resources/subscribe", "u", "legacy", ADDRESS, "ok"]
    );
    assert_eq!(confirmed.fields["session"], session[..6]);
    harness.refuse(&asked, McpResetKind::Unavailable);
    assert_eq!(harness.audited().len(), 0, "a loss is no call");

    let params = json!({ "uri": "v" });
    let stream = harness.legacy(&session, &json!(2), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    harness.refuse(&asked, McpResetKind::NotFound);
    assert_eq!(harness.response(stream).error(), (200, -32_002));
    let refused = harness.only();
    assert_eq!(
        refused.of(&["target", "outcome", "code"]),
        ["v", "error", "-32002"]
    );

    let stream = harness.legacy(&session, &json!(3), "resources/subscribe", &params);
    let asked = harness.exit_stream();
    harness.end_session(&session, &lifecycle);
    assert!(harness.response(stream).ended);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    let events = harness.audited();
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(
        ids,
        ["binding.mcp.session.ended", "binding.mcp.call.completed"]
    );
    assert_eq!(events[1].of(&["target", "outcome"]), ["v", "cancelled"]);
    harness.finish();
}

#[test]
fn each_subscription_of_a_listen_is_a_call_with_a_trace_of_its_own() {
    let mut harness = audited(Options::default());
    let filter = json!({ "notifications": { "resourceSubscriptions": ["a", "b"] } });
    let stream = harness.modern(&json!(1), "subscriptions/listen", filter);
    let asked = harness.exit_streams();
    harness.begin(&asked[0]);
    harness.refuse(&asked[1], McpResetKind::NotFound);
    let events = harness.audited();
    let names = ["method", "target", "era", "outcome"];
    let said: Vec<_> = events.iter().map(|event| event.of(&names)).collect();
    assert_eq!(
        said,
        [
            ["subscriptions/listen", "a", "modern", "ok"],
            ["subscriptions/listen", "b", "modern", "error"],
        ]
    );
    for (event, asked) in events.iter().zip(&asked) {
        let trace = harness.rig.worker.call_of(asked.stream).map(|it| it.trace);
        // That of a refused stream is gone.
        assert!(trace.is_none_or(|trace| trace == event.trace));
    }
    assert_ne!(events[0].trace, events[1].trace);
    assert_eq!(harness.response(stream).events().len(), 1, "acknowledged");
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked[0]), ["end", "reset"]);
    assert_eq!(harness.audited().len(), 0, "its end is no call");
    harness.finish();
}

#[test]
fn ping_and_discover_are_not_on_record() {
    let mut harness = audited(Options::default());
    let (session, lifecycle) = harness.session("2025-11-25");
    harness.audited();
    let ping = harness.legacy(&session, &json!(1), "ping", &json!({}));
    assert_eq!(harness.response(ping).status(), 200);
    let unsubscribed = harness.legacy(
        &session,
        &json!(2),
        "resources/unsubscribe",
        &json!({ "uri": "u" }),
    );
    assert_eq!(harness.response(unsubscribed).status(), 200);
    let discover = harness.modern(&json!(3), "server/discover", json!({}));
    let asked = harness.exit_stream();
    harness.lifecycle_begun(&asked);
    assert_eq!(harness.response(discover).status(), 200);
    assert_eq!(harness.audited().len(), 0);
    harness.end_session(&session, &lifecycle);
}

#[test]
fn without_an_audit_log_nothing_is_made() {
    let mut harness = harness();
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert!(harness.response(stream).ended);
    assert!(harness.rig.worker.poll_event().is_none());
    harness.finish();
}

#[test]
fn a_request_that_gets_only_a_status_is_on_record() {
    let mut harness = audited(Options::default());
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let content = ("content-type", "text/plain");
    let accept = [
        ("content-type", "application/json"),
        ("accept", "text/html"),
    ];
    for (pairs, status) in [(&[content][..], 415), (&accept, 406)] {
        let stream = harness.for_alice(pairs, &body);
        assert_eq!(harness.response(stream).status(), status);
        let refused = harness.only();
        assert_eq!(refused.id, "binding.mcp.request.refused");
        assert_eq!(refused.subject, "alice");
        let code = status.to_string();
        assert_eq!(refused.of(&["code", "address"]), [&*code, ADDRESS]);
        assert!(!refused.of(&["reason"])[0].is_empty(), "{refused:?}");
    }
    for verb in [Method::GET, Method::DELETE, Method::PUT] {
        let stream = harness.http(verb, &[("accept", "*/*")], "");
        assert_eq!(harness.response(stream).status(), 405);
        assert_eq!(harness.only().of(&["code", "address"]), ["405", ADDRESS]);
    }
    harness.finish();
}

#[test]
fn a_message_that_cannot_be_read_is_on_record_with_the_address_alone() {
    let mut harness = audited(Options::default());
    let stream = harness.http(Method::POST, &modern_headers("ping", ""), "{");
    assert_eq!(harness.response(stream).error(), (400, -32700));
    let refused = harness.only();
    assert_eq!(refused.id, "binding.mcp.request.refused");
    assert_eq!(
        refused.of(&["code", "address", "method"]),
        ["-32700", ADDRESS, ""]
    );
    harness.finish();
}
