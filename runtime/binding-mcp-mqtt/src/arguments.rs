//! The arguments of a call: read in place and checked. An error says what to change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_json::{Document, Kind, Parts, Picked, Value};
use tidegate_options::TopicRequest;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::MqttPayloadFormat;
use tidegate_streams::mqtt::topic::{TopicFilter, TopicLimits, check_name};
use tidegate_streams::shown;

use crate::call::{Params, TopicHeader};
use crate::message::is_utf8;
use crate::policy::{CallerPolicy, SHARED};
use crate::publish::PublishArguments;

/// Bounds and defaults of arguments.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) messages_default: u64,
    pub(crate) messages_max: u64,
    /// In milliseconds.
    pub(crate) timeout_default: u64,
    /// Lowest `qos` of `publish`.
    pub(crate) qos_minimum: u8,
    pub(crate) qos_default: u8,
    /// Whether the header that mirrors `topic` is checked.
    pub(crate) topic_header: bool,
    pub(crate) topics: TopicLimits,
    /// Whether shared subscriptions are allowed.
    pub(crate) shared: bool,
}

/// Why a call is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// A tool error: a sentence for the model.
    Tool(String),
    /// A protocol error of the request.
    Reset(McpReset),
    /// The tool does not exist for the caller.
    Unknown,
    /// The caller may not access the topic, which is refused like this.
    NotAllowed(ByteString, Box<Self>),
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self::Tool(sentence)
    }
}

/// The checked arguments of `receive`.
#[derive(Debug)]
pub(crate) struct ReceiveArguments {
    pub(crate) filter: TopicFilter,
    pub(crate) limit: u32,
    pub(crate) timeout: Duration,
}

/// Reads and checks the arguments of `publish`.
pub(crate) fn publish_arguments(
    params: Params,
    header: &TopicHeader,
    policy: CallerPolicy<'_>,
    limits: &Limits,
) -> Result<PublishArguments, Refusal> {
    let document = document(params)?;
    let arguments = Arguments::of(document.as_ref())?;
    let topic = arguments.topic(header, limits, "the topic to publish to")?;
    check_name(&topic)
        .and_then(|()| limits.topics.check(&topic))
        .map_err(|error| bad_topic("topic", &topic, error))?;
    let payload = arguments.required(Argument::Payload, "the message as a string")?;
    let qos = arguments.qos(limits)?;
    let retain = arguments.retain()?;
    let base64 = arguments.is_base64()?;
    if !policy.allows_topic(&topic) {
        return Err(not_allowed(policy, TopicRequest::Topic(&topic), || {
            format!("Publishing to '{}' is not allowed.", shown(&topic))
        }));
    }
    let payload = payload
        .string_parts()
        .ok_or_else(|| payload_not_string(&payload))?;
    let payload = if base64 { decoded(&payload)? } else { payload };
    let format = if !base64 || is_utf8(payload.iter()) {
        MqttPayloadFormat::Text
    } else {
        MqttPayloadFormat::Binary
    };
    Ok(PublishArguments {
        topic,
        payload,
        qos,
        retain,
        format,
    })
}

/// Reads and checks the arguments of `receive`.
pub(crate) fn receive_arguments(
    params: Params,
    header: &TopicHeader,
    policy: CallerPolicy<'_>,
    limits: &Limits,
) -> Result<ReceiveArguments, Refusal> {
    let document = document(params)?;
    let arguments = Arguments::of(document.as_ref())?;
    let topic = arguments.topic(header, limits, "the topic filter to receive from")?;
    let filter = TopicFilter::parse(topic.clone())
        .and_then(|filter| limits.topics.check(&topic).map(|()| filter))
        .map_err(|error| bad_topic("topic filter", &topic, error))?;
    let limit = arguments.number(
        Argument::Limit,
        limits.messages_default,
        limits.messages_max,
    )?;
    let timeout = arguments.number(Argument::Timeout, limits.timeout_default, TIMEOUT_MAX)?;
    if !policy.allows_filter(&filter) {
        return Err(not_allowed(policy, TopicRequest::Filter(&filter), || {
            format!("Receiving from '{}' is not allowed.", shown(&topic))
        }));
    }
    if filter.is_shared() && !limits.shared {
        return Err(format!(
            "Receiving from '{}' is not allowed: {SHARED}. Receive from '{}' to get a copy of each \
             message.",
            shown(&topic),
            shown(filter.inner())
        )
        .into());
    }
    Ok(ReceiveArguments {
        filter,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        timeout: Duration::from_millis(timeout),
    })
}

/// The refusal of a topic: the scopes that the caller can ask for, or else what it may use.
fn not_allowed(
    policy: CallerPolicy<'_>,
    request: TopicRequest<'_>,
    why: impl FnOnce() -> String,
) -> Refusal {
    let refusal = if let Some(scopes) = policy.step_up(request) {
        Refusal::Reset(McpReset::insufficient_scope(scopes))
    } else if policy.depends_on_caller() && !policy.allows_any() {
        Refusal::Unknown
    } else {
        Refusal::Tool(format!("{} {}", why(), policy.sentence()))
    };
    Refusal::NotAllowed(request.text().into(), Box::new(refusal))
}

/// Largest `timeout` of a call, in milliseconds. In practice the caller's deadline is shorter.
const TIMEOUT_MAX: u64 = 3_600_000;

/// The parsed params; `None` if they are empty.
fn document(params: Params) -> Result<Option<Document>, Refusal> {
    let document = match params {
        Params::Read(document) => document,
        Params::Text(text) if text.is_empty() => return Ok(None),
        Params::Text(text) => Document::parse(text, tidegate_json::Limits::default())
            .map_err(|error| invalid(format!("Invalid JSON in 'params': {error}.")))?,
    };
    if document.root().kind() != Kind::Object {
        return Err(invalid("'params' must be an object.".to_owned()));
    }
    Ok(Some(document))
}

fn invalid(message: String) -> Refusal {
    Refusal::Reset(McpReset::new(McpResetKind::Invalid, message))
}

fn bad_topic(what: &str, topic: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::Tool(format!("Invalid {what} '{}': {error}.", shown(topic)))
}

fn twice(name: &str) -> Refusal {
    format!("'{name}' is given twice; send it once.").into()
}

fn wrong(name: &str, wanted: &str, given: &Value<'_>) -> Refusal {
    let given = match given.kind() {
        Kind::Object => "an object",
        Kind::Array => "an array",
        Kind::String => "a string",
        Kind::Number => "a number",
        Kind::Bool(_) => "a boolean",
        Kind::Null => "null",
    };
    Refusal::Tool(format!("'{name}' must be {wanted}, not {given}."))
}

fn payload_not_string(payload: &Value<'_>) -> Refusal {
    match (wrong("payload", "a string", payload), payload.kind()) {
        (Refusal::Tool(sentence), Kind::Object | Kind::Array) => Refusal::Tool(format!(
            "{sentence} Send JSON as text: \"{{\\\"state\\\":\\\"on\\\"}}\"."
        )),
        (refusal, _) => refusal,
    }
}

fn out_of_range(name: &str, number: &Value<'_>, allowed: &str) -> Refusal {
    let number = number.raw();
    let number = String::from_utf8_lossy(&number);
    format!("'{name}' is {}; use {allowed}.", shown(&number)).into()
}

fn decoded(payload: &Parts) -> Result<Parts, Refusal> {
    match STANDARD.decode(payload.contiguous()) {
        Ok(bytes) => Ok(Parts::from(Bytes::from(bytes))),
        Err(error) => Err(format!(
            "'payload' is not valid base64 ({}); use the standard alphabet with padding, or omit \
             'encoding' to send text.",
            error.to_string().trim_end_matches('.')
        )
        .into()),
    }
}

/// The arguments that a call can have.
#[derive(Debug, Clone, Copy)]
enum Argument {
    Topic,
    Payload,
    Qos,
    Retain,
    Encoding,
    Limit,
    Timeout,
}

impl Argument {
    const NAMES: [&str; 7] = [
        "topic", "payload", "qos", "retain", "encoding", "limit", "timeout",
    ];

    fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// The members of `arguments`.
struct Arguments<'a> {
    params: Option<&'a Document>,
    members: Picked<{ Argument::NAMES.len() }>,
}

impl<'a> Arguments<'a> {
    fn of(params: Option<&'a Document>) -> Result<Self, Refusal> {
        const NAME: &str = "arguments";
        let arguments = params.map_or(Ok(None), |params| params.root().get(NAME));
        let members = match arguments.map_err(|_| twice(NAME))? {
            Some(arguments) if arguments.kind() == Kind::Object => arguments.pick(&Argument::NAMES),
            Some(_) => {
                return Err(Refusal::Tool(
                    "'arguments' must be an object, e.g. {\"topic\": \"a/b\"}.".to_owned(),
                ));
            }
            None => Picked::none(&Argument::NAMES),
        };
        Ok(Self { params, members })
    }

    fn get(&self, argument: Argument) -> Result<Option<Value<'a>>, Refusal> {
        let Some(params) = self.params else {
            return Ok(None);
        };
        let value = self.members.get(params, argument as usize);
        value.map_err(|_| twice(argument.name()))
    }

    fn required(&self, argument: Argument, what: &str) -> Result<Value<'a>, Refusal> {
        let name = argument.name();
        self.get(argument)?
            .ok_or_else(|| format!("'{name}' is missing; add {what}.").into())
    }

    /// The topic, which must equal the header if that is checked.
    fn topic(
        &self,
        header: &TopicHeader,
        limits: &Limits,
        what: &str,
    ) -> Result<ByteString, Refusal> {
        let value = self.get(Argument::Topic)?;
        let topic = value.and_then(|value| value.string());
        if limits.topic_header {
            let present = value.is_some_and(|value| value.kind() != Kind::Null);
            check_header(header, topic.as_ref(), present)?;
        }
        match (topic, value) {
            (Some(topic), _) => Ok(topic),
            (None, Some(value)) => Err(wrong("topic", "a string", &value)),
            (None, None) => Err(format!("'topic' is missing; add {what}.").into()),
        }
    }

    fn qos(&self, limits: &Limits) -> Result<u8, Refusal> {
        let Some(value) = self.get(Argument::Qos)? else {
            return Ok(limits.qos_default);
        };
        let qos = value.as_u64().and_then(|qos| u8::try_from(qos).ok());
        let allowed = || match limits.qos_minimum {
            0 => "0, 1 or 2",
            1 => "1 or 2",
            _ => "2",
        };
        match qos.filter(|qos| (limits.qos_minimum..=2).contains(qos)) {
            Some(qos) => Ok(qos),
            None if value.kind() == Kind::Number => Err(out_of_range("qos", &value, allowed())),
            None => Err(wrong("qos", allowed(), &value)),
        }
    }

    fn retain(&self) -> Result<bool, Refusal> {
        match self.get(Argument::Retain)? {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| wrong("retain", "true or false", &value)),
        }
    }

    fn is_base64(&self) -> Result<bool, Refusal> {
        let Some(value) = self.get(Argument::Encoding)? else {
            return Ok(false);
        };
        match value.text().as_deref() {
            Some("text") => Ok(false),
            Some("base64") => Ok(true),
            Some(other) => {
                Err(format!("'encoding' is '{}'; use 'text' or 'base64'.", shown(other)).into())
            }
            None => Err(wrong("encoding", "'text' or 'base64'", &value)),
        }
    }

    /// A whole number from 1 to `max`.
    fn number(&self, argument: Argument, default: u64, max: u64) -> Result<u64, Refusal> {
        let name = argument.name();
        let Some(value) = self.get(argument)? else {
            return Ok(default);
        };
        let number = value.as_u64().filter(|number| (1..=max).contains(number));
        let allowed = || format!("a whole number from 1 to {max}");
        match number {
            Some(number) => Ok(number),
            _ if value.kind() == Kind::Number => Err(out_of_range(name, &value, &allowed())),
            _ => Err(wrong(name, &allowed(), &value)),
        }
    }
}

fn check_header(
    header: &TopicHeader,
    topic: Option<&ByteString>,
    present: bool,
) -> Result<(), Refusal> {
    let differs = |value: &&ByteString| Some(*value) != topic;
    let why = match (header.values.iter().find(differs), topic) {
        (Some(value), Some(topic)) => format!(
            "Mcp-Param-Topic is '{}', but the argument 'topic' is '{}'",
            shown(value),
            shown(topic)
        ),
        (Some(_), None) => {
            "Mcp-Param-Topic is present, but the argument 'topic' is missing".to_owned()
        }
        (None, _) if header.required && present && header.values.is_empty() => {
            "Mcp-Param-Topic is missing; it must repeat the argument 'topic'".to_owned()
        }
        (None, _) => return Ok(()),
    };
    Err(Refusal::Reset(McpReset::new(
        McpResetKind::HeaderMismatch,
        format!("Header mismatch: {why}."),
    )))
}
