//! `lifecycle`: sessions and their identities.

use bytestring::ByteString;
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};

/// What the reply BEGIN of a session says.
pub(crate) fn begin(identity: ByteString) -> McpLifecycle {
    McpLifecycle {
        session_id: Some(identity),
        capabilities: McpCapabilities::SERVER_TOOLS
            .with(McpCapabilities::SERVER_RESOURCES)
            .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE),
    }
}
