//! The files of TLS, for servers and clients: read, checked, and read again when they change.
//!
//! It reads files when it is asked to, and knows neither clocks nor sockets. The crypto provider is
//! aws-lc-rs, chosen here for the whole process, which has no default one.
#![forbid(unsafe_code)]

mod pem;
mod reload;
mod version;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use pem::{Unusable, certificates, private_key, read, roots};
pub use reload::{Current, Files, Reload, Step};
pub use version::Version;

/// The crypto provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
