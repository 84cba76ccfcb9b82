//! The lists.

use tidegate_streams::mcp::{McpBeginEx, McpReset, McpResetKind};

use crate::plan::{Plan, Reply, reply};
use crate::{prompts, resources, tools};

/// What a list does.
pub(crate) fn plan(begin: &McpBeginEx) -> Plan {
    reply(match begin {
        McpBeginEx::ToolsList(_) => |_| Reply::Result(tools::list()),
        McpBeginEx::PromptsList(_) => |_| Reply::Result(prompts::list()),
        McpBeginEx::ResourcesList(_) => |_| Reply::Result(resources::list()),
        McpBeginEx::ResourcesTemplatesList(_) => |_| Reply::Result(resources::templates()),
        _ => |_| Reply::Refused(McpReset::new(McpResetKind::NotFound, "Unknown operation.")),
    })
}
