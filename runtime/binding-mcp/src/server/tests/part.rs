//! A harness for a single part: an edge takes the place of the binding, between a client's edge and
//! an exit's.

use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Context, StreamId, Token};
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame};

/// The streams of one part. The test takes frames for it with [`Bench::next`] and passes them to
/// the part.
pub(in crate::server) struct Bench {
    pub(in crate::server) rig: Rig,
    /// The binding that owns the part's streams.
    pub(in crate::server) own: BindingId,
    pub(in crate::server) client: BindingId,
    pub(in crate::server) exit: BindingId,
}

impl Bench {
    pub(in crate::server) fn new() -> Self {
        Self::with_window(1 << 10)
    }

    /// Creates the bench; `window` is the credit of the client's streams.
    pub(in crate::server) fn with_window(window: u32) -> Self {
        let mut rig = Rig::new();
        let exit = rig.edge(1 << 24);
        let own = rig.edge(1 << 24);
        let client = rig.edge(window);
        Self {
            rig,
            own,
            client,
            exit,
        }
    }

    /// Runs a method of the part.
    pub(in crate::server) fn act<R>(&mut self, act: impl FnOnce(&mut Context<'_>) -> R) -> R {
        self.rig.turn(self.own, act)
    }

    /// The next frame for the part, with its token.
    pub(in crate::server) fn next(&mut self) -> (StreamId, Token, Frame) {
        let mut outputs = self.rig.outputs(self.own);
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        let output = outputs.remove(0);
        (output.at.stream, output.at.token, output.frame)
    }

    /// A client opens a stream; returns its BEGIN.
    pub(in crate::server) fn opened(&mut self, begin: impl Into<BeginEx>) -> (StreamId, BeginEx) {
        let stream = self.rig.open(self.client, self.own, begin);
        let (_, _, frame) = self.next();
        let Frame::Begin(begin) = frame else {
            panic!("{frame:?}")
        };
        (stream, begin.into_inner())
    }

    /// The frames received by the exit, and the stream of the first.
    pub(in crate::server) fn at_exit(&mut self) -> (StreamId, Vec<Frame>) {
        let outputs = self.rig.outputs(self.exit);
        let stream = outputs.first().expect("something came out").at.stream;
        (stream, outputs.into_iter().map(|it| it.frame).collect())
    }

    /// The kinds of frames received by the exit.
    pub(in crate::server) fn kinds_at_exit(&mut self) -> Vec<&'static str> {
        let outputs = self.rig.outputs(self.exit);
        let kinds = outputs.iter().map(|output| output.frame.kind().word());
        kinds.collect()
    }

    /// The exit sends a frame; returns the frames for the part.
    pub(in crate::server) fn exit_sends(&mut self, stream: StreamId, frame: Frame) -> Frame {
        self.rig.send(self.exit, stream, frame);
        self.next().2
    }

    /// The exit resets a stream; returns the RESET. The ABORT of the reply follows.
    pub(in crate::server) fn exit_refuses(
        &mut self,
        stream: StreamId,
        kind: McpResetKind,
    ) -> Frame {
        let reset = McpReset::new(kind, "So it is.");
        self.rig.send(self.exit, stream, Frame::reset_with(reset));
        self.next().2
    }

    /// The text received by the client, and whether the response has ended.
    pub(in crate::server) fn at_client(&mut self, stream: StreamId) -> (String, bool) {
        let (mut text, mut ended) = (Vec::new(), false);
        for frame in self.rig.frames(self.client, stream) {
            match frame {
                Frame::Data(data) => {
                    self.rig.turn(self.client, |cx| {
                        cx.acknowledge(stream, data.payload.len());
                    });
                    text.extend_from_slice(&data.payload);
                }
                Frame::End(_) => ended = true,
                _ => {}
            }
        }
        (String::from_utf8(text).expect("text"), ended)
    }
}
