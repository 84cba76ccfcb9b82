//! Events about incomplete lists, and about what a caller may use.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::event;

use super::routing::Decision;
use crate::shown::shown;

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
    pub struct OperationPermitted "binding.mcp.operation.permitted" Debug
        "{operation} of '{subject}' permitted by routes.{route}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// Operation, as in streams: `toolsCall`.
        operation "operation": ByteString = ByteString::new(),
        /// Name or URI, as the caller states it.
        subject "subject": ByteString = ByteString::new(),
        /// Index of the route that permits it.
        route "route": u64 = 0,
    }
}

event! {
    /// A caller may not use a tool, prompt or resource that others may.
    pub struct OperationRefused "binding.mcp.operation.refused" Info
        "{operation} of '{subject}' refused by routes.{route}: {reason}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// Operation, as in streams: `toolsCall`.
        operation "operation": ByteString = ByteString::new(),
        /// Name or URI, as the caller states it, shortened.
        subject "subject": ByteString = ByteString::new(),
        /// Index of the first route that would lead there.
        route "route": u64 = 0,
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
    let heard = match made {
        Decision::Permitted { .. } => cx.hears::<OperationPermitted>(),
        _ => cx.hears::<OperationRefused>(),
    };
    if !heard {
        return;
    }
    let caller = cx.identity();
    let (identity, guard) = caller.map_or_else(Default::default, |caller| {
        (caller.subject.clone(), caller.guard.clone())
    });
    let operation = ByteString::from_static(operation);
    let subject = ByteString::from(&*shown(key));
    let (route, reason) = match made {
        Decision::Permitted { route, .. } => {
            let route = *route as u64;
            return cx.event(&OperationPermitted {
                identity,
                guard,
                operation,
                subject,
                route,
            });
        }
        Decision::StepUp { route, .. } => (*route, "insufficient scope"),
        Decision::Unknown {
            refusing: Some(route),
        } => (*route, "not permitted"),
        Decision::Unknown { refusing: None } => return,
    };
    cx.event(&OperationRefused {
        identity,
        guard,
        operation,
        subject,
        route: route as u64,
        reason: ByteString::from_static(reason),
    });
}
