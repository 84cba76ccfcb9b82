//! `conformance · server`: accepts mcp streams and plays the plan of each operation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slab::Slab;
use tidegate_engine::{At, Binding, Context, StreamId, Token};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpPromptsListChanged, McpReset, McpResetKind,
    McpToolsListChanged,
};
use tidegate_streams::{BeginEx, Frame};

use crate::exchange::{Exchange, Progress};
use crate::plan::List;

/// Options of `conformance · server`: there are none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {}

impl tidegate_options::Options for Options {}

/// The fixtures.
pub(crate) struct Fixtures {
    all: Slab<Entry>,
}

enum Entry {
    Session(StreamId),
    Subscription(StreamId),
    Operation(Box<Exchange>),
}

impl Fixtures {
    pub(crate) fn new(_: Options) -> Self {
        Self { all: Slab::new() }
    }

    fn play(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Entry::Operation(exchange)) = self.all.get_mut(key) else {
            return;
        };
        match exchange.play(cx, Token::from_index(key)) {
            Progress::Waits => {}
            Progress::Changed(list) => {
                self.tell(cx, list);
                self.play(cx, key);
            }
            Progress::Over => {
                self.all.remove(key);
            }
        }
    }

    /// Tells every session that a list has changed.
    fn tell(&self, cx: &mut Context<'_>, list: List) {
        for (_, entry) in &self.all {
            if let Entry::Session(stream) = entry {
                let frame = match list {
                    List::Tools => Frame::flush(McpToolsListChanged {}),
                    List::Prompts => Frame::flush(McpPromptsListChanged {}),
                };
                cx.send(*stream, frame);
            }
        }
    }
}

/// Everything that a server can offer.
fn capabilities() -> McpCapabilities {
    type C = McpCapabilities;
    [
        C::SERVER_TOOLS,
        C::SERVER_PROMPTS,
        C::SERVER_RESOURCES,
        C::SERVER_TOOLS_LIST_CHANGED,
        C::SERVER_PROMPTS_LIST_CHANGED,
        C::SERVER_RESOURCES_LIST_CHANGED,
        C::SERVER_RESOURCES_SUBSCRIBE,
        C::SERVER_COMPLETIONS,
        C::SERVER_LOGGING,
    ]
    .into_iter()
    .fold(C::NONE, C::with)
}

impl Binding for Fixtures {
    fn exchanges(&self) -> usize {
        self.all.len()
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let BeginEx::Mcp(begin) = begin else {
            return;
        };
        let entry = self.all.vacant_entry();
        let token = Token::from_index(entry.key());
        match begin {
            McpBeginEx::Lifecycle(_) => {
                cx.accept(stream, token);
                let reply = McpLifecycle {
                    session_id: Some(cx.mint_identity()),
                    capabilities: capabilities(),
                };
                cx.send(stream, Frame::begin(reply));
                entry.insert(Entry::Session(stream));
            }
            McpBeginEx::ResourcesSubscribe(subscribe) => {
                if !crate::resources::exists(&subscribe.uri) {
                    let why = format!("Resource '{}' not found.", subscribe.uri);
                    let reset = McpReset::new(McpResetKind::NotFound, why);
                    return cx.terminate(stream, Some(reset.into()), None);
                }
                cx.accept(stream, token);
                let reply = McpBeginEx::ResourcesSubscribe(subscribe);
                cx.send(stream, Frame::begin(reply));
                entry.insert(Entry::Subscription(stream));
            }
            begin => {
                cx.accept(stream, token);
                entry.insert(Entry::Operation(Box::new(Exchange::new(stream, begin))));
            }
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        match self.all.get_mut(key) {
            Some(Entry::Operation(exchange)) => {
                if exchange.on_frame(cx, frame) {
                    self.play(cx, key);
                } else if exchange.is_over(cx) {
                    self.all.remove(key);
                }
            }
            Some(Entry::Session(stream) | Entry::Subscription(stream)) => {
                let stream = *stream;
                match frame {
                    Frame::Data(data) => cx.acknowledge(stream, data.payload.len()),
                    Frame::End(_) => cx.end(stream, Frame::end()),
                    Frame::Abort(_) | Frame::Reset(_) => cx.terminate(stream, None, None),
                    _ => {}
                }
                if cx.is_over(stream) {
                    self.all.remove(key);
                }
            }
            None => {}
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: u32) {
        let key = token.index();
        if let Some(Entry::Operation(exchange)) = self.all.get_mut(key) {
            exchange.on_timer(cx);
            self.play(cx, key);
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        match self.all.try_remove(token.index()) {
            Some(Entry::Session(stream) | Entry::Subscription(stream)) => {
                cx.terminate(stream, None, None);
            }
            Some(Entry::Operation(mut exchange)) => exchange.abort(cx),
            None => {}
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for (_, entry) in &self.all {
            if let Entry::Session(stream) | Entry::Subscription(stream) = entry {
                cx.end(*stream, Frame::end());
            }
        }
    }
}
