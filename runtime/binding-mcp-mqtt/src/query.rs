//! `query`: publishes a request and waits for its answer.
//!
//! The subscription comes first: the request is published when the broker has confirmed it, so that no
//! answer is missed. Retained messages are no answers. A message that carries other Correlation Data than
//! the request answers another request; one without is an answer unless the answers of several requests
//! arrive on the same topic.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mqtt::MqttPublish;
use tidegate_streams::shown;

use crate::mcpmqtt::Answered;
use crate::message::{Assembled, Assembly, Message};
use crate::messages::Messages;
use crate::publish::Publish;
use crate::published::Acknowledgement;
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::taken::Taken;

/// The answers that a query expects.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The topic on which they arrive.
    pub(crate) topic: ByteString,
    /// The Correlation Data of the request.
    pub(crate) correlation: Bytes,
    /// Other requests are answered on the same topic: an answer must carry the Correlation Data.
    pub(crate) shared: bool,
}

/// How far the request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waiting for SUBACK.
    Subscribing,
    /// Sent, and not acknowledged as its `QoS` requires.
    Publishing,
    Published,
}

/// A query in progress.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) request: Publish,
    /// The BEGIN of the publish stream, until it is opened.
    begin: Option<MqttPublish>,
    expected: Expected,
    assembly: Assembly,
    bound: usize,
    stage: Stage,
    /// The broker reports that nobody subscribes to the topic of the request. A rule of the broker may
    /// answer it nevertheless.
    unmatched: bool,
    /// The answer, if an audit log wants it.
    pub(crate) audited: Option<Box<Taken>>,
    /// The result is that of mcpMQTT.
    pub(crate) answered: Option<Box<Answered>>,
}

impl Query {
    /// `bound` is the maximum size of the result, in bytes.
    pub(crate) fn new(
        request: Publish,
        begin: MqttPublish,
        expected: Expected,
        bound: usize,
    ) -> Self {
        Self {
            request,
            begin: Some(begin),
            expected,
            assembly: Assembly::new(bound),
            bound,
            stage: Stage::Subscribing,
            unmatched: false,
            audited: None,
            answered: None,
        }
    }

    /// SUBACK arrived.
    pub(crate) fn confirmed(&mut self) -> Step {
        match self.begin.take() {
            Some(begin) => {
                self.stage = Stage::Publishing;
                Step::Publish(begin)
            }
            None => Step::Wait,
        }
    }

    /// Whether the broker has confirmed the subscription.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.stage != Stage::Subscribing
    }

    /// A message or a part of one arrived.
    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self.assembly.add(data) {
            Assembled::Incomplete => Step::Wait,
            Assembled::TooLarge(topic) => {
                Step::Answer(Messages::single(self.bound).too_large(&topic).unconfirmed())
            }
            Assembled::Complete(message) if !self.is_answer(&message) => Step::Wait,
            Assembled::Complete(message) => self.answer(&message),
        }
    }

    fn answer(&mut self, message: &Message) -> Step {
        let mut result = Messages::single(self.bound);
        let answered = self.answered.as_deref();
        let answer = if let Some(answer) = answered.and_then(|it| it.with(message, self.bound)) {
            answer
        } else if answered.is_none() && result.push(message) {
            Answer::ok(result.into_parts(None))
        } else {
            return Step::Answer(result.too_large(&message.topic).unconfirmed());
        };
        if let Some(taken) = &mut self.audited {
            taken.add(message);
        }
        Step::Answer(answer)
    }

    fn is_answer(&self, message: &Message) -> bool {
        if self.stage == Stage::Subscribing || message.retain {
            return false;
        }
        match &message.correlation {
            Some(correlation) => *correlation == self.expected.correlation,
            None => !self.expected.shared,
        }
    }

    /// The publish stream ended (END).
    pub(crate) fn published(&mut self, acknowledgement: Acknowledgement) -> Step {
        if !self.request.is_sent() {
            return self.request_failed(&Failure::new(
                "the stream to the broker ended before the message was sent",
            ));
        }
        self.stage = Stage::Published;
        self.unmatched = acknowledgement.is_unmatched();
        Step::Wait
    }

    /// The publish stream was reset, aborted or not opened.
    pub(crate) fn request_failed(&self, failure: &Failure) -> Step {
        self.request.failed(failure)
    }

    /// The subscribe stream was reset, aborted or not opened.
    pub(crate) fn failed(&self, failure: &Failure) -> Step {
        let topic = shown(&self.expected.topic);
        let why = &failure.why;
        Step::Answer(if self.stage == Stage::Subscribing {
            Answer::tool_error(&format!(
                "The answer topic '{topic}' could not be subscribed to: {why}. The request was not published."
            ))
        } else {
            Answer::tool_error(&format!(
                "Waiting for an answer on '{topic}' failed: {why}. {}",
                self.delivered()
            ))
            .unconfirmed()
        })
    }

    /// The wait for the answer expired after `milliseconds`. A stream that is not confirmed yet has the
    /// same deadline and is about to report the reason.
    pub(crate) fn expired(&self, milliseconds: u64) -> Step {
        match self.stage {
            Stage::Subscribing => Step::Wait,
            Stage::Publishing | Stage::Published => self.unanswered(
                &format!("within {milliseconds} ms"),
                " Retry with a longer 'timeout'.",
            ),
        }
    }

    /// The engine is shutting down, or the caller wants no answer any more.
    pub(crate) fn stop(&self, why: &str) -> Step {
        match self.stage {
            Stage::Subscribing => self.failed(&Failure::new(why.to_owned())),
            Stage::Publishing | Stage::Published => self.unanswered(&format!("before {why}"), ""),
        }
    }

    fn unanswered(&self, when: &str, next: &str) -> Step {
        let sentence = format!(
            "No answer on '{}' {when}. {}{next}",
            shown(&self.expected.topic),
            self.delivered()
        );
        let answer = match &self.answered {
            Some(answered) => answered.without(&sentence),
            None => Answer::tool_error(&sentence),
        };
        Step::Answer(answer.unconfirmed())
    }

    /// What happened to the request, as sentences.
    fn delivered(&self) -> String {
        let topic = shown(&self.request.topic);
        let how = match (self.stage, self.request.qos) {
            _ if self.unmatched => {
                return format!(
                    "The broker reports that nobody subscribes to '{topic}' (0x10), so check the topic."
                );
            }
            (Stage::Published, 0) => "was sent (QoS 0, not acknowledged)",
            (Stage::Published, _) => "was acknowledged by the broker",
            _ => "was sent and is not acknowledged",
        };
        format!(
            "The request to '{topic}' {how}; it may have taken effect, so check before repeating it."
        )
    }
}
