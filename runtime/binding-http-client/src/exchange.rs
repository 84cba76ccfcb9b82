//! A request: its stream, its body, its task, and the response.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body as _, Frame as BodyFrame};
use hyper::body::Incoming;
use tidegate_driver::Handle;
use tidegate_engine::StreamId;
use tidegate_streams::http_stream::{HttpRequest, HttpReset, HttpResponse};
use tidegate_streams::{AbortEx, Frame, ResetEx};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::body::Buffers;
use crate::pool::{Failure, Lease};
use crate::{Client, redirect};

/// What the edge does next for a request.
pub(crate) enum Next {
    Wait,
    /// The body is complete: send the request.
    Run,
    /// The stream has ended.
    Remove,
}

/// A request, from the BEGIN of its stream to its end.
pub(crate) struct Exchange {
    stream: StreamId,
    head: RefCell<Option<HttpRequest>>,
    body: RefCell<Buffers>,
    /// Bytes of the body that are not acknowledged yet.
    fresh: Cell<usize>,
    complete: Cell<bool>,
    running: Cell<bool>,
    over: Cell<bool>,
    /// Credit has arrived for the response.
    credit: Notify,
    task: OnceCell<AbortHandle>,
}

impl Exchange {
    pub(crate) fn new(stream: StreamId, head: HttpRequest) -> Self {
        Self {
            stream,
            head: RefCell::new(Some(head)),
            body: RefCell::default(),
            fresh: Cell::new(0),
            complete: Cell::new(false),
            running: Cell::new(false),
            over: Cell::new(false),
            credit: Notify::new(),
            task: OnceCell::new(),
        }
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Sets the task that runs [`Self::run`]; it is aborted when the stream is.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Handles a frame of the stream.
    pub(crate) fn take(&self, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                self.fresh.set(self.fresh.get() + data.payload.len());
                self.body.borrow_mut().push(data.payload);
            }
            Frame::End(_) => self.complete.set(true),
            Frame::Abort(_) | Frame::Reset(_) => {
                self.over.set(true);
                if let Some(task) = self.task.get() {
                    task.abort();
                }
            }
            Frame::Window(_) => self.credit.notify_one(),
            _ => {}
        }
    }

    /// What to do, once the worker is idle.
    pub(crate) fn next(&self, handle: &Handle, client: &Client) -> Next {
        if self.over.get() {
            // The caller has ended the stream; end our half too.
            handle.turn(client.edge, |cx| cx.terminate(self.stream, None, None));
            return Next::Remove;
        }
        let fresh = self.fresh.take();
        let max = client.options.max_body_size.size();
        if self.body.borrow().len() > max {
            let reason = format!("the request exceeds {max} bytes (maxBodySize)");
            self.fail(handle, client, &Failure::limit(reason));
            return Next::Remove;
        }
        if fresh > 0 {
            handle.acknowledge(client.edge, self.stream, fresh);
        }
        if self.complete.get() && !self.running.replace(true) {
            return Next::Run;
        }
        Next::Wait
    }

    /// Sends the request, and the response to the stream.
    pub(crate) async fn run(self: Rc<Self>, handle: Handle, client: Rc<Client>) {
        match self.send(&client).await {
            Ok((response, lease)) => self.respond(&handle, &client, response, lease).await,
            Err(failure) => self.fail(&handle, &client, &failure),
        }
    }

    async fn send(&self, client: &Client) -> Result<(Response<Incoming>, Lease), Failure> {
        let head = self.head.borrow_mut().take();
        let mut head = head.ok_or_else(|| Failure::before("internal error in tidegate"))?;
        let body = self.body.take();
        add_own(client, &mut head.headers, body.len())?;
        let mut path = head.path.clone();
        let (mut redirects, mut renewed) = (0, false);
        loop {
            let token = client.credentials.authorization().await;
            let token = token.map_err(Failure::before)?;
            let request = request(client, &head, &path, body.clone(), token.as_ref())?;
            let (response, lease) = client.pool.send(request).await?;
            if response.status() == StatusCode::UNAUTHORIZED
                && !renewed
                && Box::pin(client.credentials.is_renewed(token.as_ref())).await
            {
                renewed = true;
                continue;
            }
            if !response.status().is_redirection() {
                return Ok((response, lease));
            }
            let (scheme, authority) = (client.options.scheme(), client.options.authority());
            let (status, headers) = (response.status(), response.headers());
            match redirect::path(status, headers, scheme, &authority) {
                Some(to) if redirects < redirect::MAX => {
                    redirects += 1;
                    path = to.into();
                }
                _ => return Ok((response, lease)),
            }
        }
    }

    /// Passes the response on, as fast as it is consumed.
    async fn respond(
        &self,
        handle: &Handle,
        client: &Client,
        response: Response<Incoming>,
        lease: Lease,
    ) {
        let (head, mut body) = response.into_parts();
        let begin = HttpResponse {
            status: head.status,
            headers: head.headers,
            content_length: body
                .size_hint()
                .exact()
                .map_or(-1, |length| i64::try_from(length).unwrap_or(-1)),
        };
        let begin = Frame::begin(begin);
        let mut ready = ready_frame(&mut body).await;
        if body.is_end_stream() && is_data(&ready) {
            // A small response is there at once, and crosses the worker in one turn.
            match self.pass_whole(handle, client, begin, ready) {
                None => return client.pool.keep(lease),
                Some(rest) => ready = rest,
            }
        } else {
            handle.turn(client.edge, |cx| cx.send(self.stream, begin));
        }
        loop {
            let next = match std::mem::replace(&mut ready, Poll::Pending) {
                Poll::Ready(next) => next,
                Poll::Pending => next_frame(&mut body).await,
            };
            match next {
                Some(Ok(frame)) => {
                    if let Ok(part) = frame.into_data() {
                        self.pass(handle, client, part).await;
                    }
                }
                Some(Err(error)) => {
                    let failure = Failure::after(crate::connect::reason(&error));
                    return self.fail(handle, client, &failure);
                }
                None => break,
            }
        }
        client.pool.keep(lease);
        handle.turn(client.edge, |cx| cx.end(self.stream, Frame::end()));
    }

    /// Sends a response whose body is one part; returns the part if there is no credit for it.
    fn pass_whole(
        &self,
        handle: &Handle,
        client: &Client,
        begin: Frame,
        part: Poll<NextFrame>,
    ) -> Option<Poll<NextFrame>> {
        handle.turn(client.edge, |cx| {
            cx.send(self.stream, begin);
            match part {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(part) if part.len() <= cx.credit(self.stream) => {
                        cx.send(self.stream, Frame::data(part));
                        cx.end(self.stream, Frame::end());
                        None
                    }
                    Ok(part) => Some(Poll::Ready(Some(Ok(BodyFrame::data(part))))),
                    Err(frame) => Some(Poll::Ready(Some(Ok(frame)))),
                },
                other => Some(other),
            }
        })
    }

    /// Sends a part of the response, as the credit allows.
    async fn pass(&self, handle: &Handle, client: &Client, mut part: Bytes) {
        while !part.is_empty() {
            let credit = handle.credit(client.edge, self.stream);
            if credit == 0 {
                self.credit.notified().await;
                continue;
            }
            let payload = part.split_to(credit.min(part.len()));
            handle.turn(client.edge, |cx| cx.send(self.stream, Frame::data(payload)));
        }
    }

    /// Terminates the stream with the reason.
    pub(crate) fn fail(&self, handle: &Handle, client: &Client, failure: &Failure) {
        let reset = HttpReset {
            remote: client.pool.remote().into(),
            reason: failure.reason.as_str().into(),
            sent: failure.sent,
            limit: failure.limit,
        };
        handle.turn(client.edge, |cx| {
            cx.terminate(
                self.stream,
                Some(ResetEx::Http(reset.clone())),
                Some(AbortEx::Http(reset)),
            );
        });
    }
}

fn request(
    client: &Client,
    head: &HttpRequest,
    path: &ByteString,
    body: Buffers,
    token: Option<&HeaderValue>,
) -> Result<Request<Buffers>, Failure> {
    let target = client.target(path);
    let target = target.map_err(|error| Failure::before(format!("invalid path: {error}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    *headers = head.headers.clone();
    client.credentials.add_to(headers, token);
    Ok(request)
}

/// Adds what each request has. hyper would add the length to a copy of the headers that has no room for it.
fn add_own(client: &Client, headers: &mut HeaderMap, length: usize) -> Result<(), Failure> {
    let host = client.host.clone();
    headers.insert(HOST, host.ok_or_else(|| Failure::before("invalid host"))?);
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    if length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

type NextFrame = Option<Result<BodyFrame<Bytes>, hyper::Error>>;

fn is_data(next: &Poll<NextFrame>) -> bool {
    matches!(next, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}

async fn next_frame(body: &mut Incoming) -> NextFrame {
    poll_fn(|task| Pin::new(&mut *body).poll_frame(task)).await
}

/// The next frame, if it is there.
async fn ready_frame(body: &mut Incoming) -> Poll<NextFrame> {
    poll_fn(|task| Poll::Ready(Pin::new(&mut *body).poll_frame(task))).await
}
