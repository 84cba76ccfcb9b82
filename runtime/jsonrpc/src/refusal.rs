//! The error code of a refusal of the exit.

use tidegate_streams::mcp::{McpEra as Era, McpMethod as Method, McpReset, McpResetKind};

use super::error::code;

/// The error code of a refusal, in an era and for a method.
pub fn code_of(reset: &McpReset, method: Method, era: Era) -> i64 {
    match reset.kind {
        McpResetKind::Invalid | McpResetKind::TooLarge => code::INVALID_PARAMS,
        McpResetKind::NotFound => match method {
            Method::PromptsList | Method::CompletionComplete => code::METHOD_NOT_FOUND,
            Method::ResourcesRead | Method::ResourcesSubscribe if era == Era::Legacy => {
                code::RESOURCE_NOT_FOUND
            }
            _ => code::INVALID_PARAMS,
        },
        McpResetKind::MissingCapability => match era {
            Era::Modern => code::MISSING_CLIENT_CAPABILITY,
            Era::Legacy => code::INVALID_REQUEST,
        },
        McpResetKind::HeaderMismatch => code::HEADER_MISMATCH,
        McpResetKind::NotAuthorized
        | McpResetKind::TimedOut
        | McpResetKind::Unavailable
        | McpResetKind::Busy
        | McpResetKind::SlowConsumer
        | McpResetKind::Internal => code::INTERNAL_ERROR,
        McpResetKind::Relayed => reset.code.unwrap_or(code::INTERNAL_ERROR),
    }
}
