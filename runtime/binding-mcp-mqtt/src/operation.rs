//! Operations and their outcomes, as counters and as an event for each call.

use bytestring::ByteString;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{Duration, Histogram, Meter};
use tidegate_streams::{event, words};

event! {
    /// A tool call, a resource read or a subscription was answered, refused or cancelled.
    pub struct CallCompleted "binding.mcp_mqtt.call.completed" Debug audit(part)
        "{operation} '{topic}': {outcome} in {duration} ms"
    {
        /// The operation: `publish`, `receive`, `read`, `query`, `list_topics` or `subscribe`.
        operation "operation": ByteString = ByteString::new(),
        /// The topic, topic filter or resource; empty if the arguments contain no valid one.
        topic "topic": ByteString = ByteString::new(),
        /// The `QoS` of the message, or the requested `QoS` of the subscription.
        qos "qos": u8 = 0,
        /// The number of messages in the result of a `receive` or `read`, if there is an audit log.
        messages "messages": u32 = 0,
        /// `refused` if the config does not allow the topic, or the message to it.
        decision "decision": ByteString = ByteString::new(),
        /// The option that refused it: `publish` or `subscribe` with its patterns, `topics` with its rules.
        rule "rule": ByteString = ByteString::new(),
        /// The outcome: `ok`, `error`, `not_sent`, `unconfirmed` or `cancelled`.
        outcome "outcome": ByteString = ByteString::new(),
        /// Time from the BEGIN of the call to its answer, in milliseconds.
        duration "duration": u64 = 0,
        /// The same in microseconds.
        duration_micros "durationMicros": u64 = 0,
    }
}

event! {
    /// A query was answered, with the payload of its answer.
    pub struct QueryAnswered "binding.mcp_mqtt.query.answered" Debug audit(part)
        "query to '{topic}' answered"
    {
        /// Topic of the request.
        topic "topic": ByteString = ByteString::new(),
    }
}

words! {
    /// The operation of an exchange.
    pub enum Operation {
        /// Publishes a message.
        Publish "publish",
        /// Collects messages.
        Receive "receive",
        /// Reads one message of a topic.
        Read "read",
        /// Publishes a request and waits for its answer.
        Query "query",
        /// Lists the topics.
        ListTopics "list_topics",
        /// Completes an argument of a resource template.
        Complete "complete",
        /// Subscribes to a topic.
        Subscribe "subscribe",
        /// Lists tools, resources or templates.
        List "list",
        /// A session.
        Session "session",
    }
}

words! {
    /// The outcome of an operation.
    pub enum Outcome {
        /// Succeeded.
        Ok "ok",
        /// Refused or failed, with no effect.
        Error "error",
        /// The message was sent and not confirmed: it may have been delivered.
        Unconfirmed "unconfirmed",
        /// The caller cancelled it.
        Cancelled "cancelled",
    }
}

/// Number and durations of operations by operation and outcome.
#[derive(Debug, Default)]
pub(crate) struct Counts([[Histogram; Outcome::ALL.len()]; Operation::ALL.len()]);

impl Counts {
    pub(crate) fn add(&mut self, operation: Operation, outcome: Outcome, duration: Duration) {
        let of = self.0.get_mut(operation as usize);
        if let Some(figure) = of.and_then(|of| of.get_mut(outcome as usize)) {
            figure.record(duration);
        }
    }

    pub(crate) fn report(&self, meter: &mut dyn Meter) {
        for (of, operation) in self.0.iter().zip(Operation::ALL) {
            for (figure, outcome) in of.iter().zip(Outcome::ALL) {
                let labels = [("operation", operation.word()), ("outcome", outcome.word())];
                meter.record(Counter, "mcp_mqtt.operations", &labels, figure.count());
                if figure.count() > 0 {
                    meter.histogram("mcp_mqtt.operation.duration", &labels, figure);
                }
            }
        }
    }
}
