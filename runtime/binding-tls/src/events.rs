//! The events of `tls · client`.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// A handshake is complete.
    pub struct HandshakeCompleted "binding.tls.handshake.completed" Debug
        "{version} with {remote}, {cipher}, resumed: {resumed}"
    {
        /// The peer.
        remote "remote": ByteString = ByteString::new(),
        /// Version of TLS.
        version "version": ByteString = ByteString::new(),
        /// Cipher suite.
        cipher "cipher": ByteString = ByteString::new(),
        /// The protocol that was agreed on by ALPN; empty for none.
        alpn "alpn": ByteString = ByteString::new(),
        /// Whether an earlier session was resumed.
        resumed "resumed": bool = false,
    }
}

event! {
    /// A handshake failed. The binding that wanted the connection reports it to operators.
    pub struct HandshakeFailed "binding.tls.handshake.failed" Debug
        "no TLS with {remote}: {reason}"
    {
        /// The peer.
        remote "remote": ByteString = ByteString::new(),
        /// The reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// Changed files are in use for further connections.
    pub struct Reloaded "binding.tls.reloaded" Info
        "certificates reloaded"
    {
    }
}

event! {
    /// Changed files cannot be used; the last good ones stay in use.
    pub struct ReloadFailed "binding.tls.reload.failed" Warn
        "certificates not reloaded, the previous ones stay in use: {reason}"
    {
        /// The option, the file and the reason.
        reason "reason": ByteString = ByteString::new(),
    }
}
