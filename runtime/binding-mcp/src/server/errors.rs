//! Maps refusals to the error code and HTTP status of each era.

use ::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderValue, StatusCode};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{Context, OpenError};
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpReset, McpResetKind};

use super::events::CallOutcome;
use super::sink::Advice;
use crate::jsonrpc::{Era, Error, Id, Method, code, code_of, error_response, supported_versions};
use crate::shown::shown;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    error: Error,
    /// HTTP status.
    status: StatusCode,
    /// Whether the request timed out.
    timeout: bool,
    /// A header over HTTP that says what the client can do: `WWW-Authenticate` or `Retry-After`.
    advice: Option<Advice>,
    /// The option that refuses, if one does; else empty.
    rule: &'static str,
}

impl From<Error> for Refusal {
    /// An invalid message.
    fn from(error: Error) -> Self {
        Self {
            error,
            status: StatusCode::BAD_REQUEST,
            timeout: false,
            advice: None,
            rule: "",
        }
    }
}

impl Refusal {
    fn new(code: i64, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            error: Error::new(code, message),
            status,
            timeout: false,
            advice: None,
            rule: "",
        }
    }

    /// The message is not JSON-RPC, or not allowed here.
    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Error::invalid_request(message).into()
    }

    /// Invalid `params`.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Error::invalid_params(message).into()
    }

    /// Unknown method; the modern era has a status for it.
    pub(super) fn unknown_method(method: &str, era: Era) -> Self {
        let message = format!("Method not found: '{}'.", shown(method));
        Self::new(code::METHOD_NOT_FOUND, method_not_found(era), message)
    }

    /// A header contradicts the body (2026-07-28).
    pub(super) fn header_mismatch(message: impl Into<String>) -> Self {
        Error::new(code::HEADER_MISMATCH, message).into()
    }

    /// Unsupported protocol version.
    pub(super) fn unsupported_version(requested: &str) -> Self {
        let mut data = BytesMut::from(&b"{\"supported\":["[..]);
        for (index, version) in supported_versions().enumerate() {
            if index > 0 {
                data.extend_from_slice(b",");
            }
            push_string(&mut data, version);
        }
        data.extend_from_slice(b"],\"requested\":");
        push_string(&mut data, &shown(requested));
        data.extend_from_slice(b"}");
        Error::new(
            code::UNSUPPORTED_PROTOCOL_VERSION,
            "Unsupported protocol version",
        )
        .with_data(Some(data.freeze()))
        .into()
    }

    /// The gateway is stopping. The client keeps its session, if only to end it.
    pub(super) fn stopping() -> Self {
        Self::unavailable("The gateway is stopping; retry later.")
    }

    /// The session is unknown or has ended, also because the gateway is stopping.
    pub(super) fn session_over(cx: &Context<'_>) -> Self {
        if cx.stopping() {
            return Self::stopping();
        }
        let message = "Unknown or ended session; send 'initialize' to begin a new one.";
        Self::new(code::SESSION_NOT_FOUND, StatusCode::NOT_FOUND, message)
    }

    /// The caller's identity has expired.
    pub(super) fn expired() -> Self {
        let message = "The credentials have expired; authenticate again and repeat the request.";
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        Self {
            advice: Some(Box::new((WWW_AUTHENTICATE, challenge))),
            ..Self::new(code::UNAUTHORIZED, StatusCode::UNAUTHORIZED, message)
        }
    }

    /// The caller has sent too many requests, by the option `rule`; it may send another one in some
    /// seconds.
    pub(super) fn too_many(rule: &'static str, message: &str, seconds: u64) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self {
            advice: Some(Box::new((RETRY_AFTER, HeaderValue::from(seconds)))),
            rule,
            ..Self::new(code::TOO_MANY_REQUESTS, status, message)
        }
    }

    /// No capacity, or the gateway is stopping.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(code::INTERNAL_ERROR, status, message)
    }

    /// The worker's stream limit is reached.
    pub(super) fn no_room(_: OpenError) -> Self {
        Self::unavailable("Stream limit reached; retry later.")
    }

    /// No answer within the timeout.
    pub(super) fn timed_out(millis: u64) -> Self {
        let message = format!("No response within {millis} ms.");
        Self {
            timeout: true,
            ..Self::new(code::INTERNAL_ERROR, StatusCode::OK, message)
        }
    }

    /// The operation requires input that its client did not give.
    pub(super) fn no_input(why: &str) -> Self {
        Self::new(
            code::INVALID_REQUEST,
            StatusCode::OK,
            format!("This operation requires input from the client, and there is none: {why}."),
        )
    }

    /// The client did not give the input in time.
    pub(super) fn input_expired(millis: u64) -> Self {
        Self {
            timeout: true,
            ..Self::no_input(&format!("no answer within {millis} ms"))
        }
    }

    /// A `requestState` that was changed, was made for another request or caller, or has expired.
    pub(super) fn invalid_state() -> Self {
        Self::invalid_params(
            "Invalid params.requestState: it was changed, was made for another request or another \
             caller, or has expired. The operation may have been carried out; check before you send \
             it again.",
        )
    }

    /// A `requestState` that was used before.
    pub(super) fn used_state() -> Self {
        Self::invalid_params(
            "Invalid params.requestState: the operation was continued with it or has ended, and \
             may have been carried out; check before you send it again.",
        )
    }

    /// The client was away when a result arrived that is larger than what is kept for it, in bytes.
    pub(super) fn result_not_kept(limit: usize) -> Self {
        let message = format!(
            "The result is too large to be kept until its client comes back ({limit} bytes at most). \
             The operation may have been carried out; check before you send it again."
        );
        Self::new(code::INTERNAL_ERROR, StatusCode::OK, message)
    }

    /// Internal error.
    pub(super) fn internal() -> Self {
        let message = "Internal error in the gateway; see its log.";
        Self::new(code::INTERNAL_ERROR, StatusCode::OK, message)
    }

    /// Maps a reset of the exit; without one, the stream was aborted.
    pub(super) fn of_exit(reset: Option<McpReset>, method: Method, era: Era) -> Self {
        let Some(reset) = reset else {
            return Self::internal();
        };
        let timeout = reset.kind == McpResetKind::TimedOut;
        let code = code_of(&reset, method, era);
        let status = match reset.kind {
            McpResetKind::NotAuthorized => StatusCode::FORBIDDEN,
            McpResetKind::MissingCapability if era == Era::Modern => StatusCode::BAD_REQUEST,
            McpResetKind::HeaderMismatch => StatusCode::BAD_REQUEST,
            McpResetKind::NotFound | McpResetKind::Relayed if code == code::METHOD_NOT_FOUND => {
                method_not_found(era)
            }
            _ => StatusCode::OK,
        };
        let challenge = insufficient_scope(&reset.scopes);
        let advice = challenge.map(|challenge| Box::new((WWW_AUTHENTICATE, challenge)));
        let error = Error::new(code, reset.message.to_string()).with_data(reset.data);
        Self {
            error,
            status,
            timeout,
            advice,
            rule: "",
        }
    }

    /// The outcome of a call that ends with it.
    pub(super) const fn outcome(&self) -> CallOutcome {
        if self.timeout {
            CallOutcome::TimedOut
        } else {
            CallOutcome::Error
        }
    }

    /// HTTP status.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// A header over HTTP that says what the client can do.
    pub(super) const fn advice(&self) -> Option<&Advice> {
        self.advice.as_ref()
    }

    /// The option that refuses, if one does; else empty.
    pub(super) const fn rule(&self) -> &'static str {
        self.rule
    }

    /// The JSON-RPC error.
    pub(super) const fn error(&self) -> &Error {
        &self.error
    }

    /// The complete message.
    pub(super) fn message(&self, id: &Id) -> Bytes {
        error_response(id, &self.error)
    }
}

/// The challenge that names the scopes a caller can ask for (RFC 6750, 3.1). `None` without scopes, or
/// if one is not a scope of OAuth: it could not be asked for.
fn insufficient_scope(scopes: &[ByteString]) -> Option<HeaderValue> {
    let is_valid = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let are_valid = |scope: &ByteString| !scope.is_empty() && scope.bytes().all(is_valid);
    if scopes.is_empty() || !scopes.iter().all(are_valid) {
        return None;
    }
    let mut challenge = "Bearer error=\"insufficient_scope\", scope=\"".to_owned();
    for (index, scope) in scopes.iter().enumerate() {
        challenge.push_str(if index > 0 { " " } else { "" });
        challenge.push_str(scope);
    }
    challenge.push('"');
    HeaderValue::from_str(&challenge).ok()
}

/// HTTP status of an unknown method.
const fn method_not_found(era: Era) -> StatusCode {
    match era {
        Era::Modern => StatusCode::NOT_FOUND,
        Era::Legacy => StatusCode::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_scopes_that_can_be_asked_for() {
        let challenge = |scopes: &[&str]| {
            let scopes: Vec<ByteString> = scopes.iter().map(|scope| (*scope).into()).collect();
            let challenge = insufficient_scope(&scopes)?;
            challenge.to_str().ok().map(str::to_owned)
        };
        let expected = r#"Bearer error="insufficient_scope", scope="plant:write a""#;
        assert_eq!(challenge(&["plant:write", "a"]).as_deref(), Some(expected));
        for scopes in [
            &[][..],
            &[""],
            &["a b"],
            &["a\""],
            &["a", "\\"],
            &["\n"],
            &["ä"],
        ] {
            assert_eq!(challenge(scopes), None, "{scopes:?}");
        }
    }
}
