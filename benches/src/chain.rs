//! A chain of relays between two edges, with one stream through all of them, to measure hops.

use bytes::Bytes;
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_scenarios::fixtures::{Options, Relay};
use tidegate_streams::Frame;
use tidegate_streams::mcp::McpToolsCall;

/// Relays, and a stream through them between two edges.
pub struct Chain {
    rig: Rig,
    entry: BindingId,
    exit: BindingId,
    first: StreamId,
    last: StreamId,
    hops: usize,
}

impl Chain {
    /// Creates a chain of relays.
    pub fn new(relays: usize) -> Self {
        let mut rig = Rig::new();
        let exit = rig.edge(1 << 30);
        let mut next = exit;
        for _ in 0..relays {
            let options = Options {
                window: 1 << 30,
                ..Options::default()
            };
            next = rig.attach(Relay::new(options, next));
        }
        let entry = rig.edge(1 << 30);
        rig.worker.start();
        let first = rig.open(entry, next, McpToolsCall::default());
        let outputs = rig.outputs(exit);
        let last = outputs.first().map_or(first, |output| output.at.stream);
        Self {
            rig,
            entry,
            exit,
            first,
            last,
            hops: relays + 1,
        }
    }

    /// Hops of one [`pass`](Self::pass): a frame is sent by one binding and handled by the next.
    pub const fn hops(&self) -> usize {
        self.hops
    }

    /// Sends one DATA through the chain and acknowledges it; returns the number of emitted frames.
    ///
    /// It drives the worker directly, because the rig would collect the emitted frames in a list.
    pub fn pass(&mut self, payload: &Bytes) -> usize {
        let (now, first, last) = (self.rig.now(), self.first, self.last);
        let worker = &mut self.rig.worker;
        worker.turn(now, self.entry, |cx| {
            cx.send(first, Frame::data(payload.clone()));
        });
        worker.turn(now, self.exit, |cx| cx.acknowledge(last, payload.len()));
        let mut frames = 0;
        while worker.poll_output().is_some() {
            frames += 1;
        }
        assert!(frames > 0, "the frame has arrived");
        frames
    }
}
