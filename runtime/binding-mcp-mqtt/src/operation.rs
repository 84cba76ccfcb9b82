//! What an exchange is for and how it came out, for operators: as a figure, and as an event for those
//! who look at single calls.

use bytestring::ByteString;
use tidegate_engine::Meter;
use tidegate_engine::MeterKind::Counter;
use tidegate_streams::{event, words};

event! {
    /// A tool was called, or a resource read or subscribed to: it is answered, refused or cancelled.
    pub struct CallCompleted "binding.mcp_mqtt.call.completed" Debug
        "{operation} '{topic}': {outcome} in {duration} ms"
    {
        /// What was done: `publish`, `receive`, `read` or `subscribe`.
        operation "operation": ByteString = ByteString::new(),
        /// The topic, topic filter or resource; empty where the arguments name none that is allowed.
        topic "topic": ByteString = ByteString::new(),
        /// The `QoS` at which it was published, or asked for.
        qos "qos": u8 = 0,
        /// How it came out: `ok`, `error`, `unconfirmed` or `cancelled`.
        outcome "outcome": ByteString = ByteString::new(),
        /// From the BEGIN of the call to its answer, in milliseconds.
        duration "duration": u64 = 0,
    }
}

words! {
    /// What an exchange is for.
    pub enum Operation {
        /// Publishes a message.
        Publish "publish",
        /// Collects messages.
        Receive "receive",
        /// Reads one message of a topic.
        Read "read",
        /// Subscribes to a topic.
        Subscribe "subscribe",
        /// Lists tools, resources or templates.
        List "list",
        /// Is a session.
        Session "session",
    }
}

words! {
    /// How an operation came out.
    pub enum Outcome {
        /// As asked for.
        Ok "ok",
        /// Refused or failed: nothing was done.
        Error "error",
        /// The message was sent and not confirmed: it may have been delivered.
        Unconfirmed "unconfirmed",
        /// The caller did not wait for it.
        Cancelled "cancelled",
    }
}

/// How many operations came out how.
#[derive(Debug, Default)]
pub(crate) struct Counts([[u64; Outcome::ALL.len()]; Operation::ALL.len()]);

impl Counts {
    pub(crate) fn add(&mut self, operation: Operation, outcome: Outcome) {
        let of = self.0.get_mut(operation as usize);
        if let Some(figure) = of.and_then(|of| of.get_mut(outcome as usize)) {
            *figure += 1;
        }
    }

    pub(crate) fn report(&self, meter: &mut dyn Meter) {
        for (of, operation) in self.0.iter().zip(Operation::ALL) {
            for (figure, outcome) in of.iter().zip(Outcome::ALL) {
                let labels = [("operation", operation.word()), ("outcome", outcome.word())];
                meter.record(Counter, "mcp_mqtt.operations", &labels, *figure);
            }
        }
    }
}
