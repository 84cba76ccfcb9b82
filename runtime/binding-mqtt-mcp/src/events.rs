//! Events and meters.

use bytestring::ByteString;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{Duration, Histogram, Meter};
use tidegate_streams::{event, words};

use crate::failure::Status;

event! {
    /// A request of a device was answered or refused, or expired.
    pub struct RequestCompleted "binding.mqtt_mcp.request.completed" Debug audit(line)
        "request on '{topic}' of '{device}': {outcome} {reason} in {duration} ms"
    {
        /// Topic of the request.
        topic "topic": ByteString = ByteString::new(),
        /// The device: the subject of its identity, a level of the topic, or the topic.
        device "device": ByteString = ByteString::new(),
        /// The correlation as text, shortened; empty if there is none.
        correlation "correlation": ByteString = ByteString::new(),
        /// `allowed`; `refused` if nothing was executed.
        decision "decision": ByteString = ByteString::new(),
        /// `done`, `failed`, `rejected`, `timedOut`, `unknown`, or `repeated` for one that is answered
        /// as before.
        outcome "outcome": ByteString = ByteString::new(),
        /// Why it failed, in one word; empty if it did not.
        reason "reason": ByteString = ByteString::new(),
        /// The same as a sentence.
        message "message": ByteString = ByteString::new(),
        /// Whether a tool was executed: `no`, `possibly` or `yes`.
        executed "executed": ByteString = ByteString::new(),
        /// Topic of the answer; empty if there is none.
        answer "answer": ByteString = ByteString::new(),
        /// Time from the receipt of the request, in milliseconds.
        duration "duration": u64 = 0,
        /// The same in microseconds.
        duration_micros "durationMicros": u64 = 0,
    }
}

event! {
    /// A tool that a request called has answered, or failed.
    pub struct StepCompleted "binding.mqtt_mcp.step.completed" Debug audit(call)
        "'{tool}' for '{device}': {outcome} in {duration} ms"
    {
        /// The tool.
        tool "tool": ByteString = ByteString::new(),
        /// Topic of the request.
        topic "topic": ByteString = ByteString::new(),
        /// The device.
        device "device": ByteString = ByteString::new(),
        /// Name of the step in the route's plan; `result` for a route with one tool.
        step "step": ByteString = ByteString::new(),
        /// Trace of the request, if the step has one of its own.
        request "request": ByteString = ByteString::new(),
        /// `ok`, `cancelled` if the request ended before, or why it failed, in one word.
        outcome "outcome": ByteString = ByteString::new(),
        /// Time from the call to the result, in milliseconds.
        duration "duration": u64 = 0,
        /// The same in microseconds.
        duration_micros "durationMicros": u64 = 0,
    }
}

event! {
    /// An answer could not be published before it expired, or the broker refuses it.
    pub struct AnswerLost "binding.mqtt_mcp.answer.lost" Warn
        "the answer on '{topic}' was not published: {reason}"
    {
        /// Topic of the answer.
        topic "topic": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The subscription to requests failed. It is retried; requests are missed until it succeeds.
    pub struct SubscriptionFailed "binding.mqtt_mcp.subscription.failed" Warn
        "the subscription to requests failed: {reason}"
    {
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The broker refused some of the topic filters. They are requested again if the reason may pass.
    pub struct FilterRefused "binding.mqtt_mcp.filter.refused" Warn
        "the broker refused the subscription to '{filter}' with reason code {code}"
    {
        /// The topic filter.
        filter "filter": ByteString = ByteString::new(),
        /// The reason code (MQTT 5.0, 3.9.3).
        code "code": u8 = 0,
    }
}

event! {
    /// The broker grants a topic filter that it had refused.
    pub struct FilterGranted "binding.mqtt_mcp.filter.granted" Info
        "the broker grants the subscription to '{filter}' now"
    {
        /// The topic filter.
        filter "filter": ByteString = ByteString::new(),
    }
}

event! {
    /// The gateway continues with the requests and answers that its queue had.
    pub struct QueueRestored "binding.mqtt_mcp.queue.restored" Info
        "the queue had {requests} requests to execute, {answers} answers to publish, {unknown} requests whose outcome \
         is unknown, {remembered} answered ones, and {dropped} that cannot be used"
    {
        /// Requests that are executed.
        requests "requests": u64 = 0,
        /// Answers that are published again.
        answers "answers": u64 = 0,
        /// Requests that were being executed, and are answered as `unknown`; and those that are refused.
        unknown "unknown": u64 = 0,
        /// Answered requests that are recognised when they come again.
        remembered "remembered": u64 = 0,
        /// Records that cannot be used.
        dropped "dropped": u64 = 0,
    }
}

event! {
    /// The clock was set back since the queue was written. What is in it expires later than it should: a request
    /// within its whole time from now, a remembered one within a day.
    pub struct QueueClock "binding.mqtt_mcp.queue.clock" Warn
        "the clock was set back by {seconds} s or more since the queue was written: what is in it expires later"
    {
        /// How far it is behind, in seconds.
        seconds "seconds": u64 = 0,
    }
}

event! {
    /// A request of the queue can be neither executed nor answered: no route has requests on its topic any
    /// more, and it is removed; or its record cannot be read, and stays in the file.
    pub struct RequestDropped "binding.mqtt_mcp.queue.dropped" Warn
        "a request on '{topic}' in the queue cannot be used: {reason}"
    {
        /// Topic of the request; empty if it is not known.
        topic "topic": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The queue cannot be written. It is opened again; until then, requests are refused.
    pub struct QueueFailed "binding.mqtt_mcp.queue.failed" Error
        "the queue cannot be written: {reason}"
    {
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// The queue has reached `maxSize`: requests are refused until there is room.
    pub struct QueueFull "binding.mqtt_mcp.queue.full" Warn
        "the queue is full: {bytes} bytes"
    {
        /// Size of its records.
        bytes "bytes": u64 = 0,
    }
}

words! {
    /// What became of an answer.
    pub enum Publication {
        /// The broker acknowledged it as its `QoS` requires.
        Published "published",
        /// It was sent again after a failure.
        Retried "retried",
        /// It expired, or the broker refuses it.
        Lost "lost",
        /// Too many answers wait to be published.
        Dropped "dropped",
    }
}

words! {
    /// What became of a message about the progress of a request.
    pub enum Progress {
        /// It was sent, and acknowledged as its `QoS` requires.
        Published "published",
        /// It came too soon after another one, beyond the maximum, or could not be delivered.
        Dropped "dropped",
    }
}

/// Numbers and durations.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: [Histogram; Status::ALL.len()],
    answers: [u64; Publication::ALL.len()],
    progress: [u64; Progress::ALL.len()],
    /// Requests that were answered as before.
    pub(crate) repeated: u64,
    /// Messages that are no requests: retained ones, and those for which `if` is false.
    pub(crate) ignored: u64,
}

impl Counts {
    pub(crate) fn request(&mut self, status: Status, duration: Duration) {
        if let Some(figure) = self.requests.get_mut(status as usize) {
            figure.record(duration);
        }
    }

    pub(crate) fn answer(&mut self, what: Publication) {
        if let Some(count) = self.answers.get_mut(what as usize) {
            *count += 1;
        }
    }

    pub(crate) fn progress(&mut self, what: Progress) {
        if let Some(count) = self.progress.get_mut(what as usize) {
            *count += 1;
        }
    }

    pub(crate) fn report(&self, meter: &mut dyn Meter) {
        for (figure, status) in self.requests.iter().zip(Status::ALL) {
            let labels = [("outcome", status.word())];
            meter.record(Counter, "mqtt_mcp.requests", &labels, figure.count());
            if figure.count() > 0 {
                meter.histogram("mqtt_mcp.request.duration", &labels, figure);
            }
        }
        for (count, what) in self.answers.iter().zip(Publication::ALL) {
            let labels = [("result", what.word())];
            meter.record(Counter, "mqtt_mcp.answers", &labels, *count);
        }
        for (count, what) in self.progress.iter().zip(Progress::ALL) {
            let labels = [("result", what.word())];
            meter.record(Counter, "mqtt_mcp.progress", &labels, *count);
        }
        meter.counter("mqtt_mcp.requests.repeated", self.repeated);
        meter.counter("mqtt_mcp.messages.ignored", self.ignored);
    }
}
