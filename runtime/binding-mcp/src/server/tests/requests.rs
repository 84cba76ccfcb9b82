//! A request on its way and its result on the way back, whatever the era.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpLog, McpProgress};

use super::{Asked, House, house, house_with, modern_headers, request, with_meta};
use crate::server::Options;

const KIB: usize = 1024;

fn within(part: &Bytes, whole: &Bytes) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// The exit sends `count` KiB of a result, each filled with `x`; what it could not send for want of
/// credit is left out.
fn send_kib(house: &mut House, asked: &Asked, count: usize) -> usize {
    (0..count)
        .take_while(|_| {
            let exit = house.exit;
            house.rig.turn(exit, |cx| {
                let room = cx.credit(asked.stream) >= KIB;
                if room {
                    cx.send(asked.stream, Frame::data(Bytes::from(vec![b'x'; KIB])));
                }
                room
            })
        })
        .count()
}

fn open_result(house: &mut House, asked: &Asked) {
    house.begin(asked);
    house.exit_sends(asked, Frame::data(Bytes::from_static(b"{\"t\":\"")));
}

fn close_result(house: &mut House, asked: &Asked) {
    house.exit_sends(asked, Frame::data(Bytes::from_static(b"\"}")));
    house.exit_sends(asked, Frame::end());
    assert_eq!(house.at_exit(asked), ["end"]);
}

/// A call of a client with the given window, with its head of a result.
fn long_call(window: u32) -> (House, StreamId, Asked) {
    let mut house = house_with(Options::default(), window);
    let stream = house.call(1);
    let asked = house.asked();
    open_result(&mut house, &asked);
    (house, stream, asked)
}

#[test]
fn a_payload_is_passed_as_a_slice_of_what_came() {
    let mut house = house();
    let params = with_meta(json!({ "name": "t", "arguments": { "payload": "x".repeat(999) } }));
    let body = Bytes::from(request(&json!(1), "tools/call", &params).to_string());
    let stream = house.http(
        Method::POST,
        &modern_headers("tools/call", "t"),
        body.clone(),
    );
    let asked = house.asked();
    assert_eq!(asked.params.len(), 1);
    assert!(within(&asked.params[0], &body));
    let result = Bytes::from(json!({ "content": ["y".repeat(1_999)] }).to_string());
    house.begin(&asked);
    house.exit_sends(&asked, Frame::data(result.clone()));
    house.exit_sends(&asked, Frame::end());
    assert_eq!(house.at_exit(&asked), ["end"]);
    let response = house.response(stream);
    let slice = response.parts.iter().find(|part| part.len() > 900);
    assert!(within(slice.expect("the result"), &result));
    house.done();
}

#[test]
fn a_short_result_in_parts_is_answered_with_its_length() {
    let mut house = house();
    let stream = house.call(1);
    let asked = house.asked();
    house.begin(&asked);
    for part in [
        "  {",
        "\"t\":\"a",
        " ",
        " ",
        "b\\",
        "\" ",
        " ",
        "\"",
        "\n",
        "}",
        "\n",
    ] {
        house.exit_sends(&asked, Frame::data(Bytes::from(part)));
        assert_eq!(house.peek(stream).status, None);
    }
    house.exit_sends(&asked, Frame::end());
    assert_eq!(house.at_exit(&asked), ["end"]);
    assert_eq!(house.response(stream).json()["result"]["t"], "a  b\"  ");
    house.done();
}

#[test]
fn a_long_result_streams_before_it_is_whole() {
    let (mut house, stream, asked) = long_call(1 << 20);
    assert_eq!(send_kib(&mut house, &asked, 65), 65);
    let mut response = house.response(stream);
    assert_eq!(response.status(), 200);
    assert!(!response.ended && response.body().len() > 60 * KIB);
    assert_eq!(send_kib(&mut house, &asked, 200), 200);
    close_result(&mut house, &asked);
    let rest = house.response(stream);
    response.parts.extend(rest.parts);
    response.ended = rest.ended;
    let result = &response.json()["result"];
    assert_eq!(result["t"], "x".repeat(265 * KIB));
    assert_eq!(result["resultType"], "complete");
    house.done();
}

#[test]
fn a_client_that_does_not_read_holds_the_exit_back() {
    let (mut house, stream, asked) = long_call(1_000);
    let sent = send_kib(&mut house, &asked, 10_000);
    // What is held and waits, and the exit's own window.
    assert!((256..=64 + 256 + 64).contains(&sent), "{sent} KiB");
    // It goes on once the client reads.
    let mut body = vec![];
    let mut more = 0;
    while more < 100 {
        let response = house.response(stream);
        assert!(!response.parts.is_empty());
        body.extend(response.body());
        more += send_kib(&mut house, &asked, 100 - more);
    }
    close_result(&mut house, &asked);
    loop {
        let response = house.response(stream);
        body.extend(response.body());
        if response.ended {
            break;
        }
    }
    let message: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(message["result"]["t"], "x".repeat((sent + more) * KIB));
    house.done();
}

#[test]
fn a_result_that_breaks_off_on_its_way_breaks_the_response_off() {
    let (mut house, stream, asked) = long_call(1 << 20);
    send_kib(&mut house, &asked, 65);
    house
        .rig
        .turn(house.exit, |cx| cx.terminate(asked.stream, None, None));
    let response = house.response(stream);
    assert!(response.broken && !response.ended);
    house.done();
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_result_cancels_it() {
    let (mut house, stream, asked) = long_call(1_000);
    send_kib(&mut house, &asked, 100);
    assert!(house.peek(stream).status.is_some());
    house.leave(stream);
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    house.done();
}

#[test]
fn a_client_that_goes_while_the_rest_of_its_answer_waits_leaves_nothing() {
    let mut house = house_with(Options::default(), 10);
    let stream = house.call(1);
    let asked = house.asked();
    house.reply(&asked, "{\"content\":[]}");
    assert!(!house.peek(stream).ended);
    house.leave(stream);
    house.done();
}

#[test]
fn a_request_that_is_not_answered_in_time_is_given_up_and_answered() {
    let options = Options {
        timeout: 1_000,
        ..Options::default()
    };
    let mut house = house_with(options, 1 << 20);
    let stream = house.call(1);
    let asked = house.asked();
    assert_eq!(asked.within, Some(1_000));
    // The exit is given the time to say it itself.
    house.rig.advance(Duration::from_millis(1_499));
    assert_eq!(house.peek(stream).status, None);
    house.rig.advance(Duration::from_millis(1));
    assert_eq!(house.response(stream).error(), (200, -32603));
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    house.done();
}

fn progress(of: &str) -> Frame {
    Frame::flush(McpProgress {
        progress: of.to_owned().into(),
        total: Some("3".into()),
        message: Some("\"half\"".into()),
    })
}

#[test]
fn progress_comes_as_events_with_the_token_as_it_was_given() {
    for token in [json!(7), json!("7")] {
        let mut house = house();
        let params = json!({ "name": "t", "_meta": { "progressToken": token } });
        let stream = house.modern(&json!(1), "tools/call", params);
        let asked = house.asked();
        house.begin(&asked);
        house.exit_sends(&asked, progress("1"));
        let response = house.response(stream);
        assert_eq!(response.header("content-type"), "text/event-stream");
        let told =
            json!({ "progressToken": token, "progress": 1, "total": 3, "message": "\"half\"" });
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": told });
        assert_eq!(response.events(), [told]);
        house.exit_sends(
            &asked,
            Frame::data(Bytes::from_static(b"{\n\"a\":\r\n1}\n")),
        );
        house.exit_sends(&asked, Frame::end());
        assert_eq!(house.at_exit(&asked), ["end"]);
        let response = house.response(stream);
        assert_eq!(response.events()[0]["result"]["a"], 1);
        assert!(response.ended);
        house.done();
    }
}

#[test]
fn a_long_result_behind_progress_is_one_event() {
    let mut house = house();
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    let stream = house.modern(&json!(1), "tools/call", params);
    let asked = house.asked();
    house.begin(&asked);
    house.exit_sends(&asked, progress("1"));
    house.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\n\"t\":\"")));
    send_kib(&mut house, &asked, 100);
    // Nothing can come between any more.
    house.exit_sends(&asked, progress("2"));
    close_result(&mut house, &asked);
    let events = house.response(stream).events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["result"]["t"], "x".repeat(100 * KIB));
    house.done();
}

#[test]
fn progress_that_was_not_asked_for_or_cannot_be_taken_is_not_told() {
    let asks = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    for (params, accept) in [
        (json!({ "name": "t" }), super::BOTH),
        (asks, "application/json"),
    ] {
        let mut house = house();
        let mut pairs = modern_headers("tools/call", "t");
        pairs[1].1 = accept;
        let stream = house.post(
            &pairs,
            &request(&json!(1), "tools/call", &with_meta(params)),
        );
        let asked = house.asked();
        house.begin(&asked);
        house.exit_sends(&asked, progress("1"));
        assert_eq!(house.peek(stream).status, None);
        house.exit_sends(&asked, Frame::end());
        assert_eq!(house.at_exit(&asked), ["end"]);
        assert_eq!(house.response(stream).json()["id"], 1);
        house.done();
    }
}

#[test]
fn progress_for_a_client_that_does_not_read_is_not_piled_up() {
    let mut house = house_with(Options::default(), 100);
    let line = house.line();
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    house.say_modern(line, &json!(1), "tools/call", params);
    let asked = house.asked();
    house.begin(&asked);
    for _ in 0..5_000 {
        house.exit_sends(&asked, progress("1"));
    }
    house.exit_sends(&asked, Frame::end());
    assert_eq!(house.at_exit(&asked), ["end"]);
    let mut got = 0;
    loop {
        let frames = house.rig.frames(house.client, line);
        let read: usize = frames
            .iter()
            .map(|frame| match frame {
                Frame::Data(data) => data.payload.len(),
                _ => 0,
            })
            .sum();
        if read == 0 {
            break;
        }
        got += read;
        house
            .rig
            .turn(house.client, |cx| cx.acknowledge(line, read));
    }
    assert!((256 * KIB..258 * KIB).contains(&got), "{got}");
    house.end_line(line);
    house.done();
}

fn logged(level: &str) -> Frame {
    let params = json!({ "level": level, "data": "x" });
    Frame::flush(McpLog {
        params: Bytes::from(params.to_string()),
    })
}

#[test]
fn log_messages_are_told_from_the_level_that_was_asked_for() {
    const LEVEL: &str = "io.modelcontextprotocol/logLevel";
    for (meta, told) in [
        (json!({}), 0),
        (json!({ LEVEL: "warning" }), 2),
        (json!({ LEVEL: "debug" }), 3),
    ] {
        let mut house = house();
        let params = json!({ "name": "t", "_meta": meta });
        let stream = house.modern(&json!(1), "tools/call", params);
        let asked = house.asked();
        house.begin(&asked);
        for level in ["info", "warning", "error"] {
            house.exit_sends(&asked, logged(level));
        }
        let response = house.response(stream);
        assert_eq!(response.events().len(), told);
        house.leave(stream);
        assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
        house.done();
    }
    let mut house = house();
    let params = json!({ "name": "t", "_meta": { LEVEL: "loud" } });
    let stream = house.modern(&json!(1), "tools/call", params);
    assert_eq!(house.response(stream).error(), (400, -32602));
    house.done();
}

#[test]
fn a_request_beyond_the_streams_of_a_worker_is_answered_as_unavailable() {
    use tidegate_engine::testing::Rig;
    use tidegate_engine::{Limits, Worker};
    let mut rig = Rig::new();
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    rig.worker = Worker::new(0, [7; 32], limits);
    let exit = rig.edge(1 << 20);
    let server = rig.attach(crate::server::McpServer::new(Options::default(), exit));
    let client = rig.edge(1 << 20);
    let mut house = House {
        rig,
        server,
        client,
        exit,
    };
    for (method, params) in [("tools/list", json!({})), ("server/discover", json!({}))] {
        let stream = house.modern(&json!(1), method, params);
        assert_eq!(house.response(stream).error(), (503, -32603), "{method}");
    }
    house.done();
}
