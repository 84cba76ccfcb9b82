//! Certificates that the caller names, servers that the peer referred to, and ends without a reason.

use std::collections::BTreeMap;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::HandshakeKind;
use tidegate_streams::Frame;
use tidegate_streams::bytes_stream::{BytesBegin, BytesEndpoint};

use super::broker::{Authority, Folder, Settings, Signed};
use super::harness::{Harness, broker, trusting};
use crate::{ClientCertificate, Options};

fn client(authority: &Authority, name: &str) -> Signed {
    authority.sign(name, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
}

/// Options with a certificate for each name, signed by `signer`.
fn with_certificates(
    authority: &Authority,
    signer: &Authority,
    folder: &Folder,
    names: &[&str],
) -> (Options, BTreeMap<String, String>) {
    let mut options = trusting(authority, folder);
    let mut pems = BTreeMap::new();
    for name in names {
        let issued = client(signer, name);
        let files = ClientCertificate {
            certificate: folder.write(&format!("{name}.crt"), &issued.certificate),
            key: folder.write(&format!("{name}.key"), &issued.key),
        };
        options.certificates.insert((*name).to_owned(), files);
        pems.insert((*name).to_owned(), issued.certificate);
    }
    (options, pems)
}

fn naming(certificate: &str) -> BytesBegin {
    BytesBegin {
        certificate: certificate.into(),
        ..BytesBegin::default()
    }
}

fn asking(authority: &Authority) -> std::sync::Arc<rustls::ServerConfig> {
    let settings = Settings {
        clients: Some(authority.root()),
        ..Settings::new(authority.broker())
    };
    settings.config()
}

/// The first certificate that the broker got, as PEM without its armour.
fn presented(broker: &super::broker::Broker) -> Vec<u8> {
    let certificates = broker.0.peer_certificates().expect("a certificate");
    certificates[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes())
        .expect("PEM")
        .to_vec()
}

#[test]
fn the_named_certificate_is_presented_and_its_sessions_are_not_those_of_others() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (options, pems) = with_certificates(&authority, &authority, &folder, &["one", "two"]);
    let mut harness = Harness::new(options);
    let config = asking(&authority);
    for (name, expected) in [
        ("one", HandshakeKind::Full),
        ("two", HandshakeKind::Full),
        ("one", HandshakeKind::Resumed),
        ("two", HandshakeKind::Resumed),
    ] {
        let (streams, mut broker) = harness.establish_as(naming(name), &config);
        assert_eq!(presented(&broker), der(&pems[name]), "{name}");
        let kind = broker.0.handshake_kind();
        // A resumption may come with another key exchange.
        let is_full = kind != Some(HandshakeKind::Resumed);
        assert_eq!(is_full, expected == HandshakeKind::Full, "{name}: {kind:?}");
        // The tickets of TLS 1.3 follow the handshake.
        harness.carry(streams, &mut broker).expect("the tickets");
        harness.close(streams);
    }
    harness.finish();
}

#[test]
fn a_certificate_that_is_unknown_or_refused_is_the_reason() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let stranger = Authority::named("stranger");
    let (options, _) = with_certificates(&authority, &stranger, &folder, &["one"]);
    for (name, expected) in [
        (
            "two",
            "there is no client certificate 'two'; add it to 'certificates'",
        ),
        ("one", "it refuses the client certificate (UnknownCA)"),
    ] {
        let mut harness = Harness::new(options.clone());
        let reset = harness.refused_as(naming(name), &asking(&authority), "broker.test");
        assert!(reset.reason.contains(expected), "{}", reset.reason);
        assert!(reset.certificate && !reset.connected);
        harness.finish();
    }
    // What is not about the certificate is not blamed on it.
    let mut harness = Harness::new(options);
    let reset = harness.refused_as(naming("one"), &broker(&stranger), "broker.test");
    assert!(!reset.certificate, "{}", reset.reason);
    harness.finish();
}

#[test]
fn a_redirected_connection_is_verified_for_its_own_host() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let options = Options {
        sni: Some("configured.test".to_owned()),
        ..trusting(&authority, &folder)
    };
    let begin = BytesBegin {
        endpoints: vec![BytesEndpoint {
            host: "broker.test".into(),
            port: 0,
        }],
        ..BytesBegin::default()
    };
    let mut harness = Harness::new(options);
    let (streams, server) = harness.establish_as(begin, &broker(&authority));
    assert_eq!(server.0.server_name(), Some("broker.test"));
    harness.close(streams);
    let reset = harness.refused(&broker(&authority), "broker.test");
    assert!(
        reset.reason.contains("not for configured.test"),
        "{}",
        reset.reason
    );
    harness.finish();
}

#[test]
fn an_end_after_the_handshake_without_a_reason_may_be_that_of_the_protocol_above() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, _) = harness.establish(&broker(&authority));
    harness.rig.send(harness.exit, streams.exit, Frame::end());
    let reset = harness.failure(streams);
    assert_eq!(
        &*reset.reason,
        "the connection was closed after the TLS handshake"
    );
    assert!(reset.connected);
    harness.finish();
}
