//! The fields of a certificate that name somebody.

use x509_cert::der::asn1::{
    Any, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::options::Field;
use crate::check::Refusal;

const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const O: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const OU: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");

const MALFORMED: Refusal = Refusal::Malformed("not an X.509 certificate");

/// A parsed certificate.
pub(crate) struct Certificate {
    parsed: x509_cert::Certificate,
    names: Vec<GeneralName>,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| MALFORMED)?;
        let names = parsed.tbs_certificate().get_extension::<SubjectAltName>();
        let names = names.map_err(|_| MALFORMED)?.map(|(_, names)| names.0);
        Ok(Self {
            parsed,
            names: names.unwrap_or_default(),
        })
    }

    /// Checks its time again: a connection may live longer than its certificate.
    pub(crate) fn check_time(&self, now: u64) -> Result<(), Refusal> {
        let validity = self.parsed.tbs_certificate().validity();
        let from = validity.not_before.to_unix_duration().as_millis();
        if u128::from(now) < from {
            return Err(Refusal::NotYetValid);
        }
        if now >= self.expires() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// When it expires, in milliseconds since the Unix epoch; never 0.
    pub(crate) fn expires(&self) -> u64 {
        let validity = self.parsed.tbs_certificate().validity();
        let until = validity.not_after.to_unix_duration().as_millis();
        u64::try_from(until).unwrap_or(u64::MAX).max(1)
    }

    /// The values of a field, in their order; `None` is one in an encoding that cannot be read.
    pub(crate) fn values(&self, field: Field) -> Vec<Option<String>> {
        let certificate = self.parsed.tbs_certificate();
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        match field {
            Field::SubjectCn => parts(subject, CN),
            Field::SubjectO => parts(subject, O),
            Field::SubjectOu => parts(subject, OU),
            Field::SubjectDn => whole(subject),
            Field::IssuerCn => parts(issuer, CN),
            Field::IssuerO => parts(issuer, O),
            Field::IssuerOu => parts(issuer, OU),
            Field::IssuerDn => whole(issuer),
            Field::SanUri | Field::SanDns | Field::SanEmail => {
                let names = self.names.iter();
                let names = names.filter_map(|name| alternative(name, field));
                names.map(Some).collect()
            }
        }
    }
}

fn alternative(name: &GeneralName, field: Field) -> Option<String> {
    let text = match (field, name) {
        (Field::SanUri, GeneralName::UniformResourceIdentifier(uri)) => uri.as_str(),
        (Field::SanDns, GeneralName::DnsName(dns)) => dns.as_str(),
        (Field::SanEmail, GeneralName::Rfc822Name(email)) => email.as_str(),
        _ => return None,
    };
    Some(text.to_owned())
}

fn whole(name: &Name) -> Vec<Option<String>> {
    let text = name.to_string();
    if text.is_empty() {
        Vec::new()
    } else {
        vec![Some(text)]
    }
}

/// The values of one type of attribute.
fn parts(name: &Name, kind: ObjectIdentifier) -> Vec<Option<String>> {
    let attributes = name.iter().filter(|attribute| attribute.oid == kind);
    attributes.map(|attribute| text(&attribute.value)).collect()
}

/// A string in one of the encodings that are read: ASCII, or UTF-8.
fn text(value: &Any) -> Option<String> {
    let text = match value.tag() {
        Tag::Utf8String => value
            .decode_as::<Utf8StringRef<'_>>()
            .ok()?
            .as_str()
            .to_owned(),
        Tag::PrintableString => value
            .decode_as::<PrintableStringRef<'_>>()
            .ok()?
            .as_str()
            .to_owned(),
        Tag::Ia5String => value
            .decode_as::<Ia5StringRef<'_>>()
            .ok()?
            .as_str()
            .to_owned(),
        Tag::TeletexString => value
            .decode_as::<TeletexStringRef<'_>>()
            .ok()?
            .as_str()
            .to_owned(),
        _ => return None,
    };
    Some(text)
}
