//! One request that is carried out behind this binding.

use ::http::StatusCode;
use bytes::{Bytes, BytesMut};
use tidegate_engine::{Context, Duration, PendingData, StreamId, TimerId};
use tidegate_json::{Gather, Parts};
use tidegate_streams::Pooled;
use tidegate_streams::http_stream::HttpResponse;
use tidegate_streams::mcp::{McpEnd, McpParams};
use tidegate_streams::{BeginEx, DataEx, EndEx, FlushEx, Frame, ResetEx};

use super::binding::{Key, McpServer};
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::headers::Mirrored;
use super::http::{Caller, Owner};
use super::line::UnderWay;
use super::notifications::Wishes;
use super::output::{Head, Sink, frames, json_headers};
use super::result::Passing;
use crate::jsonrpc::begin_response as prefix;
use crate::jsonrpc::{Era, Method};
use crate::jsonrpc::{Id, Params};

/// A result up to this size is held until it is whole, so that its length can be told ahead.
const HELD: usize = 64 * 1024;
/// Envelopes are written into buffers of this size,
const TEXTS: usize = 8 * 1024;
/// as long as there is this much room.
const TEXT: usize = 2 * SMALL;
/// A result up to this size is written into its envelope, which costs less than to hand on and to
/// write its parts; a larger one keeps its own buffers.
const SMALL: usize = 1024;
/// A result on a shared channel, or all results of a batch, are held until they are whole, up to this size;
const HELD_MAX: usize = 16 * 1024 * 1024;
/// and those of a worker together up to this one.
const HELD_ALL: usize = 64 * 1024 * 1024;
/// How much may wait for a client before a result's sender is held back.
pub(super) const AHEAD: usize = 256 * 1024;
/// How many requests a session, or a line, may have under way.
pub(super) const REQUESTS_MAX: usize = 256;

/// How the answer is written.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    /// It is held until it is whole.
    Holding,
    /// It is on its way, in a response of JSON.
    Streaming,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) sink: Sink,
    id: Id,
    era: Era,
    method: Method,
    session: Option<usize>,
    stream: StreamId,
    params: PendingData,
    passing: Passing,
    held: Gather,
    /// Bytes of it that count as held by the worker.
    counted: usize,
    mode: Mode,
    /// Received and not acknowledged, since the client is slow.
    unacknowledged: usize,
    /// What the client wants to be told of while it waits.
    pub(super) wishes: Wishes,
    timer: Option<TimerId>,
}

impl Request {
    /// Whether the result is on its way already, and nothing can be said before it any more.
    pub(super) fn is_streaming(&self) -> bool {
        self.mode == Mode::Streaming
    }
}

impl McpServer {
    /// Carries a request out.
    pub(super) fn begin_request(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        era: Era,
        method: Method,
        params: Params,
    ) -> Result<(), Refusal> {
        self.check_room(caller, id)?;
        let subject = match method.subject() {
            Some(subject) => Some(params.subject_text(subject)?),
            None => None,
        };
        let mirrored = match (method, caller.headers) {
            (Method::ToolsCall, Some(headers)) => Mirrored::of(headers, era)?,
            _ => Mirrored::default(),
        };
        let wishes = Wishes::of(caller, era, &params)?;
        let session_id = caller.session.and_then(|session| self.identity_of(session));
        let (parts, mut read) = params.into_payload();
        let length = i64::try_from(parts.len()).unwrap_or(-1);
        let begin = super::methods::begin(method, session_id, subject, length, mirrored)
            .ok_or_else(Refusal::internal)?;
        let entry = self.requests.vacant_entry();
        let token = Key::Request(entry.key()).token();
        let timeout = Duration::from_millis(self.options.timeout);
        let stream = cx
            .open_for(
                deadline::within(cx, timeout),
                self.exit,
                BeginEx::Mcp(begin),
                token,
            )
            .map_err(Refusal::no_room)?;
        let mut request = Request {
            sink: caller.sink,
            id: id.clone(),
            era,
            method,
            session: caller.session,
            stream,
            params: PendingData::new(),
            passing: Passing::default(),
            held: Gather::new(),
            counted: 0,
            mode: Mode::Holding,
            unacknowledged: 0,
            wishes,
            timer: Some(cx.timer(timeout + SLACK, token, 0, "mcp_server.request")),
        };
        for mut data in frames(parts) {
            let read = read.take().map(|read| DataEx::from(McpParams::new(read)));
            data.extension = read.map(Pooled::new);
            request.params.send(cx, stream, data);
        }
        let key = entry.key();
        entry.insert(request);
        self.register(caller, id, UnderWay::Request(key));
        Ok(())
    }

    /// Whether a request belongs to a session.
    pub(super) fn is_of_session(&self, request: usize, session: usize) -> bool {
        let request = self.requests.get(request);
        request.is_some_and(|request| request.session == Some(session))
    }

    /// Whether one more request may be under way, and its id is free.
    pub(super) fn check_room(&self, caller: &Caller<'_>, id: &Id) -> Result<(), Refusal> {
        let under_way = match (caller.sink, caller.session) {
            (Sink::Line(key), _) => self.lines.get(key).map(|line| &line.under_way),
            (_, Some(key)) => self.sessions.get(key).map(|session| &session.under_way),
            _ => None,
        };
        let Some(under_way) = under_way else {
            return Ok(());
        };
        if under_way.contains_key(id) {
            return Err(Refusal::invalid_request(
                "A request with this id is under way.",
            ));
        }
        if under_way.len() >= REQUESTS_MAX {
            let what = format!("{REQUESTS_MAX} requests are under way; wait for an answer first.");
            return Err(Refusal::unavailable(what));
        }
        Ok(())
    }

    /// Remembers what a client can cancel by its id.
    pub(super) fn register(&mut self, caller: &Caller<'_>, id: &Id, under_way: UnderWay) {
        let owner = match under_way {
            UnderWay::Request(key) => Owner::Request(key),
            UnderWay::Listen(key) => Owner::Listen(key),
        };
        self.own(caller.sink, owner);
        if let Sink::Line(key) = caller.sink {
            if let Some(line) = self.lines.get_mut(key) {
                line.under_way.insert(id.clone(), under_way);
            }
        } else if let Some(session) = caller.session.and_then(|key| self.sessions.get_mut(key)) {
            session.under_way.insert(id.clone(), under_way);
        }
    }

    /// Forgets it again.
    pub(super) fn unregister(&mut self, sink: Sink, session: Option<usize>, id: &Id) {
        match sink {
            Sink::Line(key) => {
                if let Some(line) = self.lines.get_mut(key) {
                    line.under_way.remove(id);
                }
            }
            _ => self.own(sink, Owner::None),
        }
        if let Some(session) = session.and_then(|key| self.sessions.get_mut(key)) {
            session.under_way.remove(id);
        }
    }

    /// The client wants no answer any more.
    pub(super) fn cancel(&mut self, cx: &mut Context<'_>, caller: &Caller<'_>, id: &Id) {
        let of_line = match caller.sink {
            Sink::Line(key) => self.lines.get(key).and_then(|line| line.under_way.get(id)),
            _ => None,
        };
        let of_session = || {
            let session = self.sessions.get(caller.session?)?;
            session.under_way.get(id)
        };
        match of_line.or_else(of_session).copied() {
            Some(UnderWay::Request(key)) => self.cancel_request(cx, key),
            Some(UnderWay::Listen(key)) => self.cancel_listen(cx, key),
            None => self.cancel_subscribe(cx, caller.session, id),
        }
    }

    pub(super) fn request_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        match frame {
            Frame::Data(data) => self.result_part(cx, key, data.payload),
            Frame::End(end) => {
                let end = match end.map(Pooled::into_inner) {
                    Some(EndEx::Mcp(end)) => end,
                    Some(EndEx::Mqtt(_)) | None => McpEnd::default(),
                };
                self.result_is_whole(cx, key, &end);
            }
            Frame::Window(_) => {
                request.params.flush(cx, request.stream);
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(flush) = *flush {
                    self.request_flush(cx, key, &flush);
                }
            }
            Frame::Reset(Some(reset)) => {
                let refusal = match *reset {
                    ResetEx::Mcp(reset) => {
                        Refusal::of_exit(Some(reset), request.method, request.era)
                    }
                    _ => Refusal::internal(),
                };
                self.fail_with(cx, key, &refusal);
            }
            Frame::Reset(None) | Frame::Abort(_) => self.fail_request(cx, key),
            _ => {}
        }
    }

    /// A part of the result: held, or passed on as it is.
    fn result_part(&mut self, cx: &mut Context<'_>, key: usize, part: Bytes) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (sink, stream, length) = (request.sink, request.stream, part.len());
        if sink == Sink::Nowhere {
            return cx.acknowledge(stream, length);
        }
        if let Some(ready) = request.passing.push(part) {
            request.held.push(ready);
        }
        if request.mode == Mode::Holding {
            let (held, alone) = (request.held.len(), matches!(sink, Sink::Http(_)));
            if !alone {
                return self.hold_part(cx, key, length);
            }
            if held <= HELD {
                cx.acknowledge(stream, length);
                return;
            }
            self.start_streaming(cx, key);
        }
        self.pass_held(cx, key);
        let waiting = self.waiting(sink);
        if let Some(request) = self.requests.get_mut(key) {
            if waiting < AHEAD {
                cx.acknowledge(stream, length);
            } else {
                request.unacknowledged += length;
            }
        }
    }

    /// A part of a result that goes out when it is whole, whatever its size.
    fn hold_part(&mut self, cx: &mut Context<'_>, key: usize, length: usize) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let (sink, stream) = (request.sink, request.stream);
        request.counted += length;
        self.held += length;
        let held = match sink {
            Sink::Batch(batch) => self.batch_received(batch, length),
            _ => request.counted,
        };
        let refusal = if held > HELD_MAX {
            Refusal::invalid_params(format!("The result is larger than {HELD_MAX} bytes."))
        } else if self.held > HELD_ALL {
            Refusal::unavailable("Too many large results are under way; retry later.")
        } else {
            return cx.acknowledge(stream, length);
        };
        self.fail_with(cx, key, &refusal);
    }

    /// The result is too large to be held: its head goes out, and what follows as it comes.
    fn start_streaming(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Sink::Http(http) = request.sink else {
            return;
        };
        let Some(exchange) = self.http.get_mut(http) else {
            return;
        };
        request.mode = Mode::Streaming;
        let mut head = Parts::new();
        if exchange.is_streaming() {
            head.push(Bytes::from_static(b"event: message\ndata: "));
        } else {
            let response = HttpResponse {
                status: StatusCode::OK,
                headers: json_headers(),
                content_length: -1,
            };
            exchange.begin(cx, response);
        }
        let mut text = BytesMut::new();
        prefix(&mut text, &request.id);
        head.push(text.freeze());
        exchange.push(cx, head);
    }

    fn pass_held(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let Sink::Http(http) = request.sink else {
            return;
        };
        if let Some(exchange) = self.http.get_mut(http) {
            exchange.push_part(cx, request.held.take());
        }
    }

    /// The client has taken something: the result's sender may go on.
    pub(super) fn sink_drained(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(request) = self.requests.get(key) else {
            return;
        };
        if self.waiting(request.sink) < AHEAD
            && let Some(request) = self.requests.get_mut(key)
        {
            cx.acknowledge(request.stream, std::mem::take(&mut request.unacknowledged));
        }
    }

    fn result_is_whole(&mut self, cx: &mut Context<'_>, key: usize, end: &McpEnd) {
        let Some(mut request) = self.close_request(cx, key) else {
            return;
        };
        cx.end(request.stream, Frame::end());
        // The exit may still owe the end of its part; nobody waits for it.
        cx.terminate(request.stream, None, None);
        if request.mode == Mode::Holding {
            let sink = request.sink;
            let message = self.envelop(request, end);
            return self.answer(cx, sink, Head::default(), message);
        }
        let mut tail = BytesMut::new();
        let last = request.passing.last(request.era);
        let (era, method) = (request.era, request.method);
        request.passing.tail(era, method, end, &mut tail);
        if let Sink::Http(http) = request.sink
            && let Some(exchange) = self.http.get_mut(http)
        {
            let rest = request.held.take().into_iter();
            let rest = rest.chain([last, tail.freeze()]);
            exchange.push_part(cx, rest.collect());
            if exchange.is_streaming() {
                exchange.push(cx, Parts::from(Bytes::from_static(b"\n\n")));
            }
            self.finish_http(cx, http);
        }
    }

    /// The envelope around a result that was held: in one piece where that is small, around the
    /// result's own buffers otherwise.
    fn envelop(&mut self, mut request: Request, end: &McpEnd) -> Parts {
        let mut passing = request.passing;
        let last = passing.last(request.era);
        let small = request.held.len() + last.len() <= SMALL;
        let result = request.held.take().into_iter().chain([last]);
        let text = &mut self.text;
        text.clear();
        if text.capacity() < TEXT {
            // Where all that was written is gone, the same memory serves again.
            text.reserve(TEXTS);
        }
        let mut message = Parts::new();
        prefix(text, &request.id);
        if small {
            result.for_each(|part| text.extend_from_slice(&part));
        } else {
            message.push(text.split().freeze());
            result.for_each(|part| message.push(part));
        }
        passing.tail(request.era, request.method, end, text);
        message.push(text.split().freeze());
        message
    }

    pub(super) fn request_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(request) = self.requests.get_mut(key) {
            request.timer = None;
        }
        let refusal = Refusal::timed_out(self.options.timeout);
        self.fail_with(cx, key, &refusal);
    }

    /// The request broke off behind this binding.
    pub(super) fn fail_request(&mut self, cx: &mut Context<'_>, key: usize) {
        self.fail_with(cx, key, &Refusal::internal());
    }

    fn fail_with(&mut self, cx: &mut Context<'_>, key: usize, refusal: &Refusal) {
        let Some(request) = self.close_request(cx, key) else {
            return;
        };
        cx.terminate(request.stream, None, None);
        match request.sink {
            // A result that is on its way cannot become an error: the client sees it break off.
            Sink::Http(http) if request.is_streaming() => self.break_http_off(cx, http),
            sink => self.refuse(cx, sink, &request.id, refusal),
        }
    }

    /// The client has gone. A modern request is cancelled by that; a legacy one is not.
    pub(super) fn client_left(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        if request.era == Era::Modern || request.is_streaming() {
            if let Some(request) = self.close_request(cx, key) {
                cx.terminate(request.stream, None, None);
            }
        } else {
            request.sink = Sink::Nowhere;
            cx.acknowledge(request.stream, std::mem::take(&mut request.unacknowledged));
        }
    }

    /// Gives a request up; nothing more is said of it.
    pub(super) fn cancel_request(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(request) = self.close_request(cx, key) else {
            return;
        };
        cx.terminate(request.stream, None, None);
        match request.sink {
            Sink::Http(http) if request.is_streaming() => self.break_http_off(cx, http),
            sink => self.left_unanswered(cx, sink),
        }
    }

    /// Gives a request up, and says why.
    pub(super) fn refuse_request(&mut self, cx: &mut Context<'_>, key: usize, refusal: &Refusal) {
        self.fail_with(cx, key, refusal);
    }

    /// A request gets no answer: who asked is not interested any more.
    pub(super) fn left_unanswered(&mut self, cx: &mut Context<'_>, sink: Sink) {
        match sink {
            // HTTP wants a response all the same: one without a message, or the end of the events.
            Sink::Http(http) => match self.http.get(http) {
                Some(exchange) if exchange.is_streaming() => self.finish_http(cx, http),
                _ => self.answer_status(cx, sink, StatusCode::ACCEPTED),
            },
            Sink::Batch(batch) => self.batch_settled(cx, batch),
            Sink::Line(line) => self.line_settled(cx, line),
            Sink::Nowhere => {}
        }
    }

    fn close_request(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Request> {
        let mut request = self.requests.try_remove(key)?;
        if let Some(timer) = request.timer.take() {
            cx.cancel(timer);
        }
        self.held = self.held.saturating_sub(request.counted);
        self.unregister(request.sink, request.session, &request.id);
        if let Some(session) = request.session {
            self.touch_session(cx, session);
            self.retire_if_idle(cx, session);
        }
        Some(request)
    }
}
