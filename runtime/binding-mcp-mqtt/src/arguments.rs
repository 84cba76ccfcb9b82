//! The arguments of a call: read in place and checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_json::{Document, Kind, Parts, Picked, Value};
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::topic::{TopicFilter, TopicLimits, check_name};
use tidegate_streams::shown;

use crate::call::{Params, TopicHeader};
use crate::policy::CallerPolicy;
use crate::refusal::{
    Refusal, bad_topic, invalid, out_of_range, payload_not_string, twice, unknown_argument, wrong,
};
use crate::uri::PREFIX;

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

/// Largest `timeout` of a call, in milliseconds. In practice the caller's deadline is shorter.
pub(crate) const TIMEOUT_MAX: u64 = 3_600_000;

/// The parsed params; `None` if they are empty.
pub(crate) fn document(params: Params) -> Result<Option<Document>, Refusal> {
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

/// The members of `arguments`. An argument is addressed by its index in the names of the tool.
pub(crate) struct Arguments<'a, const N: usize> {
    names: &'static [&'static str; N],
    params: Option<&'a Document>,
    members: Picked<N>,
}

impl<'a, const N: usize> Arguments<'a, N> {
    /// Reads the arguments of `tool`, which has the arguments `names`.
    pub(crate) fn of(
        tool: &str,
        names: &'static [&'static str; N],
        params: Option<&'a Document>,
    ) -> Result<Self, Refusal> {
        const NAME: &str = "arguments";
        let arguments = params.map_or(Ok(None), |params| params.root().get(NAME));
        let members = match arguments.map_err(|_| twice(NAME))? {
            Some(arguments) if arguments.kind() == Kind::Object => {
                let members = arguments.pick(names);
                if members.has_others() {
                    return Err(unknown(tool, names, &arguments));
                }
                members
            }
            Some(arguments) => return Err(no_object(&arguments)),
            None => Picked::none(names),
        };
        Ok(Self {
            names,
            params,
            members,
        })
    }

    fn name(&self, which: usize) -> &'static str {
        self.names.get(which).copied().unwrap_or_default()
    }

    /// The argument at index `which` of the names.
    pub(crate) fn get(&self, which: usize) -> Result<Option<Value<'a>>, Refusal> {
        let Some(params) = self.params else {
            return Ok(None);
        };
        let value = self.members.get(params, which);
        value.map_err(|_| twice(self.name(which)))
    }

    fn required(&self, which: usize, what: &str) -> Result<Value<'a>, Refusal> {
        let name = self.name(which);
        self.get(which)?
            .ok_or_else(|| format!("'{name}' is missing; add {what}.").into())
    }

    /// The string at `which`, if it is present. `what` says what it is.
    pub(crate) fn text(&self, which: usize) -> Result<Option<ByteString>, Refusal> {
        let Some(value) = self.get(which)? else {
            return Ok(None);
        };
        let text = value.string();
        text.map(Some)
            .ok_or_else(|| wrong(self.name(which), "a string", &value))
    }

    /// A topic or filter, which must equal the header if that is checked.
    fn topic_text(
        &self,
        which: usize,
        header: &TopicHeader,
        limits: &Limits,
        what: &str,
    ) -> Result<ByteString, Refusal> {
        let value = self.get(which)?;
        let topic = value.and_then(|value| value.string());
        if limits.topic_header {
            let present = value.is_some_and(|value| value.kind() != Kind::Null);
            check_header(header, topic.as_ref(), present)?;
        }
        let name = self.name(which);
        match (topic, value) {
            (Some(topic), _) => Ok(topic),
            (None, Some(value)) => Err(wrong(name, "a string", &value)),
            (None, None) => Err(format!("'{name}' is missing; add {what}.").into()),
        }
    }

    /// The topic to publish to.
    pub(crate) fn topic(
        &self,
        which: usize,
        header: &TopicHeader,
        policy: CallerPolicy<'_>,
        limits: &Limits,
    ) -> Result<ByteString, Refusal> {
        let topic = self.topic_text(which, header, limits, "the topic to publish to")?;
        check_topic(&topic, policy, limits)?;
        Ok(topic)
    }

    /// The topic filter to receive from.
    pub(crate) fn filter(
        &self,
        which: usize,
        header: &TopicHeader,
        policy: CallerPolicy<'_>,
        limits: &Limits,
    ) -> Result<TopicFilter, Refusal> {
        let text = self.topic_text(which, header, limits, "the topic filter to receive from")?;
        check_prefix("topic filter", &text)?;
        let filter = TopicFilter::parse(text.clone())
            .and_then(|filter| limits.topics.check(&text).map(|()| filter))
            .map_err(|error| bad_topic("topic filter", &text, error))?;
        if let Some(name) = policy.placeholder(&text) {
            let error = format!(
                "'{name}' is a placeholder; replace it with one topic level, or with '+' for all"
            );
            return Err(bad_topic("topic filter", &text, error));
        }
        Ok(filter)
    }

    /// The payload as sent, which must be a string.
    pub(crate) fn payload(&self, which: usize) -> Result<Value<'a>, Refusal> {
        self.required(which, "the message as a string")
    }

    pub(crate) fn qos(&self, which: usize, limits: &Limits) -> Result<Option<u8>, Refusal> {
        let Some(value) = self.get(which)? else {
            return Ok(None);
        };
        let qos = value.as_u64().and_then(|qos| u8::try_from(qos).ok());
        let allowed = qos_words(limits.qos_minimum, 2);
        match qos.filter(|qos| (limits.qos_minimum..=2).contains(qos)) {
            Some(qos) => Ok(Some(qos)),
            None if value.kind() == Kind::Number => {
                Err(out_of_range(self.name(which), &value, allowed))
            }
            None => Err(wrong(self.name(which), allowed, &value)),
        }
    }

    /// A boolean; `false` if it is absent.
    pub(crate) fn is_set(&self, which: usize) -> Result<bool, Refusal> {
        match self.get(which)? {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| wrong(self.name(which), "true or false", &value)),
        }
    }

    pub(crate) fn is_base64(&self, which: usize) -> Result<bool, Refusal> {
        let Some(value) = self.get(which)? else {
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
    pub(crate) fn number(&self, which: usize, default: u64, max: u64) -> Result<u64, Refusal> {
        let name = self.name(which);
        let Some(value) = self.get(which)? else {
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

    /// The time to wait.
    pub(crate) fn timeout(&self, which: usize, limits: &Limits) -> Result<Duration, Refusal> {
        let timeout = self.number(which, limits.timeout_default, TIMEOUT_MAX)?;
        Ok(Duration::from_millis(timeout))
    }
}

/// A range of `QoS` in words.
pub(crate) const fn qos_words(lowest: u8, highest: u8) -> &'static str {
    match (lowest, highest) {
        (0, 0) => "0",
        (0, 1) => "0 or 1",
        (0, _) => "0, 1 or 2",
        (1, 1) => "1",
        (1, _) => "1 or 2",
        _ => "2",
    }
}

/// Checks a topic to publish to.
pub(crate) fn check_topic(
    topic: &str,
    policy: CallerPolicy<'_>,
    limits: &Limits,
) -> Result<(), Refusal> {
    check_prefix("topic", topic)?;
    check_name(topic)
        .and_then(|()| limits.topics.check(topic))
        .map_err(|error| bad_topic("topic", topic, error))?;
    match policy.placeholder(topic) {
        None => Ok(()),
        Some(name) => {
            let error = format!("'{name}' is a placeholder; replace it with one topic level");
            Err(bad_topic("topic", topic, error))
        }
    }
}

/// A topic that was copied from a resource URI. No topic begins like that but by mistake.
fn check_prefix(what: &str, topic: &str) -> Result<(), Refusal> {
    match topic.strip_prefix(PREFIX) {
        None => Ok(()),
        Some(rest) => {
            let error = format!(
                "it is a resource URI; send the topic without '{PREFIX}': '{}'",
                shown(rest)
            );
            Err(bad_topic(what, topic, error))
        }
    }
}

/// The payload in parts, decoded.
pub(crate) fn payload_parts(payload: &Value<'_>, base64: bool) -> Result<Parts, Refusal> {
    let parts = payload
        .string_parts()
        .ok_or_else(|| payload_not_string(payload))?;
    if base64 { decoded(&parts) } else { Ok(parts) }
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

#[cold]
fn unknown(tool: &str, names: &[&str], arguments: &Value<'_>) -> Refusal {
    let mut members = arguments.members();
    let other = members.find(|(key, _)| !names.iter().any(|name| key.is(name)));
    let other = other.map(|(key, _)| key.text()).unwrap_or_default();
    unknown_argument(tool, &other, names)
}

#[cold]
fn no_object(arguments: &Value<'_>) -> Refusal {
    match wrong("arguments", "an object", arguments) {
        Refusal::Tool(sentence) => {
            Refusal::Tool(format!("{sentence} Example: {{\"topic\": \"a/b\"}}."))
        }
        refusal => refusal,
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
