//! A PUBLISH that is sent again: what differs from the first time.

use super::reader::varint;

/// The position of DUP in the first byte (MQTT 5.0, 3.3.1.1).
const DUP: u8 = 0b1000;
/// The identifiers of properties that may come before the Message Expiry Interval, and its own.
const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;

/// Sets DUP in the header of a PUBLISH that [`encode_publish`](super::encode_publish) has made.
pub fn set_duplicate(header: &mut [u8]) {
    if let Some(first) = header.first_mut() {
        *first |= DUP;
    }
}

/// Replaces the Message Expiry Interval in the header of a PUBLISH of MQTT 5 at `QoS` 1 or 2 that
/// [`encode_publish`](super::encode_publish) has made, in seconds. Returns whether the header has one.
pub fn set_message_expiry(header: &mut [u8], seconds: u32) -> bool {
    let Some(at) = message_expiry(header) else {
        return false;
    };
    match header.get_mut(at..at + 4) {
        Some(place) => {
            place.copy_from_slice(&seconds.to_be_bytes());
            true
        }
        None => false,
    }
}

/// The position of the value.
fn message_expiry(header: &[u8]) -> Option<usize> {
    let (_, remaining) = varint(header.get(1..)?).ok()??;
    let topic = 1 + remaining;
    let [high, low] = *header.get(topic..)?.first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Behind the topic and the packet identifier.
    let properties = topic + 2 + length + 2;
    let (_, size) = varint(header.get(properties..)?).ok()??;
    let mut at = properties + size;
    if header.get(at) == Some(&PAYLOAD_FORMAT) {
        at += 2;
    }
    (header.get(at) == Some(&MESSAGE_EXPIRY)).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::super::{Publish, PublishProperties, Version, encode_publish};
    use super::*;

    fn header(publish: &Publish, length: usize) -> BytesMut {
        let mut out = BytesMut::new();
        let encoded = encode_publish(publish, length, Version::V5, usize::MAX, &mut out);
        encoded.expect("a packet");
        out
    }

    proptest! {
        #[test]
        fn only_the_interval_and_dup_change(
            topic in "[a-z/]{1,200}",
            format in proptest::option::of(0..2u8),
            expiry in proptest::option::of(any::<u32>()),
            left in any::<u32>(),
            content_type in proptest::option::of("[a-z]{0,200}"),
            length in 0..100_000usize,
        ) {
            let mut publish = Publish {
                qos: 1,
                packet_id: 0x0202,
                topic: topic.into(),
                properties: PublishProperties {
                    payload_format: format,
                    message_expiry: expiry,
                    content_type: content_type.map(Into::into),
                    ..PublishProperties::default()
                },
                ..Publish::default()
            };
            let mut again = header(&publish, length);
            set_duplicate(&mut again);
            prop_assert_eq!(set_message_expiry(&mut again, left), expiry.is_some());
            publish.dup = true;
            publish.properties.message_expiry = expiry.map(|_| left);
            prop_assert_eq!(again, header(&publish, length));
        }

        #[test]
        fn other_bytes_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let length = bytes.len();
            set_message_expiry(&mut bytes, 7);
            prop_assert_eq!(bytes.len(), length);
        }
    }
}
