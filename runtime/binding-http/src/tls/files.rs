//! The files of `tls`, and the configuration of rustls that they make.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};

use super::Unusable;
use crate::options::{ClientCertificates, Tls, Version};

/// Largest file that is read, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// The contents of the files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    trust: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn read(options: &Tls) -> Result<Self, Unusable> {
        Ok(Self {
            certificate: read("certificate", &options.certificate)?,
            key: read("key", &options.key)?,
            trust: options
                .trust
                .as_ref()
                .map(|path| read("trust", path))
                .transpose()?,
        })
    }

    pub(super) fn config(&self, options: &Tls) -> Result<Arc<ServerConfig>, Unusable> {
        let chain = certificates("certificate", &options.certificate, &self.certificate)?;
        // The error is not shown: it could repeat a part of the key.
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            unusable(
                "key",
                &options.key,
                "no private key in PEM that can be read; encrypted keys are not supported",
            )
        })?;
        let versions: &[_] = match options.min_version {
            Version::Tls12 => &[&version::TLS12, &version::TLS13],
            Version::Tls13 => &[&version::TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable("minVersion", &options.certificate, error))?;
        let verifier = self.verifier(options, provider)?;
        let asks_clients = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let why = format!("does not belong to the key, or cannot be used: {error}");
            unusable("certificate", &options.certificate, why)
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if asks_clients {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        options: &Tls,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Unusable> {
        let (Some(path), Some(trust)) = (&options.trust, &self.trust) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("trust", path, trust)? {
            roots
                .add(certificate)
                .map_err(|error| unusable("trust", path, error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match options.client_certificates {
            ClientCertificates::None => return Ok(None),
            ClientCertificates::Requested => builder.allow_unauthenticated(),
            ClientCertificates::Required => builder,
        };
        let verifier = builder.build();
        verifier
            .map(Some)
            .map_err(|error| unusable("trust", path, error))
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| unusable(option, path, error))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(unusable(option, path, "larger than 1 MiB"));
    }
    Ok(bytes)
}

fn certificates(
    option: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unusable(option, path, "no certificate in PEM"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(option, path, error)),
    }
}

fn unusable(option: &str, path: &Path, why: impl std::fmt::Display) -> Unusable {
    Unusable(format!("cannot use tls.{option} {}: {why}", path.display()))
}
