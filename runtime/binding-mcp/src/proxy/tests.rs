//! The proxy between a caller and its toolkits.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, Measures, StreamId};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpEnd, McpFlushEx, McpLifecycle, McpOutcome, McpReset,
    McpResetKind, McpResourcesList, McpResourcesRead, McpResourcesSubscribe, McpResourcesUpdated,
    McpToolsCall, McpToolsList, McpToolsListChanged,
};
use tidegate_streams::{BeginEx, DataFlags, EndEx, FlushEx, Frame, ResetEx};

use super::{McpProxy, Options, Route, Toolkit};

use self::harness::{Harness, harness, harness_pinned, harness_with};

mod availability;
mod differential;
mod federation;
mod harness;
mod sessions;

fn call(name: &str) -> McpToolsCall {
    McpToolsCall {
        name: name.into(),
        ..McpToolsCall::default()
    }
}

#[test]
fn a_transparent_proxy_passes_every_frame_unchanged() {
    let mut harness = harness(&[None]);
    let begin = McpToolsCall {
        session_id: Some("s".into()),
        content_length: 9,
        ..call("any__name")
    };
    let stream = harness.open(begin.clone());
    let (onward, seen) = harness.opened(0);
    assert_eq!(seen, McpBeginEx::ToolsCall(begin));
    let params = Bytes::from_static(b"{\"a\": 1}");
    harness
        .rig
        .send(harness.caller, stream, Frame::data(params.clone()));
    let frames = harness.rig.frames(harness.kits[0], onward);
    let [Frame::Data(data)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(
        data.payload.as_ptr(),
        params.as_ptr(),
        "the payload is not copied"
    );
    harness.rig.send(
        harness.kits[0],
        onward,
        Frame::begin(McpToolsCall::default()),
    );
    let result = Bytes::from_static(b"{\"content\":[]}");
    harness
        .rig
        .send(harness.kits[0], onward, Frame::data(result.clone()));
    let end = McpEnd {
        outcome: McpOutcome::Error,
        ..McpEnd::default()
    };
    harness
        .rig
        .send(harness.kits[0], onward, Frame::end_with(end.clone()));
    let frames = harness.rig.frames(harness.caller, stream);
    assert!(matches!(&frames[1], Frame::Data(data) if data.payload.as_ptr() == result.as_ptr()));
    assert_eq!(frames[2], Frame::end_with(end));
    harness.rig.send(harness.caller, stream, Frame::end());
    assert_eq!(harness.rig.frames(harness.kits[0], onward), [Frame::end()]);
    harness.rig.assert_idle();
}

#[test]
fn a_prefix_selects_the_toolkit_and_is_removed() {
    let mut harness = harness(&[Some("a"), Some("b-2")]);
    let stream = harness.open(call("b-2__pub__lish"));
    let (onward, begin) = harness.opened(1);
    let McpBeginEx::ToolsCall(seen) = begin else {
        panic!("{begin:?}")
    };
    assert_eq!(&*seen.name, "pub__lish");
    assert_eq!(harness.left(onward), Some(1_000));
    harness.reply(
        1,
        onward,
        McpToolsCall::default(),
        &json!({ "content": [] }),
    );
    assert_eq!(harness.result(stream).0, json!({ "content": [] }));
    harness.finish(stream);
}

#[test]
fn an_unknown_toolkit_is_refused_and_the_known_ones_are_listed() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    for name in ["publish", "c__publish", "a_publish", ""] {
        let stream = harness.open(call(name));
        let reset = harness.reset(stream);
        assert_eq!(reset.kind, McpResetKind::NotFound);
        assert!(reset.message.contains("a, b"), "{}", reset.message);
        harness
            .rig
            .turn(harness.caller, |cx| cx.terminate(stream, None, None));
    }
    harness.rig.assert_idle();
}

#[test]
fn uris_of_results_and_updates_get_the_prefix() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let uri = "b+mqtt://t".into();
    let stream = harness.open(McpResourcesRead {
        uri,
        ..McpResourcesRead::default()
    });
    let (onward, begin) = harness.opened(1);
    assert!(matches!(begin, McpBeginEx::ResourcesRead(read) if &*read.uri == "mqtt://t"));
    let result = json!({ "contents": [{ "uri": "mqtt://t", "text": "mqtt://t" }] });
    harness.reply(1, onward, McpResourcesRead::default(), &result);
    let expected = json!({ "contents": [{ "uri": "b+mqtt://t", "text": "mqtt://t" }] });
    assert_eq!(harness.result(stream).0, expected);
    harness.rig.send(harness.caller, stream, Frame::end());
    harness.rig.outputs(harness.kits[1]);

    let stream = harness.open(call("b__look"));
    let (onward, _) = harness.opened(1);
    let result = json!({ "content": [
        { "type": "text", "uri": "mqtt://t" },
        { "type": "resource_link", "uri": "mqtt://t" },
        { "type": "resource", "resource": { "text": "x", "uri": "mqtt://t" } },
    ]});
    harness.reply(1, onward, McpToolsCall::default(), &result);
    let content = harness.result(stream).0["content"].clone();
    assert_eq!(content[0]["uri"], "mqtt://t");
    assert_eq!(content[1]["uri"], "b+mqtt://t");
    assert_eq!(content[2]["resource"]["uri"], "b+mqtt://t");
    harness.rig.send(harness.caller, stream, Frame::end());
    harness.rig.outputs(harness.kits[1]);

    let uri = "a+mqtt://t".into();
    let stream = harness.open(McpResourcesSubscribe {
        uri,
        ..McpResourcesSubscribe::default()
    });
    let (onward, _) = harness.opened(0);
    harness.rig.send(
        harness.kits[0],
        onward,
        Frame::begin(McpResourcesSubscribe::default()),
    );
    let update = McpResourcesUpdated {
        uri: "mqtt://t".into(),
    };
    harness
        .rig
        .send(harness.kits[0], onward, Frame::flush(update));
    let frames = harness.rig.frames(harness.caller, stream);
    let updated = |frame: &Frame| {
        matches!(frame, Frame::Flush(flush)
        if matches!(&**flush, FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)) if &*updated.uri == "a+mqtt://t"))
    };
    assert!(updated(&frames[1]), "{frames:?}");
    harness.rig.send(harness.caller, stream, Frame::end());
    assert_eq!(harness.rig.frames(harness.kits[0], onward), [Frame::end()]);
    harness.rig.send(harness.kits[0], onward, Frame::end());
    harness.finish(stream);
}

#[test]
fn a_list_is_merged_in_the_order_of_the_routes() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let stream = harness.open(McpToolsList::default());
    let (first, _) = harness.opened(0);
    let (second, _) = harness.opened(1);
    // The second toolkit answers first, with its own members and white space.
    let kit = harness.kits[1];
    harness
        .rig
        .send(kit, second, Frame::begin(McpToolsList::default()));
    let text = Bytes::from_static(b"{ \"tools\" : [ {\"x\":[1.50], \"name\" : \"two\"} ] }");
    harness
        .rig
        .send(kit, second, Frame::part(DataFlags::INIT, text.slice(..20)));
    harness
        .rig
        .send(kit, second, Frame::part(DataFlags::FIN, text.slice(20..)));
    harness.rig.send(kit, second, Frame::end());
    assert!(
        harness.rig.frames(harness.caller, stream).is_empty(),
        "the list waits for the first toolkit"
    );
    harness.reply(
        0,
        first,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "one" }] }),
    );
    let (result, _) = harness.result(stream);
    let expected = json!({ "tools": [{ "name": "a__one" }, { "x": [1.50], "name": "b__two" }] });
    assert_eq!(result, expected);
    let mut measures = Measures::default();
    harness.rig.worker.report(&mut measures);
    assert_eq!(measures.value("binding", "mcp.proxy.lists"), 1);
    assert_eq!(measures.value("binding", "mcp.proxy.lists.incomplete"), 0);
    harness.finish(stream);
}

#[test]
fn resources_and_templates_are_both_merged() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let stream = harness.open(McpResourcesList::default());
    for kit in 0..2 {
        let (onward, _) = harness.opened(kit);
        let result = json!({
            "resources": [{ "uri": "mqtt://r", "name": "r" }],
            "resourceTemplates": [{ "uriTemplate": "mqtt://+", "name": "t" }],
        });
        harness.reply(kit, onward, McpResourcesList::default(), &result);
    }
    let (result, _) = harness.result(stream);
    assert_eq!(
        result["resources"][1],
        json!({ "uri": "b+mqtt://r", "name": "r" })
    );
    assert_eq!(result["resourceTemplates"][0]["uriTemplate"], "a+mqtt://+");
    harness.finish(stream);
}

#[test]
fn a_toolkit_that_fails_or_is_late_is_omitted() {
    let mut harness = harness(&[Some("a"), Some("b"), Some("c"), Some("d")]);
    let stream = harness.open(McpToolsList::default());
    let (refusing, _) = harness.opened(0);
    let (talking, _) = harness.opened(1);
    let (good, _) = harness.opened(2);
    let (late, _) = harness.opened(3);
    assert_eq!(harness.left(late), Some(10_000), "others may wait longer");
    harness
        .rig
        .turn(harness.kits[0], |cx| cx.terminate(refusing, None, None));
    harness.reply(1, talking, McpToolsList::default(), &json!("no list"));
    harness.reply(
        2,
        good,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "x" }] }),
    );
    assert!(harness.rig.frames(harness.caller, stream).is_empty());
    harness.rig.advance(Duration::from_millis(999));
    assert!(harness.rig.frames(harness.caller, stream).is_empty());
    harness.rig.advance(Duration::from_millis(1));
    assert_eq!(
        harness.result(stream).0,
        json!({ "tools": [{ "name": "c__x" }] })
    );
    let mut measures = Measures::default();
    harness.rig.worker.report(&mut measures);
    let figure = |name| measures.value("binding", name);
    assert_eq!(figure("mcp.proxy.lists"), 1);
    assert_eq!(figure("mcp.proxy.lists.incomplete"), 1);
    assert_eq!(figure("mcp.proxy.operations"), 0);
    let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
    let left_out = events.filter(|event| event.id == "binding.mcp.toolkit.left_out");
    let messages: Vec<String> = left_out.map(|event| event.message).collect();
    assert_eq!(
        messages,
        [
            "toolkit 'a' missing from toolsList: request refused",
            "toolkit 'b' missing from toolsList: invalid list result",
            "toolkit 'd' missing from toolsList: no response within the timeout",
        ]
    );
    harness.rig.advance(Duration::from_secs(10));
    harness.finish(stream);
}

#[test]
fn a_list_beyond_max_pages_is_truncated_with_an_event() {
    let options = Options {
        max_pages: 2,
        ..Options::default()
    };
    let mut harness = harness_with(&[Some("a")], options, 1 << 20);
    let stream = harness.open(McpToolsList::default());
    for page in 1..=2 {
        let outputs = harness.rig.outputs(harness.kits[0]);
        let onward = outputs.last().expect("a page is requested").at.stream;
        let tools = json!({ "tools": [{ "name": page.to_string() }], "nextCursor": "more" });
        harness.reply(0, onward, McpToolsList::default(), &tools);
    }
    let (result, end) = harness.result(stream);
    let expected = json!({ "tools": [{ "name": "a__1" }, { "name": "a__2" }] });
    assert_eq!(result, expected);
    assert_eq!(end.expect("an end").ttl_ms, Some(0));
    let event = harness.rig.worker.poll_event().expect("an event");
    assert_eq!(event.id, "binding.mcp.list.cut");
    assert_eq!(
        event.message,
        "toolsList of toolkit 'a' truncated after 2 pages (maxPages)"
    );
    let mut measures = Measures::default();
    harness.rig.worker.report(&mut measures);
    assert_eq!(measures.value("binding", "mcp.proxy.lists.incomplete"), 1);
    harness.finish(stream);
}

#[test]
fn a_list_that_every_toolkit_fails_is_refused_with_the_reasons() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let stream = harness.open(McpToolsList::default());
    let reset: ResetEx = McpReset::new(McpResetKind::Unavailable, "no broker").into();
    let (onward, _) = harness.opened(0);
    harness.rig.turn(harness.kits[0], |cx| {
        cx.terminate(onward, Some(reset), None);
    });
    harness.opened(1);
    harness.rig.advance(Duration::from_secs(11));
    let reset = harness.reset(stream);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert_eq!(
        &*reset.message,
        "No toolkit responded: a: no broker; b: no response within the timeout."
    );
    harness.finish(stream);
}

#[test]
fn all_pages_are_requested_and_merged_into_one() {
    let mut harness = harness(&[Some("a")]);
    let stream = harness.open(McpToolsList::default());
    let (onward, _) = harness.opened(0);
    let page = json!({ "tools": [{ "name": "x" }], "nextCursor": "p\"2" });
    harness.reply(0, onward, McpToolsList::default(), &page);
    let outputs = harness.rig.outputs(harness.kits[0]);
    let second = outputs
        .iter()
        .find(|output| matches!(output.frame, Frame::Begin(_)));
    let second = second.expect("another page is requested").at.stream;
    let params = outputs.iter().find_map(|output| match &output.frame {
        Frame::Data(data) => Some(data.payload.clone()),
        _ => None,
    });
    let params: Value = serde_json::from_slice(&params.expect("params")).expect("JSON");
    assert_eq!(params, json!({ "cursor": "p\"2" }));
    harness.reply(
        0,
        second,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "y" }] }),
    );
    let expected = json!({ "tools": [{ "name": "a__x" }, { "name": "a__y" }] });
    assert_eq!(harness.result(stream).0, expected);
    harness.finish(stream);
}

#[test]
fn a_large_result_passes_at_the_callers_pace() {
    let mut harness = harness_with(&[None], Options::default(), 1_000);
    let stream = harness.open(call("x"));
    let (onward, _) = harness.opened(0);
    harness.rig.send(
        harness.kits[0],
        onward,
        Frame::begin(McpToolsCall::default()),
    );
    let body: Vec<u8> = (0..200_000u32)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect();
    let (mut sent, mut received) = (0, Vec::new());
    while received.len() < body.len() {
        let kit = harness.kits[0];
        let credit = harness
            .rig
            .turn(kit, |cx| cx.credit(onward))
            .min(body.len() - sent);
        if credit > 0 {
            let payload = Bytes::copy_from_slice(&body[sent..sent + credit]);
            sent += credit;
            harness
                .rig
                .send(kit, onward, Frame::part(DataFlags::MIDDLE, payload));
        }
        assert!(
            sent - received.len() <= 64 * 1024 + 1_000,
            "no more waits than is granted"
        );
        harness.rig.outputs(kit);
        for frame in harness.rig.frames(harness.caller, stream) {
            if let Frame::Data(data) = frame {
                received.extend_from_slice(&data.payload);
                let length = data.payload.len();
                harness
                    .rig
                    .turn(harness.caller, |cx| cx.acknowledge(stream, length));
            }
        }
    }
    assert_eq!(received, body);
    harness
        .rig
        .turn(harness.caller, |cx| cx.terminate(stream, None, None));
    harness
        .rig
        .turn(harness.kits[0], |cx| cx.terminate(onward, None, None));
    harness.rig.outputs(harness.kits[0]);
    harness.rig.assert_idle();
}

#[test]
fn a_result_beyond_max_result_size_is_refused() {
    let options = Options {
        max_result_size: 100,
        ..Options::default()
    };
    let mut harness = harness_with(&[Some("a")], options, 1 << 20);
    let stream = harness.open(call("a__x"));
    let (onward, _) = harness.opened(0);
    harness.rig.send(
        harness.kits[0],
        onward,
        Frame::begin(McpToolsCall::default()),
    );
    harness.rig.send(
        harness.kits[0],
        onward,
        Frame::data(Bytes::from(vec![b' '; 101])),
    );
    assert_eq!(harness.reset(stream).kind, McpResetKind::TooLarge);
    harness
        .rig
        .turn(harness.kits[0], |cx| cx.terminate(onward, None, None));
    harness.finish(stream);
}

proptest! {
    // For any answer in any number of parts: no panic, and nothing remains.
    #[test]
    fn any_answer_is_handled(
        answers in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "\\{\"(tools|content|contents)\":\\[(\\{\"name\":[\"1]x\"?\\},?)*\\]\\}"
                    .prop_map(String::into_bytes),
            ],
            2,
        ),
        list in any::<bool>(),
    ) {
        let mut harness = harness(&[Some("a"), Some("b")]);
        let begin: BeginEx = if list { McpToolsList::default().into() } else { call("a__x").into() };
        let stream = harness.open(begin);
        for (kit, answer) in answers.into_iter().enumerate() {
            let id = harness.kits[kit];
            for output in harness.rig.outputs(id) {
                let onward = output.at.stream;
                harness.rig.send(id, onward, Frame::begin(McpToolsList::default()));
                harness.rig.send(id, onward, Frame::data(Bytes::from(answer.clone())));
                harness.rig.send(id, onward, Frame::end());
            }
        }
        harness.finish(stream);
    }
}

#[test]
fn a_stop_answers_a_list_without_late_toolkits() {
    let options = Options {
        deadline: 10_000,
        ..Options::default()
    };
    let mut harness = harness_with(&[Some("a"), Some("b")], options, 1 << 20);
    let list = McpToolsList::default();
    let stream = harness.rig.open(harness.caller, harness.proxy, list);
    let (good, _) = harness.opened(0);
    let (_late, _) = harness.opened(1);
    let tools = json!({ "tools": [{ "name": "x" }] });
    harness.reply(0, good, McpToolsList::default(), &tools);
    let now = harness.rig.now();
    harness
        .rig
        .worker
        .shutdown_within(now, Duration::from_secs(5));
    harness.rig.advance(Duration::from_millis(4_499));
    assert!(harness.rig.frames(harness.caller, stream).is_empty());
    harness.rig.advance(Duration::from_millis(1));
    let merged = json!({ "tools": [{ "name": "a__x" }] });
    assert_eq!(harness.result(stream).0, merged);
    harness.finish(stream);
}
