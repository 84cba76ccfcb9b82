//! Identifies a peer that answers CONNECT with something other than MQTT 5, by its first bytes.
//!
//! Wrong ports and old brokers are the most common mistakes, so the error says what answered and
//! what to do.

use super::failure::Failure;
use crate::codec::{ReasonCode, Version};

/// Number of bytes needed to identify a peer: a CONNACK of MQTT 3.1.1 has four.
const ENOUGH: usize = 4;

/// The first bytes of the broker's answer to CONNECT.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: [u8; ENOUGH],
    length: usize,
}

/// Peers other than an MQTT 5 broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Tls,
    Http,
    Mqtt311,
}

impl Answer {
    /// Adds received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let recipients = self.bytes.iter_mut().skip(self.length);
        for (recipient, byte) in recipients.zip(bytes) {
            *recipient = *byte;
            self.length += 1;
        }
    }

    /// The failure, if the answer to a CONNECT of this version is not one of MQTT, or of the other version.
    pub(super) fn failure(&self, broker: &str, version: Version) -> Option<Failure> {
        let (code, what) = match self.peer()? {
            Peer::Tls => (
                ReasonCode::SERVER_UNAVAILABLE,
                "answered with TLS; use a tls · client (url: mqtts://…), or the port without TLS \
                 (usually 1883).",
            ),
            Peer::Http => (
                ReasonCode::SERVER_UNAVAILABLE,
                "answered with HTTP; use the port for MQTT over TCP (usually 1883), or a ws · client \
                 (url: ws://…) for MQTT over WebSocket.",
            ),
            Peer::Mqtt311 if version == Version::V311 => return None,
            Peer::Mqtt311 => (
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                "answered in MQTT 3.1.1 to CONNECT of MQTT 5; use 'version: auto' or 'version: 3.1.1'.",
            ),
        };
        Some(Failure {
            denied: true,
            ..Failure::new(code, format!("{broker} {what}"))
        })
    }

    /// Whether the answer is one of MQTT 3.1.1.
    pub(super) fn is_version_311(&self) -> bool {
        self.peer() == Some(Peer::Mqtt311)
    }

    fn peer(&self) -> Option<Peer> {
        match self.bytes.get(..self.length)? {
            // TLS records: an alert or a handshake. No packet from a broker starts with these
            // bytes.
            [0x15 | 0x16, ..] => Some(Peer::Tls),
            [b'H', ..] => Some(Peer::Http),
            // A CONNACK without properties (MQTT 3.1.1, 3.2).
            [0x20, 0x02, _, _] => Some(Peer::Mqtt311),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(parts: &[&[u8]]) -> Option<Peer> {
        let mut answer = Answer::default();
        for part in parts {
            answer.push(part);
        }
        answer.peer()
    }

    #[test]
    fn a_peer_is_identified_by_its_first_bytes_in_any_number_of_parts() {
        assert_eq!(peer(&[]), None);
        assert_eq!(peer(&[&[0x15]]), Some(Peer::Tls));
        assert_eq!(peer(&[&[0x16, 3, 3, 0, 70, 2]]), Some(Peer::Tls));
        assert_eq!(peer(&[b"HTTP/1.1 400 Bad Request\r\n"]), Some(Peer::Http));
        let parts: [&[u8]; 3] = [&[0x20], &[2, 0], &[1, 0xff]];
        assert_eq!(peer(&parts), Some(Peer::Mqtt311));
    }

    #[test]
    fn an_answer_of_the_version_that_was_used_is_left_to_the_codec() {
        let mut answer = Answer::default();
        // A return code that does not exist.
        answer.push(&[0x20, 2, 0, 6]);
        assert!(answer.failure("The broker", Version::V311).is_none());
        let failure = answer.failure("The broker", Version::V5);
        assert!(failure.is_some_and(|it| it.reason.contains("answered in MQTT 3.1.1")));
    }

    #[test]
    fn mqtt_5_answers_are_left_to_the_codec() {
        assert_eq!(peer(&[&[0x20, 2, 0]]), None, "not whole yet");
        assert_eq!(peer(&[&[0x20, 3, 0, 0x84, 0]]), None);
        assert_eq!(peer(&[&[0xe0, 0]]), None);
    }
}
