//! Byte streams between `mqtt · client` and `tcp · client`.
//!
//! The reply BEGIN follows at once and names the peer, so that the caller can name it in errors
//! before the connection is open. DATA sent before the connection is open is buffered and written
//! then. DATA is bytes in order; END closes the sending direction; ABORT or RESET closes the
//! connection at once.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// Initial: requests a connection to the configured peer. Reply: the connection is being
    /// opened.
    pub struct BytesBegin "bytes" {
        /// The peer as `host:port`; empty on the initial BEGIN.
        remote "remote": ByteString = ByteString::new(),
    }
}

extension! {
    /// Why a connection could not be opened, or was lost.
    pub struct BytesReset "bytes" {
        /// The peer as `host:port`.
        remote "remote": ByteString = ByteString::new(),
        /// Reason in words: `connection refused`.
        reason "reason": ByteString = ByteString::new(),
        /// Whether the connection was open.
        connected "connected": bool = false,
    }
}
