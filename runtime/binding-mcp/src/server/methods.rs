//! The methods that are served, and the revisions.

use bytestring::ByteString;
use tidegate_streams::mcp::{
    McpBeginEx, McpCompletionComplete, McpPromptsGet, McpPromptsList, McpResourcesList,
    McpResourcesRead, McpResourcesTemplatesList, McpToolsCall, McpToolsList,
};

use super::envelope::Subject;
use super::headers::Mirrored;

/// The modern revision.
pub(super) const MODERN: &str = "2026-07-28";
/// The legacy revisions, newest first.
pub(super) const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The legacy revision that knows batches, and the one to assume where no header tells.
pub(super) const BATCHING: &str = "2025-03-26";

/// Which of the two ways of speaking MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Modern,
    Legacy,
}

/// A method that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Initialize,
    Ping,
    Discover,
    Listen,
    ToolsList,
    ToolsCall,
    ResourcesList,
    ResourcesTemplatesList,
    ResourcesRead,
    ResourcesSubscribe,
    ResourcesUnsubscribe,
    PromptsList,
    PromptsGet,
    CompletionComplete,
}

impl Method {
    /// The method of a name, if the era has it.
    pub(super) fn of(name: &str, era: Era) -> Option<Self> {
        use Era::{Legacy, Modern};
        Some(match (name, era) {
            ("initialize", Legacy) => Self::Initialize,
            ("ping", Legacy) => Self::Ping,
            ("server/discover", Modern) => Self::Discover,
            ("subscriptions/listen", Modern) => Self::Listen,
            ("tools/list", _) => Self::ToolsList,
            ("tools/call", _) => Self::ToolsCall,
            ("resources/list", _) => Self::ResourcesList,
            ("resources/templates/list", _) => Self::ResourcesTemplatesList,
            ("resources/read", _) => Self::ResourcesRead,
            ("resources/subscribe", Legacy) => Self::ResourcesSubscribe,
            ("resources/unsubscribe", Legacy) => Self::ResourcesUnsubscribe,
            ("prompts/list", _) => Self::PromptsList,
            ("prompts/get", _) => Self::PromptsGet,
            ("completion/complete", _) => Self::CompletionComplete,
            _ => return None,
        })
    }

    /// The member of `params` that says what is meant, and that `Mcp-Name` repeats.
    pub(super) const fn subject(self) -> Option<Subject> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Subject::Name),
            Self::ResourcesRead | Self::ResourcesSubscribe | Self::ResourcesUnsubscribe => {
                Some(Subject::Uri)
            }
            _ => None,
        }
    }

    /// Whether its results bear `ttlMs` and `cacheScope` in the modern era.
    pub(super) const fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::ResourcesTemplatesList
                | Self::ResourcesRead
        )
    }

    /// The BEGIN that carries it out, where it is carried out behind this binding.
    pub(super) fn begin(
        self,
        session_id: Option<ByteString>,
        subject: Option<ByteString>,
        content_length: i64,
        mirrored: Mirrored,
    ) -> Option<McpBeginEx> {
        let name = subject.unwrap_or_default();
        Some(match self {
            Self::ToolsList => McpToolsList { session_id }.into(),
            Self::PromptsList => McpPromptsList { session_id }.into(),
            Self::ResourcesList => McpResourcesList { session_id }.into(),
            Self::ResourcesTemplatesList => McpResourcesTemplatesList { session_id }.into(),
            Self::ToolsCall => McpToolsCall {
                session_id,
                name,
                content_length,
                headers: mirrored.headers,
                headers_required: mirrored.required,
            }
            .into(),
            Self::PromptsGet => McpPromptsGet {
                session_id,
                name,
                content_length,
            }
            .into(),
            Self::ResourcesRead => McpResourcesRead {
                session_id,
                uri: name,
                content_length,
            }
            .into(),
            Self::CompletionComplete => McpCompletionComplete {
                session_id,
                content_length,
            }
            .into(),
            _ => return None,
        })
    }
}
