//! Reads a JSON-RPC message of a device: what it asks for, and whether it is allowed.
//!
//! The payload is what counts. What user properties repeat of it is compared, so that a rule at the broker that
//! reads them cannot be deceived.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use minijinja::Value;
use serde_json::Value as Json;
use tidegate_engine::{Duration, Time};
use tidegate_json::write::push_string;
use tidegate_json::{Kind, Parts};
use tidegate_jsonrpc::notification::List;
use tidegate_jsonrpc::{
    Era, Error, ID_MAX, Id, MODERN, Message, Meta, Method, Params, WantedLimits, code, read,
};
use tidegate_streams::mcp::{McpBeginEx, McpLogLevel};
use tidegate_streams::mqtt::{MqttSubscribeData, MqttUserProperty};
use tidegate_streams::shown;

use super::response::unsupported_version;
use super::rules::Rules;
use crate::failure::{Failure, Reason};
use crate::request::{
    Envelope, Fingerprint, Reader, check_correlation, fingerprint, is_exact, variables,
};
use crate::route::Route;

/// Longest time that a `subscriptions/listen` lasts without being renewed.
const LISTEN_MAX: Duration = Duration::from_secs(3_600);
/// Most resources of a `subscriptions/listen`.
const RESOURCES_MAX: usize = 100;

/// User properties that repeat members of the payload.
const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// A JSON-RPC message.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    /// The id, which the response repeats; `null` if it could not be read.
    pub(crate) id: Id,
    pub(crate) work: Work,
    /// The token of progress notifications, as JSON.
    pub(crate) progress: Option<Bytes>,
    /// The least severe log messages that the client wants.
    pub(crate) level: Option<McpLogLevel>,
    /// The error of the response, if it was refused with one.
    pub(crate) error: Option<Error>,
    /// Its response was larger than the broker takes, and an error is sent instead.
    pub(crate) is_replaced: bool,
}

/// What a message asks for.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// It is not a valid request.
    None,
    /// An operation of the exit.
    Operation(Box<Operation>),
    /// `server/discover`
    Discover,
    /// `subscriptions/listen`
    Listen(Box<Wanted>),
    /// The request with this id is not waited for any more.
    Cancel(Id),
    /// A notification that says nothing.
    Nothing,
}

/// An operation of the exit.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) begin: McpBeginEx,
    pub(crate) params: Bytes,
}

/// What a `subscriptions/listen` is to be told of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) lists: Vec<List>,
    pub(crate) resources: BTreeSet<ByteString>,
}

impl Wanted {
    /// Number of streams that it needs at the exit.
    pub(crate) fn streams(&self) -> usize {
        self.resources.len() + usize::from(!self.lists.is_empty())
    }

    /// Leaves out what the route does not allow to see: the acknowledgement does not have it.
    fn retain_allowed(&mut self, rules: &Rules) {
        self.lists.retain(|list| match list {
            List::Tools => rules.allow(Method::ToolsList),
            List::Prompts => rules.allow(Method::PromptsList),
            List::Resources => rules.allow(Method::ResourcesList),
        });
        if !rules.allow(Method::ResourcesRead) {
            self.resources.clear();
        }
    }
}

impl Rpc {
    /// A message that was not read.
    pub(crate) fn unread() -> Self {
        Self {
            id: Id::null(),
            work: Work::None,
            progress: None,
            level: None,
            error: None,
            is_replaced: false,
        }
    }
}

impl Reader<'_> {
    /// Completes the envelope of a message of a raw route.
    pub(crate) fn complete_raw(
        &self,
        envelope: &mut Envelope,
        route: &Route,
        rules: &Rules,
        data: &MqttSubscribeData,
        payload: &Bytes,
    ) -> Result<Fingerprint, Failure> {
        check_correlation(data)?;
        let mut rpc = Rpc::unread();
        let read = self.rpc(&mut rpc, rules, envelope, data, payload);
        if data.correlation.is_none() {
            // Without Correlation Data, the id of the request takes its place.
            let id = match &rpc.work {
                Work::Cancel(id) => id,
                _ => &rpc.id,
            };
            let json = serde_json::from_slice(id.text()).ok();
            let json = json.filter(is_exact).unwrap_or_else(|| {
                // The response repeats the text; what identifies the request must be as exact.
                Json::String(String::from_utf8_lossy(id.text()).into_owned())
            });
            envelope.id = Some(json).filter(|it| *it != Json::Null);
        }
        if let Work::Listen(_) = rpc.work {
            let limit = self.now + LISTEN_MAX;
            envelope.deadline = envelope.expires.map_or(limit, |it| it.min(limit));
        }
        let is_request = !matches!(rpc.work, Work::Cancel(_) | Work::Nothing);
        let size = payload.len();
        envelope.rpc = Some(Box::new(rpc));
        read?;
        if is_request && envelope.reply.is_none() && route.answer.topic.is_none() {
            let message = "The request names no topic for its response (Response Topic).";
            return Err(Failure::rejected(Reason::ReplyTopicRefused, message));
        }
        let properties = route.properties.of(&data.properties);
        envelope.variables = variables(envelope, data, &properties, Value::from(()));
        fingerprint(envelope, route, &properties, payload, size)
    }

    /// Reads the payload. What is known of the message is in `rpc` also if it is refused.
    fn rpc(
        &self,
        rpc: &mut Rpc,
        rules: &Rules,
        envelope: &Envelope,
        data: &MqttSubscribeData,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        if payload.len() > self.max_payload {
            let what = format!(
                "The payload exceeds {} bytes (maxPayload); send a smaller one.",
                self.max_payload
            );
            return Err(refused(rpc, Reason::TooLarge, Error::invalid_request(what)));
        }
        let (id, method, params) = match read(Parts::from(payload.clone())) {
            Ok(Message::Request { id, method, params }) => (id, method, params),
            Ok(Message::Notification { method, params }) => {
                rpc.work = match (&*method, params.request_id()) {
                    ("notifications/cancelled", Some(id)) => Work::Cancel(id),
                    _ => Work::Nothing,
                };
                return Ok(());
            }
            Ok(Message::Response { .. }) => {
                let error = Error::invalid_request("A server is sent no responses.");
                return Err(refused(rpc, Reason::InvalidRequest, error));
            }
            Err((id, error)) => {
                rpc.id = id;
                let reason = match error.code() {
                    code::PARSE_ERROR => Reason::InvalidPayload,
                    _ => Reason::InvalidRequest,
                };
                return Err(refused(rpc, reason, error));
            }
        };
        rpc.id = id;
        let is_empty = data.correlation.as_ref().is_none_or(Bytes::is_empty);
        if is_empty && data.response_topic.is_some() {
            let error = Error::invalid_request("The request has no Correlation Data.");
            return Err(refused(rpc, Reason::InvalidRequest, error));
        }
        let asked = Asked {
            method: &method,
            params,
            properties: &data.properties,
        };
        let work = asked.work(rules, &envelope.trace, rpc);
        rpc.work = work.map_err(|(reason, error)| refused(rpc, reason, error))?;
        Ok(())
    }
}

/// Refuses a message with an error.
fn refused(rpc: &mut Rpc, reason: Reason, error: Error) -> Failure {
    let failure = Failure::rejected(reason, error.message());
    rpc.error = Some(error);
    failure
}

type Refusal = (Reason, Error);

/// What a request says.
struct Asked<'a> {
    method: &'a str,
    params: Params,
    properties: &'a [MqttUserProperty],
}

impl Asked<'_> {
    fn work(
        self,
        rules: &Rules,
        trace: &[MqttUserProperty],
        rpc: &mut Rpc,
    ) -> Result<Work, Refusal> {
        let method = self.checked(rules)?;
        rpc.progress = progress_token(&self.params)?;
        rpc.level = log_level(&self.params)?;
        match method {
            Method::Discover => Ok(Work::Discover),
            Method::Listen => {
                let mut wanted = wanted(&self.params)?;
                wanted.retain_allowed(rules);
                Ok(Work::Listen(Box::new(wanted)))
            }
            _ => self.operation(method, rules, trace, rpc.level),
        }
    }

    /// The method, if the request is one of the revision, does not contradict itself, and is allowed.
    fn checked(&self, rules: &Rules) -> Result<Method, Refusal> {
        let method = Method::of(self.method, Era::Modern);
        let unknown = || {
            let what = format!("Method not found: '{}'.", shown(self.method));
            (
                Reason::InvalidRequest,
                Error::new(code::METHOD_NOT_FOUND, what),
            )
        };
        let version = self.params.meta(Meta::ProtocolVersion).map_err(invalid)?;
        let version = version.and_then(|it| it.text());
        let Some(version) = version else {
            method.ok_or_else(unknown)?;
            return Err(missing(Meta::ProtocolVersion));
        };
        self.compare(VERSION, Some(&version))?;
        self.compare(METHOD, Some(self.method))?;
        if version != MODERN {
            return Err((Reason::InvalidRequest, unsupported_version(&version)));
        }
        let method = method.ok_or_else(unknown)?;
        if let Some(subject) = method.subject() {
            let text = self.params.subject(subject).map_err(invalid)?;
            self.compare(NAME, text.and_then(|it| it.text()).as_deref())?;
        }
        let capabilities = self
            .params
            .meta(Meta::ClientCapabilities)
            .map_err(invalid)?;
        if !capabilities.is_some_and(|it| it.kind() == Kind::Object) {
            return Err(missing(Meta::ClientCapabilities));
        }
        if !rules.allow(method) {
            let what = format!("The method '{}' is not allowed here.", self.method);
            return Err((Reason::NotAllowed, Error::new(code::METHOD_NOT_FOUND, what)));
        }
        Ok(method)
    }

    /// Compares what a user property repeats with the payload.
    fn compare(&self, name: &str, text: Option<&str>) -> Result<(), Refusal> {
        let mut repeated = self.properties.iter().filter(|it| it.key == name);
        if repeated.any(|it| Some(&*it.value) != text) {
            let what = format!("The user property '{name}' differs from the payload.");
            let error = Error::new(code::HEADER_MISMATCH, what);
            return Err((Reason::InvalidRequest, error));
        }
        Ok(())
    }

    fn operation(
        self,
        method: Method,
        rules: &Rules,
        trace: &[MqttUserProperty],
        level: Option<McpLogLevel>,
    ) -> Result<Work, Refusal> {
        let subject = match method.subject() {
            Some(subject) => self.params.subject_text(subject).map_err(invalid)?,
            None => ByteString::new(),
        };
        if method == Method::ToolsCall && !rules.allow_tool(&subject) {
            let what = format!("The tool '{}' is not allowed here.", shown(&subject));
            return Err((Reason::NotAllowed, Error::invalid_params(what)));
        }
        let cursor = if method.is_paged() {
            self.params.cursor().map_err(invalid)?
        } else {
            None
        };
        let params = traced(self.params, trace);
        let length = i64::try_from(params.len()).unwrap_or(-1);
        // Copied: the text shares the buffer of the message.
        let subject = ByteString::from(&*subject);
        let begin = McpBeginEx::of_method(method, None, subject, length);
        let mut begin = begin.ok_or_else(|| {
            let error = Error::new(code::INTERNAL_ERROR, "The method has no operation.");
            (Reason::Internal, error)
        })?;
        begin.set_log_level(level);
        if let Some(place) = begin.cursor_mut() {
            *place = cursor.map(|it| ByteString::from(&*it));
        }
        Ok(Work::Operation(Box::new(Operation {
            method,
            begin,
            params,
        })))
    }
}

/// The params for the exit: with the trace context of the user properties, if they have none. A copy, since the payload
/// shares the buffer that it was read into.
fn traced(params: Params, trace: &[MqttUserProperty]) -> Bytes {
    let (text, document) = params.into_payload();
    let text = text.contiguous();
    let meta = document.as_ref().and_then(|document| {
        let root = document.root();
        let meta = root.get("_meta").ok().flatten()?;
        let has = |name: &str| !matches!(meta.get(name), Ok(None));
        let has_any = trace.iter().any(|it| has(&it.key));
        let place = meta.range().start.checked_sub(root.range().start)? + 1;
        (!has_any && meta.kind() == Kind::Object).then_some(place)
    });
    let Some((front, back)) = meta.and_then(|place| text.split_at_checked(place)) else {
        return Bytes::copy_from_slice(&text);
    };
    let mut out = BytesMut::with_capacity(text.len() + 256);
    out.extend_from_slice(front);
    // `_meta` of a valid request is not empty.
    for property in trace {
        push_string(&mut out, &property.key);
        out.extend_from_slice(b":");
        push_string(&mut out, &property.value);
        out.extend_from_slice(b",");
    }
    out.extend_from_slice(back);
    out.freeze()
}

fn invalid(error: Error) -> Refusal {
    (Reason::InvalidRequest, error)
}

fn missing(which: Meta) -> Refusal {
    let what = format!("The request's params._meta must have '{}'.", which.name());
    invalid(Error::invalid_params(what))
}

fn progress_token(params: &Params) -> Result<Option<Bytes>, Refusal> {
    let token = params.meta(Meta::ProgressToken).map_err(invalid)?;
    let token = token.filter(|it| matches!(it.kind(), Kind::String | Kind::Number));
    if token.is_some_and(|it| it.range().len() > ID_MAX) {
        let what = format!("params._meta.progressToken exceeds {ID_MAX} bytes.");
        return Err(invalid(Error::invalid_params(what)));
    }
    Ok(token.map(|it| Bytes::copy_from_slice(&it.raw())))
}

fn log_level(params: &Params) -> Result<Option<McpLogLevel>, Refusal> {
    let Some(level) = params.meta(Meta::LogLevel).map_err(invalid)? else {
        return Ok(None);
    };
    let level = level.text().and_then(|it| McpLogLevel::of(&it));
    let level = level.ok_or_else(|| {
        let levels: Vec<&str> = McpLogLevel::ALL.iter().map(|it| it.word()).collect();
        let name = Meta::LogLevel.name();
        let what = format!("params._meta.{name} must be one of {}.", levels.join(", "));
        invalid(Error::invalid_params(what))
    })?;
    Ok(Some(level))
}

/// What a `subscriptions/listen` is to be told of, within the limits. `maxPayload` bounds the bytes.
fn wanted(params: &Params) -> Result<Wanted, Refusal> {
    let limits = WantedLimits {
        resources: RESOURCES_MAX,
        bytes: None,
    };
    let wanted = tidegate_jsonrpc::Wanted::read(params, limits).map_err(invalid)?;
    // Copied: a text shares the buffer of the message.
    let resources = wanted.resources.iter().map(|it| ByteString::from(&**it));
    Ok(Wanted {
        resources: resources.collect(),
        lists: wanted.lists,
    })
}

/// The later of two ends of a `subscriptions/listen`, of which one renews the other.
pub(crate) fn renewed(envelope: &Envelope, again: &Envelope) -> Time {
    envelope.deadline.max(again.deadline)
}

#[cfg(test)]
mod tests;
