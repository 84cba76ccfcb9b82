//! Events about the route of a call, about incomplete lists, and about what a caller may use.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::event;

use super::routing::Decision;
use crate::shown::shown;

event! {
    /// A call of one tool, prompt or resource is passed on to its toolkit.
    pub struct CallRouted "binding.mcp.call.routed" Debug audit(part)
        "call passed on to toolkit '{toolkit}'"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
    }
}

event! {
    /// A list is served without one of its toolkits.
    pub struct ToolkitLeftOut "binding.mcp.toolkit.left_out" Warn
        "toolkit '{toolkit}' missing from {list}: {reason}"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Operation of the list, as in streams: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// Reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A toolkit cannot be reached, or does not answer in time. Lists and new sessions do not wait for
    /// it until it answers again.
    pub struct ToolkitUnavailable "binding.mcp.toolkit.unavailable" Warn
        "toolkit '{toolkit}' is unavailable: {reason}"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A toolkit that was unavailable has answered.
    pub struct ToolkitAvailable "binding.mcp.toolkit.available" Info
        "toolkit '{toolkit}' is available again"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
    }
}

event! {
    /// The option `deadlines` names a toolkit that has no route.
    pub struct DeadlineUnused "binding.mcp.deadline.unused" Warn
        "deadlines.{toolkit} has no effect: no route leads to a toolkit of this name"
    {
        /// The name.
        toolkit "toolkit": ByteString = ByteString::new(),
    }
}

event! {
    /// The definition of a tool differs from the one that was accepted (`pins`).
    pub struct DefinitionChanged "binding.mcp.definition.changed" Warn audit(line)
        "definition of tool '{tool}' of toolkit '{toolkit}' has changed; see 'tidegate pins list'"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Name of the tool at the toolkit.
        tool "tool": ByteString = ByteString::new(),
        /// SHA-256 of the accepted definition.
        accepted "accepted": ByteString = ByteString::new(),
        /// SHA-256 of the definition that it has now.
        definition "definition": ByteString = ByteString::new(),
        /// Whether the tool is withheld until its definition is accepted.
        withheld "withheld": bool = false,
    }
}

event! {
    /// Tools have definitions of which none was accepted (`pins`).
    pub struct DefinitionsNew "binding.mcp.definition.new" Warn audit(line)
        "{count} tools of toolkit '{toolkit}' are not accepted, such as '{tool}'; see 'tidegate pins list'"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Name of the first of them at the toolkit.
        tool "tool": ByteString = ByteString::new(),
        /// Number of tools.
        count "count": u32 = 0,
        /// Whether they are withheld until their definitions are accepted.
        withheld "withheld": bool = false,
    }
}

event! {
    /// Other definitions are accepted (`pinsFile` has changed).
    pub struct PinsReloaded "binding.mcp.pins.reloaded" Info audit(line)
        "the accepted definitions have changed"
    {
    }
}

event! {
    /// The files of the definition pins cannot be used. The accepted definitions stay those from before.
    pub struct PinsReloadFailed "binding.mcp.pins.reload_failed" Warn
        "definition pins not updated: {reason}"
    {
        /// Reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// Titles and descriptions of a toolkit's list had control or invisible characters, which were
    /// removed.
    pub struct TextCleaned "binding.mcp.text.cleaned" Warn audit(line)
        "{count} texts in {list} of toolkit '{toolkit}' had invisible characters, such as in '{subject}'; removed"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Operation of the list, as in streams: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// Number of texts.
        count "count": u32 = 0,
        /// Name or URI of the first element with one.
        subject "subject": ByteString = ByteString::new(),
    }
}

event! {
    /// Names of tools are longer than `maxNameLength` and are shortened.
    pub struct NamesShortened "binding.mcp.names.shortened" Debug
        "{count} names of toolkit '{toolkit}' are shortened (maxNameLength), such as '{name}'"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Number of names.
        count "count": u32 = 0,
        /// The first shortened name, as callers see it.
        name "name": ByteString = ByteString::new(),
    }
}

event! {
    /// A toolkit lists names that nobody can use: an earlier route leads to another exit under the same
    /// name.
    pub struct NamesHidden "binding.mcp.names.hidden" Warn
        "{count} names in {list} of toolkit '{toolkit}' are hidden by an earlier route, such as '{name}'"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Operation of the list, as in streams: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// Number of names.
        count "count": u32 = 0,
        /// The first of them at the toolkit.
        name "name": ByteString = ByteString::new(),
    }
}

event! {
    /// A toolkit's list has more pages than `maxPages`.
    pub struct ListCut "binding.mcp.list.cut" Warn
        "{list} of toolkit '{toolkit}' truncated after {pages} pages (maxPages)"
    {
        /// Toolkit name.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// Operation of the list, as in streams: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// Number of pages read.
        pages "pages": u32 = 0,
    }
}

event! {
    /// A caller may use a tool, prompt or resource, by a route that is not for everybody.
    pub struct OperationPermitted "binding.mcp.operation.permitted" Debug audit(part)
        "{operation} of '{subject}' permitted by {rule}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// Operation, as in streams: `toolsCall`.
        operation "operation": ByteString = ByteString::new(),
        /// Name or URI, as the caller states it.
        subject "subject": ByteString = ByteString::new(),
        /// The route that permits it, such as `routes.0`.
        rule "rule": ByteString = ByteString::new(),
    }
}

event! {
    /// A caller may not use a tool, prompt or resource that others may.
    pub struct OperationRefused "binding.mcp.operation.refused" Info audit(part)
        "{operation} of '{subject}' refused by {rule}: {reason}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// Operation, as in streams: `toolsCall`.
        operation "operation": ByteString = ByteString::new(),
        /// Name or URI, as the caller states it, shortened.
        subject "subject": ByteString = ByteString::new(),
        /// The first route that would lead there, such as `routes.0`.
        rule "rule": ByteString = ByteString::new(),
        /// `not permitted` or `insufficient scope`.
        reason "reason": ByteString = ByteString::new(),
    }
}

/// Reports a decision about an operation that depends on the caller.
pub(super) fn report(
    cx: &mut Context<'_>,
    operation: &'static str,
    key: &str,
    made: &Decision<'_>,
) {
    let (route, reason) = match made {
        Decision::Permitted { route, .. } => {
            return cx.event_with(|cx| {
                let (identity, guard) = caller(cx);
                OperationPermitted {
                    identity,
                    guard,
                    operation: ByteString::from_static(operation),
                    subject: ByteString::from(&*shown(key)),
                    rule: rule(*route),
                }
            });
        }
        Decision::StepUp { route, .. } => (*route, "insufficient scope"),
        Decision::Unknown {
            refusing: Some(route),
        } => (*route, "not permitted"),
        Decision::Unknown { refusing: None } => return,
    };
    cx.event_with(|cx| {
        let (identity, guard) = caller(cx);
        OperationRefused {
            identity,
            guard,
            operation: ByteString::from_static(operation),
            subject: ByteString::from(&*shown(key)),
            rule: rule(route),
            reason: ByteString::from_static(reason),
        }
    });
}

/// Subject and guard of the caller; empty if anonymous.
fn caller(cx: &Context<'_>) -> (ByteString, ByteString) {
    let caller = cx.identity();
    caller.map_or_else(Default::default, |caller| {
        (caller.subject.clone(), caller.guard.clone())
    })
}

fn rule(route: usize) -> ByteString {
    format!("routes.{route}").into()
}
