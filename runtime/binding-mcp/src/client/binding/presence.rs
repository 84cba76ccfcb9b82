//! Whether a server over MQTT is there: its retained message, and what follows of it.

use bytes::Bytes;
use tidegate_engine::{Context, Duration};
use tidegate_json::{Document, Limits, Parts};
use tidegate_streams::mcp::{
    McpPromptsListChanged, McpReset, McpResourcesListChanged, McpToolsListChanged,
};
use tidegate_streams::mqtt::MqttMessage;

use super::{McpClient, wire_timer};
use crate::client::call::State;
use crate::client::events::ServerUnavailable;
use crate::client::handshake::{Discovered, Server, discovered};
use crate::client::key::Key;
use crate::client::link::Phase;
use crate::client::mqtt::{Presence, Sent};
use crate::client::options::EraChoice;
use crate::client::refusal::{lost, unavailable};

/// Time in which another instance can say that it is there, after one has said that it is not.
const ABSENT_AFTER: Duration = Duration::from_secs(2);

impl McpClient {
    /// A message of the subscription.
    pub(super) fn heard(&mut self, cx: &mut Context<'_>, message: MqttMessage) {
        let max = self.message_max();
        let Some(wire) = &mut self.wire else { return };
        if wire.is_reply(&message.data.topic) {
            return self.reply(cx, message);
        }
        if message.data.topic != wire.discover {
            return;
        }
        wire.unusable = None;
        wire.told = cx.now();
        if let Some(timer) = wire.timer.take() {
            // It is waited for no longer.
            cx.cancel(timer);
        }
        if message.payload.is_empty() {
            if wire.presence != Presence::Absent && wire.absence.is_none() {
                let (token, kind) = (Key::Wire.token(), wire_timer::ABSENT);
                wire.absence = Some(cx.timer(ABSENT_AFTER, token, kind, "mcp_client.absent"));
            }
            return;
        }
        if message.payload.len() > max {
            return self.unusable(cx, &format!("it is larger than {max} bytes"));
        }
        let text = Parts::from(message.payload.clone());
        let Ok(document) = Document::parse(text, Limits::default()) else {
            return self.unusable(cx, "it is not JSON");
        };
        match discovered(&document) {
            Discovered::Modern(server) => self.present(cx, &server, &message.payload),
            Discovered::Unsupported(versions) => {
                let why =
                    format!("it supports no protocol version that the gateway does: {versions}");
                self.unusable(cx, &why);
            }
            Discovered::Legacy | Discovered::Again => {
                self.unusable(cx, "it is no result of server/discover of 2026-07-28");
            }
        }
    }

    /// The connection was lost for `gap`: the server may have gone meanwhile. The broker sends its retained message again,
    /// if it has not done so already.
    pub(super) fn confirm_presence(&mut self, cx: &mut Context<'_>, gap: Duration) {
        let now = cx.now();
        if let Some(wire) = self.wire.as_mut()
            && now.since(wire.told) > gap
            && wire.presence != Presence::Absent
        {
            wire.await_retained(cx);
        }
    }

    /// What the server says of itself cannot be used.
    fn unusable(&mut self, cx: &mut Context<'_>, why: &str) {
        self.counts.invalid += 1;
        let Some(wire) = &mut self.wire else { return };
        let reason = format!(
            "Invalid message of the MCP server on '{}': {why}.",
            wire.discover
        );
        wire.unusable = Some(reason);
        // The reason is told also if the server was away before.
        if wire.presence == Presence::Absent {
            wire.presence = Presence::Unknown;
        }
        self.absent(cx);
    }

    /// The server is there.
    fn present(&mut self, cx: &mut Context<'_>, server: &Server, text: &Bytes) {
        let Some(wire) = &mut self.wire else { return };
        let was_cleared = wire.absence.take().map(|timer| cx.cancel(timer)).is_some();
        let was = std::mem::replace(&mut wire.presence, Presence::Present(server.clone()));
        if wire.announcement == *text && matches!(was, Presence::Present(_)) && !was_cleared {
            return;
        }
        // Copied: it shares the buffer that it was read into.
        wire.announcement = Bytes::copy_from_slice(text);
        self.found(cx, server);
        let ready = self.links_in(Phase::Ready);
        for key in self.links_in(Phase::Discovering) {
            self.link_ready(cx, key, server.clone());
        }
        for key in ready {
            if let Some(link) = self.links.get_mut(key) {
                link.server = Some(server.clone());
            }
            self.list_changed(cx, key, &McpToolsListChanged {}.into());
            self.list_changed(cx, key, &McpPromptsListChanged {}.into());
            self.list_changed(cx, key, &McpResourcesListChanged {}.into());
            if self.has_session(key) {
                self.want_listening(cx, key);
            }
        }
        // The server may have been started again, without its subscriptions.
        self.renew(cx);
    }

    /// The server is not there.
    pub(super) fn absent(&mut self, cx: &mut Context<'_>) {
        let Some(wire) = &mut self.wire else { return };
        if let Some(timer) = wire.absence.take() {
            cx.cancel(timer);
        }
        if wire.presence == Presence::Absent {
            return;
        }
        wire.presence = Presence::Absent;
        let reset = self.away();
        cx.event(&ServerUnavailable {
            reason: reset.message.clone(),
        });
        for key in self.links_in(Phase::Discovering) {
            self.refuse_link(cx, key, &reset);
        }
        let running = self.requests.iter();
        let running = running.filter_map(|(id, it)| Some((*id, it.sent.as_deref()?.clone())));
        let running: Vec<(u64, Sent)> = running.collect();
        for (id, sent) in running {
            // It may wait at the broker for the server to come back.
            self.publish_cancel(cx, id, &sent);
            let what =
                "The MCP server has gone while it had the request, which may have been executed.";
            self.request_failed(cx, id, unavailable(what));
        }
        for key in self.links_in(Phase::Ready) {
            for call in self.calls_of(key) {
                let open = self.calls.get(call);
                let is_subscription =
                    open.is_some_and(|it| it.state == State::Open && it.method.is_some());
                if is_subscription {
                    self.refuse_call(cx, call, reset.clone());
                }
            }
        }
    }

    /// Whether a caller has an open session, which can be told of changes.
    fn has_session(&self, link: usize) -> bool {
        let mut calls = self.calls_of(link).into_iter();
        calls.any(|key| {
            let call = self.calls.get(key);
            call.is_some_and(|call| call.method.is_none() && call.state == State::Open)
        })
    }

    pub(super) fn away(&self) -> McpReset {
        let Some(wire) = &self.wire else {
            return lost();
        };
        let reset = match (&wire.failure, &wire.unusable) {
            (Some(reason), _) => {
                unavailable(format!("The MCP server cannot be reached: {reason}."))
            }
            (None, Some(reason)) => unavailable(reason),
            (None, None) => unavailable(format!(
                "The MCP server is away: there is no message on '{}'.",
                wire.discover
            )),
        };
        McpReset {
            not_sent: true,
            ..reset
        }
    }

    pub(super) fn links_in(&self, phase: Phase) -> Vec<usize> {
        let links = self.links.iter().filter(|(_, it)| it.phase == phase);
        links.map(|(key, _)| key).collect()
    }

    /// A connection is ready once the server is there.
    pub(super) fn open_mqtt_link(&mut self, cx: &mut Context<'_>, key: usize) {
        if self.options.era == EraChoice::Legacy {
            let what = "MCP over MQTT has the modern era only; set 'era' to auto.";
            return self.refuse_link(cx, key, &unavailable(what));
        }
        let Some(wire) = &self.wire else { return };
        match &wire.presence {
            Presence::Present(server) => {
                let server = server.clone();
                self.link_ready(cx, key, server);
            }
            Presence::Unknown if wire.failure.is_none() => {
                let within = self.options.handshake_timeout.get();
                self.begin_phase(cx, key, Phase::Discovering, within);
                self.open_wire(cx);
            }
            Presence::Absent | Presence::Unknown => {
                let reset = self.away();
                self.refuse_link(cx, key, &reset);
            }
        }
    }
}
