//! The events of `http · server`.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// A stream was opened for a request, which starts a trace.
    pub struct RequestOpened "binding.http.request.opened" Debug
        "{method} {path}, {length} bytes"
    {
        /// The method.
        method "method": ByteString = ByteString::new(),
        /// The path.
        path "path": ByteString = ByteString::new(),
        /// Body length in bytes.
        length "length": u64 = 0,
    }
}
