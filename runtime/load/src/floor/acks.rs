//! Parses the acknowledgements that the broker sends to the floor.

use std::io;

use bytes::{Buf as _, BytesMut};

/// An acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) kind: AckKind,
    pub(super) packet_id: u16,
    /// 0x80 and above is an error (MQTT 5.0, 2.4).
    pub(super) reason: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckKind {
    Puback,
    Pubrec,
    Pubcomp,
}

/// The next acknowledgement; `None` if it is incomplete.
pub(super) fn next(input: &mut BytesMut) -> io::Result<Option<Ack>> {
    let kind = match input.first() {
        None => return Ok(None),
        Some(0x40) => AckKind::Puback,
        Some(0x50) => AckKind::Pubrec,
        Some(0x70) => AckKind::Pubcomp,
        Some(other) => {
            let what = format!("unexpected packet of type {} from the broker", other >> 4);
            return Err(io::Error::other(what));
        }
    };
    // Even with a reason string an acknowledgement is shorter.
    let Some(&length) = input.get(1) else {
        return Ok(None);
    };
    if !(2..0x80).contains(&length) {
        return Err(io::Error::other("acknowledgement of the broker too long"));
    }
    let size = 2 + usize::from(length);
    let Some(body) = input.get(2..size) else {
        return Ok(None);
    };
    let ack = match *body {
        [high, low] => (high, low, 0),
        [high, low, reason, ..] => (high, low, reason),
        _ => return Ok(None),
    };
    input.advance(size);
    Ok(Some(Ack {
        kind,
        packet_id: u16::from_be_bytes([ack.0, ack.1]),
        reason: ack.2,
    }))
}

#[cfg(test)]
mod tests {
    use tidegate_binding_mqtt::codec::{self, Packet, ReasonCode, Version};

    use super::*;

    #[test]
    fn acknowledgements_are_read_as_the_codec_writes_them() {
        let ack = |packet_id, reason| codec::Ack {
            packet_id,
            reason: ReasonCode(reason),
            ..codec::Ack::default()
        };
        let mut out = BytesMut::new();
        for packet in [
            Packet::Puback(ack(1, 0)),
            Packet::Pubrec(ack(0x1234, 0x97)),
            Packet::Pubcomp(ack(65_535, 0)),
        ] {
            codec::encode(&packet, Version::V5, 1_000, &mut out).expect("a legal packet");
        }
        // A byte at a time: nothing is taken before it is whole.
        let (mut input, mut seen) = (BytesMut::new(), Vec::new());
        for byte in out {
            input.extend_from_slice(&[byte]);
            seen.extend(next(&mut input).expect("legal"));
        }
        let outcomes: Vec<_> = seen
            .iter()
            .map(|ack| (ack.kind, ack.packet_id, ack.reason))
            .collect();
        assert_eq!(
            outcomes,
            [
                (AckKind::Puback, 1, 0),
                (AckKind::Pubrec, 0x1234, 0x97),
                (AckKind::Pubcomp, 65_535, 0),
            ]
        );
        assert!(next(&mut BytesMut::from(&[0xE0, 0][..])).is_err());
    }
}
