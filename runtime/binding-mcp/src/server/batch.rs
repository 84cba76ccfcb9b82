//! Batches (2025-03-26): several messages in, their answers together out.
//!
//! Owns the batches that are served: the messages that are not read yet, and the answers that are
//! gathered. A batch was checked as a whole before. It is served a step for each turn of the worker, so
//! that it holds up nobody else; what of it waits is text, a slice of what came. When its last answer is
//! there it is removed and told as [`Done`].

use std::sync::Arc;

use ::http::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{Context, Duration, TimerId};
use tidegate_json::Parts;

use super::key::Key;
use super::sink::Sink;

/// How many messages of a batch are served in one turn,
const STEP_MESSAGES: usize = 16;
/// and after how many bytes of them no more is.
const STEP_BYTES: usize = 64 * 1024;

/// A batch that is answered.
#[derive(Debug)]
#[must_use]
pub(super) struct Done {
    pub(super) sink: Sink,
    /// The array of all answers; `None` where it had no request, or every one of it was cancelled: an
    /// empty batch is no message.
    pub(super) answers: Option<Parts>,
}

/// One message of a batch, and what came with the batch.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Parts,
    /// The headers, over HTTP.
    pub(super) headers: Option<Arc<HeaderMap>>,
    /// The session that it belongs to, as the client knows it: it may end before all is served.
    pub(super) session: ByteString,
}

/// The batches of a worker.
#[derive(Debug, Default)]
pub(super) struct Batches {
    all: Slab<Batch>,
    /// Bytes of the answers that are gathered.
    held: usize,
}

#[derive(Debug)]
struct Batch {
    sink: Sink,
    /// What is not served yet.
    rest: std::vec::IntoIter<Parts>,
    headers: Option<Arc<HeaderMap>>,
    session: ByteString,
    /// What has been served of it in this turn.
    step: Step,
    /// When the next step is due.
    timer: Option<TimerId>,
    /// How many answers are still to come, and one more until all is served.
    waiting: usize,
    answers: Vec<Parts>,
    /// Bytes of the results that were received for it.
    received: usize,
}

#[derive(Debug, Default)]
struct Step {
    messages: usize,
    bytes: usize,
}

impl Batches {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Bytes of the answers that are gathered.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Batch> {
        let batch = self.all.get_mut(key);
        debug_assert!(batch.is_some(), "no batch {key}");
        batch
    }

    /// Begins to serve a batch.
    pub(super) fn begin(
        &mut self,
        sink: Sink,
        messages: Vec<Parts>,
        headers: Option<HeaderMap>,
        session: ByteString,
    ) -> usize {
        self.all.insert(Batch {
            sink,
            rest: messages.into_iter(),
            headers: headers.map(Arc::new),
            session,
            step: Step::default(),
            timer: None,
            waiting: 1,
            answers: Vec::new(),
            received: 0,
        })
    }

    /// Where the answers go.
    pub(super) fn sink(&self, key: usize) -> Sink {
        let batch = self.all.get(key);
        debug_assert!(batch.is_some(), "no batch {key}");
        batch.map_or(Sink::Nowhere, |batch| batch.sink)
    }

    /// The next message of this turn. Behind the last one, [`Batches::end_step`] is to follow.
    pub(super) fn next(&mut self, key: usize) -> Option<Item> {
        let batch = self.get_mut(key)?;
        if batch.step.messages >= STEP_MESSAGES || batch.step.bytes >= STEP_BYTES {
            return None;
        }
        let message = batch.rest.next()?;
        batch.step.messages += 1;
        batch.step.bytes += message.len();
        Some(Item {
            message,
            headers: batch.headers.clone(),
            session: batch.session.clone(),
        })
    }

    /// Gives way; what is left of the batch is served in the next turn.
    pub(super) fn end_step(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Done> {
        let batch = self.get_mut(key)?;
        batch.step = Step::default();
        batch.timer = None;
        if batch.rest.as_slice().is_empty() {
            return self.settle(key);
        }
        let token = Key::Batch(key).token();
        batch.timer = Some(cx.timer(Duration::from_millis(0), token, 0, "mcp_server.batch"));
        None
    }

    /// Nothing more of it is served: a handler panicked over it.
    pub(super) fn cut_short(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Done> {
        let batch = self.all.get_mut(key)?;
        if let Some(timer) = batch.timer.take() {
            cx.cancel(timer);
        }
        batch.rest = Vec::new().into_iter();
        self.settle(key)
    }

    /// One of its messages is to be answered.
    pub(super) fn expect_answer(&mut self, key: usize) {
        if let Some(batch) = self.get_mut(key) {
            batch.waiting += 1;
        }
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, key: usize, message: Parts) -> Option<Done> {
        let batch = self.get_mut(key)?;
        let length = message.len();
        batch.answers.push(message);
        self.held += length;
        self.settle(key)
    }

    /// A part of a result has come for it; how many bytes of results have.
    pub(super) fn received(&mut self, key: usize, bytes: usize) -> usize {
        self.get_mut(key).map_or(0, |batch| {
            batch.received += bytes;
            batch.received
        })
    }

    /// Nobody waits for the answers any more.
    pub(super) fn detach(&mut self, key: usize) {
        if let Some(batch) = self.get_mut(key) {
            batch.sink = Sink::Nowhere;
        }
    }

    /// The batches whose answers go to a sink.
    pub(super) fn of(&self, sink: Sink) -> Vec<usize> {
        let all = self.all.iter().filter(|(_, batch)| batch.sink == sink);
        all.map(|(key, _)| key).collect()
    }

    /// One message of a batch is answered, or will not be; or all of it is served.
    pub(super) fn settle(&mut self, key: usize) -> Option<Done> {
        let batch = self.get_mut(key)?;
        debug_assert!(batch.waiting > 0, "batch {key} waits for nothing");
        batch.waiting = batch.waiting.saturating_sub(1);
        if batch.waiting > 0 {
            return None;
        }
        let batch = self.all.remove(key);
        let size: usize = batch.answers.iter().map(Parts::len).sum();
        self.held = self.held.saturating_sub(size);
        Some(Done {
            sink: batch.sink,
            answers: array(batch.answers),
        })
    }
}

/// The answers as one array.
fn array(answers: Vec<Parts>) -> Option<Parts> {
    if answers.is_empty() {
        return None;
    }
    let mut whole = Parts::from(Bytes::from_static(b"["));
    for (index, answer) in answers.into_iter().enumerate() {
        if index > 0 {
            whole.push(Bytes::from_static(b","));
        }
        answer.into_iter().for_each(|part| whole.push(part));
    }
    whole.push(Bytes::from_static(b"]"));
    Some(whole)
}

#[cfg(test)]
mod tests;
