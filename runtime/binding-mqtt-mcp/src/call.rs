//! One call of a tool: an mcp stream, from its params to its result.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use serde_json::{Map, Value as Json, json};
use tidegate_engine::{
    BindingId, CallContext, Context, OpenError, PendingData, StreamId, Time, Token,
};
use tidegate_streams::mcp::{McpEnd, McpOutcome, McpReset, McpToolsCall};
use tidegate_streams::mqtt::MqttUserProperty;
use tidegate_streams::{AbortEx, Data, DataFlags, EndEx, Frame, Pooled, ResetEx};

use crate::document::{push_name, push_text};
use crate::failure::{Executed, Failure, Reason, Status};
use crate::template::from_json;

/// A call that waits for its result.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: ByteString,
    stream: StreamId,
    pending: PendingData,
    result: BytesMut,
    max: usize,
    pub(crate) begun: Time,
    /// The context of the stream, for its event.
    pub(crate) context: CallContext,
}

/// The result of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolResult {
    /// As the tool sent it.
    pub(crate) json: Json,
}

impl ToolResult {
    /// The texts of its content.
    pub(crate) fn text(&self) -> String {
        let content = self.json.get("content").and_then(Json::as_array);
        let texts = content.into_iter().flatten().filter_map(|item| {
            let is_text = item.get("type").and_then(Json::as_str) == Some("text");
            item.get("text").and_then(Json::as_str).filter(|_| is_text)
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// What templates see of it. Without structured content, a text that is JSON stands for it.
    pub(crate) fn variable(&self) -> minijinja::Value {
        let text = self.text();
        let structured = self.json.get("structuredContent").cloned();
        let structured = structured.or_else(|| serde_json::from_str(&text).ok());
        let mut variable = json!({ "content": self.json.get("content"), "text": text });
        if let (Some(structured), Some(members)) = (structured, variable.as_object_mut()) {
            members.insert("structured".to_owned(), structured);
        }
        from_json(variable)
    }
}

/// How a call ended: with a result, or a failure and the result of a tool that reported an error.
pub(crate) type Ended = Result<ToolResult, (Failure, Option<ToolResult>)>;

/// The params of a call.
pub(crate) fn params(
    tool: &str,
    arguments: Option<&[u8]>,
    trace: &[MqttUserProperty],
    progress: bool,
) -> Bytes {
    let mut text = Vec::new();
    text.push(b'{');
    push_name(&mut text, "name");
    push_text(&mut text, tool);
    text.push(b',');
    push_name(&mut text, "arguments");
    text.extend_from_slice(arguments.unwrap_or(b"{}"));
    if progress || !trace.is_empty() {
        text.push(b',');
        push_name(&mut text, "_meta");
        let mut meta = Map::new();
        let trace = trace.iter();
        meta.extend(trace.map(|it| (it.key.to_string(), Json::from(&*it.value))));
        if progress {
            // Each hop has its own token: this one is of no meaning elsewhere.
            meta.insert("progressToken".to_owned(), 1.into());
        }
        text.extend_from_slice(Json::Object(meta).to_string().as_bytes());
    }
    text.push(b'}');
    text.into()
}

impl Call {
    /// Opens the stream and sends the params. A result of more than `max` bytes is a failure.
    pub(crate) fn open(
        cx: &mut Context<'_>,
        exit: BindingId,
        token: Token,
        tool: ByteString,
        params: Bytes,
        context: CallContext,
        max: usize,
    ) -> Result<Self, OpenError> {
        let begin = McpToolsCall {
            name: tool.clone(),
            content_length: i64::try_from(params.len()).unwrap_or(-1),
            ..McpToolsCall::default()
        };
        let stream = cx.open_for(context.clone(), exit, begin, token)?;
        let mut pending = PendingData::new();
        pending.send(cx, stream, Data::part(DataFlags::WHOLE, params));
        Ok(Self {
            tool,
            stream,
            pending,
            result: BytesMut::new(),
            max,
            begun: cx.now(),
            context,
        })
    }

    pub(crate) fn is_of(&self, stream: StreamId) -> bool {
        self.stream == stream
    }

    /// A frame of the stream. Returns how the call ended; the stream is done with then.
    pub(crate) fn on_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> Option<Ended> {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(self.stream, data.payload.len());
                self.result.extend_from_slice(&data.payload);
                (self.result.len() > self.max).then(|| {
                    self.cancel(cx);
                    let message = format!(
                        "The result of '{}' exceeds {} bytes (maxResult).",
                        self.tool, self.max
                    );
                    Err((too_large(message), None))
                })
            }
            Frame::End(end) => {
                let outcome = outcome(end);
                if self.pending.is_empty() {
                    cx.end(self.stream, Frame::end());
                } else {
                    self.cancel(cx);
                }
                Some(self.ended(outcome))
            }
            Frame::Reset(reset) => {
                cx.terminate(self.stream, None, None);
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mcp(reset) => Some(reset),
                    _ => None,
                });
                Some(Err((self.refused(reset), None)))
            }
            Frame::Abort(abort) => {
                cx.terminate(self.stream, None, None);
                let reason = abort.and_then(|abort| match *abort {
                    AbortEx::Mcp(abort) => abort.reason,
                    _ => None,
                });
                let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                let message = format!("The result of '{}' was cut off{reason}.", self.tool);
                Some(Err((Failure::lost(message), None)))
            }
            Frame::Window(_) => {
                self.pending.flush(cx, self.stream);
                None
            }
            // It has declared no capability to be asked for anything.
            Frame::Challenge(_) => {
                self.cancel(cx);
                Some(Err((self.asks(), None)))
            }
            Frame::Begin(_) | Frame::Flush(_) => None,
        }
    }

    /// Gives the call up.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        cx.terminate(self.stream, None, None);
        self.pending.clear();
    }

    fn refused(&self, reset: Option<McpReset>) -> Failure {
        match reset {
            Some(reset) => Failure::of_reset(&reset),
            None => Failure::lost(format!(
                "The call of '{}' was ended without a reason.",
                self.tool
            )),
        }
    }

    fn asks(&self) -> Failure {
        Failure {
            status: Status::Failed,
            reason: Reason::InputRequired,
            message: format!(
                "'{}' asks for input, which a device cannot give.",
                self.tool
            ),
            executed: Executed::Possibly,
        }
    }

    fn ended(&mut self, outcome: McpOutcome) -> Ended {
        if outcome == McpOutcome::InputRequired {
            return Err((self.asks(), None));
        }
        let json = serde_json::from_slice::<Json>(&std::mem::take(&mut self.result));
        let Some(json) = json.ok().filter(Json::is_object) else {
            let message = format!("The result of '{}' is not a JSON object.", self.tool);
            return Err((Failure::lost(message), None));
        };
        let result = ToolResult { json };
        if outcome == McpOutcome::Error {
            return Err((Failure::of_tool(&result.text()), Some(result)));
        }
        Ok(result)
    }
}

fn outcome(end: Option<Pooled<EndEx>>) -> McpOutcome {
    match end.map(Pooled::into_inner) {
        Some(EndEx::Mcp(McpEnd { outcome, .. })) => outcome,
        _ => McpOutcome::Ok,
    }
}

fn too_large(message: String) -> Failure {
    Failure {
        status: Status::Failed,
        reason: Reason::TooLarge,
        message,
        executed: Executed::Yes,
    }
}
