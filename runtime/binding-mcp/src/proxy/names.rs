//! The prefixes that tell toolkits apart.

use bytestring::ByteString;
use tidegate_streams::mcp::McpBeginEx;

/// What stands between a toolkit and the name of a tool or prompt.
const OF_NAME: &str = "__";
/// What stands between a toolkit and a URI; legal in a URI's scheme, so it stays one.
const OF_URI: &str = "+";

/// `plant__` or `plant+`: what a toolkit's names and URIs begin with.
#[derive(Debug, Clone)]
pub(super) struct Prefixes {
    pub(super) name: ByteString,
    pub(super) uri: ByteString,
}

impl Prefixes {
    pub(super) fn of(toolkit: &str) -> Self {
        Self {
            name: format!("{toolkit}{OF_NAME}").into(),
            uri: format!("{toolkit}{OF_URI}").into(),
        }
    }
}

/// The name or URI that decides where an operation goes, if it has one.
pub(super) fn key_mut(begin: &mut McpBeginEx) -> Option<(&mut ByteString, Kind)> {
    match begin {
        McpBeginEx::ToolsCall(call) => Some((&mut call.name, Kind::Tool)),
        McpBeginEx::PromptsGet(get) => Some((&mut get.name, Kind::Prompt)),
        McpBeginEx::ResourcesRead(read) => Some((&mut read.uri, Kind::Resource)),
        McpBeginEx::ResourcesSubscribe(subscribe) => Some((&mut subscribe.uri, Kind::Resource)),
        _ => None,
    }
}

/// What a key names.
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

    pub(super) const fn prefix(self, prefixes: &Prefixes) -> &ByteString {
        match self {
            Self::Tool | Self::Prompt => &prefixes.name,
            Self::Resource => &prefixes.uri,
        }
    }
}
