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
        /// Address and port of the client; empty on a Unix socket.
        address "address": ByteString = ByteString::new(),
        /// Whether the client presented a certificate.
        certified "certified": bool = false,
    }
}

event! {
    /// Changed files of `tls` are in use.
    pub struct CertificatesReloaded "binding.http.tls.reloaded" Info
        "certificates reloaded"
    {
    }
}

event! {
    /// Changed files of `tls` cannot be used; the last good ones stay in use.
    pub struct CertificatesFailed "binding.http.tls.reload.failed" Warn
        "certificates not reloaded, the previous ones stay in use: {reason}"
    {
        /// The option, the file and the reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A client and the gateway did not agree on a TLS connection.
    pub struct HandshakeFailed "binding.http.tls.handshake.failed" Debug
        "TLS handshake failed: {reason}"
    {
        /// The reason.
        reason "reason": ByteString = ByteString::new(),
    }
}
