//! A publish stream: reassembles its messages and tracks which of them are safe.
//!
//! A message is sent only when its last part was received, so a caller that stops halfway never
//! leaves half a packet in the byte stream. *Safe* means acknowledged as its `QoS` requires.
//! WINDOW's `acknowledge` advances over a message when it is safe; `maximum` is raised to make room
//! for the parts of a large message.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_engine::Fifo;
use tidegate_engine::streams::mqtt::{
    MqttDataEx, MqttDelivery, MqttEnd, MqttPublish, MqttPublishData, MqttPublishFlags,
};
use tidegate_engine::streams::{Data, DataEx, Frame, Pooled, Window};

use super::failure::Failure;
use super::strings::check_properties;
use crate::codec::{Parts, ReasonCode};

/// Up to this number, parts are kept as received, whatever their size.
const PARTS: usize = 64;
/// If there are more parts, a part below this size in bytes is merged with its neighbours.
const SMALL: usize = 512;

/// A complete message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: ByteString,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) extension: Option<Pooled<DataEx>>,
    pub(super) parts: Parts,
    pub(super) length: usize,
}

/// The metadata in the first part of a message.
pub(super) fn metadata(extension: Option<&Pooled<DataEx>>) -> Option<&MqttPublishData> {
    match &**extension? {
        DataEx::Mqtt(MqttDataEx::Publish(metadata)) => Some(metadata),
        DataEx::Mqtt(MqttDataEx::Subscribe(_)) | DataEx::Mcp(_) | DataEx::Store(_) => None,
    }
}

impl Message {
    /// What of the metadata MQTT 3.1.1 cannot express, if the receiver relies on it. The content
    /// type, the payload format and user properties only describe the payload.
    pub(super) fn needs_version_5(&self) -> Option<&'static str> {
        let metadata = metadata(self.extension.as_ref())?;
        let optional = MqttPublishFlags::ANSWER_PROPERTIES_OPTIONAL;
        let has_answer = metadata.response_topic.is_some() || metadata.correlation.is_some();
        if has_answer && !metadata.flags.contains(optional) {
            return Some("response topics and correlation data");
        }
        let optional = MqttPublishFlags::EXPIRY_OPTIONAL;
        let has_expiry = metadata.expiry_interval >= 0 && !metadata.flags.contains(optional);
        has_expiry.then_some("message expiry")
    }

    /// Takes the metadata.
    pub(super) fn take_extension(&mut self) -> MqttPublishData {
        match self.extension.take().map(Pooled::into_inner) {
            Some(DataEx::Mqtt(MqttDataEx::Publish(metadata))) => metadata,
            _ => MqttPublishData::default(),
        }
    }
}

/// A message that is not complete yet.
#[derive(Debug)]
struct Gathering {
    extension: Option<Pooled<DataEx>>,
    parts: Parts,
    /// Merges small parts once there are many, so that the overhead per part stays in proportion to
    /// the payload.
    tail: BytesMut,
    length: usize,
    /// The length announced with the first part.
    total: Option<usize>,
}

impl Gathering {
    fn push(&mut self, part: Bytes) {
        self.length += part.len();
        if part.is_empty() {
            return;
        }
        if self.parts.len() >= PARTS && part.len() < SMALL {
            self.tail.extend_from_slice(&part);
            return;
        }
        self.flush_tail();
        self.parts.push(part);
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(self.tail.split().freeze());
        }
    }
}

/// The progress of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Queued; nothing of it was written.
    Waiting,
    /// Written, at least in part.
    Written,
    /// Acknowledged as its `QoS` requires.
    Safe,
}

#[derive(Debug)]
struct Outstanding {
    length: usize,
    stage: Stage,
}

/// A publish stream.
#[derive(Debug)]
pub(super) struct Publication {
    topic: ByteString,
    qos: u8,
    retain: bool,
    gathering: Option<Gathering>,
    outstanding: Fifo<Outstanding>,
    /// The number of the first outstanding message.
    first: u64,
    received: u64,
    acknowledged: u64,
    base: u32,
    maximum: u32,
    ended: bool,
    /// The reason code of the last acknowledgement that had another one than *Success*.
    reason_code: ReasonCode,
    /// Whether acknowledgements have reason codes: not in MQTT 3.1.1.
    has_reason: bool,
}

impl Publication {
    /// A stream that has begun with `window` bytes of credit.
    pub(super) fn new(begin: &MqttPublish, window: u32) -> Self {
        Self {
            topic: begin.topic.clone(),
            qos: begin.qos,
            retain: begin.flags.contains(MqttPublishFlags::RETAIN),
            gathering: None,
            outstanding: Fifo::new(),
            first: 0,
            received: 0,
            acknowledged: 0,
            base: window,
            maximum: window,
            ended: false,
            reason_code: ReasonCode::SUCCESS,
            has_reason: true,
        }
    }

    /// Adds a part. Returns the message and its number if it was the last part. `limit` bounds the
    /// payload, in bytes.
    pub(super) fn take(
        &mut self,
        data: Data,
        limit: usize,
    ) -> Result<Option<(u64, Message)>, Failure> {
        self.received += data.payload.len() as u64;
        let gathering = if data.flags.is_init() {
            if self.gathering.is_some() {
                let reason = "A message began before the previous one was complete.";
                let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
                return Err(Failure::new(code, reason));
            }
            let extension = data.extension;
            let metadata = metadata(extension.as_ref());
            metadata.map_or(Ok(()), check_properties)?;
            let deferred = metadata.map_or(0, |metadata| metadata.deferred);
            let deferred = usize::try_from(deferred).unwrap_or(usize::MAX);
            self.gathering.insert(Gathering {
                total: (deferred > 0).then(|| deferred.saturating_add(data.payload.len())),
                extension,
                parts: Parts::new(),
                tail: BytesMut::new(),
                length: 0,
            })
        } else if let Some(gathering) = &mut self.gathering {
            gathering
        } else {
            let reason = "A part of a message was received without its first part.";
            return Err(Failure::new(
                ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                reason,
            ));
        };
        let length = gathering.length + data.payload.len();
        let length = length.max(gathering.total.unwrap_or(0));
        if length > limit {
            return Err(Failure::new(
                ReasonCode::PACKET_TOO_LARGE,
                format!(
                    "The message to '{}' has at least {length} bytes; at most {limit} are allowed \
                     (maxMessageSize).",
                    self.topic
                ),
            ));
        }
        gathering.push(data.payload);
        if !data.flags.is_fin() {
            return Ok(None);
        }
        Ok(self.gathering.take().map(|whole| self.complete(whole)))
    }

    fn complete(&mut self, mut whole: Gathering) -> (u64, Message) {
        whole.flush_tail();
        let number = self.first + self.outstanding.len() as u64;
        self.outstanding.push_back(Outstanding {
            length: whole.length,
            stage: Stage::Waiting,
        });
        let metadata = metadata(whole.extension.as_ref());
        let retain =
            metadata.is_some_and(|metadata| metadata.flags.contains(MqttPublishFlags::RETAIN));
        let message = Message {
            topic: self.topic.clone(),
            qos: self.qos.max(metadata.map_or(0, |metadata| metadata.qos)),
            retain: self.retain || retain,
            extension: whole.extension,
            parts: whole.parts,
            length: whole.length,
        };
        (number, message)
    }

    /// The broker accepted a message with this reason code.
    pub(super) fn accepted(&mut self, reason: ReasonCode) {
        self.reason_code = reason;
    }

    /// A message was acknowledged in MQTT 3.1.1, without a reason code.
    pub(super) const fn accepted_without_reason(&mut self) {
        self.has_reason = false;
    }

    /// The END of the reply.
    pub(super) fn reply_end(&self) -> Frame {
        match self.reason_code {
            ReasonCode::SUCCESS if self.has_reason => Frame::end(),
            ReasonCode(reason_code) => Frame::end_with(MqttEnd {
                reason_code,
                has_reason: self.has_reason,
                ..MqttEnd::default()
            }),
        }
    }

    pub(super) const fn topic(&self) -> &ByteString {
        &self.topic
    }

    /// The `QoS` in the BEGIN of the stream.
    pub(super) const fn qos(&self) -> u8 {
        self.qos
    }

    /// Size of the incomplete message, in bytes.
    pub(super) fn gathered(&self) -> usize {
        self.gathering.as_ref().map_or(0, |part| part.length)
    }

    /// The WINDOW that makes room for the rest of an incomplete message, if it needs more.
    pub(super) fn more_room(&mut self) -> Option<Window> {
        let gathering = self.gathering.as_ref()?;
        let under_way = self.received - self.acknowledged;
        let room = u64::from(self.maximum).saturating_sub(under_way);
        let base = u64::from(self.base);
        let wanted = match gathering.total {
            Some(total) => total.saturating_sub(gathering.length) as u64,
            None if room <= base / 2 => base,
            None => 0,
        };
        if wanted <= room {
            return None;
        }
        self.maximum = u32::try_from(under_way + wanted).unwrap_or(u32::MAX);
        Some(self.window())
    }

    const fn window(&self) -> Window {
        Window {
            acknowledge: self.acknowledged,
            maximum: self.maximum,
            padding: 0,
        }
    }

    /// A message was written, at least in part.
    pub(super) fn written(&mut self, number: u64) {
        self.advance(number, Stage::Written);
    }

    /// A message is safe. Returns the WINDOWs to send: one for each message with no unsafe message
    /// before it.
    pub(super) fn safe(&mut self, number: u64) -> SmallVec<[Window; 2]> {
        self.advance(number, Stage::Safe);
        let mut windows = SmallVec::new();
        while let Some(front) = self.outstanding.front()
            && front.stage == Stage::Safe
        {
            self.acknowledged += front.length as u64;
            self.outstanding.pop_front();
            self.first += 1;
            if self.gathering.is_none() {
                self.maximum = self.base;
            }
            windows.push(self.window());
        }
        windows
    }

    fn advance(&mut self, number: u64, stage: Stage) {
        let index = number.checked_sub(self.first);
        if let Some(message) = index
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.outstanding.get_mut(index))
        {
            message.stage = stage;
        }
    }

    /// The caller ended its half. An incomplete message is an error.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.ended = true;
        if self.gathering.take().is_some() {
            let reason = "The stream ended within a message.";
            return Err(Failure::new(
                ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                reason,
            ));
        }
        Ok(())
    }

    /// Whether the stream has ended and all its messages are safe.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.outstanding.is_empty()
    }

    /// Whether a complete message is not safe yet.
    pub(super) fn is_outstanding(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// Whether it has neither a complete message that is not safe nor a part of one.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty() && self.gathering.is_none()
    }

    /// Whether a message that is not safe may have reached the broker.
    pub(super) fn delivery(&self) -> MqttDelivery {
        let mut stages = self.outstanding.iter().map(|message| message.stage);
        if stages.any(|stage| stage == Stage::Written) {
            MqttDelivery::Possible
        } else {
            MqttDelivery::None
        }
    }

    /// The same without the refused message `number`.
    pub(super) fn delivery_beside(&mut self, number: u64) -> MqttDelivery {
        self.advance(number, Stage::Waiting);
        self.delivery()
    }

    /// The reply BEGIN.
    pub(super) fn reply(&self) -> MqttPublish {
        MqttPublish {
            client_id: None,
            topic: self.topic.clone(),
            flags: MqttPublishFlags::NONE.with_if(MqttPublishFlags::RETAIN, self.retain),
            qos: self.qos,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::streams::DataFlags;

    use super::*;

    fn publication() -> Publication {
        Publication::new(
            &MqttPublish {
                topic: "t".into(),
                qos: 1,
                ..MqttPublish::default()
            },
            1_000,
        )
    }

    fn part(flags: DataFlags, length: usize) -> Data {
        Data {
            flags,
            payload: vec![7; length].into(),
            extension: None,
        }
    }

    #[test]
    fn acknowledge_advances_only_over_safe_messages_in_order() {
        let mut stream = publication();
        for expected in 0..3 {
            let whole = stream.take(part(DataFlags::WHOLE, 10), 100);
            assert!(matches!(whole, Ok(Some((number, _))) if number == expected));
        }
        stream.written(0);
        assert_eq!(stream.delivery(), MqttDelivery::Possible);
        assert!(stream.safe(1).is_empty(), "the first is not safe yet");
        let windows = stream.safe(0);
        assert_eq!(
            windows
                .iter()
                .map(|env| env.acknowledge)
                .collect::<Vec<_>>(),
            [10, 20]
        );
        assert_eq!(stream.delivery(), MqttDelivery::None);
        assert!(stream.end().is_ok() && !stream.is_done());
        assert_eq!(stream.safe(2).len(), 1);
        assert!(stream.is_done());
    }

    #[test]
    fn a_large_message_is_given_room_without_being_acknowledged() {
        let mut stream = publication();
        let mut first = part(DataFlags::INIT, 1_000);
        first.extension = Some(Pooled::new(
            MqttPublishData {
                deferred: 4_000,
                ..MqttPublishData::default()
            }
            .into(),
        ));
        assert!(matches!(stream.take(first, 5_000), Ok(None)));
        let window = stream.more_room().expect("the rest needs room");
        assert_eq!((window.acknowledge, window.maximum), (0, 5_000));
        let whole = stream.take(part(DataFlags::FIN, 4_000), 5_000);
        assert!(matches!(whole, Ok(Some((0, message))) if message.length == 5_000));
        let window = stream.safe(0)[0];
        assert_eq!((window.acknowledge, window.maximum), (5_000, 1_000));
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_as_early_as_possible() {
        let mut stream = publication();
        let mut first = part(DataFlags::INIT, 10);
        first.extension = Some(Pooled::new(
            MqttPublishData {
                deferred: 91,
                ..MqttPublishData::default()
            }
            .into(),
        ));
        let failure = stream.take(first, 100).expect_err("101 bytes");
        assert_eq!(failure.code, ReasonCode::PACKET_TOO_LARGE);
        let mut stream = publication();
        assert!(stream.take(part(DataFlags::INIT, 60), 100).is_ok());
        assert!(stream.take(part(DataFlags::FIN, 41), 100).is_err());
    }

    #[test]
    fn many_small_parts_have_little_overhead() {
        let mut stream = publication();
        assert!(stream.take(part(DataFlags::INIT, 1), 1 << 20).is_ok());
        for _ in 0..10_000 {
            assert!(stream.take(part(DataFlags::MIDDLE, 1), 1 << 20).is_ok());
        }
        let whole = stream.take(part(DataFlags::FIN, 600), 1 << 20);
        let Ok(Some((_, message))) = whole else {
            panic!("it is whole");
        };
        assert_eq!(message.length, 10_601);
        assert_eq!(
            message.parts.iter().map(Bytes::len).sum::<usize>(),
            message.length
        );
        assert!(message.parts.len() <= PARTS + 2);
    }

    #[test]
    fn an_end_within_a_message_is_an_error() {
        let mut stream = publication();
        assert!(stream.take(part(DataFlags::INIT, 1), 10).is_ok());
        assert!(stream.end().is_err());
        assert!(
            publication().take(part(DataFlags::FIN, 1), 10).is_err(),
            "without INIT"
        );
    }
}
