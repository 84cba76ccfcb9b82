//! The message that answers a request: its payload and properties, and how long it is of use.

mod kept;

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use minijinja::Value;
use serde_json::{Map, Value as Json, json};
use tidegate_engine::{Context, Duration, Time};
use tidegate_options::Bounded;
use tidegate_streams::mqtt::{
    MqttPayloadFormat, MqttPublish, MqttPublishData, MqttPublishFlags, MqttUserProperty,
};

use crate::action::{ERROR, MessageOptions, RESULT};
use crate::aio::{self, Clock};
use crate::document::{push_name, push_text};
use crate::failure::{Executed, Failure, Reason, Status};
use crate::progress;
use crate::raw::{final_property, response};
use crate::request::Envelope;
use crate::template::from_json;
use crate::variables::Variables;

/// The member and the user property with the outcome.
const STATUS: &str = "status";
/// The content type of answers.
const JSON: &str = "application/json";

/// A message that answers a request. A copy shares it: one is published, and one is remembered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer(Arc<AnswerMessage>);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnswerMessage {
    topic: ByteString,
    qos: u8,
    retain: bool,
    payload: Bytes,
    correlation: Option<Bytes>,
    /// The outcome.
    properties: Vec<MqttUserProperty>,
    /// The trace context of the request.
    trace: Vec<MqttUserProperty>,
    /// How long it is of use, as the config says.
    expiry: Option<Duration>,
    /// When it is of no use any more.
    pub(crate) until: Time,
    /// Whether the broker is told so.
    expires: bool,
}

impl From<AnswerMessage> for Answer {
    fn from(message: AnswerMessage) -> Self {
        Self(Arc::new(message))
    }
}

impl Deref for Answer {
    type Target = AnswerMessage;

    fn deref(&self) -> &AnswerMessage {
        &self.0
    }
}

impl AnswerMessage {
    fn again(&mut self, envelope: &Envelope, now: Time, remember: Duration) {
        self.correlation.clone_from(&envelope.correlation);
        self.trace.clone_from(&envelope.trace);
        let own = self.expiry.map(|it| now + it);
        let until = match (own, envelope.expires) {
            (Some(own), Some(request)) => Some(own.min(request)),
            (own, request) => own.or(request),
        };
        self.until = until.unwrap_or(now + remember);
        self.expires = until.is_some();
    }
}

impl Answer {
    /// A message that the broker retains.
    pub(crate) fn retained(topic: ByteString, qos: u8, payload: Bytes, until: Time) -> Self {
        Self::from(AnswerMessage {
            topic,
            qos,
            retain: true,
            payload,
            correlation: None,
            properties: Vec::new(),
            trace: Vec::new(),
            expiry: None,
            until,
            expires: false,
        })
    }

    /// An answer that keeps this number of bytes.
    #[cfg(test)]
    pub(crate) fn of_size(size: usize) -> Self {
        Self::from(AnswerMessage {
            topic: ByteString::new(),
            qos: 1,
            retain: false,
            payload: vec![0; size].into(),
            correlation: None,
            properties: Vec::new(),
            trace: Vec::new(),
            expiry: None,
            until: Time::default(),
            expires: false,
        })
    }

    pub(crate) fn topic(&self) -> &ByteString {
        &self.topic
    }

    /// Bytes that it keeps.
    pub(crate) fn size(&self) -> usize {
        let properties = self.properties.iter().chain(&self.trace);
        let properties = properties.map(|it| it.key.len() + it.value.len());
        let correlation = self.correlation.as_ref().map_or(0, Bytes::len);
        self.topic.len() + self.payload.len() + correlation + properties.sum::<usize>()
    }

    /// The same answer, to the same request that came again: with the correlation, the trace and the expiry
    /// of the message in which it came.
    pub(crate) fn again(&mut self, envelope: &Envelope, now: Time, remember: Duration) {
        Arc::make_mut(&mut self.0).again(envelope, now, remember);
    }

    /// It is of no use any more at this time, or before.
    pub(crate) fn ends_by(&mut self, until: Time) {
        let message = Arc::make_mut(&mut self.0);
        message.until = message.until.min(until);
    }

    /// Fills in what an answer says about the time at which it is published.
    pub(crate) fn stamp(&mut self, clock: &mut Clock, cx: &mut Context<'_>) {
        if aio::is_stamped(&self.properties) {
            let message = Arc::make_mut(&mut self.0);
            aio::stamp(&mut message.properties, clock, cx);
        }
    }

    /// Whether it is a message of progress, and not an answer.
    pub(crate) fn is_progress(&self) -> bool {
        let mut properties = self.properties.iter();
        properties.any(|it| it.key == STATUS && it.value == progress::VARIABLE)
    }

    /// The BEGIN of the publish stream.
    pub(crate) fn begin(&self) -> MqttPublish {
        MqttPublish {
            topic: self.topic.clone(),
            flags: self.flags(),
            qos: self.qos,
            ..MqttPublish::default()
        }
    }

    fn flags(&self) -> MqttPublishFlags {
        MqttPublishFlags::ANSWER_PROPERTIES_OPTIONAL
            .with(MqttPublishFlags::EXPIRY_OPTIONAL)
            .with_if(MqttPublishFlags::RETAIN, self.retain)
    }

    /// The properties of the message, if it is sent now, and its payload.
    pub(crate) fn message(&self, now: Time) -> (MqttPublishData, Bytes) {
        let data = MqttPublishData {
            qos: self.qos,
            flags: self.flags(),
            expiry_interval: if self.expires {
                seconds_up(self.until.since(now))
            } else {
                -1
            },
            content_type: (!self.payload.is_empty()).then(|| ByteString::from_static(JSON)),
            format: MqttPayloadFormat::Text,
            correlation: self.correlation.clone(),
            properties: [&self.properties[..], &self.trace[..]].concat(),
            ..MqttPublishData::default()
        };
        (data, self.payload.clone())
    }
}

/// Whole seconds, so that a message with any time left does not expire at once.
fn seconds_up(left: Duration) -> i64 {
    i64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// Makes the answers of one request.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) now: Time,
    /// How long an answer without expiry is of use.
    pub(crate) remember: Duration,
}

impl Answers<'_> {
    /// The answer of a request that succeeded. `variables` are those of the request and of its results,
    /// `result` is the JSON that the payload has without a template. `None` if there is no topic for it.
    pub(crate) fn done(
        &self,
        options: &MessageOptions,
        variables: &Variables,
        result: &Bytes,
    ) -> Result<Option<Answer>, Failure> {
        let Some(topic) = self.topic(options)? else {
            return Ok(None);
        };
        let payload = match &options.payload {
            Some(document) => document
                .render(variables)
                .map_err(|why| invalid("payload", &why))?,
            None if self.envelope.command.is_some() => of_command(variables, result),
            None => self.plain(Status::Done.word(), None, Some(result)),
        };
        let (payload, properties) = match &self.envelope.command {
            Some(command) => {
                let payload = if payload == b"null" {
                    Vec::new()
                } else {
                    payload
                };
                let properties = command.done(&payload);
                (payload, properties)
            }
            None => (payload, vec![property(STATUS, Status::Done.word())]),
        };
        let message = self.message(options, topic, payload, properties);
        Ok(Some(message.into()))
    }

    /// The answer of a request that failed. `result` is that of a tool that reported an error. `None` if
    /// there is no topic for it.
    pub(crate) fn failed(
        &self,
        options: &MessageOptions,
        failure: &Failure,
        result: Option<&Bytes>,
    ) -> Option<Answer> {
        let topic = self.topic(options).ok().flatten()?;
        if let Some(rpc) = &self.envelope.rpc {
            let payload = response::failed(rpc, failure);
            return self.response(options, payload, Some(failure));
        }
        let rendered = options.payload.as_ref().and_then(|document| {
            let mut variables = self.envelope.variables.clone();
            variables.insert(ByteString::from_static(ERROR), error_variable(failure));
            document.render(&variables).ok()
        });
        // A failure without its template is better than none.
        let command = self.envelope.command.as_ref();
        let payload = rendered.unwrap_or_else(|| {
            if command.is_some() {
                return Vec::new();
            }
            let error = json!({
                "reason": failure.reason.word(),
                "message": failure.message,
                "executed": failure.executed.word(),
            });
            self.plain(failure.status.word(), Some(error), result)
        });
        let mut properties = match command {
            Some(command) => {
                let elapsed = self.now.since(self.envelope.received);
                command.failed(failure, self.envelope.correlation.as_ref(), elapsed)
            }
            None => failure_properties(failure),
        };
        if command.is_some() {
            properties.push(property("reason", failure.reason.word()));
            properties.push(property("executed", failure.executed.word()));
        }
        Some(self.message(options, topic, payload, properties).into())
    }

    /// A message about the progress of a request. `told` is what the tool said. `None` if it cannot be made.
    pub(crate) fn progress(
        &self,
        options: &MessageOptions,
        variables: &Variables,
        told: Json,
    ) -> Option<Answer> {
        let topic = self.topic(options).ok().flatten()?;
        let payload = if let Some(document) = &options.payload {
            let mut variables = variables.clone();
            let name = ByteString::from_static(progress::VARIABLE);
            variables.insert(name, from_json(&told));
            document.render(&variables).ok()?
        } else {
            let Json::Object(members) = told else {
                return None;
            };
            let mut payload = self.members(progress::VARIABLE);
            payload.extend(members);
            Json::Object(payload).to_string().into_bytes()
        };
        let properties = vec![property(STATUS, progress::VARIABLE)];
        let mut message = self.message(options, topic, payload, properties);
        // It is of use only now.
        message.until = message.until.min(self.now + progress::OF_USE);
        message.expires = true;
        Some(message.into())
    }

    /// The JSON-RPC response to a request of a raw route. `None` if there is no topic for it.
    pub(crate) fn response(
        &self,
        options: &MessageOptions,
        payload: Bytes,
        failure: Option<&Failure>,
    ) -> Option<Answer> {
        let topic = self.topic(options).ok().flatten()?;
        let done = || vec![property("status", Status::Done.word())];
        let mut properties = failure.map_or_else(done, failure_properties);
        properties.push(final_property());
        Some(self.message(options, topic, payload, properties).into())
    }

    /// A JSON-RPC notification about a request of a raw route. `None` if there is no topic for it.
    pub(crate) fn notification(&self, options: &MessageOptions, payload: Bytes) -> Option<Answer> {
        let topic = self.topic(options).ok().flatten()?;
        Some(self.message(options, topic, payload, Vec::new()).into())
    }

    fn topic(&self, options: &MessageOptions) -> Result<Option<ByteString>, Failure> {
        let Some(topic) = &options.topic else {
            return Ok(self.envelope.reply.clone());
        };
        let found = topic.of(&self.envelope.values);
        let why = "a level of the request's topic cannot be a level of it";
        found.map(Some).ok_or_else(|| invalid("topic", why))
    }

    /// A payload without a template.
    fn plain(&self, status: &'static str, error: Option<Json>, result: Option<&Bytes>) -> Vec<u8> {
        /// Bytes beside the result.
        const AROUND: usize = 64;
        let mut text = Vec::with_capacity(result.map_or(0, Bytes::len) + AROUND);
        text.push(b'{');
        if let Some(error) = error {
            push_member(&mut text, "error", error.to_string().as_bytes());
        }
        if let Some(id) = &self.envelope.id {
            push_member(&mut text, "id", id.to_string().as_bytes());
        }
        if let Some(result) = result {
            push_member(&mut text, "result", result);
        }
        push_name(&mut text, STATUS);
        push_text(&mut text, status);
        text.push(b'}');
        text
    }

    /// The members of a payload without a template, beside what it is about.
    fn members(&self, status: &'static str) -> Map<String, Json> {
        let mut object = Map::new();
        if let Some(id) = &self.envelope.id {
            object.insert("id".to_owned(), id.clone());
        }
        object.insert(STATUS.to_owned(), status.into());
        object
    }

    fn message(
        &self,
        options: &MessageOptions,
        topic: ByteString,
        payload: impl Into<Bytes>,
        properties: Vec<MqttUserProperty>,
    ) -> AnswerMessage {
        let mut answer = AnswerMessage {
            topic,
            qos: u8::try_from(options.qos.map_or(1, Bounded::get)).unwrap_or(1),
            retain: options.retain.unwrap_or(false),
            payload: payload.into(),
            correlation: None,
            properties,
            trace: Vec::new(),
            expiry: options.expiry.map(|it| Duration::from_secs(it.get())),
            until: self.now,
            expires: false,
        };
        answer.again(self.envelope, self.now, self.remember);
        answer
    }
}

/// Appends a member with its comma.
fn push_member(text: &mut Vec<u8>, name: &str, json: &[u8]) {
    push_name(text, name);
    text.extend_from_slice(json);
    text.push(b',');
}

/// The payload of the answer to a command: the result of the only tool, or those of a plan by name.
fn of_command(variables: &Variables, result: &Bytes) -> Vec<u8> {
    let Some(only) = variables.get(RESULT) else {
        return result.to_vec();
    };
    let member = |name| only.get_attr(name).ok().filter(|it| !it.is_undefined());
    let structured = member("structured").and_then(|it| serde_json::to_value(it).ok());
    let text = member("text").map_or_else(String::new, |it| it.to_string());
    let result = serde_json::from_slice(result).unwrap_or_default();
    aio::payload(&result, structured, &text)
}

/// What templates see of a failure.
fn error_variable(failure: &Failure) -> Value {
    from_json(json!({
        "status": failure.status.word(),
        "reason": failure.reason.word(),
        "message": failure.message,
        "executed": failure.executed.word(),
    }))
}

/// The answer could not be made.
fn invalid(what: &str, why: &str) -> Failure {
    Failure {
        status: Status::Failed,
        reason: Reason::InvalidAnswer,
        message: format!("Invalid {what} of the answer: {why}."),
        executed: Executed::Yes,
    }
}

fn failure_properties(failure: &Failure) -> Vec<MqttUserProperty> {
    vec![
        property("status", failure.status.word()),
        property("reason", failure.reason.word()),
        property("executed", failure.executed.word()),
    ]
}

fn property(key: &'static str, value: &'static str) -> MqttUserProperty {
    MqttUserProperty {
        key: ByteString::from_static(key),
        value: ByteString::from_static(value),
    }
}
