//! The option `tls`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{Bounded, OptionConflict};
use tidegate_tls::Version;

/// TLS. Files that change are loaded within a few seconds, without closing connections; a file that
/// cannot be used is logged, and the last good one stays in use. A relative path starts at the working
/// directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// File with the certificate of the server and its chain, in PEM.
    #[schemars(extend("examples" = ["/etc/tidegate/tls.crt"]))]
    pub certificate: PathBuf,
    /// File with the private key of the certificate, in PEM (PKCS #8, PKCS #1 or SEC 1).
    #[schemars(extend("examples" = ["/etc/tidegate/tls.key"]))]
    pub key: PathBuf,
    /// Lowest TLS version that is accepted.
    #[serde(default)]
    pub min_version: Version,
    /// Whether clients present certificates: `none`, `requested` (a certificate of `trust`, or none) or
    /// `required`.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// File with the certificates of the authorities that sign client certificates, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<PathBuf>,
    /// Timeout for the handshake, in milliseconds.
    #[serde(default = "handshake_timeout")]
    pub handshake_timeout: Bounded<1, 600_000>,
    /// Maximum number of concurrent handshakes of each worker. Further ones wait, within
    /// `handshakeTimeout`.
    #[serde(default = "max_handshakes")]
    pub max_handshakes: Bounded<1, 100_000>,
}

impl Tls {
    pub(super) fn conflict(&self) -> Option<OptionConflict> {
        let (message, help) = match (self.client_certificates, &self.trust) {
            (ClientCertificates::None, Some(_)) => (
                "'trust' has no effect: client certificates are not requested",
                "set 'clientCertificates: required' or 'requested', or remove 'trust'",
            ),
            (ClientCertificates::Requested | ClientCertificates::Required, None) => (
                "client certificates cannot be verified without 'trust'",
                "set 'trust' to a file with the certificates of the authorities that sign them",
            ),
            _ => return None,
        };
        Some(OptionConflict {
            key: "tls",
            message: message.to_owned(),
            help: help.to_owned(),
        })
    }
}

/// Whether clients present certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// They may.
    Requested,
    /// They must.
    Required,
}

const fn handshake_timeout() -> Bounded<1, 600_000> {
    Bounded::of(10_000)
}

const fn max_handshakes() -> Bounded<1, 100_000> {
    Bounded::of(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(more: &str) -> Option<String> {
        let json = format!(r#"{{ "certificate": "c", "key": "k" {more} }}"#);
        let tls: Tls = serde_json::from_str(&json).expect("valid options");
        tls.conflict().map(|conflict| conflict.message)
    }

    #[test]
    fn client_certificates_and_their_trust_come_together() {
        assert_eq!(conflict(""), None);
        assert_eq!(
            conflict(r#", "clientCertificates": "required", "trust": "t""#),
            None
        );
        let alone = conflict(r#", "clientCertificates": "requested""#);
        assert!(alone.is_some_and(|it| it.contains("without 'trust'")));
        let unused = conflict(r#", "trust": "t""#);
        assert!(unused.is_some_and(|it| it.contains("no effect")));
    }
}
