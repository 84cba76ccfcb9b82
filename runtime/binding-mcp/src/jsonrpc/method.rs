//! The methods of MCP.

use super::revision::Era;

/// The member of `params` that says what a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// `name`
    Name,
    /// `uri`
    Uri,
}

impl Subject {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Uri => "uri",
        }
    }
}

#[allow(missing_docs, reason = "a variant is named after its method")]
/// A method that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
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
    pub fn of(name: &str, era: Era) -> Option<Self> {
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
    pub const fn subject(self) -> Option<Subject> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Subject::Name),
            Self::ResourcesRead | Self::ResourcesSubscribe | Self::ResourcesUnsubscribe => {
                Some(Subject::Uri)
            }
            _ => None,
        }
    }

    /// Whether its results bear `ttlMs` and `cacheScope` in the modern era.
    pub const fn is_cacheable(self) -> bool {
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
}
