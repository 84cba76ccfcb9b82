//! The tools.

use bytestring::ByteString;
use serde_json::{Value, json};
use tidegate_engine::{Context, Duration};
use tidegate_json::Parts;
use tidegate_options::TopicRequest;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::mqtt::{MqttPayloadFormat, MqttSubscribeFlags};
use tidegate_streams::shown;

use super::arguments::{either, seconds, whole};
use super::collect::{Collect, Form};
use super::result::Answered;
use crate::arguments::{Arguments, document, payload_parts};
use crate::call::Params;
use crate::operation::{CallCompleted, Operation, QueryAnswered};
use crate::options::Permissions;
use crate::publish::Publish;
use crate::query::{Expected, Query};
use crate::refusal::{Refusal, not_allowed};
use crate::state::State;
use crate::taken::Taken;
use crate::tools::description::{described, topic};
use crate::tools::{Definition, Described, Invocation, Opening, PublishArguments, Started, Tool};
use crate::{decision, subscribe};

/// The tools, in the order of `tools/list`.
pub(crate) static TOOLS: [Definition; 4] = [
    Definition {
        tool: Tool::Publish,
        name: "mqtt_publish",
        operation: Operation::Publish,
        describe: describe_publish,
        start: publish,
    },
    Definition {
        tool: Tool::Receive,
        name: "mqtt_subscribe",
        operation: Operation::Receive,
        describe: describe_subscribe,
        start: subscribe_to,
    },
    Definition {
        tool: Tool::Read,
        name: "mqtt_read",
        operation: Operation::Read,
        describe: describe_read,
        start: read,
    },
    Definition {
        tool: Tool::Query,
        name: "mqtt_query",
        operation: Operation::Query,
        describe: describe_query,
        start: query,
    },
];

/// Time that `mqtt_subscribe` waits by default, in seconds.
const SUBSCRIBE_SECONDS: u64 = 30;
/// Time that `mqtt_read` and `mqtt_query` wait by default, in seconds.
const READ_SECONDS: u64 = 5;

fn tool(title: &str, description: &str, schema: Value, writes: bool) -> Value {
    let mut schema = schema;
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("type".to_owned(), "object".into());
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    json!({
        "title": title,
        "description": description,
        "inputSchema": schema,
        "outputSchema": {
            "type": "object",
            "properties": { "result": { "type": "string" } },
            "required": ["result"],
        },
        "annotations": {
            "readOnlyHint": !writes,
            "destructiveHint": writes,
            "idempotentHint": false,
            "openWorldHint": true,
        },
    })
}

fn timeout(default: u64) -> Value {
    json!({
        "type": "number",
        "minimum": 0,
        "maximum": 3_600,
        "default": default,
        "description": "Time to wait, in seconds",
    })
}

fn describe_publish(about: &Described<'_>) -> Value {
    let what = "Publish a message to an MQTT topic.";
    let description = described(what, about, Permissions::PUBLISH);
    let schema = json!({
        "properties": {
            "topic": topic(about.options, "MQTT topic to publish to"),
            "payload": { "type": "string", "description": "Message payload" },
            "qos": {
                "type": "integer",
                "minimum": about.options.publish_qos.lowest(),
                "maximum": 2,
                "default": about.options.publish_qos.usual(),
            },
        },
        "required": ["topic", "payload"],
    });
    tool(
        "Publish a message to an MQTT topic",
        &description,
        schema,
        true,
    )
}

fn describe_subscribe(about: &Described<'_>) -> Value {
    let what = "Subscribe to an MQTT topic or topic filter and return up to `max_messages` messages, or those that \
                arrived within `timeout`.";
    let description = described(what, about, Permissions::SUBSCRIBE);
    let schema = json!({
        "properties": {
            "topic": topic(about.options, "MQTT topic filter — supports + and # wildcards"),
            "timeout": timeout(SUBSCRIBE_SECONDS),
            "max_messages": {
                "type": "integer",
                "minimum": 1,
                "maximum": about.options.receive_limit.get(),
                "default": 1,
            },
        },
        "required": ["topic"],
    });
    tool(
        "Collect messages of an MQTT topic",
        &description,
        schema,
        false,
    )
}

fn describe_read(about: &Described<'_>) -> Value {
    let what = "Wait for one message of an MQTT topic or topic filter. The retained message is returned at once.";
    let description = described(what, about, Permissions::SUBSCRIBE);
    let schema = json!({
        "properties": {
            "topic": topic(about.options, "MQTT topic filter — supports + and # wildcards"),
            "response_topic": { "type": "string", "description": "Another name of `topic`" },
            "timeout": timeout(READ_SECONDS),
        },
    });
    tool(
        "Read one message of an MQTT topic",
        &description,
        schema,
        false,
    )
}

fn describe_query(about: &Described<'_>) -> Value {
    let what = "Publish a request to an MQTT topic and return the first message of the response topic. The response \
                topic is subscribed to before the request is published.";
    let description = described(what, about, Permissions::PUBLISH);
    let response = "Topic of the response — supports + and # wildcards";
    let schema = json!({
        "properties": {
            "request_topic": topic(about.options, "Topic of the request"),
            "response_topic": { "type": "string", "description": response },
            "payload": { "type": "string", "description": "Request payload" },
            "timeout": timeout(READ_SECONDS),
        },
        "required": ["request_topic", "response_topic", "payload"],
    });
    tool(
        "Send an MQTT request and return its response",
        &description,
        schema,
        true,
    )
}

/// The message of a call, checked. `what` is the topic in refusals.
fn message<const N: usize>(
    arguments: &Arguments<'_, N>,
    (at_topic, at_payload): (usize, usize),
    qos: Option<u8>,
    call: &Invocation<'_>,
    what: &str,
) -> Result<PublishArguments, Refusal> {
    let settings = call.settings;
    let policy = settings.publish.of(call.caller);
    let topic = arguments.topic(at_topic, call.header, policy, &settings.limits)?;
    let payload = arguments.payload(at_payload)?;
    if !policy.allows_topic(&topic) {
        return Err(not_allowed(policy, TopicRequest::Topic(&topic), || {
            format!("Error: No write permission for {what} '{}'.", shown(&topic))
        }));
    }
    let rules = settings.rules_of(call.caller, &topic);
    let qos = rules.qos(qos, settings.limits.qos_default, &topic)?;
    let payload = payload_parts(&payload, false)?;
    rules.check_payload(&payload, &topic)?;
    Ok(PublishArguments {
        topic,
        payload,
        qos,
        retain: false,
        format: MqttPayloadFormat::Text,
    })
}

fn publishing(
    cx: &mut Context<'_>,
    call: &Invocation<'_>,
    operation: Operation,
    arguments: PublishArguments,
) -> Publish {
    let policy = call.settings.publish.of(call.caller);
    let request = TopicRequest::Topic(&arguments.topic);
    decision::permitted(cx, operation.word(), policy, request);
    let audited = cx.audits::<CallCompleted>();
    let audited = audited.then(|| Box::new(arguments.payload.clone()));
    let mut publish = Publish::new(arguments, call.settings.expiry);
    publish.audited = audited;
    publish
}

fn publish(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    static NAMES: [&str; 3] = ["topic", "payload", "qos"];
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let lowest = u32::from(call.settings.limits.qos_minimum);
    let qos = whole(&arguments, 2, (lowest, 2))?;
    let qos = qos.and_then(|qos| u8::try_from(qos).ok());
    let arguments = message(&arguments, (0, 1), qos, call, "topic")?;
    let begin = arguments.begin(call.client_id.clone());
    let mut publish = publishing(cx, call, Operation::Publish, arguments);
    publish.is_mcpmqtt = true;
    Ok(Started::Stream(Opening {
        state: State::Publish(publish),
        begin: begin.into(),
        client_id: call.client_id.take(),
        wait: None,
    }))
}

fn subscribe_to(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    static NAMES: [&str; 3] = ["topic", "timeout", "max_messages"];
    let limits = &call.settings.limits;
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let policy = call.settings.subscribe.of(call.caller);
    let filter = arguments.filter(0, call.header, policy, limits)?;
    let timeout = seconds(&arguments, 1, SUBSCRIBE_SECONDS)?;
    let most = u32::try_from(limits.messages_max).unwrap_or(u32::MAX);
    let limit = whole(&arguments, 2, (1, most))?.unwrap_or(1);
    collect(cx, call, (filter, Form::Subscribe, limit), timeout)
}

fn read(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    // The README of mcpMQTT has the first, its code the second.
    static NAMES: [&str; 3] = ["topic", "response_topic", "timeout"];
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let which = either(&arguments, (0, 1))?;
    let policy = call.settings.subscribe.of(call.caller);
    let filter = arguments.filter(which, call.header, policy, &call.settings.limits)?;
    let timeout = seconds(&arguments, 2, READ_SECONDS)?;
    collect(cx, call, (filter, Form::Read, 1), timeout)
}

/// Checks whether the caller may subscribe to the filter.
fn check_filter(filter: &TopicFilter, call: &Invocation<'_>, what: &str) -> Result<(), Refusal> {
    let policy = call.settings.subscribe.of(call.caller);
    let error = || {
        format!(
            "Error: No read permission for {what} '{}'",
            shown(filter.as_str())
        )
    };
    if !policy.allows_filter(filter) {
        let request = TopicRequest::Filter(filter);
        return Err(not_allowed(policy, request, || format!("{}.", error())));
    }
    if filter.is_shared() {
        return Err(format!(
            "{}: shared subscriptions are not supported with 'compatibility: mcpmqtt'; use '{}' to get a copy of \
             each message.",
            error(),
            shown(filter.inner())
        )
        .into());
    }
    Ok(())
}

fn collect(
    cx: &mut Context<'_>,
    call: &mut Invocation<'_>,
    (filter, form, limit): (TopicFilter, Form, u32),
    timeout: Duration,
) -> Result<Started, Refusal> {
    check_filter(&filter, call, "topic")?;
    let settings = call.settings;
    let operation = match form {
        Form::Subscribe => Operation::Receive,
        Form::Read => Operation::Read,
    };
    let policy = settings.subscribe.of(call.caller);
    decision::permitted(cx, operation.word(), policy, TopicRequest::Filter(&filter));
    let client_id = call.client_id.take();
    let flags = MqttSubscribeFlags::NONE;
    let begin = subscribe::begin(client_id.clone(), filter.text(), 0, flags);
    let mut collect = Collect::new(filter, form, limit, settings.result_bound);
    collect.audited = Taken::new(cx.audits::<CallCompleted>());
    Ok(Started::Stream(Opening {
        state: State::Collect(Box::new(collect)),
        begin: begin.into(),
        client_id,
        wait: Some((timeout, "the messages to receive")),
    }))
}

fn query(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    static NAMES: [&str; 4] = ["request_topic", "response_topic", "payload", "timeout"];
    let settings = call.settings;
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let timeout = seconds(&arguments, 3, READ_SECONDS)?;
    let request = message(&arguments, (0, 2), None, call, "request topic")?;
    let response = response(&arguments, call, &request.topic)?;
    let policy = settings.subscribe.of(call.caller);
    let permitted = TopicRequest::Filter(&response);
    decision::permitted(cx, Operation::Query.word(), policy, permitted);
    let answered = Answered {
        request_topic: request.topic.clone(),
        response_topic: response.text(),
        request_payload: text(&request.payload),
    };
    let client_id = call.client_id.take();
    let begin = request.begin(client_id.clone());
    let mut publish = publishing(cx, call, Operation::Query, request);
    let expected = Expected {
        topic: response.text(),
        correlation: cx.mint_identity().into_bytes(),
        shared: false,
    };
    // A Response Topic is a topic, and not a filter.
    if !response.has_wildcards() {
        publish.expect_answer(
            expected.topic.clone(),
            expected.correlation.clone(),
            expected.shared,
        );
    }
    let flags = MqttSubscribeFlags::NO_RETAINED;
    let subscribe = subscribe::begin(client_id.clone(), response.text(), 0, flags);
    let mut query = Query::new(publish, begin, expected, settings.result_bound);
    query.audited = Taken::new(cx.audits::<QueryAnswered>());
    query.answered = Some(Box::new(answered));
    Ok(Started::Stream(Opening {
        state: State::Query(Box::new(query)),
        begin: subscribe.into(),
        client_id,
        wait: Some((timeout, "the answer to a request")),
    }))
}

/// The filter of the responses.
fn response<const N: usize>(
    arguments: &Arguments<'_, N>,
    call: &Invocation<'_>,
    request_topic: &ByteString,
) -> Result<TopicFilter, Refusal> {
    const RESPONSE_TOPIC: usize = 1;
    let policy = call.settings.subscribe.of(call.caller);
    let limits = &call.settings.limits;
    let response = arguments.unmirrored_filter(RESPONSE_TOPIC, policy, limits)?;
    check_filter(&response, call, "response topic")?;
    if response.matches(request_topic) {
        return Err(format!(
            "'response_topic' is '{}', which matches the topic of the request, so the request would be its own \
             response; name the topic on which the device responds.",
            shown(response.as_str())
        )
        .into());
    }
    Ok(response)
}

fn text(payload: &Parts) -> String {
    String::from_utf8_lossy(&payload.contiguous()).into_owned()
}
