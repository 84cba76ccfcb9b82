//! Byte streams from `mqtt · client` to `tcp · client`, and through `ws · client` and `tls · client`
//! between them.
//!
//! The reply BEGIN follows at once and names the peer, so that the caller can name it in errors
//! before the connection is open. FLUSH `connected` on the reply says that the connection is open,
//! and to whom: with several endpoints it may be another peer than the BEGIN named. DATA sent before
//! that is buffered and written then. DATA is bytes in order; END closes the sending direction; ABORT
//! or RESET closes the connection at once.
//!
//! Each binding of a chain speaks for its own protocol: `tls · client` sends `connected` after its
//! handshake, and a RESET with `connected` false means that the chain below the receiver was never
//! complete.

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
    /// FLUSH of the reply: the connection is open.
    pub struct BytesConnected "connected" {
        /// The peer as `host:port`, or `unix:` and a path.
        remote "remote": ByteString = ByteString::new(),
        /// Host name or IP address of the peer as in the config, to verify its certificate; empty for
        /// a Unix socket.
        host "host": ByteString = ByteString::new(),
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
