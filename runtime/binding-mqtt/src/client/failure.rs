//! The reason why a stream is reset or a connection was lost.

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_engine::streams::ResetEx;
use tidegate_engine::streams::mqtt::{MqttDelivery, MqttReset};

use crate::codec::ReasonCode;

/// A reason, as a sentence and an MQTT reason code.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: ReasonCode,
    pub(super) reason: ByteString,
    /// The broker refused the credentials or the protocol version, so retrying soon does not help.
    pub(super) denied: bool,
    /// The cause is on this side, not in the broker.
    pub(super) is_local: bool,
    /// The broker refused the credentials.
    pub(super) credentials: bool,
    pub(super) scope: Scope,
}

/// What has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The connection, or a limit: another attempt may succeed.
    Connection,
    /// The message: it is refused each time.
    Message,
}

impl Failure {
    pub(super) fn new(code: ReasonCode, reason: impl Into<ByteString>) -> Self {
        Self {
            code,
            reason: reason.into(),
            denied: false,
            is_local: false,
            credentials: false,
            scope: Scope::Connection,
        }
    }

    /// The message is at fault, not the connection.
    #[must_use]
    pub(super) fn of_message(self) -> Self {
        Self {
            scope: Scope::Message,
            ..self
        }
    }

    /// A local failure, such as an exhausted quota.
    pub(super) fn local(reason: String) -> Self {
        Self {
            is_local: true,
            ..Self::new(ReasonCode::QUOTA_EXCEEDED, reason)
        }
    }

    /// The broker refused CONNECT; that of an account, for a caller.
    pub(super) fn refused(
        broker: &str,
        caller: Option<&str>,
        code: ReasonCode,
        reason_string: Option<&str>,
    ) -> Self {
        let of_caller = caller.map_or_else(String::new, |it| format!(" of '{}'", printable(it)));
        let why = describe_reason(code, reason_string);
        let denied = matches!(
            code,
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
                | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
                | ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::BANNED
                | ReasonCode::BAD_AUTHENTICATION_METHOD
        );
        let credentials = matches!(
            code,
            ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::BANNED
                | ReasonCode::BAD_AUTHENTICATION_METHOD
        );
        let hint = match code {
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => {
                " It does not support this version of MQTT (see 'version')."
            }
            _ => "",
        };
        Self {
            denied,
            credentials,
            ..Self::new(
                code,
                format!("{broker} refused the connection{of_caller}: {why}.{hint}"),
            )
        }
    }

    /// Whether the failure concerns only this client identifier.
    pub(super) const fn concerns_client_id(&self) -> bool {
        matches!(
            self.code,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID | ReasonCode::SESSION_TAKEN_OVER
        )
    }

    /// The same reason, with the time until the next attempt.
    pub(super) fn with_next_attempt(&self, left: Duration) -> Self {
        let seconds = left.as_micros().div_ceil(1_000_000);
        let reason = self.reason.trim_end_matches('.');
        Self {
            reason: format!("{reason}; next attempt in {seconds} s.").into(),
            ..self.clone()
        }
    }

    /// The RESET of a stream.
    pub(super) fn reset(&self, delivery: MqttDelivery) -> ResetEx {
        MqttReset {
            reason_code: self.code.0,
            reason: self.reason.clone(),
            delivery,
            refused: self.scope == Scope::Message,
        }
        .into()
    }
}

/// People and models read this, so at most one sentence is kept.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Describes a reason code, with the Reason String of the broker.
pub(super) fn describe_reason(code: ReasonCode, reason_string: Option<&str>) -> String {
    let ReasonCode(number) = code;
    match reason_string {
        Some(reason_string) if !reason_string.is_empty() => {
            let reason_string = printable(reason_string);
            format!("{code} (0x{number:02X}, \"{reason_string}\")")
        }
        _ => format!("{code} (0x{number:02X})"),
    }
}
