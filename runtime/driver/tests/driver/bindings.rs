//! Small bindings for tests of the driver.

use std::collections::BTreeMap;

use tidegate_engine::streams::line::{LineBegin, LineOversized};
use tidegate_engine::streams::{BeginEx, Frame, FrameKind};
use tidegate_engine::{At, Binding, BindingId, Context, Duration, StreamId, Token};

/// Initial credit of streams towards the bindings, in bytes.
pub(crate) const WINDOW: u32 = 1_000;

/// Answers BEGIN with BEGIN and DATA with the same DATA; panics at a FLUSH; ends its streams when
/// the engine is stopping.
#[derive(Default)]
pub(crate) struct Answerer {
    streams: BTreeMap<Token, StreamId>,
    next: u32,
}

impl Binding for Answerer {
    fn exchanges(&self) -> usize {
        0
    }

    fn window(&self) -> u32 {
        WINDOW
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let token = Token(self.next);
        self.next += 1;
        self.streams.insert(token, stream);
        cx.accept(stream, token);
        cx.send(stream, Frame::begin(begin));
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(at.stream, data.payload.len());
                cx.send(at.stream, Frame::Data(data));
            }
            Frame::Flush(_) => panic!("on purpose"),
            frame if frame.kind() == FrameKind::Window => {}
            _ => {
                cx.end(at.stream, Frame::end());
                self.streams.remove(&at.token);
            }
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, token: Token) {
        self.streams.remove(&token);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for stream in self.streams.values() {
            cx.end(*stream, Frame::end());
        }
    }
}

/// Sends FLUSH at a first timer, and END at a second one, which the first sets.
#[derive(Default)]
pub(crate) struct Alarm {
    stream: Option<StreamId>,
}

impl Binding for Alarm {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        self.stream = Some(stream);
        cx.accept(stream, Token(0));
        cx.send(stream, Frame::begin(begin));
        cx.timer(Duration::from_millis(1), Token(0), 0, "the first alarm");
    }

    fn on_frame(&mut self, _cx: &mut Context<'_>, _at: At, _frame: Frame) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, _token: Token, kind: u32) {
        let Some(stream) = self.stream else { return };
        if kind == 0 {
            cx.send(stream, Frame::flush(LineOversized::default()));
            cx.timer(Duration::from_millis(1), Token(0), 1, "the second alarm");
        } else {
            cx.end(stream, Frame::end());
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}

/// Works in steps, one per turn, until it receives a FLUSH.
#[derive(Default)]
pub(crate) struct InSteps {
    stream: Option<StreamId>,
    steps: u32,
    stop: bool,
}

impl InSteps {
    fn schedule_step(&mut self, cx: &mut Context<'_>) {
        self.steps += 1;
        cx.timer(Duration::from_millis(0), Token(0), 0, "the next step");
    }
}

impl Binding for InSteps {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        self.stream = Some(stream);
        cx.accept(stream, Token(0));
        cx.send(stream, Frame::begin(begin));
        self.schedule_step(cx);
    }

    fn on_frame(&mut self, _cx: &mut Context<'_>, _at: At, frame: Frame) {
        self.stop |= matches!(frame, Frame::Flush(_));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _token: Token, _kind: u32) {
        match self.stream {
            Some(stream) if self.stop && self.steps > 1_000 => cx.end(stream, Frame::end()),
            _ => self.schedule_step(cx),
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}

/// Hands streams over to one worker, and relays every frame there between the stream and its exit.
pub(crate) struct Owned {
    pub(crate) exit: BindingId,
    /// The worker that owns the streams.
    pub(crate) owner: u16,
    /// Additional credit granted when a stream is accepted, in bytes.
    pub(crate) more: Option<u32>,
    peers: BTreeMap<StreamId, StreamId>,
}

impl Owned {
    pub(crate) const fn new(exit: BindingId, owner: u16) -> Self {
        Self {
            exit,
            owner,
            more: None,
            peers: BTreeMap::new(),
        }
    }
}

impl Binding for Owned {
    fn window(&self) -> u32 {
        WINDOW
    }

    fn exchanges(&self) -> usize {
        self.peers.len() / 2
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if cx.worker() != self.owner {
            cx.hand_over(stream, begin, self.owner);
            return;
        }
        let exit = cx.open(self.exit, LineBegin {}, Token::default());
        let exit = exit.expect("the worker is below the stream limit");
        cx.accept(stream, Token::default());
        if let Some(more) = self.more {
            cx.grant(stream, more, 0);
        }
        self.peers.insert(stream, exit);
        self.peers.insert(exit, stream);
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let Some(peer) = self.peers.get(&at.stream).copied() else {
            return;
        };
        cx.send(peer, frame);
        if cx.is_over(at.stream) && cx.is_over(peer) {
            self.peers.remove(&at.stream);
            self.peers.remove(&peer);
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}

/// Opens a stream when the worker starts.
pub(crate) struct Opener {
    pub(crate) exit: BindingId,
}

impl Binding for Opener {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        let opened = cx.open(self.exit, LineBegin {}, Token(0));
        opened.expect("the worker is below the stream limit");
    }

    fn on_begin(&mut self, _cx: &mut Context<'_>, _stream: StreamId, _begin: BeginEx) {}

    fn on_frame(&mut self, _cx: &mut Context<'_>, _at: At, _frame: Frame) {}

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}
