//! `tls · client`: byte streams in, byte streams out, with TLS between them.
//!
//! - The handshake begins when the exit says that the connection is open, with the name in `sni` or the
//!   host that the exit names. The certificate is verified with `trust`, or with the authorities that
//!   the system trusts. `connected` is passed on when the handshake is complete.
//! - A handshake that fails resets the stream with a reason that says what to do. It is a connection
//!   that was never open, so `mqtt · client` treats it like a refused one.
//! - Both directions are bounded by credit: plaintext is acknowledged when it is encrypted, ciphertext
//!   when its plaintext is delivered.
//! - An end without `close_notify` is an error, because it may be a truncation.
//! - The caller may name a certificate of `certificates`, which is then presented instead of that of the
//!   options. If the peer refers to another server, the name to verify is that server's, not `sni`.
//! - Sessions are resumed, also across connections of several workers, until files change.
//!
//! rustls does no I/O. It gets the time from the context ([`Clock`]), and is the one exception from the
//! rule that random numbers come from the context: key shares, nonces and the random fields of the
//! handshake are drawn by aws-lc-rs from the system, so ciphertext differs from run to run.
//!
//! Handlers read no files: those are read by [`tidegate_tls::Current`], at the start and when they
//! change, outside the worker.
#![forbid(unsafe_code)]

mod binding;
mod clock;
mod events;
mod exchange;
mod explain;
mod files;
mod meters;
mod options;
mod records;
#[cfg(test)]
mod tests;

pub use binding::TlsClient;
pub use clock::Clock;
pub use events::{HandshakeCompleted, HandshakeFailed, ReloadFailed, Reloaded};
pub use files::Prepared;
pub use options::{ClientCertificate, Options};
