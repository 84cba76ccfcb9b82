//! An HTTP request to the MCP endpoint, and the messages of its response.

use ::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::http_stream::HttpResponse;
use tidegate_streams::{Data, Frame};

use super::http::{Body, body_of, session_of};
use super::sse::Events;

/// Up to this size, a message is sent in one piece, in bytes.
const COPIED_MAX: usize = 1_024;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A JSON-RPC request, whose response it waits for.
    Request(u64),
    /// A notification, or an answer to the server.
    Notice,
    /// The stream of messages of a legacy session.
    Events,
    /// The end of a legacy session.
    Delete,
    /// Its request has been answered. Only its end is waited for, so that its connection can be used again.
    Answered,
}

/// How the body of the response is read.
#[derive(Debug)]
enum Reader {
    /// There is no response yet.
    None,
    Json(Gather),
    Events(Box<Events>),
    /// The body is not read.
    Other,
}

/// An HTTP request.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) stream: StreamId,
    /// Absent once the connection has ended: what still comes is nobody's.
    pub(super) link: Option<usize>,
    pub(super) purpose: Purpose,
    /// The legacy session it was sent in.
    pub(super) session: Option<HeaderValue>,
    body: PendingData,
    status: Option<StatusCode>,
    /// The legacy session that the response begins.
    pub(super) begun: Option<HeaderValue>,
    reader: Reader,
    /// The event that the stream of events continues, if it does.
    pub(super) after: Option<Bytes>,
    /// Number of streams up to this one that have brought no event.
    pub(super) fruitless: u32,
    /// Limits a request whose response does not matter, or the wait before it is continued.
    pub(super) timer: Option<TimerId>,
}

/// The response is larger than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Post {
    pub(super) fn new(
        stream: StreamId,
        link: Option<usize>,
        purpose: Purpose,
        session: Option<HeaderValue>,
    ) -> Self {
        Self {
            stream,
            link,
            purpose,
            session,
            body: PendingData::new(),
            status: None,
            begun: None,
            reader: Reader::None,
            after: None,
            fruitless: 0,
            timer: None,
        }
    }

    /// Ends the stream.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        cx.terminate(self.stream, None, None);
    }

    /// Sends the body.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, body: Parts) {
        // A copy of a small message costs less than its parts as frames of their own.
        let body = if body.len() <= COPIED_MAX {
            Parts::from(body.contiguous())
        } else {
            body
        };
        for data in Data::of_message(body) {
            self.body.push(data);
        }
        self.flush(cx);
    }

    /// Sends what the credit allows of the body, and its end.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.body.flush(cx, self.stream) {
            cx.end(self.stream, Frame::end());
        }
    }

    /// The response has begun. `limit`: maximum size of a message.
    pub(super) fn begin(&mut self, response: &HttpResponse, limit: usize) {
        self.status = Some(response.status);
        self.begun = session_of(response);
        self.reader = match (body_of(response), response.status.is_success()) {
            (Body::Json, _) => Reader::Json(Gather::new()),
            (Body::Events, true) => Reader::Events(Box::new(Events::new(limit))),
            _ => Reader::Other,
        };
    }

    /// The status of the response.
    pub(super) const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Whether the body of the response is not read.
    pub(super) const fn is_other(&self) -> bool {
        matches!(self.reader, Reader::Other)
    }

    /// Whether the response is a single message.
    pub(super) const fn is_json(&self) -> bool {
        matches!(self.reader, Reader::Json(_))
    }

    /// Whether the response is a stream of events.
    pub(super) const fn is_events(&self) -> bool {
        matches!(self.reader, Reader::Events(_))
    }

    /// Whether the response, which has ended, is a stream of events that may be continued.
    pub(super) fn is_continuable(&self) -> bool {
        // One that continues another may have failed, but for a refusal.
        let is_refused = self.status.is_some_and(|it| it.is_client_error());
        self.is_events() || (self.after.is_some() && !is_refused)
    }

    /// Reads a part of the body; returns the messages that are complete.
    pub(super) fn read(&mut self, part: Bytes, limit: usize) -> Result<Vec<Parts>, TooLarge> {
        let mut messages = Vec::new();
        match &mut self.reader {
            Reader::Json(gathered) => {
                gathered.push(part);
                if gathered.len() > limit {
                    return Err(TooLarge);
                }
            }
            Reader::Events(events) => {
                // An event without data only has an id, which a stream is continued from.
                let found = events.push(part, |event| {
                    if !event.data.is_empty() {
                        messages.push(event.data);
                    }
                });
                found.map_err(|_| TooLarge)?;
            }
            Reader::None | Reader::Other => {}
        }
        Ok(messages)
    }

    /// The message of a response that is one.
    pub(super) fn finish(&mut self) -> Option<Parts> {
        match &mut self.reader {
            Reader::Json(gathered) if !gathered.is_empty() => Some(gathered.take()),
            _ => None,
        }
    }

    /// Where a stream of events is continued: the id of its last event and the wait before that, in
    /// milliseconds.
    pub(super) fn position(&self) -> (Option<Bytes>, Option<u64>) {
        match &self.reader {
            Reader::Events(events) => (events.id().cloned(), events.retry()),
            _ => (None, None),
        }
    }
}
