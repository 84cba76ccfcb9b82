//! A certificate authority, and a TLS server in memory that takes the place of a broker.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("test authority")
    }

    pub(super) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")
    }

    pub(super) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new([name.to_owned()]).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A certificate that is signed by itself, and is not that of an authority.
    pub(super) fn self_signed(name: &str) -> Signed {
        let params = CertificateParams::new([name.to_owned()]).expect("names");
        let key = KeyPair::generate().expect("a key");
        Signed {
            certificate: params.self_signed(&key).expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    pub(super) fn broker(&self) -> Signed {
        self.sign("broker.test", |_| {})
    }

    pub(super) fn client(&self) -> Signed {
        self.sign("gateway", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub(super) fn valid(from: i32, until: i32) -> impl FnOnce(&mut CertificateParams) {
        move |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        }
    }
}

/// The settings of a broker.
pub(super) struct Settings {
    pub(super) signed: Signed,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    pub(super) alpn: Vec<Vec<u8>>,
    /// The authority of client certificates; `None`: they are not asked for.
    pub(super) clients: Option<CertificateDer<'static>>,
}

impl Settings {
    pub(super) const fn new(signed: Signed) -> Self {
        Self {
            signed,
            versions: ALL_VERSIONS,
            alpn: Vec::new(),
            clients: None,
        }
    }

    pub(super) fn config(self) -> Arc<ServerConfig> {
        let chain = CertificateDer::from_pem_slice(self.signed.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.signed.key.as_bytes());
        let provider = tidegate_tls::provider();
        let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(Now))
            .with_protocol_versions(self.versions)
            .expect("versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let config = builder.with_single_cert(vec![chain.expect("PEM")], key.expect("PEM"));
        let mut config = config.expect("a key and its certificate");
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

/// The time of the tests: 2026-01-01.
pub(super) const NOW: u64 = 1_767_225_600;

#[derive(Debug)]
struct Now;

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            NOW,
        )))
    }
}

/// A broker's end of a connection.
pub(super) struct Broker(pub(super) ServerConnection);

impl Broker {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self(ServerConnection::new(config).expect("a connection"))
    }

    /// Takes ciphertext. Returns the plaintext in it.
    pub(super) fn take(&mut self, mut ciphertext: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plaintext = Vec::new();
        while !ciphertext.is_empty() {
            let read = self.0.read_tls(&mut ciphertext).expect("memory");
            self.0.process_new_packets()?;
            // What there is; there is no end yet.
            let _ = self.0.reader().read_to_end(&mut plaintext);
            if read == 0 {
                break;
            }
        }
        Ok(plaintext)
    }

    pub(super) fn say(&mut self, plaintext: &[u8]) {
        self.0.writer().write_all(plaintext).expect("memory");
    }

    /// The ciphertext it wants to send.
    pub(super) fn give(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut out).expect("memory");
        }
        out
    }
}

/// A folder with the files of the client.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}
