//! One connection: the stream of the caller, the stream to the exit, and WebSocket between them.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{Context, Duration, PendingData, StreamId, TimerId, Token};
use tidegate_streams::bytes_stream::{BytesConnected, BytesReset};
use tidegate_streams::{AbortEx, BeginEx, Data, DataFlags, FlushEx, Frame, ResetEx};

use crate::events::{HandshakeCompleted, HandshakeFailed};
use crate::frames::{Close, Decoder, Event, Opcode, Violation, encode};
use crate::handshake::{Key, Response, request};
use crate::meters::Counts;
use crate::options::Options;

/// Most payload of a frame, in bytes; a message of the caller that is larger becomes several.
const FRAME: usize = 64 * 1024;

/// Payloads below this size, in bytes, are copied together.
const SMALL: usize = 512;

/// Time for the server to close the connection after the close frames (RFC 6455, 7.1.1). mosquitto 2.0 does
/// not close it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_000);

/// What an exchange acts with.
pub(crate) struct Env<'a, 'c> {
    pub(crate) cx: &'a mut Context<'c>,
    pub(crate) options: &'a Options,
    pub(crate) counts: &'a mut Counts,
}

/// How far the connection is.
enum Phase {
    /// The exit connects.
    Connecting,
    /// The request is sent.
    Handshake { key: Key, response: Response },
    /// Frames are exchanged.
    Open(Decoder),
    /// The server sent its close frame.
    Closed,
}

/// An exchange, from the BEGIN of its caller until both streams are over.
pub(crate) struct Exchange {
    token: Token,
    caller: StreamId,
    exit: StreamId,
    phase: Phase,
    connected: BytesConnected,
    /// The connection does not go to the configured endpoints.
    is_redirected: bool,
    /// Bytes of the caller that are not sent yet, and their number.
    outbound: Vec<Bytes>,
    outbound_len: usize,
    /// The close frame to send once everything before it is sent.
    close: Option<Close>,
    close_sent: bool,
    /// The close frame of the server, which is not reported to the caller yet.
    closed_by: Option<Close>,
    /// The last ping that is not answered.
    ping: Option<Bytes>,
    to_exit: PendingData,
    to_caller: PendingData,
    /// Bytes of the exit whose content is not delivered yet.
    unacknowledged: usize,
    timer: Option<TimerId>,
}

impl Exchange {
    pub(crate) fn new(token: Token, caller: StreamId, exit: StreamId, is_redirected: bool) -> Self {
        Self {
            token,
            caller,
            exit,
            phase: Phase::Connecting,
            connected: BytesConnected::default(),
            is_redirected,
            outbound: Vec::new(),
            outbound_len: 0,
            close: None,
            close_sent: false,
            closed_by: None,
            ping: None,
            to_exit: PendingData::new(),
            to_caller: PendingData::new(),
            unacknowledged: 0,
            timer: None,
        }
    }

    pub(crate) const fn caller(&self) -> StreamId {
        self.caller
    }

    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        cx.is_over(self.caller) && cx.is_over(self.exit)
    }

    pub(crate) fn clear_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }

    /// Nothing is left to tell the caller: the peer has [`CLOSE_TIMEOUT`] to close the connection.
    pub(crate) fn limit_closing(&mut self, cx: &mut Context<'_>) {
        if self.timer.is_none() && cx.is_over(self.caller) {
            let reason = "the end of a closed connection";
            self.timer = Some(cx.timer(CLOSE_TIMEOUT, self.token, 0, reason));
        }
    }

    /// Ends both streams at once.
    pub(crate) fn end_streams(&self, cx: &mut Context<'_>) {
        cx.terminate(self.caller, None, None);
        cx.terminate(self.exit, None, None);
    }

    const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::Closed)
    }

    /// Whether the server sent its close frame.
    const fn closes(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    pub(crate) fn on_caller_frame(&mut self, env: &mut Env<'_, '_>, frame: Frame) {
        match frame {
            // Nothing follows a close frame.
            Frame::Data(data) if self.close_sent || self.closes() => {
                env.cx.acknowledge(self.caller, data.payload.len());
            }
            Frame::Data(data) => {
                self.outbound_len += data.payload.len();
                if !data.payload.is_empty() {
                    self.outbound.push(data.payload);
                }
                // The parts of a message share a frame.
                if data.flags.is_fin() || self.outbound_len >= FRAME {
                    self.pump(env);
                }
            }
            Frame::End(_) => {
                self.close.get_or_insert_with(|| Close::of(Close::NORMAL));
                self.pump(env);
            }
            Frame::Window(_) => self.deliver(env.cx),
            Frame::Abort(_) | Frame::Reset(_) => {
                // What was sent before is still written by an exit whose half has ended.
                if self.close_sent && self.to_exit.is_empty() {
                    env.cx.end(self.exit, Frame::end());
                }
                self.end_streams(env.cx);
            }
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    pub(crate) fn on_exit_frame(&mut self, env: &mut Env<'_, '_>, frame: Frame) {
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Bytes(begin) = begin.into_inner() {
                    self.connected.remote = begin.remote.clone();
                    env.cx.send(self.caller, Frame::begin(begin));
                }
            }
            Frame::Flush(flush) => {
                if let FlushEx::Bytes(connected) = *flush
                    && matches!(self.phase, Phase::Connecting)
                {
                    self.start(env, connected);
                }
            }
            Frame::Data(data) => self.receive(env, data.payload),
            Frame::End(_) => self.exit_ended(env),
            Frame::Window(_) => self.pump(env),
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Bytes(reset) => Some(reset),
                    _ => None,
                });
                self.exit_failed(env, reset.unwrap_or_default());
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Bytes(reset) => Some(reset),
                    _ => None,
                });
                self.exit_failed(env, reset.unwrap_or_default());
            }
            Frame::Challenge(_) => {}
        }
    }

    /// The answer, or the end of a closed connection, took too long.
    pub(crate) fn on_timer(&mut self, env: &mut Env<'_, '_>) {
        self.timer = None;
        if env.cx.is_over(self.caller) {
            return env.cx.terminate(self.exit, None, None);
        }
        let within = env.options.handshake_timeout.get();
        let why = format!(
            "no answer within {within} ms (handshakeTimeout); check that the port is a WebSocket listener"
        );
        self.fail(env, &why);
    }

    /// The connection is open: sends the request.
    fn start(&mut self, env: &mut Env<'_, '_>, connected: BytesConnected) {
        self.connected = connected;
        let mut random = [0; 16];
        env.cx.random(&mut random);
        let key = Key::of(random);
        let (remote, is_redirected) = (&self.connected.remote, self.is_redirected);
        let request = request(env.options, remote, is_redirected, &key);
        self.phase = Phase::Handshake {
            key,
            response: Response::default(),
        };
        let within = Duration::from_millis(env.options.handshake_timeout.get());
        let timer = env
            .cx
            .timer(within, self.token, 0, "the WebSocket handshake");
        self.timer = Some(timer);
        self.send(env.cx, request);
    }

    fn send(&mut self, cx: &mut Context<'_>, bytes: Bytes) {
        let data = Data::part(DataFlags::WHOLE, bytes);
        self.to_exit.send(cx, self.exit, data);
    }

    fn send_frame(&mut self, cx: &mut Context<'_>, opcode: Opcode, parts: &[Bytes]) {
        let mut mask = [0; 4];
        cx.random(&mut mask);
        self.send(cx, encode(opcode, parts, mask));
    }

    /// Sends as much as the credit of the exit allows; what waits behind that is at most one frame.
    fn pump(&mut self, env: &mut Env<'_, '_>) {
        while self.to_exit.flush(env.cx, self.exit) && self.is_open() && !self.close_sent {
            if let Some(ping) = self.ping.take() {
                self.send_frame(env.cx, Opcode::Pong, &[ping]);
            } else if self.outbound_len > 0 {
                let parts = self.take_frame();
                let length = parts.iter().map(Bytes::len).sum();
                self.send_frame(env.cx, Opcode::Binary, &parts);
                env.cx.acknowledge(self.caller, length);
            } else if let Some(close) = self.close.take() {
                self.send_frame(env.cx, Opcode::Close, &[close.payload()]);
                self.close_sent = true;
            } else {
                return;
            }
        }
        if self.close_sent && self.closes() && self.to_exit.is_empty() {
            env.cx.end(self.exit, Frame::end());
        }
    }

    /// Takes the payload of the next frame.
    fn take_frame(&mut self) -> Vec<Bytes> {
        if self.outbound_len <= FRAME {
            self.outbound_len = 0;
            return std::mem::take(&mut self.outbound);
        }
        let mut room = FRAME;
        let mut taken = Vec::new();
        for part in &mut self.outbound {
            let here = part.len().min(room);
            taken.push(part.split_to(here));
            room -= here;
            if room == 0 {
                break;
            }
        }
        self.outbound.retain(|part| !part.is_empty());
        self.outbound_len -= FRAME;
        taken
    }

    /// Bytes of the exit arrived.
    fn receive(&mut self, env: &mut Env<'_, '_>, payload: Bytes) {
        self.unacknowledged += payload.len();
        let mut input = match &mut self.phase {
            Phase::Handshake { key, response } => {
                match response.push(&payload, env.options, key) {
                    Ok(Some(behind)) => {
                        self.opened(env);
                        behind
                    }
                    // The head of the response is bounded.
                    Ok(None) => return self.deliver(env.cx),
                    Err(refused) => return self.fail(env, &refused.to_string()),
                }
            }
            _ => payload,
        };
        if let Err(violation) = self.decode(&mut input) {
            return self.violated(env, violation);
        }
        self.pump(env);
        self.deliver(env.cx);
    }

    fn decode(&mut self, input: &mut Bytes) -> Result<(), Violation> {
        let mut small = BytesMut::new();
        while let Phase::Open(decoder) = &mut self.phase
            && let Some(event) = decoder.next(input)?
        {
            match event {
                // Many tiny frames are one DATA: a queue of them would take more memory than they do.
                Event::Payload(payload) if payload.len() < SMALL => {
                    small.extend_from_slice(&payload);
                }
                Event::Payload(payload) => {
                    self.push_inbound(small.split().freeze());
                    self.push_inbound(payload);
                }
                Event::Ping(payload) => self.ping = Some(payload),
                Event::Pong => {}
                Event::Close(close) => self.closed(close),
            }
        }
        self.push_inbound(small.freeze());
        // Nothing follows a close frame.
        Ok(())
    }

    fn push_inbound(&mut self, payload: Bytes) {
        if !payload.is_empty() {
            self.to_caller.push(Data::part(DataFlags::WHOLE, payload));
        }
    }

    /// The server closes: the answer has its code, and nothing else is sent (RFC 6455, 5.5.1).
    fn closed(&mut self, close: Close) {
        self.phase = Phase::Closed;
        self.outbound.clear();
        self.outbound_len = 0;
        self.ping = None;
        self.close = Some(Close {
            reason: ByteString::new(),
            ..close.clone()
        });
        self.closed_by = Some(close);
    }

    /// Delivers bytes within the credit of the caller, and acknowledges them once all are delivered.
    fn deliver(&mut self, cx: &mut Context<'_>) {
        if !self.to_caller.flush(cx, self.caller) {
            return;
        }
        cx.acknowledge(self.exit, std::mem::take(&mut self.unacknowledged));
        match self.closed_by.take() {
            Some(close) if close.is_orderly() => cx.end(self.caller, Frame::end()),
            Some(close) => self.fail_open(cx, &format!("it closed the WebSocket with {close}")),
            None => {}
        }
    }

    fn opened(&mut self, env: &mut Env<'_, '_>) {
        self.phase = Phase::Open(Decoder::default());
        self.clear_timer(env.cx);
        env.cx
            .send(self.caller, Frame::flush(self.connected.clone()));
        env.counts.completed += 1;
        env.cx.event(&HandshakeCompleted {
            remote: self.connected.remote.clone(),
        });
    }

    /// The exit will send nothing more.
    fn exit_ended(&mut self, env: &mut Env<'_, '_>) {
        match &self.phase {
            Phase::Connecting | Phase::Handshake { .. } => self.fail(
                env,
                "it closed the connection during the handshake; check that the port is a WebSocket listener",
            ),
            Phase::Open(_) if !self.close_sent => {
                let why = "the connection ended without a close frame of WebSocket";
                self.fail(env, why);
            }
            Phase::Open(_) | Phase::Closed => {
                if matches!(self.phase, Phase::Open(_)) {
                    // An end without an answer to the close frame is as good as one. What arrived before it is
                    // delivered first.
                    self.closed(Close::default());
                }
                self.deliver(env.cx);
                env.cx.end(self.exit, Frame::end());
            }
        }
    }

    /// The connection of the exit failed or was lost.
    fn exit_failed(&mut self, env: &mut Env<'_, '_>, reset: BytesReset) {
        if !reset.remote.is_empty() {
            self.connected.remote = reset.remote.clone();
        }
        if reset.connected && !self.is_open() {
            let why = format!(
                "{}; check that the port is a WebSocket listener",
                reset.reason
            );
            self.fail(env, &why);
        } else {
            self.reset_caller(env.cx, reset);
        }
        env.cx.terminate(self.exit, None, None);
    }

    /// The server sent what it must not.
    fn violated(&mut self, env: &mut Env<'_, '_>, violation: Violation) {
        if !self.close_sent && self.to_exit.is_empty() {
            let close = Close::of(violation.code());
            self.send_frame(env.cx, Opcode::Close, &[close.payload()]);
        }
        self.fail(
            env,
            &format!("it violated the WebSocket protocol: {violation}"),
        );
    }

    /// Ends both streams with a reason. Until the handshake is complete, the connection counts as one that
    /// was never open.
    fn fail(&mut self, env: &mut Env<'_, '_>, why: &str) {
        if self.is_open() {
            return self.fail_open(env.cx, why);
        }
        env.counts.failed += 1;
        env.cx.event_with(|_| HandshakeFailed {
            remote: self.connected.remote.clone(),
            reason: why.into(),
        });
        self.end_with(env.cx, format!("no WebSocket connection: {why}"), false);
    }

    fn fail_open(&mut self, cx: &mut Context<'_>, why: &str) {
        self.end_with(cx, why.to_owned(), true);
    }

    fn end_with(&mut self, cx: &mut Context<'_>, reason: String, connected: bool) {
        let reset = BytesReset {
            remote: self.connected.remote.clone(),
            reason: reason.into(),
            connected,
            ..BytesReset::default()
        };
        self.reset_caller(cx, reset);
        // The end makes the exit write what is queued, such as a close frame.
        self.to_exit.flush(cx, self.exit);
        cx.end(self.exit, Frame::end());
        cx.terminate(self.exit, None, None);
    }

    fn reset_caller(&self, cx: &mut Context<'_>, reset: BytesReset) {
        let (abort, reset) = (AbortEx::Bytes(reset.clone()), ResetEx::Bytes(reset));
        cx.terminate(self.caller, Some(reset), Some(abort));
    }
}
