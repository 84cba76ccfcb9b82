//! Why a stream is refused or a connection was lost, in words and as a reason code.

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_engine::streams::ResetEx;
use tidegate_engine::streams::mqtt::{MqttDelivery, MqttReset};

use crate::codec::ReasonCode;

/// Why, as a sentence and a reason code.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: ReasonCode,
    pub(super) reason: ByteString,
    /// The broker refused who we are or what we speak: asking again at once is of no use.
    pub(super) denied: bool,
    /// It is this side that could not, and not the broker.
    pub(super) ours: bool,
}

impl Failure {
    pub(super) fn new(code: ReasonCode, reason: impl Into<ByteString>) -> Self {
        Self {
            code,
            reason: reason.into(),
            denied: false,
            ours: false,
        }
    }

    /// There is no room for what was to be opened here.
    pub(super) fn our_own(reason: String) -> Self {
        Self {
            ours: true,
            ..Self::new(ReasonCode::QUOTA_EXCEEDED, reason)
        }
    }

    /// The broker refused CONNECT.
    pub(super) fn refused(broker: &str, code: ReasonCode, told: Option<&str>) -> Self {
        let why = told_with(code, told);
        let denied = matches!(
            code,
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
                | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
                | ReasonCode::BAD_USER_NAME_OR_PASSWORD
                | ReasonCode::NOT_AUTHORIZED
                | ReasonCode::BANNED
                | ReasonCode::BAD_AUTHENTICATION_METHOD
        );
        let hint = match code {
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => {
                " It supports only MQTT 3.1.1, and tidegate needs MQTT 5."
            }
            _ => "",
        };
        Self {
            denied,
            ..Self::new(
                code,
                format!("{broker} refused the connection: {why}.{hint}"),
            )
        }
    }

    /// Whether it concerns one client identifier alone, and not whoever else connects.
    pub(super) const fn is_of_its_identifier(&self) -> bool {
        matches!(
            self.code,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID | ReasonCode::SESSION_TAKEN_OVER
        )
    }

    /// The same, with the time until the next attempt.
    pub(super) fn with_next_attempt(&self, left: Duration) -> Self {
        let seconds = left.as_micros().div_ceil(1_000_000);
        let reason = self.reason.trim_end_matches('.');
        Self {
            reason: format!("{reason}; next attempt in {seconds} s.").into(),
            ..self.clone()
        }
    }

    /// What the stream is told.
    pub(super) fn reset(&self, delivery: MqttDelivery) -> ResetEx {
        MqttReset {
            reason_code: self.code.0,
            reason: self.reason.clone(),
            delivery,
        }
        .into()
    }
}

/// A reason code in words, with what the broker has to say about it.
pub(super) fn told_with(code: ReasonCode, told: Option<&str>) -> String {
    let ReasonCode(number) = code;
    match told {
        Some(told) if !told.is_empty() => {
            // What a broker says ends up in front of people and models: no more than a sentence.
            let told: String = told.chars().filter(|c| !c.is_control()).take(300).collect();
            format!("{code} (0x{number:02X}, \"{told}\")")
        }
        _ => format!("{code} (0x{number:02X})"),
    }
}
