//! One session with the caller, one with each toolkit.

use super::*;

#[test]
fn a_session_has_an_identity_of_its_own_on_each_hop() {
    let mut house = house(&[Some("a"), Some("b")]);
    let session = house.open(McpLifecycle::default());
    let capabilities = [
        McpCapabilities::SERVER_TOOLS,
        McpCapabilities::SERVER_RESOURCES,
    ];
    let mut hops = Vec::new();
    for (kit, capabilities) in capabilities.into_iter().enumerate() {
        let (hop, _) = house.opened(kit);
        let session_id = Some(format!("of-{kit}").into());
        let begin = McpLifecycle {
            session_id,
            capabilities,
        };
        house.rig.send(house.kits[kit], hop, Frame::begin(begin));
        hops.push(hop);
    }
    let frames = house.rig.frames(house.caller, session);
    let Frame::Begin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = &**begin else {
        panic!("{begin:?}")
    };
    assert_eq!(begin.capabilities, capabilities[0].with(capabilities[1]));
    let id = begin.session_id.clone().expect("an identity");
    assert!(
        id.len() == 22 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );

    // A call of the session bears the toolkit's identity; one of no session bears none.
    for (session_id, expected) in [(Some(id), Some("of-1".into())), (None, None)] {
        let stream = house.open(McpToolsCall {
            session_id,
            ..call("b__x")
        });
        let (_, begin) = house.opened(1);
        assert_eq!(begin.session_id(), expected.as_ref());
        house.rig.send(house.caller, stream, Frame::abort());
        house.rig.outputs(house.kits[1]);
        house.rig.outputs(house.caller);
    }

    // What changes behind is told in front.
    house
        .rig
        .send(house.kits[1], hops[1], Frame::flush(McpToolsListChanged {}));
    assert!(matches!(
        house.rig.frames(house.caller, session)[0],
        Frame::Flush(_)
    ));

    house.rig.send(house.caller, session, Frame::end());
    for (kit, hop) in hops.into_iter().enumerate() {
        assert_eq!(house.rig.frames(house.kits[kit], hop), [Frame::end()]);
        house.rig.send(house.kits[kit], hop, Frame::end());
    }
    house.rig.outputs(house.caller);
    house.rig.assert_idle();
}

#[test]
fn one_toolkit_that_is_down_does_not_fail_the_session_and_is_tried_again() {
    let mut house = house(&[Some("a"), Some("b")]);
    let session = house.open(McpLifecycle::default());
    let (down, _) = house.opened(0);
    house
        .rig
        .turn(house.kits[0], |cx| cx.terminate(down, None, None));
    let (up, _) = house.opened(1);
    let answer = McpLifecycle {
        session_id: Some("b".into()),
        ..McpLifecycle::default()
    };
    house.rig.send(house.kits[1], up, Frame::begin(answer));
    let frames = house.rig.frames(house.caller, session);
    let Frame::Begin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = &**begin else {
        panic!("{begin:?}")
    };
    house.rig.outputs(house.kits[0]);
    let stream = house.open(McpToolsCall {
        session_id: begin.session_id.clone(),
        ..call("a__x")
    });
    let kinds: Vec<&str> = house
        .rig
        .outputs(house.kits[0])
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
        "the session is tried again, the call goes on"
    );
    house.rig.turn(house.caller, |cx| {
        cx.terminate(stream, None, None);
        cx.terminate(session, None, None);
    });
    for kit in house.kits.clone() {
        house.rig.outputs(kit);
    }
    house.rig.outputs(house.caller);
    assert_eq!(house.rig.worker.counters().timers, 0);
}

#[test]
fn a_caller_that_leaves_ends_everything() {
    let mut house = house(&[Some("a"), Some("b")]);
    for begin in [
        BeginEx::from(McpToolsList::default()),
        BeginEx::from(McpLifecycle::default()),
        BeginEx::from(call("a__x")),
    ] {
        let stream = house.open(begin);
        house
            .rig
            .turn(house.caller, |cx| cx.terminate(stream, None, None));
        for kit in house.kits.clone() {
            for output in house.rig.outputs(kit) {
                house
                    .rig
                    .turn(kit, |cx| cx.terminate(output.at.stream, None, None));
            }
        }
        house.rig.outputs(house.caller);
        house.rig.assert_idle();
    }
}
