//! Messages to the server.

use ::http::HeaderValue;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{CallContext, Context, Duration};
use tidegate_json::Parts;
use tidegate_json::write::push_number;
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::mcp::McpReset;

use super::{About, Exit, McpClient, Request, post_timer};
use crate::client::http::{Heads, Mirrored};
use crate::client::key::Key;
use crate::client::link::{Phase, UNREAD_MAX};
use crate::client::post::{Post, Purpose};
use crate::client::refusal::{busy, lost, unavailable};
use crate::jsonrpc::{Era, Error, Id, MODERN, begin_notification, error_response};

/// How long the response to a notification, or to the end of a session, is waited for.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of an event stream is waited for after the answer in it: most servers end it at once,
/// and its connection can then be used again.
const ANSWERED_TIMEOUT: Duration = Duration::from_secs(1);

impl McpClient {
    /// Sends a request; returns its id. `message` makes it of the id.
    pub(super) fn request(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        about: About,
        mirrored: Option<&Mirrored>,
        context: CallContext,
        message: impl FnOnce(u64) -> Parts,
    ) -> Result<u64, McpReset> {
        self.last_id += 1;
        let id = self.last_id;
        let message = message(id);
        let (post, sent) = if let Exit::Mqtt(_) = self.exit {
            (
                None,
                Some(self.publish_request(cx, id, &message, mirrored, &context)?),
            )
        } else {
            let purpose = Purpose::Request(id);
            (
                self.transmit(cx, link, purpose, message, mirrored, context)?,
                None,
            )
        };
        let request = Request {
            link,
            about,
            post,
            sent,
        };
        self.requests.insert(id, request);
        Ok(id)
    }

    /// Sends a message; returns the HTTP request that carries it, over HTTP.
    fn transmit(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        purpose: Purpose,
        message: Parts,
        mirrored: Option<&Mirrored>,
        context: CallContext,
    ) -> Result<Option<usize>, McpReset> {
        let link = self.links.get_mut(key).ok_or_else(lost)?;
        match self.exit {
            Exit::Line(_) => {
                let to = link.line.as_mut().ok_or_else(lost)?;
                if to.out.len() + message.len() > UNREAD_MAX {
                    let what = "The MCP server does not read its input, and was ended.";
                    let reset = unavailable(what);
                    self.end_process(cx, key, &reset);
                    return Err(reset);
                }
                to.send(cx, message);
                Ok(None)
            }
            // A server that is asked over MQTT gets requests, and nothing else but their cancellation.
            Exit::Mqtt(_) => Ok(None),
            Exit::Http(_) => {
                let (path, session) = (self.path.clone(), link.session.clone());
                let heads = heads(&path, link.phase, link.server.as_ref(), session.as_ref());
                let request = heads.post(message.len(), mirrored);
                let post = self.open_post(cx, Some(key), purpose, request, session, context)?;
                if let Some(opened) = self.posts.get_mut(post) {
                    opened.send(cx, message);
                }
                Ok(Some(post))
            }
        }
    }

    fn open_post(
        &mut self,
        cx: &mut Context<'_>,
        link: Option<usize>,
        purpose: Purpose,
        request: HttpRequest,
        session: Option<HeaderValue>,
        context: CallContext,
    ) -> Result<usize, McpReset> {
        let Exit::Http(exit) = self.exit else {
            return Err(lost());
        };
        let entry = self.posts.vacant_entry();
        let key = entry.key();
        let opened = cx.open_for(context, exit, request, Key::Post(key).token());
        let stream = opened.map_err(|_| busy("Stream limit reached; retry later."))?;
        let mut post = Post::new(stream, link, purpose, session);
        if matches!(purpose, Purpose::Notice | Purpose::Delete) {
            let token = Key::Post(key).token();
            post.timer =
                Some(cx.timer(NOTICE_TIMEOUT, token, post_timer::END, "mcp_client.notice"));
        }
        entry.insert(post);
        Ok(key)
    }

    /// Opens the stream of the messages of a legacy session.
    pub(super) fn get_events(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        purpose: Purpose,
        after: Option<&Bytes>,
    ) -> Result<usize, McpReset> {
        let link = self.links.get(key).ok_or_else(lost)?;
        let (path, session) = (self.path.clone(), link.session.clone());
        let heads = heads(&path, link.phase, link.server.as_ref(), session.as_ref());
        let request = heads.events(after);
        let context = cx.call().shared();
        let post = self.open_post(cx, Some(key), purpose, request, session, context)?;
        if let Some(opened) = self.posts.get_mut(post) {
            opened.flush(cx);
        }
        Ok(post)
    }

    /// Ends a legacy session at the server. The server may refuse it.
    pub(super) fn delete_session(
        &mut self,
        cx: &mut Context<'_>,
        version: Option<&'static str>,
        session: &HeaderValue,
    ) {
        let path = self.path.clone();
        let heads = Heads {
            path: &path,
            version,
            session: Some(session),
        };
        let (request, context) = (heads.delete(), cx.call().shared());
        let session = Some(session.clone());
        let post = self.open_post(cx, None, Purpose::Delete, request, session, context);
        if let Ok(post) = post
            && let Some(opened) = self.posts.get_mut(post)
        {
            opened.flush(cx);
        }
    }

    /// A request is answered: ends the HTTP request that carries it, if its response does not end soon.
    /// `via`: the one that has brought the answer.
    pub(super) fn settle_post(&mut self, cx: &mut Context<'_>, key: usize, via: Option<usize>) {
        let Some(post) = self.posts.get_mut(key) else {
            return;
        };
        // An answer that is the whole body is read at the end of the response.
        let is_over = via == Some(key) && post.is_json();
        if !matches!(post.purpose, Purpose::Request(_)) || is_over {
            return;
        }
        post.purpose = Purpose::Answered;
        let token = Key::Post(key).token();
        post.timer = Some(cx.timer(
            ANSWERED_TIMEOUT,
            token,
            post_timer::END,
            "mcp_client.answered",
        ));
    }

    /// A connection has ended: ends its HTTP requests. What the server is only told is still sent.
    pub(super) fn close_posts(&mut self, cx: &mut Context<'_>, link: usize) {
        let mut over = Vec::new();
        for (key, post) in &mut self.posts {
            if post.link == Some(link) {
                post.link = None;
                if matches!(post.purpose, Purpose::Request(_) | Purpose::Events) {
                    over.push(key);
                }
            }
        }
        for key in over {
            if let Some(mut post) = self.posts.try_remove(key) {
                post.close(cx);
                if let Purpose::Request(id) = post.purpose {
                    self.requests.remove(&id);
                }
            }
        }
    }

    /// Sends a request whose answer does not matter. What cannot be sent is left out.
    pub(super) fn tell(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        message: impl FnOnce(u64) -> Parts,
    ) {
        self.last_id += 1;
        let (message, context) = (message(self.last_id), cx.call().shared());
        let _ = self.transmit(cx, link, Purpose::Notice, message, None, context);
    }

    /// Sends a notification. What cannot be sent is left out.
    pub(super) fn notify(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        method: &str,
        params: &[u8],
    ) {
        let mut out = begin_notification(method);
        out.extend_from_slice(params);
        out.extend_from_slice(b"}");
        let (message, context) = (Parts::from(out.freeze()), cx.call().shared());
        let _ = self.transmit(cx, link, Purpose::Notice, message, None, context);
    }

    /// Answers a request of the server. `member`: `result` or `error`.
    pub(super) fn send_answer(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        id: &Id,
        member: &[u8],
        content: Bytes,
    ) {
        let mut out = BytesMut::with_capacity(64);
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.text());
        out.extend_from_slice(b",\"");
        out.extend_from_slice(member);
        out.extend_from_slice(b"\":");
        let mut message = Parts::from(out.freeze());
        message.push(content);
        message.push(Bytes::from_static(b"}"));
        let of_link = cx.call().shared();
        let _ = self.transmit(cx, link, Purpose::Notice, message, None, of_link);
    }

    /// Answers a request of the server with an error.
    pub(super) fn send_error(&mut self, cx: &mut Context<'_>, link: usize, id: &Id, error: &Error) {
        let message = Parts::from(error_response(id, error));
        let context = cx.call().shared();
        let _ = self.transmit(cx, link, Purpose::Notice, message, None, context);
    }

    /// Forgets a request, and tells the server that nobody waits for it.
    pub(super) fn cancel_request(&mut self, cx: &mut Context<'_>, id: u64) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if let Some(sent) = &request.sent {
            return self.publish_cancel(cx, id, sent);
        }
        let post = request.post.and_then(|post| self.posts.try_remove(post));
        if let Some(mut post) = post {
            post.close(cx);
        }
        let Some(link) = self.links.get(request.link) else {
            return;
        };
        let is_modern = link.server.as_ref().is_some_and(|it| it.era == Era::Modern);
        let over_http = matches!(self.exit, Exit::Http(_));
        // A modern server is told by the end of the HTTP request; `initialize` must not be cancelled.
        let is_told = (is_modern && over_http) || link.phase != Phase::Ready;
        if !is_told && !matches!(request.about, About::Discover | About::Initialize) {
            let mut params = BytesMut::from(&b"{\"requestId\":"[..]);
            push_number(&mut params, id);
            params.extend_from_slice(b"}");
            self.notify(cx, request.link, "notifications/cancelled", &params);
        }
    }
}

/// The heads of the requests of a connection.
fn heads<'a>(
    path: &'a ByteString,
    phase: Phase,
    server: Option<&crate::client::handshake::Server>,
    session: Option<&'a HeaderValue>,
) -> Heads<'a> {
    Heads {
        path,
        version: match phase {
            Phase::Discovering => Some(MODERN),
            Phase::Closed | Phase::Initializing => None,
            Phase::Ready => server.map(|server| server.version),
        },
        session,
    }
}
