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
