//! Where answers go, and how they are written there.

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::{Bytes, BytesMut};
use tidegate_engine::Context;
use tidegate_json::Parts;
use tidegate_streams::http_stream::HttpResponse;
use tidegate_streams::{Data, DataFlags};

use super::binding::McpServer;
use super::errors::Refusal;
use crate::jsonrpc::Id;

/// Where the answer to a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    /// The response of an HTTP exchange.
    Http(usize),
    /// A line of a line stream.
    Line(usize),
    /// A batch that is put together.
    Batch(usize),
    /// Nobody: the client has gone, and the request goes on.
    Nowhere,
}

/// What an answer is, beside its text.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The session that `initialize` has begun.
    pub(super) session_id: Option<HeaderValue>,
}

impl McpServer {
    /// Answers with a whole message.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, sink: Sink, head: Head, message: Parts) {
        match sink {
            Sink::Http(key) => self.answer_http(cx, key, head, message),
            Sink::Line(key) => {
                self.write_line(cx, key, message);
                self.line_settled(cx, key);
            }
            Sink::Batch(key) => self.answer_in_batch(cx, key, message),
            Sink::Nowhere => {}
        }
    }

    /// Answers with a result of our own.
    pub(super) fn answer_with(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
        members: &[u8],
    ) {
        let message = crate::jsonrpc::response(id, members);
        self.answer(cx, sink, Head::default(), Parts::from(message));
    }

    /// Answers with an error.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, sink: Sink, id: &Id, refusal: &Refusal) {
        let head = Head {
            status: refusal.status(),
            session_id: None,
        };
        self.answer(cx, sink, head, Parts::from(refusal.message(id)));
    }

    fn answer_http(&mut self, cx: &mut Context<'_>, key: usize, head: Head, message: Parts) {
        let Some(exchange) = self.http.get_mut(key) else {
            return;
        };
        if exchange.is_streaming() {
            // Server-sent events have begun: the answer is their last one.
            exchange.push(cx, event(message));
            self.finish_http(cx, key);
            return;
        }
        let mut headers = std::mem::take(&mut exchange.blank);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(session_id) = head.session_id {
            headers.insert(super::headers::SESSION_ID, session_id);
        }
        let content_length = i64::try_from(message.len()).unwrap_or(-1);
        exchange.begin(
            cx,
            HttpResponse {
                status: head.status,
                headers,
                content_length,
            },
        );
        exchange.push(cx, message);
        self.finish_http(cx, key);
    }

    /// Answers without a body.
    pub(super) fn answer_status(&mut self, cx: &mut Context<'_>, sink: Sink, status: StatusCode) {
        if let Sink::Http(key) = sink
            && let Some(exchange) = self.http.get_mut(key)
        {
            let mut headers = HeaderMap::new();
            if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            }
            exchange.begin(
                cx,
                HttpResponse {
                    status,
                    headers,
                    content_length: 0,
                },
            );
            self.finish_http(cx, key);
        }
    }

    /// Writes a message that is no answer: a notification.
    pub(super) fn notify(&mut self, cx: &mut Context<'_>, sink: Sink, message: Bytes) {
        match sink {
            Sink::Http(key) => {
                if let Some(exchange) = self.http.get_mut(key) {
                    exchange.push(cx, event(Parts::from(message)));
                }
            }
            Sink::Line(key) => self.write_line(cx, key, Parts::from(message)),
            Sink::Batch(_) | Sink::Nowhere => {}
        }
    }

    /// Bytes that wait to be written there.
    pub(super) fn waiting(&self, sink: Sink) -> usize {
        match sink {
            Sink::Http(key) => self.http.get(key).map_or(0, |exchange| exchange.out.len()),
            Sink::Line(key) => self.lines.get(key).map_or(0, |line| line.out.len()),
            Sink::Batch(_) | Sink::Nowhere => 0,
        }
    }
}

/// The head of a JSON response.
pub(super) fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// The head of a response of server-sent events.
pub(super) fn event_stream() -> HttpResponse {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    HttpResponse {
        status: StatusCode::OK,
        headers,
        content_length: -1,
    }
}

/// A message as one server-sent event.
pub(super) fn event(message: Parts) -> Parts {
    let mut event = Parts::from(Bytes::from_static(b"event: message\ndata: "));
    for part in message {
        event.push(one_line(part));
    }
    event.push(Bytes::from_static(b"\n\n"));
    event
}

/// A part of a message without line ends, which can only be white space between its tokens.
pub(super) fn one_line(part: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &part).is_none() {
        return part;
    }
    let mut line = BytesMut::from(&part[..]);
    for byte in line.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.freeze()
}

/// The parts of a message as DATA.
pub(super) fn frames(message: Parts) -> impl Iterator<Item = Data> {
    let count = message.count();
    message
        .into_iter()
        .enumerate()
        .map(move |(index, payload)| Data {
            flags: DataFlags::of(index == 0, index + 1 == count),
            payload,
            extension: None,
        })
}
