//! Batches (2025-03-26).

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;

use super::large::post;
use super::{
    Asked, House, house, legacy_headers, modern_headers, notification, request, with_meta,
};

fn call(id: i64) -> Value {
    request(&json!(id), "tools/call", &json!({ "name": "t" }))
}

fn cancelled(id: i64) -> Value {
    notification("notifications/cancelled", &json!({ "requestId": id }))
}

/// A batch in a session that knows them.
fn batched(batch: &Value) -> (House, String, Asked, StreamId) {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-03-26");
    let stream = house.post(&legacy_headers(&session), batch);
    (house, session, lifecycle, stream)
}

fn ids(response: &Value) -> Vec<&Value> {
    let answers = response.as_array().expect("a batch");
    answers.iter().map(|answer| &answer["id"]).collect()
}

#[test]
fn a_batch_is_refused_but_in_a_session_that_knows_them() {
    let mut house = house();
    let batch = json!([call(1)]);
    let stream = house.post(&modern_headers("tools/call", "t"), &batch);
    assert_eq!(house.response(stream).error(), (400, -32600));
    for version in ["2025-11-25", "2025-06-18"] {
        let (session, lifecycle) = house.session(version);
        let stream = house.post(&legacy_headers(&session), &batch);
        assert_eq!(house.response(stream).error(), (400, -32600));
        house.end_session(&session, &lifecycle);
    }
    house.nothing_asked();
    house.done();
}

#[test]
fn a_batch_that_is_not_taken_is_refused_where_it_begins() {
    let mut house = house();
    let (session, lifecycle) = house.session("2025-11-25");
    for pairs in [
        &modern_headers("tools/call", "t"),
        &legacy_headers(&session),
        &modern_headers("", "")[..1].to_vec(),
    ] {
        let stream = house.http_open(Method::POST, pairs);
        let body = Frame::data(Bytes::from_static(b"[1,1,"));
        house.rig.send(house.client, stream, body);
        let response = house.response(stream);
        assert_eq!(response.error(), (400, -32600));
        assert_eq!(response.reset_behind_head, Some(true));
        let sentence = response.json()["error"]["message"].clone();
        let expected =
            "Batches are only supported in sessions of 2025-03-26; send one message at a time.";
        assert_eq!(sentence, expected);
    }
    // Nor does it matter what stands in front of it, or that it is no JSON.
    let stream = house.http(Method::POST, &legacy_headers(&session), " \r\n\t[no JSON");
    assert_eq!(house.response(stream).error(), (400, -32600));
    // What is said of its session and of its type comes first.
    for (pairs, status) in [
        (&legacy_headers("0.gone")[..], 404),
        (&[("content-type", "text/plain")], 415),
        (&[("accept", "text/plain")], 406),
    ] {
        let stream = house.http_open(Method::POST, pairs);
        let body = Frame::data(Bytes::from_static(b"["));
        house.rig.send(house.client, stream, body);
        assert_eq!(house.response(stream).status(), status);
    }
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_batch_on_a_line_that_is_not_taken_is_refused_where_it_begins() {
    let mut house = house();
    let line = house.line();
    let part = |init, fin, text: &'static [u8]| {
        let flags = tidegate_streams::DataFlags::of(init, fin);
        Frame::part(flags, Bytes::from_static(text))
    };
    let lifecycle = house.line_session(line, "2025-06-18");
    house
        .rig
        .send(house.client, line, part(true, false, b"[1,"));
    let heard = house.heard(line);
    assert_eq!(heard[0]["error"]["code"], -32600);
    assert_eq!((&heard[0]["id"], heard.len()), (&json!(null), 1));
    house
        .rig
        .send(house.client, line, part(false, false, b"1,"));
    house.rig.send(house.client, line, part(false, true, b"1]"));
    assert_eq!(house.heard(line), [] as [Value; 0]);
    house.say(line, &request(&json!(2), "ping", &json!({})));
    assert_eq!(house.heard(line)[0]["id"], 2);
    house.end_line(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_batch_is_served_a_step_a_turn() {
    let batch: Vec<Value> = (0..40).map(call).collect();
    let (mut house, session, lifecycle, stream) = batched(&json!(batch));
    let mut asked = house.all_asked();
    assert_eq!(asked.len(), 16);
    // Whoever else asks something is served in between.
    let ping = house.legacy(&session, &json!("p"), "ping", &json!({}));
    assert_eq!(house.response(ping).json()["id"], "p");
    asked.extend(house.all_asked());
    while asked.len() < 40 {
        house.rig.turn(house.client, |_| ());
        let step = house.all_asked();
        assert!((1..=16).contains(&step.len()), "{}", step.len());
        asked.extend(step);
    }
    assert_eq!(house.rig.worker.counters().timers, 41, "none but deadlines");
    for asked in &asked {
        house.reply(asked, "{}");
    }
    assert_eq!(ids(&house.response(stream).json()).len(), 40);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_step_of_a_batch_is_bounded_in_bytes() {
    let large = |id| {
        let params = json!({ "name": "t", "arguments": { "a": "x".repeat(40_000) } });
        request(&json!(id), "tools/call", &params)
    };
    let batch: Vec<Value> = (0..5).map(large).collect();
    let mut house = house();
    let (session, lifecycle) = house.session("2025-03-26");
    let stream = post(&mut house, &legacy_headers(&session), &json!(batch));
    let mut steps = vec![house.all_asked()];
    for _ in 0..2 {
        house.rig.turn(house.client, |_| ());
        steps.push(house.all_asked());
    }
    assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    for asked in steps.iter().flatten() {
        house.reply(asked, "{}");
    }
    assert_eq!(ids(&house.response(stream).json()).len(), 5);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_session_that_ends_before_its_batch_is_served_ends_the_batch() {
    let batch: Vec<Value> = (0..100).map(call).collect();
    let (mut house, session, lifecycle, stream) = batched(&json!(batch));
    let delete = house.http(Method::DELETE, &[("mcp-session-id", &*session)], "");
    assert_eq!(house.response(delete).status(), 200);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    let outputs = house.rig.outputs(house.exit);
    let begins = outputs
        .iter()
        .filter(|out| matches!(out.frame, Frame::Begin(_)));
    assert!((16..100).contains(&begins.count()));
    // Another session may have its place; nothing of the batch is served in it.
    let (other, next) = house.session("2025-03-26");
    for _ in 0..7 {
        house.rig.turn(house.client, |_| ());
    }
    house.nothing_asked();
    let answers = house.response(stream).json();
    assert_eq!(ids(&answers).len(), 100);
    let mut codes = answers.as_array().expect("a batch").iter();
    assert!(codes.all(|it| it["error"]["code"] == -32001));
    house.end_session(&other, &next);
    house.done();
}

#[test]
fn a_batch_of_too_many_messages_is_read_no_further() {
    let mut text = String::from("[");
    text += &"1,".repeat(100);
    text += "this is no JSON";
    let mut house = house();
    let (session, lifecycle) = house.session("2025-03-26");
    let stream = house.http(Method::POST, &legacy_headers(&session), text);
    let response = house.response(stream);
    assert_eq!(response.error(), (400, -32600));
    let sentence = "A batch must contain 1 to 100 messages.";
    assert_eq!(response.json()["error"]["message"], sentence);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn the_answers_are_gathered_as_they_come() {
    let batch = json!([
        call(1),
        notification("notifications/initialized", &json!({})),
        7,
        call(2),
        request(&json!("p"), "ping", &json!({})),
        request(&json!(3), "no/such", &json!({})),
    ]);
    let (mut house, session, lifecycle, stream) = batched(&batch);
    let [first, second] = <[_; 2]>::try_from(house.all_asked()).expect("two");
    house.reply(&second, "{\"n\":2}");
    assert_eq!(house.peek(stream).status, None);
    house.reply(&first, "{\"n\":1}");
    let response = house.response(stream);
    let answers = response.json();
    let expected = [json!(null), json!("p"), json!(3), json!(2), json!(1)];
    assert_eq!(ids(&answers), expected.iter().collect::<Vec<_>>());
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[2]["error"]["code"], -32601);
    assert_eq!(answers[4]["result"], json!({ "n": 1 }));
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_batch_without_a_request_is_accepted() {
    let batch = json!([
        notification("notifications/initialized", &json!({})),
        { "jsonrpc": "2.0", "id": 1, "result": {} },
    ]);
    let (mut house, session, lifecycle, stream) = batched(&batch);
    let response = house.response(stream);
    assert_eq!((response.status(), response.parts.len()), (202, 0));
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn an_empty_batch_and_one_of_over_100_are_refused() {
    let many: Vec<Value> = (0..101).map(call).collect();
    for batch in [json!([]), json!(many)] {
        let (mut house, session, lifecycle, stream) = batched(&batch);
        assert_eq!(house.response(stream).error(), (400, -32600));
        house.nothing_asked();
        house.end_session(&session, &lifecycle);
        house.done();
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
    let (mut house, session, lifecycle, stream) = batched(&batch);
    let answers = house.response(stream).json();
    assert_eq!(answers[0]["error"]["code"], -32600);
    assert_eq!(answers[1]["error"]["code"], -32600);
    house.nothing_asked();
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_cancelled_request_is_missing_in_the_answer() {
    let (mut house, session, lifecycle, stream) = batched(&json!([call(1), call(2), call(3)]));
    let asked = house.all_asked();
    house.post(
        &legacy_headers(&session),
        &json!([cancelled(1), cancelled(3)]),
    );
    assert_eq!(house.at_exit(&asked[0]), ["reset", "abort"]);
    assert_eq!(house.at_exit(&asked[2]), ["reset", "abort"]);
    house.reply(&asked[1], "{}");
    let answers = house.response(stream).json();
    assert_eq!(ids(&answers), [&json!(2)]);
    house.rig.outputs(house.client);
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_batch_whose_requests_are_all_cancelled_has_no_answer() {
    let (mut house, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
    let asked = house.all_asked();
    for id in [1, 2] {
        let params = json!({ "requestId": id });
        let told = house.tell(&session, "notifications/cancelled", &params);
        assert_eq!(told.status(), 202);
    }
    for asked in &asked {
        assert_eq!(house.at_exit(asked), ["reset", "abort"]);
    }
    let response = house.response(stream);
    assert_eq!((response.status(), response.parts.len()), (202, 0));
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn a_client_that_goes_does_not_cancel_its_batch() {
    let (mut house, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
    let asked = house.all_asked();
    house.leave(stream);
    for asked in &asked {
        assert!(house.at_exit(asked).is_empty());
        house.reply(asked, "{}");
    }
    house.end_session(&session, &lifecycle);
    house.done();
}

#[test]
fn the_end_of_the_session_or_of_time_answers_the_batch() {
    for late in [false, true] {
        let (mut house, session, lifecycle, stream) = batched(&json!([call(1), call(2)]));
        let asked = house.all_asked();
        if late {
            house.rig.advance(Duration::from_millis(60_500));
        } else {
            let pairs = [("mcp-session-id", &*session)];
            let delete = house.http(Method::DELETE, &pairs, "");
            assert_eq!(house.response(delete).status(), 200);
            assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
        }
        let answers = house.response(stream).json();
        assert_eq!(ids(&answers), [&json!(1), &json!(2)]);
        let code = if late { -32603 } else { -32001 };
        assert_eq!(answers[0]["error"]["code"], code);
        for asked in &asked {
            assert_eq!(house.at_exit(asked), ["reset", "abort"]);
        }
        if late {
            house.end_session(&session, &lifecycle);
        }
        house.done();
    }
}

#[test]
fn a_batch_on_a_line_is_answered_on_one_line_before_the_end() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-03-26");
    house.say(
        line,
        &json!([call(1), request(&json!(2), "ping", &json!({}))]),
    );
    let asked = house.asked();
    house.say(line, &json!([cancelled(9)]));
    house.rig.send(house.client, line, Frame::end());
    assert_eq!(house.heard(line), [] as [Value; 0]);
    house.reply(&asked, "{\n}");
    let (heard, ended) = house.heard_last(line);
    assert_eq!(ids(&heard[0]), [&json!(2), &json!(1)]);
    assert_eq!((heard.len(), ended), (1, true));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}
