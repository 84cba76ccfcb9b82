//! The certificates of a broker that is started for a run with TLS: an authority, and a certificate of it.

use std::io;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::child::Directory;

/// Files in PEM.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Generates them for `host`, with P-256 keys, and writes them to the directory.
    pub(crate) fn generate(host: &str, directory: &Directory) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let params = CertificateParams::new([host.to_owned()]).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &authority);
        let certificate = certificate.map_err(io::Error::other)?;
        Ok(Self {
            authority: directory.write("authority.crt", authority.pem())?,
            certificate: directory.write("broker.crt", certificate.pem())?,
            key: directory.write("broker.key", key.serialize_pem())?,
        })
    }
}
