//! Batches (2025-03-26): several messages in, their answers together out.

use ::http::StatusCode;
use bytes::Bytes;
use tidegate_engine::Context;
use tidegate_json::Parts;

use super::binding::McpServer;
use super::envelope::{Message, Unreadable};
use super::http::{Caller, Owner};
use super::output::{Head, Sink};

/// How many messages a batch may have.
const MESSAGES_MAX: usize = 100;

/// A batch whose answers are gathered.
#[derive(Debug)]
pub(super) struct Batch {
    sink: Sink,
    waiting: usize,
    answers: Vec<Parts>,
}

impl McpServer {
    /// Whether a batch is one: not empty, and not too large.
    pub(super) const fn is_batch(messages: &[Result<Message, Unreadable>]) -> bool {
        !messages.is_empty() && messages.len() <= MESSAGES_MAX
    }

    /// Serves every message of a batch.
    pub(super) fn serve_batch(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        messages: Vec<Result<Message, Unreadable>>,
    ) {
        let answered = |message: &Result<Message, Unreadable>| {
            matches!(message, Ok(Message::Request { .. }) | Err(_))
        };
        let waiting = messages.iter().filter(|message| answered(message)).count();
        if waiting == 0 {
            for message in messages {
                self.serve(cx, &caller.with_sink(Sink::Nowhere), message);
            }
            self.answer_status(cx, caller.sink, StatusCode::ACCEPTED);
            if let Sink::Line(line) = caller.sink {
                self.line_settled(cx, line);
            }
            return;
        }
        let batch = Batch {
            sink: caller.sink,
            waiting,
            answers: Vec::new(),
        };
        let key = self.batches.insert(batch);
        self.own(caller.sink, Owner::Batch(key));
        let caller = caller.with_sink(Sink::Batch(key));
        for message in messages {
            self.serve(cx, &caller, message);
        }
    }

    pub(super) fn answer_in_batch(&mut self, cx: &mut Context<'_>, key: usize, message: Parts) {
        let Some(batch) = self.batches.get_mut(key) else {
            return;
        };
        batch.answers.push(message);
        self.batch_settled(cx, key);
    }

    /// Nobody waits for the answers any more.
    pub(super) fn batch_left(&mut self, key: usize, sink: Sink) {
        if let Some(batch) = self.batches.get_mut(key)
            && batch.sink == sink
        {
            batch.sink = Sink::Nowhere;
        }
    }

    /// One message of a batch is answered, or will not be.
    pub(super) fn batch_settled(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(batch) = self.batches.get_mut(key) else {
            return;
        };
        batch.waiting = batch.waiting.saturating_sub(1);
        if batch.waiting > 0 {
            return;
        }
        let batch = self.batches.remove(key);
        if batch.answers.is_empty() {
            // Every request of it was cancelled, and an empty batch is no message.
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
