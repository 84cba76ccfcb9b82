//! One GET of a JSON document.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tidegate_guard::jwt::{FetchError, Url};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::trust::Trust;

/// Largest document, in bytes.
const SIZE_MAX: usize = 1 << 20;

/// Fetches documents; one for each guard.
#[derive(Debug, Clone)]
pub struct Fetcher {
    trust: Option<Trust>,
    timeout: Duration,
}

fn failed(what: impl Into<String>) -> FetchError {
    FetchError(what.into())
}

impl Fetcher {
    /// `trust` may be absent if no URL is https. Everything takes at most `timeout`.
    pub const fn new(trust: Option<Trust>, timeout: Duration) -> Self {
        Self { trust, timeout }
    }

    /// The document at a URL.
    pub async fn fetch(&self, url: &Url) -> Result<Bytes, FetchError> {
        let fetched = tokio::time::timeout(self.timeout, self.connect(url)).await;
        fetched.unwrap_or_else(|_| {
            let millis = self.timeout.as_millis();
            Err(failed(format!("no complete answer within {millis} ms")))
        })
    }

    async fn connect(&self, url: &Url) -> Result<Bytes, FetchError> {
        let socket = TcpStream::connect((url.host(), url.port())).await;
        let socket = socket.map_err(|error| failed(format!("cannot connect: {error}")))?;
        if !url.is_https() {
            return get(url, TokioIo::new(socket)).await;
        }
        let Some(Trust(config)) = &self.trust else {
            return Err(failed("no certificates to verify the server with"));
        };
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|_| failed("the host is not a valid server name"))?;
        let stream = TlsConnector::from(config.clone())
            .connect(name, socket)
            .await;
        let stream = stream.map_err(|error| failed(format!("TLS failed: {error}")))?;
        get(url, TokioIo::new(stream)).await
    }
}

async fn get<C>(url: &Url, connection: C) -> Result<Bytes, FetchError>
where
    C: Read + Write + Unpin + Send + 'static,
{
    let http = |error: hyper::Error| failed(format!("HTTP failed: {error}"));
    let (mut sender, connection) = http1::handshake(connection).await.map_err(http)?;
    let request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| failed(error.to_string()))?;
    // The connection is driven here and not by a task, so that it ends with the timeout.
    let answer = async {
        let response = sender.send_request(request).await.map_err(http)?;
        document(response).await
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // What it read before its end is still in the answer.
            _ = &mut connection, if open => open = false,
        }
    }
}

async fn document(response: hyper::Response<hyper::body::Incoming>) -> Result<Bytes, FetchError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(failed(format!(
            "it redirects ({status}); use the URL it leads to"
        )));
    }
    if status != StatusCode::OK {
        return Err(failed(format!("the answer is {status}")));
    }
    if !is_json(response.headers()) {
        return Err(failed("the answer is not JSON (Content-Type)"));
    }
    let body = Limited::new(response.into_body(), SIZE_MAX).collect().await;
    let body = body.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            failed(format!("the answer is larger than {SIZE_MAX} bytes"))
        } else {
            failed(format!("HTTP failed: {error}"))
        }
    })?;
    Ok(body.to_bytes())
}

/// `application/json`, or another type of JSON such as `application/jwk-set+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}
