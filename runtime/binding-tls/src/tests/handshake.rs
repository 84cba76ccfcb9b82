//! Handshakes: what they agree on, and why they fail.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use rustls::{ProtocolVersion, SupportedProtocolVersion, version};
use tidegate_engine::Duration;
use tidegate_options::Bounded;
use tidegate_tls::Version;

use super::broker::{Authority, Broker, Folder, Settings, Signed};
use super::harness::{Harness, REMOTE, broker, trusting};
use crate::Options;

const ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];

#[test]
fn both_versions_are_spoken_and_the_higher_one_is_preferred() {
    let (authority, folder) = (Authority::new(), Folder::new());
    for (versions, expected) in [
        (rustls::ALL_VERSIONS, ProtocolVersion::TLSv1_3),
        (ONLY_12, ProtocolVersion::TLSv1_2),
    ] {
        let mut harness = Harness::new(trusting(&authority, &folder));
        let settings = Settings {
            versions,
            ..Settings::new(authority.broker())
        };
        let (streams, broker) = harness.establish(&settings.config());
        assert_eq!(broker.0.protocol_version(), Some(expected));
        assert_eq!(broker.0.server_name(), Some("broker.test"));
        harness.close(streams);
        harness.finish();
    }
}

#[test]
fn min_version_refuses_older_ones() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let options = Options {
        min_version: Version::Tls13,
        ..trusting(&authority, &folder)
    };
    let settings = Settings {
        versions: ONLY_12,
        ..Settings::new(authority.broker())
    };
    let mut harness = Harness::new(options);
    let reset = harness.refused(&settings.config(), "broker.test");
    assert!(!reset.connected);
    assert!(reset.reason.contains("minVersion"), "{}", reset.reason);
    harness.finish();
}

#[test]
fn a_protocol_is_agreed_on_by_alpn() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let options = Options {
        alpn: vec!["x-amzn-mqtt-ca".to_owned(), "mqtt".to_owned()],
        ..trusting(&authority, &folder)
    };
    let with = |protocol: &str| Settings {
        alpn: vec![protocol.into()],
        ..Settings::new(authority.broker())
    };
    let mut harness = Harness::new(options);
    let (streams, broker) = harness.establish(&with("mqtt").config());
    assert_eq!(broker.0.alpn_protocol(), Some(&b"mqtt"[..]));
    harness.close(streams);
    let reset = harness.refused(&with("h2").config(), "broker.test");
    assert!(reset.reason.contains("'alpn'"), "{}", reset.reason);
    harness.finish();
}

#[test]
fn a_session_is_resumed() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let config = broker(&authority);
    let mut harness = Harness::new(trusting(&authority, &folder));
    for expected in ["completed", "resumed"] {
        let (streams, mut broker) = harness.establish(&config);
        // Tickets follow the handshake.
        harness.carry(streams, &mut broker).expect("tickets");
        let mut measures = tidegate_engine::Measures::default();
        harness.rig.worker.report(&mut measures);
        let count = measures.labelled("binding", "tls.client.handshakes", expected);
        assert_eq!(count, 1, "{expected}");
        harness.close(streams);
    }
    harness.finish();
}

/// Certificates that are refused, and words of the reason.
fn refused_certificates(authority: &Authority) -> Vec<(Signed, &'static str, &'static str)> {
    let host = "broker.test";
    vec![
        (
            Authority::named("other").broker(),
            host,
            "not signed by an authority in 'trust'; check that the file",
        ),
        (
            Authority::new().broker(),
            host,
            "names a trusted authority that did not sign it",
        ),
        (
            authority.sign("other.test", |_| {}),
            host,
            "for other.test, not for broker.test; use a host name",
        ),
        (
            authority.broker(),
            "192.0.2.1",
            "for broker.test, not for 192.0.2.1; use a host name",
        ),
        (
            authority.sign(host, Authority::valid(2020, 2021)),
            host,
            "expired at 2021-01-01T00:00:00Z, and the clock of this machine says 2026-01-01T00:00:00Z; renew",
        ),
        (
            authority.sign(host, Authority::valid(2030, 2031)),
            host,
            "valid from 2030-01-01T00:00:00Z, and the clock of this machine says 2026-01-01T00:00:00Z; check",
        ),
        (
            authority.sign(host, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            host,
            "not for servers (extendedKeyUsage)",
        ),
        (
            authority.sign(host, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            host,
            "that of an authority (CA:TRUE)",
        ),
    ]
}

#[test]
fn a_refused_certificate_is_explained() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    for (signed, host, expected) in refused_certificates(&authority) {
        let reset = harness.refused(&Settings::new(signed).config(), host);
        assert!(!reset.connected);
        let reason = reset.reason.to_string();
        let start = "no TLS connection: its certificate ";
        assert!(reason.starts_with(start), "{reason}");
        assert!(reason.contains(expected), "{reason}");
    }
    let mut measures = tidegate_engine::Measures::default();
    harness.rig.worker.report(&mut measures);
    let failed = measures.labelled("binding", "tls.client.handshakes", "failed");
    assert_eq!(failed, 8);
    harness.finish();
}

#[test]
fn a_self_signed_certificate_is_trusted_by_naming_it() {
    let folder = Folder::new();
    let signed = Authority::self_signed("broker.test");
    let options = Options {
        trust: vec![folder.write("broker.crt", &signed.certificate)],
        ..Options::default()
    };
    let mut harness = Harness::new(options);
    let (streams, _) = harness.establish(&Settings::new(signed).config());
    harness.close(streams);
    harness.finish();
}

#[test]
fn the_name_to_verify_may_be_another_than_the_host() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let options = Options {
        sni: Some("broker.test".to_owned()),
        ..trusting(&authority, &folder)
    };
    let mut harness = Harness::new(options);
    // A Unix socket has no host.
    let streams = harness.open();
    harness.connect_to(streams, "");
    let mut broker = Broker::new(broker(&authority));
    harness.carry(streams, &mut broker).expect("a handshake");
    assert_eq!(broker.0.server_name(), Some("broker.test"));
    harness.close(streams);
    harness.finish();
}

#[test]
fn a_peer_without_a_usable_name_needs_sni() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut harness = Harness::new(trusting(&authority, &folder));
    for host in ["", "a_b c"] {
        let streams = harness.open();
        harness.connect_to(streams, host);
        let reset = harness.failure(streams);
        assert!(reset.reason.contains("set 'sni'"), "{}", reset.reason);
        assert!(!reset.connected);
        harness.sent(streams);
    }
    harness.finish();
}

#[test]
fn a_client_certificate_is_presented() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let client = authority.client();
    let options = Options {
        certificate: Some(folder.write("client.crt", &client.certificate)),
        key: Some(folder.write("client.key", &client.key)),
        ..trusting(&authority, &folder)
    };
    for versions in [rustls::ALL_VERSIONS, ONLY_12] {
        let settings = Settings {
            versions,
            clients: Some(authority.root()),
            ..Settings::new(authority.broker())
        };
        let mut harness = Harness::new(options.clone());
        let (streams, broker) = harness.establish(&settings.config());
        assert!(broker.0.peer_certificates().is_some());
        harness.close(streams);
        harness.finish();
    }
}

#[test]
fn a_missing_and_a_refused_client_certificate_are_explained() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let stranger = Authority::named("stranger").client();
    let without = trusting(&authority, &folder);
    let with = Options {
        certificate: Some(folder.write("client.crt", &stranger.certificate)),
        key: Some(folder.write("client.key", &stranger.key)),
        ..without.clone()
    };
    for versions in [rustls::ALL_VERSIONS, ONLY_12] {
        for (options, expected) in [
            (
                &without,
                "it asks for a client certificate; set 'certificate'",
            ),
            (&with, "it refuses the client certificate (UnknownCA)"),
        ] {
            let settings = Settings {
                versions,
                clients: Some(authority.root()),
                ..Settings::new(authority.broker())
            };
            let mut harness = Harness::new(options.clone());
            let reset = harness.refused(&settings.config(), "broker.test");
            assert!(reset.reason.contains(expected), "{}", reset.reason);
            assert!(!reset.connected);
            harness.finish();
        }
    }
}

#[test]
fn a_broker_that_closes_instead_of_asking_again_is_explained_too() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let settings = Settings {
        clients: Some(authority.root()),
        ..Settings::new(authority.broker())
    };
    let config = settings.config();
    let mut harness = Harness::new(trusting(&authority, &folder));
    let streams = harness.open();
    harness.connect_to(streams, "broker.test");
    let mut broker = Broker::new(config);
    let (hello, _) = harness.sent(streams);
    broker.take(&hello).expect("a hello");
    let answer = broker.give();
    harness.receive(streams, answer);
    // Its alert is lost.
    harness
        .rig
        .send(harness.exit, streams.exit, tidegate_streams::Frame::end());
    let reset = harness.failure(streams);
    assert!(
        reset
            .reason
            .contains("if it requires one, set 'certificate'"),
        "{}",
        reset.reason
    );
    harness.finish();
}

#[test]
fn garbage_is_not_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x20\x03\x00\x84\x00",
    ] {
        let mut harness = Harness::new(trusting(&authority, &folder));
        let streams = harness.open();
        harness.connect_to(streams, "broker.test");
        harness.receive(streams, garbage.to_vec());
        let reset = harness.failure(streams);
        assert!(
            reset.reason.contains("check that the port expects TLS"),
            "{}",
            reset.reason
        );
        assert!(!reset.connected);
        harness.finish();
    }
}

#[test]
fn a_silent_peer_is_given_up_after_the_handshake_timeout() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let options = Options {
        handshake_timeout: Bounded::of(1_500),
        ..trusting(&authority, &folder)
    };
    let mut harness = Harness::new(options);
    let streams = harness.open();
    // The exit has its own time to connect.
    harness.rig.advance(Duration::from_secs(60));
    harness.connect_to(streams, "broker.test");
    harness.rig.advance(Duration::from_millis(1_499));
    assert_eq!(harness.told(streams), []);
    harness.rig.advance(Duration::from_millis(1));
    let reset = harness.failure(streams);
    assert!(
        reset.reason.contains("no answer within 1500 ms"),
        "{}",
        reset.reason
    );
    assert_eq!(&*reset.remote, REMOTE);
    harness.finish();
}

#[test]
fn changed_files_are_used_for_further_connections() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let next = Authority::named("next");
    let mut harness = Harness::new(trusting(&authority, &folder));
    let (streams, mut first) = harness.establish(&broker(&authority));
    assert_eq!(harness.reload(), None);
    folder.write("ca.crt", &next.pem);
    assert_eq!(harness.reload(), Some(Ok(())));
    let reset = harness.refused(&broker(&authority), "broker.test");
    assert!(reset.reason.contains("'trust'"), "{}", reset.reason);
    let (other, _) = harness.establish(&broker(&next));
    // The open connection goes on.
    let data = tidegate_streams::Frame::data("still".into());
    harness.rig.send(harness.caller, streams.caller, data);
    let plaintext = harness.carry(streams, &mut first);
    assert_eq!(plaintext.expect("it is open"), b"still");
    folder.write("ca.crt", "no certificate");
    let failed = harness
        .reload()
        .expect("a report")
        .expect_err("no certificate");
    assert!(
        failed.to_string().contains("no certificate in PEM"),
        "{failed}"
    );
    harness.close(streams);
    harness.close(other);
    harness.finish();
}
