//! HTTP streams: one request and its response, from `http · server` to `mcp · server`, and from
//! `mcp · client` to `http · client`.
//!
//! Initial DATA is the request body and END its end; reply DATA is the response body. ABORT of the
//! initial half means that the client closed the connection. If the initial half is reset before
//! the reply BEGIN, `http · server` answers 500. A RESET or ABORT of `http · client` says why there is no
//! response, or no more of it.

use std::net::SocketAddr;

use bytestring::ByteString;
use http::{HeaderMap, Method, StatusCode};

use crate::extension;

/// Head of a request (initial BEGIN) or of a response (reply BEGIN).
#[derive(Debug, Clone, PartialEq)]
pub enum HttpBeginEx {
    /// A request.
    Request(HttpRequest),
    /// A response.
    Response(HttpResponse),
}

/// Head of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Path and query, as received.
    pub path: ByteString,
    /// The headers, moved from the edge.
    pub headers: HeaderMap,
    /// Body length in bytes; -1 if unknown.
    pub content_length: i64,
    /// Address and port of the client, if the edge knows them. The address distinguishes anonymous
    /// callers; it is one of IPv4 where the client is.
    pub peer: Option<SocketAddr>,
}

/// Head of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Body length in bytes; -1 if unknown (the edge then uses chunked encoding).
    pub content_length: i64,
}

extension! {
    /// Why there is no response, or no more of it.
    pub struct HttpReset "http" {
        /// The server as `host:port`.
        remote "remote": ByteString = ByteString::new(),
        /// Reason in words: `connection refused`.
        reason "reason": ByteString = ByteString::new(),
        /// Whether the server may have received the request.
        sent "sent": bool = false,
        /// Whether a limit of the gateway is the reason, which says nothing about the server.
        limit "limit": bool = false,
    }
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
