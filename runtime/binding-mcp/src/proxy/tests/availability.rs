//! Limits of the gateway, which say nothing about a toolkit.

use super::*;

/// Ends a toolkit's stream with a reset.
fn refuse(harness: &mut Harness, kit: usize, stream: StreamId, kind: McpResetKind) {
    let reset: ResetEx = McpReset::new(kind, "no").into();
    harness.rig.turn(harness.kits[kit], |cx| {
        cx.terminate(stream, Some(reset), None);
    });
}

#[test]
fn a_limit_of_the_gateway_is_no_outage_of_a_toolkit() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let mut lists = Vec::new();
    // The second list asks it again, at once.
    for _ in 0..2 {
        let stream = harness.open(McpToolsList::default());
        let (busy, _) = harness.opened(0);
        refuse(&mut harness, 0, busy, McpResetKind::Busy);
        if lists.is_empty() {
            let (good, _) = harness.opened(1);
            let tools = json!({ "tools": [{ "name": "x" }] });
            harness.reply(1, good, McpToolsList::default(), &tools);
            harness.rig.outputs(harness.kits[1]);
        }
        let (result, end) = harness.result(stream);
        assert_eq!(result, json!({ "tools": [{ "name": "b__x" }] }));
        assert_eq!(end.expect("an end").ttl_ms, Some(0));
        harness
            .rig
            .turn(harness.caller, |cx| cx.end(stream, Frame::end()));
        harness.rig.outputs(harness.kits[0]);
        lists.push(stream);
    }
    let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
    let events: Vec<&str> = events.map(|event| event.id).collect();
    assert_eq!(events, ["binding.mcp.toolkit.left_out"; 2]);
    harness.finish(lists[1]);
}

#[test]
fn a_limit_of_the_gateway_does_not_bring_a_toolkit_back() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let mut last = None;
    for (seconds, kind) in [(0, McpResetKind::Unavailable), (1, McpResetKind::Busy)] {
        harness.rig.advance(Duration::from_secs(seconds));
        let stream = harness.open(McpToolsList::default());
        let (asked, _) = harness.opened(0);
        refuse(&mut harness, 0, asked, kind);
        if seconds == 0 {
            let (good, _) = harness.opened(1);
            harness.reply(1, good, McpToolsList::default(), &json!({ "tools": [] }));
            harness.rig.outputs(harness.kits[1]);
        }
        harness.result(stream);
        harness
            .rig
            .turn(harness.caller, |cx| cx.end(stream, Frame::end()));
        harness.rig.outputs(harness.kits[0]);
        last = Some(stream);
    }
    let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
    let events: Vec<&str> = events.map(|event| event.id).collect();
    let back = "binding.mcp.toolkit.available";
    assert!(!events.contains(&back), "{events:?}");
    // It is asked again after the first pause, not after the deadline of a request that was never sent.
    harness.rig.advance(Duration::from_secs(1));
    let stream = harness.open(McpToolsList::default());
    let (asked, _) = harness.opened(0);
    harness.reply(0, asked, McpToolsList::default(), &json!({ "tools": [] }));
    harness.result(stream);
    let events = std::iter::from_fn(|| harness.rig.worker.poll_event());
    assert!(events.map(|event| event.id).any(|id| id == back));
    harness
        .rig
        .turn(harness.caller, |cx| cx.end(stream, Frame::end()));
    harness.rig.outputs(harness.kits[1]);
    harness.finish(last.expect("lists"));
}
