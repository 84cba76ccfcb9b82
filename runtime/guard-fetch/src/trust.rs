//! The certificates that authorization servers are verified with.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// A TLS config with these roots.
#[derive(Debug, Clone)]
pub struct Trust(pub(crate) Arc<ClientConfig>);

/// No certificate can be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file cannot be read as PEM.
    #[error("cannot read the certificates in {file}: {why}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// There are none.
    #[error("no certificates in {0}")]
    None(String),
    /// TLS does not work.
    #[error("cannot use TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// The certificates of a PEM file.
    pub fn of_file(path: &Path) -> Result<Self, TrustError> {
        let file = path.display().to_string();
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let certificates: Vec<CertificateDer<'static>> =
            read.map_err(|error| TrustError::File {
                file: file.clone(),
                why: error.to_string(),
            })?;
        Self::of(certificates, &file)
    }

    /// The certificates that the system trusts.
    pub fn of_system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "cannot read a certificate that the system trusts");
        }
        Self::of(found.certs, "the system's certificate store")
    }

    fn of(certificates: Vec<CertificateDer<'static>>, place: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(TrustError::None(place.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}
