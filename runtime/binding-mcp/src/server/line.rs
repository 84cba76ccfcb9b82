//! Line streams: all messages of a process on one channel.
//!
//! Owns the line streams: the incoming message and the queued output of each, the client's running
//! requests by id, and the number of missing responses. Returns events as [`LineEvent`]. A line is
//! removed with its last response ([`Ended`]) once the client has ended its input or the engine is
//! stopping.

use slab::Slab;
use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::line::{LineBegin, LineOversized};
use tidegate_streams::{Data, FlushEx, Frame};

use super::errors::Refusal;
use super::expiry;
use super::key::Key;
use super::options::Options;
use super::payload::one_line;
use super::running::Running;
use super::sink::UNSENT_MAX;
use crate::jsonrpc::Id;

/// An event of a line.
#[derive(Debug)]
pub(super) enum LineEvent {
    /// A message is complete.
    Message(Parts),
    /// A message begins like a batch, and batches are not supported here; it is skipped.
    BatchRefused,
    /// A message is refused without being parsed.
    Refused(Refusal),
    /// The client has received data.
    Drained(Dependents),
    /// End of input.
    InputEnded(Dependents),
    /// The line was aborted. It is removed.
    Disconnected(Disconnected),
}

/// Something that depends on the client of a line.
#[derive(Debug)]
pub(super) struct Dependents {
    pub(super) session: Option<usize>,
    pub(super) listens: Vec<usize>,
}

/// What belonged to a line that is removed.
#[derive(Debug)]
pub(super) struct Disconnected {
    pub(super) session: Option<usize>,
    pub(super) running: Vec<LineWork>,
}

/// A line that has ended and was removed.
#[derive(Debug)]
#[must_use]
pub(super) struct Ended {
    /// Its session, which ends with it.
    pub(super) session: Option<usize>,
}

/// A request that the client can cancel.
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
    /// Received bytes not acknowledged, because the client does not read.
    unacknowledged: usize,
    /// How the incoming message is handled.
    fate: Fate,
    out: PendingData,
    running: Running<LineWork>,
    session: Option<usize>,
    /// Whether its session supports batches.
    takes_batches: bool,
    /// Number of missing responses.
    unanswered: usize,
    /// The client has ended its input.
    ended: bool,
    /// The timer of the expiry of the caller's identity.
    expiry: Option<TimerId>,
}

/// How an incoming message is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Buffered until it is complete.
    Read,
    /// Skipped: it exceeds the limit.
    Oversized,
    /// Skipped: it has been refused.
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
        // The edge also limits lines; this check does not rely on it.
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
            Fate::Oversized => Some(self.refuse("Message too large.".into())),
            Fate::Refused => event,
        }
    }

    /// Refuses a message without parsing it; the refusal counts as a response.
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
            listens: self.running.iter().filter_map(listen).collect(),
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

    /// Keys of the current lines; handling one may remove it.
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
        let entry = self.all.vacant_entry();
        let token = Key::Line(entry.key()).token();
        let expiry = expiry::timer(cx, token);
        entry.insert(Line {
            stream,
            message: Gather::new(),
            unacknowledged: 0,
            fate: Fate::Read,
            out: PendingData::new(),
            running: Running::new(),
            session: None,
            takes_batches: false,
            unanswered: 0,
            ended: false,
            expiry,
        });
        cx.accept(stream, token);
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
                FlushEx::Line(LineOversized { length, limit }) => {
                    Some(line.refuse(format!("Message too large: {length} bytes, limit {limit}.")))
                }
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

    /// The timer is due: returns what the client can no longer have, if the identity has expired.
    pub(super) fn on_expiry(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Dependents> {
        let line = self.get_mut(key)?;
        line.expiry = None;
        cx.work_for(line.stream);
        if expiry::has_expired(cx) {
            return Some(line.dependents());
        }
        line.expiry = expiry::timer(cx, Key::Line(key).token());
        None
    }

    /// Removes a line in any state.
    pub(super) fn abort(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Disconnected> {
        let mut line = self.all.try_remove(key)?;
        line.expiry.take().map(|timer| cx.cancel(timer));
        cx.terminate(line.stream, None, None);
        Some(Disconnected {
            session: line.session,
            running: line.running.iter().collect(),
        })
    }

    /// Acknowledges input, unless too much output is queued. A line that has ended with its last
    /// response accepts no more input.
    pub(super) fn take_more(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(line) = self.all.get_mut(key)
            && line.out.len() < UNSENT_MAX
        {
            cx.acknowledge(line.stream, std::mem::take(&mut line.unacknowledged));
        }
    }

    /// The session of a line.
    pub(super) fn session(&self, key: usize) -> Option<usize> {
        self.get(key)?.session
    }

    /// Sets the session of a line.
    pub(super) fn begin_session(&mut self, key: usize, session: usize, takes_batches: bool) {
        if let Some(line) = self.get_mut(key) {
            line.session = Some(session);
            line.takes_batches = takes_batches;
        }
    }

    /// Clears the session of a line; returns the requests running on the line, inside and outside
    /// the session.
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
        line.running.iter().filter_map(request).collect()
    }

    /// Checks that one more request may run and that its id is not in use.
    pub(super) fn check_room(&self, key: usize, id: &Id) -> Result<(), Refusal> {
        self.get(key)
            .map_or(Ok(()), |line| line.running.check_room(id))
    }

    pub(super) fn register(&mut self, key: usize, id: Id, work: LineWork) {
        if let Some(line) = self.get_mut(key) {
            line.running.insert(id, work);
        }
    }

    pub(super) fn unregister(&mut self, key: usize, id: &Id) {
        if let Some(line) = self.get_mut(key) {
            line.running.remove(id);
        }
    }

    /// The running request with an id.
    pub(super) fn work(&self, key: usize, id: &Id) -> Option<LineWork> {
        self.get(key)?.running.get(id)
    }

    /// One more response is expected.
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

    /// Queued bytes.
    pub(super) fn waiting(&self, key: usize) -> usize {
        self.get(key).map_or(0, |line| line.out.len())
    }

    /// A response was sent, or will not be.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Ended> {
        let line = self.get_mut(key)?;
        debug_assert!(line.unanswered > 0, "no response is missing on line {key}");
        line.unanswered = line.unanswered.saturating_sub(1);
        self.end_if_done(cx, key)
    }

    /// Ends the output once the input has ended and no response is missing.
    pub(super) fn end_if_done(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Ended> {
        // It may have ended already, with its last response.
        let line = self.all.get(key)?;
        if !(line.ended || cx.stopping()) || line.unanswered > 0 || !line.out.is_empty() {
            return None;
        }
        cx.end(line.stream, Frame::end());
        if !line.ended {
            cx.terminate(line.stream, None, None);
        }
        let session = line.session;
        let mut line = self.all.remove(key);
        line.expiry.take().map(|timer| cx.cancel(timer));
        Some(Ended { session })
    }
}

#[cfg(test)]
mod tests;
