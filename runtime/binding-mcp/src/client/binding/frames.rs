//! The frames of HTTP requests and of the line stream.

use ::http::StatusCode;
use bytes::Bytes;
use tidegate_engine::{Context, StreamId};
use tidegate_json::Parts;
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::mcp::McpReset;
use tidegate_streams::{BeginEx, Data, Frame};

use super::{About, McpClient};
use crate::client::call::State;
use crate::client::link::Phase;
use crate::client::post::Purpose;
use crate::client::refusal::{lost, of_abort, of_reset, of_status, unavailable};
use crate::jsonrpc::read;

/// HTTP requests.
impl McpClient {
    pub(super) fn post_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let max = self.message_max();
        let post = self.posts.get_mut(key);
        let Some(post) = post.filter(|post| post.stream == stream) else {
            return;
        };
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Http(HttpBeginEx::Response(response)) = begin.into_inner() {
                    post.begin(&response, max);
                    self.response_begun(cx, key);
                }
            }
            Frame::Data(data) => self.post_data(cx, key, data),
            Frame::End(_) => self.post_ended(cx, key),
            Frame::Window(_) => post.flush(cx),
            Frame::Reset(_) | Frame::Abort(_) if self.continue_later(cx, key) => {}
            Frame::Reset(reset) => {
                let reset = of_reset(reset.map(|reset| *reset));
                self.post_lost(cx, key, reset);
            }
            Frame::Abort(abort) => {
                let reset = of_abort(abort.map(|abort| *abort));
                self.post_lost(cx, key, reset);
            }
            Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    /// The head of a response has arrived.
    fn response_begun(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(post) = self.posts.get(key) else {
            return;
        };
        let is_refused = !post.status().is_some_and(|it| it.is_success()) || !post.is_events();
        let is_useless = match post.purpose {
            Purpose::Events => is_refused,
            // The body may be anything, and of any length.
            Purpose::Request(_) => post.is_other(),
            Purpose::Notice | Purpose::Delete | Purpose::Answered => false,
        };
        if is_useless {
            self.post_ended(cx, key);
        }
    }

    fn post_data(&mut self, cx: &mut Context<'_>, key: usize, data: Data) {
        let max = self.message_max();
        let Some(post) = self.posts.get_mut(key) else {
            return;
        };
        cx.acknowledge(post.stream, data.payload.len());
        if matches!(post.purpose, Purpose::Answered | Purpose::Delete) {
            return;
        }
        let (stream, purpose) = (post.stream, post.purpose);
        match post.read(data.payload, max) {
            Ok(messages) => {
                for message in messages {
                    // A message may end the request, or its connection; what follows is then nobody's.
                    let post = self.posts.get(key);
                    let post = post.filter(|it| it.stream == stream && it.purpose == purpose);
                    let Some(link) = post.and_then(|post| post.link) else {
                        return;
                    };
                    self.message(cx, link, Some(key), message);
                }
            }
            Err(_) => self.post_lost(cx, key, too_large(max)),
        }
    }

    /// The response is complete.
    fn post_ended(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(post) = self.posts.get_mut(key) else {
            return;
        };
        let (stream, purpose) = (post.stream, post.purpose);
        let (link, continues) = (post.link, post.after.is_some());
        // What continues a response says nothing about the request by its status.
        let status = post.status().filter(|_| !continues);
        // A server may answer 404 because it has no stream of events, so only a request says that the
        // session has expired.
        let expired = status == Some(StatusCode::NOT_FOUND) && post.session.is_some();
        if expired && matches!(purpose, Purpose::Request(_)) {
            return self.post_expired(cx, key);
        }
        if let Purpose::Request(_) = purpose
            && let Some(message) = post.finish()
            && let Some(link) = link
        {
            self.message(cx, link, Some(key), message);
        }
        // The message may have ended the request, and begun another one in its place.
        if self.posts.get(key).is_none_or(|it| it.stream != stream) {
            return;
        }
        if self.continue_later(cx, key) {
            return;
        }
        let mut post = self.posts.remove(key);
        post.close(cx);
        match purpose {
            Purpose::Request(id) => self.unanswered(cx, id, status),
            Purpose::Events => {
                let (after, retry) = post.position();
                let refused = status.is_none_or(has_no_stream);
                self.events_ended(cx, link, after, refused, retry);
            }
            Purpose::Notice | Purpose::Delete | Purpose::Answered => {}
        }
    }

    /// A request whose response is complete has not been answered.
    fn unanswered(&mut self, cx: &mut Context<'_>, id: u64, status: Option<StatusCode>) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let reset = match status {
            Some(status) if !status.is_success() => of_status(status),
            _ => lost(),
        };
        if status.is_some_and(|status| matches!(status.as_u16(), 400 | 404 | 405)) {
            // The server may not be what it was: the next session finds out.
            self.known = None;
        }
        if request.about == About::Discover {
            let link = request.link;
            self.requests.remove(&id);
            // A legacy server refuses what it does not know in many ways, and is not there in others.
            let may_be_legacy = status.is_some_and(|status| {
                !matches!(status.as_u16(), 401 | 403 | 407 | 429 | 502..=504)
                    && !status.is_redirection()
            });
            return self.discover_failed(cx, link, may_be_legacy, &reset);
        }
        self.request_failed(cx, id, reset);
    }

    /// The server does not know the session of a request.
    fn post_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(mut post) = self.posts.try_remove(key) else {
            return;
        };
        post.close(cx);
        if let Purpose::Request(id) = post.purpose
            && let Some(request) = self.requests.remove(&id)
        {
            let session = post.session.as_ref();
            self.session_expired(cx, request.link, request.about, session);
        }
    }

    /// An HTTP request has failed, or is given up.
    pub(super) fn post_lost(&mut self, cx: &mut Context<'_>, key: usize, reset: McpReset) {
        let Some(mut post) = self.posts.try_remove(key) else {
            return;
        };
        post.close(cx);
        match post.purpose {
            Purpose::Request(id) => {
                let about = self.requests.get(&id).map(|it| (it.about, it.link));
                if let Some((About::Discover, link)) = about {
                    self.requests.remove(&id);
                    self.discover_failed(cx, link, false, &reset);
                } else {
                    self.request_failed(cx, id, reset);
                }
            }
            Purpose::Events => {
                let (after, retry) = post.position();
                self.events_ended(cx, post.link, after, false, retry);
            }
            Purpose::Notice | Purpose::Delete | Purpose::Answered => {}
        }
    }

    /// The stream of the messages of a legacy session has ended, behind the event `after`.
    fn events_ended(
        &mut self,
        cx: &mut Context<'_>,
        link: Option<usize>,
        after: Option<Bytes>,
        refused: bool,
        retry: Option<u64>,
    ) {
        let Some(key) = link else { return };
        if let Some(link) = self.links.get_mut(key) {
            link.listening.after = after;
        }
        self.listening_ended(cx, key, refused, retry);
    }
}

/// The line stream.
impl McpClient {
    pub(super) fn line_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let line = self.links.get_mut(key).and_then(|link| link.line.as_mut());
        let Some(line) = line.filter(|line| line.stream == stream) else {
            return;
        };
        match frame {
            Frame::Data(data) => self.line_data(cx, key, data),
            Frame::Window(_) => {
                line.out.flush(cx, stream);
            }
            Frame::Flush(_) => {
                let max = self.message_max();
                self.invalid(cx, key, &format!("larger than {max} bytes"));
            }
            Frame::Reset(reset) => {
                let reset = of_reset(reset.map(|reset| *reset));
                self.line_lost(cx, key, &reset);
            }
            Frame::Abort(abort) => {
                let reset = of_abort(abort.map(|abort| *abort));
                self.line_lost(cx, key, &reset);
            }
            Frame::End(_) => self.line_lost(cx, key, &lost()),
            Frame::Begin(_) | Frame::Challenge(_) => {}
        }
    }

    fn line_data(&mut self, cx: &mut Context<'_>, key: usize, data: Data) {
        let max = self.message_max();
        let line = self.links.get_mut(key).and_then(|link| link.line.as_mut());
        let Some(line) = line else { return };
        cx.acknowledge(line.stream, data.payload.len());
        if data.flags.is_init() {
            let _ = line.received.take();
            line.skipping = false;
        }
        if !line.skipping {
            line.received.push(data.payload);
            line.skipping = line.received.len() > max;
        }
        if line.skipping {
            let _ = line.received.take();
            if data.flags.is_fin() {
                self.invalid(cx, key, &format!("larger than {max} bytes"));
            }
        } else if data.flags.is_fin() {
            let message: Parts = line.received.take();
            self.message(cx, key, None, message);
        }
    }

    /// Ends a process that is of no use.
    pub(super) fn end_process(&mut self, cx: &mut Context<'_>, key: usize, reset: &McpReset) {
        self.backoff.failed(cx.now(), &reset.message);
        self.line_lost(cx, key, reset);
    }

    /// The process has ended, or could not be started.
    pub(super) fn line_lost(&mut self, cx: &mut Context<'_>, key: usize, reset: &McpReset) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if let Some(line) = link.line.take() {
            cx.terminate(line.stream, None, None);
        }
        let began = link.phase == Phase::Ready;
        link.phase = Phase::Closed;
        link.handshake = None;
        link.probe = None;
        link.cancel_timer(cx);
        let running = self.requests.iter().filter(|(_, it)| it.link == key);
        let running: Vec<u64> = running.map(|(id, _)| *id).collect();
        if !began {
            for id in running {
                self.requests.remove(&id);
            }
            return self.link_failed(cx, key, reset);
        }
        for id in running {
            self.request_failed(cx, id, reset.clone());
        }
        // Sessions stay: the process is started again for the next call. Subscriptions are lost.
        for call in self.calls_of(key) {
            let call_state = self
                .calls
                .get(call)
                .map(|it| (it.state, it.method.is_some()));
            if call_state == Some((State::Open, true)) {
                self.refuse_call(cx, call, reset.clone());
            }
        }
        self.release_link(cx, key);
    }
}

/// Whether the status of a GET says that the server has no stream of events. A server that is asked too
/// often, or waits too long, has one at another time.
fn has_no_stream(status: StatusCode) -> bool {
    const LATER: [StatusCode; 3] = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !LATER.contains(&status)
}

fn too_large(max: usize) -> McpReset {
    unavailable(format!(
        "The answer of the MCP server exceeds {max} bytes (maxMessageSize)."
    ))
}

/// Parses a message.
pub(super) fn parse(message: Parts) -> Result<crate::jsonrpc::Message, crate::jsonrpc::Unreadable> {
    read(message)
}
