//! A harness for the proxy between a caller and toolkits played by the test.

use std::sync::Arc;

use super::*;
use crate::proxy::pins::Pins;

pub(super) struct Harness {
    pub(super) rig: Rig,
    pub(super) caller: BindingId,
    pub(super) proxy: BindingId,
    pub(super) kits: Vec<BindingId>,
}

pub(super) fn harness(toolkits: &[Option<&str>]) -> Harness {
    harness_with(toolkits, Options::default(), 1 << 20)
}

pub(super) fn harness_with(
    toolkits: &[Option<&str>],
    options: Options,
    caller_window: u32,
) -> Harness {
    harness_pinned(toolkits, options, caller_window, Arc::default())
}

pub(super) fn harness_pinned(
    toolkits: &[Option<&str>],
    options: Options,
    caller_window: u32,
    pins: Arc<Pins>,
) -> Harness {
    let mut rig = Rig::new();
    let kits: Vec<BindingId> = toolkits.iter().map(|_| rig.edge(1 << 20)).collect();
    let routes = toolkits.iter().zip(&kits).map(|(toolkit, exit)| {
        let toolkit = toolkit.map(|name| Toolkit::new(name).expect("a toolkit's name"));
        Route::of(toolkit, *exit)
    });
    let proxy = McpProxy::new(options, routes.collect()).with_pins(pins);
    let proxy = rig.attach(proxy);
    let caller = rig.edge(caller_window);
    Harness {
        rig,
        caller,
        proxy,
        kits,
    }
}

impl Harness {
    pub(super) fn open(&mut self, begin: impl Into<BeginEx>) -> StreamId {
        let within = Duration::from_secs(1);
        self.rig.open_within(self.caller, self.proxy, begin, within)
    }

    /// Milliseconds until the deadline of a toolkit's stream.
    pub(super) fn left(&self, stream: StreamId) -> Option<u64> {
        self.rig.left(stream).map(Duration::as_millis)
    }

    /// The only stream opened towards a toolkit since the last call.
    pub(super) fn opened(&mut self, kit: usize) -> (StreamId, McpBeginEx) {
        let outputs = self.rig.outputs(self.kits[kit]);
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        let output = outputs.into_iter().next().expect("one");
        let Frame::Begin(begin) = output.frame else {
            panic!("{:?}", output.frame)
        };
        let BeginEx::Mcp(begin) = begin.into_inner() else {
            panic!("another begin")
        };
        (output.at.stream, begin)
    }

    pub(super) fn reply(
        &mut self,
        kit: usize,
        stream: StreamId,
        begin: impl Into<BeginEx>,
        result: &Value,
    ) {
        let kit = self.kits[kit];
        self.rig.send(kit, stream, Frame::begin(begin));
        self.rig
            .send(kit, stream, Frame::data(Bytes::from(result.to_string())));
        self.rig.send(kit, stream, Frame::end());
    }

    /// The result received by the caller, and the END extension.
    pub(super) fn result(&mut self, stream: StreamId) -> (Value, Option<McpEnd>) {
        let frames = self.rig.frames(self.caller, stream);
        let mut body = Vec::new();
        let mut end = None;
        for frame in frames {
            match frame {
                Frame::Data(data) => {
                    let length = data.payload.len();
                    body.extend_from_slice(&data.payload);
                    self.rig
                        .turn(self.caller, |cx| cx.acknowledge(stream, length));
                }
                Frame::End(Some(extension)) => {
                    let EndEx::Mcp(extension) = extension.into_inner() else {
                        panic!("not of mcp");
                    };
                    end = Some(extension);
                }
                Frame::Begin(_) | Frame::Window(_) | Frame::End(None) => {}
                other => panic!("{other:?}"),
            }
        }
        (serde_json::from_slice(&body).unwrap_or_default(), end)
    }

    pub(super) fn reset(&mut self, stream: StreamId) -> McpReset {
        let frames = self.rig.frames(self.caller, stream);
        let reset = frames.into_iter().find_map(|frame| match frame {
            Frame::Reset(Some(reset)) => match *reset {
                ResetEx::Mcp(reset) => Some(reset),
                _ => None,
            },
            _ => None,
        });
        reset.expect("a RESET with a reason")
    }

    /// Ends the caller's and the toolkits' streams, and asserts that nothing remains.
    pub(super) fn finish(mut self, stream: StreamId) {
        self.rig
            .turn(self.caller, |cx| cx.end(stream, Frame::end()));
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
        for kit in self.kits.clone() {
            for output in self.rig.outputs(kit) {
                self.rig
                    .turn(kit, |cx| cx.terminate(output.at.stream, None, None));
            }
        }
        self.rig.outputs(self.caller);
        self.rig.assert_idle();
    }
}
