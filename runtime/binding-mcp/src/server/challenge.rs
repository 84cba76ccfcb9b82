//! Requests of the exit to the client (sampling, elicitation, roots) are refused on all streams.

use bytes::BytesMut;
use tidegate_engine::{Context, StreamId};
use tidegate_streams::mcp::McpResponse;
use tidegate_streams::{ChallengeEx, Frame};

use crate::jsonrpc::{Error, code};
use crate::shown::shown;

/// Answers a CHALLENGE with an error, so that the exit continues without the client.
pub(super) fn refuse(cx: &mut Context<'_>, stream: StreamId, challenge: &ChallengeEx) {
    let ChallengeEx::Mcp(asked) = challenge;
    let message = format!(
        "Not supported: the gateway does not forward '{}' to clients.",
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
