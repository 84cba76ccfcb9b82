//! The binding: takes each stream, opens one to the exit, and keeps the pair.

use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, StreamId, Token};
use tidegate_streams::mcp::{McpBeginEx, McpReset, McpResetKind};
use tidegate_streams::{BeginEx, Frame, ResetEx};

use crate::exchange::Exchange;
use crate::options::Options;

/// The binding.
pub struct McpRename {
    options: Options,
    exit: BindingId,
    exchanges: Slab<Exchange>,
}

impl McpRename {
    /// A proxy towards `exit`.
    pub const fn new(options: Options, exit: BindingId) -> Self {
        Self {
            options,
            exit,
            exchanges: Slab::new(),
        }
    }

    /// Gives a call the tool's own name; whether there is such a tool.
    fn rename(&self, begin: &mut McpBeginEx) -> bool {
        let McpBeginEx::ToolsCall(call) = begin else {
            return true;
        };
        let Some(original) = self.options.tools.original(&call.name) else {
            return false;
        };
        if *original != *call.name {
            call.name = original.into();
        }
        true
    }
}

fn refuse(cx: &mut Context<'_>, stream: StreamId, kind: McpResetKind, why: &str) {
    let reset: ResetEx = McpReset::new(kind, why).into();
    cx.terminate(stream, Some(reset), None);
}

impl Binding for McpRename {
    fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let BeginEx::Mcp(mut begin) = begin else {
            return;
        };
        if !self.rename(&mut begin) {
            let why = "Unknown tool. Call tools/list for the tools and their names.";
            return refuse(cx, stream, McpResetKind::NotFound, why);
        }
        let lists_tools = matches!(begin, McpBeginEx::ToolsList(_));
        let entry = self.exchanges.vacant_entry();
        let token = Token::from_index(entry.key());
        // `open` passes on the caller's trace, identity and deadline.
        let Ok(opened) = cx.open(self.exit, begin, token) else {
            let why = "Stream limit reached; retry later.";
            return refuse(cx, stream, McpResetKind::Unavailable, why);
        };
        cx.accept(stream, token);
        entry.insert(Exchange::new(stream, opened, lists_tools));
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(exchange) = self.exchanges.get_mut(key) else {
            debug_assert!(false, "a frame for an exchange that is over: {at:?}");
            return;
        };
        if exchange.on_frame(cx, &self.options, at, frame) {
            self.exchanges.remove(key);
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if let Some(mut exchange) = self.exchanges.try_remove(token.index()) {
            exchange.end_streams(cx);
        }
    }
}
