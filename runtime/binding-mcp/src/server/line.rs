//! Line streams: every message of a process on one channel.

use std::collections::BTreeMap;

use tidegate_engine::{Context, PendingData, StreamId};
use tidegate_json::Parts;
use tidegate_streams::line::LineOversized;
use tidegate_streams::{FlushEx, Frame};

use super::binding::{Key, McpServer};
use super::envelope::{self, Id, Incoming};
use super::errors::Refusal;
use super::http::Caller;
use super::methods::BATCHING;
use super::output::{Sink, frames, one_line};
use super::request::AHEAD;

/// A line stream.
#[derive(Debug)]
pub(super) struct Line {
    stream: StreamId,
    message: Parts,
    /// Received and not acknowledged, since the client does not read.
    unacknowledged: usize,
    /// The message that comes in is larger than is taken.
    oversized: bool,
    pub(super) out: PendingData,
    /// What is under way, by the client's id.
    pub(super) under_way: BTreeMap<Id, UnderWay>,
    pub(super) session: Option<usize>,
    /// How many answers the client is still to get.
    owed: usize,
    /// The client will send nothing more.
    ended: bool,
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
            message: Parts::new(),
            unacknowledged: 0,
            oversized: false,
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
                let fin = data.flags.is_fin();
                line.unacknowledged += data.payload.len();
                // The edge bounds a line and tells how long it was; this holds whatever is in front.
                if line.message.len() + data.payload.len() <= self.options.max_message_size {
                    line.message.push(data.payload);
                } else {
                    line.oversized = true;
                }
                if fin {
                    let message = std::mem::take(&mut line.message);
                    if std::mem::take(&mut line.oversized) {
                        line.owed += 1;
                        let refusal = Refusal::invalid_request("The message is too large.");
                        self.refuse(cx, Sink::Line(key), &Id::null(), &refusal);
                    } else {
                        self.serve_line(cx, key, message);
                    }
                }
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

    fn serve_line(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let session = self.lines.get(key).and_then(|line| line.session);
        let caller = Caller {
            sink: Sink::Line(key),
            headers: None,
            session,
        };
        let incoming = envelope::read(message);
        if incoming.is_answered()
            && let Some(line) = self.lines.get_mut(key)
        {
            line.owed += 1;
        }
        match incoming {
            Incoming::One(message) => self.serve(cx, &caller, message),
            Incoming::Batch(messages) => {
                let batches = self.session_version(session) == Some(BATCHING);
                if batches && Self::is_batch(&messages) {
                    self.serve_batch(cx, &caller, messages);
                } else {
                    let refusal = Refusal::invalid_request("Batches are not served here.");
                    self.refuse(cx, caller.sink, &Id::null(), &refusal);
                }
            }
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
