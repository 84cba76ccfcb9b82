//! `query`: a request, and the answer to it.

use serde_json::{Value, json};
use tidegate_engine::Context;
use tidegate_options::TopicRequest;
use tidegate_streams::mqtt::MqttSubscribeFlags;
use tidegate_streams::shown;

use super::description::{described, encoding, message, qos, timeout, topic};
use super::publish;
use super::{Described, Invocation, Opening, Started};
use crate::arguments::{Arguments, check_topic, document};
use crate::call::Params;
use crate::decision;
use crate::operation::{CallCompleted, QueryAnswered};
use crate::options::Permissions;
use crate::policy::SHARED;
use crate::publish::Publish;
use crate::query::{Expected, Query};
use crate::refusal::{Refusal, not_allowed};
use crate::state::State;
use crate::subscribe;
use crate::taken::Taken;
use crate::trace;

const NAMES: [&str; 6] = [
    "topic",
    "payload",
    "qos",
    "encoding",
    "responseTopic",
    "timeout",
];
const RESPONSE_TOPIC: usize = 4;
const TIMEOUT: usize = 5;

pub(super) fn describe(about: &Described<'_>) -> Value {
    let options = about.options;
    let what = "Publish a request to an MQTT topic and return the first answer. The answer topic is \
                subscribed to before the request is published.";
    let mut required = vec!["topic", "payload"];
    let response = if options.reply_topic.is_some() {
        "Topic of the answer; omit it for devices that answer to the MQTT 5 Response Topic of the request"
    } else {
        required.push("responseTopic");
        "Topic of the answer"
    };
    json!({
        "title": "Send an MQTT request and return its answer",
        "description": described(what, about, Permissions::PUBLISH),
        "inputSchema": {
            "type": "object",
            "properties": {
                "topic": topic(options, "MQTT topic of the request"),
                "payload": { "type": "string", "description": "Request payload" },
                "qos": qos(options),
                "encoding": encoding(),
                "responseTopic": { "type": "string", "description": response },
                "timeout": timeout(options, "the answer"),
            },
            "required": required,
            "additionalProperties": false,
        },
        "outputSchema": message(),
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
    let settings = call.settings;
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let timeout = arguments.timeout(TIMEOUT, &settings.limits)?;
    let response = arguments.text(RESPONSE_TOPIC)?;
    let request = publish::message(&arguments, call, false)?;
    let correlation = cx.mint_identity().into_bytes();
    let expected = if let Some(topic) = response {
        check_response_topic(&topic, &request.topic, call)?;
        let policy = settings.subscribe.of(call.caller);
        decision::permitted(cx, call.tool, policy, TopicRequest::Topic(&topic));
        Expected {
            topic,
            correlation,
            shared: false,
        }
    } else {
        let reply_topic = settings.reply_topic.as_ref().ok_or_else(without_topic)?;
        let client_id = call.own.of(cx, call.client_id.take());
        let topic = reply_topic.of(&client_id);
        call.client_id = Some(client_id);
        Expected {
            topic,
            correlation,
            shared: true,
        }
    };
    let policy = settings.publish.of(call.caller);
    decision::permitted(cx, call.tool, policy, TopicRequest::Topic(&request.topic));
    let begin = request.begin(call.client_id.clone());
    let audited = cx.audits::<CallCompleted>();
    let audited = audited.then(|| Box::new(request.payload.clone()));
    let mut publish = Publish::new(request, settings.expiry);
    publish.audited = audited;
    publish.expect_answer(
        expected.topic.clone(),
        expected.correlation.clone(),
        expected.shared,
    );
    publish.add_properties(trace::properties(document.as_ref()));
    let subscribe = subscribe::begin(
        call.client_id.clone(),
        expected.topic.clone(),
        0,
        MqttSubscribeFlags::NO_RETAINED,
    );
    let mut query = Query::new(publish, begin, expected, settings.result_bound);
    query.audited = Taken::new(cx.audits::<QueryAnswered>());
    Ok(Started::Stream(Opening {
        state: State::Query(Box::new(query)),
        begin: subscribe.into(),
        client_id: call.client_id.take(),
        wait: Some((timeout, "the answer to a request")),
    }))
}

fn check_response_topic(
    topic: &str,
    request_topic: &str,
    call: &Invocation<'_>,
) -> Result<(), Refusal> {
    let policy = call.settings.subscribe.of(call.caller);
    check_topic(topic, policy, &call.settings.limits)?;
    if topic.starts_with("$share/") {
        return Err(format!("'responseTopic' is '{}': {SHARED}.", shown(topic)).into());
    }
    if topic == request_topic {
        return Err(format!(
            "'responseTopic' is the topic of the request, '{}', so the request would be its own answer; \
             name the topic on which the device answers.",
            shown(topic)
        )
        .into());
    }
    let request = TopicRequest::Topic(topic);
    if !policy.allows_topic(topic) {
        return Err(not_allowed(policy, request, || {
            format!("Receiving from '{}' is not allowed.", shown(topic))
        }));
    }
    Ok(())
}

fn without_topic() -> Refusal {
    "'responseTopic' is missing; add the topic on which the device answers. A query without it needs \
     'replyTopic' in the config of the gateway."
        .to_owned()
        .into()
}
