//! What operators are told of lists that are not whole.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// A list is served without one of its toolkits.
    pub struct ToolkitLeftOut "binding.mcp.toolkit.left_out" Warn
        "toolkit '{toolkit}' is left out of {list}: {reason}"
    {
        /// The toolkit.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// The list, as streams name it: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A toolkit has more pages of a list than are asked for.
    pub struct ListCut "binding.mcp.list.cut" Warn
        "{list} of toolkit '{toolkit}' is cut after {pages} pages (maxPages)"
    {
        /// The toolkit.
        toolkit "toolkit": ByteString = ByteString::new(),
        /// The list, as streams name it: `toolsList`.
        list "list": ByteString = ByteString::new(),
        /// How many pages were asked for.
        pages "pages": u32 = 0,
    }
}
