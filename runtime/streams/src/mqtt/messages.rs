//! Puts the messages of a subscription together from the DATA frames that carry them.

use bytes::{Bytes, BytesMut};

use super::{MqttDataEx, MqttSubscribeData};
use crate::{Data, DataEx, Pooled};

/// A whole message of a subscription.
#[derive(Debug, Clone)]
pub struct MqttMessage {
    /// What the message says beside its payload.
    pub data: MqttSubscribeData,
    /// The payload; one byte longer than the bound if it was cut.
    pub payload: Bytes,
}

/// The message that is being received, of a stream. A payload of more than `bound` bytes is cut to one byte
/// more than that, which tells that it is too large.
#[derive(Debug)]
pub struct MqttMessages {
    bound: usize,
    message: Option<(MqttSubscribeData, BytesMut)>,
}

impl MqttMessages {
    /// With the longest payload, in bytes.
    pub const fn of_at_most(bound: usize) -> Self {
        Self {
            bound,
            message: None,
        }
    }

    /// Adds a part; returns the message that it completes.
    pub fn add(&mut self, mut part: Data) -> Option<MqttMessage> {
        if part.flags.is_init() {
            let data = match part.extension.take().map(Pooled::into_inner) {
                Some(DataEx::Mqtt(MqttDataEx::Subscribe(data))) => data,
                _ => MqttSubscribeData::default(),
            };
            if part.flags.is_fin() {
                // Nearly every message: nothing is copied here.
                self.message = None;
                return Some(MqttMessage {
                    data,
                    payload: part.payload,
                });
            }
            self.message = Some((data, BytesMut::new()));
        }
        let (_, payload) = self.message.as_mut()?;
        let room = (self.bound + 1).saturating_sub(payload.len());
        let taken = part.payload.len().min(room);
        payload.extend_from_slice(part.payload.get(..taken).unwrap_or_default());
        if !part.flags.is_fin() {
            return None;
        }
        self.message.take().map(|(data, payload)| MqttMessage {
            data,
            payload: payload.freeze(),
        })
    }

    /// The stream is over: what was received of a message is dropped.
    pub fn clear(&mut self) {
        self.message = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataFlags;

    fn part(flags: DataFlags, payload: &'static [u8]) -> Data {
        let extension = MqttSubscribeData {
            topic: "t".into(),
            ..MqttSubscribeData::default()
        };
        Data {
            flags,
            payload: Bytes::from_static(payload),
            extension: flags.is_init().then(|| Pooled::new(extension.into())),
        }
    }

    #[test]
    fn a_message_in_parts_is_put_together_and_a_large_one_cut() {
        let mut messages = MqttMessages::of_at_most(4);
        assert!(messages.add(part(DataFlags::INIT, b"ab")).is_none());
        assert!(messages.add(part(DataFlags::MIDDLE, b"c")).is_none());
        let message = messages.add(part(DataFlags::FIN, b"d")).expect("whole");
        assert_eq!(
            (&*message.data.topic, &message.payload[..]),
            ("t", &b"abcd"[..])
        );
        assert!(messages.add(part(DataFlags::INIT, b"abc")).is_none());
        let message = messages.add(part(DataFlags::FIN, b"defgh")).expect("whole");
        assert_eq!(
            message.payload.len(),
            5,
            "one more than the bound tells that it was cut"
        );
        assert!(
            messages.add(part(DataFlags::FIN, b"x")).is_none(),
            "without a beginning"
        );
        assert!(messages.add(part(DataFlags::INIT, b"ab")).is_none());
        messages.clear();
        assert!(messages.add(part(DataFlags::FIN, b"x")).is_none());
    }
}
