//! The answer to a request whose client no guard has accepted.
//!
//! It names what was wrong in one word, which tells a client what to do (get new credentials, or try
//! again) and nothing that would help to guess them.

use bytes::BytesMut;
use bytestring::ByteString;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use tidegate_guard::Refusal;
use tidegate_json::write::push_string;

use super::Kind;
use super::challenge::{BearerError, Challenges};
use crate::activity::ActiveRequest;
use crate::response::ResponseBody;

/// Error codes of JSON-RPC, as `mcp · server` uses them.
const INVALID_REQUEST: i32 = -32600;
const INTERNAL_ERROR: i32 = -32603;
const UNAUTHORIZED: i32 = -32003;

/// Why a request is not served.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It has no credential.
    Missing,
    /// It has something in the place of a credential that cannot be one.
    Malformed(&'static str),
    /// A guard has refused its credential.
    Refused {
        guard: ByteString,
        kind: Kind,
        why: Refusal,
    },
}

impl Denial {
    /// One word for events.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Refused { why, .. } => why.word(),
        }
    }

    /// The response.
    pub(crate) fn answer(
        &self,
        challenges: &Challenges,
        active: ActiveRequest,
    ) -> Response<ResponseBody> {
        let status = self.status(challenges);
        let body = self.body(challenges).freeze();
        let mut response = Response::new(ResponseBody::of_bytes(body, active));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Self::Refused { why, .. } = self
            && let Some(seconds) = why.retry_after()
        {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::BAD_REQUEST {
            for challenge in challenges.values(self.error()) {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }

    fn status(&self, challenges: &Challenges) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Refused { why, .. } if why.is_temporary() => StatusCode::SERVICE_UNAVAILABLE,
            // 401 asks for something (RFC 9110, section 15.5.2), which a response cannot do for a certificate.
            _ if challenges.is_empty() => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    const fn error(&self) -> Option<BearerError> {
        match self {
            Self::Missing => None,
            Self::Malformed(_) => Some(BearerError::InvalidRequest),
            Self::Refused { why, .. } => Some(BearerError::InvalidToken(why.word())),
        }
    }

    fn body(&self, challenges: &Challenges) -> BytesMut {
        let (code, message) = match self {
            Self::Missing if challenges.is_empty() => {
                (UNAUTHORIZED, "A client certificate is needed.".to_owned())
            }
            Self::Missing => (
                UNAUTHORIZED,
                "Credentials are needed; see the WWW-Authenticate header.".to_owned(),
            ),
            Self::Malformed(sentence) => (INVALID_REQUEST, (*sentence).to_owned()),
            Self::Refused { why, .. } if why.is_temporary() => (
                INTERNAL_ERROR,
                format!(
                    "Credentials cannot be checked now ({}); retry later.",
                    why.word()
                ),
            ),
            Self::Refused { why, .. } => (
                UNAUTHORIZED,
                format!("Credentials not accepted ({}).", why.word()),
            ),
        };
        let mut body = BytesMut::new();
        let start =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{{\"code\":{code},\"message\":");
        body.extend_from_slice(start.as_bytes());
        push_string(&mut body, &message);
        body.extend_from_slice(b"}}");
        body
    }
}
