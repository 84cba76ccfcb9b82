//! Progress and log notifications for a running request.

use bytes::Bytes;
use tidegate_json::{Kind, Value};
use tidegate_streams::mcp::{McpFlushEx, McpLogLevel};

use super::errors::Refusal;
use crate::jsonrpc::notification::{is_from, log, progress};
use crate::jsonrpc::{Era, ID_MAX, Meta, Params};

/// The notifications a client has requested and can receive.
#[derive(Debug)]
pub(super) struct Notifications {
    /// The progress token, as JSON text.
    progress: Option<Bytes>,
    /// The least severe log messages that it wants; absent: none.
    level: Option<McpLogLevel>,
    takes_events: bool,
}

impl Notifications {
    /// What a request asks for; `level` is the log level of its session.
    pub(super) fn of(
        takes_events: bool,
        era: Era,
        params: &Params,
        level: Option<McpLogLevel>,
    ) -> Result<Self, Refusal> {
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
                let member = format!("params._meta.{}", Meta::LogLevel.name());
                Some(read_level(Some(&level), &member)?)
            }
            // A legacy server may choose which log messages it sends.
            (Era::Legacy, _) => Some(level.unwrap_or(McpLogLevel::Debug)),
        };
        Ok(Self {
            progress: token.map(|token| Bytes::copy_from_slice(&token.parts().contiguous())),
            level,
            takes_events,
        })
    }

    /// The least severe log messages that a modern request asks for, or that the client of a session has asked for.
    pub(super) fn stated_level(
        era: Era,
        level: Option<McpLogLevel>,
        notifications: &Self,
    ) -> Option<McpLogLevel> {
        match era {
            Era::Modern => notifications.level,
            Era::Legacy => level,
        }
    }

    /// Whether the client accepts server-sent events.
    pub(super) const fn takes_events(&self) -> bool {
        self.takes_events
    }

    /// The notification for a FLUSH of the exit, if the client wants it.
    pub(super) fn notification(&self, flush: &McpFlushEx) -> Option<Bytes> {
        match (flush, &self.progress, self.level) {
            (McpFlushEx::Progress(told), Some(token), _) => Some(progress(token, told)),
            (McpFlushEx::Log(told), _, Some(least)) if is_from(told, least) => Some(log(told)),
            _ => None,
        }
    }
}

/// Reads the log level in a member of a request.
pub(super) fn read_level(level: Option<&Value<'_>>, member: &str) -> Result<McpLogLevel, Refusal> {
    let level = level.and_then(Value::text);
    let level = level.and_then(|level| McpLogLevel::of(&level));
    level.ok_or_else(|| {
        let levels: Vec<&str> = McpLogLevel::ALL.iter().map(|it| it.word()).collect();
        let levels = levels.join(", ");
        Refusal::invalid_params(format!("{member} must be one of {levels}."))
    })
}
