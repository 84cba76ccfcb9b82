//! The definitions of tools: what is learnt from the lists that callers ask for, and the list that is asked for when the
//! server misses the headers of a call (2026-07-28, Streamable HTTP, Client Behavior).

use bytes::{Bytes, BytesMut};
use tidegate_engine::Context;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Parts};
use tidegate_streams::mcp::{McpBeginEx, McpHeader, McpReset};

use super::{About, Exit, McpClient};
use crate::client::events::ToolInvalid;
use crate::client::http::Mirrored;
use crate::client::params::sender;
use crate::client::refusal::lost;
use crate::client::tool_headers::headers;
use crate::jsonrpc::{Era, Error, Id, Method, code, request};

/// Maximum number of pages of a list that are asked for to find a tool.
const PAGES_MAX: u32 = 100;

impl McpClient {
    /// Reads a list of tools; returns what replaces it, if some of the tools are invalid. Headers, and the rules for
    /// their declarations, are those of modern servers over HTTP.
    pub(super) fn learn_tools(
        &mut self,
        cx: &mut Context<'_>,
        era: Era,
        result: &Document,
    ) -> Option<Parts> {
        if era != Era::Modern || !matches!(self.exit, Exit::Http(_)) {
            return None;
        }
        let learnt = self.tools.learn(result);
        for (tool, reason) in learnt.invalid {
            cx.event(&ToolInvalid {
                tool: crate::shown::shown(&tool).to_string().into(),
                reason: reason.into(),
            });
        }
        learnt.valid
    }

    /// The headers that repeat the arguments of a call: those of the caller, and those that it cannot send because its
    /// transport or revision has none. A caller that can is not helped: the server is to refuse what it has left out.
    pub(super) fn param_headers(&self, key: usize) -> Vec<McpHeader> {
        let Some(call) = self.calls.get(key) else {
            return Vec::new();
        };
        let (McpBeginEx::ToolsCall(begin), Some(params)) = (&call.begin, &call.params) else {
            return Vec::new();
        };
        let mut all = begin.headers.clone();
        let declared = self.tools.declared(&begin.name);
        if !begin.headers_required
            && let Ok(Some(arguments)) = params.root().get("arguments")
        {
            let missing = headers(declared, arguments);
            let missing = missing.into_iter().filter(|header| {
                let mut stated = begin.headers.iter();
                !stated.any(|other| other.name == header.name)
            });
            all.extend(missing);
        }
        all
    }

    /// Whether a call is to be sent again with the headers that the tool declares now.
    pub(super) fn lacks_headers(&self, key: usize, era: Era, error: &Error) -> bool {
        let of_call = self.calls.get(key).is_some_and(|call| match &call.begin {
            McpBeginEx::ToolsCall(begin) => !begin.headers_required && call.pages == 0,
            _ => false,
        });
        let over_http = matches!(self.exit, Exit::Http(_));
        of_call && over_http && era == Era::Modern && error.code() == code::HEADER_MISMATCH
    }

    /// Asks for a page of the list of tools, to find what the tool of a call declares. The call fails with `mismatch` if
    /// it declares nothing.
    pub(super) fn find_tool(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        mismatch: McpReset,
        cursor: Option<&str>,
    ) -> Result<(), McpReset> {
        let call = self.calls.get_mut(key).ok_or_else(lost)?;
        call.pages += 1;
        call.mismatch = Some(mismatch);
        let link = call.link;
        let mut params = BytesMut::from(&b"{"[..]);
        if let Some(cursor) = cursor {
            params.extend_from_slice(b"\"cursor\":");
            push_string(&mut params, cursor);
            params.extend_from_slice(b",");
        }
        params.extend_from_slice(b"\"_meta\":{");
        let mut params = Parts::from(params.freeze());
        sender(None).into_iter().for_each(|part| params.push(part));
        params.push(Bytes::from_static(b"}}"));
        let method = Method::ToolsList.name();
        let mirrored = Mirrored {
            method,
            ..Mirrored::default()
        };
        let message = |id: u64| request(&Id::number(id), method, params);
        let context = cx.call().clone();
        let id = self.request(
            cx,
            link,
            About::Tools(key),
            Some(&mirrored),
            context,
            message,
        )?;
        if let Some(call) = self.calls.get_mut(key) {
            call.request = Some(id);
        }
        Ok(())
    }

    /// A page of the list of tools, for a call whose headers the server misses.
    pub(super) fn tools_answered(
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
        let mismatch = call.mismatch.take().unwrap_or_else(lost);
        let pages = call.pages;
        let name = call.subject().unwrap_or_default();
        let Ok(result) = answer else {
            return self.refuse_call(cx, key, mismatch);
        };
        // The list is nobody's, so nothing is taken out of it.
        let _ = self.learn_tools(cx, Era::Modern, result);
        if !self.tools.declared(&name).is_empty() {
            return self.dispatch(cx, key);
        }
        let cursor = result.root().get("nextCursor").ok().flatten();
        let cursor = cursor.and_then(|cursor| cursor.string());
        let next = cursor.filter(|_| pages < PAGES_MAX);
        let asked = next.map(|cursor| self.find_tool(cx, key, mismatch.clone(), Some(&cursor)));
        if !matches!(asked, Some(Ok(()))) {
            self.refuse_call(cx, key, mismatch);
        }
    }
}
