//! Batches (2025-03-26): several messages in, their answers together out.
//!
//! A batch is checked as a whole before any of it is served. It is served a step for each turn of
//! the worker, so that it holds up nobody else; what of it waits is text, a slice of what came.

use ::http::HeaderMap;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_json::Parts;

use super::binding::{Key, McpServer};
use super::errors::Refusal;
use super::headers::Headers;
use super::http::{Caller, Owner};
use super::output::{Head, Sink};
use crate::jsonrpc::BATCHING;
use crate::jsonrpc::{self as envelope, Id, Message, Unreadable};

/// How many messages of a batch are served in one turn,
const STEP_MESSAGES: usize = 16;
/// and after how many bytes of them no more is.
const STEP_BYTES: usize = 64 * 1024;

/// A batch that is served, and whose answers are gathered.
#[derive(Debug)]
pub(super) struct Batch {
    sink: Sink,
    /// What is not served yet.
    rest: std::vec::IntoIter<Parts>,
    /// The headers that came with it, over HTTP.
    headers: Option<HeaderMap>,
    /// The session that it belongs to, as the client knows it: it may end before all is served.
    session: Option<ByteString>,
    /// How many answers are still to come, and one more until all is served.
    waiting: usize,
    answers: Vec<Parts>,
    /// Bytes of the results that were received for it.
    received: usize,
}

impl McpServer {
    /// Whether batches are taken in a session: in one of the one revision that has them.
    pub(super) fn takes_batches(&self, session: Option<usize>) -> bool {
        let session = session.and_then(|key| self.sessions.get(key));
        session.is_some_and(|session| session.version() == BATCHING)
    }

    /// Whether a batch is taken here; one that is not is refused, whatever is in it.
    pub(super) fn check_batch(&mut self, cx: &mut Context<'_>, caller: &Caller<'_>) -> bool {
        if caller.names_unknown_session() {
            self.answer_unknown_session(cx, caller.sink);
            return false;
        }
        if self.takes_batches(caller.session) {
            return true;
        }
        let what = format!(
            "Batches are only supported in sessions of {BATCHING}; send one message at a time."
        );
        let refusal = Refusal::invalid_request(&what);
        self.refuse(cx, caller.sink, &Id::null(), &refusal);
        false
    }

    /// Serves every message of a batch that is taken.
    pub(super) fn serve_batch(&mut self, cx: &mut Context<'_>, caller: &Caller<'_>, body: Parts) {
        let messages = match envelope::read_batch(body) {
            Ok(messages) => messages,
            Err(error) => return self.refuse(cx, caller.sink, &Id::null(), &error.into()),
        };
        let session = caller.session.and_then(|key| self.sessions.get(key));
        let batch = Batch {
            sink: caller.sink,
            rest: messages.into_iter(),
            headers: caller.headers.map(|headers| headers.all().clone()),
            session: session.map(|session| session.id().clone()),
            waiting: 1,
            answers: Vec::new(),
            received: 0,
        };
        let key = self.batches.insert(batch);
        self.own(caller.sink, Owner::Batch(key));
        self.serve_step(cx, key);
    }

    /// Serves as much of a batch as one turn is given, and gives way.
    pub(super) fn serve_step(&mut self, cx: &mut Context<'_>, key: usize) {
        let (mut messages, mut bytes) = (0, 0);
        while messages < STEP_MESSAGES && bytes < STEP_BYTES {
            let Some(message) = self.batches.get_mut(key).and_then(|it| it.rest.next()) else {
                break;
            };
            messages += 1;
            bytes += message.len();
            self.serve_in_batch(cx, key, envelope::read(message));
        }
        let Some(batch) = self.batches.get(key) else {
            return;
        };
        if batch.rest.as_slice().is_empty() {
            return self.batch_settled(cx, key);
        }
        let token = Key::Batch(key).token();
        cx.timer(Duration::from_millis(0), token, 0, "mcp_server.batch");
    }

    fn serve_in_batch(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        message: Result<Message, Unreadable>,
    ) {
        let Some(batch) = self.batches.get_mut(key) else {
            return;
        };
        batch.waiting += usize::from(envelope::is_answered(&message));
        let session = batch.session.as_ref();
        let session = session.and_then(|id| self.session_keys.get(id).copied());
        let sink = Sink::Batch(key);
        if session.is_none() {
            if let Ok(Message::Request { id, .. }) = message {
                self.refuse(cx, sink, &id, &Refusal::session_over(cx));
            } else if let Err((id, error)) = message {
                self.refuse(cx, sink, &id, &error.into());
            }
            return;
        }
        let fields = batch.headers.take();
        let headers = fields.as_ref().map(Headers::of);
        let caller = Caller {
            sink,
            headers: headers.as_ref(),
            session,
        };
        self.serve(cx, &caller, message);
        if let Some(batch) = self.batches.get_mut(key) {
            batch.headers = fields;
        }
    }

    /// The handler of a step panicked: what was served is answered, and nothing more is.
    pub(super) fn batch_faulted(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(batch) = self.batches.get_mut(key) {
            batch.rest = Vec::new().into_iter();
            self.batch_settled(cx, key);
        }
    }

    pub(super) fn answer_in_batch(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let Some(batch) = self.batches.get_mut(key) else {
            return;
        };
        self.held += message.len();
        batch.answers.push(message);
        self.batch_settled(cx, key);
    }

    /// A part of a result has come for it; how many bytes of results have.
    pub(super) fn batch_received(&mut self, key: usize, bytes: usize) -> usize {
        self.batches.get_mut(key).map_or(0, |batch| {
            batch.received += bytes;
            batch.received
        })
    }

    /// Nobody waits for the answers any more.
    pub(super) fn batch_left(&mut self, key: usize, sink: Sink) {
        if let Some(batch) = self.batches.get_mut(key)
            && batch.sink == sink
        {
            batch.sink = Sink::Nowhere;
        }
    }

    /// One message of a batch is answered, or will not be; or all of it is served.
    pub(super) fn batch_settled(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(batch) = self.batches.get_mut(key) else {
            return;
        };
        batch.waiting = batch.waiting.saturating_sub(1);
        if batch.waiting > 0 {
            return;
        }
        let batch = self.batches.remove(key);
        let size: usize = batch.answers.iter().map(Parts::len).sum();
        self.held = self.held.saturating_sub(size);
        if batch.answers.is_empty() {
            // It had no request, or every one of it was cancelled; and an empty batch is no message.
            return self.left_unanswered(cx, batch.sink);
        }
        let mut whole = Parts::from(Bytes::from_static(b"["));
        for (index, answer) in batch.answers.into_iter().enumerate() {
            if index > 0 {
                whole.push(Bytes::from_static(b","));
            }
            answer.into_iter().for_each(|part| whole.push(part));
        }
        whole.push(Bytes::from_static(b"]"));
        self.answer(cx, batch.sink, Head::default(), whole);
    }
}
