//! Requests of the exit to the client (sampling, elicitation, roots): the answers of this binding.

use bytes::{Bytes, BytesMut};
use tidegate_engine::{Context, Duration, StreamId};
use tidegate_streams::mcp::{McpAnswer, McpResponse};
use tidegate_streams::{ChallengeEx, Frame};

use crate::jsonrpc::{Error, code};
use crate::shown::shown;

/// Answers a CHALLENGE on a stream that has no client to ask, so that the exit continues without it.
pub(super) fn refuse(cx: &mut Context<'_>, stream: StreamId, challenge: &ChallengeEx) {
    let ChallengeEx::Mcp(asked) = challenge;
    if !asked.cancelled {
        let why = "there is no client to ask";
        answer(cx, stream, unsupported(asked.id, &asked.method, why));
    }
}

/// Sends the answer to a challenge, unless the exit no longer listens.
pub(super) fn answer(cx: &mut Context<'_>, stream: StreamId, response: McpResponse) {
    if cx.is_sending(stream) {
        cx.send(stream, Frame::flush(response));
    }
}

/// The answer if the client cannot be asked.
pub(super) fn unsupported(id: u64, method: &str, why: &str) -> McpResponse {
    let message = format!("Not supported: '{}' ({why}).", shown(method));
    McpResponse {
        id,
        answer: McpAnswer::Unsupported,
        content: error(code::METHOD_NOT_FOUND, message),
        timeout: 0,
    }
}

/// The answer if the client did not answer within `waited`.
pub(super) fn expired(id: u64, waited: Duration) -> McpResponse {
    let message = format!(
        "The client did not answer within {} ms.",
        waited.as_millis()
    );
    McpResponse {
        id,
        answer: McpAnswer::Expired,
        content: error(code::INTERNAL_ERROR, message),
        timeout: 0,
    }
}

fn error(code: i64, message: String) -> Bytes {
    let mut content = BytesMut::with_capacity(128);
    Error::new(code, message).write(&mut content);
    content.freeze()
}
