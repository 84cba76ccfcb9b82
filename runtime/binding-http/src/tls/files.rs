//! The files of `tls`, and the configuration of rustls that they make.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tidegate_tls::{Files, Unusable, certificates, private_key, provider, read, roots};

use crate::options::{ClientCertificates, Tls};

/// The contents of the files.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    trust: Option<Vec<u8>>,
}

/// The files that the options name.
pub(crate) struct ServerFiles(pub(crate) Tls);

impl Files for ServerFiles {
    type Contents = Contents;
    type Made = ServerConfig;

    fn read(&self) -> Result<Contents, Unusable> {
        Ok(Contents {
            certificate: read("tls.certificate", &self.0.certificate)?,
            key: read("tls.key", &self.0.key)?,
            trust: self
                .0
                .trust
                .as_ref()
                .map(|path| read("tls.trust", path))
                .transpose()?,
        })
    }

    fn make(&self, contents: &Contents) -> Result<ServerConfig, Unusable> {
        let chain = certificates(
            "tls.certificate",
            &self.0.certificate,
            &contents.certificate,
        )?;
        let key = private_key("tls.key", &self.0.key, &contents.key)?;
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.0.min_version.and_later())
            .map_err(|error| Unusable::new("tls.minVersion", &self.0.certificate, error))?;
        let verifier = verifier(&self.0, contents, provider)?;
        let asks_clients = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let why = format!("does not belong to the key, or cannot be used: {error}");
            Unusable::new("tls.certificate", &self.0.certificate, why)
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if asks_clients {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

fn verifier(
    options: &Tls,
    contents: &Contents,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Unusable> {
    let (Some(path), Some(trust)) = (&options.trust, &contents.trust) else {
        return Ok(None);
    };
    let mut trusted = RootCertStore::empty();
    roots("tls.trust", path, trust, &mut trusted)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider);
    let builder = match options.client_certificates {
        ClientCertificates::None => return Ok(None),
        ClientCertificates::Requested => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    let verifier = builder.build();
    verifier
        .map(Some)
        .map_err(|error| Unusable::new("tls.trust", path, error))
}
