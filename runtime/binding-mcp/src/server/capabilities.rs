//! The capabilities that the exit has for a caller, requested with a short session and cached for a
//! minute.
//!
//! Owns the cached capabilities, the stream that requests them, and the requests waiting for them.
//! Returns results as [`CapabilitiesEvent`].

use std::sync::Arc;

use bytes::BytesMut;
use tidegate_engine::{BindingId, CallContext, Context, Duration, StreamId, Time, TimerId, Token};
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpLifecycle, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame, Identity, ResetEx};

use super::challenge;
use super::deadline::SLACK;
use super::errors::Refusal;
use super::sink::Sink;
use crate::jsonrpc::{Id, discovered, supported_versions};

/// How long the capabilities are cached, here and by clients.
const FRESH: Duration = Duration::from_millis(60_000);
/// Maximum number of waiting requests.
const WAITING_MAX: usize = 4_096;

/// Result of requesting the capabilities. Each waiting request is given by its sink and id.
#[derive(Debug)]
pub(super) enum CapabilitiesEvent {
    Known(McpCapabilities, Vec<(Sink, Id)>),
    /// The exit did not answer; the reason, if it gave one.
    Lost(Option<McpReset>, Vec<(Sink, Id)>),
}

/// The cached capabilities, and the requests waiting for them.
#[derive(Debug)]
pub(super) struct Capabilities {
    exit: BindingId,
    timeout: Duration,
    /// Identifies its stream and timer.
    token: Token,
    /// For whom they are.
    caller: Option<Arc<Identity>>,
    known: Option<(McpCapabilities, Time)>,
    stream: Option<StreamId>,
    timer: Option<TimerId>,
    waiting: Vec<(Sink, Id)>,
}

impl Capabilities {
    pub(super) const fn new(
        exit: BindingId,
        timeout: Duration,
        token: Token,
        caller: Option<Arc<Identity>>,
    ) -> Self {
        Self {
            exit,
            timeout,
            token,
            caller,
            known: None,
            stream: None,
            timer: None,
            waiting: Vec::new(),
        }
    }

    /// For whom they are.
    pub(super) fn caller(&self) -> Option<&Identity> {
        self.caller.as_deref()
    }

    /// Whether they are being requested.
    pub(super) const fn is_pending(&self) -> bool {
        self.stream.is_some()
    }

    /// Returns the capabilities if they are cached; otherwise adds `sink` to the waiting requests.
    pub(super) fn known_or_wait(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
    ) -> Result<Option<McpCapabilities>, Refusal> {
        if let Some((capabilities, until)) = self.known
            && cx.now() < until
        {
            return Ok(Some(capabilities));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Refusal::unavailable(
                "Too many pending server/discover requests; retry later.",
            ));
        }
        if self.stream.is_none() {
            // Further requests of the caller wait for the same answer.
            let token = self.token;
            let call = CallContext {
                identity: self.caller.clone(),
                deadline: Some(cx.now() + self.timeout),
                ..cx.call().shared()
            };
            let opened = cx.open_for(call, self.exit, McpLifecycle::default(), token);
            self.stream = Some(opened.map_err(Refusal::no_room)?);
            let within = self.timeout + SLACK;
            self.timer = Some(cx.timer(within, token, 0, "mcp_server.capabilities"));
        }
        self.waiting.push((sink, id.clone()));
        Ok(None)
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        frame: Frame,
    ) -> Option<CapabilitiesEvent> {
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) => {
                    let capabilities = lifecycle.capabilities;
                    self.known = Some((capabilities, cx.now() + FRESH));
                    let waiting = self.close(cx);
                    Some(CapabilitiesEvent::Known(capabilities, waiting))
                }
                _ => None,
            },
            Frame::Reset(reset) => match reset.map(|reset| *reset) {
                Some(ResetEx::Mcp(reset)) => Some(self.lose(cx, Some(reset))),
                _ => Some(self.lose(cx, None)),
            },
            Frame::Abort(_) | Frame::End(_) => Some(self.lose(cx, None)),
            Frame::Challenge(challenge) => {
                challenge::refuse(cx, self.stream?, &challenge);
                None
            }
            Frame::Data(_) | Frame::Flush(_) | Frame::Window(_) => None,
        }
    }

    /// The timeout has expired.
    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>) -> CapabilitiesEvent {
        self.timer = None;
        let message = format!("No response within {} ms.", self.timeout.as_millis());
        self.lose(cx, Some(McpReset::new(McpResetKind::TimedOut, message)))
    }

    /// The exit did not answer.
    pub(super) fn lose(
        &mut self,
        cx: &mut Context<'_>,
        reset: Option<McpReset>,
    ) -> CapabilitiesEvent {
        CapabilitiesEvent::Lost(reset, self.close(cx))
    }

    /// Removes a waiting request.
    pub(super) fn client_disconnected(&mut self, sink: Sink) {
        self.waiting.retain(|(waiting, _)| *waiting != sink);
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Vec<(Sink, Id)> {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        if let Some(stream) = self.stream.take() {
            cx.end(stream, Frame::end());
            cx.terminate(stream, None, None);
        }
        std::mem::take(&mut self.waiting)
    }
}

/// The members of the `server/discover` result.
pub(super) fn answer(capabilities: McpCapabilities, instructions: Option<&str>) -> BytesMut {
    let fresh = FRESH.as_millis();
    discovered(supported_versions(), capabilities, instructions, fresh)
}

#[cfg(test)]
mod tests;
