//! How a method is carried out behind this binding.

use bytestring::ByteString;
use tidegate_streams::mcp::{
    McpBeginEx, McpCompletionComplete, McpPromptsGet, McpPromptsList, McpResourcesList,
    McpResourcesRead, McpResourcesTemplatesList, McpToolsCall, McpToolsList,
};

use super::headers::Mirrored;
use crate::jsonrpc::Method;

/// The BEGIN that carries it out, where it is carried out behind this binding.
pub(super) fn begin(
    method: Method,
    session_id: Option<ByteString>,
    subject: Option<ByteString>,
    content_length: i64,
    mirrored: Mirrored,
) -> Option<McpBeginEx> {
    let name = subject.unwrap_or_default();
    Some(match method {
        Method::ToolsList => McpToolsList { session_id }.into(),
        Method::PromptsList => McpPromptsList { session_id }.into(),
        Method::ResourcesList => McpResourcesList { session_id }.into(),
        Method::ResourcesTemplatesList => McpResourcesTemplatesList { session_id }.into(),
        Method::ToolsCall => McpToolsCall {
            session_id,
            name,
            content_length,
            headers: mirrored.headers,
            headers_required: mirrored.required,
        }
        .into(),
        Method::PromptsGet => McpPromptsGet {
            session_id,
            name,
            content_length,
        }
        .into(),
        Method::ResourcesRead => McpResourcesRead {
            session_id,
            uri: name,
            content_length,
        }
        .into(),
        Method::CompletionComplete => McpCompletionComplete {
            session_id,
            content_length,
        }
        .into(),
        _ => return None,
    })
}
