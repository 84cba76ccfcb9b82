//! HTTP streams: one request and its response, between `http · server` and `mcp · server`.
//!
//! DATA on the initial half is the request's body, END its end; DATA on the reply half is the
//! response's body. ABORT on the initial half is a client that went away; RESET of the initial half
//! without a reply BEGIN is answered 500 by the edge.

use bytestring::ByteString;
use http::{HeaderMap, Method, StatusCode};

/// The head of a request (initial BEGIN) or of a response (reply BEGIN).
#[derive(Debug, Clone, PartialEq)]
pub enum HttpBeginEx {
    /// A request.
    Request(HttpRequest),
    /// A response.
    Response(HttpResponse),
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Path and query, as received.
    pub path: ByteString,
    /// The headers, moved from the edge.
    pub headers: HeaderMap,
    /// The body's length in bytes, -1 where unknown.
    pub content_length: i64,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's length in bytes, -1 where it is not known ahead (the edge then uses chunks).
    pub content_length: i64,
}

impl From<HttpRequest> for crate::BeginEx {
    fn from(request: HttpRequest) -> Self {
        Self::Http(HttpBeginEx::Request(request))
    }
}

impl From<HttpResponse> for crate::BeginEx {
    fn from(response: HttpResponse) -> Self {
        Self::Http(HttpBeginEx::Response(response))
    }
}
