//! What the binding tells operators.

use bytestring::ByteString;
use tidegate_engine::streams::event;
use tidegate_engine::streams::mqtt::MqttDelivery;

event! {
    /// A connection to the broker was lost or could not be made, and none has failed since the last
    /// one was accepted.
    pub struct ConnectionLost "binding.mqtt.connection.lost" Warn
        "broker connection failed: {reason}"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The MQTT reason code.
        code "code": u8 = 0,
        /// Why, as a sentence that names the broker.
        reason "reason": ByteString = ByteString::new(),
        /// How many streams the connection had.
        streams "streams": u64 = 0,
        /// How many outages began since the last one that was told of.
        untold "untold": u32 = 0,
    }
}

event! {
    /// The broker has not been connected for a while.
    pub struct ConnectionDown "binding.mqtt.connection.down" Warn
        "broker still not connected after {seconds} s, {attempts} connections failed and {refused} calls refused: {reason}"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The MQTT reason code of the newest failure.
        code "code": u8 = 0,
        /// Why the newest attempt failed.
        reason "reason": ByteString = ByteString::new(),
        /// For how long.
        seconds "seconds": u64 = 0,
        /// How many connections were lost or could not be made.
        attempts "attempts": u32 = 0,
        /// How many streams were refused without an attempt.
        refused "refused": u32 = 0,
        /// When the next attempt may be made, in milliseconds from now.
        backoff "backoff": u64 = 0,
    }
}

event! {
    /// The broker is connected again.
    pub struct ConnectionRestored "binding.mqtt.connection.restored" Info
        "broker {broker} connected again after {seconds} s, {attempts} connections failed and {refused} calls refused"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// After how long.
        seconds "seconds": u64 = 0,
        /// How many connections were lost or could not be made.
        attempts "attempts": u32 = 0,
        /// How many streams were refused without an attempt.
        refused "refused": u32 = 0,
    }
}

event! {
    /// The broker closed a connection over something, which has a connection of its own from now on.
    pub struct Quarantined "binding.mqtt.quarantine.convicted" Warn
        "'{topic}' goes over a connection of its own: the broker closed a connection over it, or over something like it"
    {
        /// The topic of publications, or the filter of subscriptions.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// Something was under way when a connection was closed, and is tried once on a connection of its
    /// own.
    pub struct Suspected "binding.mqtt.quarantine.suspected" Debug
        "'{topic}' goes over a connection of its own: it was under way when connections were closed"
    {
        /// The topic of publications, or the filter of subscriptions.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// A subscriber did not take its messages, and was ended.
    pub struct SlowConsumer "binding.mqtt.subscriber.slow" Warn
        "slow consumer: a subscriber of client '{client}' did not take its messages and was reset"
    {
        /// The client identifier of its connection.
        client "client": ByteString = ByteString::new(),
    }
}

event! {
    /// A publish stream is done: its messages are as safe as their `QoS` promises.
    pub struct Published "binding.mqtt.published" Debug
        "published to '{topic}' at QoS {qos} as client '{client}'"
    {
        /// The topic.
        topic "topic": ByteString = ByteString::new(),
        /// The highest `QoS` of its messages.
        qos "qos": u8 = 0,
        /// The client identifier of its connection.
        client "client": ByteString = ByteString::new(),
    }
}

event! {
    /// A stream was refused or given up.
    pub struct StreamReset "binding.mqtt.stream.reset" Debug
        "stream of client '{client}' reset: {reason}"
    {
        /// The client identifier of its connection.
        client "client": ByteString = ByteString::new(),
        /// The MQTT reason code.
        code "code": u8 = 0,
        /// Why, as a sentence.
        reason "reason": ByteString = ByteString::new(),
        /// Whether a message may have been delivered nevertheless.
        delivery "delivery": MqttDelivery = MqttDelivery::None,
    }
}
