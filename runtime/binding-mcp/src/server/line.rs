//! Line streams: every message of a process on one channel.

use std::collections::BTreeMap;

use tidegate_engine::{Context, PendingData, StreamId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::line::LineOversized;
use tidegate_streams::{Data, FlushEx, Frame};

use super::binding::{Key, McpServer};
use super::errors::Refusal;
use super::http::Caller;
use super::output::{Sink, frames, one_line};
use super::request::AHEAD;
use crate::jsonrpc::{self as envelope, Id};

/// A line stream.
#[derive(Debug)]
pub(super) struct Line {
    stream: StreamId,
    message: Gather,
    /// Received and not acknowledged, since the client does not read.
    unacknowledged: usize,
    /// What becomes of the message that comes in.
    fate: Fate,
    pub(super) out: PendingData,
    /// What is under way, by the client's id.
    pub(super) under_way: BTreeMap<Id, UnderWay>,
    pub(super) session: Option<usize>,
    /// How many answers the client is still to get.
    owed: usize,
    /// The client will send nothing more.
    ended: bool,
}

/// What becomes of a message that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It will be read.
    Read,
    /// It is larger than is taken.
    Oversized,
    /// It has been refused already.
    Refused,
}

/// What a client can cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnderWay {
    Request(usize),
    Listen(usize),
}

impl Line {
    /// What the client listens to.
    fn listens(&self) -> Vec<usize> {
        let listen = |under_way: &UnderWay| match under_way {
            UnderWay::Listen(listen) => Some(*listen),
            UnderWay::Request(_) => None,
        };
        self.under_way.values().filter_map(listen).collect()
    }
}

impl McpServer {
    pub(super) fn on_line(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        if cx.stopping() {
            return cx.terminate(stream, None, None);
        }
        let key = self.lines.insert(Line {
            stream,
            message: Gather::new(),
            unacknowledged: 0,
            fate: Fate::Read,
            out: PendingData::new(),
            under_way: BTreeMap::new(),
            session: None,
            owed: 0,
            ended: false,
        });
        cx.accept(stream, Key::Line(key).token());
        cx.send(stream, Frame::begin(tidegate_streams::line::LineBegin {}));
    }

    pub(super) fn line_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                line.unacknowledged += data.payload.len();
                self.message_part(cx, key, data);
                self.take_more(cx, key);
            }
            Frame::Flush(flush) => {
                if let FlushEx::Line(LineOversized { length, limit }) = *flush {
                    let what = format!(
                        "A message of {length} bytes is too large; at most {limit} are taken."
                    );
                    let refusal = Refusal::invalid_request(&what);
                    line.owed += 1;
                    self.refuse(cx, Sink::Line(key), &Id::null(), &refusal);
                }
            }
            Frame::Window(_) => {
                line.out.flush(cx, line.stream);
                let session = line.session;
                let listens = line.listens();
                for listen in listens {
                    self.flush_listen_updates(cx, listen);
                }
                if let Some(session) = session {
                    self.flush_session_updates(cx, session);
                }
                self.take_more(cx, key);
                self.end_line_if_done(cx, key);
            }
            Frame::End(_) => {
                line.ended = true;
                self.input_ended(cx, key);
            }
            Frame::Abort(_) | Frame::Reset(_) => self.line_left(cx, key),
            _ => {}
        }
    }

    /// Lets the client say more, unless too much waits that it does not read.
    fn take_more(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(line) = self.lines.get_mut(key)
            && line.out.len() < AHEAD
        {
            cx.acknowledge(line.stream, std::mem::take(&mut line.unacknowledged));
        }
    }

    fn message_part(&mut self, cx: &mut Context<'_>, key: usize, data: Data) {
        let begins_batch = data.flags.is_init() && data.payload.starts_with(b"[");
        if begins_batch {
            self.screen_line(cx, key);
        }
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        // The edge bounds a line and tells how long it was; this holds whatever is in front.
        if line.message.len() + data.payload.len() > self.options.max_message_size {
            line.message = Gather::new();
            line.fate = match line.fate {
                Fate::Read => Fate::Oversized,
                fate => fate,
            };
        }
        if line.fate == Fate::Read {
            line.message.push(data.payload);
        }
        if !data.flags.is_fin() {
            return;
        }
        let message = line.message.take();
        match std::mem::replace(&mut line.fate, Fate::Read) {
            Fate::Read => self.serve_line(cx, key, message),
            Fate::Oversized => {
                line.owed += 1;
                let refusal = Refusal::invalid_request("The message is too large.");
                self.refuse(cx, Sink::Line(key), &Id::null(), &refusal);
            }
            Fate::Refused => {}
        }
    }

    fn caller_of_line(&self, key: usize) -> Caller<'static> {
        Caller {
            sink: Sink::Line(key),
            headers: None,
            session: self.lines.get(key).and_then(|line| line.session),
        }
    }

    /// A message begins as a batch does: where none is taken, it is refused before it is read.
    fn screen_line(&mut self, cx: &mut Context<'_>, key: usize) {
        let caller = self.caller_of_line(key);
        if self.takes_batches(caller.session) {
            return;
        }
        if let Some(line) = self.lines.get_mut(key) {
            line.fate = Fate::Refused;
            line.owed += 1;
        }
        self.check_batch(cx, &caller);
    }

    fn serve_line(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let caller = self.caller_of_line(key);
        if envelope::is_batch(&message) {
            self.owe(key);
            if self.check_batch(cx, &caller) {
                self.serve_batch(cx, &caller, message);
            }
            return;
        }
        let message = envelope::read(message);
        if envelope::is_answered(&message) {
            self.owe(key);
        }
        self.serve(cx, &caller, message);
    }

    /// The client of a line is to get one more answer.
    fn owe(&mut self, key: usize) {
        if let Some(line) = self.lines.get_mut(key) {
            line.owed += 1;
        }
    }

    /// Writes a message as one line.
    pub(super) fn write_line(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let message: Parts = message.into_iter().map(one_line).collect();
        for data in frames(message) {
            line.out.send(cx, line.stream, data);
        }
    }

    /// Nothing more comes: what was asked for is still answered, and nothing is listened to.
    fn input_ended(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let session = line.session;
        let listens = line.listens();
        for listen in listens {
            self.end_listen(cx, listen);
        }
        if let Some(session) = session {
            self.end_subscriptions(cx, session);
        }
        self.end_line_if_done(cx, key);
    }

    /// One message of the client is answered, or will not be.
    pub(super) fn line_settled(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(line) = self.lines.get_mut(key) {
            line.owed = line.owed.saturating_sub(1);
            self.end_line_if_done(cx, key);
        }
    }

    /// Ends the output once everything is answered, if nothing more will be asked.
    pub(super) fn end_line_if_done(&mut self, cx: &mut Context<'_>, key: usize) {
        let stopping = cx.stopping();
        let Some(line) = self.lines.get(key) else {
            return;
        };
        let session = line.session;
        if !(line.ended || stopping) || line.owed > 0 || !line.out.is_empty() {
            return;
        }
        cx.end(line.stream, Frame::end());
        if !line.ended {
            cx.terminate(line.stream, None, None);
        }
        self.lines.remove(key);
        if let Some(session) = session {
            self.retire_session(cx, session);
        }
    }

    /// The channel broke.
    pub(super) fn line_left(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(line) = self.lines.try_remove(key) else {
            return;
        };
        cx.terminate(line.stream, None, None);
        let sink = Sink::Line(key);
        self.discover_left(sink);
        let batches: Vec<usize> = self.batches.iter().map(|(batch, _)| batch).collect();
        for batch in batches {
            self.batch_left(batch, sink);
        }
        for under_way in line.under_way.into_values() {
            match under_way {
                UnderWay::Request(request) => self.cancel_request(cx, request),
                UnderWay::Listen(listen) => self.listen_left(cx, listen),
            }
        }
        if let Some(session) = line.session {
            self.retire_session(cx, session);
        }
    }
}
