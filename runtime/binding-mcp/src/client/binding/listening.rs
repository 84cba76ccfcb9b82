//! The stream of what the server sends without being asked: the event stream of a legacy session over HTTP,
//! and `subscriptions/listen` of the modern era.
//!
//! It is opened once a caller has a session or a subscription that can be told something, or can be asked for
//! something, in the turn after that: many sessions only ask for the capabilities and end at once. A stream that ends is opened again
//! after a wait that grows, where it ended if the server says where that is.

use bytes::BytesMut;
use tidegate_engine::{Context, Duration};
use tidegate_json::Parts;
use tidegate_json::write::push_string;
use tidegate_streams::mcp::McpCapabilities;

use super::{About, Exit, McpClient, link_timer};
use crate::client::handshake::{list_changes, listen};
use crate::client::http::Mirrored;
use crate::client::key::Key;
use crate::client::link::{Owner, Phase};
use crate::client::post::Purpose;
use crate::jsonrpc::{Era, Id, Method, request};

/// First wait before a stream is opened again, in milliseconds; it doubles with each failure.
const WAIT_FIRST: u64 = 1_000;
/// Longest wait, in milliseconds.
const WAIT_MAX: u64 = 60_000;

impl McpClient {
    /// Asks a legacy server for the log messages that a caller wants. A session that calls share gets those of all of
    /// them; each caller is told what it wants of it.
    pub(super) fn want_logs(&mut self, cx: &mut Context<'_>, call: usize) {
        let call = self.calls.get(call);
        let Some((key, level)) = call.and_then(|call| Some((call.link, call.begin.log_level()?)))
        else {
            return;
        };
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let server = link.server.as_ref().filter(|it| it.era == Era::Legacy);
        let has_logs = server.is_some_and(|server| {
            server
                .capabilities
                .contains(McpCapabilities::SERVER_LOGGING)
        });
        let is_own = matches!(link.owner, Owner::Session(_));
        let is_known = link
            .log_level
            .is_some_and(|known| known == level || (!is_own && level.is_from(known)));
        if !has_logs || is_known {
            return;
        }
        link.log_level = Some(level);
        let mut params = BytesMut::from(&b"{\"level\":"[..]);
        push_string(&mut params, level.word());
        params.extend_from_slice(b"}");
        let method = Method::LoggingSetLevel.name();
        // It is sent before the call. Its answer does not matter.
        self.tell(cx, key, |id| {
            request(&Id::number(id), method, Parts::from(params.freeze()))
        });
    }

    /// Opens the stream in the next turn, if a legacy server may ask callers for something on it.
    pub(super) fn want_listening_if_asked(&mut self, cx: &mut Context<'_>, key: usize) {
        let link = self.links.get(key);
        let server = link.and_then(|link| Some((link, link.server.as_ref()?.era)));
        if server
            .is_some_and(|(link, era)| era == Era::Legacy && link.client != McpCapabilities::NONE)
        {
            self.want_listening(cx, key);
        }
    }

    /// Opens the stream in the next turn, if the server has something to tell.
    pub(super) fn want_listening(&mut self, cx: &mut Context<'_>, key: usize) {
        type C = McpCapabilities;
        let over_line = matches!(self.exit, Exit::Line(_));
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let Some(server) = &link.server else { return };
        let lists = !list_changes(server.capabilities).is_empty();
        let tells = match server.era {
            // Updates of resources have streams of their own.
            Era::Modern => lists,
            Era::Legacy => {
                let updates = server.capabilities.contains(C::SERVER_RESOURCES_SUBSCRIBE);
                // The server may also ask there what the callers can be asked for.
                !over_line && (lists || updates || link.client != C::NONE)
            }
        };
        let listening = &mut link.listening;
        let has = listening.post.is_some() || listening.request.is_some();
        if tells && !has && !listening.refused && listening.timer.is_none() {
            let token = Key::Link(key).token();
            let kind = link_timer::LISTEN;
            listening.timer = Some(cx.timer(Duration::ZERO, token, kind, "mcp_client.listen"));
        }
    }

    /// Opens the stream.
    pub(super) fn listen(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.listening.timer = None;
        let server = link.server.as_ref().filter(|_| link.phase == Phase::Ready);
        let Some(server) = server else { return };
        if link.calls.is_empty() || cx.stopping() {
            return;
        }
        match server.era {
            Era::Legacy => {
                let after = link.listening.after.clone();
                let post = self.get_events(cx, key, Purpose::Events, after.as_ref());
                if let Some(link) = self.links.get_mut(key) {
                    link.listening.post = post.ok();
                }
            }
            Era::Modern => {
                let params = listen(&list_changes(server.capabilities));
                let method = Method::Listen.name();
                let mirrored = Mirrored {
                    method,
                    ..Mirrored::default()
                };
                let context = cx.call().shared();
                let message = |id: u64| request(&Id::number(id), method, params);
                let sent = self.request(cx, key, About::Lists, Some(&mirrored), context, message);
                if let Some(link) = self.links.get_mut(key) {
                    link.listening.request = sent.ok();
                }
            }
        }
    }

    /// The stream has ended. `refused`: the server has none.
    pub(super) fn listening_ended(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        refused: bool,
        retry: Option<u64>,
    ) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let listening = &mut link.listening;
        listening.post = None;
        listening.request = None;
        listening.refused |= refused;
        if listening.refused || cx.stopping() || listening.timer.is_some() {
            return;
        }
        let grown = WAIT_FIRST << listening.failures.min(6);
        let wait = match retry {
            // The server says when it wants to be asked again.
            Some(retry) if listening.failures == 0 => retry.clamp(10, WAIT_MAX),
            _ => grown.min(WAIT_MAX),
        };
        listening.failures = listening.failures.saturating_add(1);
        let (after, token) = (Duration::from_millis(wait), Key::Link(key).token());
        listening.timer = Some(cx.timer(after, token, link_timer::LISTEN, "mcp_client.listen"));
    }

    /// Ends the stream.
    pub(super) fn stop_listening(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let mut listening = std::mem::take(&mut link.listening);
        if let Some(timer) = listening.timer.take() {
            cx.cancel(timer);
        }
        if let Some(request) = listening.request {
            self.cancel_request(cx, request);
        }
        if let Some(mut post) = listening.post.and_then(|post| self.posts.try_remove(post)) {
            post.close(cx);
        }
    }
}
