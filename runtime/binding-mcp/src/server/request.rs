//! Requests to the exit, one stream each.
//!
//! Owns the streams and deadlines of the requests, and the results that are buffered until they are
//! complete. Returns events as [`RequestEvent`]. A request that has ended is removed and returned
//! as [`Closed`], which names its client.
//!
//! While an operation runs, the exit may ask its client for something (`asking`, `parked`, `repeat`).

mod asking;
mod parked;
mod repeat;
mod resumable;

use bytes::{Bytes, BytesMut};
use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration, Meter, PendingData, StreamId, TimerId};
use tidegate_json::{Document, Gather, Parts};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpEnd, McpFlushEx, McpOutcome, McpParams,
};
use tidegate_streams::{
    BeginEx, ChallengeEx, Data, DataEx, EndEx, FlushEx, Frame, Pooled, ResetEx,
};

use super::calls::{Call, Calls};
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::events::CallOutcome;
use super::key::Key;
use super::limits::InFlight;
use super::notifications::Notifications;
use super::options::Options;
use super::result::Passing;
use super::seal::Seal;
use super::sink::{Sink, UNSENT_MAX};
use crate::jsonrpc::{Era, Id, Method, begin_response};
use asking::{Asking, COLLECT, INPUT};
pub(super) use parked::Continuation;

/// A result up to this size is buffered until it is complete, so that its length can be sent first.
const HELD_HTTP_MAX: usize = 64 * 1024;
/// Capacity of the buffer for envelopes.
const ENVELOPE_BUFFER: usize = 8 * 1024;
/// A new envelope buffer is allocated when less than this is left.
const ENVELOPE_ROOM: usize = 2 * COPIED_MAX;
/// A result up to this size is copied into its envelope, which costs less than passing on and
/// writing its parts; a larger one keeps its own buffers.
const COPIED_MAX: usize = 1024;
/// Maximum size of a result on a shared channel, and of all results of a batch; these are buffered
/// until they are complete.
const HELD_RESULT_MAX: usize = 16 * 1024 * 1024;
/// Maximum size of all such results of a worker.
const HELD_WORKER_MAX: usize = 64 * 1024 * 1024;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct NewRequest {
    pub(super) sink: Sink,
    pub(super) id: Id,
    pub(super) era: Era,
    pub(super) method: Method,
    pub(super) session: Option<usize>,
    pub(super) begin: McpBeginEx,
    pub(super) params: Parts,
    /// The parsed `params`.
    pub(super) read: Option<Document>,
    pub(super) notifications: Notifications,
    /// What the client can be asked for.
    pub(super) capabilities: McpCapabilities,
    pub(super) call: Call,
}

/// An event of a request.
#[derive(Debug)]
pub(super) enum RequestEvent {
    /// The complete response.
    Answered(Closed, Parts),
    /// The request ended without a result.
    Failed(Closed, Refusal),
    /// A part of a result that is written as it arrives.
    Part(ResultPart),
    /// The rest of such a result.
    LastPart(Closed, Parts),
    /// A part of a buffered result of any size. Call [`Requests::hold`].
    Held {
        sink: Sink,
        /// Bytes of the part.
        length: usize,
    },
    /// A notification that the client wants.
    Notification(Sink, Bytes),
    /// The exit asks a legacy client for something, with these ids.
    Ask(Vec<u64>),
    /// The exit no longer waits for the response to the request with this id to a legacy client.
    Withdrawn(u64),
}

/// A part of a result for a client over HTTP. Call [`Requests::passed`].
#[derive(Debug)]
pub(super) struct ResultPart {
    /// The client's exchange.
    pub(super) http: usize,
    /// With the first part: the start of the envelope.
    pub(super) head: Option<Bytes>,
    pub(super) parts: Parts,
    /// Bytes received for it.
    pub(super) length: usize,
}

/// A request that has ended and was removed.
#[derive(Debug)]
#[must_use]
pub(super) struct Closed {
    pub(super) sink: Sink,
    pub(super) id: Id,
    pub(super) session: Option<usize>,
    /// A part of the result has been sent.
    pub(super) streaming: bool,
    /// The stream of events that its client can resume; 0: none.
    pub(super) event_stream: u64,
}

/// The requests of a worker.
#[derive(Debug)]
pub(super) struct Requests {
    exit: BindingId,
    timeout: Duration,
    /// How long a client may take to answer.
    input_timeout: Duration,
    all: Slab<Request>,
    /// Bytes of the results buffered until they are complete.
    held: usize,
    /// The envelope buffer.
    envelopes: BytesMut,
    calls: Calls,
    /// Seals the states of parked requests.
    seal: Seal,
    /// Number of parked requests.
    parked: usize,
    /// Bytes of their `params`.
    parked_bytes: usize,
    /// Ids of requests to legacy clients that are not waited for any more. Call
    /// [`Requests::take_withdrawn`] after each handler.
    withdrawn: Vec<u64>,
}

#[derive(Debug)]
struct Request {
    sink: Sink,
    id: Id,
    era: Era,
    method: Method,
    session: Option<usize>,
    stream: StreamId,
    params: PendingData,
    passing: Passing,
    result: Gather,
    /// Bytes of it that count against the worker's limit.
    counted: usize,
    /// A part of the result has been sent.
    streaming: bool,
    /// Received bytes not acknowledged, because the client is slow.
    unacknowledged: usize,
    /// The notifications the client wants.
    notifications: Notifications,
    timer: Option<TimerId>,
    call: Call,
    /// It counts as running for its caller.
    in_flight: Option<InFlight>,
    /// What it asks its client for, if that can be asked for anything.
    asking: Option<Box<Asking>>,
    /// The stream of events that its client can resume; 0: none.
    event_stream: u64,
}

impl Requests {
    pub(super) fn new(exit: BindingId, options: &Options) -> Self {
        Self {
            exit,
            timeout: Duration::from_millis(options.timeout),
            input_timeout: Duration::from_millis(options.input_timeout),
            all: Slab::new(),
            held: 0,
            envelopes: BytesMut::new(),
            calls: Calls::default(),
            seal: Seal::default(),
            parked: 0,
            parked_bytes: 0,
            withdrawn: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.server.requests", self.all.len());
        meter.gauge("mcp.server.requests.parked", self.parked);
        meter.gauge("mcp.server.results.held.bytes", self.held);
        self.calls.report(meter);
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Request> {
        let request = self.all.get_mut(key);
        debug_assert!(request.is_some(), "no request {key}");
        request
    }

    /// Opens the stream of a request.
    pub(super) fn open(&mut self, cx: &mut Context<'_>, new: NewRequest) -> Result<usize, Refusal> {
        let entry = self.all.vacant_entry();
        let (key, token) = (entry.key(), Key::Request(entry.key()).token());
        let mut call = deadline::within(cx, self.timeout);
        if matches!(new.sink, Sink::Batch(_)) {
            // A trace is that of one call, and a batch has several.
            call.trace = cx.mint_trace();
        }
        let mut told = new.call;
        told.set_context(&call);
        let asking = (new.capabilities != McpCapabilities::NONE).then(|| {
            let (begin, params) = (new.begin.clone(), new.params.clone());
            Box::new(Asking::new(new.capabilities, begin, params))
        });
        let stream = cx
            .open_for(call, self.exit, BeginEx::Mcp(new.begin), token)
            .map_err(Refusal::no_room)?;
        let mut request = Request {
            sink: new.sink,
            id: new.id,
            era: new.era,
            method: new.method,
            session: new.session,
            stream,
            params: PendingData::new(),
            passing: Passing::default(),
            result: Gather::new(),
            counted: 0,
            streaming: false,
            unacknowledged: 0,
            notifications: new.notifications,
            call: told,
            in_flight: None,
            asking,
            event_stream: 0,
            timer: Some(cx.timer(self.timeout + SLACK, token, 0, "mcp_server.request")),
        };
        let mut read = new.read;
        for mut data in Data::of_message(new.params) {
            let read = read.take().map(|read| DataEx::from(McpParams::new(read)));
            data.extension = read.map(Pooled::new);
            request.params.send(cx, stream, data);
        }
        entry.insert(request);
        Ok(key)
    }

    /// Counts a request as running for its caller, as long as it exists.
    pub(super) fn keep(&mut self, key: usize, in_flight: InFlight) {
        if let Some(request) = self.get_mut(key) {
            request.in_flight = Some(in_flight);
        }
    }

    /// Records the outcome of a call that is not one of these requests.
    pub(super) fn complete(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        outcome: CallOutcome,
        code: Option<i64>,
    ) {
        self.calls.complete(cx, call, outcome, code);
    }

    /// Whether a request belongs to a session.
    pub(super) fn is_of_session(&self, key: usize, session: usize) -> bool {
        let request = self.all.get(key);
        request.is_some_and(|request| request.session == Some(session))
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<RequestEvent> {
        match frame {
            Frame::Data(data) => self.receive(cx, key, data.payload),
            Frame::End(end) => {
                let end = match end.map(Pooled::into_inner) {
                    Some(EndEx::Mcp(end)) => end,
                    Some(EndEx::Mqtt(_)) | None => McpEnd::default(),
                };
                self.finish(cx, key, &end)
            }
            Frame::Window(_) => {
                let request = self.get_mut(key)?;
                request.params.flush(cx, request.stream);
                None
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(flush) => self.get_mut(key)?.notification(&flush),
                _ => None,
            },
            Frame::Challenge(challenge) => {
                let ChallengeEx::Mcp(challenge) = *challenge;
                self.challenged(cx, key, challenge)
            }
            Frame::Reset(reset) => {
                let request = self.get_mut(key)?;
                let refusal = match reset.map(|reset| *reset) {
                    Some(ResetEx::Mcp(reset)) => {
                        Refusal::of_exit(Some(reset), request.method, request.era)
                    }
                    _ => Refusal::internal(),
                };
                self.fail(cx, key, refusal)
            }
            Frame::Abort(_) => self.fail(cx, key, Refusal::internal()),
            Frame::Begin(_) => None,
        }
    }

    /// A timer of the request is due: its timeout has expired, unless it waits for its client.
    pub(super) fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        kind: u32,
    ) -> Option<RequestEvent> {
        match kind {
            INPUT => return self.input_expired(cx, key),
            COLLECT => return self.park(cx, key),
            _ => {}
        }
        let request = self.get_mut(key)?;
        request.timer = None;
        cx.work_for(request.stream);
        let refusal = Refusal::timed_out(self.timeout.as_millis());
        self.fail(cx, key, refusal)
    }

    /// Aborts a request, if it is running.
    pub(super) fn fail(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        refusal: Refusal,
    ) -> Option<RequestEvent> {
        let code = refusal.error().code();
        let outcome = refusal.outcome();
        let request = self.remove(cx, key)?;
        cx.terminate(request.stream, None, None);
        let closed = self.close(cx, request, outcome, Some(code));
        Some(RequestEvent::Failed(closed, refusal))
    }

    /// Aborts a request without a reason.
    pub(super) fn cancel(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Closed> {
        debug_assert!(self.all.contains(key), "no request {key}");
        let request = self.remove(cx, key)?;
        cx.terminate(request.stream, None, None);
        Some(self.close(cx, request, CallOutcome::Cancelled, None))
    }

    /// The client has disconnected. This cancels a modern request, but not a legacy one.
    pub(super) fn client_disconnected(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<Closed> {
        let request = self.get_mut(key)?;
        let ends = request.era == Era::Modern || request.streaming;
        request.sink = Sink::Nowhere;
        if ends {
            return self.cancel(cx, key);
        }
        let unacknowledged = std::mem::take(&mut request.unacknowledged);
        cx.acknowledge(request.stream, unacknowledged);
        None
    }

    /// Handles a part of the result: buffers it, or passes it on.
    fn receive(&mut self, cx: &mut Context<'_>, key: usize, part: Bytes) -> Option<RequestEvent> {
        let request = self.get_mut(key)?;
        let (sink, length) = (request.sink, part.len());
        if sink == Sink::Nowhere {
            cx.acknowledge(request.stream, length);
            // Its client may come back for the result.
            if request.event_stream > 0 && request.result.len() + length > HELD_HTTP_MAX {
                return self.fail(cx, key, Refusal::result_not_kept(HELD_HTTP_MAX));
            }
            if request.event_stream > 0
                && let Some(ready) = request.passing.push(part)
            {
                request.result.push(ready);
            }
            return None;
        }
        if let Some(ready) = request.passing.push(part) {
            request.result.push(ready);
        }
        let Sink::Http(http) = sink else {
            request.counted += length;
            self.held += length;
            return Some(RequestEvent::Held { sink, length });
        };
        let mut head = None;
        if !request.streaming {
            if request.result.len() <= HELD_HTTP_MAX {
                cx.acknowledge(request.stream, length);
                return None;
            }
            // Too large to buffer: send the head, and the rest as it arrives.
            request.streaming = true;
            let mut text = BytesMut::new();
            begin_response(&mut text, &request.id);
            head = Some(text.freeze());
        }
        Some(RequestEvent::Part(ResultPart {
            http,
            head,
            parts: request.result.take(),
            length,
        }))
    }

    /// Counts a part of a buffered result. `of_batch` is the number of bytes its batch has
    /// received, if it belongs to one; `elsewhere` is the number of bytes the worker buffers
    /// outside of these results.
    pub(super) fn hold(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        length: usize,
        of_batch: Option<usize>,
        elsewhere: usize,
    ) -> Option<RequestEvent> {
        let all = self.held + elsewhere;
        let request = self.get_mut(key)?;
        let refusal = if of_batch.unwrap_or(request.counted) > HELD_RESULT_MAX {
            Refusal::invalid_params(format!("The result exceeds {HELD_RESULT_MAX} bytes."))
        } else if all > HELD_WORKER_MAX {
            Refusal::unavailable("Too many large results in progress; retry later.")
        } else {
            cx.acknowledge(request.stream, length);
            return None;
        };
        self.fail(cx, key, refusal)
    }

    /// A part has been passed on; `waiting` bytes are queued for the client.
    pub(super) fn passed(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        length: usize,
        waiting: usize,
    ) {
        if let Some(request) = self.get_mut(key) {
            request.unacknowledged += length;
        }
        self.drained(cx, key, waiting);
    }

    /// The client has read, and `waiting` bytes are still queued: acknowledge the exit's data if
    /// that is below the limit.
    pub(super) fn drained(&mut self, cx: &mut Context<'_>, key: usize, waiting: usize) {
        if let Some(request) = self.get_mut(key)
            && waiting < UNSENT_MAX
        {
            let unacknowledged = std::mem::take(&mut request.unacknowledged);
            cx.acknowledge(request.stream, unacknowledged);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>, key: usize, end: &McpEnd) -> Option<RequestEvent> {
        if end.outcome == McpOutcome::InputRequired && self.get_mut(key)?.era == Era::Legacy {
            return self.input_required(cx, key);
        }
        let mut request = self.remove(cx, key)?;
        cx.end(request.stream, Frame::end());
        // The exit may not have ended its half; no one needs it.
        cx.terminate(request.stream, None, None);
        let outcome = match end.outcome {
            McpOutcome::Ok => CallOutcome::Ok,
            McpOutcome::Error => CallOutcome::ToolError,
            McpOutcome::InputRequired => CallOutcome::InputRequired,
        };
        if !request.streaming {
            let message = self.envelop(&mut request, end);
            let closed = self.close(cx, request, outcome, None);
            return Some(RequestEvent::Answered(closed, message));
        }
        let mut tail = BytesMut::new();
        let last = request.passing.last(request.era);
        request
            .passing
            .tail(request.era, request.method, end, &mut tail);
        let rest = request.result.take().into_iter();
        let rest = rest.chain([last, tail.freeze()]).collect();
        let closed = self.close(cx, request, outcome, None);
        Some(RequestEvent::LastPart(closed, rest))
    }

    /// Adds the envelope to a buffered result: in one piece if it is small, around the result's own
    /// buffers otherwise.
    fn envelop(&mut self, request: &mut Request, end: &McpEnd) -> Parts {
        let last = request.passing.last(request.era);
        let small = request.result.len() + last.len() <= COPIED_MAX;
        let result = request.result.take().into_iter().chain([last]);
        let text = &mut self.envelopes;
        text.clear();
        if text.capacity() < ENVELOPE_ROOM {
            // Once all written bytes are released, the same memory is reused.
            text.reserve(ENVELOPE_BUFFER);
        }
        let mut message = Parts::new();
        begin_response(text, &request.id);
        if small {
            result.for_each(|part| text.extend_from_slice(&part));
        } else {
            message.push(text.split().freeze());
            result.for_each(|part| message.push(part));
        }
        request.passing.tail(request.era, request.method, end, text);
        message.push(text.split().freeze());
        message
    }

    /// Removes a request that has ended.
    fn close(
        &mut self,
        cx: &mut Context<'_>,
        request: Request,
        outcome: CallOutcome,
        code: Option<i64>,
    ) -> Closed {
        self.calls.complete(cx, request.call, outcome, code);
        Closed {
            sink: request.sink,
            id: request.id,
            session: request.session,
            streaming: request.streaming,
            event_stream: request.event_stream,
        }
    }

    fn remove(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Request> {
        let mut request = self.all.try_remove(key)?;
        if let Some(timer) = request.timer.take() {
            cx.cancel(timer);
        }
        self.held = self.held.saturating_sub(request.counted);
        if let Some(asking) = &request.asking {
            let asked = asking.open.iter().filter_map(|open| open.asked);
            self.withdrawn.extend(asked);
            if request.is_parked() {
                self.unparked(asking.params.len());
            }
        }
        Some(request)
    }

    /// Ids of requests to legacy clients that are not waited for any more.
    pub(super) fn take_withdrawn(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.withdrawn)
    }
}

impl Request {
    /// Progress and log messages, if the client wants and can receive them.
    fn notification(&self, flush: &McpFlushEx) -> Option<RequestEvent> {
        let takes = match self.sink {
            Sink::Line(_) => true,
            // No notification can be sent once the result has begun.
            Sink::Http(_) => self.notifications.takes_events() && !self.streaming,
            // Its client may come back for it.
            Sink::Nowhere => self.event_stream > 0,
            Sink::Batch(_) => false,
        };
        let notification = takes.then(|| self.notifications.notification(flush))??;
        Some(RequestEvent::Notification(self.sink, notification))
    }
}

#[cfg(test)]
mod tests;
