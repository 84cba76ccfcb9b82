//! What the edge tells operators.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// A request became a stream, and the trace of what it causes begins.
    pub struct RequestOpened "binding.http.request.opened" Debug
        "{method} {path}, {length} bytes"
    {
        /// The method.
        method "method": ByteString = ByteString::new(),
        /// The path.
        path "path": ByteString = ByteString::new(),
        /// The length of the body in bytes.
        length "length": u64 = 0,
    }
}
