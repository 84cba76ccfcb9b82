//! Byte streams from `mqtt · client` to `tcp · client`, and through `ws · client` and `tls · client`
//! between them.
//!
//! The reply BEGIN follows at once and names the peer, so that the caller can name it in errors
//! before the connection is open. FLUSH `connected` on the reply says that the connection is open,
//! and to whom: with several endpoints it may be another peer than the BEGIN named. DATA sent before
//! that is buffered and written then. DATA is bytes in order; END closes the sending direction; ABORT
//! or RESET closes the connection at once.
//!
//! The caller may state more on its BEGIN, which the bindings between pass on: other endpoints, when the
//! server refers to them; the peer to try last, because the protocol above failed there; the client
//! certificate, which `tls · client` uses and does not pass on.
//!
//! Each binding of a chain speaks for its own protocol: `tls · client` sends `connected` after its
//! handshake, and a RESET with `connected` false means that the chain below the receiver was never
//! complete.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// A host and a port.
    pub struct BytesEndpoint "endpoint" {
        /// Host name or IP address.
        host "host": ByteString = ByteString::new(),
        /// Port; 0: that of the config.
        port "port": u16 = 0,
    }
}
crate::record_field!(BytesEndpoint);

extension! {
    /// Initial: requests a connection to the configured peer. Reply: the connection is being
    /// opened.
    pub struct BytesBegin "bytes" {
        /// The peer as `host:port`; empty on the initial BEGIN.
        remote "remote": ByteString = ByteString::new(),
        /// Initial: where to connect to instead of the configured endpoints, in order of preference.
        endpoints "endpoints": Vec<BytesEndpoint> = Vec::new(),
        /// Initial: the peer, as an earlier BEGIN or FLUSH named it, with which the protocol above has
        /// failed; it is tried last.
        avoid "avoid": ByteString = ByteString::new(),
        /// Initial: name of the client certificate in `certificates` of `tls · client`; empty: that of
        /// its options.
        certificate "certificate": ByteString = ByteString::new(),
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
        /// Whether TLS encrypts the connection.
        secure "secure": bool = false,
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
        /// Whether the reason is the client certificate that BEGIN named: the peer refused it.
        certificate "certificate": bool = false,
    }
}
