//! The wire form of Azure `IoT` Operations (`protocol: aio`): a request is a command of its RPC protocol 1.0, and the
//! binding is its executor. The specification is in the repository Azure/iot-operations-sdks, doc/reference:
//! rpc-protocol, message-metadata, command-errors, command-timeouts, command-cache and protocol-versioning.
//!
//! Guarantees: a message without a valid Response Topic is not executed and not answered; one without Correlation
//! Data of 16 bytes, without Message Expiry, or of another major version is not executed, and is answered with the
//! status that the specification demands; a command that an invoker sends again gets the same answer.

mod clock;
mod forms;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use serde_json::Value as Json;
use tidegate_engine::{Context, Duration};
use tidegate_streams::mqtt::{MqttSubscribeData, MqttUserProperty};
use tidegate_streams::{Visible, shown};

use crate::failure::{Executed, Failure, Reason};
use crate::request::Envelope;
pub(crate) use clock::Clock;
use clock::{ClockFault, Timestamp};
use forms::{guid, is_json, is_supported, iso_8601, sayable, shortened};

/// User properties of the protocol.
mod property {
    pub(super) const TIMESTAMP: &str = "__ts";
    pub(super) const STATUS: &str = "__stat";
    pub(super) const STATUS_MESSAGE: &str = "__stMsg";
    pub(super) const APPLICATION_ERROR: &str = "__apErr";
    pub(super) const SOURCE: &str = "__srcId";
    pub(super) const INVALID_NAME: &str = "__propName";
    pub(super) const INVALID_VALUE: &str = "__propVal";
    pub(super) const VERSION: &str = "__protVer";
    pub(super) const SUPPORTED_MAJOR_VERSIONS: &str = "__supProtMajVer";
    pub(super) const REQUEST_VERSION: &str = "__requestProtVer";
    /// By which the broker chooses one of the executors that share a subscription.
    pub(super) const PARTITION: &str = "$partition";
}

/// Names of properties, as the answer to an invalid request says them.
mod name {
    pub(super) const CORRELATION: &str = "Correlation Data";
    pub(super) const CACHE: &str = "CorrelationData";
    pub(super) const EXPIRY: &str = "Message Expiry";
    pub(super) const CONTENT_TYPE: &str = "Content Type";
    pub(super) const EXECUTION_TIMEOUT: &str = "ExecutionTimeout";
    pub(super) const CLOCK_DRIFT: &str = "MaxClockDrift";
    pub(super) const COUNTER: &str = "Counter";
}

/// HTTP status codes of the protocol.
mod status {
    pub(super) const OK: u16 = 200;
    pub(super) const NO_CONTENT: u16 = 204;
    pub(super) const BAD_REQUEST: u16 = 400;
    pub(super) const REQUEST_TIMEOUT: u16 = 408;
    pub(super) const UNSUPPORTED_MEDIA_TYPE: u16 = 415;
    pub(super) const INTERNAL_SERVER_ERROR: u16 = 500;
    pub(super) const SERVICE_UNAVAILABLE: u16 = 503;
    pub(super) const VERSION_NOT_SUPPORTED: u16 = 505;
}

const VERSION: &str = "1.0";
/// Most bytes of a status message.
const MESSAGE_MAX: usize = 1_024;
/// Most bytes of the name of an invoker that tell it from others.
const INVOKER_MAX: usize = 1_024;

/// The executor of the commands of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executor {
    /// Its client identifier.
    pub(crate) source: ByteString,
    pub(crate) timeout: Duration,
}

/// What a command says beside what every request does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    executor: Executor,
    /// Who asks.
    invoker: ByteString,
    timestamp: Option<Timestamp>,
    fault: Option<Fault>,
}

/// What is wrong with a request, for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    status: u16,
    name: Option<&'static str>,
    value: Option<ByteString>,
    /// The version of the request, if it is not supported.
    version: Option<ByteString>,
}

impl Fault {
    const fn of(name: &'static str, value: Option<ByteString>) -> Self {
        Self {
            status: status::BAD_REQUEST,
            name: Some(name),
            value,
            version: None,
        }
    }
}

/// Reads a command, whose topic for the answer is known if it is valid. What is wrong with it is recorded in the
/// envelope, for its answer.
pub(crate) fn read(
    envelope: &mut Envelope,
    executor: &Executor,
    data: &MqttSubscribeData,
) -> Result<(), Failure> {
    let Some(reply) = &envelope.reply else {
        let message = "A command must have a Response Topic.";
        return Err(Failure::rejected(Reason::InvalidRequest, message));
    };
    let text = |name: &str| text_of(data, name);
    let invoker = text(property::SOURCE).or_else(|| text(property::PARTITION));
    let mut command = Command {
        executor: executor.clone(),
        invoker: invoker
            .filter(|it| it.len() <= INVOKER_MAX)
            .map_or_else(|| reply.clone(), ByteString::from),
        timestamp: None,
        fault: None,
    };
    let checked = command.check(data);
    envelope.command = Some(Box::new(command));
    checked
}

/// The first user property with a name.
fn text_of<'a>(data: &'a MqttSubscribeData, name: &str) -> Option<&'a str> {
    let found = data.properties.iter().find(|it| it.key == name);
    found.map(|it| &*it.value)
}

impl Command {
    fn check(&mut self, data: &MqttSubscribeData) -> Result<(), Failure> {
        let correlation = data.correlation.as_ref();
        if correlation.is_none_or(|it| it.len() != forms::GUID) {
            let value = correlation.and_then(|it| std::str::from_utf8(it).ok());
            let message = match correlation {
                Some(_) => "The Correlation Data must be a GUID of 16 bytes.",
                None => "The Correlation Data is missing.",
            };
            return self.refuse(Fault::of(name::CORRELATION, value.map(shortened)), message);
        }
        if data.expiry_interval < 0 {
            let message = "The Message Expiry Interval is missing.";
            return self.refuse(Fault::of(name::EXPIRY, None), message);
        }
        if let Some(version) = text_of(data, property::VERSION)
            && !is_supported(version)
        {
            let message = format!(
                "The protocol version '{}' is not supported; use {VERSION}.",
                Visible(shown(version))
            );
            let fault = Fault {
                status: status::VERSION_NOT_SUPPORTED,
                name: None,
                value: None,
                version: Some(shortened(version)),
            };
            return self.refuse(fault, &message);
        }
        if let Some(text) = text_of(data, property::TIMESTAMP) {
            self.timestamp = Timestamp::parse(text);
            if self.timestamp.is_none() {
                let fault = Fault::of(property::TIMESTAMP, Some(shortened(text)));
                return self.refuse(fault, "The timestamp is not one of a hybrid logical clock.");
            }
        }
        match &data.content_type {
            Some(content_type) if !is_json(content_type) => {
                let fault = Fault {
                    status: status::UNSUPPORTED_MEDIA_TYPE,
                    ..Fault::of(name::CONTENT_TYPE, Some(shortened(content_type)))
                };
                self.refuse(fault, "The content type is not application/json.")
            }
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, fault: Fault, message: &str) -> Result<(), Failure> {
        self.fault = Some(fault);
        Err(Failure::rejected(Reason::InvalidRequest, message))
    }

    /// Takes over the time of the invoker of a new command.
    pub(crate) fn witness(&mut self, clock: &mut Clock, cx: &Context<'_>) -> Result<(), Failure> {
        let Some(timestamp) = self.timestamp.take() else {
            return Ok(());
        };
        let now = cx.wall_clock().unix_millis();
        let (status, name, message) = match clock.witness(&timestamp, now) {
            Ok(()) => return Ok(()),
            Err(ClockFault::Drift) => (
                status::SERVICE_UNAVAILABLE,
                name::CLOCK_DRIFT,
                "The timestamp is too far in the future; check the clocks.",
            ),
            Err(ClockFault::Overflow) => (
                status::INTERNAL_SERVER_ERROR,
                name::COUNTER,
                "The counter of the timestamp is at its end.",
            ),
        };
        let fault = Fault {
            status,
            ..Fault::of(name, None)
        };
        self.refuse(fault, message)
    }

    /// What makes a command the same as another one: its correlation and its invoker.
    pub(crate) fn identity(&self, correlation: &Bytes) -> Bytes {
        let mut identity = BytesMut::with_capacity(correlation.len() + self.invoker.len());
        identity.extend_from_slice(correlation);
        identity.extend_from_slice(self.invoker.as_bytes());
        identity.freeze()
    }

    /// The user properties of the answer to a command that succeeded.
    pub(crate) fn done(&self, payload: &[u8]) -> Vec<MqttUserProperty> {
        let status = match payload {
            [] => status::NO_CONTENT,
            _ => status::OK,
        };
        self.properties(status)
    }

    /// The user properties of the answer to a command that failed, `elapsed` after its receipt.
    pub(crate) fn failed(
        &self,
        failure: &Failure,
        correlation: Option<&Bytes>,
        elapsed: Duration,
    ) -> Vec<MqttUserProperty> {
        let (fault, is_application_error) = self.fault_of(failure, correlation, elapsed);
        let mut properties = self.properties(fault.status);
        let mut add = |key: &'static str, value: ByteString| {
            properties.push(MqttUserProperty {
                key: ByteString::from_static(key),
                value,
            });
        };
        let is_application_error = if is_application_error {
            "true"
        } else {
            "false"
        };
        add(
            property::APPLICATION_ERROR,
            ByteString::from_static(is_application_error),
        );
        add(
            property::STATUS_MESSAGE,
            sayable(&failure.message, MESSAGE_MAX),
        );
        if let Some(name) = fault.name {
            add(property::INVALID_NAME, ByteString::from_static(name));
        }
        if let Some(value) = fault.value {
            add(property::INVALID_VALUE, value);
        }
        if let Some(version) = fault.version {
            let supported = forms::MAJOR_VERSION.to_string();
            add(property::SUPPORTED_MAJOR_VERSIONS, supported.into());
            add(property::REQUEST_VERSION, version);
        }
        properties
    }

    /// The properties of every answer. `__ts` is filled in when the answer is published.
    fn properties(&self, status: u16) -> Vec<MqttUserProperty> {
        let properties = [
            (property::STATUS, status.to_string().into()),
            (property::VERSION, ByteString::from_static(VERSION)),
            (property::SOURCE, self.executor.source.clone()),
            (property::TIMESTAMP, ByteString::new()),
        ];
        let properties = properties.into_iter().map(|(key, value)| MqttUserProperty {
            key: ByteString::from_static(key),
            value,
        });
        properties.collect()
    }

    /// The status of a failure, and whether the application reported it.
    fn fault_of(
        &self,
        failure: &Failure,
        correlation: Option<&Bytes>,
        elapsed: Duration,
    ) -> (Fault, bool) {
        if let Some(fault) = &self.fault {
            return (fault.clone(), false);
        }
        let plain = |status| Fault {
            status,
            name: None,
            value: None,
            version: None,
        };
        match failure.reason {
            Reason::InvalidPayload
            | Reason::InvalidRequest
            | Reason::InvalidArguments
            | Reason::ReplyTopicRefused => (plain(status::BAD_REQUEST), false),
            Reason::TooLarge if failure.executed == Executed::No => {
                (plain(status::BAD_REQUEST), false)
            }
            Reason::CorrelationReused => {
                let value = correlation.map(|it| guid(it).into());
                (Fault::of(name::CORRELATION, value), false)
            }
            Reason::TimedOut => {
                // A step and the server may have less time, which is not known here.
                let timeout = self.executor.timeout;
                let value = (elapsed >= timeout).then(|| iso_8601(timeout).into());
                let fault = Fault {
                    status: status::REQUEST_TIMEOUT,
                    ..Fault::of(name::EXECUTION_TIMEOUT, value)
                };
                (fault, false)
            }
            Reason::Busy | Reason::Stopping => (plain(status::SERVICE_UNAVAILABLE), false),
            Reason::Unavailable if failure.executed == Executed::No => {
                (plain(status::SERVICE_UNAVAILABLE), false)
            }
            Reason::AnswerForgotten => {
                let fault = Fault {
                    status: status::INTERNAL_SERVER_ERROR,
                    ..Fault::of(name::CACHE, correlation.map(|it| guid(it).into()))
                };
                (fault, false)
            }
            Reason::ToolError
            | Reason::InputRequired
            | Reason::NotAllowed
            | Reason::NotAuthorized
            | Reason::UnknownTool => (plain(status::INTERNAL_SERVER_ERROR), true),
            Reason::TooLarge
            | Reason::ServerError
            | Reason::Unavailable
            | Reason::InvalidAnswer
            | Reason::Cancelled
            | Reason::Interrupted
            | Reason::Internal => (plain(status::INTERNAL_SERVER_ERROR), false),
        }
    }
}

/// The payload of an answer without a template: what the tool has as structured content, or else its text. Empty if
/// there is neither.
pub(crate) fn payload(result: &Json, structured: Option<Json>, text: &str) -> Vec<u8> {
    let json = match (structured, text) {
        (Some(structured), _) => structured,
        (None, "") => match result.get("content").and_then(Json::as_array) {
            // Blocks that are no text.
            Some(content) if !content.is_empty() => result.clone(),
            _ => return Vec::new(),
        },
        (None, text) => text.into(),
    };
    json.to_string().into_bytes()
}

/// Whether an answer says when it is published.
pub(crate) fn is_stamped(properties: &[MqttUserProperty]) -> bool {
    properties.iter().any(|it| it.key == property::TIMESTAMP)
}

/// Fills in the timestamp of an answer, if it has one.
pub(crate) fn stamp(
    properties: &mut Vec<MqttUserProperty>,
    clock: &mut Clock,
    cx: &mut Context<'_>,
) {
    let is_timestamp = |it: &MqttUserProperty| it.key == property::TIMESTAMP;
    let Some(index) = properties.iter().position(is_timestamp) else {
        return;
    };
    let now = cx.wall_clock().unix_millis();
    match clock.next(now, || cx.mint_identity()) {
        Some(text) => {
            if let Some(timestamp) = properties.get_mut(index) {
                timestamp.value = text.into();
            }
        }
        // An answer without the time is better than one that cannot be read.
        None => drop(properties.remove(index)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_streams::mqtt::text::check_characters;

    use super::*;

    #[test]
    fn an_answer_without_content_is_empty() {
        let result = serde_json::json!({ "content": [] });
        assert_eq!(payload(&result, None, ""), b"");
        let structured = Some(serde_json::json!({ "a": 1 }));
        assert_eq!(payload(&result, structured, "x"), br#"{"a":1}"#);
        assert_eq!(payload(&result, None, "x"), br#""x""#);
        let image = serde_json::json!({ "content": [{ "type": "image" }] });
        assert!(!payload(&image, None, "").is_empty());
    }

    proptest! {
        #[test]
        fn any_message_is_a_command_or_refused(
            properties in prop::collection::vec(("__(ts|protVer|srcId|x)|[$]partition", ".{0,20}"), 0..6),
            correlation in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            content_type in prop::option::of("application/(json|x)(; ?[a-z=]{0,9})?|.{0,9}"),
            expiry in -1..3_i64,
            message in ".{0,40}|[\\x00-\\x20\\u{fdd0}\\u{ffff}a]{0,2000}",
        ) {
            let properties = properties.into_iter().map(|(key, value)| MqttUserProperty {
                key: key.into(),
                value: value.into(),
            });
            let data = MqttSubscribeData {
                properties: properties.collect(),
                correlation: correlation.clone().map(Bytes::from),
                content_type: content_type.map(Into::into),
                expiry_interval: expiry,
                ..MqttSubscribeData::default()
            };
            let mut command = Command {
                executor: Executor { source: "e".into(), timeout: Duration::from_secs(1) },
                invoker: ByteString::new(),
                timestamp: None,
                fault: None,
            };
            let checked = command.check(&data);
            prop_assert_eq!(checked.is_err(), command.fault.is_some());
            if let Err(failure) = checked {
                prop_assert_eq!(failure.executed, Executed::No);
                let failure = Failure { message, ..failure };
                let correlation = data.correlation.as_ref();
                let properties = command.failed(&failure, correlation, Duration::from_secs(1));
                for property in &properties {
                    prop_assert!(check_characters(&property.value).is_ok());
                    prop_assert!(property.value.len() <= MESSAGE_MAX);
                }
            } else {
                prop_assert_eq!(correlation.map(|it| it.len()), Some(forms::GUID));
                prop_assert!(expiry >= 0);
            }
        }
    }
}
