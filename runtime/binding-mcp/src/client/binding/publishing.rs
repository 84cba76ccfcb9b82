//! Requests over MQTT, and their replies.
//!
//! A request is sent again when the connection was lost, since its response may have been published meanwhile: the
//! server recognises it, and answers as before (specs/mcp-over-mqtt5.md, 5). A listen is renewed in the same way.

use std::collections::BTreeSet;

use bytes::Bytes;
use tidegate_engine::{CallContext, Context, Duration, StreamId};
use tidegate_json::Parts;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::{
    MqttDelivery, MqttEnd, MqttFlushEx, MqttMessage, MqttPublishData, MqttReset, MqttSubscribeFlags,
};
use tidegate_streams::{AbortEx, EndEx, FlushEx, Frame, Pooled, ResetEx};

use super::messages::Names;
use super::{Exit, McpClient, Request, wire_timer};
use crate::client::events::ServerUnavailable;
use crate::client::http::Mirrored;
use crate::client::key::Key;
use crate::client::link::Phase;
use crate::client::mqtt::{
    LISTEN_EXPIRY, Nonce, Outgoing, Presence, RENEW_AFTER, Sent, Wire, request_of,
};
use crate::client::refusal::{busy, lost, unavailable};
use crate::jsonrpc::Method;
use crate::shown::shown;

/// Time before a subscription that has failed is opened again.
const SUBSCRIBE_AFTER: Duration = Duration::from_secs(1);
/// Least time for the broker to acknowledge a cancellation.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);
/// Reason code: nobody has subscribed to the topic (MQTT 5.0, 3.4.2.1).
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

impl McpClient {
    /// Subscribes to what the server says of itself, and to the replies.
    pub(super) fn open_wire(&mut self, cx: &mut Context<'_>) {
        let (Exit::Mqtt(exit), Some(wire)) = (self.exit, &mut self.wire) else {
            return;
        };
        if wire.subscription.is_some() || cx.stopping() {
            return;
        }
        if let Some(timer) = wire.timer.take() {
            cx.cancel(timer);
        }
        let begin = wire.subscribe(cx);
        match cx.open_for(CallContext::default(), exit, begin, Key::Wire.token()) {
            Ok(stream) => wire.subscription = Some(stream),
            Err(error) => self.wire_lost(cx, error.to_string()),
        }
    }

    /// A frame of the subscription.
    pub(super) fn wire_frame(&mut self, cx: &mut Context<'_>, stream: StreamId, frame: Frame) {
        let Some(wire) = &mut self.wire else { return };
        if wire.subscription != Some(stream) {
            return;
        }
        match frame {
            Frame::Begin(_) => {
                wire.failure = None;
                if wire.presence == Presence::Unknown {
                    wire.await_retained(cx);
                }
                self.send_again(cx);
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                if let Some(message) = wire.messages.add(data) {
                    self.heard(cx, message);
                }
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mqtt(MqttFlushEx::Gap(gap)) = *flush {
                    self.confirm_presence(cx, Duration::from_millis(gap.milliseconds));
                    self.send_again(cx);
                }
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                self.wire_lost(cx, why(reset));
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                self.wire_lost(cx, why(reset));
            }
            Frame::End(_) => self.wire_lost(cx, why(None)),
            Frame::Window(_) | Frame::Challenge(_) => {}
        }
    }

    /// The subscription is over: it is opened again later.
    pub(super) fn wire_lost(&mut self, cx: &mut Context<'_>, reason: String) {
        let Some(wire) = &mut self.wire else { return };
        wire.close(cx);
        wire.presence = Presence::Unknown;
        if cx.stopping() {
            return;
        }
        let (token, kind) = (Key::Wire.token(), wire_timer::SUBSCRIBE);
        wire.timer = Some(cx.timer(SUBSCRIBE_AFTER, token, kind, "mcp_client.subscribe"));
        let is_new = wire.failure.as_ref() != Some(&reason);
        let what = format!("The replies of the MCP server cannot be subscribed to: {reason}.");
        wire.failure = Some(reason);
        if is_new {
            cx.event(&ServerUnavailable {
                reason: what.as_str().into(),
            });
        }
        let reset = unavailable(what);
        for key in self.links_in(Phase::Discovering) {
            self.refuse_link(cx, key, &reset);
        }
    }

    /// A timer of the subscription is due.
    pub(super) fn wire_due(&mut self, cx: &mut Context<'_>, kind: u32) {
        let Some(wire) = &mut self.wire else { return };
        match kind {
            wire_timer::SUBSCRIBE => {
                wire.timer = None;
                self.open_wire(cx);
            }
            wire_timer::RETAINED => {
                wire.timer = None;
                self.absent(cx);
            }
            wire_timer::ABSENT => {
                wire.absence = None;
                self.absent(cx);
            }
            _ => {
                wire.renewal = None;
                self.renew(cx);
            }
        }
    }

    /// Publishes a request.
    pub(super) fn publish_request(
        &mut self,
        cx: &mut Context<'_>,
        id: u64,
        message: &Parts,
        mirrored: Option<&Mirrored>,
        context: &CallContext,
    ) -> Result<Box<Sent>, McpReset> {
        let wire = self.wire.as_ref().ok_or_else(lost)?;
        if !matches!(wire.presence, Presence::Present(_)) {
            return Err(self.away());
        }
        let method = mirrored.map_or("", |it| it.method);
        let renews = method == Method::Listen.name();
        let longest = cx.now() + Duration::from_millis(self.options.timeout);
        let until = if renews {
            cx.now() + LISTEN_EXPIRY
        } else {
            context.deadline.unwrap_or(longest)
        };
        let mut nonce = Nonce::default();
        cx.random(&mut nonce);
        let sent = Sent {
            nonce,
            message: message.contiguous(),
            method,
            name: mirrored.and_then(|it| it.name.clone()),
            until,
            renews,
        };
        self.publish(cx, id, &sent, context.trace, true)?;
        if renews {
            self.renew_later(cx);
        }
        Ok(Box::new(sent))
    }

    /// Publishes a request, for the first time or again.
    fn publish(
        &mut self,
        cx: &mut Context<'_>,
        id: u64,
        sent: &Sent,
        trace: u64,
        is_first: bool,
    ) -> Result<(), McpReset> {
        let wire = self.wire.as_ref().ok_or_else(lost)?;
        let data = wire.request_data(id, sent, cx.now());
        let context = CallContext {
            trace,
            // The account at the broker is that of the gateway: nothing of the caller goes out.
            identity: None,
            deadline: Some(sent.until),
        };
        // Whatever becomes of a repetition: the first one may have arrived, and its response is waited for.
        let request = is_first.then_some(id);
        self.send_out(cx, request, sent.message.clone(), data, context)
    }

    fn send_out(
        &mut self,
        cx: &mut Context<'_>,
        request: Option<u64>,
        message: Bytes,
        data: MqttPublishData,
        context: CallContext,
    ) -> Result<(), McpReset> {
        let (Exit::Mqtt(exit), Some(wire)) = (self.exit, &mut self.wire) else {
            return Err(lost());
        };
        let begin = wire.publish();
        let entry = wire.publications.vacant_entry();
        let token = Key::Publication(entry.key()).token();
        let opened = cx.open_for(context, exit, begin, token);
        let stream = opened.map_err(|_| busy("Stream limit reached; retry later."))?;
        let outgoing = Outgoing::new(stream, request, message, data);
        entry.insert(outgoing).flush(cx);
        Ok(())
    }

    /// Tells the server that a request is not waited for any more. The request may still wait at the broker, also
    /// while the server is away.
    pub(super) fn publish_cancel(&mut self, cx: &mut Context<'_>, id: u64, sent: &Sent) {
        let message = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}"
        );
        let data = Wire::data(id, sent, cx.now());
        let context = CallContext {
            deadline: Some(sent.until.max(cx.now() + CANCEL_WITHIN)),
            ..CallContext::default()
        };
        // What cannot be sent is left out: the request expires.
        let _ = self.send_out(cx, None, message.into(), data, context);
    }

    /// A frame of a publication.
    pub(super) fn publication_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let wire = self.wire.as_mut();
        let Some(outgoing) = wire.and_then(|wire| wire.publications.get_mut(key)) else {
            return;
        };
        if outgoing.stream != stream {
            return;
        }
        match frame {
            Frame::Window(_) => outgoing.flush(cx),
            Frame::End(end) if outgoing.sent => self.published(cx, key, end),
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                self.publication_lost(cx, key, reset);
            }
            Frame::End(_) | Frame::Abort(_) => self.publication_lost(cx, key, None),
            Frame::Data(data) => cx.acknowledge(stream, data.payload.len()),
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    /// The broker has acknowledged a message.
    fn published(&mut self, cx: &mut Context<'_>, key: usize, end: Option<Pooled<EndEx>>) {
        let Some(wire) = &mut self.wire else { return };
        let Some(outgoing) = wire.publications.try_remove(key) else {
            return;
        };
        cx.terminate(outgoing.stream, None, None);
        let code = match end.map(Pooled::into_inner) {
            Some(EndEx::Mqtt(MqttEnd { reason_code, .. })) => reason_code,
            _ => 0,
        };
        if code == NO_MATCHING_SUBSCRIBERS
            && let Some(id) = outgoing.request
        {
            let what = format!(
                "The MCP server is away: nobody has subscribed to '{}'.",
                wire.request
            );
            self.request_failed(cx, id, not_sent(what));
        }
    }

    /// A message was not published, or it is not known whether it was.
    pub(super) fn publication_lost(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        reset: Option<MqttReset>,
    ) {
        let Some(wire) = &mut self.wire else { return };
        let Some(outgoing) = wire.publications.try_remove(key) else {
            return;
        };
        cx.terminate(outgoing.stream, None, None);
        let Some(id) = outgoing.request else { return };
        // It may have arrived: its response is waited for, and it is sent again when there is a connection.
        let is_possible = reset
            .as_ref()
            .is_none_or(|it| it.delivery == MqttDelivery::Possible && !it.refused);
        if is_possible && !cx.stopping() {
            return;
        }
        let why = why(reset);
        let reset = if is_possible {
            unavailable(format!(
                "It is not known whether the request reached the MCP server: {why}."
            ))
        } else {
            not_sent(format!(
                "The request was not sent to the MCP server: {why}."
            ))
        };
        self.request_failed(cx, id, reset);
    }

    /// A reply on the response topic.
    pub(super) fn reply(&mut self, cx: &mut Context<'_>, message: MqttMessage) {
        let max = self.message_max();
        let data = &message.data;
        if data.flags.contains(MqttSubscribeFlags::RETAIN) {
            return;
        }
        // What nobody waits for any more is dropped.
        let Some((id, nonce)) = request_of(data.correlation.as_ref()) else {
            return;
        };
        let request = self.requests.get(&id);
        let is_its = |it: &&Request| it.sent.as_ref().is_some_and(|sent| sent.nonce == nonce);
        let Some(link) = request.filter(is_its).map(|it| it.link) else {
            return;
        };
        if message.payload.len() > max {
            let what =
                format!("The answer of the MCP server exceeds {max} bytes (maxMessageSize).");
            return self.request_failed(cx, id, McpReset::new(McpResetKind::Unavailable, what));
        }
        let message = Parts::from(message.payload);
        self.read_message(cx, link, None, Some(id), Names::Itself, message);
    }

    /// Replies may have been missed: unanswered requests are sent again.
    fn send_again(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let publications = self.wire.iter().flat_map(|wire| &wire.publications);
        let on_their_way = publications.filter_map(|(_, it)| it.request);
        let on_their_way: BTreeSet<u64> = on_their_way.collect();
        let unanswered = self.requests.iter();
        let unanswered = unanswered.filter(|(id, _)| !on_their_way.contains(id));
        let unanswered = unanswered.filter_map(|(id, it)| Some((*id, it.sent.as_deref()?.clone())));
        let unanswered = unanswered.filter(|(_, it)| it.until > now && !it.renews);
        let unanswered: Vec<(u64, Sent)> = unanswered.collect();
        for (id, sent) in unanswered {
            // The one that fails stays unanswered until its deadline.
            let _ = self.publish(cx, id, &sent, 0, false);
        }
        self.renew(cx);
    }

    /// Renews the listens.
    pub(super) fn renew(&mut self, cx: &mut Context<'_>) {
        let until = cx.now() + LISTEN_EXPIRY;
        let mut listens = Vec::new();
        for (id, request) in &mut self.requests {
            if let Some(sent) = request.sent.as_mut().filter(|it| it.renews) {
                sent.until = until;
                listens.push((*id, sent.as_ref().clone()));
            }
        }
        if listens.is_empty() {
            return;
        }
        for (id, sent) in listens {
            let _ = self.publish(cx, id, &sent, 0, false);
        }
        self.renew_later(cx);
    }

    fn renew_later(&mut self, cx: &mut Context<'_>) {
        if let Some(wire) = self.wire.as_mut().filter(|wire| wire.renewal.is_none()) {
            let (token, kind) = (Key::Wire.token(), wire_timer::RENEW);
            wire.renewal = Some(cx.timer(RENEW_AFTER, token, kind, "mcp_client.renew"));
        }
    }

    /// Ends the subscription once a shutdown has nothing left to do.
    pub(super) fn close_wire_if_stopped(&mut self, cx: &mut Context<'_>) {
        if let Some(wire) = self
            .wire
            .as_mut()
            .filter(|_| cx.stopping() && self.calls.is_empty())
        {
            wire.close(cx);
        }
    }
}

/// The server cannot have received the request.
fn not_sent(what: String) -> McpReset {
    McpReset {
        not_sent: true,
        ..unavailable(what)
    }
}

/// Why a stream was reset.
fn why(reset: Option<MqttReset>) -> String {
    let reason = reset.map(|reset| shown(&reset.reason).to_string());
    let reason = reason.filter(|reason| !reason.is_empty());
    reason.unwrap_or_else(|| "the connection to the broker was lost".to_owned())
}
