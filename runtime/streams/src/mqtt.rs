//! MQTT streams: sessions, publications and subscriptions, without packets.
//!
//! - *session*: keeps the connection of a `clientId` open; the reply BEGIN tells what the broker
//!   grants.
//! - *publish*: each message of the initial half is published; the reply half ENDs when the last one
//!   is as safe as its `QoS` promises, and is RESET with the reason code when it is not.
//! - *subscribe*: the reply BEGIN follows SUBACK; each message is one message of the reply half. END
//!   of the initial half unsubscribes. One with a *limit* gives back what it does not take.

pub mod text;
pub mod topic;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{extension, flags, words};

flags! {
    /// How a message is published.
    pub struct MqttPublishFlags(u8) {
        /// The broker keeps it for later subscribers (MQTT 5.0, 3.3.1.3).
        RETAIN = 1,
    }
}

flags! {
    /// How a subscription is made, and how one of its messages came (MQTT 5.0, 3.8.3.1).
    pub struct MqttSubscribeFlags(u8) {
        /// Filter: retained messages are wanted at subscription. It is the default of a filter
        /// without flags too.
        SEND_RETAINED = 1,
        /// Filter: keep the retain flag as the publisher set it.
        RETAIN_AS_PUBLISHED = 2,
        /// Filter: messages of this very client are not wanted.
        NO_LOCAL = 4,
        /// Message: it was retained.
        RETAIN = 8,
    }
}

words! {
    /// What a payload is (MQTT 5.0, 3.3.2.3.2).
    pub enum MqttPayloadFormat {
        /// Bytes.
        Binary "BINARY",
        /// UTF-8 text.
        Text "TEXT",
        /// Not told.
        None "NONE",
    }
}

words! {
    /// Whether a message that was not confirmed may still have reached the broker.
    pub enum MqttDelivery {
        /// It was not sent, or the broker refused it.
        None "none",
        /// It was sent, and whether it arrived is not known.
        Possible "possible",
    }
}

extension! {
    /// A session. It starts clean and ends with its connection. The reply BEGIN tells what the broker
    /// grants.
    pub struct MqttSession "session" {
        /// Whose session.
        client_id "clientId": ByteString = ByteString::new(),
        /// Reply: the highest `QoS` that the broker takes.
        publish_qos_max "publishQosMax": u8 = 2,
        /// Reply: the largest packet that the broker takes, in bytes; 0 for no limit.
        packet_size_max "packetSizeMax": u32 = 0,
    }
}

extension! {
    /// A publication.
    pub struct MqttPublish "publish" {
        /// Whose connection; absent: the binding's own.
        client_id "clientId": Option<ByteString> = None,
        /// Where to.
        topic "topic": ByteString = ByteString::new(),
        /// How.
        flags "flags": MqttPublishFlags = MqttPublishFlags::NONE,
        /// How safely.
        qos "qos": u8 = 0,
    }
}

extension! {
    /// One filter of a subscription.
    pub struct MqttTopicFilter "filter" {
        /// The caller's number for it, repeated on its messages; 0 for none.
        subscription_id "subscriptionId": u32 = 0,
        /// Up to which `QoS` messages are to come.
        qos "qos": u8 = 0,
        /// How.
        flags "flags": MqttSubscribeFlags = MqttSubscribeFlags::NONE,
        /// The topic filter.
        pattern "pattern": ByteString = ByteString::new(),
        /// Reply: what the broker said (SUBACK).
        reason_code "reasonCode": u8 = 0,
    }
}
crate::record_field!(MqttTopicFilter);

extension! {
    /// A subscription. The reply BEGIN repeats it with the broker's reason codes.
    pub struct MqttSubscribe "subscribe" {
        /// Whose connection; absent: the binding's own.
        client_id "clientId": Option<ByteString> = None,
        /// Up to which `QoS` messages are to come.
        qos "qos": u8 = 0,
        /// How many messages it takes in all; 0: any number. A subscription with a limit has one
        /// filter and a connection of its own, ends its reply behind the last message, and
        /// acknowledges to the broker what the caller's END says was taken, and nothing before.
        /// Reply: how many will come at the most.
        limit "limit": u32 = 0,
        /// What to.
        filters "filters": Vec<MqttTopicFilter> = Vec::new(),
    }
}

extension! {
    /// The caller of a subscription with a limit wants no more than the broker has sent by now: it is
    /// asked for no more, and the reply ends behind its confirmation.
    pub struct MqttUnsubscribe "unsubscribe" {}
}

extension! {
    /// The caller's END of a subscription with a limit.
    pub struct MqttEnd "mqtt" {
        /// How many of the messages the caller has taken, from the first one on. These are
        /// acknowledged to the broker; the others are for it to give to somebody else.
        taken "taken": u32 = 0,
    }
}

/// What a BEGIN of an mqtt stream asks for.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a variant is named after its struct")]
pub enum MqttBeginEx {
    Session(MqttSession),
    Publish(MqttPublish),
    Subscribe(MqttSubscribe),
}

extension! {
    /// A user property.
    pub struct MqttUserProperty "property" {
        /// Its name.
        key "key": ByteString = ByteString::new(),
        /// Its value.
        value "value": ByteString = ByteString::new(),
    }
}
crate::record_field!(MqttUserProperty);

extension! {
    /// A message to publish, on its INIT frame.
    pub struct MqttPublishData "publish" {
        /// How many bytes of payload follow in further frames.
        deferred "deferred": u32 = 0,
        /// How safely.
        qos "qos": u8 = 0,
        /// How.
        flags "flags": MqttPublishFlags = MqttPublishFlags::NONE,
        /// The packet identifier, where the caller has one.
        packet_id "packetId": u16 = 0,
        /// After how many seconds the message is worth nothing; -1 for never.
        expiry_interval "expiryInterval": i64 = -1,
        /// The payload's media type.
        content_type "contentType": Option<ByteString> = None,
        /// What the payload is.
        format "format": MqttPayloadFormat = MqttPayloadFormat::None,
        /// Where an answer is awaited.
        response_topic "responseTopic": Option<ByteString> = None,
        /// What pairs an answer with its question.
        correlation "correlation": Option<Bytes> = None,
        /// The user properties.
        properties "properties": Vec<MqttUserProperty> = Vec::new(),
    }
}

extension! {
    /// A message received, on its INIT frame.
    pub struct MqttSubscribeData "subscribe" {
        /// How many bytes of payload follow in further frames.
        deferred "deferred": u32 = 0,
        /// Where it was published.
        topic "topic": ByteString = ByteString::new(),
        /// The packet identifier under which it came; 0 at `QoS` 0.
        packet_id "packetId": u16 = 0,
        /// How safely it came.
        qos "qos": u8 = 0,
        /// How it came.
        flags "flags": MqttSubscribeFlags = MqttSubscribeFlags::NONE,
        /// Which of the stream's filters it came for, by the caller's numbers.
        subscription_ids "subscriptionIds": Vec<u32> = Vec::new(),
        /// After how many seconds the message is worth nothing; -1 for never.
        expiry_interval "expiryInterval": i64 = -1,
        /// The payload's media type.
        content_type "contentType": Option<ByteString> = None,
        /// What the payload is.
        format "format": MqttPayloadFormat = MqttPayloadFormat::None,
        /// Where an answer is awaited.
        response_topic "responseTopic": Option<ByteString> = None,
        /// What pairs an answer with its question.
        correlation "correlation": Option<Bytes> = None,
        /// The user properties.
        properties "properties": Vec<MqttUserProperty> = Vec::new(),
    }
}

/// What a DATA of an mqtt stream bears.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a variant is named after its struct")]
pub enum MqttDataEx {
    Publish(MqttPublishData),
    Subscribe(MqttSubscribeData),
}

extension! {
    /// Why a stream was refused or lost.
    pub struct MqttReset "mqtt" {
        /// The MQTT 5.0 reason code (2.4); 0x80 *unspecified error* where the broker gave none.
        reason_code "reasonCode": u8 = 0x80,
        /// Why, in words, with the broker as `host:port`.
        reason "reason": ByteString = ByteString::new(),
        /// Publish: whether the message may have reached the broker nevertheless.
        delivery "delivery": MqttDelivery = MqttDelivery::None,
    }
}

macro_rules! into_extension {
    ($($type:ty => $frame:ident, $enum:ident :: $variant:ident);* $(;)?) => { $(
        impl From<$type> for crate::$frame {
            fn from(extension: $type) -> Self {
                Self::Mqtt($enum::$variant(extension))
            }
        }
    )* };
}

into_extension! {
    MqttSession => BeginEx, MqttBeginEx::Session;
    MqttPublish => BeginEx, MqttBeginEx::Publish;
    MqttSubscribe => BeginEx, MqttBeginEx::Subscribe;
    MqttPublishData => DataEx, MqttDataEx::Publish;
    MqttSubscribeData => DataEx, MqttDataEx::Subscribe;
}
