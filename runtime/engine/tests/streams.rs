//! Guarantees about streams: order, state, credit and isolation of faults.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use bytes::Bytes;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::{BeginEx, Data, DataFlags, Frame, FrameKind, Role, Window};
use tidegate_engine::testing::Rig;
use tidegate_engine::{At, Binding, BindingId, Context, Duration, PendingData, StreamId, Token};

/// Relays every frame between a stream and one it opens to its exit; misbehaves on request.
struct Relay {
    exit: BindingId,
    pairs: Vec<Option<Pair>>,
}

struct Pair {
    accepted: StreamId,
    opened: StreamId,
    forward: PendingData,
    back: PendingData,
}

const PANIC: &[u8] = b"panic";
const OVERSPEND: &[u8] = b"overspend";
const TIMER: u32 = 1;

impl Binding for Relay {
    fn exchanges(&self) -> usize {
        // Keeps its pairs for ever, so that tests can inspect them.
        0
    }

    fn window(&self) -> u32 {
        1_000
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let token = Token::from_index(self.pairs.len());
        cx.accept(stream, token);
        let opened = cx.open(self.exit, begin, token).expect("below the limit");
        self.pairs.push(Some(Pair {
            accepted: stream,
            opened,
            forward: PendingData::new(),
            back: PendingData::new(),
        }));
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let Some(Some(pair)) = self.pairs.get_mut(at.token.index()) else {
            return;
        };
        let other = if at.role == Role::Callee {
            pair.opened
        } else {
            pair.accepted
        };
        match frame {
            Frame::Data(data) if data.payload == PANIC => panic!("asked to"),
            Frame::Data(data) if data.payload == OVERSPEND => {
                cx.send(other, Frame::data(Bytes::from(vec![0; 1 << 20])));
            }
            Frame::Data(data) => {
                cx.acknowledge(at.stream, data.payload.len());
                let queue = if at.role == Role::Callee {
                    &mut pair.forward
                } else {
                    &mut pair.back
                };
                queue.send(cx, other, data);
            }
            Frame::Window(_) => {
                let queue = if at.role == Role::Caller {
                    &mut pair.forward
                } else {
                    &mut pair.back
                };
                queue.flush(cx, at.stream);
            }
            frame => cx.send(other, frame),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        assert_eq!(kind, TIMER);
        if let Some(Some(pair)) = self.pairs.get(token.index()) {
            cx.terminate(pair.accepted, None, None);
            cx.terminate(pair.opened, None, None);
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, token: Token) {
        self.pairs[token.index()] = None;
    }
}

struct Harness {
    rig: Rig,
    caller: BindingId,
    exit: BindingId,
    relay: BindingId,
}

fn harness(exit_window: u32, caller_window: u32) -> Harness {
    let mut rig = Rig::new();
    let exit = rig.edge(exit_window);
    let relay = rig.attach(Relay {
        exit,
        pairs: Vec::new(),
    });
    let caller = rig.edge(caller_window);
    Harness {
        rig,
        caller,
        exit,
        relay,
    }
}

impl Harness {
    fn open(&mut self) -> (StreamId, StreamId) {
        let accepted = self
            .rig
            .open(self.caller, self.relay, BytesBegin::default());
        let begins = self.rig.outputs(self.exit);
        assert_eq!(begins.len(), 1);
        (accepted, begins[0].at.stream)
    }

    fn kinds(&mut self, edge: BindingId, stream: StreamId) -> Vec<FrameKind> {
        self.rig
            .frames(edge, stream)
            .iter()
            .map(Frame::kind)
            .collect()
    }
}

fn payload(frames: &[Frame]) -> Vec<u8> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.payload.to_vec()),
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn an_ended_stream_is_removed() {
    let mut harness = harness(1_000, 1_000);
    let (call, onward) = harness.open();
    harness.rig.send(
        harness.caller,
        call,
        Frame::data(Bytes::from_static(b"ask")),
    );
    harness.rig.send(harness.caller, call, Frame::end());
    assert_eq!(
        harness.kinds(harness.exit, onward),
        [FrameKind::Data, FrameKind::End]
    );
    harness
        .rig
        .send(harness.exit, onward, Frame::begin(BytesBegin::default()));
    harness.rig.send(
        harness.exit,
        onward,
        Frame::data(Bytes::from_static(b"answer")),
    );
    harness.rig.send(harness.exit, onward, Frame::end());
    let answer = harness.rig.frames(harness.caller, call);
    assert_eq!(payload(&answer), b"answer");
    assert_eq!(answer.last().map(Frame::kind), Some(FrameKind::End));
    harness.rig.assert_idle();
}

#[test]
fn a_payload_is_not_copied() {
    let mut harness = harness(1 << 20, 1_000);
    let (call, onward) = harness.open();
    let body = Bytes::from(vec![7u8; 500]);
    let address = body.as_ptr();
    harness.rig.send(harness.caller, call, Frame::data(body));
    let frames = harness.rig.frames(harness.exit, onward);
    let Some(Frame::Data(Data { payload, .. })) = frames.first() else {
        panic!("no DATA")
    };
    assert_eq!(payload.as_ptr(), address);
}

#[test]
fn a_slow_receiver_slows_the_sender_without_loss() {
    // The exit receives 10 bytes at a time; the relay 1,000.
    let mut harness = harness(10, 1_000);
    let (call, onward) = harness.open();
    let body: Vec<u8> = (0..200).collect();
    harness
        .rig
        .send(harness.caller, call, Frame::data(Bytes::from(body.clone())));
    let mut received = Vec::new();
    let mut flags = Vec::new();
    loop {
        let frames = harness.rig.frames(harness.exit, onward);
        let part = payload(&frames);
        assert!(part.len() <= 10, "never more than granted");
        if part.is_empty() {
            break;
        }
        flags.extend(frames.iter().filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.flags),
            _ => None,
        }));
        received.extend_from_slice(&part);
        harness
            .rig
            .turn(harness.exit, |cx| cx.acknowledge(onward, part.len()));
    }
    assert_eq!(received, body);
    assert_eq!(flags.first(), Some(&DataFlags::INIT));
    assert_eq!(flags.last(), Some(&DataFlags::FIN));
    assert!(
        flags[1..flags.len() - 1]
            .iter()
            .all(|flags| *flags == DataFlags::MIDDLE)
    );
}

#[test]
fn padding_uses_credit() {
    let mut harness = harness(0, 1_000);
    let (call, onward) = harness.open();
    harness
        .rig
        .turn(harness.exit, |cx| cx.grant(onward, 100, 60));
    harness
        .rig
        .send(harness.caller, call, Frame::data(Bytes::from(vec![1; 50])));
    assert_eq!(
        payload(&harness.rig.frames(harness.exit, onward)).len(),
        40,
        "100 less 60 of padding"
    );
    harness.rig.turn(harness.exit, |cx| {
        cx.send(
            onward,
            Frame::Window(Window {
                acknowledge: 100,
                maximum: 100,
                padding: 60,
            }),
        );
    });
    assert_eq!(payload(&harness.rig.frames(harness.exit, onward)).len(), 10);
}

#[test]
fn data_beyond_the_credit_ends_its_stream() {
    let mut harness = harness(100, 1_000);
    let (call, onward) = harness.open();
    let (other_call, other_onward) = harness.open();
    harness.rig.send(
        harness.caller,
        call,
        Frame::data(Bytes::from_static(OVERSPEND)),
    );
    assert_eq!(harness.rig.worker.counters().violations, 1);
    let ended = harness.kinds(harness.exit, onward);
    assert!(
        ended.contains(&FrameKind::Abort),
        "the exit is notified: {ended:?}"
    );
    assert!(
        !ended.contains(&FrameKind::Data),
        "what exceeded the credit is not delivered"
    );
    harness.rig.send(
        harness.caller,
        other_call,
        Frame::data(Bytes::from_static(b"fine")),
    );
    assert_eq!(
        payload(&harness.rig.frames(harness.exit, other_onward)),
        b"fine"
    );
}

#[test]
fn a_panic_ends_only_its_exchange() {
    let mut harness = harness(1_000, 1_000);
    let (call, onward) = harness.open();
    let (other_call, other_onward) = harness.open();
    harness
        .rig
        .send(harness.caller, call, Frame::data(Bytes::from_static(PANIC)));
    assert_eq!(harness.rig.worker.counters().faults, 1);
    assert_eq!(
        harness.kinds(harness.caller, call),
        [FrameKind::Reset, FrameKind::Abort]
    );
    assert_eq!(
        harness.kinds(harness.exit, onward),
        [FrameKind::Reset, FrameKind::Abort]
    );
    harness.rig.send(
        harness.caller,
        other_call,
        Frame::data(Bytes::from_static(b"fine")),
    );
    assert_eq!(
        payload(&harness.rig.frames(harness.exit, other_onward)),
        b"fine"
    );
    // Both peers acknowledge the end, and nothing of the exchange remains.
    for (edge, stream) in [(harness.caller, call), (harness.exit, onward)] {
        harness
            .rig
            .turn(edge, |cx| cx.terminate(stream, None, None));
    }
    assert_eq!(
        harness.rig.worker.counters().streams,
        2,
        "those of the other exchange"
    );
}

#[test]
fn a_stream_that_nobody_accepts_is_reset() {
    struct Deaf;
    impl Binding for Deaf {
        fn exchanges(&self) -> usize {
            0
        }

        fn on_begin(&mut self, _: &mut Context<'_>, _: StreamId, _: BeginEx) {}
        fn on_frame(&mut self, _: &mut Context<'_>, at: At, frame: Frame) {
            panic!("{at:?} was given {frame:?}");
        }
        fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
    }
    let mut rig = Rig::new();
    let deaf = rig.attach(Deaf);
    let caller = rig.edge(100);
    let stream = rig.open(caller, deaf, BytesBegin::default());
    rig.send(
        caller,
        stream,
        Frame::data(Bytes::from_static(b"crosses the reset")),
    );
    let kinds: Vec<FrameKind> = rig.frames(caller, stream).iter().map(Frame::kind).collect();
    assert_eq!(kinds, [FrameKind::Reset, FrameKind::Abort]);
    rig.assert_idle();
}

#[test]
fn a_stale_id_never_reaches_a_new_stream() {
    let mut harness = harness(1_000, 1_000);
    let (call, onward) = harness.open();
    for (edge, stream) in [(harness.caller, call), (harness.exit, onward)] {
        harness
            .rig
            .turn(edge, |cx| cx.terminate(stream, None, None));
    }
    harness.rig.outputs(harness.caller);
    harness.rig.outputs(harness.exit);
    assert_eq!(harness.rig.worker.counters().streams, 0);
    let (_, newer) = harness.open();
    harness.rig.send(
        harness.caller,
        call,
        Frame::data(Bytes::from_static(b"late")),
    );
    assert!(harness.rig.frames(harness.exit, newer).is_empty());
}

#[test]
fn abort_and_reset_end_the_stream_in_every_state() {
    type Act = fn(&mut Context<'_>, StreamId);
    let acts: [Act; 4] = [
        |cx, stream| cx.abort(stream, None),
        |cx, stream| cx.reset(stream, None),
        |cx, stream| cx.terminate(stream, None, None),
        |cx, stream| cx.end(stream, Frame::end()),
    ];
    for first in acts {
        for second in acts {
            for begun in [false, true] {
                let mut harness = harness(1_000, 1_000);
                let (call, onward) = harness.open();
                if begun {
                    harness
                        .rig
                        .send(harness.exit, onward, Frame::begin(BytesBegin::default()));
                }
                harness.rig.turn(harness.caller, |cx| first(cx, call));
                harness.rig.turn(harness.exit, |cx| second(cx, onward));
                for (edge, stream) in [(harness.caller, call), (harness.exit, onward)] {
                    harness
                        .rig
                        .turn(edge, |cx| cx.terminate(stream, None, None));
                }
                harness.rig.outputs(harness.caller);
                harness.rig.outputs(harness.exit);
                harness.rig.assert_idle();
            }
        }
    }
}

#[test]
fn a_stream_beyond_the_limit_is_refused() {
    use tidegate_engine::{Limits, OpenError, Time, Worker};
    let mut worker = Worker::new(
        0,
        [0; 32],
        Limits {
            streams: 2,
            ..Limits::default()
        },
    );
    let exit = worker.attach_edge("edge", 0);
    let caller = worker.attach_edge("edge", 0);
    let opened: Vec<_> = worker.turn(Time::START, caller, |cx| {
        (0..3)
            .map(|_| cx.open(exit, BytesBegin::default(), Token(0)))
            .collect()
    });
    assert!(opened[1].is_ok());
    assert_eq!(opened[2], Err(OpenError::TooManyStreams { limit: 2 }));
    assert_eq!(worker.counters().refused, 1);
}

#[test]
fn a_turn_delivers_a_bounded_number_of_frames() {
    use tidegate_engine::{Limits, Time, Worker};
    let limits = Limits {
        frames_per_turn: 3,
        ..Limits::default()
    };
    let mut worker = Worker::new(0, [0; 32], limits);
    let exit = worker.attach_edge("edge", 0);
    let caller = worker.attach_edge("edge", 0);
    worker.turn(Time::START, caller, |cx| {
        for _ in 0..5 {
            cx.open(exit, BytesBegin::default(), Token(0))
                .expect("below the limit");
        }
    });
    assert!(!worker.is_idle());
    worker.tick(Time::START);
    assert!(worker.is_idle());
    assert_eq!(std::iter::from_fn(|| worker.poll_output()).count(), 5);
}

#[test]
fn timers_fire_in_order_of_deadline_and_a_cancelled_one_does_not() {
    #[derive(Default)]
    struct Clock;
    impl Binding for Clock {
        fn exchanges(&self) -> usize {
            0
        }

        fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
            cx.accept(stream, Token(0));
            cx.timer(Duration::from_millis(20), Token(2), 0, "second");
            cx.timer(Duration::from_millis(10), Token(1), 0, "first");
            let cancelled = cx.timer(Duration::from_millis(15), Token(9), 0, "never");
            assert!(cx.cancel(cancelled) && !cx.cancel(cancelled));
            cx.terminate(stream, None, None);
        }
        fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}
        fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: u32) {
            assert_eq!(cx.now().as_micros(), u64::from(token.0) * 10_000);
        }
        fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
    }
    let mut rig = Rig::new();
    let clock = rig.attach(Clock);
    let caller = rig.edge(0);
    let stream = rig.open(caller, clock, BytesBegin::default());
    rig.turn(caller, |cx| cx.terminate(stream, None, None));
    rig.outputs(caller);
    assert_eq!(
        rig.worker.next_deadline().map(|(_, reason)| reason),
        Some("first")
    );
    rig.advance(Duration::from_millis(15));
    assert_eq!(
        rig.worker.next_deadline().map(|(_, reason)| reason),
        Some("second")
    );
    rig.advance(Duration::from_millis(15));
    rig.assert_idle();
}

#[test]
fn work_split_by_timers_continues_in_the_next_turn() {
    /// Works in steps, and sends a FLUSH to its caller in each.
    struct InPieces(Option<StreamId>);
    impl InPieces {
        fn work(&self, cx: &mut Context<'_>, left: u32) {
            let Some(stream) = self.0 else { return };
            cx.send(
                stream,
                Frame::part(DataFlags::WHOLE, Bytes::from_static(b"x")),
            );
            match left {
                0 => cx.terminate(stream, None, None),
                left => {
                    cx.timer(
                        Duration::from_millis(0),
                        Token(left - 1),
                        0,
                        "the next piece",
                    );
                }
            }
        }
    }
    impl Binding for InPieces {
        fn exchanges(&self) -> usize {
            0
        }

        fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
            cx.accept(stream, Token(9));
            cx.send(stream, Frame::begin(BytesBegin::default()));
            self.0 = Some(stream);
            self.work(cx, 2);
        }
        fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}
        fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: u32) {
            self.work(cx, token.0);
        }
        fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
    }
    let mut rig = Rig::new();
    let worker = rig.attach(InPieces(None));
    let caller = rig.edge(100);
    let stream = rig.open(caller, worker, BytesBegin::default());
    let pieces = |rig: &mut Rig| {
        let frames = rig.frames(caller, stream);
        let is_piece = |frame: &&Frame| matches!(frame, Frame::Data(_));
        frames.iter().filter(is_piece).count()
    };
    assert_eq!(pieces(&mut rig), 1);
    let now = rig.now();
    assert_eq!(rig.worker.next_deadline(), Some((now, "the next piece")));
    for _ in 0..2 {
        // Each turn runs one step, whatever the turn is for.
        rig.turn(caller, |_| ());
        assert_eq!(pieces(&mut rig), 1);
    }
    rig.turn(caller, |cx| cx.terminate(stream, None, None));
    rig.outputs(caller);
    rig.assert_idle();
}

#[test]
fn a_timer_of_an_exchange_can_end_it() {
    let mut harness = harness(100, 100);
    let (call, onward) = harness.open();
    harness.rig.turn(harness.relay, |cx| {
        cx.timer(Duration::from_secs(5), Token(0), TIMER, "test");
    });
    harness.rig.advance(Duration::from_secs(5));
    assert_eq!(
        harness.kinds(harness.caller, call),
        [FrameKind::Reset, FrameKind::Abort]
    );
    assert_eq!(
        harness.kinds(harness.exit, onward),
        [FrameKind::Reset, FrameKind::Abort]
    );
}
