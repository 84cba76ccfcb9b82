//! Streams that begin on one worker and belong to another.

use std::time::Duration;

use bytes::Bytes;
use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::streams::bytes_stream::BytesReset;
use tidegate_engine::streams::line::{LineBegin, LineOversized};
use tidegate_engine::streams::{AbortEx, Frame, ResetEx, Window};
use tidegate_engine::{Limits, StreamId};

use crate::bindings::{Owned, WINDOW};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Two workers: a caller on the first, the callee on the second, and [`Owned`] between them.
struct Carried {
    engine: Engine,
    caller: Probe,
    callee: Probe,
}

/// `owner` is the worker that owns the streams; `more` is the additional credit it grants at once.
fn carried(owner: u16, more: Option<u32>) -> Carried {
    let (caller, near) = probe();
    let (callee, far) = probe();
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        let exit = match assembly.worker() {
            1 => far.attach(assembly, WINDOW, None),
            _ => assembly.attach_nothing(),
        };
        let mut between = Owned::new(exit, owner);
        between.more = more;
        let between = assembly.attach(between);
        if assembly.worker() == 0 {
            near.attach(assembly, WINDOW, Some(between));
        }
        Ok(())
    });
    Carried {
        engine: engine.expect("the engine starts"),
        caller,
        callee,
    }
}

impl Carried {
    /// Opens a stream and begins both halves; returns its ids on both sides.
    async fn open(&mut self) -> (StreamId, StreamId) {
        let here = self.caller.open(LineBegin {}).await;
        let (at, frame) = self.callee.next_but_window().await;
        assert_eq!(frame, Frame::begin(LineBegin {}));
        self.callee.send(at.stream, frame).await;
        let (back, frame) = self.caller.next_but_window().await;
        assert_eq!((back.stream, frame), (here, Frame::begin(LineBegin {})));
        (here, at.stream)
    }

    /// Asserts that nothing remains and no rule was violated.
    async fn finish(self) {
        let report = self.engine.counters().await;
        assert!(report.iter().all(|it| it.violations + it.faults == 0));
        let report = self.engine.shutdown(TIMEOUT).await;
        assert_eq!(report.streams_cut, 0);
    }
}

fn reason() -> BytesReset {
    BytesReset {
        remote: "host:1".into(),
        reason: "a distinct reason".into(),
        connected: true,
        ..BytesReset::default()
    }
}

#[tokio::test]
async fn data_flush_and_end_pass_both_ways() {
    let mut it = carried(1, None);
    let (here, there) = it.open().await;
    let there_and_back = [
        Frame::data(Bytes::from_static(b"a message")),
        Frame::flush(LineOversized {
            length: 7,
            limit: 5,
        }),
        Frame::data(Bytes::new()),
        Frame::end(),
    ];
    for frame in there_and_back {
        it.caller.send(here, frame.clone()).await;
        let (at, seen) = it.callee.next_but_window().await;
        assert_eq!((at.stream, &seen), (there, &frame));
        it.callee.send(there, frame.clone()).await;
        let (at, seen) = it.caller.next_but_window().await;
        assert_eq!((at.stream, seen), (here, frame));
    }
    it.finish().await;
}

#[tokio::test]
async fn a_payload_passes_without_a_copy() {
    let mut it = carried(1, None);
    let (here, there) = it.open().await;
    let payload = Bytes::from(vec![7; 500]);
    it.caller.send(here, Frame::data(payload.clone())).await;
    let (_, frame) = it.callee.next_but_window().await;
    let Frame::Data(data) = frame else {
        panic!("{frame:?}")
    };
    assert_eq!(data.payload.as_ptr(), payload.as_ptr());
    it.callee
        .turn(move |cx| cx.terminate(there, None, None))
        .await;
    assert!(matches!(
        it.caller.next_but_window().await.1,
        Frame::Reset(_)
    ));
    assert!(matches!(
        it.caller.next_but_window().await.1,
        Frame::Abort(_)
    ));
    it.finish().await;
}

#[tokio::test]
async fn credit_is_granted_by_both_ends() {
    let mut it = carried(1, None);
    let (here, there) = it.open().await;
    let full = Bytes::from(vec![0; WINDOW as usize]);
    for towards_callee in [true, false] {
        let (from, sender, to, receiver) = if towards_callee {
            (&mut it.caller, here, &mut it.callee, there)
        } else {
            (&mut it.callee, there, &mut it.caller, here)
        };
        assert_eq!(
            from.turn(move |cx| cx.credit(sender)).await,
            WINDOW as usize
        );
        from.send(sender, Frame::data(full.clone())).await;
        assert_eq!(from.turn(move |cx| cx.credit(sender)).await, 0);
        assert_eq!(to.next_but_window().await.1, Frame::data(full.clone()));
        to.turn(move |cx| cx.acknowledge(receiver, 600)).await;
        let granted = Window {
            acknowledge: 600,
            maximum: WINDOW,
            padding: 0,
        };
        loop {
            let (_, frame) = from.next().await;
            if frame == Frame::Window(granted) {
                break;
            }
            assert!(matches!(frame, Frame::Window(_)), "{frame:?}");
        }
        assert_eq!(from.turn(move |cx| cx.credit(sender)).await, 600);
    }
    it.caller
        .turn(move |cx| cx.terminate(here, None, None))
        .await;
    it.callee.next_but_window().await;
    it.finish().await;
}

#[tokio::test]
async fn credit_granted_by_the_owner_at_once_is_kept() {
    let mut it = carried(1, Some(5_000));
    let (here, _) = it.open().await;
    let credit = it.caller.turn(move |cx| cx.credit(here)).await;
    assert_eq!(credit, 5_000);
    it.caller
        .turn(move |cx| cx.terminate(here, None, None))
        .await;
    it.callee.next_but_window().await;
    it.finish().await;
}

#[tokio::test]
async fn a_refusal_passes_with_its_reason() {
    let mut it = carried(1, None);
    let (_, there) = it.open().await;
    let (reset, abort) = (ResetEx::Bytes(reason()), AbortEx::Bytes(reason()));
    it.callee
        .turn(move |cx| cx.terminate(there, Some(reset), Some(abort)))
        .await;
    let frames = [
        it.caller.next_but_window().await.1,
        it.caller.next_but_window().await.1,
    ];
    assert_eq!(
        frames,
        [Frame::reset_with(reason()), Frame::abort_with(reason())]
    );
    it.finish().await;
}

#[tokio::test]
async fn an_abort_passes_with_its_reason() {
    let mut it = carried(1, None);
    let (here, _) = it.open().await;
    let (reset, abort) = (ResetEx::Bytes(reason()), AbortEx::Bytes(reason()));
    it.caller
        .turn(move |cx| cx.terminate(here, Some(reset), Some(abort)))
        .await;
    let frames = [
        it.callee.next_but_window().await.1,
        it.callee.next_but_window().await.1,
    ];
    assert_eq!(
        frames,
        [Frame::reset_with(reason()), Frame::abort_with(reason())]
    );
    it.finish().await;
}

#[tokio::test]
async fn crossing_frames_are_dropped() {
    let mut it = carried(1, None);
    for _ in 0..50 {
        let (here, there) = it.open().await;
        let part = Frame::data(Bytes::from_static(b"crossing"));
        let refuse = it.callee.turn(move |cx| cx.terminate(there, None, None));
        let send = async {
            it.caller.send(here, part.clone()).await;
            it.caller.send(here, Frame::end()).await;
        };
        tokio::join!(refuse, send);
        while !it.caller.turn(move |cx| cx.is_over(here)).await {
            it.caller.next().await;
        }
        it.callee.seen();
        it.caller.seen();
    }
    it.finish().await;
}

#[tokio::test]
async fn handing_over_to_an_unknown_worker_fails() {
    for owner in [2, u16::MAX] {
        let mut it = carried(owner, None);
        let here = it.caller.open(LineBegin {}).await;
        let (at, frame) = it.caller.next_but_window().await;
        assert_eq!(at.stream, here);
        assert!(matches!(frame, Frame::Reset(_)), "{frame:?}");
        assert!(matches!(
            it.caller.next_but_window().await.1,
            Frame::Abort(_)
        ));
        it.finish().await;
    }
}

#[tokio::test]
async fn a_stream_to_an_empty_slot_is_reset() {
    // The first worker does not run the callee.
    let mut it = carried(0, None);
    let here = it.caller.open(LineBegin {}).await;
    let (at, frame) = it.caller.next_but_window().await;
    assert_eq!(at.stream, here);
    assert!(matches!(frame, Frame::Reset(_)), "{frame:?}");
    assert!(matches!(
        it.caller.next_but_window().await.1,
        Frame::Abort(_)
    ));
    it.finish().await;
}
