//! The operations of callers, up to their request and from their end.

use bytes::Bytes;
use tidegate_engine::{Context, Duration, StreamId};
use tidegate_json::Parts;
use tidegate_streams::mcp::{
    McpAnswer, McpBeginEx, McpCapabilities, McpEnd, McpFlushEx, McpReset, McpResetKind, McpResponse,
};
use tidegate_streams::{Data, FlushEx, Frame};

use super::{About, McpClient, call_timer};
use crate::client::call::{Call, State};
use crate::client::handshake::{listen, updates_of};
use crate::client::http::Mirrored;
use crate::client::key::Key;
use crate::client::link::{Owner, Phase};
use crate::client::params::{self, Request};
use crate::client::refusal::busy;
use crate::jsonrpc::{Era, Id, Method, Subject, request};

impl McpClient {
    /// Accepts an operation.
    pub(super) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        begin: McpBeginEx,
    ) -> Result<(), McpReset> {
        if cx.stopping() {
            return Err(busy("The gateway is stopping; retry later."));
        }
        let max = self.options.max_requests.size();
        if self.calls.len() >= max {
            let what =
                format!("Too many operations at one MCP server ({max}, maxRequests); retry later.");
            return Err(busy(what));
        }
        let link = self.link_for(cx, &begin)?;
        let mut call = Call::new(stream, begin, link);
        let entry = self.calls.vacant_entry();
        let key = entry.key();
        let token = Key::Call(key).token();
        cx.accept(stream, token);
        let (after, kind, reason) = if call.is_list() {
            // Some callers send no params for a list; they would have come in this turn.
            (Duration::ZERO, call_timer::PARAMS, "mcp_client.params")
        } else {
            let deadline = self.options.timeout;
            (
                time_left(cx, deadline),
                call_timer::DEADLINE,
                "mcp_client.deadline",
            )
        };
        call.timer = Some(cx.timer(after, token, kind, reason));
        let is_session = call.method.is_none();
        entry.insert(call);
        if let Some(link) = self.links.get_mut(link) {
            link.calls.insert(key);
        }
        if is_session {
            self.prepare(cx, key);
        }
        Ok(())
    }

    /// Sends the request of an operation, once the session with the server is ready.
    pub(super) fn prepare(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.state = State::Waiting;
        let link = call.link;
        match self.links.get(link).map(|link| link.phase) {
            Some(Phase::Ready) => self.dispatch(cx, key),
            Some(_) => self.open_link(cx, link),
            None => self.refuse_call(cx, key, crate::client::refusal::lost()),
        }
    }

    pub(super) fn call_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        match frame {
            Frame::Data(data) => self.collect(cx, key, data),
            Frame::Window(_) => call.flush(cx),
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(McpFlushEx::Response(response)) = *flush {
                    self.answer_server(cx, key, &response);
                }
            }
            Frame::End(_) if call.state == State::Open => {
                self.end_open(cx, key);
                return;
            }
            // The caller does not want the result any more.
            Frame::End(_) if call.state != State::Replying => self.remove_call(cx, key),
            Frame::Abort(_) | Frame::Reset(_) => self.remove_call(cx, key),
            Frame::End(_) | Frame::Begin(_) | Frame::Challenge(_) => {}
        }
        self.remove_call_if_over(cx, key);
    }

    fn collect(&mut self, cx: &mut Context<'_>, key: usize, data: Data) {
        let max = self.message_max();
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        cx.acknowledge(call.accepted, data.payload.len());
        if call.state != State::Collecting {
            return;
        }
        match call.collect(data, max) {
            Ok(false) => {}
            Ok(true) => self.complete(cx, key),
            Err(reset) => self.refuse_call(cx, key, reset),
        }
    }

    /// A list whose params did not come has none.
    pub(super) fn no_params(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.timer = None;
        if call.state != State::Collecting {
            return;
        }
        if call.has_params() {
            let (after, token) = (time_left(cx, self.options.timeout), Key::Call(key).token());
            let timer = cx.timer(after, token, call_timer::DEADLINE, "mcp_client.deadline");
            call.timer = Some(timer);
        } else {
            self.complete(cx, key);
        }
    }

    /// The params are complete.
    fn complete(&mut self, cx: &mut Context<'_>, key: usize) {
        let timeout = self.options.timeout;
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if call.is_list() {
            call.cancel_timer(cx);
            cx.work_for(call.accepted);
            let (after, token) = (time_left(cx, timeout), Key::Call(key).token());
            let timer = cx.timer(after, token, call_timer::DEADLINE, "mcp_client.deadline");
            call.timer = Some(timer);
        }
        let (text, read) = call.take_params();
        match params::parse(text, read) {
            Ok(params) => {
                call.params = Some(params);
                self.prepare(cx, key);
            }
            Err(reset) => self.refuse_call(cx, key, reset),
        }
    }

    /// Sends the request of an operation whose session is ready.
    pub(super) fn dispatch(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        cx.work_for(call.accepted);
        let sent = match call.method {
            None => self.begin_session(cx, key),
            Some(Method::ResourcesSubscribe) => self.subscribe(cx, key, About::Call(key)),
            Some(method) => self.send_call(cx, key, method),
        };
        if let Err(reset) = sent {
            self.refuse_call(cx, key, reset);
        }
    }

    /// The session of a caller begins.
    fn begin_session(&mut self, cx: &mut Context<'_>, key: usize) -> Result<(), McpReset> {
        let lost = crate::client::refusal::lost;
        let call = self.calls.get_mut(key).ok_or_else(lost)?;
        let link_key = call.link;
        let link = self.links.get(link_key).ok_or_else(lost)?;
        let server = link.server.as_ref().ok_or_else(lost)?;
        let id = match &link.owner {
            Owner::Session(id) => id.clone(),
            // Sessions of callers with a process are one; the identity only has to be theirs.
            Owner::Caller(_) | Owner::Everybody => cx.mint_identity(),
        };
        if let McpBeginEx::Lifecycle(lifecycle) = &mut call.begin {
            lifecycle.capabilities = server.capabilities;
        }
        call.open(cx, Some(id));
        self.want_listening(cx, link_key);
        Ok(())
    }

    fn send_call(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        method: Method,
    ) -> Result<(), McpReset> {
        let lost = crate::client::refusal::lost;
        self.want_logs(cx, key);
        let id = self.last_id + 1;
        let call = self.calls.get_mut(key).ok_or_else(lost)?;
        let link_key = call.link;
        let link = self.links.get(link_key).ok_or_else(lost)?;
        let server = link.server.as_ref().ok_or_else(lost)?;
        if let Some(empty) = empty_list(method, server.capabilities) {
            call.reply(
                cx,
                Parts::from(Bytes::from_static(empty)),
                McpEnd::default(),
            );
            return Ok(());
        }
        let era = server.era;
        let name = call.subject();
        let subject = method.subject().zip(name.as_deref());
        let params = call.params.as_ref().ok_or_else(lost)?;
        let outgoing = params::outgoing(
            params,
            &Request {
                era,
                subject,
                token: id,
                log_level: call.begin.log_level(),
                capabilities: call.begin.capabilities(),
            },
        )?;
        call.takes_questions = outgoing.takes_questions;
        call.progress = outgoing.progress;
        call.state = State::Running;
        let mirrored = (era == Era::Modern).then(|| Mirrored {
            method: method.name(),
            name,
            params: self.param_headers(key),
        });
        let message = |id: u64| request(&Id::number(id), method.name(), outgoing.params);
        let context = cx.call().clone();
        let id = self.request(
            cx,
            link_key,
            About::Call(key),
            mirrored.as_ref(),
            context,
            message,
        )?;
        if let Some(call) = self.calls.get_mut(key) {
            call.request = Some(id);
        }
        // The server may ask the caller for something on the session's stream.
        self.want_listening_if_asked(cx, link_key);
        Ok(())
    }

    /// Sends the request for a subscription: `about` says whether it is the first one.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        about: About,
    ) -> Result<(), McpReset> {
        let lost = crate::client::refusal::lost;
        let call = self.calls.get_mut(key).ok_or_else(lost)?;
        let link_key = call.link;
        let server = self
            .links
            .get(link_key)
            .and_then(|link| link.server.as_ref());
        let server = server.ok_or_else(lost)?;
        if !server
            .capabilities
            .contains(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE)
        {
            let what = "The MCP server has no subscriptions to resources.";
            return Err(McpReset::new(McpResetKind::NotFound, what));
        }
        let era = server.era;
        let uri = call.subject().unwrap_or_default();
        if call.state != State::Open {
            call.state = State::Running;
        }
        let method = match era {
            Era::Modern => Method::Listen,
            Era::Legacy => Method::ResourcesSubscribe,
        };
        let params = match era {
            Era::Modern => listen(&updates_of(&uri)),
            Era::Legacy => uri_params(&uri),
        };
        let mirrored = (era == Era::Modern).then(|| Mirrored {
            method: method.name(),
            ..Mirrored::default()
        });
        let message = |id: u64| request(&Id::number(id), method.name(), params);
        let context = cx.call().shared();
        let id = self.request(cx, link_key, about, mirrored.as_ref(), context, message)?;
        if let Some(call) = self.calls.get_mut(key) {
            call.request = Some(id);
        }
        Ok(())
    }

    /// The caller ends a session or a subscription.
    fn end_open(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        cx.end(call.accepted, Frame::end());
        let (link_key, is_session) = (call.link, call.method.is_none());
        if is_session {
            if let Some(link) = self.links.get_mut(link_key) {
                link.closing = matches!(link.owner, Owner::Session(_));
            }
        } else {
            self.unsubscribe(cx, key);
        }
        self.remove_call(cx, key);
    }

    /// Ends a subscription at a legacy server, unless another caller has it too. A modern one ends with its
    /// request.
    fn unsubscribe(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        let Some(uri) = call.subject() else { return };
        let link_key = call.link;
        let Some(link) = self.links.get(link_key) else {
            return;
        };
        let is_legacy = link.server.as_ref().is_some_and(|it| it.era == Era::Legacy);
        let has_other = link.calls.iter().any(|other| {
            *other != key
                && self.calls.get(*other).is_some_and(|other| {
                    matches!(&other.begin, McpBeginEx::ResourcesSubscribe(begin) if begin.uri == uri)
                })
        });
        if !is_legacy || has_other || link.phase != Phase::Ready {
            return;
        }
        let message = |id: u64| {
            let method = Method::ResourcesUnsubscribe.name();
            request(&Id::number(id), method, uri_params(&uri))
        };
        // What was not unsubscribed is ignored when it comes.
        self.tell(cx, link_key, message);
    }

    /// The answer of the caller to a question of the server.
    fn answer_server(&mut self, cx: &mut Context<'_>, key: usize, response: &McpResponse) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if let Some(id) = call.answered(response.id) {
            let link = call.link;
            // The caller has taken its time: the operation has a new deadline, once nothing more is asked.
            // What is open has none.
            call.cancel_timer(cx);
            if response.timeout > 0 && !call.is_asked() && call.state != State::Open {
                let (after, token) = (
                    Duration::from_millis(response.timeout),
                    Key::Call(key).token(),
                );
                call.timer =
                    Some(cx.timer(after, token, call_timer::DEADLINE, "mcp_client.deadline"));
            }
            let member: &[u8] = match response.answer {
                McpAnswer::Result => b"result",
                McpAnswer::Error | McpAnswer::Unsupported | McpAnswer::Expired => b"error",
            };
            self.send_answer(cx, link, &id, member, response.content.clone());
        }
    }

    /// The deadline of an operation has passed.
    pub(super) fn call_expired(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.timer = None;
        let link = self.links.get(call.link);
        let name = link.and_then(|link| Some(link.server.as_ref()?.name.clone()));
        let name = name.filter(|name| !name.is_empty());
        let who = name.map_or_else(String::new, |name| format!(" '{name}'"));
        let what = match call.state {
            State::Waiting => format!(
                "The MCP server{who} did not begin a session before the deadline of the request."
            ),
            State::Collecting => "The params of the request did not arrive in time.".to_owned(),
            _ => format!(
                "The MCP server{who} did not answer before the deadline of the request; it may still be \
                 executed there."
            ),
        };
        let reset = McpReset::new(McpResetKind::TimedOut, what);
        self.refuse_call(cx, key, reset);
    }

    /// Refuses an operation, or ends what was open, and removes it.
    pub(super) fn refuse_call(&mut self, cx: &mut Context<'_>, key: usize, reset: McpReset) {
        self.counts.failed += 1;
        if let Some(call) = self.calls.get_mut(key) {
            call.refuse(cx, reset);
        }
        self.remove_call(cx, key);
    }

    fn remove_call_if_over(&mut self, cx: &mut Context<'_>, key: usize) {
        let call = self.calls.get(key);
        if call.is_some_and(|call| cx.is_over(call.accepted)) {
            self.remove_call(cx, key);
        }
    }

    /// Removes an operation, and cancels its request.
    pub(super) fn remove_call(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(mut call) = self.calls.try_remove(key) else {
            return;
        };
        call.cancel_timer(cx);
        if let Some(request) = call.request.take() {
            self.cancel_request(cx, request);
        }
        refuse_nothing(cx, call.accepted);
        if let Some(link) = self.links.get_mut(call.link) {
            link.calls.remove(&key);
        }
        self.release_link(cx, call.link);
        self.close_wire_if_stopped(cx);
    }
}

/// Ends a stream that may have ended.
fn refuse_nothing(cx: &mut Context<'_>, stream: StreamId) {
    if !cx.is_over(stream) {
        cx.terminate(stream, None, None);
    }
}

/// The time until the deadline of the call that the handler works for; without one, a number of
/// milliseconds.
fn time_left(cx: &Context<'_>, millis: u64) -> Duration {
    match cx.deadline() {
        Some(deadline) => deadline.since(cx.now()),
        None => Duration::from_millis(millis),
    }
}

/// The list of a server that says it has nothing to list.
fn empty_list(method: Method, capabilities: McpCapabilities) -> Option<&'static [u8]> {
    type C = McpCapabilities;
    let (needed, empty): (C, &'static [u8]) = match method {
        Method::ToolsList => (C::SERVER_TOOLS, b"{\"tools\":[]}"),
        Method::PromptsList => (C::SERVER_PROMPTS, b"{\"prompts\":[]}"),
        Method::ResourcesList => (C::SERVER_RESOURCES, b"{\"resources\":[]}"),
        Method::ResourcesTemplatesList => (C::SERVER_RESOURCES, b"{\"resourceTemplates\":[]}"),
        _ => return None,
    };
    (!capabilities.contains(needed)).then_some(empty)
}

fn uri_params(uri: &str) -> Parts {
    let mut out = bytes::BytesMut::with_capacity(uri.len() + 16);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(Subject::Uri.name().as_bytes());
    out.extend_from_slice(b"\":");
    tidegate_json::write::push_string(&mut out, uri);
    out.extend_from_slice(b"}");
    Parts::from(out.freeze())
}
