//! What the answers of the server mean for operations.

use tidegate_engine::Context;
use tidegate_json::Document;
use tidegate_streams::mcp::{McpOutcome, McpReset, McpResetKind};

use super::{About, McpClient};
use crate::client::call::State;
use crate::client::refusal::{of_error, unavailable};
use crate::client::result::incoming;
use crate::jsonrpc::{Era, Error, Method, code};

impl McpClient {
    /// The server has answered the request of an operation.
    pub(super) fn call_answered(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        answer: Result<&Document, &Error>,
    ) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.request = None;
        cx.work_for(call.accepted);
        let link = self.links.get(call.link);
        let server = link.and_then(|link| link.server.as_ref());
        let era = server.map_or(Era::Legacy, |server| server.era);
        let Some(method) = call.method else { return };
        let result = match answer {
            Ok(result) => result,
            Err(error) if self.lacks_headers(key, era, error) => {
                let mismatch = of_error(error, Some(method), era);
                if let Err(reset) = self.find_tool(cx, key, mismatch, None) {
                    self.refuse_call(cx, key, reset);
                }
                return;
            }
            Err(error) => {
                let reset = of_error(error, Some(method), era);
                if error.code() == code::UNSUPPORTED_PROTOCOL_VERSION {
                    // The server has changed: the next call finds out what it is now.
                    self.forget_server();
                }
                return self.refuse_call(cx, key, reset);
            }
        };
        if method == Method::ResourcesSubscribe {
            return self.subscription_answered(cx, key, era);
        }
        let tools = match method {
            Method::ToolsList => self.learn_tools(cx, era, result),
            _ => None,
        };
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        match incoming(result, method, tools) {
            Ok(incoming)
                if incoming.end.outcome == McpOutcome::InputRequired && !call.takes_questions =>
            {
                let what = "The MCP server asks for input before it executes this; the client of this \
                            protocol version cannot be asked in this way.";
                self.refuse_call(cx, key, unavailable(what));
            }
            Ok(incoming) => {
                self.counts.answered += 1;
                call.reply(cx, incoming.result, incoming.end);
            }
            Err(why) => {
                let what = format!("Invalid answer of the MCP server: {why}.");
                self.refuse_call(cx, key, unavailable(what));
            }
        }
    }

    /// The server has accepted a subscription, or ended it.
    fn subscription_answered(&mut self, cx: &mut Context<'_>, key: usize, era: Era) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        match era {
            Era::Legacy => {
                call.open(cx, None);
                let link = call.link;
                self.want_listening(cx, link);
            }
            // The answer of `subscriptions/listen` is its end.
            Era::Modern => {
                let what = "The MCP server has ended the subscription.";
                self.refuse_call(cx, key, unavailable(what));
            }
        }
    }

    /// A subscription was requested again.
    pub(super) fn subscribed_again(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        answer: Result<&Document, &Error>,
    ) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.request = None;
        let link = call.link;
        match answer {
            Ok(_) => self.want_listening(cx, link),
            Err(error) => {
                let method = Some(Method::ResourcesSubscribe);
                let reset = of_error(error, method, Era::Legacy);
                self.refuse_call(cx, key, reset);
            }
        }
    }

    /// `subscriptions/listen` has begun.
    pub(super) fn acknowledged(
        &mut self,
        cx: &mut Context<'_>,
        link: usize,
        id: u64,
        resources: bool,
    ) {
        let request = self.requests.get(&id).filter(|it| it.link == link);
        let Some(About::Call(key) | About::Again(key)) = request.map(|it| it.about) else {
            return;
        };
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        if call.method != Some(Method::ResourcesSubscribe) || call.state == State::Open {
            return;
        }
        if resources {
            call.open(cx, None);
        } else {
            let what = "The MCP server does not announce updates of this resource.";
            self.refuse_call(cx, key, McpReset::new(McpResetKind::NotFound, what));
        }
    }

    /// A request has failed on the way.
    pub(super) fn request_failed(&mut self, cx: &mut Context<'_>, id: u64, reset: McpReset) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        match request.about {
            About::Discover | About::Initialize => self.link_failed(cx, request.link, &reset),
            About::Call(key) | About::Again(key) | About::Tools(key) => {
                if let Some(call) = self.calls.get_mut(key) {
                    call.request = None;
                }
                self.refuse_call(cx, key, reset);
            }
            About::Lists => {
                // One that is refused says so; one that is lost is opened again.
                self.listening_ended(cx, request.link, false, None);
            }
        }
    }

    /// Forgets what was found out about the server. Connections that are in use stay as they are.
    fn forget_server(&mut self) {
        self.known = None;
        for (_, link) in &mut self.links {
            let is_modern = link.server.as_ref().is_some_and(|it| it.era == Era::Modern);
            if is_modern && link.session.is_none() {
                link.phase = crate::client::link::Phase::Closed;
            }
        }
    }
}
