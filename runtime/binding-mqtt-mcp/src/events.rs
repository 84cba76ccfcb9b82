//! Events and meters.

use bytestring::ByteString;
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{Duration, Histogram, Meter};
use tidegate_streams::{event, words};

use crate::failure::{Failure, Status};

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
    /// A tool that a request called has answered, or failed; or an optional step did not call its tool.
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
    /// A route calls tools for requests that cannot be answered: it has no topic for its answers, and none may be
    /// named. The devices would wait in vain.
    pub struct RequestsUnanswerable "binding.mqtt_mcp.requests.unanswerable" Warn
        "requests on '{topic}' cannot be answered: add the topics that they may name to 'replyTopics', or set 'answer.topic'"
    {
        /// The first topic filter of the route.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// The topic of `discover` is one of requests: the message that says what the server is would be taken for one,
    /// and whoever may publish requests could replace it.
    pub struct DiscoverIsRequest "binding.mqtt_mcp.discover.is_request" Warn
        "'discover.topic' is a topic of requests ('{topic}'): use one that no 'when' matches"
    {
        /// The topic.
        topic "topic": ByteString = ByteString::new(),
    }
}

event! {
    /// A route counts messages of a topic one after the other, by `edge: rising` or `minInterval`, but a `group`
    /// gives them to several gateways, each of which counts for itself.
    pub struct ConditionNotShared "binding.mqtt_mcp.condition.not_shared" Warn
        "the gateways of a 'group' do not share what 'edge: rising' and 'minInterval' know of '{topic}': requests are \
         doubled or missed unless the broker gives all messages of a topic to the same gateway"
    {
        /// The first topic filter of the route.
        topic "topic": ByteString = ByteString::new(),
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
    /// How a call of a tool for a request ended.
    pub enum StepOutcome {
        /// The tool succeeded.
        Ok "ok",
        /// It reported an error, or its server did.
        Failed "failed",
        /// It was not executed.
        Rejected "rejected",
        /// There was no result in time.
        TimedOut "timedOut",
        /// The result was lost.
        Unknown "unknown",
        /// The request ended before.
        Cancelled "cancelled",
    }
}

/// How a step ended: for the meters, and in the word of its event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepEnd {
    pub(crate) outcome: StepOutcome,
    pub(crate) word: &'static str,
}

impl StepEnd {
    /// The request ended before.
    pub(crate) const CANCELLED: Self = Self {
        outcome: StepOutcome::Cancelled,
        word: "cancelled",
    };

    /// With a result, or a failure.
    pub(crate) fn of(failure: Option<&Failure>) -> Self {
        let Some(failure) = failure else {
            return Self {
                outcome: StepOutcome::Ok,
                word: "ok",
            };
        };
        let outcome = match failure.status {
            Status::Done => StepOutcome::Ok,
            Status::Failed => StepOutcome::Failed,
            Status::Rejected => StepOutcome::Rejected,
            Status::TimedOut => StepOutcome::TimedOut,
            Status::Unknown => StepOutcome::Unknown,
        };
        Self {
            outcome,
            word: failure.reason.word(),
        }
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
    steps: [Histogram; StepOutcome::ALL.len()],
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

    pub(crate) fn step(&mut self, outcome: StepOutcome, duration: Duration) {
        if let Some(figure) = self.steps.get_mut(outcome as usize) {
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
        for (figure, outcome) in self.steps.iter().zip(StepOutcome::ALL) {
            let labels = [("outcome", outcome.word())];
            meter.record(Counter, "mqtt_mcp.steps", &labels, figure.count());
            if figure.count() > 0 {
                meter.histogram("mqtt_mcp.step.duration", &labels, figure);
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

#[cfg(test)]
mod tests {
    use tidegate_engine::Measures;

    use super::*;

    /// Each figure has another value, so that no two can be mistaken for each other.
    #[test]
    fn each_word_has_a_figure_of_its_own() {
        let mut counts = Counts::default();
        let times = |index: usize| 0..=index;
        for (index, status) in Status::ALL.iter().enumerate() {
            times(index).for_each(|_| counts.request(*status, Duration::from_millis(2)));
        }
        for (index, outcome) in StepOutcome::ALL.iter().enumerate() {
            times(index).for_each(|_| counts.step(*outcome, Duration::from_millis(3)));
        }
        for (index, what) in Publication::ALL.iter().enumerate() {
            times(index).for_each(|_| counts.answer(*what));
        }
        for (index, what) in Progress::ALL.iter().enumerate() {
            times(index).for_each(|_| counts.progress(*what));
        }
        (counts.repeated, counts.ignored) = (7, 8);
        let mut measures = Measures::default();
        counts.report(measures.of("it"));
        let value = |name: &str, word: &str| measures.labelled("it", name, word);
        for (index, status) in (1..).zip(Status::ALL) {
            let word = status.word();
            assert_eq!(value("mqtt_mcp.requests", word), index, "{word}");
            assert_eq!(value("mqtt_mcp.request.duration", word), index, "{word}");
        }
        for (index, outcome) in (1..).zip(StepOutcome::ALL) {
            let word = outcome.word();
            assert_eq!(value("mqtt_mcp.steps", word), index, "{word}");
            assert_eq!(value("mqtt_mcp.step.duration", word), index, "{word}");
        }
        for (index, what) in (1..).zip(Publication::ALL) {
            assert_eq!(value("mqtt_mcp.answers", what.word()), index, "{what:?}");
        }
        for (index, what) in (1..).zip(Progress::ALL) {
            assert_eq!(value("mqtt_mcp.progress", what.word()), index, "{what:?}");
        }
        assert_eq!(measures.value("it", "mqtt_mcp.requests.repeated"), 7);
        assert_eq!(measures.value("it", "mqtt_mcp.messages.ignored"), 8);
        let sums = measures.iter().filter_map(|it| it.histogram.as_ref());
        let sums: Vec<u64> = sums.map(|it| it.sum().as_millis()).collect();
        assert_eq!(sums, [2, 4, 6, 8, 10, 3, 6, 9, 12, 15, 18]);
    }

    #[test]
    fn a_step_ends_as_its_failure_says() {
        let end = StepEnd::of(None);
        assert_eq!((end.outcome, end.word), (StepOutcome::Ok, "ok"));
        let of = |status| {
            let failure = Failure {
                status,
                ..Failure::rejected(crate::failure::Reason::Busy, "full")
            };
            let end = StepEnd::of(Some(&failure));
            assert_eq!(end.word, "busy");
            end.outcome
        };
        assert_eq!(of(Status::Failed), StepOutcome::Failed);
        assert_eq!(of(Status::Rejected), StepOutcome::Rejected);
        assert_eq!(of(Status::TimedOut), StepOutcome::TimedOut);
        assert_eq!(of(Status::Unknown), StepOutcome::Unknown);
        assert_eq!(StepEnd::CANCELLED.outcome, StepOutcome::Cancelled);
    }
}
