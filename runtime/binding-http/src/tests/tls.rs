//! TLS.

use std::path::Path;

use rustls::version;
use tidegate_tls::Version;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificates::{Authority, Connector, Signed};
use super::folder::Folder;
use super::http2::{Http2, text};
use super::*;
use crate::options::{ClientCertificates, Tls};

/// An authority, and a folder with a certificate that it signed for the server.
struct Setup {
    authority: Authority,
    folder: Folder,
}

impl Setup {
    fn new() -> Self {
        let authority = Authority::new();
        let folder = Folder::new();
        folder.write("ca.pem", &authority.pem);
        let setup = Self { authority, folder };
        setup.install(&setup.authority.server());
        setup
    }

    fn install(&self, signed: &Signed) {
        self.folder.write("server.pem", &signed.certificate);
        self.folder.write("server.key", &signed.key);
    }

    fn tls(&self) -> Tls {
        Tls {
            certificate: self.folder.path("server.pem"),
            key: self.folder.path("server.key"),
            min_version: Version::Tls12,
            client_certificates: ClientCertificates::None,
            trust: None,
            handshake_timeout: tidegate_options::Bounded::of(10_000),
            max_handshakes: tidegate_options::Bounded::of(2),
        }
    }

    fn mutual(&self, client_certificates: ClientCertificates) -> Tls {
        Tls {
            client_certificates,
            trust: Some(self.folder.path("ca.pem")),
            ..self.tls()
        }
    }

    fn connector(&self) -> Connector<'_> {
        Connector::new(&self.authority)
    }
}

fn with(tls: Tls) -> Options {
    Options {
        tls: Some(tls),
        ..options()
    }
}

/// Whether a call on a new connection is answered; the connection is closed.
async fn served(harness: &mut Harness, connector: &Connector<'_>) -> bool {
    let Ok(stream) = connector.connect(harness.address).await else {
        return false;
    };
    let mut client = Client::over(stream);
    client.post("hello").await;
    let probe = &mut harness.probes[0];
    let answered = tokio::select! {
        taken = request(probe) => {
            answer(probe, taken.stream, "hello").await;
            true
        }
        rest = client.rest() => {
            assert!(rest.is_empty());
            false
        }
    };
    if answered {
        assert_eq!(client.response().await.body, "hello");
    }
    answered
}

async fn client(harness: &Harness, setup: &Setup) -> Client<TlsStream<TcpStream>> {
    let stream = setup.connector().connect(harness.address).await;
    Client::over(stream.expect("a handshake"))
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_served() {
    let setup = Setup::new();
    let mut harness = Harness::of(with(setup.tls()));
    let urls: Vec<String> = harness.listening.urls().collect();
    assert_eq!(urls, [format!("https://{}/mcp", harness.address)]);
    for (version, alpn) in [
        (&version::TLS13, "h2"),
        (&version::TLS12, "h2"),
        (&version::TLS13, "http/1.1"),
        (&version::TLS12, "http/1.1"),
    ] {
        let (versions, alpn) = ([version], [alpn]);
        let connector = Connector {
            versions: &versions,
            alpn: &alpn,
            ..setup.connector()
        };
        if alpn == ["http/1.1"] {
            assert!(served(&mut harness, &connector).await);
            continue;
        }
        let stream = connector
            .connect(harness.address)
            .await
            .expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut client = Http2::over(stream).await;
        let answer = client.post("hello").await;
        let request = harness.request().await;
        harness.answer(request.stream, "hello").await;
        assert_eq!(text(answer).await.1, "hello");
    }
    let report = harness.engine.report().await;
    let handshakes = report.labelled("", "http.server.handshakes", "done");
    assert_eq!(handshakes, 4);
    harness.finish().await;
}

#[tokio::test]
async fn a_version_below_the_minimum_is_refused() {
    let setup = Setup::new();
    let mut harness = Harness::of(with(Tls {
        min_version: Version::Tls13,
        ..setup.tls()
    }));
    let connector = Connector {
        versions: &[&version::TLS12],
        ..setup.connector()
    };
    assert!(!served(&mut harness, &connector).await);
    assert!(served(&mut harness, &setup.connector()).await);
    let report = harness.engine.report().await;
    assert_eq!(report.labelled("", "http.server.handshakes", "failed"), 1);
    harness.finish().await;
}

#[tokio::test]
async fn client_certificates_must_be_valid() {
    let setup = Setup::new();
    let other = Authority::new();
    let (valid, expired) = (setup.authority.client(), setup.authority.expired_client());
    let (foreign, of_server) = (other.client(), setup.authority.server());
    for (mode, without) in [
        (ClientCertificates::Required, false),
        (ClientCertificates::Requested, true),
    ] {
        let mut harness = Harness::of(with(setup.mutual(mode)));
        for versions in [&[&version::TLS13], &[&version::TLS12]] {
            for (presents, expected) in [
                (None, without),
                (Some(&valid), true),
                (Some(&expired), false),
                (Some(&foreign), false),
                (Some(&of_server), false),
            ] {
                let connector = Connector {
                    presents,
                    versions,
                    ..setup.connector()
                };
                assert_eq!(served(&mut harness, &connector).await, expected);
            }
        }
        assert!(harness.probe().seen().is_empty());
        harness.finish().await;
    }
}

/// Calls in a row, each on a new connection, until the server shows another certificate than at first.
async fn until_reloaded(harness: &mut Harness, connector: &Connector<'_>) {
    let certificate = async |address| {
        let stream = connector.connect(address).await.expect("a handshake");
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .expect("a certificate");
        shown[0].clone()
    };
    let first = certificate(harness.address).await;
    while certificate(harness.address).await == first {
        assert!(served(harness, connector).await, "no call fails");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_calls_run() {
    let setup = Setup::new();
    let agent = setup.authority.client();
    let connector = Connector {
        presents: Some(&agent),
        ..setup.connector()
    };
    let mut harness = Harness::of(with(setup.mutual(ClientCertificates::Required)));
    let stream = connector.connect(harness.address).await;
    let mut before = Client::over(stream.expect("a handshake"));
    before.post("under way").await;
    let under_way = harness.request().await;
    // The certificate comes first, and does not belong to the key in use.
    let next = setup.authority.server();
    setup.folder.write("server.pem", &next.certificate);
    assert!(served(&mut harness, &connector).await);
    setup.folder.write("server.key", &next.key);
    in_time(
        "the new certificate",
        until_reloaded(&mut harness, &connector),
    )
    .await;
    assert!(served(&mut harness, &connector).await);
    // A connection stays as it was.
    harness.answer(under_way.stream, "answered").await;
    assert_eq!(before.response().await.body, "answered");
    before.post("again").await;
    let request = harness.request().await;
    harness.answer(request.stream, "answered").await;
    assert_eq!(before.response().await.body, "answered");
    drop(before);
    harness.finish().await;
}

/// The outcome of a comparison of the files.
fn reload(certificates: &Arc<crate::tls::Certificates>) -> Result<bool, String> {
    crate::tls::reload_now(certificates)
}

#[test]
fn files_that_cannot_be_used_are_reported_and_the_last_good_ones_stay() {
    let setup = Setup::new();
    let tls = setup.mutual(ClientCertificates::Required);
    let certificates = Arc::new(crate::tls::Certificates::load(&tls).expect("good files"));
    assert_eq!(reload(&certificates), Ok(false));
    let good = setup.authority.server();
    for (file, content, expected) in [
        ("server.pem", "", "cannot use tls.certificate"),
        (
            "server.pem",
            &good.certificate[..],
            "does not belong to the key",
        ),
        ("server.key", "no key", "no private key in PEM"),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot use tls.trust",
        ),
    ] {
        let path = setup.folder.path(file);
        let kept = std::fs::read_to_string(&path).expect("a file");
        setup.folder.write(file, content);
        let error = reload(&certificates).expect_err(expected);
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
        std::fs::remove_file(&path).expect("it is there");
        let error = reload(&certificates).expect_err("no file");
        assert!(error.contains("No such file"), "{error}");
        setup.folder.write(file, &kept);
        assert_eq!(reload(&certificates), Ok(false));
    }
    setup.install(&good);
    assert_eq!(reload(&certificates), Ok(true));
    assert_eq!(reload(&certificates), Ok(false));
}

#[tokio::test]
async fn unusable_files_prevent_the_start_and_are_named() {
    let setup = Setup::new();
    setup.folder.write("empty.pem", "");
    let cases = [
        (setup.folder.path("missing.pem"), "No such file"),
        (setup.folder.path("empty.pem"), "no certificate in PEM"),
        (setup.folder.path("server.key"), "no certificate in PEM"),
    ];
    for (certificate, expected) in cases {
        let tls = Tls {
            certificate: certificate.clone(),
            ..setup.tls()
        };
        let error = refusal(with(tls));
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&*certificate.to_string_lossy()), "{error}");
    }
}

fn refusal(options: Options) -> String {
    let (_probe, edge) = probe();
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        let exit = edge.attach(assembly, 0, None);
        crate::attach(assembly, options.clone(), exit, &Guards::default(), None).map(|_| ())
    });
    engine.err().expect("it cannot start").to_string()
}

#[tokio::test]
async fn plain_http_is_answered_with_a_hint() {
    let setup = Setup::new();
    let mut harness = Harness::of(with(setup.tls()));
    for request in [
        "GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "x",
    ] {
        let mut client = harness.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.status, 400);
        assert_eq!(response.body, "This port requires TLS; use https.");
        assert!(client.rest().await.is_empty());
    }
    assert!(served(&mut harness, &setup.connector()).await);
    harness.finish().await;
}

#[tokio::test]
async fn tls_on_a_port_without_it_is_closed() {
    let setup = Setup::new();
    let mut harness = Harness::new();
    assert!(!served(&mut harness, &setup.connector()).await);
    harness.serves().await;
    harness.finish().await;
}

#[tokio::test]
async fn a_slow_handshake_is_closed_and_others_wait_for_it() {
    let setup = Setup::new();
    let mut harness = Harness::of(with(Tls {
        handshake_timeout: tidegate_options::Bounded::of(300),
        max_handshakes: tidegate_options::Bounded::of(1),
        ..setup.tls()
    }));
    let mut slow = harness.client().await;
    slow.send("\x16\x03\x01").await;
    assert!(slow.rest().await.is_empty());
    assert!(served(&mut harness, &setup.connector()).await);
    let report = harness.engine.report().await;
    assert_eq!(report.labelled("", "http.server.handshakes", "failed"), 1);
    harness.finish().await;
}

#[tokio::test]
async fn the_framing_of_requests_is_checked_as_without_tls() {
    let setup = Setup::new();
    let mut harness = Harness::of(with(setup.tls()));
    let mut client = client(&harness, &setup).await;
    client
        .send(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("Both Transfer-Encoding"));
    assert!(harness.probe().seen().is_empty());
    harness.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let setup = Setup::new();
    let mut harness = Harness::of(Options {
        write_timeout: 200,
        ..with(setup.tls())
    });
    let mut client = client(&harness, &setup).await;
    client.post("much, please").await;
    let stream = harness.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    let reset = async {
        loop {
            let fill = harness.probes[0].turn(move |cx| {
                let credit = cx.credit(stream);
                if credit > 0 {
                    cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
                }
            });
            fill.await;
            if harness.probes[0].next().await.1 == Frame::reset() {
                return;
            }
        }
    };
    in_time("a reset", reset).await;
    let report = harness.engine.report().await;
    let timed_out = report.labelled("", "http.server.connections.timed_out", "write");
    assert_eq!(timed_out, 1);
    drop(client);
    harness.finish().await;
}

/// Runs `openssl s_client`; `None` where it is not installed.
async fn s_client(
    harness: &Harness,
    authority: &Path,
    arguments: &[&str],
) -> Option<(bool, String)> {
    let done = tokio::process::Command::new("openssl")
        .args(["s_client", "-brief", "-verify_return_error", "-connect"])
        .arg(harness.address.to_string())
        .args([
            "-servername",
            "localhost",
            "-verify_hostname",
            "localhost",
            "-CAfile",
        ])
        .arg(authority)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output();
    let done = in_time("openssl", done).await.ok()?;
    let text = [done.stdout, done.stderr].concat();
    Some((
        done.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[tokio::test]
async fn openssl_agrees() {
    let setup = Setup::new();
    let authority = setup.folder.path("ca.pem");
    let harness = Harness::of(with(setup.tls()));
    for (arguments, version) in [(["-tls1_3"], "TLSv1.3"), (["-tls1_2"], "TLSv1.2")] {
        let Some((done, text)) = s_client(&harness, &authority, &arguments).await else {
            return;
        };
        assert!(done && text.contains(version), "{text}");
        assert!(text.contains("Verification: OK"), "{text}");
    }
    let old = s_client(
        &harness,
        &authority,
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    )
    .await;
    let (done, text) = old.expect("it is installed");
    assert!(!done, "{text}");
    harness.finish().await;
}
