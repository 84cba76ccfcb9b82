//! `x509`: client certificates that TLS has verified.
//!
//! TLS decides whether a certificate is valid and whose authority signed it; this guard reads who it
//! names. Reading it again for each connection takes microseconds, so nothing is cached.

mod certificate;
mod options;

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_streams::{Identity, IdentityAttribute};

use crate::check::{Challenge, Check, Credential, Refusal};
use crate::guards::Guard;
use crate::pending::Outcome;
use certificate::Certificate;
pub use options::{Field, Options};

/// Longest certificate, in bytes.
const CERTIFICATE_MAX: usize = 64 * 1024;
/// Longest identity and attribute, in bytes.
const TEXT_MAX: usize = 1_024;

/// The guard.
pub struct X509 {
    name: ByteString,
    options: Options,
}

impl fmt::Debug for X509 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X509({})", self.name)
    }
}

impl X509 {
    /// The guard `name` with these options.
    pub fn new(name: &str, options: Options) -> Self {
        Self {
            name: name.into(),
            options,
        }
    }

    fn identity(&self, der: &[u8], now: u64) -> Outcome {
        if der.len() > CERTIFICATE_MAX {
            return Err(Refusal::Malformed("the certificate is too long"));
        }
        let certificate = Certificate::parse(der)?;
        certificate.check_time(now)?;
        let mut subjects = certificate.values(self.options.identity).into_iter();
        // Of two names nobody could say which one is meant, also if one of them cannot be read.
        let (Some(Some(subject)), None) = (subjects.next(), subjects.next()) else {
            return Err(Refusal::Untrusted(
                "the certificate does not have exactly one identity",
            ));
        };
        let roles = self.options.roles.iter();
        let granted =
            roles.filter(|(_, rules)| rules.iter().any(|rule| rule.matches(&certificate)));
        let mut attributes = Vec::new();
        for (name, field) in &self.options.attributes {
            if let Some(value) = certificate.values(*field).into_iter().next() {
                let value = value.ok_or(Refusal::Untrusted(
                    "an attribute in the certificate has an encoding that cannot be read",
                ))?;
                attributes.push(IdentityAttribute {
                    name: name.as_str().into(),
                    value: value.into(),
                });
            }
        }
        let long = |text: &str| text.is_empty() || text.len() > TEXT_MAX;
        if long(&subject) || attributes.iter().any(|it| it.value.len() > TEXT_MAX) {
            return Err(Refusal::Untrusted(
                "a name in the certificate is empty or too long",
            ));
        }
        Ok(Arc::new(Identity {
            subject: subject.into(),
            guard: self.name.clone(),
            roles: granted.map(|(role, _)| role.as_str().into()).collect(),
            attributes,
            expires: certificate.expires(),
            step_up: false,
        }))
    }
}

impl Guard for X509 {
    fn check(&self, credential: Credential<'_>, now: u64) -> Check {
        let Credential::Certificate(der) = credential else {
            return Check::Refused(Refusal::Malformed("a client certificate is needed"));
        };
        match self.identity(der, now) {
            Ok(identity) => Check::Accepted(identity),
            Err(refusal) => Check::Refused(refusal),
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::Connection
    }
}

#[cfg(test)]
mod tests;
