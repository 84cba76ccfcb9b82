//! The files of the options, and the configurations of rustls that they make.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tidegate_tls::{Files, Unusable, certificates, private_key, provider, read, roots};

use crate::clock::Clock;
use crate::options::Options;

/// How many sessions are kept for resumption with a certificate of `certificates`.
const NAMED_SESSIONS: usize = 8;

/// The contents of the files.
#[derive(PartialEq, Eq)]
pub struct Contents {
    trust: Vec<Vec<u8>>,
    own: Option<Pair>,
    /// Those of `certificates`, by name.
    named: BTreeMap<String, Pair>,
}

/// The contents of the files of a certificate and its key.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(certificate: &Path, key: &Path) -> Result<Self, Unusable> {
        Ok(Self {
            certificate: read("certificate", certificate)?,
            key: read("key", key)?,
        })
    }

    fn certified(&self, path: &Path, key_path: &Path) -> Result<SingleCertAndKey, Unusable> {
        let chain = certificates("certificate", path, &self.certificate)?;
        let key = private_key("key", key_path, &self.key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let why = format!("does not belong to the key, or cannot be used: {error}");
            Unusable::new("certificate", path, why)
        })?;
        Ok(SingleCertAndKey::from(certified))
    }
}

/// What connections are made with.
pub struct Prepared {
    pub(crate) clock: Arc<Clock>,
    own: Arc<Presentation>,
    named: BTreeMap<String, Arc<Presentation>>,
}

impl Prepared {
    /// What a connection is made with that presents the certificate of this name; an empty name stands
    /// for that of the options.
    pub(crate) fn presentation(&self, certificate: &str) -> Option<&Arc<Presentation>> {
        if certificate.is_empty() {
            return Some(&self.own);
        }
        self.named.get(certificate)
    }
}

/// A configuration with one certificate to present, or none. Each has sessions of its own: a session that
/// was resumed with another certificate would be that of another client.
pub(crate) struct Presentation {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) presented: Arc<Presented>,
}

impl Files for Options {
    type Contents = Contents;
    type Made = Prepared;

    fn read(&self) -> Result<Contents, Unusable> {
        let trust = self.trust.iter().map(|path| read("trust", path));
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(Pair::read(certificate, key)?),
            _ => None,
        };
        let named = self.certificates.iter().map(|(name, files)| {
            let pair = Pair::read(&files.certificate, &files.key)?;
            Ok((name.clone(), pair))
        });
        Ok(Contents {
            trust: trust.collect::<Result<_, _>>()?,
            own,
            named: named.collect::<Result<_, Unusable>>()?,
        })
    }

    fn make(&self, contents: &Contents) -> Result<Prepared, Unusable> {
        let clock = Arc::new(Clock::default());
        let trusted = Arc::new(self.authorities(contents)?);
        let own = self.own(contents)?;
        let named = self.certificates.iter().filter_map(|(name, files)| {
            let pair = contents.named.get(name)?;
            let certified = pair.certified(&files.certificate, &files.key);
            let made = certified.and_then(|certified| {
                let mut config = self.configuration(&clock, &trusted, Some(certified))?;
                Arc::make_mut(&mut config.config).resumption =
                    Resumption::in_memory_sessions(NAMED_SESSIONS);
                Ok((name.clone(), Arc::new(config)))
            });
            Some(made)
        });
        Ok(Prepared {
            named: named.collect::<Result<_, Unusable>>()?,
            own: Arc::new(self.configuration(&clock, &trusted, own)?),
            clock,
        })
    }
}

impl Options {
    fn configuration(
        &self,
        clock: &Arc<Clock>,
        trusted: &Arc<RootCertStore>,
        own: Option<SingleCertAndKey>,
    ) -> Result<Presentation, Unusable> {
        let builder = ClientConfig::builder_with_details(provider(), clock.clone())
            .with_protocol_versions(self.min_version.and_later())
            .map_err(|error| Unusable::because(format!("cannot use minVersion: {error}")))?;
        let presented = Arc::new(Presented {
            own,
            asked: AtomicBool::new(false),
        });
        let mut config = builder
            .with_root_certificates(Arc::clone(trusted))
            .with_client_cert_resolver(presented.clone());
        config.alpn_protocols = self.alpn.iter().map(|it| it.clone().into_bytes()).collect();
        Ok(Presentation {
            config: Arc::new(config),
            presented,
        })
    }

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
        match (&contents.own, &self.certificate, &self.key) {
            (Some(pair), Some(certificate), Some(key)) => {
                pair.certified(certificate, key).map(Some)
            }
            _ => Ok(None),
        }
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
