//! What the exit can do: asked for with a short session, and kept for a minute.

use bytes::{BufMut, BytesMut};
use tidegate_engine::{CallContext, Context, Duration, StreamId, Time, TimerId};
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpEnd, McpLifecycle, McpReset, McpResetKind,
};
use tidegate_streams::{BeginEx, Frame, ResetEx};

use super::binding::{Key, McpServer};
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::http::{Caller, Owner};
use super::output::Sink;
use super::result::additions;
use crate::jsonrpc::Id;
use crate::jsonrpc::supported_versions;
use crate::jsonrpc::{Era, Method};

/// For how long an answer stays true, here and at clients.
const FRESH: Duration = Duration::from_millis(60_000);

/// How many may wait to be told.
const WAITING_MAX: usize = 4_096;

/// What is known of the exit, and who wants to know.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    known: Option<(McpCapabilities, Time)>,
    stream: Option<StreamId>,
    timer: Option<TimerId>,
    waiting: Vec<(Sink, Id)>,
}

impl McpServer {
    /// `server/discover`
    pub(super) fn discover(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
    ) -> Result<(), Refusal> {
        let now = cx.now();
        if let Some((capabilities, until)) = self.capabilities.known
            && now < until
        {
            self.answer_discover(cx, caller.sink, id, capabilities);
            return Ok(());
        }
        if self.capabilities.waiting.len() >= WAITING_MAX {
            return Err(Refusal::unavailable(
                "Too many wait to be told what can be done here.",
            ));
        }
        if self.capabilities.stream.is_none() {
            let token = Key::Capabilities.token();
            let timeout = Duration::from_millis(self.options.timeout);
            // Whoever asks meanwhile is answered with the same.
            let call = CallContext {
                identity: None,
                ..deadline::within(cx, timeout)
            };
            let opened = cx.open_for(call, self.exit, McpLifecycle::default(), token);
            self.capabilities.stream = Some(opened.map_err(Refusal::no_room)?);
            let timer = cx.timer(timeout + SLACK, token, 0, "mcp_server.capabilities");
            self.capabilities.timer = Some(timer);
        }
        self.capabilities.waiting.push((caller.sink, id.clone()));
        self.own(caller.sink, Owner::Discover);
        Ok(())
    }

    pub(super) fn capabilities_frame(&mut self, cx: &mut Context<'_>, frame: Frame) {
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = begin.into_inner() {
                    self.capabilities_known(cx, lifecycle.capabilities);
                }
            }
            Frame::Reset(Some(reset)) => match *reset {
                ResetEx::Mcp(reset) => self.capabilities_lost(cx, Some(reset)),
                _ => self.capabilities_lost(cx, None),
            },
            Frame::Reset(None) | Frame::Abort(_) | Frame::End(_) => {
                self.capabilities_lost(cx, None);
            }
            _ => {}
        }
    }

    fn capabilities_known(&mut self, cx: &mut Context<'_>, capabilities: McpCapabilities) {
        self.close_capabilities(cx);
        self.capabilities.known = Some((capabilities, cx.now() + FRESH));
        for (sink, id) in std::mem::take(&mut self.capabilities.waiting) {
            self.answer_discover(cx, sink, &id, capabilities);
        }
    }

    pub(super) fn capabilities_timer(&mut self, cx: &mut Context<'_>) {
        self.capabilities.timer = None;
        let message = format!("No answer came within {} ms.", self.options.timeout);
        self.capabilities_lost(cx, Some(McpReset::new(McpResetKind::TimedOut, message)));
    }

    /// The exit did not say what it can do.
    pub(super) fn capabilities_lost(&mut self, cx: &mut Context<'_>, reset: Option<McpReset>) {
        self.close_capabilities(cx);
        let refusal = reset.map_or_else(Refusal::internal, |reset| {
            Refusal::of_exit(Some(reset), Method::Discover, Era::Modern)
        });
        for (sink, id) in std::mem::take(&mut self.capabilities.waiting) {
            self.refuse(cx, sink, &id, &refusal);
        }
    }

    /// Who asked has gone.
    pub(super) fn discover_left(&mut self, sink: Sink) {
        self.capabilities
            .waiting
            .retain(|(waiting, _)| *waiting != sink);
    }

    fn close_capabilities(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.capabilities.timer.take() {
            cx.cancel(timer);
        }
        if let Some(stream) = self.capabilities.stream.take() {
            cx.end(stream, Frame::end());
            cx.terminate(stream, None, None);
        }
    }

    fn answer_discover(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
        capabilities: McpCapabilities,
    ) {
        let mut members = BytesMut::with_capacity(512);
        members.put_slice(b"\"supportedVersions\":[");
        for (index, version) in supported_versions().enumerate() {
            if index > 0 {
                members.put_u8(b',');
            }
            push_string(&mut members, version);
        }
        members.put_slice(b"],\"capabilities\":");
        write(&mut members, capabilities);
        members.put_u8(b',');
        if let Some(instructions) = &self.options.instructions {
            members.put_slice(b"\"instructions\":");
            push_string(&mut members, instructions);
            members.put_u8(b',');
        }
        let end = McpEnd {
            ttl_ms: Some(FRESH.as_millis()),
            ..McpEnd::default()
        };
        additions(&mut members, Method::Discover, &end);
        self.answer_with(cx, sink, id, &members);
    }
}

/// The `capabilities` object of a server.
pub(super) fn write(out: &mut BytesMut, capabilities: McpCapabilities) {
    type C = McpCapabilities;
    let details = |offered: &[(&str, C)]| -> String {
        let offered = offered
            .iter()
            .filter(|(_, flag)| capabilities.contains(*flag));
        let offered: Vec<String> = offered
            .map(|(name, _)| format!("\"{name}\":true"))
            .collect();
        offered.join(",")
    };
    let offers = [
        (
            "tools",
            C::SERVER_TOOLS,
            details(&[("listChanged", C::SERVER_TOOLS_LIST_CHANGED)]),
        ),
        (
            "prompts",
            C::SERVER_PROMPTS,
            details(&[("listChanged", C::SERVER_PROMPTS_LIST_CHANGED)]),
        ),
        (
            "resources",
            C::SERVER_RESOURCES,
            details(&[
                ("subscribe", C::SERVER_RESOURCES_SUBSCRIBE),
                ("listChanged", C::SERVER_RESOURCES_LIST_CHANGED),
            ]),
        ),
        ("completions", C::SERVER_COMPLETIONS, String::new()),
    ];
    let offered = offers
        .iter()
        .filter(|(_, flag, _)| capabilities.contains(*flag));
    let objects: Vec<String> = offered
        .map(|(name, _, details)| format!("\"{name}\":{{{details}}}"))
        .collect();
    out.put_slice(format!("{{{}}}", objects.join(",")).as_bytes());
}
