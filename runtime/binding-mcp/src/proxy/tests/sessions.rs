//! One session with the caller, one with each toolkit.

use super::*;

#[test]
fn each_hop_has_its_own_session_identity() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let session = harness.open(McpLifecycle::default());
    let capabilities = [
        McpCapabilities::SERVER_TOOLS,
        McpCapabilities::SERVER_RESOURCES,
    ];
    let mut hops = Vec::new();
    for (kit, capabilities) in capabilities.into_iter().enumerate() {
        let (hop, _) = harness.opened(kit);
        let session_id = Some(format!("of-{kit}").into());
        let begin = McpLifecycle {
            session_id,
            capabilities,
        };
        harness
            .rig
            .send(harness.kits[kit], hop, Frame::begin(begin));
        hops.push(hop);
    }
    let frames = harness.rig.frames(harness.caller, session);
    let Frame::Begin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = &**begin else {
        panic!("{begin:?}")
    };
    // The proxy itself says when lists change: a toolkit may come and go.
    let changes = McpCapabilities::SERVER_TOOLS_LIST_CHANGED
        .with(McpCapabilities::SERVER_RESOURCES_LIST_CHANGED);
    let all = capabilities[0].with(capabilities[1]).with(changes);
    assert_eq!(begin.capabilities, all);
    let id = begin.session_id.clone().expect("an identity");
    assert!(
        id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );

    // Three streams, and the identity under which the session is found.
    let held = |harness: &Harness| harness.rig.worker.counters().exchanges;
    let held_by_session = held(&harness);
    assert!(held_by_session > 0);

    // A call within the session carries the toolkit's session identity; a call without a session
    // carries none.
    for (session_id, expected) in [(Some(id), Some("of-1".into())), (None, None)] {
        let stream = harness.open(McpToolsCall {
            session_id,
            ..call("b__x")
        });
        let (_, begin) = harness.opened(1);
        assert_eq!(begin.session_id(), expected.as_ref());
        assert_eq!(held(&harness), held_by_session + 1);
        harness.rig.send(harness.caller, stream, Frame::abort());
        harness.rig.outputs(harness.kits[1]);
        harness.rig.outputs(harness.caller);
    }

    // Change notifications of a toolkit are passed to the caller.
    harness.rig.send(
        harness.kits[1],
        hops[1],
        Frame::flush(McpToolsListChanged {}),
    );
    assert!(matches!(
        harness.rig.frames(harness.caller, session)[0],
        Frame::Flush(_)
    ));

    harness.rig.send(harness.caller, session, Frame::end());
    for (kit, hop) in hops.into_iter().enumerate() {
        assert_eq!(harness.rig.frames(harness.kits[kit], hop), [Frame::end()]);
        harness.rig.send(harness.kits[kit], hop, Frame::end());
    }
    harness.rig.outputs(harness.caller);
    harness.rig.assert_idle();
}

#[test]
fn a_failed_toolkit_does_not_fail_the_session_and_is_reopened() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    let session = harness.open(McpLifecycle::default());
    let (down, _) = harness.opened(0);
    harness
        .rig
        .turn(harness.kits[0], |cx| cx.terminate(down, None, None));
    let (up, _) = harness.opened(1);
    let answer = McpLifecycle {
        session_id: Some("b".into()),
        ..McpLifecycle::default()
    };
    harness.rig.send(harness.kits[1], up, Frame::begin(answer));
    let frames = harness.rig.frames(harness.caller, session);
    let Frame::Begin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = &**begin else {
        panic!("{begin:?}")
    };
    harness.rig.outputs(harness.kits[0]);
    let stream = harness.open(McpToolsCall {
        session_id: begin.session_id.clone(),
        ..call("a__x")
    });
    let kinds: Vec<&str> = harness
        .rig
        .outputs(harness.kits[0])
        .iter()
        .filter_map(|output| match &output.frame {
            Frame::Begin(begin) => match &**begin {
                BeginEx::Mcp(begin) => Some(begin.word()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        ["lifecycle", "toolsCall"],
        "the session is reopened, the call continues"
    );
    harness.rig.turn(harness.caller, |cx| {
        cx.terminate(stream, None, None);
        cx.terminate(session, None, None);
    });
    for kit in harness.kits.clone() {
        harness.rig.outputs(kit);
    }
    harness.rig.outputs(harness.caller);
    assert_eq!(harness.rig.worker.counters().timers, 0);
}

#[test]
fn a_cancelled_operation_ends_all_streams() {
    let mut harness = harness(&[Some("a"), Some("b")]);
    for begin in [
        BeginEx::from(McpToolsList::default()),
        BeginEx::from(McpLifecycle::default()),
        BeginEx::from(call("a__x")),
    ] {
        let stream = harness.open(begin);
        harness
            .rig
            .turn(harness.caller, |cx| cx.terminate(stream, None, None));
        for kit in harness.kits.clone() {
            for output in harness.rig.outputs(kit) {
                harness
                    .rig
                    .turn(kit, |cx| cx.terminate(output.at.stream, None, None));
            }
        }
        harness.rig.outputs(harness.caller);
        harness.rig.assert_idle();
    }
}
