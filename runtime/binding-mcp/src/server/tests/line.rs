//! Line streams: all messages on one channel.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::Duration;
use tidegate_streams::line::LineOversized;
use tidegate_streams::mcp::{McpLog, McpProgress, McpResetKind};
use tidegate_streams::{DataFlags, Frame};

use super::{Harness, harness, harness_with, notification, request, with_meta};
use crate::server::Options;

fn named() -> Value {
    json!({ "name": "t" })
}

fn error(message: &Value) -> (Value, i64) {
    let code = message["error"]["code"].as_i64();
    (
        message["id"].clone(),
        code.unwrap_or_else(|| panic!("{message}")),
    )
}

#[test]
fn modern_requests_are_answered_in_order_of_completion() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_modern_line(line, &json!(1), "tools/call", named());
    harness.send_modern_line(line, &json!("b"), "resources/read", json!({ "uri": "u" }));
    let [first, second] = <[_; 2]>::try_from(harness.exit_streams()).expect("two");
    assert_eq!(first.params(), with_meta(named()));
    assert_eq!(first.begin.session_id(), None);
    harness.reply(&second, "{\n\"contents\":\r\n[]}");
    harness.reply(&first, "{\"content\":[]}");
    let messages = harness.line_messages(line);
    assert_eq!(messages[0]["id"], "b");
    assert_eq!(messages[0]["result"]["ttlMs"], 0);
    assert_eq!(messages[1]["id"], 1);
    assert_eq!(messages[1]["result"]["resultType"], "complete");
    harness.end_line(line);
    harness.finish();
}

#[test]
fn a_modern_request_must_have_client_metadata() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_line(line, &request(&json!(1), "tools/list", &json!({})));
    let mut params = with_meta(json!({}));
    params["_meta"][super::VERSION] = json!("1900-01-01");
    harness.send_line(line, &request(&json!(2), "tools/list", &params));
    harness.send_modern_line(line, &json!(3), "no/such", json!({}));
    let codes: Vec<_> = harness.line_messages(line).iter().map(error).collect();
    assert_eq!(
        codes,
        [(json!(1), -32602), (json!(2), -32022), (json!(3), -32601)]
    );
    harness.end_line(line);
    harness.finish();
}

#[test]
fn a_legacy_session_lasts_as_long_as_its_line() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-11-25");
    harness.send_line(line, &notification("notifications/initialized", &json!({})));
    harness.send_line(line, &request(&json!(1), "tools/call", &named()));
    let asked = harness.exit_stream();
    assert_eq!(asked.begin.session_id().map(|id| &**id), Some("s-1"));
    harness.reply(&asked, "{\"content\":[]}");
    let result = json!({ "content": [] });
    assert_eq!(
        harness.line_messages(line),
        [json!({ "jsonrpc": "2.0", "id": 1, "result": result })]
    );
    // There is no idle timeout on a line.
    harness.rig.advance(Duration::from_millis(3_600_000));
    assert!(harness.at_exit(&lifecycle).is_empty());
    harness.end_line(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_line_has_one_session() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-11-25");
    let params = json!({ "protocolVersion": "2025-11-25" });
    harness.send_line(line, &request(&json!(1), "initialize", &params));
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(1), -32600));
    harness.assert_no_exit_stream();
    // A modern request beside it is not part of it.
    harness.send_modern_line(line, &json!(2), "tools/call", named());
    let asked = harness.exit_stream();
    assert_eq!(asked.begin.session_id(), None);
    harness.reply(&asked, "{}");
    assert_eq!(
        harness.line_messages(line)[0]["result"]["resultType"],
        "complete"
    );
    harness.end_line(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_refused_session_can_be_requested_again() {
    let mut harness = harness();
    let line = harness.line();
    let params = json!({ "protocolVersion": "2025-11-25" });
    harness.send_line(line, &request(&json!(1), "initialize", &params));
    let asked = harness.exit_stream();
    harness.refuse(&asked, McpResetKind::Unavailable);
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(1), -32603));
    let lifecycle = harness.line_session(line, "2025-11-25");
    harness.end_line(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_request_is_cancelled_by_its_id() {
    for legacy in [false, true] {
        let mut harness = harness();
        let line = harness.line();
        let lifecycle = legacy.then(|| harness.line_session(line, "2025-11-25"));
        let params = if legacy { named() } else { with_meta(named()) };
        harness.send_line(line, &request(&json!("7"), "tools/call", &params));
        let asked = harness.exit_stream();
        for (id, frames) in [(json!(7), &[][..]), (json!("7"), &["reset", "abort"][..])] {
            let params = json!({ "requestId": id, "reason": "enough" });
            harness.send_line(line, &notification("notifications/cancelled", &params));
            assert_eq!(harness.at_exit(&asked), frames, "{id}");
        }
        for params in [
            json!({ "requestId": "7" }),
            json!({}),
            json!({ "requestId": [] }),
        ] {
            harness.send_line(line, &notification("notifications/cancelled", &params));
        }
        harness.end_line(line);
        if let Some(lifecycle) = lifecycle {
            assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
        }
        harness.finish();
    }
}

#[test]
fn progress_and_log_messages_come_before_the_answer() {
    let mut harness = harness();
    let line = harness.line();
    let meta = json!({ "progressToken": "p", "io.modelcontextprotocol/logLevel": "info" });
    let params = json!({ "name": "t", "_meta": meta });
    harness.send_modern_line(line, &json!(1), "tools/call", params);
    let asked = harness.exit_stream();
    harness.begin(&asked);
    harness.exit_sends(
        &asked,
        Frame::flush(McpProgress {
            progress: "0.5".into(),
            ..McpProgress::default()
        }),
    );
    harness.exit_sends(
        &asked,
        Frame::flush(McpLog {
            params: Bytes::from_static(b"{\"level\":\"info\",\n\"data\":1}"),
        }),
    );
    harness.exit_sends(&asked, Frame::end());
    assert_eq!(harness.at_exit(&asked), ["end"]);
    let messages = harness.line_messages(line);
    let progress = json!({ "progressToken": "p", "progress": 0.5 });
    assert_eq!(
        messages[0],
        notification("notifications/progress", &progress)
    );
    let log = json!({ "level": "info", "data": 1 });
    assert_eq!(messages[1], notification("notifications/message", &log));
    assert_eq!(messages[2]["id"], 1);
    harness.end_line(line);
    harness.finish();
}

#[test]
fn running_requests_are_answered_after_the_end_of_input() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_modern_line(line, &json!(1), "tools/call", named());
    harness.send_modern_line(line, &json!(2), "server/discover", json!({}));
    let [call, discover] = <[_; 2]>::try_from(harness.exit_streams()).expect("two");
    harness.rig.send(harness.client, line, Frame::end());
    assert_eq!(harness.line_messages(line), [] as [Value; 0]);
    harness.reply(&call, "{}");
    assert_eq!(harness.line_messages(line)[0]["id"], 1);
    harness.lifecycle_begun(&discover);
    assert_eq!(harness.at_exit(&discover), ["end", "reset"]);
    let (messages, ended) = harness.last_line_messages(line);
    assert_eq!((&messages[0]["id"], ended), (&json!(2), true));
    harness.finish();
}

#[test]
fn initialize_is_answered_after_the_end_of_input() {
    let mut harness = harness();
    let line = harness.line();
    let params = json!({ "protocolVersion": "2025-11-25" });
    harness.send_line(line, &request(&json!(1), "initialize", &params));
    let lifecycle = harness.exit_stream();
    harness.rig.send(harness.client, line, Frame::end());
    harness.lifecycle_begun(&lifecycle);
    let (messages, ended) = harness.last_line_messages(line);
    assert_eq!((&messages[0]["id"], ended), (&json!(1), true));
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn a_slow_client_receives_everything_before_the_end() {
    let mut harness = harness_with(Options::default(), 10);
    let line = harness.line();
    harness.send_line(line, &json!({}));
    harness.rig.send(harness.client, line, Frame::end());
    let (mut text, mut ended) = (Vec::new(), false);
    while !ended {
        for frame in harness.rig.frames(harness.client, line) {
            match frame {
                Frame::Data(data) => {
                    text.extend_from_slice(&data.payload);
                    let length = data.payload.len();
                    harness
                        .rig
                        .turn(harness.client, |cx| cx.acknowledge(line, length));
                }
                Frame::End(_) => ended = true,
                other => panic!("{other:?}"),
            }
        }
    }
    let message: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(error(&message), (Value::Null, -32600));
    harness.finish();
}

#[test]
fn an_aborted_line_cancels_its_requests() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-03-26");
    harness.send_line(line, &request(&json!(1), "tools/call", &named()));
    let batch = json!([request(&json!(2), "tools/call", &named())]);
    harness.send_line(line, &batch);
    harness.send_modern_line(line, &json!(3), "server/discover", json!({}));
    let asked = harness.exit_streams();
    assert_eq!(asked.len(), 3);
    harness.disconnect(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    assert_eq!(harness.at_exit(&asked[0]), ["reset", "abort"]);
    assert_eq!(harness.at_exit(&asked[1]), ["reset", "abort"]);
    // The capabilities of the exit are cached nevertheless.
    harness.lifecycle_begun(&asked[2]);
    assert_eq!(harness.at_exit(&asked[2]), ["end", "reset"]);
    harness.finish();
}

#[test]
fn an_unreadable_message_is_answered_and_the_line_continues() {
    let options = Options {
        max_message_size: 100,
        ..Options::default()
    };
    let mut harness = harness_with(options, 1 << 20);
    let line = harness.line();
    let send = |harness: &mut Harness, flags, text: &str| {
        let part = Bytes::copy_from_slice(text.as_bytes());
        harness
            .rig
            .send(harness.client, line, Frame::part(flags, part));
    };
    send(&mut harness, DataFlags::WHOLE, "nonsense");
    send(&mut harness, DataFlags::WHOLE, "");
    send(&mut harness, DataFlags::WHOLE, "[]");
    send(&mut harness, DataFlags::INIT, &" ".repeat(60));
    send(&mut harness, DataFlags::MIDDLE, &" ".repeat(60));
    send(&mut harness, DataFlags::FIN, "{}");
    let oversized = LineOversized {
        length: 1_000,
        limit: 100,
    };
    harness
        .rig
        .send(harness.client, line, Frame::flush(oversized));
    let codes: Vec<_> = harness.line_messages(line).iter().map(error).collect();
    let null = |code: i64| (Value::Null, code);
    assert_eq!(codes, [-32700, -32700, -32600, -32600, -32600].map(null));
    harness.end_line(line);
    harness.finish();
}

#[test]
fn a_response_of_the_client_is_accepted() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_line(line, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    harness.send_line(line, &notification("notifications/whatever", &json!({})));
    harness.end_line(line);
    harness.finish();
}

#[test]
fn a_line_has_256_requests_at_a_time_and_each_id_once() {
    let mut harness = harness();
    let line = harness.line();
    for id in 0..256 {
        harness.send_modern_line(line, &json!(id), "tools/call", named());
    }
    let asked = harness.exit_streams();
    assert_eq!(asked.len(), 256);
    harness.send_modern_line(line, &json!(256), "tools/call", named());
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(256), -32603));
    for asked in &asked[1..] {
        harness.reply(asked, "{}");
    }
    assert_eq!(harness.line_messages(line).len(), 255);
    harness.send_modern_line(line, &json!(0), "tools/call", named());
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(0), -32600));
    harness.reply(&asked[0], "{}");
    assert_eq!(harness.line_messages(line)[0]["id"], 0);
    harness.end_line(line);
    harness.finish();
}

#[test]
fn a_result_beyond_the_buffer_limit_is_an_error() {
    let mut harness = harness();
    let line = harness.line();
    harness.send_modern_line(line, &json!(1), "tools/call", named());
    let asked = harness.exit_stream();
    harness.begin(&asked);
    for _ in 0..300 {
        let part = Bytes::from(vec![b'x'; 60_000]);
        let exit = harness.exit;
        harness.rig.turn(exit, |cx| {
            if cx.is_sending(asked.stream) {
                cx.send(asked.stream, Frame::data(part));
            }
        });
    }
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(1), -32602));
    assert_eq!(harness.at_exit(&asked), ["reset", "abort"]);
    harness.end_line(line);
    harness.finish();
}

#[test]
fn buffered_results_of_a_worker_are_bounded() {
    let mut harness = harness();
    let line = harness.line();
    let part = Bytes::from(vec![b'x'; 60_000]);
    let mut held = Vec::new();
    // Each is below its own limit, and five exceed the limit of the worker.
    for id in 0..5 {
        harness.send_modern_line(line, &json!(id), "tools/call", named());
        let asked = harness.exit_stream();
        harness.begin(&asked);
        harness.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\"a\":\"")));
        for _ in 0..240 {
            let exit = harness.exit;
            harness.rig.turn(exit, |cx| {
                if cx.is_sending(asked.stream) {
                    cx.send(
                        asked.stream,
                        Frame::part(DataFlags::of(false, false), part.clone()),
                    );
                }
            });
        }
        let refused = harness.at_exit(&asked);
        assert_eq!(refused.is_empty(), id < 4, "{refused:?}");
        held.push(asked);
    }
    let messages = harness.line_messages(line);
    assert_eq!(error(&messages[0]), (json!(4), -32603));
    for asked in &held[..4] {
        harness.refuse(asked, McpResetKind::Unavailable);
    }
    assert_eq!(harness.line_messages(line).len(), 4);
    // Nothing counts any more.
    harness.send_modern_line(line, &json!(9), "tools/call", named());
    let asked = harness.exit_stream();
    harness.reply(&asked, "{}");
    assert_eq!(harness.line_messages(line)[0]["id"], 9);
    harness.end_line(line);
    harness.finish();
}

#[test]
fn updates_of_a_session_come_on_its_line() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-11-25");
    let params = json!({ "uri": "a" });
    harness.send_line(line, &request(&json!(1), "resources/subscribe", &params));
    let subscription = harness.exit_stream();
    assert_eq!(harness.line_messages(line), [] as [Value; 0]);
    harness.begin(&subscription);
    harness.update(&subscription, "a/b");
    let messages = harness.line_messages(line);
    assert_eq!(messages[0]["id"], 1);
    let told = json!({ "uri": "a/b" });
    assert_eq!(
        messages[1],
        notification("notifications/resources/updated", &told)
    );
    harness.end_line(line);
    assert_eq!(harness.at_exit(&subscription), ["end", "reset"]);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn the_exit_may_end_a_session_and_another_may_begin() {
    let mut harness = harness();
    let line = harness.line();
    let lifecycle = harness.line_session(line, "2025-11-25");
    harness.send_line(line, &request(&json!(1), "tools/call", &named()));
    let call = harness.exit_stream();
    harness.send_modern_line(line, &json!(2), "tools/call", named());
    let modern = harness.exit_stream();
    harness.exit_sends(&lifecycle, Frame::end());
    assert_eq!(harness.at_exit(&call), ["reset", "abort"]);
    assert_eq!(error(&harness.line_messages(line)[0]), (json!(1), -32001));
    harness.rig.frames(harness.exit, lifecycle.stream);
    harness.reply(&modern, "{}");
    assert_eq!(harness.line_messages(line)[0]["id"], 2);
    let lifecycle = harness.line_session(line, "2025-11-25");
    harness.end_line(line);
    assert_eq!(harness.at_exit(&lifecycle), ["end", "reset"]);
    harness.finish();
}

#[test]
fn input_is_not_read_from_a_client_that_does_not_read() {
    let mut harness = harness_with(Options::default(), 100);
    let line = harness.line();
    let id = json!("x".repeat(900));
    let message = Bytes::from(request(&id, "no/such", &with_meta(json!({}))).to_string());
    let said = |harness: &mut Harness| {
        let client = harness.client;
        let say = |cx: &mut tidegate_engine::Context<'_>| {
            let room = cx.credit(line) >= message.len();
            if room {
                cx.send(line, Frame::data(message.clone()));
            }
            room
        };
        (0..10_000)
            .take_while(|_| harness.rig.turn(client, say))
            .count()
    };
    let count = said(&mut harness);
    // The queued data, and its own window.
    assert!((250..400).contains(&count), "{count}");
    assert_eq!(said(&mut harness), 0);
    let mut messages = 0;
    loop {
        let frames = harness.rig.frames(harness.client, line);
        let lengths = frames.iter().map(|frame| match frame {
            Frame::Data(data) => data.payload.len(),
            _ => 0,
        });
        let read = lengths.sum::<usize>();
        if read == 0 {
            break;
        }
        messages += read;
        harness
            .rig
            .turn(harness.client, |cx| cx.acknowledge(line, read));
    }
    assert!(messages > count * 900, "{messages}");
    assert!(said(&mut harness) > 0, "it is messages again");
    harness.disconnect(line);
    harness.rig.outputs(harness.client);
    harness.finish();
}
