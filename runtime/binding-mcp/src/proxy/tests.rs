//! The proxy between a caller and its toolkits.

use bytes::Bytes;
use bytestring::ByteString;
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

use super::{McpProxy, Options, Route};

use self::house::{house, house_with};

mod house;
mod sessions;

fn call(name: &str) -> McpToolsCall {
    McpToolsCall {
        name: name.into(),
        ..McpToolsCall::default()
    }
}

#[test]
fn a_transparent_proxy_passes_every_frame_as_it_is() {
    let mut house = house(&[None]);
    let begin = McpToolsCall {
        session_id: Some("s".into()),
        content_length: 9,
        ..call("any__name")
    };
    let stream = house.open(begin.clone());
    let (onward, seen) = house.opened(0);
    assert_eq!(seen, McpBeginEx::ToolsCall(begin));
    let params = Bytes::from_static(b"{\"a\": 1}");
    house
        .rig
        .send(house.caller, stream, Frame::data(params.clone()));
    let frames = house.rig.frames(house.kits[0], onward);
    let [Frame::Data(data)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(
        data.payload.as_ptr(),
        params.as_ptr(),
        "the payload stays where it is"
    );
    house
        .rig
        .send(house.kits[0], onward, Frame::begin(McpToolsCall::default()));
    let result = Bytes::from_static(b"{\"content\":[]}");
    house
        .rig
        .send(house.kits[0], onward, Frame::data(result.clone()));
    let end = McpEnd {
        outcome: McpOutcome::Error,
        ..McpEnd::default()
    };
    house
        .rig
        .send(house.kits[0], onward, Frame::end_with(end.clone()));
    let frames = house.rig.frames(house.caller, stream);
    assert!(matches!(&frames[1], Frame::Data(data) if data.payload.as_ptr() == result.as_ptr()));
    assert_eq!(frames[2], Frame::end_with(end));
    house.rig.send(house.caller, stream, Frame::end());
    assert_eq!(house.rig.frames(house.kits[0], onward), [Frame::end()]);
    house.rig.assert_idle();
}

#[test]
fn a_prefix_decides_the_toolkit_and_comes_off() {
    let mut house = house(&[Some("a"), Some("b-2")]);
    let stream = house.open(call("b-2__pub__lish"));
    let (onward, begin) = house.opened(1);
    let McpBeginEx::ToolsCall(seen) = begin else {
        panic!("{begin:?}")
    };
    assert_eq!(&*seen.name, "pub__lish");
    assert_eq!(house.left(onward), Some(1_000));
    house.reply(
        1,
        onward,
        McpToolsCall::default(),
        &json!({ "content": [] }),
    );
    assert_eq!(house.result(stream).0, json!({ "content": [] }));
    house.finish(stream);
}

#[test]
fn an_unknown_toolkit_is_refused_with_the_known_ones() {
    let mut house = house(&[Some("a"), Some("b")]);
    for name in ["publish", "c__publish", "a_publish", ""] {
        let stream = house.open(call(name));
        let reset = house.reset(stream);
        assert_eq!(reset.kind, McpResetKind::NotFound);
        assert!(reset.message.contains("a, b"), "{}", reset.message);
        house
            .rig
            .turn(house.caller, |cx| cx.terminate(stream, None, None));
    }
    house.rig.assert_idle();
}

#[test]
fn uris_of_results_and_updates_get_the_prefix() {
    let mut house = house(&[Some("a"), Some("b")]);
    let uri = "b+mqtt://t".into();
    let stream = house.open(McpResourcesRead {
        uri,
        ..McpResourcesRead::default()
    });
    let (onward, begin) = house.opened(1);
    assert!(matches!(begin, McpBeginEx::ResourcesRead(read) if &*read.uri == "mqtt://t"));
    let result = json!({ "contents": [{ "uri": "mqtt://t", "text": "mqtt://t" }] });
    house.reply(1, onward, McpResourcesRead::default(), &result);
    let expected = json!({ "contents": [{ "uri": "b+mqtt://t", "text": "mqtt://t" }] });
    assert_eq!(house.result(stream).0, expected);
    house.rig.send(house.caller, stream, Frame::end());
    house.rig.outputs(house.kits[1]);

    let stream = house.open(call("b__look"));
    let (onward, _) = house.opened(1);
    let result = json!({ "content": [
        { "type": "text", "uri": "mqtt://t" },
        { "type": "resource_link", "uri": "mqtt://t" },
        { "type": "resource", "resource": { "text": "x", "uri": "mqtt://t" } },
    ]});
    house.reply(1, onward, McpToolsCall::default(), &result);
    let content = house.result(stream).0["content"].clone();
    assert_eq!(content[0]["uri"], "mqtt://t");
    assert_eq!(content[1]["uri"], "b+mqtt://t");
    assert_eq!(content[2]["resource"]["uri"], "b+mqtt://t");
    house.rig.send(house.caller, stream, Frame::end());
    house.rig.outputs(house.kits[1]);

    let uri = "a+mqtt://t".into();
    let stream = house.open(McpResourcesSubscribe {
        uri,
        ..McpResourcesSubscribe::default()
    });
    let (onward, _) = house.opened(0);
    house.rig.send(
        house.kits[0],
        onward,
        Frame::begin(McpResourcesSubscribe::default()),
    );
    let update = McpResourcesUpdated {
        uri: "mqtt://t".into(),
    };
    house.rig.send(house.kits[0], onward, Frame::flush(update));
    let frames = house.rig.frames(house.caller, stream);
    let updated = |frame: &Frame| {
        matches!(frame, Frame::Flush(flush)
        if matches!(&**flush, FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)) if &*updated.uri == "a+mqtt://t"))
    };
    assert!(updated(&frames[1]), "{frames:?}");
    house.rig.send(house.caller, stream, Frame::end());
    assert_eq!(house.rig.frames(house.kits[0], onward), [Frame::end()]);
    house.rig.send(house.kits[0], onward, Frame::end());
    house.finish(stream);
}

#[test]
fn a_list_is_put_together_in_the_order_of_the_routes() {
    let mut house = house(&[Some("a"), Some("b")]);
    let stream = house.open(McpToolsList::default());
    let (first, _) = house.opened(0);
    let (second, _) = house.opened(1);
    // The second toolkit answers first, with members of its own and white space.
    let kit = house.kits[1];
    house
        .rig
        .send(kit, second, Frame::begin(McpToolsList::default()));
    let text = Bytes::from_static(b"{ \"tools\" : [ {\"x\":[1.50], \"name\" : \"two\"} ] }");
    house
        .rig
        .send(kit, second, Frame::part(DataFlags::INIT, text.slice(..20)));
    house
        .rig
        .send(kit, second, Frame::part(DataFlags::FIN, text.slice(20..)));
    house.rig.send(kit, second, Frame::end());
    assert!(
        house.rig.frames(house.caller, stream).is_empty(),
        "the first is waited for"
    );
    house.reply(
        0,
        first,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "one" }] }),
    );
    let (result, _) = house.result(stream);
    let expected = json!({ "tools": [{ "name": "a__one" }, { "x": [1.50], "name": "b__two" }] });
    assert_eq!(result, expected);
    house.finish(stream);
}

#[test]
fn resources_and_templates_are_both_merged() {
    let mut house = house(&[Some("a"), Some("b")]);
    let stream = house.open(McpResourcesList::default());
    for kit in 0..2 {
        let (onward, _) = house.opened(kit);
        let result = json!({
            "resources": [{ "uri": "mqtt://r", "name": "r" }],
            "resourceTemplates": [{ "uriTemplate": "mqtt://+", "name": "t" }],
        });
        house.reply(kit, onward, McpResourcesList::default(), &result);
    }
    let (result, _) = house.result(stream);
    assert_eq!(
        result["resources"][1],
        json!({ "uri": "b+mqtt://r", "name": "r" })
    );
    assert_eq!(result["resourceTemplates"][0]["uriTemplate"], "a+mqtt://+");
    house.finish(stream);
}

#[test]
fn a_toolkit_that_fails_or_is_late_is_left_out() {
    let mut house = house(&[Some("a"), Some("b"), Some("c"), Some("d")]);
    let stream = house.open(McpToolsList::default());
    let (refusing, _) = house.opened(0);
    let (talking, _) = house.opened(1);
    let (good, _) = house.opened(2);
    let (late, _) = house.opened(3);
    assert_eq!(house.left(late), Some(900));
    house
        .rig
        .turn(house.kits[0], |cx| cx.terminate(refusing, None, None));
    house.reply(1, talking, McpToolsList::default(), &json!("no list"));
    house.reply(
        2,
        good,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "x" }] }),
    );
    assert!(house.rig.frames(house.caller, stream).is_empty());
    house.rig.advance(Duration::from_millis(999));
    assert!(house.rig.frames(house.caller, stream).is_empty());
    house.rig.advance(Duration::from_millis(1));
    assert_eq!(
        house.result(stream).0,
        json!({ "tools": [{ "name": "c__x" }] })
    );
    let mut measures = Measures::default();
    house.rig.worker.report(&mut measures);
    let figure = |name| measures.value("binding", name);
    assert_eq!(figure("mcp.proxy.lists"), 1);
    assert_eq!(figure("mcp.proxy.lists.incomplete"), 1);
    assert_eq!(figure("mcp.proxy.operations"), 0);
    let told = std::iter::from_fn(|| house.rig.worker.poll_event());
    let told: Vec<String> = told.map(|event| event.message).collect();
    assert_eq!(
        told,
        [
            "toolkit 'a' is left out of toolsList: it refused",
            "toolkit 'b' is left out of toolsList: its answer is no list",
            "toolkit 'd' is left out of toolsList: it did not answer in time",
        ]
    );
    house.finish(stream);
}

#[test]
fn a_list_of_too_many_pages_is_cut_and_operators_are_told() {
    let options = Options {
        max_pages: 2,
        ..Options::default()
    };
    let mut house = house_with(&[Some("a")], options, 1 << 20);
    let stream = house.open(McpToolsList::default());
    for page in 1..=2 {
        let outputs = house.rig.outputs(house.kits[0]);
        let onward = outputs.last().expect("a page is asked for").at.stream;
        let tools = json!({ "tools": [{ "name": page.to_string() }], "nextCursor": "more" });
        house.reply(0, onward, McpToolsList::default(), &tools);
    }
    let (result, end) = house.result(stream);
    let expected = json!({ "tools": [{ "name": "a__1" }, { "name": "a__2" }] });
    assert_eq!(result, expected);
    assert_eq!(end.expect("an end").ttl_ms, Some(0));
    let event = house.rig.worker.poll_event().expect("an event");
    assert_eq!(event.id, "binding.mcp.list.cut");
    assert_eq!(
        event.message,
        "toolsList of toolkit 'a' is cut after 2 pages (maxPages)"
    );
    let mut measures = Measures::default();
    house.rig.worker.report(&mut measures);
    assert_eq!(measures.value("binding", "mcp.proxy.lists.incomplete"), 1);
    house.finish(stream);
}

#[test]
fn a_list_that_no_toolkit_gives_is_refused_with_the_reasons() {
    let mut house = house(&[Some("a"), Some("b")]);
    let stream = house.open(McpToolsList::default());
    let reset: ResetEx = McpReset::new(McpResetKind::Unavailable, "no broker").into();
    let (onward, _) = house.opened(0);
    house
        .rig
        .turn(house.kits[0], |cx| cx.terminate(onward, Some(reset), None));
    house.opened(1);
    house.rig.advance(Duration::from_secs(10));
    let reset = house.reset(stream);
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert_eq!(
        &*reset.message,
        "No toolkit has answered: a: no broker; b: it did not answer in time."
    );
    house.finish(stream);
}

#[test]
fn further_pages_are_asked_for_and_the_list_has_none() {
    let mut house = house(&[Some("a")]);
    let stream = house.open(McpToolsList::default());
    let (onward, _) = house.opened(0);
    let page = json!({ "tools": [{ "name": "x" }], "nextCursor": "p\"2" });
    house.reply(0, onward, McpToolsList::default(), &page);
    let outputs = house.rig.outputs(house.kits[0]);
    let second = outputs
        .iter()
        .find(|output| matches!(output.frame, Frame::Begin(_)));
    let second = second.expect("another page is asked for").at.stream;
    let params = outputs.iter().find_map(|output| match &output.frame {
        Frame::Data(data) => Some(data.payload.clone()),
        _ => None,
    });
    let params: Value = serde_json::from_slice(&params.expect("params")).expect("JSON");
    assert_eq!(params, json!({ "cursor": "p\"2" }));
    house.reply(
        0,
        second,
        McpToolsList::default(),
        &json!({ "tools": [{ "name": "y" }] }),
    );
    let expected = json!({ "tools": [{ "name": "a__x" }, { "name": "a__y" }] });
    assert_eq!(house.result(stream).0, expected);
    house.finish(stream);
}

#[test]
fn a_large_result_passes_at_the_callers_pace() {
    let mut house = house_with(&[None], Options::default(), 1_000);
    let stream = house.open(call("x"));
    let (onward, _) = house.opened(0);
    house
        .rig
        .send(house.kits[0], onward, Frame::begin(McpToolsCall::default()));
    let body: Vec<u8> = (0..200_000u32)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect();
    let (mut sent, mut received) = (0, Vec::new());
    while received.len() < body.len() {
        let kit = house.kits[0];
        let credit = house
            .rig
            .turn(kit, |cx| cx.credit(onward))
            .min(body.len() - sent);
        if credit > 0 {
            let payload = Bytes::copy_from_slice(&body[sent..sent + credit]);
            sent += credit;
            house
                .rig
                .send(kit, onward, Frame::part(DataFlags::MIDDLE, payload));
        }
        assert!(
            sent - received.len() <= 64 * 1024 + 1_000,
            "no more waits than is granted"
        );
        house.rig.outputs(kit);
        for frame in house.rig.frames(house.caller, stream) {
            if let Frame::Data(data) = frame {
                received.extend_from_slice(&data.payload);
                let length = data.payload.len();
                house
                    .rig
                    .turn(house.caller, |cx| cx.acknowledge(stream, length));
            }
        }
    }
    assert_eq!(received, body);
    house
        .rig
        .turn(house.caller, |cx| cx.terminate(stream, None, None));
    house
        .rig
        .turn(house.kits[0], |cx| cx.terminate(onward, None, None));
    house.rig.outputs(house.kits[0]);
    house.rig.assert_idle();
}

#[test]
fn a_result_that_is_too_large_to_be_rewritten_is_refused() {
    let options = Options {
        max_result_size: 100,
        ..Options::default()
    };
    let mut house = house_with(&[Some("a")], options, 1 << 20);
    let stream = house.open(call("a__x"));
    let (onward, _) = house.opened(0);
    house
        .rig
        .send(house.kits[0], onward, Frame::begin(McpToolsCall::default()));
    house.rig.send(
        house.kits[0],
        onward,
        Frame::data(Bytes::from(vec![b' '; 101])),
    );
    assert_eq!(house.reset(stream).kind, McpResetKind::TooLarge);
    house
        .rig
        .turn(house.kits[0], |cx| cx.terminate(onward, None, None));
    house.finish(stream);
}

proptest! {
    // Whatever a toolkit answers, and however it is parted: no panic, and nothing is left.
    #[test]
    fn any_answer_is_survived(
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
        let mut house = house(&[Some("a"), Some("b")]);
        let begin: BeginEx = if list { McpToolsList::default().into() } else { call("a__x").into() };
        let stream = house.open(begin);
        for (kit, answer) in answers.into_iter().enumerate() {
            let id = house.kits[kit];
            for output in house.rig.outputs(id) {
                let onward = output.at.stream;
                house.rig.send(id, onward, Frame::begin(McpToolsList::default()));
                house.rig.send(id, onward, Frame::data(Bytes::from(answer.clone())));
                house.rig.send(id, onward, Frame::end());
            }
        }
        house.finish(stream);
    }
}

#[test]
fn as_the_engine_stops_a_list_is_answered_in_time_without_those_that_are_late() {
    let mut house = house(&[Some("a"), Some("b")]);
    let list = McpToolsList::default();
    let stream = house.rig.open(house.caller, house.proxy, list);
    let (good, _) = house.opened(0);
    let (_late, _) = house.opened(1);
    let tools = json!({ "tools": [{ "name": "x" }] });
    house.reply(0, good, McpToolsList::default(), &tools);
    let now = house.rig.now();
    house
        .rig
        .worker
        .shutdown_within(now, Duration::from_secs(5));
    house.rig.advance(Duration::from_millis(4_499));
    assert!(house.rig.frames(house.caller, stream).is_empty());
    house.rig.advance(Duration::from_millis(1));
    let merged = json!({ "tools": [{ "name": "a__x" }] });
    assert_eq!(house.result(stream).0, merged);
    house.finish(stream);
}
