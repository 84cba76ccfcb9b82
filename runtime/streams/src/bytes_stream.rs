//! Byte streams: what `mqtt · client` says to `tcp · client`.
//!
//! The reply BEGIN tells at once where the stream leads, so that whoever waits can say for whom. What is
//! sent before the connection is up is written then. DATA is bytes in order; END closes the sending
//! direction; ABORT or RESET ends the connection at once.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// Initial: asks for a connection to the peer that the binding is configured with. Reply: the
    /// connection is being made.
    pub struct BytesBegin "bytes" {
        /// The peer as `host:port`; empty on the initial BEGIN.
        remote "remote": ByteString = ByteString::new(),
    }
}

extension! {
    /// Why a connection could not be had or was lost.
    pub struct BytesReset "bytes" {
        /// The peer as `host:port`.
        remote "remote": ByteString = ByteString::new(),
        /// Why, in words: `connection refused`.
        reason "reason": ByteString = ByteString::new(),
        /// Whether the connection was up.
        connected "connected": bool = false,
    }
}
