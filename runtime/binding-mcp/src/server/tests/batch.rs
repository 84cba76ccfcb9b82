//! Batches (2025-03-26).

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;

use super::large::post;
use super::{
    ExitStream, Harness, harness, legacy_headers, modern_headers, notification, request, with_meta,
};

fn call(id: i64) -> Value {
    request(&json!(id), "tools/call", &json!({ "name": "t" }))
}

fn cancelled(id: i64) -> Value {
    notification("notifications/cancelled", &json!({ "requestId": id }))
}

/// A batch in a session that supports them.
fn batched(batch: &Value) -> (Harness, String, ExitStream, StreamId) {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-03-26");
    let stream = harness.post(&legacy_headers(&session), batch);
    (harness, session, lifecycle, stream)
}

fn ids(response: &Value) -> Vec<&Value> {
    let answers = response.as_array().expect("a batch");
    answers.iter().map(|answer| &answer["id"]).collect()
}

#[test]
fn a_batch_is_refused_outside_a_session_with_batches() {
    let mut harness = harness();
    let batch = json!([call(1)]);
    let stream = harness.post(&modern_headers("tools/call", "t"), &batch);
    assert_eq!(harness.response(stream).error(), (400, -32600));
    for version in ["2025-11-25", "2025-06-18"] {
        let (session, lifecycle) = harness.session(version);
        let stream = harness.post(&legacy_headers(&session), &batch);
        assert_eq!(harness.response(stream).error(), (400, -32600));
        harness.end_session(&session, &lifecycle);
    }
    harness.assert_no_exit_stream();
    harness.finish();
}

#[test]
fn an_unsupported_batch_is_refused_at_its_start() {
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-11-25");
    for pairs in [
        &modern_headers("tools/call", "t"),
        &legacy_headers(&session),
        &modern_headers("", "")[..1].to_vec(),
    ] {
        let stream = harness.http_open(Method::POST, pairs);
        let body = Frame::data(Bytes::from_static(b"[1,1,"));
        harness.rig.send(harness.client, stream, body);
        let response = harness.response(stream);
        assert_eq!(response.error(), (400, -32600));
        assert_eq!(response.reset_behind_head, Some(true));
        let sentence = response.json()["error"]["message"].clone();
        let expected =
            "Batches are only supported in sessions of 2025-03-26; send one message at a time.";
        assert_eq!(sentence, expected);
    }
    // Independent of leading white space and of whether it is valid JSON.
    let stream = harness.http(Method::POST, &legacy_headers(&session), " \r\n\t[no JSON");
    assert_eq!(harness.response(stream).error(), (400, -32600));
    // Its session and its content type are checked first.
    for (pairs, status) in [
        (&legacy_headers("0.gone")[..], 404),
        (&[("content-type", "text/plain")], 415),
        (&[("accept", "text/plain")], 406),
    ] {
        let stream = harness.http_open(Method::POST, pairs);
        let body = Frame::data(Bytes::from_static(b"["));
        harness.rig.send(harness.client, stream, body);
        assert_eq!(harness.response(stream).status(), status);
    }
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn an_unsupported_batch_on_a_line_is_refused_at_its_start() {
    let mut harness = harness();
    let line = harness.line();
    let part = |init, fin, text: &'static [u8]| {
        let flags = tidegate_streams::DataFlags::of(init, fin);
        Frame::part(flags, Bytes::from_static(text))
    };
    let lifecycle = harness.line_session(line, "2025-06-18");
    harness
        .rig
        .send(harness.client, line, part(true, false, b"[1,"));
    let messages = harness.line_messages(line);
    assert_eq!(messages[0]["error"]["code"], -32600);
    assert_eq!((&messages[0]["id"], messages.len()), (&json!(null), 1));
    harness
        .rig
        .send(harness.client, line, part(false, false, b"1,"));
    harness
        .rig
        .send(harness.client, line, part(false, true, b"1]"));
    assert_eq!(harness.line_messages(line), [] as [Value; 0]);
    harness.send_line(line, &request(&json!(2), "ping", &json!({})));
    assert_eq!(harness.line_messages(line)[0]["id"], 2);
    harness.end_line(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_batch_is_processed_one_step_per_turn() {
    let batch: Vec<Value> = (0..40).map(call).collect();
    let (mut harness, session, lifecycle, stream) = batched(&json!(batch));
    let mut asked = harness.exit_streams();
    assert_eq!(asked.len(), 16);
    // Other requests are processed in between.
    let ping = harness.legacy(&session, &json!("p"), "ping", &json!({}));
    assert_eq!(harness.response(ping).json()["id"], "p");
    asked.extend(harness.exit_streams());
    while asked.len() < 40 {
        harness.rig.turn(harness.client, |_| ());
        let step = harness.exit_streams();
        assert!((1..=16).contains(&step.len()), "{}", step.len());
        asked.extend(step);
    }
    assert_eq!(
        harness.rig.worker.counters().timers,
        41,
        "none but deadlines"
    );
    for asked in &asked {
        harness.reply(asked, "{}");
    }
    assert_eq!(ids(&harness.response(stream).json()).len(), 40);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_step_of_a_batch_is_bounded_in_bytes() {
    let large = |id| {
        let params = json!({ "name": "t", "arguments": { "a": "x".repeat(40_000) } });
        request(&json!(id), "tools/call", &params)
    };
    let batch: Vec<Value> = (0..5).map(large).collect();
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-03-26");
    let stream = post(&mut harness, &legacy_headers(&session), &json!(batch));
    let mut steps = vec![harness.exit_streams()];
    for _ in 0..2 {
        harness.rig.turn(harness.client, |_| ());
        steps.push(harness.exit_streams());
    }
    assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    for asked in steps.iter().flatten() {
        harness.reply(asked, "{}");
    }
    assert_eq!(ids(&harness.response(stream).json()).len(), 5);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_session_that_ends_during_its_batch_ends_the_batch() {
    let batch: Vec<Value> = (0..100).map(call).collect();
    let (mut harness, session, lifecycle, stream) = batched(&json!(batch));
    let delete = harness.http(Method::DELETE, &[("mcp-session-id", &*session)], "");
    assert_eq!(harness.response(delete).status(), 200);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    let outputs = harness.rig.outputs(harness.exit);
    let begins = outputs
        .iter()
        .filter(|out| matches!(out.frame, Frame::Begin(_)));
    assert!((16..100).contains(&begins.count()));
    // Another session may have taken its slot; nothing of the batch is processed in it.
    let (other, next) = harness.session("2025-03-26");
    for _ in 0..7 {
        harness.rig.turn(harness.client, |_| ());
    }
    harness.assert_no_exit_stream();
    let answers = harness.response(stream).json();
    assert_eq!(ids(&answers).len(), 100);
    let mut codes = answers.as_array().expect("a batch").iter();
    assert!(codes.all(|it| it["error"]["code"] == -32001));
    harness.end_session(&other, &next);
    harness.finish();
}

#[test]
fn a_batch_with_too_many_messages_is_not_read_to_its_end() {
    let mut text = String::from("[");
    text += &"1,".repeat(100);
    text += "this is no JSON";
    let mut harness = harness();
    let (session, lifecycle) = harness.session("2025-03-26");
    let stream = harness.http(Method::POST, &legacy_headers(&session), text);
    let response = harness.response(stream);
    assert_eq!(response.error(), (400, -32600));
    let sentence = "A batch must contain 1 to 100 messages.";
    assert_eq!(response.json()["error"]["message"], sentence);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn responses_are_collected_as_they_arrive() {
    let batch = json!([
        call(1),
        notification("notifications/initialized", &json!({})),
        7,
        call(2),
        request(&json!("p"), "ping", &json!({})),
        request(&json!(3), "no/such", &json!({})),
    ]);
    let (mut harness, session, lifecycle, stream) = batched(&batch);
    let [first, second] = <[_; 2]>::try_from(harness.exit_streams()).expect("two");
    harness.reply(&second, "{\"n\":2}");
    assert_eq!(harness.peek(stream).status, None);
    harness.reply(&first, "{\"n\":1}");
    let response = harness.response(stream);
    let answers = response.json();
    let expected = [json!(null), json!("p"), json!(3), json!(2), json!(1)];
    assert_eq!(ids(&answers), expected.iter().collect::<Vec<_>>());
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[2]["error"]["code"], -32601);
    assert_eq!(answers[4]["result"], json!({ "n": 1 }));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_batch_without_a_request_is_accepted() {
    let batch = json!([
        notification("notifications/initialized", &json!({})),
        { "jsonrpc": "2.0", "id": 1, "result": {} },
    ]);
    let (mut harness, session, lifecycle, stream) = batched(&batch);
    let response = harness.response(stream);
    assert_eq!((response.status(), response.parts.len()), (202, 0));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn an_empty_batch_and_one_of_over_100_are_refused() {
    let many: Vec<Value> = (0..101).map(call).collect();
    for batch in [json!([]), json!(many)] {
        let (mut harness, session, lifecycle, stream) = batched(&batch);
        assert_eq!(harness.response(stream).error(), (400, -32600));
        harness.assert_no_exit_stream();
        harness.end_session(&session, &lifecycle);
        harness.finish();
    }
}

#[test]
fn some_requests_cannot_be_part_of_a_batch() {
    let filter = with_meta(json!({ "notifications": {} }));
    let batch = json!([
        request(
            &json!(1),
            "initialize",
            &json!({ "protocolVersion": "2025-03-26" })
        ),
        request(&json!(2), "subscriptions/listen", &filter),
    ]);
    let (mut harness, session, lifecycle, stream) = batched(&batch);
    let answers = harness.response(stream).json();
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[1]["error"]["code"], -32600);
    harness.assert_no_exit_stream();
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_cancelled_request_has_no_response_in_the_batch() {
    let (mut harness, session, lifecycle, stream) = batched(&json!([call(1), call(2), call(3)]));
    let asked = harness.exit_streams();
    harness.post(
        &legacy_headers(&session),
        &json!([cancelled(1), cancelled(3)]),
    );
    assert_eq!(harness.at_exit(&asked[0]), ["reset", "abort"]);
    assert_eq!(harness.at_exit(&asked[2]), ["reset", "abort"]);
    harness.reply(&asked[1], "{}");
    let answers = harness.response(stream).json();
    assert_eq!(ids(&answers), [&json!(2)]);
    harness.rig.outputs(harness.client);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_batch_with_only_cancelled_requests_has_no_response() {
    let (mut harness, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
    let asked = harness.exit_streams();
    for id in [1, 2] {
        let params = json!({ "requestId": id });
        let told = harness.notify(&session, "notifications/cancelled", &params);
        assert_eq!(told.status(), 202);
    }
    for asked in &asked {
        assert_eq!(harness.at_exit(asked), ["reset", "abort"]);
    }
    let response = harness.response(stream);
    assert_eq!((response.status(), response.parts.len()), (202, 0));
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

/// Each result is within the limit of 16 MiB, but not all of them together.
#[test]
fn the_results_of_a_batch_are_bounded_together() {
    let (mut harness, session, lifecycle, stream) = batched(&json!([call(1), call(2), call(3)]));
    let asked = harness.exit_streams();
    let large = json!({ "text": "x".repeat(6 << 20) }).to_string();
    for asked in &asked {
        harness.begin(asked);
        let mut rest = Bytes::from(large.clone());
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(16 * 1024));
            harness.exit_sends(asked, Frame::data(part));
        }
        harness.exit_sends(asked, Frame::end());
    }
    let answers = harness.response(stream).json();
    let failed: Vec<&Value> = answers
        .as_array()
        .expect("a batch")
        .iter()
        .filter(|answer| answer.get("error").is_some())
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["id"], json!(3));
    assert_eq!(
        failed[0]["error"]["message"],
        "The result exceeds 16777216 bytes."
    );
    harness.rig.outputs(harness.exit);
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn a_disconnect_does_not_cancel_a_batch() {
    let (mut harness, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
    let asked = harness.exit_streams();
    harness.disconnect(stream);
    for asked in &asked {
        assert!(harness.at_exit(asked).is_empty());
        harness.reply(asked, "{}");
    }
    harness.end_session(&session, &lifecycle);
    harness.finish();
}

#[test]
fn the_end_of_the_session_or_of_time_answers_the_batch() {
    for late in [false, true] {
        let (mut harness, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
        let asked = harness.exit_streams();
        if late {
            harness.rig.advance(Duration::from_millis(60_500));
        } else {
            let pairs = [("mcp-session-id", &*session)];
            let delete = harness.http(Method::DELETE, &pairs, "");
            assert_eq!(harness.response(delete).status(), 200);
            assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
        }
        let answers = harness.response(stream).json();
        assert_eq!(ids(&answers), [&json!(1), &json!(2)]);
        let code = if late { -32603 } else { -32001 };
        assert_eq!(answers[0]["error"]["code"], code);
        for asked in &asked {
            assert_eq!(harness.at_exit(asked), ["reset", "abort"]);
        }
        if late {
            harness.end_session(&session, &lifecycle);
        }
        harness.finish();
    }
}

#[test]
fn a_batch_on_a_line_is_answered_on_one_line_before_the_end() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-03-26");
    harness.send_line(
        line,
        &json!([call(1), request(&json!(2), "ping", &json!({}))]),
    );
    let asked = harness.exit_stream();
    harness.send_line(line, &json!([cancelled(9)]));
    harness.rig.send(harness.client, line, Frame::end());
    assert_eq!(harness.line_messages(line), [] as [Value; 0]);
    harness.reply(&asked, "{\n}");
    let (messages, ended) = harness.last_line_messages(line);
    assert_eq!(ids(&messages[0]), [&json!(2), &json!(1)]);
    assert_eq!((messages.len(), ended), (1, true));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}
