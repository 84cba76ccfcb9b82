//! The binding: takes each stream, opens one to the exit, and keeps the pair.

use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_streams::bytes_stream::BytesReset;
use tidegate_streams::{BeginEx, Frame, ResetEx};

use crate::exchange::{Env, Exchange};
use crate::meters::Counts;
use crate::options::Options;

/// Credit of both halves that the binding receives, in bytes.
const WINDOW: u32 = 128 * 1024;

/// The binding.
pub struct WsClient {
    options: Options,
    exit: BindingId,
    exchanges: Slab<Exchange>,
    counts: Counts,
}

impl WsClient {
    /// A client towards `exit`.
    pub fn new(options: Options, exit: BindingId) -> Self {
        Self {
            options,
            exit,
            exchanges: Slab::new(),
            counts: Counts::default(),
        }
    }

    /// Lets an exchange act, and removes it when its streams are over.
    fn with(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        act: impl FnOnce(&mut Exchange, &mut Env<'_, '_>),
    ) {
        let key = token.index();
        let Some(exchange) = self.exchanges.get_mut(key) else {
            debug_assert!(false, "a frame or timer for an exchange that is over");
            return;
        };
        let mut env = Env {
            cx,
            options: &self.options,
            counts: &mut self.counts,
        };
        act(exchange, &mut env);
        if exchange.is_over(env.cx) {
            exchange.clear_timer(env.cx);
            self.exchanges.remove(key);
        } else {
            exchange.limit_closing(env.cx);
        }
    }
}

impl Binding for WsClient {
    fn window(&self) -> u32 {
        WINDOW
    }

    fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        self.counts.report(meter);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        let BeginEx::Bytes(begin) = begin else {
            return;
        };
        let is_redirected = !begin.endpoints.is_empty();
        let entry = self.exchanges.vacant_entry();
        let token = Token::from_index(entry.key());
        match cx.open(self.exit, begin, token) {
            Ok(exit) => {
                cx.accept(stream, token);
                entry.insert(Exchange::new(token, stream, exit, is_redirected));
            }
            Err(error) => {
                let reset = BytesReset {
                    reason: error.to_string().into(),
                    ..BytesReset::default()
                };
                cx.terminate(stream, Some(ResetEx::Bytes(reset)), None);
            }
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        self.with(cx, at.token, |exchange, env| {
            if at.stream == exchange.caller() {
                exchange.on_caller_frame(env, frame);
            } else {
                exchange.on_exit_frame(env, frame);
            }
        });
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _kind: u32) {
        self.with(cx, token, Exchange::on_timer);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if let Some(exchange) = self.exchanges.try_remove(token.index()) {
            exchange.end_streams(cx);
        }
    }
}
