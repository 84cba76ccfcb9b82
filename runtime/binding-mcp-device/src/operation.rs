//! Operations and their outcomes, as counters and as an event for each call.

use bytestring::ByteString;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{Duration, Histogram, Meter};
use tidegate_streams::{event, words};

event! {
    /// A tool call, a resource read or a subscription was answered, refused or cancelled.
    pub struct CallCompleted "binding.mcp_device.call.completed" Debug audit(part)
        "{operation} '{device}' {command}: {outcome} in {duration} ms"
    {
        /// The operation: `list`, `status`, `control`, `sensor`, `read` or `subscribe`.
        operation "operation": ByteString = ByteString::new(),
        /// The device; empty if there is none.
        device "device": ByteString = ByteString::new(),
        /// The command; empty if there is none.
        command "command": ByteString = ByteString::new(),
        /// The topic that was published to; empty if nothing was published.
        topic "topic": ByteString = ByteString::new(),
        /// `allowed` or `refused`, of a command.
        decision "decision": ByteString = ByteString::new(),
        /// What refused it: `schema`, `online`, `limits.interval`, `limits.step`, `interlocks`, `guarded` or
        /// `approval`.
        rule "rule": ByteString = ByteString::new(),
        /// The outcome: `ok`, `error`, `confirmed`, `contradicted`, `unconfirmed`, `not_sent` or
        /// `cancelled`.
        outcome "outcome": ByteString = ByteString::new(),
        /// Time from the BEGIN of the call to its answer, in milliseconds.
        duration "duration": u64 = 0,
        /// The same in microseconds.
        duration_micros "durationMicros": u64 = 0,
    }
}

event! {
    /// The subscription to the values of devices failed. It is retried; values are missing until it
    /// succeeds.
    pub struct SubscriptionFailed "binding.mcp_device.subscription.failed" Warn
        "the subscription to the devices' topics failed: {reason}"
    {
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The broker refused some of the topic filters.
    pub struct FilterRefused "binding.mcp_device.filter.refused" Warn
        "the broker refused the subscription to '{filter}' with reason code {code}"
    {
        /// The topic filter.
        filter "filter": ByteString = ByteString::new(),
        /// The reason code (MQTT 5.0, 3.9.3).
        code "code": u8 = 0,
    }
}

event! {
    /// An announcement of a device was not taken.
    pub struct AnnouncementIgnored "binding.mcp_device.announcement.ignored" Debug
        "the announcement on '{topic}' is ignored: {reason}"
    {
        /// Its topic, shortened.
        topic "topic": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// `confirm` of the config does not fit a command of a device that announced itself. The command is confirmed as
    /// the device declares it.
    pub struct RuleIgnored "binding.mcp_device.rule.ignored" Debug
        "'confirm' is ignored for '{command}' of '{device}': {reason}"
    {
        /// The device.
        device "device": ByteString = ByteString::new(),
        /// The command.
        command "command": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

words! {
    /// The operation of an exchange.
    pub enum Operation {
        /// Lists devices, tools or resources.
        List "list",
        /// Returns the status of a device.
        Status "status",
        /// Commands a device.
        Control "control",
        /// Follows sensors.
        Sensor "sensor",
        /// Reads a device as a resource.
        Read "read",
        /// Subscribes to a device as a resource.
        Subscribe "subscribe",
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
        /// The device's state confirmed the command.
        Confirmed "confirmed",
        /// The device's state contradicts the command.
        Contradicted "contradicted",
        /// The command was sent, and no state followed.
        Unconfirmed "unconfirmed",
        /// The command was not sent.
        NotSent "not_sent",
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
                // Most combinations never occur, such as a list that is confirmed.
                if figure.count() > 0 {
                    let labels = [("operation", operation.word()), ("outcome", outcome.word())];
                    meter.record(Counter, "mcp_device.operations", &labels, figure.count());
                    meter.histogram("mcp_device.operation.duration", &labels, figure);
                }
            }
        }
    }
}
