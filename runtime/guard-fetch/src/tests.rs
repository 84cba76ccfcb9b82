//! Real sockets on loopback, with servers that the test plays.

use bytes::Bytes;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tidegate_guard::jwt::{FetchError, Jwt, Url};
use tidegate_guard::{Check, Credential, Guard as _, Refusal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(1);

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

fn plain() -> Fetcher {
    Fetcher::new(None, LONG)
}

/// Reads a request up to its empty line.
async fn request(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(socket.read_u8().await.expect("a request"));
    }
    String::from_utf8(text).expect("a text")
}

/// Answers one request with this text.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) -> String {
    let request = request(&mut socket).await;
    // A client that has seen enough closes its end.
    let _ = socket.write_all(text).await;
    let _ = socket.shutdown().await;
    request
}

async fn fetched(text: &'static str) -> Result<Bytes, FetchError> {
    let (listener, port) = listener().await;
    let server = async {
        let (socket, _) = listener.accept().await.expect("a client");
        answer(socket, text.as_bytes()).await
    };
    let url = url(&format!("http://127.0.0.1:{port}/keys?a=b"));
    let (fetched, request) = tokio::join!(async { plain().fetch(&url).await }, server);
    assert!(
        request.starts_with("GET /keys?a=b HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("host: 127.0.0.1:{port}\r\n")),
        "{request}"
    );
    fetched
}

#[tokio::test]
async fn a_json_document_is_fetched() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json; charset=utf-8\r\n\r\n{}",
    ] {
        assert_eq!(
            fetched(answer).await,
            Ok(Bytes::from_static(b"{}")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn other_answers_are_refused() {
    for (answer, why) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            "it redirects (302 Found); use the URL it leads to",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "the answer is 404 Not Found",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
            "the answer is not JSON (Content-Type)",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "the answer is not JSON (Content-Type)",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}",
            "HTTP failed",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", "HTTP failed"),
    ] {
        let error = fetched(answer).await.expect_err(answer).to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

#[tokio::test]
async fn a_document_of_100_megabytes_is_not_read_to_its_end() {
    let (listener, port) = listener().await;
    let server = async {
        let (mut socket, _) = listener.accept().await.expect("a client");
        request(&mut socket).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        socket.write_all(head).await.expect("it reads");
        let mut written = 0;
        while written < 100 << 20 && socket.write_all(&[b' '; 8_192]).await.is_ok() {
            written += 8_192;
        }
        written
    };
    let url = url(&format!("http://127.0.0.1:{port}/"));
    let (fetched, written) = tokio::join!(async { plain().fetch(&url).await }, server);
    let error = fetched.expect_err("it is too large").to_string();
    assert_eq!(error, "the answer is larger than 1048576 bytes");
    assert!(written < 32 << 20, "{written}");
}

#[tokio::test]
async fn a_host_that_hangs_fails_after_the_timeout() {
    let (listener, port) = listener().await;
    let url = url(&format!("http://127.0.0.1:{port}/"));
    let fetcher = Fetcher::new(None, Duration::from_millis(50));
    let hanging = async {
        let (mut socket, _) = listener.accept().await.expect("a client");
        request(&mut socket).await;
        // Until the client has closed its end.
        let _ = socket.read(&mut [0]).await;
    };
    let (answer, ()) = tokio::join!(async { fetcher.fetch(&url).await }, hanging);
    let error = answer.expect_err("it hangs").to_string();
    assert_eq!(error, "no complete answer within 50 ms");
    drop(listener);
    let refused = plain()
        .fetch(&url)
        .await
        .expect_err("nobody listens")
        .to_string();
    assert!(refused.starts_with("cannot connect: "), "{refused}");
}

/// A file with the certificate of a new authority, and a server with a certificate of it.
fn authority(name: &str) -> (std::path::PathBuf, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let issuer = issuer.expect("a certificate");
    let file = format!("tidegate-fetch-{name}-{}.pem", std::process::id());
    let file = std::env::temp_dir().join(file);
    std::fs::write(&file, issuer.pem()).expect("a file");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config
        .with_safe_default_protocol_versions()
        .expect("versions");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = config.with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], private);
    (file, TlsAcceptor::from(Arc::new(config.expect("a config"))))
}

#[tokio::test]
async fn over_tls_the_server_is_verified() {
    let (file, acceptor) = authority("trusted");
    let (other, _) = authority("other");
    let (listener, port) = listener().await;
    let url = url(&format!("https://localhost:{port}/keys"));
    let serve = async |listener: &TcpListener| {
        let (socket, _): (TcpStream, _) = listener.accept().await.expect("a client");
        let Ok(stream) = acceptor.accept(socket).await else {
            return;
        };
        let text =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        answer(stream, text).await;
    };
    for (file, trusted) in [(&file, true), (&other, false)] {
        let trust = Trust::of_file(file).expect("certificates");
        let fetcher = Fetcher::new(Some(trust), LONG);
        let (answer, ()) = tokio::join!(async { fetcher.fetch(&url).await }, serve(&listener));
        match answer {
            Ok(text) => assert!(trusted && text == "{}"),
            Err(error) => assert!(!trusted && error.0.starts_with("TLS failed: "), "{error}"),
        }
    }
    for file in [file, other] {
        std::fs::remove_file(file).expect("it was there");
    }
    let none = Trust::of_file(std::path::Path::new("/dev/null")).expect_err("it is empty");
    assert_eq!(none.to_string(), "no certificates in /dev/null");
}

// RFC 7515, A.3: its issuer is 'joe', which is read once the signature is verified.
#[tokio::test]
async fn a_token_is_checked_with_fetched_keys() {
    const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let (listener, port) = listener().await;
    let origin = format!("http://127.0.0.1:{port}");
    // Without `keys`, the metadata of the issuer says where they are.
    let options = format!(r#"{{"issuer":"{origin}","audience":"a"}}"#);
    let guard = Jwt::new(
        "id",
        &serde_json::from_str(&options).expect("options"),
        None,
    );
    let source = guard.key_source().expect("keys are fetched");
    let Check::Pending(pending) = guard.check(Credential::Text(TOKEN), now()) else {
        panic!("there are no keys yet");
    };
    let metadata = format!(r#"{{"issuer":"{origin}","jwks_uri":"{origin}/keys"}}"#);
    let server = async {
        for document in [metadata.as_str(), KEY] {
            let (socket, _) = listener.accept().await.expect("a client");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
            answer(socket, format!("{head}{document}").as_bytes()).await;
        }
    };
    let driven = drive("id".into(), source, plain());
    let outcome = async {
        let (outcome, ()) = tokio::join!(pending, server);
        outcome
    };
    tokio::select! {
        outcome = outcome => assert_eq!(outcome, Err(Refusal::Untrusted("wrong issuer"))),
        () = driven => unreachable!("it has no end"),
    }
}
