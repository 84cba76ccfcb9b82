//! The prefixes that distinguish toolkits.

use bytestring::ByteString;
use tidegate_options::Glob;
use tidegate_streams::mcp::McpBeginEx;

use super::condition::Condition;

/// Separator between a toolkit and the name of a tool or prompt.
const NAME_SEPARATOR: &str = "__";
/// Separator between a toolkit and a URI; valid in a URI scheme, so the result is still a URI.
const URI_SEPARATOR: &str = "+";

/// The prefixes of a toolkit's names and URIs: `plant__` and `plant+`; empty without a toolkit.
#[derive(Debug, Clone)]
pub(super) struct Prefixes {
    pub(super) name: ByteString,
    pub(super) uri: ByteString,
}

impl Prefixes {
    pub(super) fn of(toolkit: &str) -> Self {
        if toolkit.is_empty() {
            return Self {
                name: ByteString::new(),
                uri: ByteString::new(),
            };
        }
        Self {
            name: format!("{toolkit}{NAME_SEPARATOR}").into(),
            uri: format!("{toolkit}{URI_SEPARATOR}").into(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.name.is_empty()
    }
}

/// The name or URI that selects the route of an operation, if it has one.
pub(super) fn key_mut(begin: &mut McpBeginEx) -> Option<(&mut ByteString, Kind)> {
    match begin {
        McpBeginEx::ToolsCall(call) => Some((&mut call.name, Kind::Tool)),
        McpBeginEx::PromptsGet(get) => Some((&mut get.name, Kind::Prompt)),
        McpBeginEx::ResourcesRead(read) => Some((&mut read.uri, Kind::Resource)),
        McpBeginEx::ResourcesSubscribe(subscribe) => Some((&mut subscribe.uri, Kind::Resource)),
        _ => None,
    }
}

/// The kind of subject a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tool,
    Prompt,
    Resource,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }

    pub(super) const fn shape(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "<toolkit>__<name>",
            Self::Resource => "<toolkit>+<uri>",
        }
    }

    /// The glob of a condition for this kind.
    pub(super) const fn glob(self, condition: &Condition) -> Option<&Glob> {
        match self {
            Self::Tool => condition.tool.as_ref(),
            Self::Prompt => condition.prompt.as_ref(),
            Self::Resource => condition.resource.as_ref(),
        }
    }

    pub(super) const fn prefix(self, prefixes: &Prefixes) -> &ByteString {
        match self {
            Self::Tool | Self::Prompt => &prefixes.name,
            Self::Resource => &prefixes.uri,
        }
    }
}
