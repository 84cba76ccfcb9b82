//! Sends responses to the client, over the channel its message came from.

use ::http::StatusCode;
use bytes::Bytes;
use tidegate_engine::Context;
use tidegate_json::Parts;

use super::McpServer;
use crate::jsonrpc::{Id, response};
use crate::server::errors::Refusal;
use crate::server::sink::{Head, Owner, Sink};
use crate::server::{batch, line};

impl McpServer {
    /// Sends a complete response.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, sink: Sink, head: Head, message: Parts) {
        if let Sink::Batch(key) = sink {
            let done = self.batches.answer(key, message);
            self.batch_done(cx, done);
        } else {
            self.answer_client(cx, sink, head, message);
        }
    }

    /// Sends a result generated here, given the text of its members.
    pub(super) fn answer_with(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
        members: &[u8],
    ) {
        let message = Parts::from(response(id, members));
        self.answer(cx, sink, Head::default(), message);
    }

    /// Sends an error.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, sink: Sink, id: &Id, refusal: &Refusal) {
        let head = Head {
            status: refusal.status(),
            session_id: None,
            advice: refusal.advice().cloned(),
        };
        self.answer(cx, sink, head, Parts::from(refusal.message(id)));
    }

    /// Sends the same error to several requests.
    pub(super) fn refuse_all(
        &mut self,
        cx: &mut Context<'_>,
        waiting: Vec<(Sink, Id)>,
        refusal: &Refusal,
    ) {
        for (sink, id) in waiting {
            self.refuse(cx, sink, &id, refusal);
        }
    }

    /// Responds without a body, if the channel needs a response.
    pub(super) fn answer_status(&mut self, cx: &mut Context<'_>, sink: Sink, status: StatusCode) {
        if let Sink::Http(key) = sink {
            self.http.respond_status(cx, key, status);
        }
    }

    /// Ends a request without a response, because the client has cancelled it.
    pub(super) fn answer_nothing(&mut self, cx: &mut Context<'_>, sink: Sink) {
        if let Sink::Batch(key) = sink {
            let done = self.batches.settle(key);
            self.batch_done(cx, done);
        } else {
            self.answer_client_nothing(cx, sink);
        }
    }

    /// A batch is complete: send its responses.
    pub(super) fn batch_done(&mut self, cx: &mut Context<'_>, done: Option<batch::Done>) {
        let Some(batch::Done { sink, answers }) = done else {
            return;
        };
        match answers {
            Some(answers) => self.answer_client(cx, sink, Head::default(), answers),
            None => self.answer_client_nothing(cx, sink),
        }
    }

    fn answer_client(&mut self, cx: &mut Context<'_>, sink: Sink, head: Head, message: Parts) {
        match sink {
            Sink::Http(key) if self.push_last_event(cx, key, &message) => {}
            Sink::Http(key) => self.http.respond(cx, key, head, message),
            Sink::Line(key) => {
                self.lines.write(cx, key, message);
                let ended = self.lines.settle(cx, key);
                self.line_ended(ended);
            }
            Sink::Batch(_) => debug_assert!(false, "a batch is not part of a batch"),
            Sink::Nowhere => {}
        }
    }

    fn answer_client_nothing(&mut self, cx: &mut Context<'_>, sink: Sink) {
        match sink {
            // HTTP requires a response nevertheless.
            Sink::Http(key) => self.http.respond_empty(cx, key),
            Sink::Line(key) => {
                let ended = self.lines.settle(cx, key);
                self.line_ended(ended);
            }
            Sink::Batch(_) => debug_assert!(false, "a batch is not part of a batch"),
            Sink::Nowhere => {}
        }
    }

    /// A line has ended with its last response: end its session after the running handler.
    pub(super) fn line_ended(&mut self, ended: Option<line::Ended>) {
        if let Some(session) = ended.and_then(|ended| ended.session) {
            self.sessions.detach_line(session);
            self.sessions_to_end.push(session);
        }
    }

    /// Writes a notification.
    pub(super) fn notify(&mut self, cx: &mut Context<'_>, sink: Sink, message: Bytes) {
        match sink {
            Sink::Http(key) => self.push_event(cx, key, message),
            Sink::Line(key) => self.lines.write(cx, key, Parts::from(message)),
            Sink::Batch(_) | Sink::Nowhere => {}
        }
    }

    /// Bytes queued for the client.
    pub(super) fn waiting(&self, sink: Sink) -> usize {
        match sink {
            Sink::Http(key) => self.http.waiting(key),
            Sink::Line(key) => self.lines.waiting(key),
            Sink::Batch(_) | Sink::Nowhere => 0,
        }
    }

    /// Records what depends on the client of a sink.
    pub(super) fn set_owner(&mut self, sink: Sink, owner: Owner) {
        if let Sink::Http(key) = sink {
            self.http.set_owner(key, owner);
        }
    }
}
