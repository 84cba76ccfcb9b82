//! Requests and their results, in both eras.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Duration, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpLog, McpProgress};

use super::{ExitStream, Harness, harness, harness_with, modern_headers, request, with_meta};
use crate::server::Options;

const KIB: usize = 1024;

fn within(part: &Bytes, whole: &Bytes) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// The exit sends `count` KiB of a result filled with `x`, as far as the credit allows.
fn send_kib(harness: &mut Harness, asked: &ExitStream, count: usize) -> usize {
    (0..count)
        .take_while(|_| {
            let exit = harness.exit;
            harness.rig.turn(exit, |cx| {
                let room = cx.credit(asked.stream) >= KIB;
                if room {
                    cx.send(asked.stream, Frame::data(Bytes::from(vec![b'x'; KIB])));
                }
                room
            })
        })
        .count()
}

fn open_result(harness: &mut Harness, asked: &ExitStream) {
    harness.begin(asked);
    harness.exit_sends(asked, Frame::data(Bytes::from_static(b"{\"t\":\"")));
}

fn close_result(harness: &mut Harness, asked: &ExitStream) {
    harness.exit_sends(asked, Frame::data(Bytes::from_static(b"\"}")));
    harness.exit_sends(asked, Frame::end());
    assert_eq!(harness.at_exit(asked), ["end"]);
}

/// A call of a client with the given window, whose result has begun.
fn long_call(window: u32) -> (Harness, StreamId, ExitStream) {
    let mut harness = harness_with(Options::default(), window);
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    open_result(&mut harness, &asked);
    (harness, stream, asked)
}

#[test]
fn a_payload_is_passed_on_without_a_copy() {
    let mut harness = harness();
    let params = with_meta(json!({ "name": "t", "arguments": { "payload": "x".repeat(999) } }));
    let body = Bytes::from(request(&json!(1), "tools/call", &params).to_string());
    let stream = harness.http(
        Method::POST,
        &modern_headers("tools/call", "t"),
        body.clone(),
    );
    let asked = harness.exit_stream();
    assert_eq!(asked.params.len(), 1);
    assert!(within(&asked.params[0], &body));
    let result = Bytes::from(json!({ "content": ["y".repeat(1_999)] }).to_string());
    harness.begin(&asked);
    harness.exit_sends(&asked, Frame::data(result.clone()));
    harness.exit_sends(&asked, Frame::end());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    let response = harness.response(stream);
    let slice = response.parts.iter().find(|part| part.len() > 900);
    assert!(within(slice.expect("the result"), &result));
    harness.finish();
}

#[test]
fn a_short_result_in_parts_is_answered_with_its_length() {
    let mut harness = harness();
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.begin(&asked);
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
        harness.exit_sends(&asked, Frame::data(Bytes::from(part)));
        assert_eq!(harness.peek(stream).status, None);
    }
    harness.exit_sends(&asked, Frame::end());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    assert_eq!(harness.response(stream).json()["result"]["t"], "a  b\"  ");
    harness.finish();
}

#[test]
fn a_long_result_is_streamed() {
    let (mut harness, stream, asked) = long_call(1 << 20);
    assert_eq!(send_kib(&mut harness, &asked, 65), 65);
    let mut response = harness.response(stream);
    assert_eq!(response.status(), 200);
    assert!(!response.ended && response.body().len() > 60 * KIB);
    assert_eq!(send_kib(&mut harness, &asked, 200), 200);
    close_result(&mut harness, &asked);
    let rest = harness.response(stream);
    response.parts.extend(rest.parts);
    response.ended = rest.ended;
    let result = &response.json()["result"];
    assert_eq!(result["t"], "x".repeat(265 * KIB));
    assert_eq!(result["resultType"], "complete");
    harness.finish();
}

#[test]
fn an_unread_result_stops_the_exit() {
    let (mut harness, stream, asked) = long_call(1_000);
    let sent = send_kib(&mut harness, &asked, 10_000);
    // The buffered and queued bytes, and the exit's own window.
    assert!((256..=64 + 256 + 64).contains(&sent), "{sent} KiB");
    // It continues once the client reads.
    let mut body = vec![];
    let mut more = 0;
    while more < 100 {
        let response = harness.response(stream);
        assert!(!response.parts.is_empty());
        body.extend(response.body());
        more += send_kib(&mut harness, &asked, 100 - more);
    }
    close_result(&mut harness, &asked);
    loop {
        let response = harness.response(stream);
        body.extend(response.body());
        if response.ended {
            break;
        }
    }
    let message: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(message["result"]["t"], "x".repeat((sent + more) * KIB));
    harness.finish();
}

#[test]
fn an_aborted_result_aborts_the_response() {
    let (mut harness, stream, asked) = long_call(1 << 20);
    send_kib(&mut harness, &asked, 65);
    harness
        .rig
        .turn(harness.exit, |cx| cx.terminate(asked.stream, None, None));
    let response = harness.response(stream);
    assert!(response.broken && !response.ended);
    harness.finish();
}

#[test]
fn a_disconnect_during_a_result_cancels_the_request() {
    let (mut harness, stream, asked) = long_call(1_000);
    send_kib(&mut harness, &asked, 100);
    assert!(harness.peek(stream).status.is_some());
    harness.disconnect(stream);
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    harness.finish();
}

#[test]
fn a_disconnect_with_a_queued_response_removes_the_exchange() {
    let mut harness = harness_with(Options::default(), 10);
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    harness.reply(&asked, "{\"content\":[]}");
    assert!(!harness.peek(stream).ended);
    harness.disconnect(stream);
    harness.finish();
}

#[test]
fn an_unanswered_request_is_aborted_and_answered() {
    let options = Options {
        timeout: 1_000,
        ..Options::default()
    };
    let mut harness = harness_with(options, 1 << 20);
    let stream = harness.call(1);
    let asked = harness.exit_stream();
    assert_eq!(asked.within, Some(1_000));
    // The exit gets time to answer itself.
    harness.rig.advance(Duration::from_millis(1_499));
    assert_eq!(harness.peek(stream).status, None);
    harness.rig.advance(Duration::from_millis(1));
    assert_eq!(harness.response(stream).error(), (200, -32603));
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    harness.finish();
}

fn progress(of: &str) -> Frame {
    Frame::flush(McpProgress {
        progress: of.to_owned().into(),
        total: Some("3".into()),
        message: Some("\"half\"".into()),
    })
}

#[test]
fn progress_events_have_the_clients_token() {
    for token in [json!(7), json!("7")] {
        let mut harness = harness();
        let params = json!({ "name": "t", "_meta": { "progressToken": token } });
        let stream = harness.modern(&json!(1), "tools/call", params);
        let asked = harness.exit_stream();
        harness.begin(&asked);
        harness.exit_sends(&asked, progress("1"));
        let response = harness.response(stream);
        assert_eq!(response.header("content-type"), "text/event-stream");
        let told =
            json!({ "progressToken": token, "progress": 1, "total": 3, "message": "\"half\"" });
        let told = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": told });
        assert_eq!(response.events(), [told]);
        harness.exit_sends(
            &asked,
            Frame::data(Bytes::from_static(b"{\n\"a\":\r\n1}\n")),
        );
        harness.exit_sends(&asked, Frame::end());
        assert_eq!(harness.at_exit(&asked), ["end"]);
        let response = harness.response(stream);
        assert_eq!(response.events()[0]["result"]["a"], 1);
        assert!(response.ended);
        harness.finish();
    }
}

#[test]
fn a_long_result_after_progress_is_one_event() {
    let mut harness = harness();
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    let stream = harness.modern(&json!(1), "tools/call", params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.exit_sends(&asked, progress("1"));
    harness.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\n\"t\":\"")));
    send_kib(&mut harness, &asked, 100);
    // Nothing can be sent in between any more.
    harness.exit_sends(&asked, progress("2"));
    close_result(&mut harness, &asked);
    let events = harness.response(stream).events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["result"]["t"], "x".repeat(100 * KIB));
    harness.finish();
}

#[test]
fn unrequested_or_unacceptable_progress_is_not_sent() {
    let asks = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    for (params, accept) in [
        (json!({ "name": "t" }), super::BOTH),
        (asks, "application/json"),
    ] {
        let mut harness = harness();
        let mut pairs = modern_headers("tools/call", "t");
        pairs[1].1 = accept;
        let stream = harness.post(
            &pairs,
            &request(&json!(1), "tools/call", &with_meta(params)),
        );
        let asked = harness.exit_stream();
        harness.begin(&asked);
        harness.exit_sends(&asked, progress("1"));
        assert_eq!(harness.peek(stream).status, None);
        harness.exit_sends(&asked, Frame::end());
        assert_eq!(harness.at_exit(&asked), ["end"]);
        assert_eq!(harness.response(stream).json()["id"], 1);
        harness.finish();
    }
}

#[test]
fn progress_for_a_client_that_does_not_read_is_dropped() {
    let mut harness = harness_with(Options::default(), 100);
    let line = harness.line();
    let params = json!({ "name": "t", "_meta": { "progressToken": 1 } });
    harness.send_modern_line(line, &json!(1), "tools/call", params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    for _ in 0..5_000 {
        harness.exit_sends(&asked, progress("1"));
    }
    harness.exit_sends(&asked, Frame::end());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    let mut got = 0;
    loop {
        let frames = harness.rig.frames(harness.client, line);
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
        harness
            .rig
            .turn(harness.client, |cx| cx.acknowledge(line, read));
    }
    assert!((256 * KIB..258 * KIB).contains(&got), "{got}");
    harness.end_line(line);
    harness.finish();
}

fn logged(level: &str) -> Frame {
    let params = json!({ "level": level, "data": "x" });
    Frame::flush(McpLog {
        params: Bytes::from(params.to_string()),
    })
}

#[test]
fn log_messages_are_sent_from_the_requested_level() {
    const LEVEL: &str = "io.modelcontextprotocol/logLevel";
    for (meta, told) in [
        (json!({}), 0),
        (json!({ LEVEL: "warning" }), 2),
        (json!({ LEVEL: "debug" }), 3),
    ] {
        let mut harness = harness();
        let params = json!({ "name": "t", "_meta": meta });
        let stream = harness.modern(&json!(1), "tools/call", params);
        let asked = harness.exit_stream();
        harness.begin(&asked);
        for level in ["info", "warning", "error"] {
            harness.exit_sends(&asked, logged(level));
        }
        let response = harness.response(stream);
        assert_eq!(response.events().len(), told);
        harness.disconnect(stream);
        assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
        harness.finish();
    }
    let mut harness = harness();
    let params = json!({ "name": "t", "_meta": { LEVEL: "loud" } });
    let stream = harness.modern(&json!(1), "tools/call", params);
    assert_eq!(harness.response(stream).error(), (400, -32602));
    harness.finish();
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
    let mut harness = Harness {
        rig,
        server,
        client,
        exit,
    };
    for (method, params) in [("tools/list", json!({})), ("server/discover", json!({}))] {
        let stream = harness.modern(&json!(1), method, params);
        assert_eq!(harness.response(stream).error(), (503, -32603), "{method}");
    }
    harness.finish();
}
