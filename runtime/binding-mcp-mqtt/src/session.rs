//! `lifecycle`: sessions and their identifiers.

use bytestring::ByteString;
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};

/// The reply BEGIN of a session: its identifier and the capabilities of this server.
pub(crate) fn begin(identity: ByteString, completes: bool) -> McpLifecycle {
    McpLifecycle {
        session_id: Some(identity),
        capabilities: McpCapabilities::SERVER_TOOLS
            .with(McpCapabilities::SERVER_RESOURCES)
            .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE)
            .with_if(McpCapabilities::SERVER_COMPLETIONS, completes),
    }
}
