//! JSON-RPC errors.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use tidegate_json::write::push_string;
use tidegate_json::{Duplicate, Kind, Value};

/// The error codes used by MCP.
pub mod code {
    /// The message is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The JSON is not a valid message, or the message is not allowed now.
    pub const INVALID_REQUEST: i64 = -32600;
    /// Unknown method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Invalid `params`.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Internal error of the receiver.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// The session is unknown or has ended (legacy).
    pub const SESSION_NOT_FOUND: i64 = -32001;
    /// Unknown resource (legacy).
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// The caller's credentials are missing or have expired.
    pub const UNAUTHORIZED: i64 = -32003;
    /// The caller has sent too many requests.
    pub const TOO_MANY_REQUESTS: i64 = -32004;
    /// A header contradicts the body (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client has not declared a capability that the request requires (2026-07-28).
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// The receiver does not support the protocol version (2026-07-28).
    pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;
}

/// The `error` of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: i64,
    message: String,
    data: Option<Bytes>,
}

impl Error {
    /// Creates an error with a [`code`] and a message.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Adds `data`, as JSON.
    #[must_use]
    pub fn with_data(mut self, data: Option<Bytes>) -> Self {
        self.data = data;
        self
    }

    /// Parse error: the message is not JSON.
    pub fn parse(message: impl Into<String>) -> Self {
        Self::new(code::PARSE_ERROR, message)
    }

    /// Invalid request: the message is not JSON-RPC, or not allowed now.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_REQUEST, message)
    }

    /// Invalid `params`.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// Reads the `error` of a response. Missing or invalid members get defaults, because a response
    /// with an error is valid whatever the error contains.
    pub fn read(value: &Value<'_>) -> Self {
        let member = |name: &str| value.get(name).ok().flatten();
        let code = member("code").and_then(|code| code.as_i64());
        let message = member("message").and_then(|message| message.text());
        Self {
            code: code.unwrap_or(code::INTERNAL_ERROR),
            message: message.map_or_else(String::new, Cow::into_owned),
            data: member("data")
                .filter(|data| data.kind() != Kind::Null)
                .map(|data| data.bytes()),
        }
    }

    /// The error code.
    pub const fn code(&self) -> i64 {
        self.code
    }

    /// The error message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error's `data`, as JSON.
    pub const fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Writes the error as a member of a response.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"{\"code\":");
        out.extend_from_slice(self.code.to_string().as_bytes());
        out.extend_from_slice(b",\"message\":");
        push_string(out, &self.message);
        if let Some(data) = &self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        out.extend_from_slice(b"}");
    }
}

impl From<Duplicate> for Error {
    /// A duplicate member in `params`.
    fn from(error: Duplicate) -> Self {
        Self::invalid_params(format!("{error}."))
    }
}
