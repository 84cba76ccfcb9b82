//! Line streams: every message of a process on one channel.
//!
//! Owns the line streams: the message that comes in on each, what waits to be written, what the client
//! has under way by its ids, and how many answers it is still to get. What comes is told as a
//! [`LineEvent`]. A line is removed when its client has ended it, or the engine stops, and the last
//! answer has gone out ([`Ended`]).

use slab::Slab;
use tidegate_engine::{Context, PendingData, StreamId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::line::{LineBegin, LineOversized};
use tidegate_streams::{Data, FlushEx, Frame};

use super::errors::Refusal;
use super::key::Key;
use super::options::Options;
use super::payload::one_line;
use super::sink::UNSENT_MAX;
use super::under_way::UnderWay;
use crate::jsonrpc::Id;

/// What a line has to tell.
#[derive(Debug)]
pub(super) enum LineEvent {
    /// A message is whole.
    Message(Parts),
    /// A message begins as a batch does, and none is taken here; it is not read.
    BatchRefused,
    /// A message is refused unread.
    Refused(Refusal),
    /// The client has taken something.
    Drained(Dependents),
    /// The client will send nothing more.
    InputEnded(Dependents),
    /// The channel broke. The line is removed.
    Disconnected(Disconnected),
}

/// What is open for the client of a line.
#[derive(Debug)]
pub(super) struct Dependents {
    pub(super) session: Option<usize>,
    pub(super) listens: Vec<usize>,
}

/// What a line that is removed leaves behind.
#[derive(Debug)]
pub(super) struct Disconnected {
    pub(super) session: Option<usize>,
    pub(super) under_way: Vec<LineWork>,
}

/// A line has come to its end, and is removed.
#[derive(Debug)]
#[must_use]
pub(super) struct Ended {
    /// Its session, which ends with it.
    pub(super) session: Option<usize>,
}

/// What a client of a line can cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineWork {
    Request(usize),
    Listen(usize),
}

/// The line streams of a worker.
#[derive(Debug)]
pub(super) struct Lines {
    all: Slab<Line>,
    max_message_size: usize,
}

#[derive(Debug)]
struct Line {
    stream: StreamId,
    message: Gather,
    /// Received and not acknowledged, since the client does not read.
    unacknowledged: usize,
    /// What becomes of the message that comes in.
    fate: Fate,
    out: PendingData,
    under_way: UnderWay<LineWork>,
    session: Option<usize>,
    /// Whether that session takes batches.
    takes_batches: bool,
    /// How many answers the client is still to get.
    unanswered: usize,
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

impl Line {
    fn receive(&mut self, data: Data, limit: usize) -> Option<LineEvent> {
        let length = data.payload.len();
        self.unacknowledged += length;
        let mut event = None;
        if data.flags.is_init() && data.payload.starts_with(b"[") && !self.takes_batches {
            self.fate = Fate::Refused;
            self.unanswered += 1;
            event = Some(LineEvent::BatchRefused);
        }
        // The edge bounds a line and tells how long it was; this holds whatever is in front.
        if self.message.len() + length > limit && self.fate == Fate::Read {
            self.message = Gather::new();
            self.fate = Fate::Oversized;
        }
        if self.fate == Fate::Read {
            self.message.push(data.payload);
        }
        if !data.flags.is_fin() {
            return event;
        }
        let message = self.message.take();
        match std::mem::replace(&mut self.fate, Fate::Read) {
            Fate::Read => Some(LineEvent::Message(message)),
            Fate::Oversized => Some(self.refuse("The message is too large.".into())),
            Fate::Refused => event,
        }
    }

    /// Refuses a message unread, which is an answer all the same.
    fn refuse(&mut self, what: String) -> LineEvent {
        self.unanswered += 1;
        LineEvent::Refused(Refusal::invalid_request(what))
    }

    fn dependents(&self) -> Dependents {
        let listen = |work: LineWork| match work {
            LineWork::Listen(listen) => Some(listen),
            LineWork::Request(_) => None,
        };
        Dependents {
            session: self.session,
            listens: self.under_way.iter().filter_map(listen).collect(),
        }
    }
}

impl Lines {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            all: Slab::new(),
            max_message_size: options.max_message_size,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The lines there are now; handling one may remove it.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.all.iter().map(|(key, _)| key).collect()
    }

    fn get(&self, key: usize) -> Option<&Line> {
        let line = self.all.get(key);
        debug_assert!(line.is_some(), "no line {key}");
        line
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Line> {
        let line = self.all.get_mut(key);
        debug_assert!(line.is_some(), "no line {key}");
        line
    }

    pub(super) fn accept(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        let key = self.all.insert(Line {
            stream,
            message: Gather::new(),
            unacknowledged: 0,
            fate: Fate::Read,
            out: PendingData::new(),
            under_way: UnderWay::new(),
            session: None,
            takes_batches: false,
            unanswered: 0,
            ended: false,
        });
        cx.accept(stream, Key::Line(key).token());
        cx.send(stream, Frame::begin(LineBegin {}));
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<LineEvent> {
        let limit = self.max_message_size;
        let line = self.get_mut(key)?;
        match frame {
            Frame::Data(data) => line.receive(data, limit),
            Frame::Flush(flush) => match *flush {
                FlushEx::Line(LineOversized { length, limit }) => Some(line.refuse(format!(
                    "Message of {length} bytes is too large; the limit is {limit}."
                ))),
                _ => None,
            },
            Frame::Window(_) => {
                line.out.flush(cx, line.stream);
                Some(LineEvent::Drained(line.dependents()))
            }
            Frame::End(_) => {
                line.ended = true;
                Some(LineEvent::InputEnded(line.dependents()))
            }
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx, key).map(LineEvent::Disconnected),
            _ => None,
        }
    }

    /// Removes a line, whatever its state.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Disconnected> {
        let line = self.all.try_remove(key)?;
        cx.terminate(line.stream, None, None);
        Some(Disconnected {
            session: line.session,
            under_way: line.under_way.iter().collect(),
        })
    }

    /// Lets the client say more, unless too much waits that it does not read. A line that its last
    /// answer has ended takes nothing more.
    pub(super) fn take_more(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(line) = self.all.get_mut(key)
            && line.out.len() < UNSENT_MAX
        {
            cx.acknowledge(line.stream, std::mem::take(&mut line.unacknowledged));
        }
    }

    pub(super) fn stream(&self, key: usize) -> Option<StreamId> {
        self.get(key).map(|line| line.stream)
    }

    /// The session of a line.
    pub(super) fn session(&self, key: usize) -> Option<usize> {
        self.get(key)?.session
    }

    /// A session begins on the line.
    pub(super) fn begin_session(&mut self, key: usize, session: usize, takes_batches: bool) {
        if let Some(line) = self.get_mut(key) {
            line.session = Some(session);
            line.takes_batches = takes_batches;
        }
    }

    /// The session of the line has ended: the requests that are under way on it, the session's and others.
    pub(super) fn end_session(&mut self, key: usize) -> Vec<usize> {
        let Some(line) = self.get_mut(key) else {
            return Vec::new();
        };
        line.session = None;
        line.takes_batches = false;
        let request = |work: LineWork| match work {
            LineWork::Request(request) => Some(request),
            LineWork::Listen(_) => None,
        };
        line.under_way.iter().filter_map(request).collect()
    }

    /// Whether one more request may be under way, and its id is free.
    pub(super) fn check_room(&self, key: usize, id: &Id) -> Result<(), Refusal> {
        self.get(key)
            .map_or(Ok(()), |line| line.under_way.check_room(id))
    }

    pub(super) fn register(&mut self, key: usize, id: Id, work: LineWork) {
        if let Some(line) = self.get_mut(key) {
            line.under_way.insert(id, work);
        }
    }

    pub(super) fn unregister(&mut self, key: usize, id: &Id) {
        if let Some(line) = self.get_mut(key) {
            line.under_way.remove(id);
        }
    }

    /// What is under way with an id.
    pub(super) fn work(&self, key: usize, id: &Id) -> Option<LineWork> {
        self.get(key)?.under_way.get(id)
    }

    /// The client of the line is to get one more answer.
    pub(super) fn expect_answer(&mut self, key: usize) {
        if let Some(line) = self.get_mut(key) {
            line.unanswered += 1;
        }
    }

    /// Writes a message as one line.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        if let Some(line) = self.get_mut(key) {
            let message: Parts = message.into_iter().map(one_line).collect();
            for data in Data::of_message(message) {
                line.out.send(cx, line.stream, data);
            }
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self, key: usize) -> usize {
        self.get(key).map_or(0, |line| line.out.len())
    }

    /// One message of the client is answered, or will not be.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Ended> {
        let line = self.get_mut(key)?;
        debug_assert!(line.unanswered > 0, "nothing is unanswered on line {key}");
        line.unanswered = line.unanswered.saturating_sub(1);
        self.end_if_done(cx, key)
    }

    /// Ends the output once everything is answered, if nothing more will be asked.
    pub(super) fn end_if_done(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Ended> {
        // It may have ended already, with its last answer.
        let line = self.all.get(key)?;
        if !(line.ended || cx.stopping()) || line.unanswered > 0 || !line.out.is_empty() {
            return None;
        }
        cx.end(line.stream, Frame::end());
        if !line.ended {
            cx.terminate(line.stream, None, None);
        }
        let session = line.session;
        self.all.remove(key);
        Some(Ended { session })
    }
}

#[cfg(test)]
mod tests;
