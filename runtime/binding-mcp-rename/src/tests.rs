//! The binding between a played caller and a played exit.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::mcp::{
    McpBeginEx, McpEnd, McpLifecycle, McpResetKind, McpToolsCall, McpToolsList,
};
use tidegate_streams::{BeginEx, Frame, FrameKind, ResetEx};

use crate::{McpRename, Options};

struct Setup {
    rig: Rig,
    caller: BindingId,
    proxy: BindingId,
    exit: BindingId,
}

/// The tool `publish` is offered as `send`; the caller takes `caller_window` bytes at first.
fn setup(caller_window: u32) -> Setup {
    let options = json!({ "tools": { "publish": "send" }, "maxListSize": 100 });
    let options: Options = serde_json::from_value(options).expect("valid");
    let mut rig = Rig::new();
    let exit = rig.edge(1 << 20);
    let proxy = rig.attach(McpRename::new(options, exit));
    let caller = rig.edge(caller_window);
    Setup {
        rig,
        caller,
        proxy,
        exit,
    }
}

impl Setup {
    /// Opens a stream; the one that the exit is opened, with its BEGIN.
    fn open(&mut self, begin: impl Into<BeginEx>) -> (StreamId, StreamId, McpBeginEx) {
        let accepted = self.rig.open(self.caller, self.proxy, begin);
        let output = self.rig.outputs(self.exit).pop().expect("a stream");
        match output.frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mcp(begin) => (accepted, output.at.stream, begin),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn reply(&mut self, opened: StreamId, begin: impl Into<BeginEx>, parts: &[&str]) {
        self.rig.send(self.exit, opened, Frame::begin(begin));
        let parts = parts
            .iter()
            .map(|part| Bytes::copy_from_slice(part.as_bytes()));
        let parts: Vec<Bytes> = parts.collect();
        for data in tidegate_streams::Data::of_message(parts) {
            self.rig.send(self.exit, opened, Frame::Data(data));
        }
    }

    /// The payload that the caller has got, and the kinds of the other frames.
    fn received(&mut self, accepted: StreamId) -> (String, Vec<FrameKind>) {
        let (mut payload, mut kinds) = (Vec::new(), Vec::new());
        for frame in self.rig.frames(self.caller, accepted) {
            match frame {
                Frame::Data(data) => payload.extend_from_slice(&data.payload),
                Frame::Window(_) => {}
                other => kinds.push(other.kind()),
            }
        }
        (String::from_utf8(payload).expect("text"), kinds)
    }

    fn refusal(&mut self, accepted: StreamId) -> (McpResetKind, String) {
        let frames = self.rig.frames(self.caller, accepted);
        let refusal = frames.into_iter().find_map(|frame| match frame {
            Frame::Reset(Some(reset)) => Some(*reset),
            _ => None,
        });
        match refusal {
            Some(ResetEx::Mcp(reset)) => (reset.kind, reset.message.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// Both sides are done with their streams, and nothing is left.
    fn finish(mut self, accepted: StreamId, opened: StreamId) {
        self.rig
            .turn(self.caller, |cx| cx.terminate(accepted, None, None));
        self.rig
            .turn(self.exit, |cx| cx.terminate(opened, None, None));
        self.rig.outputs(self.caller);
        self.rig.outputs(self.exit);
        self.rig.assert_idle();
    }
}

fn call(name: &str) -> McpToolsCall {
    McpToolsCall {
        name: name.into(),
        ..McpToolsCall::default()
    }
}

#[test]
fn a_call_reaches_the_tool_behind_its_name() {
    for (offered, original) in [("send", "publish"), ("receive", "receive")] {
        let mut setup = setup(1 << 20);
        let (accepted, opened, begin) = setup.open(call(offered));
        assert_eq!(begin, McpBeginEx::ToolsCall(call(original)));
        setup.reply(opened, call(""), &["{\"content\":", "[]}"]);
        setup
            .rig
            .send(setup.exit, opened, Frame::end_with(McpEnd::default()));
        let (payload, kinds) = setup.received(accepted);
        assert_eq!(payload, "{\"content\":[]}");
        assert_eq!(kinds, [FrameKind::Begin, FrameKind::End]);
        setup.finish(accepted, opened);
    }
}

#[test]
fn the_old_name_of_a_tool_is_not_found() {
    let mut setup = setup(1 << 20);
    let accepted = setup.rig.open(setup.caller, setup.proxy, call("publish"));
    let (kind, message) = setup.refusal(accepted);
    assert_eq!(kind, McpResetKind::NotFound);
    assert!(message.contains("tools/list"), "{message}");
    assert!(setup.rig.outputs(setup.exit).is_empty());
    setup.rig.outputs(setup.caller);
    setup
        .rig
        .turn(setup.caller, |cx| cx.terminate(accepted, None, None));
    setup.rig.assert_idle();
}

#[test]
fn a_list_has_the_names_that_can_be_called() {
    let mut setup = setup(1 << 20);
    let (accepted, opened, _) = setup.open(McpToolsList::default());
    setup.reply(
        opened,
        McpToolsList::default(),
        &[
            "{\"tools\":[{\"name\":\"pub",
            "lish\"},{\"name\":\"receive\"}]}",
        ],
    );
    assert_eq!(setup.received(accepted).0, "", "it is not whole");
    setup.rig.send(setup.exit, opened, Frame::end());
    let (payload, kinds) = setup.received(accepted);
    let listed: Value = serde_json::from_str(&payload).expect("JSON");
    let expected = json!({ "tools": [{ "name": "send" }, { "name": "receive" }] });
    assert_eq!(listed, expected);
    assert_eq!(kinds, [FrameKind::End]);
    setup.finish(accepted, opened);
}

#[test]
fn a_list_that_cannot_be_rewritten_is_refused() {
    let long = format!("{{\"tools\":[{}]}}", " ".repeat(100));
    for (result, kind) in [
        ("{\"tools\":1}", McpResetKind::Internal),
        (&long, McpResetKind::TooLarge),
    ] {
        let mut setup = setup(1 << 20);
        let (accepted, opened, _) = setup.open(McpToolsList::default());
        setup.reply(opened, McpToolsList::default(), &[result]);
        setup.rig.send(setup.exit, opened, Frame::end());
        assert_eq!(setup.refusal(accepted).0, kind);
        setup.finish(accepted, opened);
    }
}

#[test]
fn a_result_waits_for_the_callers_credit_and_its_end_with_it() {
    let mut setup = setup(4);
    let (accepted, opened, _) = setup.open(call("send"));
    setup.reply(opened, call(""), &["1234567"]);
    setup.rig.send(setup.exit, opened, Frame::end());
    let (payload, kinds) = setup.received(accepted);
    assert_eq!(
        (payload.as_str(), &kinds[..]),
        ("1234", &[FrameKind::Begin][..])
    );
    setup
        .rig
        .turn(setup.caller, |cx| cx.acknowledge(accepted, 4));
    let (payload, kinds) = setup.received(accepted);
    assert_eq!(
        (payload.as_str(), &kinds[..]),
        ("567", &[FrameKind::End][..])
    );
    setup.finish(accepted, opened);
}

#[test]
fn what_waits_is_dropped_when_the_exit_aborts() {
    let mut setup = setup(4);
    let (accepted, opened, _) = setup.open(call("send"));
    setup.reply(opened, call(""), &["1234567"]);
    setup.rig.turn(setup.exit, |cx| cx.abort(opened, None));
    setup
        .rig
        .turn(setup.caller, |cx| cx.acknowledge(accepted, 4));
    let (payload, kinds) = setup.received(accepted);
    assert_eq!(
        (payload.as_str(), &kinds[..]),
        ("1234", &[FrameKind::Begin, FrameKind::Abort][..])
    );
    setup.finish(accepted, opened);
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_exit() {
    let mut setup = setup(1 << 20);
    let (accepted, opened, _) = setup.open(call("send"));
    setup
        .rig
        .turn(setup.caller, |cx| cx.terminate(accepted, None, None));
    let kinds: Vec<FrameKind> = setup
        .rig
        .outputs(setup.exit)
        .iter()
        .map(|it| it.frame.kind())
        .collect();
    assert_eq!(kinds, [FrameKind::Reset, FrameKind::Abort]);
    setup.finish(accepted, opened);
}

#[test]
fn a_session_passes_as_it_is() {
    let mut setup = setup(1 << 20);
    let lifecycle = McpLifecycle {
        session_id: Some("s-1".into()),
        ..McpLifecycle::default()
    };
    let (accepted, opened, begin) = setup.open(lifecycle.clone());
    assert_eq!(begin, McpBeginEx::Lifecycle(lifecycle.clone()));
    setup.rig.send(setup.exit, opened, Frame::begin(lifecycle));
    assert_eq!(setup.received(accepted).1, [FrameKind::Begin]);
    setup.finish(accepted, opened);
}
