//! Certificates and keys in PEM files.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Largest file that is read, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// A file cannot be used: the option that names it, its path, and the reason. The content is never
/// shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(String);

impl Unusable {
    /// The file at `path`, which `option` names, cannot be used.
    pub fn new(option: &str, path: &Path, why: impl fmt::Display) -> Self {
        Self(format!("cannot use {option} {}: {why}", path.display()))
    }

    /// Without a file.
    pub fn because(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of a file of at most 1 MiB.
pub fn read(option: &str, path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| Unusable::new(option, path, error))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(Unusable::new(option, path, "larger than 1 MiB"));
    }
    Ok(bytes)
}

/// The certificates in the content of a file, at least one.
pub fn certificates(
    option: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(Unusable::new(option, path, "no certificate in PEM"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Unusable::new(option, path, error)),
    }
}

/// The private key in the content of a file.
pub fn private_key(
    option: &str,
    path: &Path,
    pem: &[u8],
) -> Result<PrivateKeyDer<'static>, Unusable> {
    // The error is not shown: it could repeat a part of the key.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let why = "no private key in PEM that can be read; encrypted keys are not supported";
        Unusable::new(option, path, why)
    })
}

/// Adds the certificates in the content of a file to the trusted roots.
pub fn roots(
    option: &str,
    path: &Path,
    pem: &[u8],
    roots: &mut RootCertStore,
) -> Result<(), Unusable> {
    for certificate in certificates(option, path, pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| Unusable::new(option, path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_the_wanted_content_is_named_with_its_option() {
        let path = Path::new("ca.crt");
        let none = certificates("trust", path, b"").expect_err("no certificate");
        assert_eq!(
            none.to_string(),
            "cannot use trust ca.crt: no certificate in PEM"
        );
        let key = private_key("key", path, b"-----BEGIN PRIVATE KEY-----\nsecret");
        let key = key.expect_err("no key").to_string();
        assert!(
            key.starts_with("cannot use key ca.crt: no private key"),
            "{key}"
        );
        assert!(!key.contains("secret"), "{key}");
        let missing = read("trust", Path::new("/nowhere/ca.crt")).expect_err("no file");
        assert!(missing.to_string().contains("/nowhere/ca.crt"), "{missing}");
    }

    #[test]
    fn a_large_file_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(SIZE_MAX + 1).expect("its size");
        let refused = read("trust", file.path()).expect_err("too large");
        assert!(
            refused.to_string().ends_with("larger than 1 MiB"),
            "{refused}"
        );
    }
}
