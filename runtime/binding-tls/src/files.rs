//! The files of the options, and the configuration of rustls that they make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tidegate_tls::{Files, Unusable, certificates, private_key, provider, read, roots};

use crate::clock::Clock;
use crate::options::Options;

/// The contents of the files.
#[derive(PartialEq, Eq)]
pub struct Contents {
    trust: Vec<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// What connections are made with.
pub struct Prepared {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) presented: Arc<Presented>,
}

impl Files for Options {
    type Contents = Contents;
    type Made = Prepared;

    fn read(&self) -> Result<Contents, Unusable> {
        let trust = self.trust.iter().map(|path| read("trust", path));
        let certificate = self.certificate.iter();
        let key = self.key.iter();
        Ok(Contents {
            trust: trust.collect::<Result<_, _>>()?,
            certificate: certificate
                .map(|path| read("certificate", path))
                .next()
                .transpose()?,
            key: key.map(|path| read("key", path)).next().transpose()?,
        })
    }

    fn make(&self, contents: &Contents) -> Result<Prepared, Unusable> {
        let clock = Arc::new(Clock::default());
        let builder = ClientConfig::builder_with_details(provider(), clock.clone())
            .with_protocol_versions(self.min_version.and_later())
            .map_err(|error| Unusable::because(format!("cannot use minVersion: {error}")))?;
        let presented = Arc::new(Presented {
            own: self.own(contents)?,
            asked: AtomicBool::new(false),
        });
        let mut config = builder
            .with_root_certificates(self.authorities(contents)?)
            .with_client_cert_resolver(presented.clone());
        config.alpn_protocols = self.alpn.iter().map(|it| it.clone().into_bytes()).collect();
        Ok(Prepared {
            config: Arc::new(config),
            clock,
            presented,
        })
    }
}

impl Options {
    fn authorities(&self, contents: &Contents) -> Result<RootCertStore, Unusable> {
        let mut trusted = RootCertStore::empty();
        if self.trust.is_empty() {
            let found = rustls_native_certs::load_native_certs();
            for error in found.errors {
                tracing::warn!(%error, "cannot read a certificate that the system trusts");
            }
            trusted.add_parsable_certificates(found.certs);
            if trusted.is_empty() {
                tracing::warn!(
                    "no certificates that the system trusts were found; set 'trust' of tls · client, or install them \
                     (package ca-certificates)"
                );
            }
            return Ok(trusted);
        }
        for (path, pem) in self.trust.iter().zip(&contents.trust) {
            roots("trust", path, pem, &mut trusted)?;
        }
        Ok(trusted)
    }

    /// The certificate to present.
    fn own(&self, contents: &Contents) -> Result<Option<SingleCertAndKey>, Unusable> {
        let (Some(path), Some(pem)) = (&self.certificate, &contents.certificate) else {
            return Ok(None);
        };
        let (Some(key_path), Some(key)) = (&self.key, &contents.key) else {
            return Ok(None);
        };
        let chain = certificates("certificate", path, pem)?;
        let key = private_key("key", key_path, key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let why = format!("does not belong to the key, or cannot be used: {error}");
            Unusable::new("certificate", path, why)
        })?;
        Ok(Some(SingleCertAndKey::from(certified)))
    }
}

/// Presents the own certificate, if there is one, and remembers whether a broker asked for it: one that
/// requires a certificate may just close the connection of a client that has none.
#[derive(Debug)]
pub(crate) struct Presented {
    own: Option<SingleCertAndKey>,
    asked: AtomicBool,
}

impl Presented {
    /// Whether a broker asked for a certificate and there is none.
    pub(crate) fn is_missing(&self) -> bool {
        self.own.is_none() && self.asked.load(Ordering::Relaxed)
    }

    /// Whether there is one.
    pub(crate) const fn is_there(&self) -> bool {
        self.own.is_some()
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.own.as_ref()?.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.own.is_some()
    }
}
