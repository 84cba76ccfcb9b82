//! One message as a request: who asks, for what, where the answer goes, and until when.
//!
//! Guarantee: an answer goes only to a topic that the config names or allows, and never to one whose
//! messages are requests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use minijinja::Value;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tidegate_engine::{Duration, Time};
use tidegate_streams::mqtt::topic::check_name;
use tidegate_streams::mqtt::{MqttMessage, MqttSubscribeData, MqttUserProperty, trace_context};
use tidegate_streams::{Identity, Visible, shown};

use crate::aio;
use crate::deadline::deadline;
use crate::failure::{Failure, Reason};
use crate::levels::Values;
use crate::raw::request::Rpc;
use crate::route::{Route, Routes};
use crate::subscription::Receipt;
use crate::template::from_json;
use crate::variables::Variables;

/// The guard of identities that come from topics.
pub const GUARD: &str = "mqtt";
/// Most bytes of a correlation.
const CORRELATION_MAX: usize = 1_024;
/// Most bytes of a subject.
const SUBJECT_MAX: usize = 256;
/// Most messages that are acknowledged with one answer: as many as MQTT has packet identifiers. A further
/// one is not acknowledged.
pub(crate) const RECEIPTS_MAX: usize = 65_535;
/// Most bytes of the user properties that templates see.
const PROPERTIES_BYTES_MAX: usize = 64 << 10;

/// What is known of a message, also if it is not a valid request.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) route: usize,
    pub(crate) topic: ByteString,
    pub(crate) values: Values,
    /// The topic that the request names for its answer, if it is allowed.
    pub(crate) reply: Option<ByteString>,
    /// The Correlation Data, which the answer repeats.
    pub(crate) correlation: Option<Bytes>,
    /// `id` of the payload, which the answer repeats.
    pub(crate) id: Option<Json>,
    /// The JSON-RPC message of a raw route.
    pub(crate) rpc: Option<Box<Rpc>>,
    /// The trace context, which the tool and the answer get.
    pub(crate) trace: Vec<MqttUserProperty>,
    pub(crate) received: Time,
    /// When the message expires, if it does.
    pub(crate) expires: Option<Time>,
    pub(crate) deadline: Time,
    /// Whose limits apply.
    pub(crate) device: ByteString,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) variables: Variables,
    /// The number of the request on a route with a condition.
    pub(crate) trigger: Option<u64>,
    /// What it says as a command of Azure `IoT` Operations.
    pub(crate) command: Option<Box<aio::Command>>,
    /// The messages that are acknowledged with its answer: of the request, and of its repetitions.
    pub(crate) receipts: Vec<Receipt>,
    /// The message itself, if there is a queue to store it in.
    pub(crate) message: Option<Box<MqttMessage>>,
}

/// What makes a request the same as another one. A copy shares the texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Arc<Asked>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    /// The first to be compared: it differs more often than the topic.
    correlation: Bytes,
    topic: ByteString,
    /// Whose correlation it is: several devices may publish requests on one topic, and count from 1 each.
    caller: ByteString,
}

/// A hash of all that a request says.
pub(crate) type Content = [u8; 32];

/// What is remembered of a request.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// Absent without a correlation.
    pub(crate) key: Option<Key>,
    pub(crate) content: Content,
    /// Bytes that the request takes while it waits.
    pub(crate) size: usize,
}

impl Envelope {
    /// The same request came again while it waits or runs: the answer goes to the message that came last, and
    /// expires with the one that expires last.
    pub(crate) fn adopt(&mut self, again: Self) {
        self.correlation = again.correlation;
        self.trace = again.trace;
        self.message = again.message;
        self.acknowledge_too(again.receipts);
        let expires = self.expires.zip(again.expires);
        self.expires = expires.map(|(one, other)| one.max(other));
    }

    /// Messages that are acknowledged with this one.
    pub(crate) fn acknowledge_too(&mut self, receipts: Vec<Receipt>) {
        if self.receipts.len() < RECEIPTS_MAX {
            self.receipts.extend(receipts);
        }
    }
}

impl Key {
    /// All must be copies: what a message has may be a part of a large buffer.
    pub(crate) fn new(topic: ByteString, correlation: Bytes, caller: ByteString) -> Self {
        Self(Arc::new(Asked {
            correlation,
            topic,
            caller,
        }))
    }

    pub(crate) fn size(&self) -> usize {
        self.0.topic.len() + self.0.correlation.len() + self.0.caller.len()
    }

    pub(crate) fn caller(&self) -> &str {
        &self.0.caller
    }

    pub(crate) fn topic(&self) -> &str {
        &self.0.topic
    }

    pub(crate) fn correlation(&self) -> &[u8] {
        &self.0.correlation
    }
}

/// How messages are read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) routes: &'a Routes,
    pub(crate) max_payload: usize,
    pub(crate) now: Time,
    /// Whether the message is kept for a queue.
    pub(crate) keeps: bool,
}

impl Reader<'_> {
    /// Reads a message. `None` if its topic is not one of requests. The envelope is as complete as the
    /// message permits.
    pub(crate) fn read(
        &self,
        message: MqttMessage,
    ) -> Option<(Envelope, Result<Fingerprint, Failure>)> {
        let kept = self.keeps.then(|| Box::new(message.clone()));
        let data = message.data;
        // What is kept of a message is copied: its parts share the buffer that they were read into.
        let topic = ByteString::from(&*data.topic);
        let found = self.routes.find(&topic)?;
        let route = self.routes.get(found.route)?;
        let seconds = u64::try_from(data.expiry_interval).ok();
        let expires = seconds.map(|it| self.now + Duration::from_secs(it));
        let timeout = self.now + route.timeout;
        let mut envelope = Envelope {
            route: found.route,
            topic,
            values: found.values,
            reply: None,
            correlation: data.correlation.as_deref().map(Bytes::copy_from_slice),
            id: None,
            rpc: route.raw.as_ref().map(|_| Box::new(Rpc::unread())),
            trace: trace_of(&data.properties),
            received: self.now,
            expires,
            deadline: deadline(self.now, expires, timeout),
            device: found.device,
            identity: None,
            variables: Variables::default(),
            trigger: None,
            command: None,
            receipts: Vec::new(),
            message: kept,
        };
        let read = self.complete(&mut envelope, route, &data, &message.payload);
        Some((envelope, read))
    }

    fn complete(
        &self,
        envelope: &mut Envelope,
        route: &Route,
        data: &MqttSubscribeData,
        payload: &Bytes,
    ) -> Result<Fingerprint, Failure> {
        if let Some(topic) = &data.response_topic {
            envelope.reply = self.reply(route, topic, &envelope.values)?;
        }
        if let Some(executor) = &route.executor {
            aio::read(envelope, executor, data)?;
        }
        if let Some(rules) = &route.raw {
            return self.complete_raw(envelope, route, rules, data, payload);
        }
        let value = match &envelope.command {
            // A command without arguments has no payload.
            Some(_) if payload.is_empty() => Value::from(()),
            _ => self.parse(payload)?,
        };
        if data.response_topic.is_none()
            && let Ok(topic) = value.get_attr("replyTopic")
            && let Some(topic) = topic.as_str()
        {
            envelope.reply = self.reply(route, topic, &envelope.values)?;
        }
        if data.correlation.is_none()
            && let Ok(id) = value.get_attr("id")
            && (id.as_str().is_some() || id.is_number())
        {
            let id = serde_json::to_value(id).ok();
            if !id.as_ref().is_none_or(is_exact) {
                let why = "a number of this size is not repeated exactly; send it as a text";
                return Err(invalid("'id'", why));
            }
            envelope.id = id;
        }
        check_correlation(data)?;
        let properties = route.properties.of(&data.properties);
        let bytes: usize = properties
            .iter()
            .map(|(key, it)| key.len() + it.len())
            .sum();
        if bytes > PROPERTIES_BYTES_MAX {
            return Err(too_large_properties());
        }
        envelope.variables = variables(envelope, data, &properties, value);
        let size = bytes + size_of(payload);
        fingerprint(envelope, route, &properties, payload, size)
    }

    /// The topic for the answer that a request names. `None` if the config names another.
    fn reply(
        &self,
        route: &Route,
        topic: &str,
        values: &Values,
    ) -> Result<Option<ByteString>, Failure> {
        if route.answer.topic.is_some() {
            return Ok(None);
        }
        let refused = |why: &str| {
            let topic = Visible(shown(topic));
            let message = format!("Answers must not go to '{topic}': {why}.");
            Failure::rejected(Reason::ReplyTopicRefused, message)
        };
        check_name(topic).map_err(|error| refused(&error.to_string()))?;
        if self.routes.is_request(topic) {
            return Err(refused("it is a topic of requests"));
        }
        if self.routes.is_discover(topic) {
            return Err(refused("it is the topic of 'discover'"));
        }
        if !self.routes.allows_reply(topic, values) {
            return Err(refused("'replyTopics' does not contain it"));
        }
        Ok(Some(topic.into()))
    }

    fn parse(&self, payload: &Bytes) -> Result<Value, Failure> {
        if payload.len() > self.max_payload {
            let message = format!(
                "The payload exceeds {} bytes (maxPayload); send a smaller one.",
                self.max_payload
            );
            return Err(Failure::rejected(Reason::TooLarge, message));
        }
        serde_json::from_slice(payload).map_err(|error| {
            let message = format!("The payload is not JSON: {error}.");
            Failure::rejected(Reason::InvalidPayload, message)
        })
    }
}

/// Who asks, and what makes the request the same as another one. `size`: what it takes while it waits.
pub(crate) fn fingerprint(
    envelope: &mut Envelope,
    route: &Route,
    properties: &BTreeMap<&str, &str>,
    payload: &Bytes,
    size: usize,
) -> Result<Fingerprint, Failure> {
    let correlation = correlation(envelope, route)?;
    let correlation = match &envelope.command {
        Some(command) => correlation.map(|it| command.identity(&it)),
        None => correlation,
    };
    identify(envelope, route)?;
    let caller = caller(envelope).clone();
    Ok(Fingerprint {
        key: correlation.map(|it| Key::new(envelope.topic.clone(), it, caller)),
        content: content(envelope, properties, payload),
        size,
    })
}

/// Whose correlation it is: that of the device. Where neither the config nor the topic tells devices apart, the topics for
/// their answers do, as MQTT has it (5.0, 4.10). JSON-RPC and commands have rules of their own.
fn caller(envelope: &Envelope) -> &ByteString {
    let is_told_apart = envelope.identity.is_some() || !envelope.values.is_empty();
    let is_plain = envelope.rpc.is_none() && envelope.command.is_none();
    match &envelope.reply {
        Some(reply) if is_plain && !is_told_apart => reply,
        _ => &envelope.device,
    }
}

/// Sets the identity that the config gives the caller.
fn identify(envelope: &mut Envelope, route: &Route) -> Result<(), Failure> {
    let Some(identity) = &route.identity else {
        return Ok(());
    };
    let subject = identity.subject().render(&envelope.variables);
    let subject = subject.map_err(|why| invalid("identity", &why))?;
    if !is_subject(&subject) {
        let why = format!(
            "the subject must have 1 to {SUBJECT_MAX} bytes without '/', '+', '#' and control \
             characters"
        );
        return Err(invalid("identity", &why));
    }
    envelope.device = subject.clone();
    envelope.identity = Some(Arc::new(Identity {
        subject,
        guard: ByteString::from_static(GUARD),
        roles: identity
            .roles()
            .iter()
            .map(|it| it.as_str().into())
            .collect(),
        ..Identity::default()
    }));
    Ok(())
}

/// Whether a text can be the subject of a device.
pub(crate) fn is_subject(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= SUBJECT_MAX
        && !text.contains(['/', '+', '#'])
        && !text.chars().any(char::is_control)
}

/// The failure of a template of a request.
pub(crate) fn invalid(what: &str, why: &str) -> Failure {
    Failure::rejected(Reason::InvalidRequest, format!("Invalid {what}: {why}."))
}

/// Whether an id is kept as it came. A whole number of more than 64 bits is not: it is rounded, to the same one as its
/// neighbours.
pub(crate) fn is_exact(id: &Json) -> bool {
    /// From here on, floating-point numbers are further apart than 1.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let rounded = id.as_f64().filter(|_| id.is_f64());
    rounded.is_none_or(|it| it.abs() < EXACT_MAX)
}

/// Checks the Correlation Data.
pub(crate) fn check_correlation(data: &MqttSubscribeData) -> Result<(), Failure> {
    match &data.correlation {
        Some(correlation) if correlation.len() > CORRELATION_MAX => Err(too_large_correlation()),
        _ => Ok(()),
    }
}

fn too_large_correlation() -> Failure {
    let message = format!("The correlation exceeds {CORRELATION_MAX} bytes; use a shorter one.");
    Failure::rejected(Reason::TooLarge, message)
}

fn too_large_properties() -> Failure {
    let message = format!(
        "The user properties that templates use exceed {PROPERTIES_BYTES_MAX} bytes; use shorter ones."
    );
    Failure::rejected(Reason::TooLarge, message)
}

/// Bytes that the value of a JSON text takes, roughly: a small value takes much more than its text.
fn size_of(json: &[u8]) -> usize {
    /// Bytes of a value, and of its place in a list or an object.
    const VALUE: usize = 64;
    let mut values = 1;
    let mut is_text = false;
    let mut is_escaped = false;
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b':' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    VALUE * values + json.len()
}

/// What templates see of a request.
pub(crate) fn variables(
    envelope: &Envelope,
    data: &MqttSubscribeData,
    properties: &BTreeMap<&str, &str>,
    payload: Value,
) -> Variables {
    let properties = properties.iter();
    let properties = properties.map(|(key, it)| ((*key).to_owned(), Value::from(*it)));
    let correlation = match (&data.correlation, &envelope.id) {
        (Some(data), _) => Value::from(&*correlation_text(data)),
        (None, Some(id)) => from_json(id),
        (None, None) => Value::from(()),
    };
    [
        ("payload", payload),
        ("topic", envelope.values.variable()),
        ("properties", Value::from_pairs(properties)),
        ("correlation", correlation),
    ]
    .into()
}

/// Correlation Data as text: itself, or base64 if it is not plain text.
pub(crate) fn correlation_text(data: &Bytes) -> Cow<'_, str> {
    match std::str::from_utf8(data) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => STANDARD.encode(data).into(),
    }
}

/// What identifies the request. `None` if nothing does.
fn correlation(envelope: &mut Envelope, route: &Route) -> Result<Option<Bytes>, Failure> {
    let correlation = match (&route.correlation, &envelope.correlation, &envelope.id) {
        (Some(template), _, _) => {
            let text = template.0.render(&envelope.variables);
            let text = text.map_err(|why| invalid("correlation", &why))?;
            let name = ByteString::from_static("correlation");
            envelope.variables.insert(name, Value::from(&*text));
            text.into_bytes()
        }
        (None, Some(data), _) => data.clone(),
        (None, None, Some(id)) => Bytes::from(id.to_string()),
        (None, None, None) => return Ok(None),
    };
    if correlation.len() > CORRELATION_MAX {
        return Err(too_large_correlation());
    }
    Ok((!correlation.is_empty()).then_some(correlation))
}

/// A hash of where the answer goes, of who asks, of the properties that templates use, and of the payload.
fn content(envelope: &Envelope, properties: &BTreeMap<&str, &str>, payload: &Bytes) -> Content {
    let mut hash = Sha256::new();
    let reply = envelope.reply.as_ref().map_or("", |it| it);
    let subject = envelope.identity.as_ref().map_or("", |it| &it.subject);
    let properties = properties.iter().flat_map(|(key, it)| [*key, *it]);
    for text in [reply, subject].into_iter().chain(properties) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update([u8::MAX; 8]);
    hash.update(payload);
    hash.finalize().into()
}

fn trace_of(properties: &[MqttUserProperty]) -> Vec<MqttUserProperty> {
    trace_context(|name| {
        let mut properties = properties.iter();
        properties
            .find(|it| it.key == name)
            .map(|it| ByteString::from(&*it.value))
    })
}
