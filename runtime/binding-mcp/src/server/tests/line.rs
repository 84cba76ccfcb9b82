//! Line streams: every message on one channel.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::Duration;
use tidegate_streams::line::LineOversized;
use tidegate_streams::mcp::{McpLog, McpProgress, McpResetKind};
use tidegate_streams::{DataFlags, Frame};

use super::{House, house, house_with, notification, request, with_meta};
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
fn modern_requests_are_answered_as_their_results_come() {
    let mut house = house();
    let line = house.line();
    house.say_modern(line, &json!(1), "tools/call", named());
    house.say_modern(line, &json!("b"), "resources/read", json!({ "uri": "u" }));
    let [first, second] = <[_; 2]>::try_from(house.all_asked()).expect("two");
    assert_eq!(first.params(), with_meta(named()));
    assert_eq!(first.begin.session_id(), None);
    house.reply(&second, "{\n\"contents\":\r\n[]}");
    house.reply(&first, "{\"content\":[]}");
    let heard = house.heard(line);
    assert_eq!(heard[0]["id"], "b");
    assert_eq!(heard[0]["result"]["ttlMs"], 0);
    assert_eq!(heard[1]["id"], 1);
    assert_eq!(heard[1]["result"]["resultType"], "complete");
    house.end_line(line);
    house.done();
}

#[test]
fn a_modern_request_must_say_who_asks() {
    let mut house = house();
    let line = house.line();
    house.say(line, &request(&json!(1), "tools/list", &json!({})));
    let mut params = with_meta(json!({}));
    params["_meta"][super::VERSION] = json!("1900-01-01");
    house.say(line, &request(&json!(2), "tools/list", &params));
    house.say_modern(line, &json!(3), "no/such", json!({}));
    let codes: Vec<_> = house.heard(line).iter().map(error).collect();
    assert_eq!(
        codes,
        [(json!(1), -32602), (json!(2), -32022), (json!(3), -32601)]
    );
    house.end_line(line);
    house.done();
}

#[test]
fn a_legacy_session_lasts_as_long_as_its_line() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-11-25");
    house.say(line, &notification("notifications/initialized", &json!({})));
    house.say(line, &request(&json!(1), "tools/call", &named()));
    let asked = house.asked();
    assert_eq!(asked.begin.session_id().map(|id| &**id), Some("s-1"));
    house.reply(&asked, "{\"content\":[]}");
    let result = json!({ "content": [] });
    assert_eq!(
        house.heard(line),
        [json!({ "jsonrpc": "2.0", "id": 1, "result": result })]
    );
    // There is no time without a request for it.
    house.rig.advance(Duration::from_millis(3_600_000));
    assert!(house.at_exit(&lifecycle).is_empty());
    house.end_line(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_line_has_one_session() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-11-25");
    let params = json!({ "protocolVersion": "2025-11-25" });
    house.say(line, &request(&json!(1), "initialize", &params));
    assert_eq!(error(&house.heard(line)[0]), (json!(1), -32600));
    house.nothing_asked();
    // A modern request beside it is not part of it.
    house.say_modern(line, &json!(2), "tools/call", named());
    let asked = house.asked();
    assert_eq!(asked.begin.session_id(), None);
    house.reply(&asked, "{}");
    assert_eq!(house.heard(line)[0]["result"]["resultType"], "complete");
    house.end_line(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_session_that_is_refused_may_be_asked_for_again() {
    let mut house = house();
    let line = house.line();
    let params = json!({ "protocolVersion": "2025-11-25" });
    house.say(line, &request(&json!(1), "initialize", &params));
    let asked = house.asked();
    house.refuse(&asked, McpResetKind::Unavailable);
    assert_eq!(error(&house.heard(line)[0]), (json!(1), -32603));
    let lifecycle = house.line_session(line, "2025-11-25");
    house.end_line(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_request_is_cancelled_by_its_id() {
    for legacy in [false, true] {
        let mut house = house();
        let line = house.line();
        let lifecycle = legacy.then(|| house.line_session(line, "2025-11-25"));
        let params = if legacy { named() } else { with_meta(named()) };
        house.say(line, &request(&json!("7"), "tools/call", &params));
        let asked = house.asked();
        for (id, frames) in [(json!(7), &[][..]), (json!("7"), &["reset", "abort"][..])] {
            let params = json!({ "requestId": id, "reason": "enough" });
            house.say(line, &notification("notifications/cancelled", &params));
            assert_eq!(house.at_exit(&asked), frames, "{id}");
        }
        for params in [
            json!({ "requestId": "7" }),
            json!({}),
            json!({ "requestId": [] }),
        ] {
            house.say(line, &notification("notifications/cancelled", &params));
        }
        house.end_line(line);
        if let Some(lifecycle) = lifecycle {
            assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
        }
        house.done();
    }
}

#[test]
fn progress_and_log_messages_come_before_the_answer() {
    let mut house = house();
    let line = house.line();
    let meta = json!({ "progressToken": "p", "io.modelcontextprotocol/logLevel": "info" });
    let params = json!({ "name": "t", "_meta": meta });
    house.say_modern(line, &json!(1), "tools/call", params);
    let asked = house.asked();
    house.begin(&asked);
    house.exit_sends(
        &asked,
        Frame::flush(McpProgress {
            progress: "0.5".into(),
            ..McpProgress::default()
        }),
    );
    house.exit_sends(
        &asked,
        Frame::flush(McpLog {
            params: Bytes::from_static(b"{\"level\":\"info\",\n\"data\":1}"),
        }),
    );
    house.exit_sends(&asked, Frame::end());
    assert_eq!(house.at_exit(&asked), ["end"]);
    let heard = house.heard(line);
    let progress = json!({ "progressToken": "p", "progress": 0.5 });
    assert_eq!(heard[0], notification("notifications/progress", &progress));
    let log = json!({ "level": "info", "data": 1 });
    assert_eq!(heard[1], notification("notifications/message", &log));
    assert_eq!(heard[2]["id"], 1);
    house.end_line(line);
    house.done();
}

#[test]
fn the_end_of_input_lets_what_is_under_way_be_answered() {
    let mut house = house();
    let line = house.line();
    house.say_modern(line, &json!(1), "tools/call", named());
    house.say_modern(line, &json!(2), "server/discover", json!({}));
    let [call, discover] = <[_; 2]>::try_from(house.all_asked()).expect("two");
    house.rig.send(house.client, line, Frame::end());
    assert_eq!(house.heard(line), [] as [Value; 0]);
    house.reply(&call, "{}");
    assert_eq!(house.heard(line)[0]["id"], 1);
    house.lifecycle_begun(&discover);
    assert_eq!(house.at_exit(&discover), ["end", "reset"]);
    let (heard, ended) = house.heard_last(line);
    assert_eq!((&heard[0]["id"], ended), (&json!(2), true));
    house.done();
}

#[test]
fn the_end_of_input_while_a_session_begins_lets_it_be_answered() {
    let mut house = house();
    let line = house.line();
    let params = json!({ "protocolVersion": "2025-11-25" });
    house.say(line, &request(&json!(1), "initialize", &params));
    let lifecycle = house.asked();
    house.rig.send(house.client, line, Frame::end());
    house.lifecycle_begun(&lifecycle);
    let (heard, ended) = house.heard_last(line);
    assert_eq!((&heard[0]["id"], ended), (&json!(1), true));
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_client_that_reads_slowly_gets_all_before_the_end() {
    let mut house = house_with(Options::default(), 10);
    let line = house.line();
    house.say(line, &json!({}));
    house.rig.send(house.client, line, Frame::end());
    let (mut text, mut ended) = (Vec::new(), false);
    while !ended {
        for frame in house.rig.frames(house.client, line) {
            match frame {
                Frame::Data(data) => {
                    text.extend_from_slice(&data.payload);
                    let length = data.payload.len();
                    house
                        .rig
                        .turn(house.client, |cx| cx.acknowledge(line, length));
                }
                Frame::End(_) => ended = true,
                other => panic!("{other:?}"),
            }
        }
    }
    let message: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(error(&message), (Value::Null, -32600));
    house.done();
}

#[test]
fn a_line_that_breaks_cancels_what_is_under_way() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-03-26");
    house.say(line, &request(&json!(1), "tools/call", &named()));
    let batch = json!([request(&json!(2), "tools/call", &named())]);
    house.say(line, &batch);
    house.say_modern(line, &json!(3), "server/discover", json!({}));
    let asked = house.all_asked();
    assert_eq!(asked.len(), 3);
    house.leave(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    assert_eq!(house.at_exit(&asked[0]), ["reset", "abort"]);
    assert_eq!(house.at_exit(&asked[1]), ["reset", "abort"]);
    // What the exit can do is worth knowing all the same.
    house.lifecycle_begun(&asked[2]);
    assert_eq!(house.at_exit(&asked[2]), ["end", "reset"]);
    house.done();
}

#[test]
fn what_cannot_be_read_is_answered_and_the_line_goes_on() {
    let options = Options {
        max_message_size: 100,
        ..Options::default()
    };
    let mut house = house_with(options, 1 << 20);
    let line = house.line();
    let send = |house: &mut House, flags, text: &str| {
        let part = Bytes::copy_from_slice(text.as_bytes());
        house.rig.send(house.client, line, Frame::part(flags, part));
    };
    send(&mut house, DataFlags::WHOLE, "nonsense");
    send(&mut house, DataFlags::WHOLE, "");
    send(&mut house, DataFlags::WHOLE, "[]");
    send(&mut house, DataFlags::INIT, &" ".repeat(60));
    send(&mut house, DataFlags::MIDDLE, &" ".repeat(60));
    send(&mut house, DataFlags::FIN, "{}");
    let oversized = LineOversized {
        length: 1_000,
        limit: 100,
    };
    house.rig.send(house.client, line, Frame::flush(oversized));
    let codes: Vec<_> = house.heard(line).iter().map(error).collect();
    let null = |code: i64| (Value::Null, code);
    assert_eq!(codes, [-32700, -32700, -32600, -32600, -32600].map(null));
    house.end_line(line);
    house.done();
}

#[test]
fn an_answer_of_the_client_is_taken_and_not_answered() {
    let mut house = house();
    let line = house.line();
    house.say(line, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
    house.say(line, &notification("notifications/whatever", &json!({})));
    house.end_line(line);
    house.done();
}

#[test]
fn a_line_has_256_requests_at_a_time_and_each_id_once() {
    let mut house = house();
    let line = house.line();
    for id in 0..256 {
        house.say_modern(line, &json!(id), "tools/call", named());
    }
    let asked = house.all_asked();
    assert_eq!(asked.len(), 256);
    house.say_modern(line, &json!(256), "tools/call", named());
    assert_eq!(error(&house.heard(line)[0]), (json!(256), -32603));
    for asked in &asked[1..] {
        house.reply(asked, "{}");
    }
    assert_eq!(house.heard(line).len(), 255);
    house.say_modern(line, &json!(0), "tools/call", named());
    assert_eq!(error(&house.heard(line)[0]), (json!(0), -32600));
    house.reply(&asked[0], "{}");
    assert_eq!(house.heard(line)[0]["id"], 0);
    house.end_line(line);
    house.done();
}

#[test]
fn a_result_beyond_what_is_held_is_an_error() {
    let mut house = house();
    let line = house.line();
    house.say_modern(line, &json!(1), "tools/call", named());
    let asked = house.asked();
    house.begin(&asked);
    for _ in 0..300 {
        let part = Bytes::from(vec![b'x'; 60_000]);
        let exit = house.exit;
        house.rig.turn(exit, |cx| {
            if cx.is_sending(asked.stream) {
                cx.send(asked.stream, Frame::data(part));
            }
        });
    }
    assert_eq!(error(&house.heard(line)[0]), (json!(1), -32602));
    assert_eq!(house.at_exit(&asked), ["reset", "abort"]);
    house.end_line(line);
    house.done();
}

#[test]
fn results_that_are_held_together_are_bounded() {
    let mut house = house();
    let line = house.line();
    let part = Bytes::from(vec![b'x'; 60_000]);
    let mut held = Vec::new();
    // Each is within its own bound, and five are beyond that of all.
    for id in 0..5 {
        house.say_modern(line, &json!(id), "tools/call", named());
        let asked = house.asked();
        house.begin(&asked);
        house.exit_sends(&asked, Frame::data(Bytes::from_static(b"{\"a\":\"")));
        for _ in 0..240 {
            let exit = house.exit;
            house.rig.turn(exit, |cx| {
                if cx.is_sending(asked.stream) {
                    cx.send(
                        asked.stream,
                        Frame::part(DataFlags::of(false, false), part.clone()),
                    );
                }
            });
        }
        let refused = house.at_exit(&asked);
        assert_eq!(refused.is_empty(), id < 4, "{refused:?}");
        held.push(asked);
    }
    let heard = house.heard(line);
    assert_eq!(error(&heard[0]), (json!(4), -32603));
    for asked in &held[..4] {
        house.refuse(asked, McpResetKind::Unavailable);
    }
    assert_eq!(house.heard(line).len(), 4);
    // Nothing counts any more.
    house.say_modern(line, &json!(9), "tools/call", named());
    let asked = house.asked();
    house.reply(&asked, "{}");
    assert_eq!(house.heard(line)[0]["id"], 9);
    house.end_line(line);
    house.done();
}

#[test]
fn updates_of_a_session_come_on_its_line() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-11-25");
    let params = json!({ "uri": "a" });
    house.say(line, &request(&json!(1), "resources/subscribe", &params));
    let subscription = house.asked();
    assert_eq!(house.heard(line), [] as [Value; 0]);
    house.begin(&subscription);
    house.update(&subscription, "a/b");
    let heard = house.heard(line);
    assert_eq!(heard[0]["id"], 1);
    let told = json!({ "uri": "a/b" });
    assert_eq!(
        heard[1],
        notification("notifications/resources/updated", &told)
    );
    house.end_line(line);
    assert_eq!(house.at_exit(&subscription), ["end", "reset"]);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn the_exit_may_end_a_session_and_another_may_begin() {
    let mut house = house();
    let line = house.line();
    let lifecycle = house.line_session(line, "2025-11-25");
    house.say(line, &request(&json!(1), "tools/call", &named()));
    let call = house.asked();
    house.say_modern(line, &json!(2), "tools/call", named());
    let modern = house.asked();
    house.exit_sends(&lifecycle, Frame::end());
    assert_eq!(house.at_exit(&call), ["reset", "abort"]);
    assert_eq!(error(&house.heard(line)[0]), (json!(1), -32001));
    house.rig.frames(house.exit, lifecycle.stream);
    house.reply(&modern, "{}");
    assert_eq!(house.heard(line)[0]["id"], 2);
    let lifecycle = house.line_session(line, "2025-11-25");
    house.end_line(line);
    assert_eq!(house.at_exit(&lifecycle), ["end", "reset"]);
    house.done();
}

#[test]
fn a_client_that_does_not_read_is_not_heard_any_more() {
    let mut house = house_with(Options::default(), 100);
    let line = house.line();
    let id = json!("x".repeat(900));
    let message = Bytes::from(request(&id, "no/such", &with_meta(json!({}))).to_string());
    let said = |house: &mut House| {
        let client = house.client;
        let say = |cx: &mut tidegate_engine::Context<'_>| {
            let room = cx.credit(line) >= message.len();
            if room {
                cx.send(line, Frame::data(message.clone()));
            }
            room
        };
        (0..10_000)
            .take_while(|_| house.rig.turn(client, say))
            .count()
    };
    let count = said(&mut house);
    // What waits for it, and its own window.
    assert!((250..400).contains(&count), "{count}");
    assert_eq!(said(&mut house), 0);
    let mut heard = 0;
    loop {
        let frames = house.rig.frames(house.client, line);
        let lengths = frames.iter().map(|frame| match frame {
            Frame::Data(data) => data.payload.len(),
            _ => 0,
        });
        let read = lengths.sum::<usize>();
        if read == 0 {
            break;
        }
        heard += read;
        house
            .rig
            .turn(house.client, |cx| cx.acknowledge(line, read));
    }
    assert!(heard > count * 900, "{heard}");
    assert!(said(&mut house) > 0, "it is heard again");
    house.leave(line);
    house.rig.outputs(house.client);
    house.done();
}
