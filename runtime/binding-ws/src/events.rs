//! The events of `ws · client`.

use bytestring::ByteString;
use tidegate_streams::event;

event! {
    /// The server agreed to speak WebSocket.
    pub struct HandshakeCompleted "binding.ws.handshake.completed" Debug
        "WebSocket with {remote}"
    {
        /// The peer.
        remote "remote": ByteString = ByteString::new(),
    }
}

event! {
    /// A handshake failed. The binding that wanted the connection reports it to operators.
    pub struct HandshakeFailed "binding.ws.handshake.failed" Debug
        "no WebSocket with {remote}: {reason}"
    {
        /// The peer.
        remote "remote": ByteString = ByteString::new(),
        /// The reason.
        reason "reason": ByteString = ByteString::new(),
    }
}
