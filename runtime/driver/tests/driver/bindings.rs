//! Small bindings that stand for the engine's own.

use std::collections::BTreeMap;

use tidegate_engine::streams::line::{LineBegin, LineOversized};
use tidegate_engine::streams::{BeginEx, Frame, FrameKind};
use tidegate_engine::{At, Binding, BindingId, Context, Duration, StreamId, Token};

/// What streams towards the bindings start with, in bytes.
pub(crate) const WINDOW: u32 = 1_000;

/// Answers BEGIN with BEGIN, DATA with the same DATA; panics at a FLUSH; ends its streams when the
/// engine is about to stop.
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

/// Tells of one timer by FLUSH and of the next, which that sets, by END.
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

/// Works in pieces, between which it gives way, until it is told to end by a FLUSH.
#[derive(Default)]
pub(crate) struct InPieces {
    stream: Option<StreamId>,
    pieces: u32,
    told: bool,
}

impl InPieces {
    fn give_way(&mut self, cx: &mut Context<'_>) {
        self.pieces += 1;
        cx.timer(Duration::from_millis(0), Token(0), 0, "the next piece");
    }
}

impl Binding for InPieces {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        self.stream = Some(stream);
        cx.accept(stream, Token(0));
        cx.send(stream, Frame::begin(begin));
        self.give_way(cx);
    }

    fn on_frame(&mut self, _cx: &mut Context<'_>, _at: At, frame: Frame) {
        self.told |= matches!(frame, Frame::Flush(_));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _token: Token, _kind: u32) {
        match self.stream {
            Some(stream) if self.told && self.pieces > 1_000 => cx.end(stream, Frame::end()),
            _ => self.give_way(cx),
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}

/// Hands streams over to one worker, and there passes every frame between the stream and its exit.
pub(crate) struct Owned {
    pub(crate) exit: BindingId,
    /// The worker whose streams they are.
    pub(crate) owner: u16,
    /// More credit that it grants as soon as it has a stream, in bytes.
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
        let exit = exit.expect("there is room for a stream");
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
        opened.expect("there is room for a stream");
    }

    fn on_begin(&mut self, _cx: &mut Context<'_>, _stream: StreamId, _begin: BeginEx) {}

    fn on_frame(&mut self, _cx: &mut Context<'_>, _at: At, _frame: Frame) {}

    fn on_fault(&mut self, _cx: &mut Context<'_>, _token: Token) {}
}
