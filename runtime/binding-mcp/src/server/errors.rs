//! Refusals: which code and which status, in which era. The only place that knows.

use ::http::StatusCode;
use bytes::{Bytes, BytesMut};
use tidegate_engine::{Context, OpenError};
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpReset, McpResetKind};

use super::envelope::Id;
use super::methods::{Era, LEGACY, MODERN, Method};
use crate::shown::shown;

/// An error that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: i64,
    message: String,
    data: Option<Bytes>,
    /// The status over HTTP.
    status: StatusCode,
}

impl Refusal {
    fn new(code: i64, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            status,
        }
    }

    /// The message is no JSON.
    pub(super) fn parse(message: impl Into<String>) -> Self {
        Self::new(-32700, StatusCode::BAD_REQUEST, message)
    }

    /// The message is no JSON-RPC.
    pub(super) fn invalid_request(message: &str) -> Self {
        Self::new(-32600, StatusCode::BAD_REQUEST, message)
    }

    /// `params` are not what the method takes.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, StatusCode::BAD_REQUEST, message)
    }

    /// There is no such method; the modern era has a status for it.
    pub(super) fn unknown_method(method: &str, era: Era) -> Self {
        let status = if era == Era::Modern {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        Self::new(
            -32601,
            status,
            format!("There is no method '{}' here.", shown(method)),
        )
    }

    /// A header contradicts the body (2026-07-28).
    pub(super) fn header_mismatch(message: impl Into<String>) -> Self {
        Self::new(-32020, StatusCode::BAD_REQUEST, message)
    }

    /// The revision is not spoken here.
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
        let mut refusal = Self::new(
            -32022,
            StatusCode::BAD_REQUEST,
            "Unsupported protocol version",
        );
        refusal.data = Some(data.freeze());
        refusal
    }

    /// Nothing new is taken any more. A client that is told so keeps its session, if only to end it.
    pub(super) fn stopping() -> Self {
        Self::unavailable("The gateway is stopping; retry later.")
    }

    /// The session is over: it was ended, or the gateway ends them all since it stops.
    pub(super) fn session_over(cx: &Context<'_>) -> Self {
        if cx.stopping() {
            Self::stopping()
        } else {
            Self::unknown_session()
        }
    }

    /// The session is not known, or is over.
    fn unknown_session() -> Self {
        let message = "This session is not known here, or is over; initialize a new one.";
        Self::new(-32001, StatusCode::NOT_FOUND, message)
    }

    /// There is no room, or no time any more.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(-32603, StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The worker has as many streams as it may.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it stands where errors are mapped"
    )]
    pub(super) fn no_room(error: OpenError) -> Self {
        Self::unavailable(format!("Too much is under way here: {error}."))
    }

    /// A subscription that was refused, or broke off.
    pub(super) fn of_subscription(reset: Option<McpReset>, era: Era) -> Self {
        reset.map_or_else(Self::internal, |reset| {
            Self::of_reset(reset, Method::ResourcesSubscribe, era)
        })
    }

    /// No answer came in time.
    pub(super) fn timed_out(millis: u64) -> Self {
        Self::new(
            -32603,
            StatusCode::OK,
            format!("No answer came within {millis} ms."),
        )
    }

    /// A fault of ours.
    pub(super) fn internal() -> Self {
        let message = "The request broke off inside the gateway; its log tells more.";
        Self::new(-32603, StatusCode::OK, message)
    }

    /// What a refusal behind this binding means to the client.
    pub(super) fn of_reset(reset: McpReset, method: Method, era: Era) -> Self {
        let legacy = era == Era::Legacy;
        let (code, status) = match reset.kind {
            McpResetKind::Invalid | McpResetKind::TooLarge => (-32602, StatusCode::OK),
            McpResetKind::NotFound => match method {
                Method::PromptsList | Method::CompletionComplete => {
                    let status = if legacy {
                        StatusCode::OK
                    } else {
                        StatusCode::NOT_FOUND
                    };
                    (-32601, status)
                }
                Method::ResourcesRead | Method::ResourcesSubscribe if legacy => {
                    (-32002, StatusCode::OK)
                }
                _ => (-32602, StatusCode::OK),
            },
            McpResetKind::NotAuthorized => (-32603, StatusCode::FORBIDDEN),
            McpResetKind::HeaderMismatch => (-32020, StatusCode::BAD_REQUEST),
            McpResetKind::TimedOut
            | McpResetKind::Unavailable
            | McpResetKind::SlowConsumer
            | McpResetKind::Internal => (-32603, StatusCode::OK),
            McpResetKind::Relayed => (reset.code.unwrap_or(-32603), StatusCode::OK),
        };
        Self {
            code,
            message: reset.message.to_string(),
            data: reset.data,
            status,
        }
    }

    /// The status over HTTP.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole message.
    pub(super) fn message(&self, id: &Id) -> Bytes {
        let mut out = BytesMut::with_capacity(96 + self.message.len());
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.text());
        out.extend_from_slice(b",\"error\":{\"code\":");
        out.extend_from_slice(self.code.to_string().as_bytes());
        out.extend_from_slice(b",\"message\":");
        push_string(&mut out, &self.message);
        if let Some(data) = &self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        out.extend_from_slice(b"}}");
        out.freeze()
    }
}

/// Every revision that is spoken, newest first.
pub(super) fn supported_versions() -> impl Iterator<Item = &'static str> {
    std::iter::once(MODERN).chain(LEGACY)
}
