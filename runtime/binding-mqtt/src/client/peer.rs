//! What it is that answers CONNECT with something other than MQTT 5, by the first bytes of the answer.
//!
//! A wrong port and a broker of an older version are the mistakes of the first hour: whoever waits is
//! told what answers there, and what to do.

use super::failure::Failure;
use crate::codec::ReasonCode;

/// How many bytes tell: a CONNACK of MQTT 3.1.1 has no more.
const ENOUGH: usize = 4;

/// The first bytes of the broker's answer to CONNECT.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: [u8; ENOUGH],
    length: usize,
}

/// What answers, other than a broker of MQTT 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Tls,
    Http,
    Mqtt311,
}

impl Answer {
    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let places = self.bytes.iter_mut().skip(self.length);
        for (place, byte) in places.zip(bytes) {
            *place = *byte;
            self.length += 1;
        }
    }

    /// Why an answer that is none of MQTT 5 came, where it shows.
    pub(super) fn failure(&self, broker: &str) -> Option<Failure> {
        let (code, what) = match self.peer()? {
            Peer::Tls => (
                ReasonCode::SERVER_UNAVAILABLE,
                "answers with TLS, which tidegate does not support: use its port without TLS \
                 (usually 1883).",
            ),
            Peer::Http => (
                ReasonCode::SERVER_UNAVAILABLE,
                "answers with HTTP: use its port for MQTT over TCP (usually 1883).",
            ),
            Peer::Mqtt311 => (
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                "supports only MQTT 3.1.1, and tidegate needs MQTT 5: enable MQTT 5 in it, or use \
                 a broker that has it.",
            ),
        };
        Some(Failure {
            denied: true,
            ..Failure::new(code, format!("{broker} {what}"))
        })
    }

    fn peer(&self) -> Option<Peer> {
        match self.bytes.get(..self.length)? {
            // Records of TLS: an alert, a handshake. No packet that a broker sends begins like that.
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
    fn the_first_bytes_tell_however_they_come() {
        assert_eq!(peer(&[]), None);
        assert_eq!(peer(&[&[0x15]]), Some(Peer::Tls));
        assert_eq!(peer(&[&[0x16, 3, 3, 0, 70, 2]]), Some(Peer::Tls));
        assert_eq!(peer(&[b"HTTP/1.1 400 Bad Request\r\n"]), Some(Peer::Http));
        let parts: [&[u8]; 3] = [&[0x20], &[2, 0], &[1, 0xff]];
        assert_eq!(peer(&parts), Some(Peer::Mqtt311));
    }

    #[test]
    fn what_a_broker_of_mqtt_5_sends_is_left_to_the_codec() {
        assert_eq!(peer(&[&[0x20, 2, 0]]), None, "not whole yet");
        assert_eq!(peer(&[&[0x20, 3, 0, 0x84, 0]]), None);
        assert_eq!(peer(&[&[0xe0, 0]]), None);
    }
}
