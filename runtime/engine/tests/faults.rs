//! A panic while a stream is opened: what was accepted is ended, and the binding is told which exchange it was.
#![allow(clippy::panic, reason = "the binding under test panics on purpose")]

use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::{BeginEx, Frame, FrameKind};
use tidegate_engine::testing::Rig;
use tidegate_engine::{At, Binding, Context, StreamId, Token};

/// Panics when a stream is opened to it, before or after it accepts the stream.
struct Fragile {
    accepts: bool,
    exchanges: usize,
}

impl Binding for Fragile {
    fn exchanges(&self) -> usize {
        self.exchanges
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
        if self.accepts {
            cx.accept(stream, Token(7));
            self.exchanges += 1;
        }
        panic!("on purpose");
    }

    fn on_frame(&mut self, _: &mut Context<'_>, at: At, frame: Frame) {
        panic!("{at:?} received {frame:?} after its end");
    }

    fn on_fault(&mut self, _: &mut Context<'_>, token: Token) {
        assert_eq!(token, Token(7));
        self.exchanges -= 1;
    }
}

#[test]
fn a_panic_in_on_begin_ends_what_was_accepted() {
    for accepts in [false, true] {
        let mut rig = Rig::new();
        let fragile = rig.attach(Fragile {
            accepts,
            exchanges: 0,
        });
        let caller = rig.edge(100);
        let stream = rig.open(caller, fragile, BytesBegin::default());
        let kinds: Vec<FrameKind> = rig.frames(caller, stream).iter().map(Frame::kind).collect();
        assert_eq!(kinds, [FrameKind::Reset, FrameKind::Abort]);
        rig.turn(caller, |cx| cx.terminate(stream, None, None));
        let counters = rig.worker.counters();
        assert_eq!((counters.faults, counters.exchanges), (1, 0));
        assert_eq!(counters.streams, 0);
    }
}
