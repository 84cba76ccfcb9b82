//! Certificates that the test makes.

use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

use super::*;

/// 2027-01-15, in milliseconds.
const NOW: u64 = 1_800_000_000_000;

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "operator-7");
    name.push(DnType::OrganizationName, "Plant");
    name.push(DnType::OrganizationalUnitName, "Night");
    let ia5 = |text: &str| Ia5String::try_from(text).expect("ASCII");
    params.subject_alt_names = vec![
        SanType::DnsName(ia5("op.example")),
        SanType::URI(ia5("spiffe://plant/operator")),
        SanType::Rfc822Name(ia5("op@example")),
    ];
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    params
        .self_signed(&key)
        .expect("a certificate")
        .der()
        .to_vec()
}

fn outcome(options: &str, der: &[u8], now: u64) -> Outcome {
    let options = serde_json::from_str(options).expect("options");
    match X509::new("machines", options).check(Credential::Certificate(der), now) {
        Check::Accepted(identity) => Ok(identity),
        Check::Refused(refusal) => Err(refusal),
        Check::Pending(_) => panic!("nothing takes longer"),
    }
}

#[test]
fn the_identity_is_the_field_that_the_options_name() {
    let der = certificate(|_| {});
    let expires = 1_830_297_600_000;
    for (field, subject) in [
        ("subject.cn", "operator-7"),
        ("subject.o", "Plant"),
        ("subject.ou", "Night"),
        ("subject.dn", "OU=Night,O=Plant,CN=operator-7"),
        ("san.dns", "op.example"),
        ("san.uri", "spiffe://plant/operator"),
        ("san.email", "op@example"),
    ] {
        let identity = outcome(&format!(r#"{{"identity":"{field}"}}"#), &der, NOW).expect(field);
        assert_eq!(
            (&*identity.subject, &*identity.guard),
            (subject, "machines")
        );
        assert_eq!((identity.expires, identity.step_up), (expires, false));
    }
    let default = outcome("{}", &der, NOW).expect("an identity");
    assert_eq!(&*default.subject, "operator-7");
}

#[test]
fn roles_and_attributes_come_from_fields() {
    let options = r#"{
        "roles": {
            "operator": [{ "subject.cn": "viewer-*" }, { "subject.cn": "operator-*", "issuer.o": "Plant" }],
            "admin": [{ "subject.cn": "operator-*", "san.dns": "admin.*" }],
            "night": [{ "subject.ou": "Night" }]
        },
        "attributes": { "org": "subject.o", "uri": "san.uri" }
    }"#;
    let identity = outcome(options, &certificate(|_| {}), NOW).expect("an identity");
    assert_eq!(identity.roles, ["night", "operator"]);
    assert_eq!(identity.attribute("org").map(|it| &**it), Some("Plant"));
    assert_eq!(
        identity.attribute("uri").map(|it| &**it),
        Some("spiffe://plant/operator")
    );
}

#[test]
fn certificates_that_name_nobody_or_are_out_of_their_time_are_refused() {
    let nameless =
        certificate(|params| params.distinguished_name = rcgen::DistinguishedName::new());
    let several = certificate(|params| {
        let other = Ia5String::try_from("other.example").expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(other));
    });
    let long = certificate(|params| {
        params
            .distinguished_name
            .push(DnType::CommonName, "x".repeat(1_025));
    });
    let one = Refusal::Untrusted("the certificate does not have exactly one identity");
    let name = Refusal::Untrusted("a name in the certificate is empty or too long");
    assert_eq!(outcome("{}", &nameless, NOW), Err(one));
    assert_eq!(
        outcome(r#"{"identity":"san.dns"}"#, &several, NOW),
        Err(one)
    );
    assert_eq!(outcome("{}", &long, NOW), Err(name));
    let der = certificate(|_| {});
    assert_eq!(
        outcome("{}", &der, 1_767_225_599_999),
        Err(Refusal::NotYetValid)
    );
    assert_eq!(
        outcome("{}", &der, 1_830_297_600_000),
        Err(Refusal::Expired)
    );
    for bytes in [&b""[..], b"0", &der[1..], &vec![0; 70_000]] {
        assert!(matches!(
            outcome("{}", bytes, NOW),
            Err(Refusal::Malformed(_))
        ));
    }
    let guard = X509::new("machines", Options::default());
    assert!(matches!(
        guard.check(Credential::Text("x"), NOW),
        Check::Refused(_)
    ));
    assert_eq!(guard.challenge(), Challenge::Connection);
}

/// A further name of the subject, in an encoding that is not read.
fn unreadable(params: &mut CertificateParams, kind: &[u64]) {
    let value = rcgen::string::BmpString::try_from("eve").expect("UTF-16");
    let kind = DnType::CustomDnType(kind.to_vec());
    let value = rcgen::DnValue::BmpString(value);
    params.distinguished_name.push(kind, value);
}

#[test]
fn a_name_that_cannot_be_read_is_a_name() {
    let two = certificate(|params| unreadable(params, &[2, 5, 4, 3]));
    let one = Refusal::Untrusted("the certificate does not have exactly one identity");
    assert_eq!(outcome("{}", &two, NOW), Err(one));
    let alone = certificate(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        unreadable(params, &[2, 5, 4, 3]);
    });
    assert_eq!(outcome("{}", &alone, NOW), Err(one));

    // An attribute is the first value, and must be readable; a rule needs one that matches.
    let by_unit = certificate(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        unreadable(params, &[2, 5, 4, 11]);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "operator-7");
        name.push(DnType::OrganizationalUnitName, "Night");
    });
    let attribute = r#"{"attributes":{"unit":"subject.ou"}}"#;
    let found = outcome(attribute, &by_unit, NOW).expect_err("unreadable");
    assert!(found.to_string().contains("cannot be read"), "{found}");
    let role = r#"{"roles":{"night":[{"subject.ou":"Night"}],"eve":[{"subject.ou":"*v*"}]}}"#;
    let identity = outcome(role, &by_unit, NOW).expect("an identity");
    assert_eq!(identity.roles, ["night"]);
}

#[test]
fn an_identity_may_have_any_letters() {
    let odd = "a/+#\n\"'";
    let der = certificate(|params| params.distinguished_name.push(DnType::CommonName, odd));
    assert_eq!(
        &*outcome("{}", &der, NOW).expect("an identity").subject,
        odd
    );
}

#[test]
fn rules_that_match_everybody_and_unknown_fields_are_refused() {
    for (options, error) in [
        (
            r#"{"roles":{"operator":[{}]}}"#,
            "would give the role to every certificate",
        ),
        (
            r#"{"roles":{"operator":[{"subject.cn":""}]}}"#,
            "invalid glob",
        ),
        (r#"{"identity":"subject.name"}"#, "unknown variant"),
    ] {
        let found = serde_json::from_str::<Options>(options)
            .expect_err(error)
            .to_string();
        assert!(found.contains(error), "{found}");
    }
}

proptest! {
    #[test]
    fn no_certificate_panics(at in 0_usize..600, byte in any::<u8>()) {
        thread_local! {
            static DER: Vec<u8> = certificate(|_| {});
        }
        let mut der = DER.with(Clone::clone);
        if let Some(found) = der.get_mut(at) {
            *found = byte;
        }
        if let Ok(certificate) = Certificate::parse(&der) {
            for field in [Field::SubjectCn, Field::SubjectDn, Field::SanUri, Field::IssuerDn] {
                let _ = certificate.values(field);
            }
        }
    }
}
