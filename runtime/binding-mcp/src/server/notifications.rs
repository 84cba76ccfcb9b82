//! What a client is told while its request is under way: progress and log messages.

use bytes::{Bytes, BytesMut};
use tidegate_engine::Context;
use tidegate_json::write::push_string;
use tidegate_json::{Document, Kind, Limits, Parts};
use tidegate_streams::mcp::{McpFlushEx, McpLog, McpProgress};

use super::binding::McpServer;
use super::errors::Refusal;
use super::http::Caller;
use super::output::{Sink, event};
use super::request::AHEAD;
use crate::jsonrpc::Era;
use crate::jsonrpc::{ID_MAX, Meta, Params};

/// The severities of log messages, least first (RFC 5424).
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// What a client wants to be told of, and can take.
#[derive(Debug)]
pub(super) struct Wishes {
    /// The token with which it wants to be told of progress, as it stands.
    progress: Option<Bytes>,
    /// The least severity of the log messages that it wants, as a place in [`LEVELS`].
    level: Option<usize>,
    takes_events: bool,
}

impl Wishes {
    pub(super) fn of(caller: &Caller<'_>, era: Era, params: &Params) -> Result<Self, Refusal> {
        let token = params
            .meta(Meta::ProgressToken)?
            .filter(|token| matches!(token.kind(), Kind::String | Kind::Number));
        if token.is_some_and(|token| token.range().len() > ID_MAX) {
            let name = Meta::ProgressToken.name();
            return Err(Refusal::invalid_params(format!(
                "params._meta.{name} is longer than {ID_MAX} bytes."
            )));
        }
        let level = match (era, params.meta(Meta::LogLevel)?) {
            (Era::Modern, None) => None,
            (Era::Modern, Some(level)) => {
                let level = level.text().and_then(|level| place(&level));
                let invalid = || {
                    Refusal::invalid_params(format!(
                        "params._meta.{} must be one of {}.",
                        Meta::LogLevel.name(),
                        LEVELS.join(", ")
                    ))
                };
                Some(level.ok_or_else(invalid)?)
            }
            // A legacy server may choose what it tells before it is asked.
            (Era::Legacy, _) => Some(0),
        };
        Ok(Self {
            progress: token.map(|token| Bytes::copy_from_slice(&token.parts().contiguous())),
            level,
            takes_events: caller.takes_events(),
        })
    }
}

fn place(level: &str) -> Option<usize> {
    LEVELS.iter().position(|known| *known == level)
}

impl McpServer {
    /// Progress and log messages, for a client that asked for them and can take them. What a client
    /// does not read is not piled up: it misses some of them.
    pub(super) fn request_flush(&mut self, cx: &mut Context<'_>, key: usize, flush: &McpFlushEx) {
        let Some(request) = self.requests.get(key) else {
            return;
        };
        let (sink, wishes) = (request.sink, &request.wishes);
        let notification = match (flush, &wishes.progress, wishes.level) {
            (McpFlushEx::Progress(told), Some(token), _) => progress(token, told),
            (McpFlushEx::Log(told), _, Some(least)) if severity(told) >= least => log(told),
            _ => return,
        };
        if self.waiting(sink) > AHEAD {
            return;
        }
        match sink {
            Sink::Line(_) => self.notify(cx, sink, notification),
            Sink::Http(http) if wishes.takes_events && !request.is_streaming() => {
                if let Some(exchange) = self.http.get_mut(http) {
                    exchange.begin_events(cx);
                    exchange.push(cx, event(Parts::from(notification)));
                }
            }
            _ => {}
        }
    }
}

/// How severe a log message is; one that does not say is not held back.
fn severity(log: &McpLog) -> usize {
    Document::parse(Parts::from(log.params.clone()), Limits::default())
        .ok()
        .and_then(|params| place(&params.root().get("level").ok()??.string()?))
        .unwrap_or(LEVELS.len())
}

fn log(log: &McpLog) -> Bytes {
    let mut out = BytesMut::from(
        &b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":"[..],
    );
    out.extend_from_slice(&log.params);
    out.extend_from_slice(b"}");
    out.freeze()
}

fn progress(token: &Bytes, progress: &McpProgress) -> Bytes {
    let mut out = BytesMut::from(
        &b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":"[..],
    );
    out.extend_from_slice(token);
    out.extend_from_slice(b",\"progress\":");
    out.extend_from_slice(progress.progress.as_bytes());
    if let Some(total) = &progress.total {
        out.extend_from_slice(b",\"total\":");
        out.extend_from_slice(total.as_bytes());
    }
    if let Some(message) = &progress.message {
        out.extend_from_slice(b",\"message\":");
        push_string(&mut out, message);
    }
    out.extend_from_slice(b"}}");
    out.freeze()
}
