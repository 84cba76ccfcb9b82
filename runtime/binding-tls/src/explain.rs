//! Errors of TLS in words: what happened, why, and what to do.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use tidegate_engine::WallTime;

/// Most names of a certificate that an error repeats.
const NAMES: usize = 5;

/// What an explanation depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The name that the certificate must be for.
    pub(crate) name: &'a str,
    /// `trust` is set.
    pub(crate) trusts_files: bool,
    /// `certificate` is set.
    pub(crate) has_certificate: bool,
    /// The broker asked for a certificate, and there is none.
    pub(crate) lacks_certificate: bool,
}

/// The broker requires a certificate.
const LACKS_CERTIFICATE: &str =
    "it asks for a client certificate; set 'certificate' and 'key' of tls · client";

/// The broker closed the connection instead of saying that it requires a certificate, or its alert was
/// lost.
pub(crate) const MAY_LACK_CERTIFICATE: &str = "it closed the connection after it had asked for a client certificate; if it requires one, set \
     'certificate' and 'key' of tls · client";

/// An error in words.
pub(crate) fn explain(error: &Error, facts: Facts<'_>) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, facts),
        Error::AlertReceived(alert) => received(*alert, facts),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the answer is not TLS; check that the port expects TLS".to_owned()
        }
        Error::PeerIncompatible(why) => format!(
            "no common version or cipher suite ({why:?}); TLS 1.2 or 1.3 is needed, and at least 'minVersion'"
        ),
        Error::NoApplicationProtocol => no_common_protocol(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError, facts: Facts<'_>) -> String {
    match error {
        CertificateError::UnknownIssuer if facts.trusts_files => {
            "its certificate is not signed by an authority in 'trust'; check that the file contains \
             the certificate of the authority of this broker"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "its certificate names a trusted authority that did not sign it; if the authority was made anew \
             under the same name, replace its certificate in 'trust'"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is not signed by an authority that the system trusts; set 'trust' of \
             tls · client to a file with the certificate of its authority"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(NAMES).map(|it| plain(it)).collect();
            let names = match names.as_slice() {
                [] => "for no host name (subjectAltName)".to_owned(),
                names => format!("for {}", names.join(", ")),
            };
            not_for(facts.name, &names)
        }
        CertificateError::NotValidForName => not_for(facts.name, "for another name"),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired at {}, and the clock of this machine says {}; renew the certificate",
            moment(*not_after),
            moment(*time)
        ),
        CertificateError::Expired => "its certificate has expired; renew it".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {}, and the clock of this machine says {}; check the clock",
            moment(*not_before),
            moment(*time)
        ),
        CertificateError::NotValidYet => {
            "its certificate is not valid yet; check the clock of this machine".to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extendedKeyUsage); issue one with serverAuth"
                .to_owned()
        }
        CertificateError::Other(OtherError(why)) if why.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority (CA:TRUE), which no server may use; issue a certificate \
             for the server, signed by that authority or by itself with CA:FALSE"
                .to_owned()
        }
        other => format!("its certificate cannot be accepted: {other}"),
    }
}

fn not_for(name: &str, names: &str) -> String {
    format!(
        "its certificate is {names}, not for {name}; use a host name that the certificate is for, or set 'sni' of \
         tls · client to one"
    )
}

/// `DnsName("localhost")` without its type.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn moment(time: UnixTime) -> String {
    let time = WallTime::from_unix_millis(time.as_secs().saturating_mul(1_000));
    time.to_string().replace(".000Z", "Z")
}

/// Whether the broker refuses the client certificate.
pub(crate) const fn is_about_certificate(error: &Error) -> bool {
    use AlertDescription as A;
    matches!(
        error,
        Error::AlertReceived(
            A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::CertificateRequired
                | A::UnknownCA
                | A::AccessDenied
                | A::DecryptError
                | A::HandshakeFailure
        )
    )
}

/// The broker ended the handshake with an alert.
fn received(alert: AlertDescription, facts: Facts<'_>) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => LACKS_CERTIFICATE.to_owned(),
        A::HandshakeFailure | A::BadCertificate if facts.lacks_certificate => {
            LACKS_CERTIFICATE.to_owned()
        }
        A::UnknownCA
        | A::BadCertificate
        | A::CertificateUnknown
        | A::DecryptError
        | A::AccessDenied
            if facts.has_certificate =>
        {
            format!(
                "it refuses the client certificate ({alert:?}); check that its authority is one that the broker trusts"
            )
        }
        A::CertificateExpired => {
            "it says that the client certificate has expired; renew it".to_owned()
        }
        A::CertificateRevoked => "it says that the client certificate was revoked".to_owned(),
        A::ProtocolVersion => {
            "it supports none of the offered TLS versions; check 'minVersion'".to_owned()
        }
        A::UnrecognisedName => format!(
            "it does not know the name {}; check 'host', or 'sni' of tls · client",
            facts.name
        ),
        A::NoApplicationProtocol => no_common_protocol(),
        other => format!("it ended the handshake ({other:?})"),
    }
}

fn no_common_protocol() -> String {
    "it supports none of the protocols in 'alpn'".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        name: "broker",
        trusts_files: false,
        has_certificate: false,
        lacks_certificate: false,
    };

    #[test]
    fn the_names_of_a_certificate_are_shown_without_their_type() {
        assert_eq!(plain("DnsName(\"localhost\")"), "localhost");
        assert_eq!(plain("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain("localhost"), "localhost");
    }

    #[test]
    fn a_refused_client_certificate_and_a_missing_one_are_told_apart() {
        let alert = Error::AlertReceived(AlertDescription::BadCertificate);
        let missing = Facts {
            lacks_certificate: true,
            ..FACTS
        };
        assert!(explain(&alert, missing).contains("set 'certificate' and 'key'"));
        let refused = Facts {
            has_certificate: true,
            ..FACTS
        };
        assert!(explain(&alert, refused).contains("refuses the client certificate"));
    }

    #[test]
    fn other_alerts_are_named() {
        for (alert, expected) in [
            (AlertDescription::ProtocolVersion, "check 'minVersion'"),
            (AlertDescription::UnrecognisedName, "the name broker"),
            (AlertDescription::NoApplicationProtocol, "'alpn'"),
            (AlertDescription::CertificateExpired, "renew it"),
            (AlertDescription::CertificateRevoked, "was revoked"),
            (AlertDescription::InternalError, "(InternalError)"),
        ] {
            let told = explain(&Error::AlertReceived(alert), FACTS);
            assert!(told.contains(expected), "{told}");
        }
    }
}
