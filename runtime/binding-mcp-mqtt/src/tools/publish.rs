//! `publish`: one message.

use bytestring::ByteString;
use serde_json::{Value, json};
use tidegate_engine::Context;
use tidegate_json::Parts;
use tidegate_options::TopicRequest;
use tidegate_streams::mqtt::{MqttPayloadFormat, MqttPublish, MqttPublishFlags};
use tidegate_streams::shown;

use super::description::{described, encoding, qos, topic};
use super::{Described, Invocation, Opening, Started};
use crate::arguments::{Arguments, document, payload_parts};
use crate::call::Params;
use crate::decision;
use crate::message::is_utf8;
use crate::operation::CallCompleted;
use crate::options::Permissions;
use crate::publish::Publish;
use crate::refusal::{Refusal, not_allowed};
use crate::state::State;
use crate::trace;

const NAMES: [&str; 5] = ["topic", "payload", "qos", "encoding", "retain"];
// `query` has these at the same places.
pub(super) const TOPIC: usize = 0;
pub(super) const PAYLOAD: usize = 1;
pub(super) const QOS: usize = 2;
pub(super) const ENCODING: usize = 3;
const RETAIN: usize = 4;

/// The checked arguments of `publish`.
#[derive(Debug)]
pub(crate) struct PublishArguments {
    pub(crate) topic: ByteString,
    /// The payload in parts, none of them empty.
    pub(crate) payload: Parts,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) format: MqttPayloadFormat,
}

impl PublishArguments {
    pub(crate) fn flags(&self) -> MqttPublishFlags {
        if self.retain {
            MqttPublishFlags::RETAIN
        } else {
            MqttPublishFlags::NONE
        }
    }

    /// The BEGIN of the publish stream.
    pub(crate) fn begin(&self, client_id: Option<ByteString>) -> MqttPublish {
        MqttPublish {
            client_id,
            topic: self.topic.clone(),
            flags: self.flags(),
            qos: self.qos,
        }
    }
}

pub(super) fn describe(about: &Described<'_>) -> Value {
    let what = "Publish a message to an MQTT topic. `outcome` says what success means: sent (QoS 0, no \
                confirmation), acknowledged by the broker (QoS 1) or completed (QoS 2). An error says \
                whether the message may still have been delivered.";
    json!({
        "title": "Publish an MQTT message",
        "description": described(what, about, Permissions::PUBLISH),
        "inputSchema": {
            "type": "object",
            "properties": {
                "topic": topic(about.options, "MQTT topic to publish to"),
                "payload": { "type": "string", "description": "Message payload" },
                "qos": qos(about.options),
                "retain": { "type": "boolean", "default": false },
                "encoding": encoding(),
            },
            "required": ["topic", "payload"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "outcome": {
                    "type": "string",
                    "enum": ["sent", "acknowledged", "completed"],
                    "description": "How far the broker has confirmed the message",
                },
                "reasonCode": {
                    "type": ["integer", "null"],
                    "description": "MQTT reason code of the acknowledgement; 16: no matching subscribers",
                },
                "matched": {
                    "type": ["boolean", "null"],
                    "description": "Whether somebody subscribes to the topic; null if the broker does not tell",
                },
            },
            "required": ["outcome", "reasonCode", "matched"],
        },
        "annotations": {
            "readOnlyHint": false,
            "destructiveHint": true,
            "idempotentHint": false,
            "openWorldHint": true,
        },
    })
}

pub(super) fn start(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let retain = arguments.is_set(RETAIN)?;
    let arguments = message(&arguments, call, retain)?;
    let policy = call.settings.publish.of(call.caller);
    let request = TopicRequest::Topic(&arguments.topic);
    decision::permitted(cx, "publish", policy, request);
    let begin = arguments.begin(call.client_id.clone());
    let audited = cx.audits::<CallCompleted>();
    let audited = audited.then(|| Box::new(arguments.payload.clone()));
    let mut publish = Publish::new(arguments, call.settings.expiry);
    publish.audited = audited;
    publish.add_properties(trace::properties(document.as_ref()));
    Ok(Started::Stream(Opening {
        state: State::Publish(publish),
        begin: begin.into(),
        client_id: call.client_id.take(),
        wait: None,
    }))
}

/// Checks the message of a call: its topic, its payload, and the rules for both.
pub(super) fn message<const N: usize>(
    arguments: &Arguments<'_, N>,
    call: &Invocation<'_>,
    retain: bool,
) -> Result<PublishArguments, Refusal> {
    let settings = call.settings;
    let limits = &settings.limits;
    let policy = settings.publish.of(call.caller);
    let topic = arguments.topic(TOPIC, call.header, policy, limits)?;
    let payload = arguments.payload(PAYLOAD)?;
    let qos = arguments.qos(QOS, limits)?;
    let base64 = arguments.is_base64(ENCODING)?;
    if !policy.allows_topic(&topic) {
        return Err(not_allowed(policy, TopicRequest::Topic(&topic), || {
            format!("Publishing to '{}' is not allowed.", shown(&topic))
        }));
    }
    let rules = settings.rules_of(call.caller, &topic);
    let qos = rules.qos(qos, limits.qos_default, &topic)?;
    rules.check_retain(retain, &topic)?;
    let payload = payload_parts(&payload, base64)?;
    rules.check_payload(&payload, &topic)?;
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
