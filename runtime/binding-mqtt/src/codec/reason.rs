//! Reason codes (MQTT 5.0, 2.4).

use std::fmt;

use super::PacketType;

/// A reason code. Values from 0x80 are errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ReasonCode(pub u8);

macro_rules! reason_codes {
    ($($value:literal $constant:ident $words:literal [$($packet:ident)*]),* $(,)?) => {
        impl ReasonCode {
            $( #[doc = concat!("*", $words, "*")] pub const $constant: Self = Self($value); )*

            /// The name in the specification.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $( $value => $words, )*
                    _ => "Unknown reason",
                }
            }

            /// Whether the specification allows it in a packet.
            pub(super) const fn belongs_to(self, packet: PacketType) -> bool {
                match self.0 {
                    $( $value => matches!(packet, $(PacketType::$packet)|*), )*
                    _ => false,
                }
            }
        }
    };
}

reason_codes! {
    0x00 SUCCESS "Success"
        [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth],
    0x01 GRANTED_QOS_1 "Granted QoS 1" [Suback],
    0x02 GRANTED_QOS_2 "Granted QoS 2" [Suback],
    0x04 DISCONNECT_WITH_WILL "Disconnect with Will Message" [Disconnect],
    0x10 NO_MATCHING_SUBSCRIBERS "No matching subscribers" [Puback Pubrec],
    0x11 NO_SUBSCRIPTION_EXISTED "No subscription existed" [Unsuback],
    0x18 CONTINUE_AUTHENTICATION "Continue authentication" [Auth],
    0x19 RE_AUTHENTICATE "Re-authenticate" [Auth],
    0x80 UNSPECIFIED_ERROR "Unspecified error"
        [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x81 MALFORMED_PACKET "Malformed Packet" [Connack Disconnect],
    0x82 PROTOCOL_ERROR "Protocol Error" [Connack Disconnect],
    0x83 IMPLEMENTATION_SPECIFIC_ERROR "Implementation specific error"
        [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x84 UNSUPPORTED_PROTOCOL_VERSION "Unsupported Protocol Version" [Connack],
    0x85 CLIENT_IDENTIFIER_NOT_VALID "Client Identifier not valid" [Connack],
    0x86 BAD_USER_NAME_OR_PASSWORD "Bad User Name or Password" [Connack],
    0x87 NOT_AUTHORIZED "Not authorized" [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x88 SERVER_UNAVAILABLE "Server unavailable" [Connack],
    0x89 SERVER_BUSY "Server busy" [Connack Disconnect],
    0x8A BANNED "Banned" [Connack],
    0x8B SERVER_SHUTTING_DOWN "Server shutting down" [Disconnect],
    0x8C BAD_AUTHENTICATION_METHOD "Bad authentication method" [Connack Disconnect],
    0x8D KEEP_ALIVE_TIMEOUT "Keep Alive timeout" [Disconnect],
    0x8E SESSION_TAKEN_OVER "Session taken over" [Disconnect],
    0x8F TOPIC_FILTER_INVALID "Topic Filter invalid" [Suback Unsuback Disconnect],
    0x90 TOPIC_NAME_INVALID "Topic Name invalid" [Connack Puback Pubrec Disconnect],
    0x91 PACKET_IDENTIFIER_IN_USE "Packet Identifier in use" [Puback Pubrec Suback Unsuback],
    0x92 PACKET_IDENTIFIER_NOT_FOUND "Packet Identifier not found" [Pubrel Pubcomp],
    0x93 RECEIVE_MAXIMUM_EXCEEDED "Receive Maximum exceeded" [Disconnect],
    0x94 TOPIC_ALIAS_INVALID "Topic Alias invalid" [Disconnect],
    0x95 PACKET_TOO_LARGE "Packet too large" [Connack Disconnect],
    0x96 MESSAGE_RATE_TOO_HIGH "Message rate too high" [Disconnect],
    0x97 QUOTA_EXCEEDED "Quota exceeded" [Connack Puback Pubrec Suback Disconnect],
    0x98 ADMINISTRATIVE_ACTION "Administrative action" [Disconnect],
    0x99 PAYLOAD_FORMAT_INVALID "Payload format invalid" [Connack Puback Pubrec Disconnect],
    0x9A RETAIN_NOT_SUPPORTED "Retain not supported" [Connack Disconnect],
    0x9B QOS_NOT_SUPPORTED "QoS not supported" [Connack Disconnect],
    0x9C USE_ANOTHER_SERVER "Use another server" [Connack Disconnect],
    0x9D SERVER_MOVED "Server moved" [Connack Disconnect],
    0x9E SHARED_SUBSCRIPTIONS_NOT_SUPPORTED "Shared Subscriptions not supported"
        [Suback Disconnect],
    0x9F CONNECTION_RATE_EXCEEDED "Connection rate exceeded" [Connack Disconnect],
    0xA0 MAXIMUM_CONNECT_TIME "Maximum connect time" [Disconnect],
    0xA1 SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED "Subscription Identifiers not supported"
        [Suback Disconnect],
    0xA2 WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED "Wildcard Subscriptions not supported"
        [Suback Disconnect],
}

impl ReasonCode {
    /// Whether it is an error.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The reason code equivalent to a CONNACK return code of MQTT 3.1.1 (3.2.2.3).
    pub(super) const fn from_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => return None,
        })
    }

    /// The closest CONNACK return code of MQTT 3.1.1.
    pub(super) const fn to_return_code(self) -> u8 {
        match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED => 5,
            _ => 3,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} {}", self.0, self.name())
    }
}
