//! Connections: name, proxy, TLS, and the handshake of HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tidegate_tls::{certificates, private_key, provider, read, roots};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::Buffers;
use crate::options::{Options, ProxyChoice, Tls};

/// Largest head of a response, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// Size of the buffer that a connection reads into, in bytes; larger bodies come in several pieces.
const BUFFER: usize = 256 * 1024;

/// Where a connection goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
    /// The name that its certificate must be for; absent: `host`.
    pub(crate) name: Option<String>,
}

/// Who answers requests.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    /// The target, perhaps through a tunnel.
    Target,
    /// A proxy, which expects absolute targets and these credentials.
    Proxy(Option<http::HeaderValue>),
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Buffers>,
    pub(crate) via: Via,
}

/// Opens connections.
pub(crate) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<Matcher>,
    timeout: Duration,
}

impl Connector {
    /// Reads the files of TLS. The error says which one cannot be used.
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let authorization = options.authorization.as_ref();
        let oauth = authorization.and_then(|it| it.client_credentials.as_ref());
        let tls = match (&options.tls, oauth) {
            (Some(tls), _) => Some(config(tls)?),
            (None, Some(oauth)) if oauth.token_url.starts_with("https:") => {
                Some(config(&Tls::default())?)
            }
            (None, _) => None,
        };
        Ok(Self {
            tls,
            proxy: (options.proxy == ProxyChoice::Environment).then(Matcher::from_env),
            timeout: Duration::from_millis(options.connect_timeout.get()),
        })
    }

    /// Opens a connection. The error says what has failed, as a part of a sentence.
    pub(crate) async fn open(&self, target: &Target) -> Result<Connection, String> {
        let opened = tokio::time::timeout(self.timeout, self.connect(target)).await;
        opened.unwrap_or_else(|_| {
            let millis = self.timeout.as_millis();
            Err(format!("no connection within {millis} ms (connectTimeout)"))
        })
    }

    async fn connect(&self, target: &Target) -> Result<Connection, String> {
        // A proxy would get in clear text what is meant to stay on this machine.
        let proxy = self.proxy.as_ref().filter(|_| !is_local(&target.host));
        let proxy = proxy.and_then(|proxy| proxy.intercept(&uri(target)));
        let Some(proxy) = proxy else {
            let socket = dial(&target.host, target.port).await?;
            return self.over(target, socket, Via::Target).await;
        };
        let at = proxy.uri();
        let (host, port) = (at.host().unwrap_or_default(), at.port_u16().unwrap_or(80));
        if at.scheme_str() != Some("http") {
            return Err(format!(
                "the proxy {host} is not an HTTP proxy, which is the only kind that is supported"
            ));
        }
        let socket = dial(host, port)
            .await
            .map_err(|why| format!("proxy {host}: {why}"))?;
        let credentials = proxy.basic_auth().cloned();
        if !target.is_tls {
            return self.over(target, socket, Via::Proxy(credentials)).await;
        }
        let socket = tunnel(socket, target, credentials).await;
        let socket = socket.map_err(|why| format!("proxy {host}: {why}"))?;
        self.over(target, socket, Via::Target).await
    }

    async fn over(
        &self,
        target: &Target,
        socket: TcpStream,
        via: Via,
    ) -> Result<Connection, String> {
        if !target.is_tls {
            let sender = handshake(TokioIo::new(socket)).await?;
            return Ok(Connection { sender, via });
        }
        let config = self.tls.clone().ok_or("TLS is not configured")?;
        let name = target.name.clone().unwrap_or_else(|| target.host.clone());
        let name = ServerName::try_from(name).map_err(|_| "the host is not a valid server name")?;
        let stream = TlsConnector::from(config).connect(name, socket).await;
        let stream = stream.map_err(|error| format!("TLS failed: {error}"))?;
        let sender = handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, via })
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let socket = TcpStream::connect((host, port)).await;
    let socket = socket.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ if tidegate_driver::is_exhaustion(&error) => {
            "the gateway has no free file descriptor".to_owned()
        }
        _ => error.to_string(),
    })?;
    socket
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(socket)
}

async fn handshake<C>(connection: C) -> Result<SendRequest<Buffers>, String>
where
    C: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // hyper takes 100 headers, for which it has room on the stack; any other number is two allocations a response.
    builder.max_buf_size(BUFFER);
    let (sender, connection) = builder
        .handshake(connection)
        .await
        .map_err(|error| reason(&error))?;
    // Ends when the sender is dropped or the server closes it.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to an HTTP server ended");
        }
    });
    Ok(sender)
}

/// A connection to the target through a proxy (RFC 9110, 9.3.6).
async fn tunnel(
    socket: TcpStream,
    target: &Target,
    credentials: Option<http::HeaderValue>,
) -> Result<TcpStream, String> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| reason(&error))?;
    tokio::task::spawn_local(connection.with_upgrades());
    let host = if target.host.contains(':') {
        format!("[{}]", target.host)
    } else {
        target.host.clone()
    };
    let authority = format!("{host}:{}", target.port);
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(&authority)
        .header(HOST, &authority);
    if let Some(credentials) = credentials {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| reason(&error))?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| reason(&error))?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>();
    let parts = parts.map_err(|_| "it cannot be used as a tunnel")?;
    if !parts.read_buf.is_empty() {
        return Err("it sent data before the server did".to_owned());
    }
    Ok(parts.io.into_inner())
}

/// Whether a host is this machine.
fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    // RFC 6761, 6.3.
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A URL of the target, which a proxy is chosen by.
fn uri(target: &Target) -> Uri {
    let scheme = if target.is_tls { "https" } else { "http" };
    let host = if target.host.contains(':') {
        format!("[{}]", target.host)
    } else {
        target.host.clone()
    };
    let text = format!("{scheme}://{host}:{}/", target.port);
    text.parse().unwrap_or_default()
}

/// What has failed in HTTP.
pub(crate) fn reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "the server closed the connection without a response".to_owned()
    } else if error.is_parse_too_large() {
        "the head of the response is too large".to_owned()
    } else if error.is_parse() {
        "the response is not HTTP/1.1".to_owned()
    } else {
        let source = std::error::Error::source(&error);
        let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return "the server ended the TLS connection without close_notify; it may want a certificate of the gateway \
                    (tls.certificate)"
                .to_owned();
        }
        source.map_or_else(|| error.to_string(), ToString::to_string)
    }
}

fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let text = |error: tidegate_tls::Unusable| error.to_string();
    let mut trusted = RootCertStore::empty();
    if let Some(path) = &tls.trust {
        let pem = read("trust", path).map_err(text)?;
        roots("trust", path, &pem, &mut trusted).map_err(text)?;
    } else {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "cannot read a certificate that the system trusts");
        }
        trusted.add_parsable_certificates(found.certs);
        if trusted.is_empty() {
            tracing::warn!(
                "no certificates that the system trusts were found; set 'trust' of the http · client, or \
                 install them (package ca-certificates)"
            );
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(tls.min_version.and_later())
        .map_err(|error| format!("cannot use minVersion: {error}"))?
        .with_root_certificates(trusted);
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(path), Some(key_path)) => {
            let pem = read("certificate", path).map_err(text)?;
            let chain = certificates("certificate", path, &pem).map_err(text)?;
            let key = read("key", key_path).map_err(text)?;
            let key = private_key("key", key_path, &key).map_err(text)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("cannot use certificate {}: {error}", path.display()))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        for host in [
            "127.0.0.1",
            "127.8.9.10",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "LocalHost",
            "localhost.",
            "a.localhost",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "128.0.0.1",
            "::2",
            "0.0.0.0",
            "localhost.example",
            "notlocalhost",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[tokio::test]
    async fn a_target_on_this_machine_is_reached_without_the_proxy() {
        let (server, proxy) = (listener().await, listener().await);
        let port = |of: &tokio::net::TcpListener| of.local_addr().expect("bound").port();
        let connector = Connector {
            tls: None,
            proxy: Some(
                Matcher::builder()
                    .all(format!("http://127.0.0.1:{}", port(&proxy)))
                    .build(),
            ),
            timeout: Duration::from_secs(20),
        };
        tokio::task::LocalSet::new()
            .run_until(async {
                for (host, at) in [("127.0.0.1", &server), ("tools.example", &proxy)] {
                    let target = Target {
                        host: host.to_owned(),
                        port: port(&server),
                        is_tls: false,
                        name: None,
                    };
                    let (opened, accepted) = tokio::join!(connector.open(&target), at.accept());
                    assert!(opened.is_ok() && accepted.is_ok(), "{host}");
                }
            })
            .await;
    }

    async fn listener() -> tokio::net::TcpListener {
        tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port")
    }
}
