//! Test bindings for scenarios of the engine.
//!
//! `test · relay` forwards every frame and the credit in both directions. It panics when the tool name or
//! a payload says so, to show that a fault is contained in its exchange.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slab::Slab;
use tidegate_config::{Descriptor, Protocol};
use tidegate_engine::{At, Binding, BindingId, Context, PendingData, StreamId, Token};
use tidegate_streams::mcp::McpBeginEx;
use tidegate_streams::{BeginEx, Frame};

/// Options of `test · relay`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Initial credit of its streams, in bytes.
    pub window: u32,
    /// Padding that it requires for each DATA, in bytes.
    pub padding: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 1 << 16,
            padding: 0,
        }
    }
}

impl tidegate_options::Options for Options {}

/// The descriptor of `test · relay`.
pub const fn relay() -> Descriptor<()> {
    Descriptor::of::<Options>("test", "relay", "Forwards every frame.")
        .accepts(&[Protocol::Mcp])
        .exit(Protocol::Mcp)
}

/// `test · relay`
pub struct Relay {
    options: Options,
    exit: BindingId,
    pairs: Slab<Pair>,
}

/// An accepted stream and the stream opened for it.
struct Pair {
    accepted: StreamId,
    opened: StreamId,
    onward: PendingData,
    back: PendingData,
}

impl Relay {
    /// Creates a relay to `exit`.
    pub const fn new(options: Options, exit: BindingId) -> Self {
        Self {
            options,
            exit,
            pairs: Slab::new(),
        }
    }

    fn remove_if_over(&mut self, cx: &Context<'_>, key: usize) {
        if let Some(pair) = self.pairs.get(key)
            && cx.is_over(pair.accepted)
            && cx.is_over(pair.opened)
        {
            self.pairs.remove(key);
        }
    }
}

impl Binding for Relay {
    fn exchanges(&self) -> usize {
        self.pairs.len()
    }

    fn window(&self) -> u32 {
        self.options.window
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if let BeginEx::Mcp(McpBeginEx::ToolsCall(call)) = &begin
            && call.name == "panic on begin"
        {
            panic_quietly();
        }
        let entry = self.pairs.vacant_entry();
        let token = Token::from_index(entry.key());
        cx.accept(stream, token);
        let Ok(opened) = cx.open(self.exit, begin, token) else {
            return cx.terminate(stream, None, None);
        };
        if self.options.padding > 0 {
            cx.grant(stream, self.options.window, self.options.padding);
        }
        let (onward, back) = (PendingData::new(), PendingData::new());
        entry.insert(Pair {
            accepted: stream,
            opened,
            onward,
            back,
        });
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let forward = at.stream == pair.accepted;
        let (other, waiting) = if forward {
            (pair.opened, &mut pair.onward)
        } else {
            (pair.accepted, &mut pair.back)
        };
        match frame {
            Frame::Data(data) => {
                if &data.payload[..] == b"panic on data" {
                    panic_quietly();
                }
                let length = data.payload.len();
                waiting.send(cx, other, data);
                cx.acknowledge(at.stream, length);
            }
            Frame::Window(_) => {
                let held = if forward {
                    &mut pair.back
                } else {
                    &mut pair.onward
                };
                held.flush(cx, at.stream);
            }
            Frame::Begin(begin) => cx.send(other, Frame::Begin(begin)),
            Frame::End(end) => cx.end(other, Frame::End(end)),
            Frame::Abort(abort) => cx.abort(other, abort.map(|abort| *abort)),
            Frame::Reset(reset) => cx.reset(other, reset.map(|reset| *reset)),
            frame @ (Frame::Flush(_) | Frame::Challenge(_)) => cx.send(other, frame),
        }
        self.remove_if_over(cx, key);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if let Some(pair) = self.pairs.try_remove(token.index()) {
            cx.terminate(pair.accepted, None, None);
            cx.terminate(pair.opened, None, None);
        }
    }
}

/// Panics without calling the panic hook, so that intended panics print nothing.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("intended by the scenario"))
}
