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
    /// A request was refused before a stream was opened for it, other than because of its credentials.
    pub struct RequestRefused "binding.http.request.refused" Debug audit(line)
        "request refused with {status}: {reason}"
    {
        /// Status of the response.
        status "status": u16 = 0,
        /// Text of the response.
        reason "reason": ByteString = ByteString::new(),
        /// The method.
        method "method": ByteString = ByteString::new(),
        /// The path, shortened and without its query.
        path "path": ByteString = ByteString::new(),
        /// Address and port of the client; empty on a Unix socket.
        address "address": ByteString = ByteString::new(),
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

event! {
    /// A request had no credential, or something malformed in its place.
    pub struct AuthorizationFailed "binding.http.authorization.failed" Debug audit(line)
        "request refused: {reason} credentials"
    {
        /// What was wrong, in one word.
        reason "reason": ByteString = ByteString::new(),
        /// Address and port of the client; empty on a Unix socket.
        address "address": ByteString = ByteString::new(),
    }
}

event! {
    /// Requests were refused since the last such event, because of their credentials; at most one a
    /// minute on each worker.
    pub struct AuthorizationsFailed "binding.http.authorizations.failed" Info
        "{count} requests refused because of their credentials, the last one: {reason}"
    {
        /// Number of requests.
        count "count": u64 = 0,
        /// What was wrong with the last one, in one word.
        reason "reason": ByteString = ByteString::new(),
        /// Address and port of its client; empty on a Unix socket.
        address "address": ByteString = ByteString::new(),
    }
}

/// Declares the event of a credential that a guard of one type has refused.
macro_rules! credential_failed {
    ($(#[doc = $doc:literal])+ $type:ident $id:literal) => {
        event! {
            $(#[doc = $doc])+
            pub struct $type $id Debug audit(line)
                "guard '{guard}' refused a credential: {reason}"
            {
                /// Name of the guard.
                guard "guard": ByteString = ByteString::new(),
                /// Why, in one word.
                reason "reason": ByteString = ByteString::new(),
                /// Address and port of the client; empty on a Unix socket.
                address "address": ByteString = ByteString::new(),
            }
        }
    };
}

credential_failed! {
    /// A guard of type `apikey` has refused a key.
    KeyFailed "guard.apikey.authorization.failed"
}

credential_failed! {
    /// A guard of type `jwt` has refused a token.
    TokenFailed "guard.jwt.authorization.failed"
}

credential_failed! {
    /// A guard of type `x509` has refused a client certificate.
    CertificateFailed "guard.x509.authorization.failed"
}
