//! What the queue keeps of a request, as JSON: the request itself, that its execution has begun, its answer,
//! and that the answer was delivered. Each is a record of its own, so that a step writes only what is new.
//!
//! A request is kept as the message that it was, and read again with the routes of the config when the
//! gateway starts. Its answer is kept as it is published.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use tidegate_engine::Time;
use tidegate_streams::mqtt::{MqttMessage, MqttSubscribeData, MqttUserProperty};

use super::clock::Clock;
use crate::failure::Executed;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Record {
    Request(Box<Request>),
    /// A tool may have been called.
    Begun {},
    Answer(Box<Answered>),
    /// The answer needs not be published again.
    Delivered {},
}

/// A request, as the message that it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// When it was received.
    pub(crate) received: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
    topic: String,
    payload: Octets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<Octets>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<(String, String)>,
}

/// A request that is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answered {
    pub(crate) device: String,
    /// One word of [`Executed`].
    executed: String,
    /// How it is recognised when it comes again; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known: Option<Known>,
    /// The message to publish; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
}

/// What makes a request the same as one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Known {
    pub(crate) topic: String,
    /// Whose correlation it is; absent: that of the device, also in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) caller: Option<String>,
    pub(crate) correlation: Octets,
    /// The hash of the request.
    pub(crate) content: Octets,
    /// When it is forgotten.
    pub(crate) until: u64,
    /// Its answer was forgotten before, to make room.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) evicted: bool,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) retain: bool,
    pub(crate) payload: Octets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correlation: Option<Octets>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) properties: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trace: Vec<(String, String)>,
    /// How long it is of use by the config, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry: Option<u64>,
    pub(crate) until: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) expires: bool,
}

/// Bytes: as text if they are, otherwise in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Octets {
    Text(String),
    Binary { base64: Base64 },
}

/// Bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Base64(Vec<u8>);

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Record {
    /// Its text. An object of strings and numbers can always be written.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads a text. The error is a part of a sentence.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if let Self::Answer(answered) = &record {
            answered.executed()?;
            if answered.message.as_ref().is_some_and(|it| it.qos > 2) {
                return Err("the QoS of an answer is not 0, 1 or 2".to_owned());
            }
            if answered
                .known
                .as_ref()
                .is_some_and(|it| it.content.bytes().len() != 32)
            {
                return Err("the hash of a request does not have 32 bytes".to_owned());
            }
        }
        Ok(record)
    }
}

impl Request {
    pub(crate) fn of(
        message: &MqttMessage,
        received: Time,
        expires: Option<Time>,
        clock: Clock,
    ) -> Self {
        let data = &message.data;
        Self {
            received: clock.millis(received),
            expires: expires.map(|it| clock.millis(it)),
            topic: data.topic.to_string(),
            payload: Octets::of(&message.payload),
            response_topic: data.response_topic.as_ref().map(ToString::to_string),
            correlation: data.correlation.as_ref().map(|it| Octets::of(it)),
            properties: pairs(&data.properties),
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The message, without its expiry.
    pub(crate) fn message(&self) -> MqttMessage {
        MqttMessage {
            data: MqttSubscribeData {
                topic: self.topic.as_str().into(),
                response_topic: self.response_topic.as_deref().map(ByteString::from),
                correlation: self.correlation.as_ref().map(Octets::bytes),
                properties: properties(&self.properties),
                ..MqttSubscribeData::default()
            },
            payload: self.payload.bytes(),
        }
    }
}

impl Answered {
    pub(crate) fn new(
        device: &str,
        executed: Executed,
        known: Option<Known>,
        message: Option<Message>,
    ) -> Self {
        Self {
            device: device.to_owned(),
            executed: executed.word().to_owned(),
            known,
            message,
        }
    }

    /// Whether a tool was executed.
    pub(crate) fn executed(&self) -> Result<Executed, String> {
        let mut all = Executed::ALL.iter().copied();
        let found = all.find(|it| it.word() == self.executed);
        found.ok_or_else(|| "'executed' is not one of its words".to_owned())
    }
}

impl Octets {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary {
                base64: Base64(bytes.to_vec()),
            },
        }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Binary { base64 } => Bytes::copy_from_slice(&base64.0),
        }
    }
}

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Base64> for String {
    fn from(base64: Base64) -> Self {
        STANDARD.encode(base64.0)
    }
}

/// User properties as pairs.
pub(crate) fn pairs(properties: &[MqttUserProperty]) -> Vec<(String, String)> {
    let pairs = properties.iter();
    pairs
        .map(|it| (it.key.to_string(), it.value.to_string()))
        .collect()
}

/// Pairs as user properties.
pub(crate) fn properties(pairs: &[(String, String)]) -> Vec<MqttUserProperty> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| MqttUserProperty {
            key: key.as_str().into(),
            value: value.as_str().into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets() -> impl Strategy<Value = Octets> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Octets::of(&bytes))
    }

    fn record() -> impl Strategy<Value = Record> {
        let pairs = || prop::collection::vec(any::<(String, String)>(), 0..3);
        let request = (
            any::<(u64, Option<u64>, String, Option<String>)>(),
            octets(),
            prop::option::of(octets()),
            pairs(),
        );
        let request = request.prop_map(|(simple, payload, correlation, properties)| {
            let (received, expires, topic, response_topic) = simple;
            Record::Request(Box::new(Request {
                received,
                expires,
                topic,
                payload,
                response_topic,
                correlation,
                properties,
            }))
        });
        let message = (
            any::<(String, bool, Option<u64>, u64, bool)>(),
            0..3_u8,
            octets(),
            prop::option::of(octets()),
            (pairs(), pairs()),
        );
        let message =
            message.prop_map(|(simple, qos, payload, correlation, (properties, trace))| {
                let (topic, retain, expiry, until, expires) = simple;
                Message {
                    topic,
                    qos,
                    retain,
                    payload,
                    correlation,
                    properties,
                    trace,
                    expiry,
                    until,
                    expires,
                }
            });
        let known = (
            any::<(String, Option<String>, u64, bool)>(),
            octets(),
            any::<[u8; 32]>(),
        )
            .prop_map(
                |((topic, caller, until, evicted), correlation, content)| Known {
                    topic,
                    caller,
                    evicted,
                    correlation,
                    content: Octets::of(&content),
                    until,
                },
            );
        let answered = (
            any::<String>(),
            prop::sample::select(Executed::ALL),
            prop::option::of(known),
            prop::option::of(message),
        );
        let answered = answered.prop_map(|(device, executed, known, message)| {
            Record::Answer(Box::new(Answered::new(&device, executed, known, message)))
        });
        prop_oneof![
            request,
            answered,
            Just(Record::Begun {}),
            Just(Record::Delivered {})
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn a_damaged_record_is_read_or_refused(
            record in record(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut text = record.encode().to_vec();
            for (place, byte) in changes {
                let place = place.index(text.len());
                text[place] = byte;
            }
            let _ = Record::decode(&text);
        }
    }

    #[test]
    fn records_of_a_later_version_are_read_as_far_as_they_are_known() {
        let text = br#"{"request":{"received":1,"topic":"a","payload":"{}","more":[1]}}"#;
        let Ok(Record::Request(request)) = Record::decode(text) else {
            panic!("a request");
        };
        assert_eq!(request.message().payload, "{}");
        let unknown = br#"{"answer":{"device":"d","executed":"perhaps"}}"#;
        assert!(Record::decode(unknown).is_err());
        let hash = br#"{"answer":{"device":"d","executed":"no","known":{"topic":"t","correlation":"1","content":"x","until":1}}}"#;
        assert!(Record::decode(hash).is_err(), "a hash of one byte");
    }
}
