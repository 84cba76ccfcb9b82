//! Requests of the exit to the client (sampling, elicitation, roots): refused, for all streams alike.

use bytes::BytesMut;
use tidegate_engine::{Context, StreamId};
use tidegate_streams::mcp::McpResponse;
use tidegate_streams::{ChallengeEx, Frame};

use crate::jsonrpc::{Error, code};
use crate::shown::shown;

/// Answers a CHALLENGE with an error: whoever asked goes on without an answer of the client.
pub(super) fn refuse(cx: &mut Context<'_>, stream: StreamId, challenge: &ChallengeEx) {
    let ChallengeEx::Mcp(asked) = challenge;
    let message = format!(
        "Not supported: the gateway does not pass '{}' on to clients.",
        shown(&asked.method)
    );
    let mut content = BytesMut::with_capacity(128);
    Error::new(code::METHOD_NOT_FOUND, message).write(&mut content);
    if cx.is_sending(stream) {
        let response = McpResponse {
            id: asked.id,
            content: content.freeze(),
            error: true,
        };
        cx.send(stream, Frame::flush(response));
    }
}
