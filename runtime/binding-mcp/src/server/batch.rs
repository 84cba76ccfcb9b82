//! JSON-RPC batches (2025-03-26).
//!
//! Owns the running batches: the messages that have not been processed, and the collected
//! responses. A batch has been validated as a whole before it gets here. It is processed in steps,
//! one per turn of the worker, so that it does not block other clients; unprocessed messages are
//! slices of the received body. A batch is removed with its last response and returned as [`Done`].

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{CallContext, Context, Duration, TimerId};
use tidegate_json::Parts;

use super::key::Key;
use super::sink::Sink;
use super::source::Source;

/// Maximum number of messages of a batch processed per turn.
const STEP_MESSAGES: usize = 16;
/// A step also ends after this many bytes.
const STEP_BYTES: usize = 64 * 1024;

/// A completed batch.
#[derive(Debug)]
#[must_use]
pub(super) struct Done {
    pub(super) sink: Sink,
    /// The array of all responses; `None` if no request remains to be answered (only notifications,
    /// or all cancelled), because an empty batch is not a valid message.
    pub(super) answers: Option<Parts>,
}

/// A message of a batch, and the context of the batch.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Parts,
    /// The headers, over HTTP.
    pub(super) headers: Option<Arc<HeaderMap>>,
    /// Address and port of the client, if they are known.
    pub(super) peer: Option<SocketAddr>,
    /// The public id of its session, which may end before the batch is complete.
    pub(super) session: ByteString,
}

/// The batches of a worker.
#[derive(Debug, Default)]
pub(super) struct Batches {
    all: Slab<Batch>,
    /// Bytes of the collected responses.
    held: usize,
}

#[derive(Debug)]
struct Batch {
    sink: Sink,
    /// Unprocessed messages.
    rest: std::vec::IntoIter<Parts>,
    headers: Option<Arc<HeaderMap>>,
    peer: Option<SocketAddr>,
    session: ByteString,
    /// The call that brought it.
    call: CallContext,
    /// Bytes and messages processed in this turn.
    step: Step,
    /// The timer of the next step.
    timer: Option<TimerId>,
    /// Number of missing responses, plus one until all messages are processed.
    waiting: usize,
    answers: Vec<Parts>,
    /// Bytes of results received for it.
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

    /// Bytes of the collected responses.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Batch> {
        let batch = self.all.get_mut(key);
        debug_assert!(batch.is_some(), "no batch {key}");
        batch
    }

    /// Starts processing a batch.
    pub(super) fn begin(
        &mut self,
        source: &Source<'_>,
        messages: Vec<Parts>,
        session: ByteString,
        call: CallContext,
    ) -> usize {
        let headers = source.headers.map(|headers| headers.all().clone());
        self.all.insert(Batch {
            sink: source.sink,
            peer: source.peer,
            rest: messages.into_iter(),
            headers: headers.map(Arc::new),
            session,
            call,
            step: Step::default(),
            timer: None,
            waiting: 1,
            answers: Vec::new(),
            received: 0,
        })
    }

    /// The call that brought a batch.
    pub(super) fn call(&self, key: usize) -> CallContext {
        let batch = self.all.get(key);
        batch.map_or_else(CallContext::default, |batch| batch.call.clone())
    }

    /// Address and port of the client, if they are known.
    pub(super) fn peer(&self, key: usize) -> Option<SocketAddr> {
        self.all.get(key)?.peer
    }

    /// The next message of this turn. After the last one, call [`Batches::end_step`].
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
            peer: batch.peer,
            session: batch.session.clone(),
        })
    }

    /// Ends the step; the rest of the batch is processed in the next turn.
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

    /// Stops processing a batch: a handler panicked on it.
    pub(super) fn cut_short(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Done> {
        let batch = self.all.get_mut(key)?;
        if let Some(timer) = batch.timer.take() {
            cx.cancel(timer);
        }
        batch.rest = Vec::new().into_iter();
        self.settle(key)
    }

    /// A message of the batch requires a response.
    pub(super) fn expect_answer(&mut self, key: usize) {
        if let Some(batch) = self.get_mut(key) {
            batch.waiting += 1;
        }
    }

    /// Adds a response.
    pub(super) fn answer(&mut self, key: usize, message: Parts) -> Option<Done> {
        let batch = self.get_mut(key)?;
        let length = message.len();
        batch.answers.push(message);
        self.held += length;
        self.settle(key)
    }

    /// Counts a part of a result; returns the result bytes received for the batch.
    pub(super) fn received(&mut self, key: usize, bytes: usize) -> usize {
        self.get_mut(key).map_or(0, |batch| {
            batch.received += bytes;
            batch.received
        })
    }

    /// Removes a batch whose client has gone.
    pub(super) fn detach(&mut self, key: usize) {
        if let Some(batch) = self.get_mut(key) {
            batch.sink = Sink::Nowhere;
        }
    }

    /// The batches that respond to a sink.
    pub(super) fn of(&self, sink: Sink) -> Vec<usize> {
        let all = self.all.iter().filter(|(_, batch)| batch.sink == sink);
        all.map(|(key, _)| key).collect()
    }

    /// A response of the batch was added or will not come, or all of its messages are processed.
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

/// The responses as one array.
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
