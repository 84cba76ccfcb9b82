//! Batches (2025-03-26).

use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};

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
    house
        .rig
        .send(house.client, line, tidegate_streams::Frame::end());
    assert_eq!(house.heard(line), [] as [Value; 0]);
    house.reply(&asked, "{\n}");
    let (heard, ended) = house.heard_last(line);
    assert_eq!(ids(&heard[0]), [&json!(2), &json!(1)]);
    assert_eq!((heard.len(), ended), (1, true));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}
