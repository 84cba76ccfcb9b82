//! Events about the route of a call, and about incomplete lists.

use bytestring::ByteString;
use tidegate_streams::event;

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
