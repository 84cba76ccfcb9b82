//! One call of a tool: an mcp stream, from its params to its result.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use minijinja::Value;
use serde::de::IgnoredAny;
use serde_json::{Map, Value as Json};
use tidegate_engine::{
    BindingId, CallContext, Context, OpenError, PendingData, StreamId, Time, Token,
};
use tidegate_streams::mcp::{McpEnd, McpOutcome, McpReset, McpToolsCall};
use tidegate_streams::mqtt::MqttUserProperty;
use tidegate_streams::{AbortEx, Data, DataFlags, EndEx, Frame, Pooled, ResetEx};

use crate::document::{push_name, push_text};
use crate::failure::{Executed, Failure, Reason, Status};

/// A call that waits for its result.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: ByteString,
    stream: StreamId,
    pending: PendingData,
    result: Received,
    max: usize,
    pub(crate) begun: Time,
    /// The context of the stream, for its event.
    pub(crate) context: CallContext,
}

/// The result of a tool: a JSON object, as the tool sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolResult(Bytes);

impl ToolResult {
    /// `None` if it is not a JSON object.
    fn read(text: Bytes) -> Option<Self> {
        let is_object = text.trim_ascii_start().starts_with(b"{");
        let is_json = std::str::from_utf8(&text).is_ok_and(|it| {
            let read = serde_json::from_str::<IgnoredAny>(it);
            read.is_ok()
        });
        (is_object && is_json).then_some(Self(text))
    }

    /// As the tool sent it.
    pub(crate) fn into_json(self) -> Bytes {
        self.0
    }

    /// The same, of a result that is kept.
    pub(crate) const fn json(&self) -> &Bytes {
        &self.0
    }

    /// The texts of its content.
    pub(crate) fn text(&self) -> String {
        let value = serde_json::from_slice::<Value>(&self.0);
        value.map_or_else(|_| String::new(), |it| text_of(&member(&it, "content")))
    }

    /// What templates see of it. Without structured content, a text that is JSON stands for it. `None` if it has
    /// values that templates cannot have, such as a number beyond all bounds.
    pub(crate) fn variable(&self) -> Option<Value> {
        let value = serde_json::from_slice::<Value>(&self.0).ok()?;
        let content = member(&value, "content");
        let text = text_of(&content);
        let structured = value.get_attr("structuredContent").ok();
        let structured = structured
            .filter(|it| !it.is_undefined())
            .or_else(|| serde_json::from_str(&text).ok());
        let members = [("content", content), ("text", Value::from(text))];
        let structured = structured.map(|it| ("structured", it));
        Some(Value::from_pairs(members.into_iter().chain(structured)))
    }
}

/// A member of an object; none if it is absent.
fn member(value: &Value, name: &str) -> Value {
    let found = value.get_attr(name).ok();
    found
        .filter(|it| !it.is_undefined())
        .unwrap_or_else(|| Value::from(()))
}

/// The texts among the blocks of a content.
fn text_of(content: &Value) -> String {
    let blocks = content.try_iter().into_iter().flatten();
    let texts = blocks.filter_map(|block| {
        let is_text = member(&block, "type").as_str() == Some("text");
        is_text.then(|| member(&block, "text"))
    });
    let mut all = String::new();
    for (index, text) in texts.filter(|it| it.as_str().is_some()).enumerate() {
        if index > 0 {
            all.push('\n');
        }
        all.push_str(text.as_str().unwrap_or_default());
    }
    all
}

/// The result as far as it has come. Most come as a whole, which is not copied.
#[derive(Debug, Default)]
struct Received {
    first: Bytes,
    /// All of it, from the second part on.
    all: BytesMut,
}

impl Received {
    fn add(&mut self, part: Bytes) {
        if self.len() == 0 {
            self.first = part;
            return;
        }
        let first = std::mem::take(&mut self.first);
        self.all.extend_from_slice(&first);
        self.all.extend_from_slice(&part);
    }

    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        }
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
    /// Bytes around the name and the arguments.
    const AROUND: usize = 32;
    let arguments = arguments.unwrap_or(b"{}");
    let mut text = Vec::with_capacity(tool.len() + arguments.len() + AROUND);
    text.push(b'{');
    push_name(&mut text, "name");
    push_text(&mut text, tool);
    text.push(b',');
    push_name(&mut text, "arguments");
    text.extend_from_slice(arguments);
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
            result: Received::default(),
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
                self.result.add(data.payload);
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
        let text = std::mem::take(&mut self.result).into_bytes();
        let Some(result) = ToolResult::read(text) else {
            let message = format!("The result of '{}' is not a JSON object.", self.tool);
            return Err((Failure::lost(message), None));
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_comes_in_parts_is_put_together() {
        for parts in [&["{}"][..], &["{", "}"], &["", "{", "", "\"a\":", "1}"]] {
            let mut received = Received::default();
            for part in parts {
                received.add(Bytes::from_static(part.as_bytes()));
            }
            let whole = parts.concat();
            assert_eq!(received.len(), whole.len());
            assert_eq!(received.into_bytes(), whole.as_bytes());
        }
    }

    #[test]
    fn a_result_is_passed_on_as_it_is() {
        let text = br#" {"content": [{"type": "text", "text": "7"}], "n": 1.50, "big": 1e999} "#;
        let result = ToolResult::read(Bytes::from_static(text)).expect("an object");
        assert_eq!(result.json(), &text[..]);
        assert!(result.variable().is_none(), "a number beyond all bounds");
        for text in [&b"[]"[..], b"{", b"{} {}", b"{\"a\":\"\xff\"}", b""] {
            assert_eq!(ToolResult::read(Bytes::from_static(text)), None, "{text:?}");
        }
    }
}
