//! `mcp · proxy` alone, between a played `mcp · server` and a played toolkit.

use bytes::Bytes;
use tidegate_binding_mcp::proxy::{McpProxy, Options, Route, Toolkit};
use tidegate_engine::BindingId;
use tidegate_engine::testing::Rig;
use tidegate_streams::mcp::{McpToolsCall, McpToolsList};
use tidegate_streams::{BeginEx, DataFlags, Frame};

/// The proxy, with one toolkit behind it.
pub struct Upstream {
    rig: Rig,
    caller: BindingId,
    proxy: BindingId,
    toolkit: BindingId,
}

impl Default for Upstream {
    fn default() -> Self {
        let mut rig = Rig::new();
        let toolkit = rig.edge(1 << 30);
        let route = Route::of(Toolkit::new("plant"), toolkit);
        let proxy = rig.attach(McpProxy::new(Options::default(), vec![route]));
        let caller = rig.edge(1 << 30);
        rig.worker.start();
        Self {
            rig,
            caller,
            proxy,
            toolkit,
        }
    }
}

impl Upstream {
    /// A `tools/list` whose result the toolkit sends in parts of `part` bytes; returns the number of bytes
    /// that the caller receives.
    pub fn list(&mut self, result: &Bytes, part: usize) -> usize {
        self.pass(McpToolsList::default(), result, part)
    }

    /// A `tools/call` with this result.
    pub fn call(&mut self, result: &Bytes, part: usize) -> usize {
        let call = McpToolsCall {
            name: "plant__tool".into(),
            ..McpToolsCall::default()
        };
        self.pass(call, result, part)
    }

    fn pass(&mut self, begin: impl Into<BeginEx>, result: &Bytes, part: usize) -> usize {
        let (caller, proxy, toolkit) = (self.caller, self.proxy, self.toolkit);
        let stream = self.rig.open(caller, proxy, begin);
        let asked = self.rig.outputs(toolkit).into_iter().find_map(|output| {
            let begins = matches!(output.frame, Frame::Begin(_));
            begins.then_some((output.at.stream, output.frame))
        });
        let (asked, begin) = asked.expect("the toolkit is asked");
        self.rig.send(toolkit, asked, begin);
        let mut rest = result.clone();
        let mut first = true;
        while !rest.is_empty() && self.rig.turn(toolkit, |cx| cx.is_sending(asked)) {
            let credit = self.rig.turn(toolkit, |cx| cx.credit(asked));
            let part = rest.split_to(rest.len().min(part).min(credit));
            let flags = DataFlags::of(std::mem::take(&mut first), rest.is_empty());
            self.rig.send(toolkit, asked, Frame::part(flags, part));
        }
        self.rig.turn(toolkit, |cx| cx.end(asked, Frame::end()));
        let length = |frame: Frame| match frame {
            Frame::Data(data) => data.payload.len(),
            _ => 0,
        };
        let frames = self.rig.frames(caller, stream).into_iter();
        let length = frames.map(length).sum();
        for edge in [caller, toolkit] {
            let streams = [stream, asked];
            self.rig.turn(edge, |cx| {
                for stream in streams {
                    cx.terminate(stream, None, None);
                }
            });
            self.rig.outputs(edge);
        }
        length
    }
}
