//! The events of the binding.

use bytestring::ByteString;
use tidegate_engine::streams::event;
use tidegate_engine::streams::mqtt::MqttDelivery;

event! {
    /// A connection to the broker was lost or could not be opened, for the first time since one was
    /// accepted.
    pub struct ConnectionLost "binding.mqtt.connection.lost" Warn
        "broker connection failed: {reason}"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The MQTT reason code.
        code "code": u8 = 0,
        /// The reason, as a sentence that names the broker.
        reason "reason": ByteString = ByteString::new(),
        /// Number of streams of the connection.
        streams "streams": u64 = 0,
        /// Number of unreported outages since the last event.
        untold "untold": u32 = 0,
    }
}

event! {
    /// The broker has been unavailable for a while.
    pub struct ConnectionDown "binding.mqtt.connection.down" Warn
        "broker still not connected after {seconds} s; {attempts} connections failed, {refused} calls refused: {reason}"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The MQTT reason code of the newest failure.
        code "code": u8 = 0,
        /// Why the newest attempt failed.
        reason "reason": ByteString = ByteString::new(),
        /// Duration of the outage, in seconds.
        seconds "seconds": u64 = 0,
        /// Number of connections that were lost or could not be opened.
        attempts "attempts": u32 = 0,
        /// Number of streams refused without an attempt.
        refused "refused": u32 = 0,
        /// Time until the next attempt, in milliseconds.
        backoff "backoff": u64 = 0,
    }
}

event! {
    /// The broker is connected again.
    pub struct ConnectionRestored "binding.mqtt.connection.restored" Info
        "broker {broker} connected again after {seconds} s; {attempts} connections failed, {refused} calls refused"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// Duration of the outage, in seconds.
        seconds "seconds": u64 = 0,
        /// Number of connections that were lost or could not be opened.
        attempts "attempts": u32 = 0,
        /// Number of streams refused without an attempt.
        refused "refused": u32 = 0,
    }
}

event! {
    /// Another client has connected with the same client identifier, and the broker closed the
    /// connection.
    pub struct SessionTakenOver "binding.mqtt.session.taken_over" Warn
        "another client uses the client identifier '{client}' at {broker}; give each its own (clientId)"
    {
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
    }
}

event! {
    /// A session was resumed after a loss of its connection.
    pub struct SessionResumed "binding.mqtt.session.resumed" Debug
        "session of client '{client}' resumed after {seconds} s; {messages} messages are sent again"
    {
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// Time without a connection, in seconds.
        seconds "seconds": u64 = 0,
        /// Number of unacknowledged messages that are sent again.
        messages "messages": u64 = 0,
    }
}

event! {
    /// A session with unacknowledged messages or subscriptions could not be resumed.
    pub struct SessionEnded "binding.mqtt.session.ended" Debug
        "session of client '{client}' {why}; {messages} messages are unconfirmed, and subscriptions may have missed messages"
    {
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// Why: `has expired`, `was lost by the broker`.
        why "why": ByteString = ByteString::new(),
        /// Number of messages that were in flight.
        messages "messages": u64 = 0,
    }
}

event! {
    /// The broker closed a connection because of a packet; its topic or filter now uses a separate
    /// connection.
    pub struct Quarantined "binding.mqtt.quarantine.convicted" Warn
        "'{topic}' now uses a separate connection: the broker closed a connection because of it or of a similar packet"
    {
        /// The topic of publications, or the filter of subscriptions.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// A packet was in flight when a connection was closed; its topic or filter is tried once on a
    /// separate connection.
    pub struct Suspected "binding.mqtt.quarantine.suspected" Debug
        "'{topic}' now uses a separate connection: it was in flight when the broker closed connections"
    {
        /// The topic of publications, or the filter of subscriptions.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// A message that its caller would have acknowledged cannot be read: it was acknowledged and dropped, so
    /// that the broker does not send it for ever.
    pub struct MessageUnreadable "binding.mqtt.message.unreadable" Warn
        "dropped a message to '{topic}' that broker {broker} sent to client '{client}': {reason}"
    {
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The topic, as far as it can be read.
        topic "topic": ByteString = ByteString::new(),
        /// What is wrong with it.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A subscription was ended because the subscriber did not read its messages.
    pub struct SlowConsumer "binding.mqtt.subscriber.slow" Warn
        "slow consumer: a subscriber of client '{client}' did not read its messages and was reset"
    {
        /// The client identifier of its connection.
        client "client": ByteString = ByteString::new(),
    }
}

event! {
    /// A publish stream succeeded: all its messages are acknowledged as their `QoS` requires.
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
    /// A stream was reset.
    pub struct StreamReset "binding.mqtt.stream.reset" Debug
        "stream of client '{client}' reset: {reason}"
    {
        /// The client identifier of its connection.
        client "client": ByteString = ByteString::new(),
        /// The MQTT reason code.
        code "code": u8 = 0,
        /// The reason, as a sentence.
        reason "reason": ByteString = ByteString::new(),
        /// Whether a message may have been delivered.
        delivery "delivery": MqttDelivery = MqttDelivery::None,
    }
}

event! {
    /// An authenticated caller has no account at the broker.
    pub struct AccountMissing "binding.mqtt.account.missing" Warn audit(part)
        "'{identity}' of guard '{guard}' has no account at the broker; add one to 'accounts'"
    {
        /// Authenticated caller.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// `connecting to the broker`.
        operation "operation": ByteString = ByteString::new(),
        /// What refuses it: `accounts`.
        rule "rule": ByteString = ByteString::new(),
    }
}

event! {
    /// A connection with the account of a caller could not be opened, because the broker refused the
    /// account or its password could not be read.
    pub struct AccountRefused "binding.mqtt.account.refused" Warn
        "no connection for '{identity}': {reason}"
    {
        /// The caller, or `the gateway` for its own connection.
        identity "identity": ByteString = ByteString::new(),
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// The reason, as a sentence.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The broker referred to another server, and the connection goes there.
    pub struct Redirected "binding.mqtt.connection.redirected" Info
        "broker {broker} refers to {reference}; client '{client}' connects there"
    {
        /// The client identifier.
        client "client": ByteString = ByteString::new(),
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// The servers that it refers to, as it names them.
        reference "reference": ByteString = ByteString::new(),
        /// The MQTT reason code: 156 for a while, 157 for good.
        code "code": u8 = 0,
    }
}

event! {
    /// MQTT 3.1.1 is used with a broker, since it seems not to support MQTT 5.
    pub struct VersionChosen "binding.mqtt.version.chosen" Info
        "broker {broker} is used with MQTT 3.1.1: {why}"
    {
        /// The broker as `host:port`.
        broker "broker": ByteString = ByteString::new(),
        /// Why: `it refused MQTT 5`, `it did not answer CONNECT of MQTT 5; MQTT 5 is tried again after 10
        /// minutes`.
        why "why": ByteString = ByteString::new(),
    }
}
