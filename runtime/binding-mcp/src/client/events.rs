//! Events about the server.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// What a server speaks was found out.
    pub struct ServerFound "binding.mcp_client.server.found" Info
        "MCP server '{server}' found, {era} era, protocol version {version}"
    {
        /// Name and version that the server states; empty if it states none.
        server "server": ByteString = ByteString::new(),
        /// `modern` or `legacy`.
        era "era": ByteString = ByteString::new(),
        /// Protocol version that is spoken with it.
        version "version": ByteString = ByteString::new(),
    }
}

event! {
    /// A session could not be begun with the server.
    pub struct ServerUnavailable "binding.mcp_client.server.unavailable" Warn
        "MCP server unavailable: {reason}"
    {
        /// Reason in words.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The server did not know a session any more, and a new one is begun.
    pub struct SessionReopened "binding.mcp_client.session.reopened" Info
        "session with the MCP server has expired; a new one is begun"
    {}
}

event! {
    /// A tool is left out of lists, because its definition is invalid (2026-07-28, Streamable HTTP).
    pub struct ToolInvalid "binding.mcp_client.tool.invalid" Warn
        "invalid tool '{tool}' of the MCP server is left out of lists: {reason}"
    {
        /// Name of the tool.
        tool "tool": ByteString = ByteString::new(),
        /// What is wrong with its definition.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The server sent something that is not a message, or one that is not allowed.
    pub struct MessageInvalid "binding.mcp_client.message.invalid" Warn
        "invalid message of the MCP server: {reason}"
    {
        /// What is wrong with it.
        reason "reason": ByteString = ByteString::new(),
    }
}
