//! Why a stream is refused or a connection was lost, in words and as a reason code.

use bytestring::ByteString;
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
}

impl Failure {
    pub(super) fn new(code: ReasonCode, reason: impl Into<ByteString>) -> Self {
        Self {
            code,
            reason: reason.into(),
            denied: false,
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
        Self {
            denied,
            ..Self::new(code, format!("{broker} refused the connection: {why}."))
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
