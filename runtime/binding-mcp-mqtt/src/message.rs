//! Reassembles an MQTT message from its fragments.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_streams::Pooled;
use tidegate_streams::mqtt::{MqttDataEx, MqttSubscribeData, MqttSubscribeFlags};
use tidegate_streams::{Data, DataEx};

use tidegate_streams::mqtt::trace_parent;

/// A whole message.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) topic: ByteString,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) content_type: Option<ByteString>,
    pub(crate) correlation: Option<Bytes>,
    /// The trace that it belongs to.
    pub(crate) traceparent: Option<ByteString>,
    /// The payload, in the parts in which it was received.
    pub(crate) payload: SmallVec<[Bytes; 1]>,
}

impl Message {
    fn new(extension: MqttSubscribeData) -> Self {
        Self {
            traceparent: trace_parent(&extension.properties),
            topic: extension.topic,
            qos: extension.qos,
            retain: extension.flags.contains(MqttSubscribeFlags::RETAIN),
            content_type: extension.content_type,
            correlation: extension.correlation,
            payload: SmallVec::new(),
        }
    }

    /// Whether the payload is UTF-8; a character may be split between parts.
    pub(crate) fn is_text(&self) -> bool {
        is_utf8(&self.payload)
    }
}

/// The result of adding a fragment.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// More fragments follow.
    Incomplete,
    /// The message is complete.
    Complete(Message),
    /// The message is larger than the bound; with its topic, for the error.
    TooLarge(ByteString),
}

/// Reassembles messages, one after the other. It drops a message that is larger than the bound, with
/// the rest of its fragments.
#[derive(Debug)]
pub(crate) struct Assembly {
    message: Option<Message>,
    length: usize,
    bound: usize,
}

impl Assembly {
    /// Accepts payloads of up to `bound` bytes.
    pub(crate) const fn new(bound: usize) -> Self {
        Self {
            message: None,
            length: 0,
            bound,
        }
    }

    /// Whether a message is incomplete.
    pub(crate) const fn is_within_a_message(&self) -> bool {
        self.message.is_some()
    }

    pub(crate) fn add(&mut self, data: Data) -> Assembled {
        if data.flags.is_init() {
            let extension = match data.extension.map(Pooled::into_inner) {
                Some(DataEx::Mqtt(MqttDataEx::Subscribe(extension))) => extension,
                _ => MqttSubscribeData::default(),
            };
            self.message = Some(Message::new(extension));
            self.length = 0;
        }
        let Some(message) = self.message.as_mut() else {
            return Assembled::Incomplete;
        };
        self.length += data.payload.len();
        if self.length > self.bound {
            let topic = message.topic.clone();
            self.message = None;
            return Assembled::TooLarge(topic);
        }
        if !data.payload.is_empty() {
            message.payload.push(data.payload);
        }
        match self.message.take_if(|_| data.flags.is_fin()) {
            Some(message) => Assembled::Complete(message),
            None => Assembled::Incomplete,
        }
    }
}

/// Whether the concatenated chunks are UTF-8; a character may be split between them.
pub(crate) fn is_utf8<'a>(chunks: impl IntoIterator<Item = &'a Bytes>) -> bool {
    let mut cut: Vec<u8> = Vec::new();
    for chunk in chunks {
        let mut rest: &[u8] = chunk;
        while !cut.is_empty()
            && let Some((byte, tail)) = rest.split_first()
        {
            cut.push(*byte);
            rest = tail;
            match std::str::from_utf8(&cut) {
                Ok(_) => cut.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => {
                cut.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
            }
            Err(_) => return false,
        }
    }
    cut.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_streams::DataFlags;

    #[test]
    fn utf8_is_recognised_wherever_it_is_split() {
        let samples: [&[u8]; 6] = [
            "aä€\u{10ffff}z".as_bytes(),
            b"",
            b"\xff",
            b"a\xc3",
            b"\xe2\x82z",
            b"\xed\xa0\x80",
        ];
        for bytes in samples {
            let whole = std::str::from_utf8(bytes).is_ok();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    let chunks = chunks.map(Bytes::copy_from_slice);
                    assert_eq!(is_utf8(&chunks), whole, "{chunks:?}");
                }
            }
        }
    }

    #[test]
    fn a_message_over_the_bound_is_dropped_and_the_next_one_is_complete() {
        let mut assembly = Assembly::new(4);
        let part = |flags, bytes: &'static [u8]| Data {
            flags,
            payload: Bytes::from_static(bytes),
            extension: Some(Pooled::new(
                MqttSubscribeData {
                    topic: "t".into(),
                    ..MqttSubscribeData::default()
                }
                .into(),
            )),
        };
        assert!(matches!(
            assembly.add(part(DataFlags::INIT, b"abc")),
            Assembled::Incomplete
        ));
        assert!(
            matches!(assembly.add(part(DataFlags::FIN, b"de")), Assembled::TooLarge(t) if t == "t")
        );
        assert!(matches!(
            assembly.add(part(DataFlags::FIN, b"f")),
            Assembled::Incomplete
        ));
        let Assembled::Complete(message) = assembly.add(part(DataFlags::WHOLE, b"abcd")) else {
            panic!("a whole message");
        };
        assert_eq!(message.payload[..], [Bytes::from_static(b"abcd")]);
        let Assembled::Complete(empty) = assembly.add(part(DataFlags::WHOLE, b"")) else {
            panic!("a whole message");
        };
        assert!(empty.payload.is_empty() && empty.is_text());
    }
}
