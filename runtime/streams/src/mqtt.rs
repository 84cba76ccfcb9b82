//! MQTT streams: sessions, publications and subscriptions, without packets.
//!
//! - *session*: keeps the connection of a `clientId` open; the reply BEGIN carries the broker's
//!   limits.
//! - *publish*: each message of the initial half is published. The reply half ENDs once the last
//!   message is acknowledged as its `QoS` requires, and is RESET with the reason code otherwise.
//! - *subscribe*: the reply BEGIN follows SUBACK; each received message is one message of the reply
//!   half. END of the initial half unsubscribes. A subscription with a *limit* returns the messages
//!   it does not take to the broker. One with a *receive maximum* is acknowledged by its caller: the
//!   broker keeps each message until the caller is done with it.

mod messages;
pub mod text;
pub mod topic;
mod trace;

use bytes::Bytes;
use bytestring::ByteString;

pub use messages::{MqttMessage, MqttMessages};
pub use trace::{TRACE_CONTEXT, TRACEPARENT, trace_context, trace_parent};

use crate::{extension, flags, words};

flags! {
    /// Flags of a publication.
    pub struct MqttPublishFlags(u8) {
        /// The broker retains the message for later subscribers (MQTT 5.0, 3.3.1.3).
        RETAIN = 1,
        /// Response topic and correlation data are left out if the broker's protocol version has none.
        /// Otherwise the message is refused there.
        ANSWER_PROPERTIES_OPTIONAL = 2,
        /// The message expiry is left out if the broker's protocol version has none. Otherwise the
        /// message is refused there.
        EXPIRY_OPTIONAL = 4,
    }
}

flags! {
    /// Flags of a subscription's filter, and of a message received for it (MQTT 5.0, 3.8.3.1).
    pub struct MqttSubscribeFlags(u8) {
        /// Filter: send retained messages at subscription. Also the default for a filter without
        /// flags.
        SEND_RETAINED = 1,
        /// Filter: keep the retain flag as published.
        RETAIN_AS_PUBLISHED = 2,
        /// Filter: do not send messages published by this client.
        NO_LOCAL = 4,
        /// Message: it was retained.
        RETAIN = 8,
        /// Filter: do not send retained messages at subscription.
        NO_RETAINED = 16,
    }
}

words! {
    /// Payload format indicator (MQTT 5.0, 3.3.2.3.2).
    pub enum MqttPayloadFormat {
        /// Bytes.
        Binary "BINARY",
        /// UTF-8 text.
        Text "TEXT",
        /// Not specified.
        None "NONE",
    }
}

words! {
    /// Whether an unacknowledged message may have reached the broker.
    pub enum MqttDelivery {
        /// Not sent, or refused by the broker.
        None "none",
        /// Sent, but not acknowledged.
        Possible "possible",
    }
}

extension! {
    /// A session. It starts clean and ends with its connection. The reply BEGIN carries the
    /// broker's limits.
    pub struct MqttSession "session" {
        /// Client identifier.
        client_id "clientId": ByteString = ByteString::new(),
        /// Reply: maximum `QoS` of the broker.
        publish_qos_max "publishQosMax": u8 = 2,
        /// Reply: maximum packet size of the broker, in bytes; 0: no limit.
        packet_size_max "packetSizeMax": u32 = 0,
    }
}

extension! {
    /// Opens a publication.
    pub struct MqttPublish "publish" {
        /// Client identifier; absent: the binding's own.
        client_id "clientId": Option<ByteString> = None,
        /// Topic name.
        topic "topic": ByteString = ByteString::new(),
        /// Flags.
        flags "flags": MqttPublishFlags = MqttPublishFlags::NONE,
        /// `QoS`.
        qos "qos": u8 = 0,
    }
}

extension! {
    /// A topic filter of a subscription.
    pub struct MqttTopicFilter "filter" {
        /// Number chosen by the caller and repeated on the filter's messages; 0: none.
        subscription_id "subscriptionId": u32 = 0,
        /// Maximum `QoS`.
        qos "qos": u8 = 0,
        /// Flags.
        flags "flags": MqttSubscribeFlags = MqttSubscribeFlags::NONE,
        /// The topic filter.
        pattern "pattern": ByteString = ByteString::new(),
        /// Reply: reason code of the SUBACK.
        reason_code "reasonCode": u8 = 0,
    }
}
crate::record_field!(MqttTopicFilter);

extension! {
    /// Opens a subscription. The reply BEGIN repeats it with the broker's reason codes. If many messages
    /// arrive before the broker has answered for all filters, it states the requested `QoS` for the
    /// others, and [`MqttGranted`] follows.
    pub struct MqttSubscribe "subscribe" {
        /// Client identifier; absent: the binding's own.
        client_id "clientId": Option<ByteString> = None,
        /// Maximum `QoS`.
        qos "qos": u8 = 0,
        /// Maximum number of messages; 0: unlimited. A subscription with a limit has one filter and
        /// its own connection, and its reply ends after the last message. Only the messages that
        /// the caller's END reports as taken are acknowledged to the broker. Reply: the number of
        /// messages that will be sent at most.
        limit "limit": u32 = 0,
        /// 0: messages are acknowledged to the broker when they are received. Otherwise, the caller
        /// acknowledges those of `QoS` 1 and 2 with [`MqttAcknowledge`], and this is the maximum
        /// number of messages that it has not acknowledged. The subscription has its own connection,
        /// with this client identifier. It has no limit.
        receive_maximum "receiveMaximum": u16 = 0,
        /// With a receive maximum: time that the broker keeps the session of that connection, in
        /// seconds, so that messages wait for the next subscription with this client identifier. 0:
        /// the session ends with the connection. Reply: the time that applies after the end of the
        /// stream; 0 if the session then ends, as that of a client identifier which is random.
        session_expiry "sessionExpiry": u32 = 0,
        /// Topic filters.
        filters "filters": Vec<MqttTopicFilter> = Vec::new(),
    }
}

extension! {
    /// FLUSH of a caller with a limit: it wants no messages beyond those the broker has already
    /// sent. The subscription is ended and the reply ENDs after the broker's confirmation.
    pub struct MqttUnsubscribe "unsubscribe" {}
}

extension! {
    /// FLUSH of the caller of a subscription with a receive maximum: it is done with a message. The
    /// broker gets acknowledgements in the order in which it sent the messages (MQTT 5.0, 4.6), so
    /// one may wait for those before it. A number that is not known is ignored: its message was in a
    /// session that the broker has ended.
    pub struct MqttAcknowledge "acknowledge" {
        /// The number of the message.
        number "number": u64 = 0,
    }
}

extension! {
    /// FLUSH on the reply of a subscription: its connection to the broker was lost and is open again,
    /// and messages that were published meanwhile may be missing. Messages received before may still
    /// follow it.
    pub struct MqttGap "gap" {
        /// Time without a connection, in milliseconds.
        milliseconds "milliseconds": u64 = 0,
    }
}

extension! {
    /// FLUSH on the reply of a subscription that began before the broker had answered for all of its
    /// filters, because many messages arrived: the answers that were missing. BEGIN stated the
    /// requested `QoS` instead.
    pub struct MqttGranted "granted" {
        /// The filters that had no answer when the reply began, with the broker's reason codes.
        filters "filters": Vec<MqttTopicFilter> = Vec::new(),
    }
}

/// FLUSH extension of mqtt streams.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a variant is named after its struct")]
pub enum MqttFlushEx {
    Unsubscribe(MqttUnsubscribe),
    Acknowledge(MqttAcknowledge),
    Gap(MqttGap),
    Granted(MqttGranted),
}

extension! {
    /// END of the caller of a subscription with a limit, or of the reply of a publication whose
    /// acknowledgement has a reason code other than 0x00 *Success*, or none.
    pub struct MqttEnd "mqtt" {
        /// Subscription: number of messages taken, counted from the first. They are acknowledged to
        /// the broker; it may deliver the others to another subscriber.
        taken "taken": u32 = 0,
        /// Publication: reason code of PUBACK or PUBREC; of several messages, the last that is not
        /// 0x00. 0x10: no matching subscribers.
        reason_code "reasonCode": u8 = 0,
        /// Publication: whether the acknowledgement has a reason code; MQTT 3.1.1 has none.
        has_reason "hasReason": bool = true,
    }
}

/// BEGIN extension of mqtt streams.
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
        /// Property name.
        key "key": ByteString = ByteString::new(),
        /// Property value.
        value "value": ByteString = ByteString::new(),
    }
}
crate::record_field!(MqttUserProperty);

extension! {
    /// Properties of a message to publish, on its INIT frame.
    pub struct MqttPublishData "publish" {
        /// Payload bytes that follow in further frames.
        deferred "deferred": u32 = 0,
        /// `QoS`.
        qos "qos": u8 = 0,
        /// Flags.
        flags "flags": MqttPublishFlags = MqttPublishFlags::NONE,
        /// Packet identifier chosen by the caller, if any.
        packet_id "packetId": u16 = 0,
        /// Message expiry interval, in seconds; -1: none.
        expiry_interval "expiryInterval": i64 = -1,
        /// Content type.
        content_type "contentType": Option<ByteString> = None,
        /// Payload format indicator.
        format "format": MqttPayloadFormat = MqttPayloadFormat::None,
        /// Response topic.
        response_topic "responseTopic": Option<ByteString> = None,
        /// Correlation data.
        correlation "correlation": Option<Bytes> = None,
        /// User properties.
        properties "properties": Vec<MqttUserProperty> = Vec::new(),
    }
}

extension! {
    /// Properties of a received message, on its INIT frame.
    pub struct MqttSubscribeData "subscribe" {
        /// Payload bytes that follow in further frames.
        deferred "deferred": u32 = 0,
        /// Topic name.
        topic "topic": ByteString = ByteString::new(),
        /// Packet identifier; 0 at `QoS` 0.
        packet_id "packetId": u16 = 0,
        /// Number that the caller acknowledges, counted from 1 on each stream; 0: it need not.
        number "number": u64 = 0,
        /// `QoS` of the delivery.
        qos "qos": u8 = 0,
        /// Flags.
        flags "flags": MqttSubscribeFlags = MqttSubscribeFlags::NONE,
        /// Ids of the stream's filters that match.
        subscription_ids "subscriptionIds": Vec<u32> = Vec::new(),
        /// Message expiry interval, in seconds; -1: none.
        expiry_interval "expiryInterval": i64 = -1,
        /// Content type.
        content_type "contentType": Option<ByteString> = None,
        /// Payload format indicator.
        format "format": MqttPayloadFormat = MqttPayloadFormat::None,
        /// Response topic.
        response_topic "responseTopic": Option<ByteString> = None,
        /// Correlation data.
        correlation "correlation": Option<Bytes> = None,
        /// User properties.
        properties "properties": Vec<MqttUserProperty> = Vec::new(),
    }
}

/// DATA extension of mqtt streams.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a variant is named after its struct")]
pub enum MqttDataEx {
    Publish(MqttPublishData),
    Subscribe(MqttSubscribeData),
}

extension! {
    /// Why a stream was refused or lost.
    pub struct MqttReset "mqtt" {
        /// MQTT 5.0 reason code (2.4); 0x80 *Unspecified error* if the broker gave none.
        reason_code "reasonCode": u8 = 0x80,
        /// Reason in words, with the broker as `host:port`.
        reason "reason": ByteString = ByteString::new(),
        /// Publish: whether the message may still have reached the broker.
        delivery "delivery": MqttDelivery = MqttDelivery::None,
        /// Publish: whether the message itself was refused, by the broker or before it was sent. Otherwise
        /// the connection, a limit or a shutdown is the cause, and another attempt may succeed.
        refused "refused": bool = false,
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
    MqttUnsubscribe => FlushEx, MqttFlushEx::Unsubscribe;
    MqttAcknowledge => FlushEx, MqttFlushEx::Acknowledge;
    MqttGap => FlushEx, MqttFlushEx::Gap;
    MqttGranted => FlushEx, MqttFlushEx::Granted;
}
