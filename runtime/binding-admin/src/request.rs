//! Answers a request.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::health::{Health, ready};
use crate::{Admin, REPORT_TIMEOUT, exposition};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves a request. A body is not read.
pub(crate) async fn serve<B>(
    edge: Rc<Admin>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    edge.requests.set(edge.requests.get() + 1);
    let (status, kind, body) = answer(&edge, &request).await;
    let body = if request.method() == Method::HEAD {
        String::new()
    } else {
        body
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn answer<B>(edge: &Admin, request: &Request<B>) -> (StatusCode, &'static str, String) {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = "Use GET.\n".to_owned();
        return (StatusCode::METHOD_NOT_ALLOWED, TEXT, why);
    }
    if !edge.options.unguarded && !is_local(request.headers()) {
        let why = "The Host header must be localhost or an IP address.\n".to_owned();
        return (StatusCode::FORBIDDEN, TEXT, why);
    }
    let path = request.uri().path();
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        let why = "Paths: /livez, /readyz, /metrics.\n".to_owned();
        return (StatusCode::NOT_FOUND, TEXT, why);
    }
    let workers = edge.reports.within(REPORT_TIMEOUT).await;
    let health = match path {
        "/metrics" => {
            let text = exposition(&workers.measures, workers.count, &workers.silent);
            return (StatusCode::OK, METRICS, text);
        }
        "/livez" => Health::of(&workers),
        _ => ready(&workers, *edge.stopping.borrow()),
    };
    let status = if health.is_good() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, TEXT, health.to_string())
}

/// Whether the Host header is an IP address or `localhost`: a web page that points its own name to
/// this address (DNS rebinding) must not read it.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for (host, local) in [
            ("localhost", true),
            ("LOCALHOST:7190", true),
            ("127.0.0.1:7190", true),
            ("[::1]:7190", true),
            ("[::1]", true),
            ("gateway.example:7190", false),
            ("localhost.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).expect("a header"));
            assert_eq!(is_local(&headers), local, "{host}");
        }
        assert!(is_local(&HeaderMap::new()), "HTTP/1.0, or a Unix socket");
    }
}
