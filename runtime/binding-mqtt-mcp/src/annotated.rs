//! Which tools may be executed twice, as their server says: `readOnlyHint` or `idempotentHint` of the
//! annotations in its list of tools. It is asked only about a request that was being executed when the gateway
//! ended.

use std::collections::BTreeSet;

use bytes::BytesMut;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::Value as Json;
use tidegate_engine::{BindingId, CallContext, Context, PendingData, StreamId, Token};
use tidegate_streams::mcp::McpToolsList;
use tidegate_streams::{Data, DataFlags, Frame};

/// Largest page of a list, in bytes. One with a larger page is not used.
const PAGE_MAX: usize = 4 << 20;
/// Most pages of a list. Tools on further ones are not known.
const PAGES_MAX: usize = 64;

/// A list of tools that is being read.
#[derive(Debug)]
pub(crate) struct Listing {
    exit: BindingId,
    token: Token,
    context: CallContext,
    stream: StreamId,
    pending: PendingData,
    page: BytesMut,
    pages: usize,
    tools: BTreeSet<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    tools: Vec<Tool>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    annotations: Json,
}

impl Tool {
    fn may_run_twice(&self) -> bool {
        let hint = |name: &str| self.annotations.get(name).and_then(Json::as_bool);
        hint("readOnlyHint") == Some(true) || hint("idempotentHint") == Some(true)
    }
}

impl Listing {
    /// Asks for the first page. `None` if that is not possible now.
    pub(crate) fn open(
        cx: &mut Context<'_>,
        exit: BindingId,
        token: Token,
        context: CallContext,
    ) -> Option<Self> {
        let (stream, pending) = ask(cx, exit, token, &context, None)?;
        Some(Self {
            exit,
            token,
            context,
            stream,
            pending,
            page: BytesMut::new(),
            pages: 1,
            tools: BTreeSet::new(),
        })
    }

    pub(crate) fn is_of(&self, stream: StreamId) -> bool {
        self.stream == stream
    }

    /// A frame of the stream. Returns the tools that may be executed twice, once all are known; none if the
    /// list cannot be read.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        frame: Frame,
    ) -> Option<BTreeSet<String>> {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(self.stream, data.payload.len());
                self.page.extend_from_slice(&data.payload);
                if self.page.len() <= PAGE_MAX {
                    return None;
                }
                self.cancel(cx);
                Some(BTreeSet::new())
            }
            Frame::End(_) => {
                cx.end(self.stream, Frame::end());
                self.page_read(cx)
            }
            Frame::Window(_) => {
                self.pending.flush(cx, self.stream);
                None
            }
            Frame::Reset(_) | Frame::Abort(_) | Frame::Challenge(_) => {
                self.cancel(cx);
                Some(BTreeSet::new())
            }
            Frame::Begin(_) | Frame::Flush(_) => None,
        }
    }

    fn page_read(&mut self, cx: &mut Context<'_>) -> Option<BTreeSet<String>> {
        let page = serde_json::from_slice::<Page>(&std::mem::take(&mut self.page));
        let Ok(page) = page else {
            return Some(BTreeSet::new());
        };
        let found = page.tools.into_iter().filter(Tool::may_run_twice);
        self.tools.extend(found.map(|tool| tool.name));
        let next = page.next_cursor.filter(|_| self.pages < PAGES_MAX);
        let asked =
            next.and_then(|cursor| ask(cx, self.exit, self.token, &self.context, Some(&cursor)));
        match asked {
            Some((stream, pending)) => {
                (self.stream, self.pending) = (stream, pending);
                self.pages += 1;
                None
            }
            None => Some(std::mem::take(&mut self.tools)),
        }
    }

    /// Gives it up.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        cx.terminate(self.stream, None, None);
        self.pending.clear();
    }
}

/// Asks for a page: the first one, or that at a cursor.
fn ask(
    cx: &mut Context<'_>,
    exit: BindingId,
    token: Token,
    context: &CallContext,
    cursor: Option<&str>,
) -> Option<(StreamId, PendingData)> {
    let begin = McpToolsList {
        cursor: cursor.map(ByteString::from),
        ..McpToolsList::default()
    };
    let stream = cx.open_for(context.clone(), exit, begin, token).ok()?;
    let mut pending = PendingData::new();
    let params = cursor.map_or_else(
        || "{}".to_owned(),
        |cursor| serde_json::json!({ "cursor": cursor }).to_string(),
    );
    pending.send(cx, stream, Data::part(DataFlags::WHOLE, params.into()));
    Some((stream, pending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_without_a_hint_must_not_run_twice() {
        let may = |annotations: Json| {
            let tool = serde_json::json!({ "name": "t", "annotations": annotations });
            serde_json::from_value::<Tool>(tool).is_ok_and(|it| it.may_run_twice())
        };
        assert!(may(serde_json::json!({ "idempotentHint": true })));
        assert!(may(serde_json::json!({ "readOnlyHint": true })));
        assert!(!may(serde_json::json!({ "idempotentHint": "true" })));
        assert!(!may(serde_json::json!({ "destructiveHint": false })));
        assert!(!may(Json::Null));
        let without = serde_json::from_str::<Tool>(r#"{"name":"t"}"#);
        assert!(without.is_ok_and(|it| !it.may_run_twice()));
    }
}
