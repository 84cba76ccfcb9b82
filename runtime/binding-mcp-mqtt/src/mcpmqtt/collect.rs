//! `mqtt_subscribe` and `mqtt_read`: the messages of a filter until the limit on messages, bytes or time is
//! reached.

use serde::Serialize;
use tidegate_engine::WallTime;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::{Data, shown};

use super::result::{error, ok, payload, pretty, size};
use crate::message::{Assembled, Assembly, Message};
use crate::messages::Messages;
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::taken::Taken;

/// Size of what is around a message in a result, in bytes.
const AROUND: usize = 128;

/// The tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `mqtt_subscribe`
    Subscribe,
    /// `mqtt_read`
    Read,
}

#[derive(Debug, Serialize)]
struct Received {
    topic: String,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// Seconds since the Unix epoch.
    timestamp: f64,
}

#[derive(Serialize)]
struct SubscribeResult<'a> {
    topic: &'a str,
    messages_received: usize,
    messages: &'a [Received],
}

#[derive(Serialize)]
struct ReadResult<'a> {
    response_topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// The topic of the message, if the filter has wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    success: bool,
}

/// Messages that are being collected.
#[derive(Debug)]
pub(crate) struct Collect {
    pub(crate) filter: TopicFilter,
    form: Form,
    limit: usize,
    assembly: Assembly,
    messages: Vec<Received>,
    /// Size of the messages in the result, in bytes.
    size: usize,
    bound: usize,
    pub(crate) confirmed: bool,
    /// The messages of the result, if an audit log wants them.
    pub(crate) audited: Option<Box<Taken>>,
}

impl Collect {
    /// Up to `limit` messages in a result of up to `bound` bytes.
    pub(super) fn new(filter: TopicFilter, form: Form, limit: u32, bound: usize) -> Self {
        Self {
            filter,
            form,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            assembly: Assembly::new(bound),
            messages: Vec::new(),
            size: AROUND,
            bound,
            confirmed: false,
            audited: None,
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Wait
    }

    /// A message or a part of one arrived at a time.
    pub(crate) fn data(&mut self, data: Data, at: WallTime) -> Step {
        match self.assembly.add(data) {
            Assembled::Incomplete => Step::Wait,
            Assembled::TooLarge(topic) => self.full(&topic),
            Assembled::Complete(message) => self.add(&message, at),
        }
    }

    fn add(&mut self, message: &Message, at: WallTime) -> Step {
        let (payload, encoding) = payload(message);
        let millis = at.unix_millis();
        let timestamp = format!("{}.{:03}", millis / 1_000, millis % 1_000);
        let received = Received {
            topic: message.topic.to_string(),
            payload,
            encoding,
            timestamp: timestamp.parse().unwrap_or_default(),
        };
        let size = AROUND + size(&pretty(&received));
        if self.size + size > self.bound {
            return self.full(&message.topic);
        }
        self.size += size;
        self.messages.push(received);
        if let Some(taken) = &mut self.audited {
            taken.add(message);
        }
        if self.messages.len() >= self.limit {
            return self.finish();
        }
        Step::Wait
    }

    /// The message does not fit into the result.
    fn full(&mut self, topic: &str) -> Step {
        if !self.messages.is_empty() {
            return self.finish();
        }
        Step::Answer(Messages::single(self.bound).too_large(topic))
    }

    /// Answers with the messages received so far.
    pub(crate) fn finish(&mut self) -> Step {
        let topic = self.filter.as_str();
        Step::Answer(match (self.form, self.messages.first()) {
            (Form::Subscribe, _) => ok(&pretty(&SubscribeResult {
                topic,
                messages_received: self.messages.len(),
                messages: &self.messages,
            })),
            (Form::Read, Some(message)) => ok(&pretty(&ReadResult {
                response_topic: topic,
                response_payload: Some(&message.payload),
                encoding: message.encoding,
                topic: self.filter.has_wildcards().then_some(&message.topic),
                error: None,
                success: true,
            })),
            (Form::Read, None) => error(&pretty(&ReadResult {
                response_topic: topic,
                response_payload: None,
                encoding: None,
                topic: None,
                error: Some("Timeout waiting for message"),
                success: false,
            })),
        })
    }

    /// The stream failed. Messages that were received are returned, because an error would lose them.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        if !self.messages.is_empty() {
            return self.finish();
        }
        let doing = match self.form {
            Form::Subscribe => "subscribing to",
            Form::Read => "waiting for message on",
        };
        let topic = shown(self.filter.as_str());
        let why = &failure.why;
        Step::Answer(Answer::tool_error(&format!(
            "Error {doing} topic '{topic}': {why}."
        )))
    }

    /// The wait for messages expired.
    pub(crate) fn expired(&mut self) -> Step {
        if self.confirmed {
            self.finish()
        } else {
            Step::Wait
        }
    }

    /// The engine is shutting down.
    pub(crate) fn stopping(&mut self) -> Step {
        match self.form {
            Form::Subscribe => self.finish(),
            Form::Read => self.failed(&Failure::new("the gateway is stopping")),
        }
    }
}
