//! The lists of MCP, and the arrays of their results.

use tidegate_streams::mcp::{
    McpBeginEx, McpPromptsList, McpResourcesList, McpResourcesTemplatesList, McpToolsList,
};

use super::names::Kind;

/// A list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// An array of a list result: its name, and the member that is the name or URI of an element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
}

const TEMPLATES: Array = Array {
    name: "resourceTemplates",
    key: "uriTemplate",
};

impl ListKind {
    /// The list that an operation requests; `None` if it requests none.
    pub(super) const fn of(begin: &McpBeginEx) -> Option<Self> {
        match begin {
            McpBeginEx::ToolsList(_) => Some(Self::Tools),
            McpBeginEx::PromptsList(_) => Some(Self::Prompts),
            McpBeginEx::ResourcesList(_) => Some(Self::Resources),
            McpBeginEx::ResourcesTemplatesList(_) => Some(Self::Templates),
            _ => None,
        }
    }

    /// The operation that requests its first page, without a session.
    pub(super) fn begin(self) -> McpBeginEx {
        match self {
            Self::Tools => McpToolsList::default().into(),
            Self::Prompts => McpPromptsList::default().into(),
            Self::Resources => McpResourcesList::default().into(),
            Self::Templates => McpResourcesTemplatesList::default().into(),
        }
    }

    /// The arrays of its result, the mandatory one first.
    pub(super) const fn arrays(self) -> &'static [Array] {
        match self {
            Self::Tools => &[Array {
                name: "tools",
                key: "name",
            }],
            Self::Prompts => &[Array {
                name: "prompts",
                key: "name",
            }],
            Self::Resources => &[
                Array {
                    name: "resources",
                    key: "uri",
                },
                TEMPLATES,
            ],
            Self::Templates => &[TEMPLATES],
        }
    }

    /// What it lists.
    pub(super) const fn lists(self) -> Kind {
        match self {
            Self::Tools => Kind::Tool,
            Self::Prompts => Kind::Prompt,
            Self::Resources | Self::Templates => Kind::Resource,
        }
    }

    /// Its number in a cursor.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tools => 1,
            Self::Prompts => 2,
            Self::Resources => 3,
            Self::Templates => 4,
        }
    }
}
