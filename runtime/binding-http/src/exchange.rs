//! A request and its response, shared by the connection's task and the worker.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use tidegate_driver::Handle;
use tidegate_engine::{BindingId, Context, Fifo, PendingData, StreamId, Token};
use tidegate_json::Parts;
use tidegate_streams::http_stream::{HttpBeginEx, HttpResponse};
use tidegate_streams::{BeginEx, Data, Frame, Pooled};

/// The state of one http stream. It is removed when both halves have ended.
pub(crate) struct Exchange {
    pub(crate) stream: StreamId,
    pub(crate) token: Token,
    edge: BindingId,
    state: RefCell<State>,
}

#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each tells of an event that has come"
)]
struct State {
    request: PendingData,
    /// The body has been queued completely; END follows when the queue is empty.
    request_ended: bool,
    credit_came: bool,
    /// The response's BEGIN, once received.
    head: Option<Pooled<BeginEx>>,
    body: Fifo<Bytes>,
    /// What is left of a piece of which the first part was taken.
    rest: Bytes,
    /// Number of pieces of the body that were taken.
    taken: u64,
    /// The response is complete.
    ended: bool,
    /// The stream was aborted or reset.
    broken: bool,
    waker: Option<Waker>,
}

impl State {
    fn next_data(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.body.pop_front()
        } else {
            Some(std::mem::take(&mut self.rest))
        }
    }

    fn has_data(&self) -> bool {
        !self.rest.is_empty() || !self.body.is_empty()
    }

    fn wait(&mut self, task: &TaskContext<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
    }
}

/// The next part of a response body.
pub(crate) enum Piece {
    Data(Bytes),
    End,
    Aborted,
}

impl Exchange {
    pub(crate) fn new(stream: StreamId, token: Token, edge: BindingId) -> Self {
        Self {
            stream,
            token,
            edge,
            state: RefCell::default(),
        }
    }

    /// Sends the request body, as far as the credit allows.
    pub(crate) fn send_body(&self, cx: &mut Context<'_>, parts: Parts) {
        let mut state = self.state.borrow_mut();
        for data in Data::of_message(parts) {
            state.request.send(cx, self.stream, data);
        }
        state.request_ended = true;
        self.end_request(cx, &state);
    }

    fn end_request(&self, cx: &mut Context<'_>, state: &State) {
        if state.request_ended && state.request.is_empty() {
            cx.end(self.stream, Frame::end());
        }
    }

    /// Handles a frame of the stream.
    pub(crate) fn take(&self, frame: Frame) {
        let mut state = self.state.borrow_mut();
        match frame {
            Frame::Begin(begin) => state.head = Some(begin),
            Frame::Data(data) if !data.payload.is_empty() => state.body.push_back(data.payload),
            Frame::End(_) => state.ended = true,
            Frame::Abort(_) => state.broken = true,
            // A reset of the rest of the request does not mean that no response will come.
            Frame::Reset(_) => state.broken |= state.head.is_none(),
            Frame::Window(_) => state.credit_came = true,
            _ => {}
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Acts on received frames; returns whether the exchange has ended on the worker's side.
    pub(crate) fn flush(&self, handle: &Handle) -> bool {
        let mut state = self.state.borrow_mut();
        if std::mem::take(&mut state.credit_came) {
            handle.turn(self.edge, |cx| {
                if state.request.flush(cx, self.stream) {
                    self.end_request(cx, &state);
                }
            });
        }
        if state.broken {
            handle.turn(self.edge, |cx| cx.terminate(self.stream, None, None));
        }
        state.ended || state.broken
    }

    /// Waits for the response head; `None` if there will be none.
    pub(crate) async fn head(&self) -> Option<HttpResponse> {
        poll_fn(|task| {
            let mut state = self.state.borrow_mut();
            if let Some(begin) = state.head.take() {
                return Poll::Ready(match begin.into_inner() {
                    BeginEx::Http(HttpBeginEx::Response(head)) => Some(head),
                    _ => None,
                });
            }
            if state.broken || state.ended {
                return Poll::Ready(None);
            }
            state.wait(task);
            Poll::Pending
        })
        .await
    }

    /// The next piece of the response body, or a part of it of at most `max` bytes.
    pub(crate) fn poll_body(&self, task: &mut TaskContext<'_>, max: usize) -> Poll<Piece> {
        let mut state = self.state.borrow_mut();
        if let Some(mut data) = state.next_data() {
            if data.len() > max {
                state.rest = data.split_off(max);
            }
            state.taken += 1;
            return Poll::Ready(Piece::Data(data));
        }
        if state.ended {
            return Poll::Ready(Piece::End);
        }
        if state.broken {
            return Poll::Ready(Piece::Aborted);
        }
        state.wait(task);
        Poll::Pending
    }

    /// Number of pieces of the response body that were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.state.borrow().taken
    }

    /// Whether a piece of the response body waits to be taken.
    pub(crate) fn has_data(&self) -> bool {
        self.state.borrow().has_data()
    }

    /// Aborts the response: the client does not take it.
    pub(crate) fn abandon(&self, handle: &Handle) {
        let mut state = self.state.borrow_mut();
        state.body = Fifo::default();
        state.rest = Bytes::new();
        state.ended = false;
        state.broken = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        drop(state);
        handle.turn(self.edge, |cx| cx.terminate(self.stream, None, None));
    }

    /// Whether the whole response has been received: no more credit is needed.
    pub(crate) fn is_whole(&self) -> bool {
        let state = self.state.borrow();
        state.ended || state.broken
    }

    /// Whether both halves have ended in order.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.borrow();
        state.ended && state.request_ended && state.request.is_empty()
    }

    /// Whether the whole body has been taken.
    pub(crate) fn is_at_end(&self) -> bool {
        let state = self.state.borrow();
        state.ended && !state.has_data()
    }
}
