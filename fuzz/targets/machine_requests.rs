//! Any messages as requests of machines: plain ones, commands of Azure IoT Operations, and JSON-RPC of machines that
//! speak MCP; and any bytes as the results and the progress of what they call. Nothing panics, only what is allowed
//! is called, and what is published goes to topics that the config names or allows. A command is never answered
//! without a status, and a reply to JSON-RPC is JSON-RPC and lists allowed tools alone. In the end each message is
//! acknowledged once, and nothing is left of it.
//!
//! Most of a valid message is the same each time, so it comes from a list, and the rest is put in: no fuzzer finds
//! the names of members and topics by itself.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Json, json};
use tidegate_binding_mqtt_mcp::{Condition, MqttMcp, Options, With};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, StreamId, WallTime};
use tidegate_options::ActionRoute;
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpEnd, McpLifecycle, McpLog, McpOutcome, McpProgress, McpReset, McpResetKind,
    McpResourcesUpdated, McpToolsListChanged,
};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttFlushEx, MqttPublish, MqttPublishData, MqttReset, MqttSubscribe, MqttSubscribeData,
    MqttUserProperty,
};
use tidegate_streams::{BeginEx, DataEx, DataFlags, FlushEx, Frame, ResetEx};

const WINDOW: u32 = 1 << 20;
/// The topic of the message that says what the server is.
const DISCOVER: &str = "mcp/discover";
/// Topics of requests; more than one for JSON-RPC, which has more to try.
const TOPICS: [&str; 8] = [
    "devices/d1/call",
    "lines/7/check",
    "orders/r1",
    "levels/r1/oat",
    "mcp/c1/request",
    "mcp/c1/request",
    "mcp/c2/request",
    DISCOVER,
];
/// Where Response Topics begin.
const REPLIES: [&str; 6] =
    ["", "devices/d1/answers/", "clients/a/7/", "mcp/c1/responses/", "mcp/c2/responses/", "mcp/c1/request"];
const KEYS: [&str; 9] = [
    "__ts",
    "__protVer",
    "__srcId",
    "$partition",
    "traceparent",
    "size",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
];
/// Where the values of user properties begin.
const VALUES: [&str; 6] = ["", "1.", "50000:3:", "2026-07-28", "tools/call", "get_"];
/// Payloads of plain requests; `@` stands for any bytes.
const PLAIN: [&str; 8] = [
    "@",
    r#"{"tool":"get_a","arguments":{"x":@},"id":7}"#,
    r#"{"tool":"@","arguments":{}}"#,
    r#"{"tool":"get_a","arguments":@,"replyTopic":"devices/d1/answers/1"}"#,
    r#"{"part":@,"size":1}"#,
    r#"{"x":@}"#,
    r#"{"level":@}"#,
    r#"{"level":@0}"#,
];
const IDS: [&str; 4] = ["1", "\"a\"", "null", "@"];
const METAS: [&str; 6] = [
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":@"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1,"io.modelcontextprotocol/logLevel":"debug""#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},@"#,
    r#""io.modelcontextprotocol/protocolVersion":"@","io.modelcontextprotocol/clientCapabilities":{}"#,
    "@",
];
/// Methods of JSON-RPC messages and the params that they have beside `_meta`.
const METHODS: [(&str, &str); 16] = [
    ("tools/call", r#""name":"get_a","arguments":{"x":@},"#),
    ("tools/call", r#""name":"@","arguments":{},"#),
    ("tools/call", r#""name":"get_a",@,"#),
    ("tools/list", ""),
    ("tools/list", r#""cursor":"@","#),
    ("resources/read", r#""uri":"@","#),
    ("prompts/get", r#""name":"a","#),
    ("server/discover", ""),
    ("subscriptions/listen", r#""notifications":{"toolsListChanged":true},"#),
    ("subscriptions/listen", r#""notifications":{"resourceSubscriptions":["a:b","@"]},"#),
    ("subscriptions/listen", r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"]},"#),
    ("subscriptions/listen", r#""notifications":@,"#),
    ("notifications/cancelled", r#""requestId":1,"#),
    ("notifications/cancelled", r#""requestId":@,"#),
    ("initialize", ""),
    ("@", ""),
];
/// Results of tools and of other operations; `@` stands for any bytes.
const RESULTS: [&str; 6] = [
    "@",
    r#"{"content":[{"type":"text","text":"@"}]}"#,
    r#"{"content":[],"structuredContent":{"x":@},"isError":false}"#,
    r#"{"tools":[{"name":"get_a"},{"name":"@"},{"name":"set_a"},{"name":"get_b"}],"nextCursor":"c"}"#,
    r#"{"tools":@}"#,
    "{}",
];

fn routes() -> Vec<ActionRoute<Condition, With>> {
    let routes = json!([
        { "when": [{ "topic": "devices/{device}/call" }], "with": {
            "tool": "{{ payload.tool }}", "allow": ["get_*"], "arguments": "{{ payload.arguments }}",
            "identity": "{{ topic.device }}", "progress": "devices/{device}/progress",
        } },
        { "when": [{ "topic": "lines/{line}/check" }], "with": {
            "protocol": "aio", "tool": "get_line", "arguments": { "part": "{{ payload.part }}", "size": "{{ properties.size }}" },
        } },
        { "when": [{ "topic": "orders/{robot}" }], "with": {
            "plan": { "one": { "tool": "get_one" }, "two": { "tool": "get_two", "optional": true, "arguments": { "of": "{{ one.structured.x }}" } } },
            "answer": { "topic": "plans/{robot}", "payload": "{\"x\": {{ payload.x }}, \"y\": {{ one.text }}}" },
        } },
        { "when": [{ "topic": "levels/{robot}/{what}" }], "with": {
            "if": "{{ payload.level < 10 }}", "edge": "rising", "until": "{{ payload.level > 50 }}",
            "answer": { "topic": "alerts/{robot}", "payload": { "level": "{{ payload.level }}" } },
        } },
        { "when": [{ "topic": "mcp/{client}/request" }], "with": {
            "raw": "json-rpc", "allow": ["tools/*", "resources/read", "subscriptions/listen"], "tools": ["get_*"],
            "identity": "{{ topic.client }}",
        } },
    ]);
    let routes = routes.as_array().unwrap().iter().map(|route| ActionRoute {
        when: serde_json::from_value(route["when"].clone()).unwrap(),
        with: serde_json::from_value(route["with"].clone()).unwrap(),
    });
    routes.collect()
}

fn options() -> Options {
    let options = json!({
        "replyTopics": ["devices/{device}/answers/#", "clients/+/{line}/#", "mcp/{client}/responses/#", "mcp/{client}/request"],
        "concurrency": 2, "perDevice": 1, "maxWaiting": 3, "timeout": 1000, "maxPayload": 2000, "maxResult": 2000,
        "maxRemembered": 4, "remember": 2000, "maxListens": 3, "maxListensPerDevice": 2, "discover": { "topic": DISCOVER },
    });
    serde_json::from_value(options).unwrap()
}

fn is_rpc(topic: &str) -> bool {
    topic.starts_with("mcp/c1/responses/") || topic.starts_with("mcp/c2/responses/")
}

fn may_be_published_to(topic: &str) -> bool {
    is_rpc(topic)
        || topic.starts_with("devices/d1/answers/")
        || topic.starts_with("clients/a/7/")
        || ["devices/d1/progress", "plans/r1", "alerts/r1", DISCOVER].contains(&topic)
}

/// What the MCP exit and the broker do until the next message.
struct Plan {
    exit: Exit,
    broker_refuses: bool,
    /// Text of the exit.
    text: String,
    result: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Exit {
    Answers,
    Fails,
    Refuses,
    Aborts,
    IsSilent,
}

impl Plan {
    fn of(choice: u8, text: String, bytes: &[u8]) -> Self {
        let exits = [Exit::Answers, Exit::Answers, Exit::Fails, Exit::Refuses, Exit::Aborts, Exit::IsSilent];
        Self {
            exit: pick(&exits, choice),
            broker_refuses: choice & 0x80 != 0,
            text,
            result: fill(pick(&RESULTS, choice / 6), bytes),
        }
    }

    fn silent() -> Self {
        Self { exit: Exit::IsSilent, broker_refuses: false, text: String::new(), result: Vec::new() }
    }
}

fn pick<T: Copy>(all: &[T], choice: u8) -> T {
    all[usize::from(choice) % all.len()]
}

/// Puts any bytes in the place of `@`.
fn fill(form: &str, bytes: &[u8]) -> Vec<u8> {
    match form.split_once('@') {
        Some((front, back)) => [front.as_bytes(), bytes, back.as_bytes()].concat(),
        None => form.as_bytes().to_vec(),
    }
}

/// A publish stream.
struct Publication {
    topic: String,
    trace: u64,
}

/// The binding between a broker and an MCP exit that are played.
struct Plant {
    rig: Rig,
    mqtt: BindingId,
    mcp: BindingId,
    requests: Option<StreamId>,
    /// The subscription to the message that says what the server is.
    discover: Option<StreamId>,
    publications: BTreeMap<StreamId, Publication>,
    operations: BTreeMap<StreamId, McpBeginEx>,
    /// The traces of requests for the list of tools.
    lists: BTreeSet<u64>,
    /// Numbers of messages, and whether they are acknowledged.
    deliveries: BTreeMap<u64, bool>,
}

impl Plant {
    fn new() -> Self {
        let mut rig = Rig::new();
        let (mqtt, mcp) = (rig.edge(WINDOW), rig.edge(WINDOW));
        rig.attach(MqttMcp::new(&options(), routes(), mqtt, mcp, None));
        rig.worker.start();
        let now = rig.now();
        rig.worker.set_wall_clock(now, WallTime::from_unix_millis(50_000));
        let mut plant = Self {
            rig,
            mqtt,
            mcp,
            requests: None,
            discover: None,
            publications: BTreeMap::new(),
            operations: BTreeMap::new(),
            lists: BTreeSet::new(),
            deliveries: BTreeMap::new(),
        };
        plant.rig.turn(mqtt, |_| {});
        plant.play(&Plan::of(0, String::new(), b""));
        plant
    }

    /// Takes what the binding sends until it sends nothing more.
    fn play(&mut self, plan: &Plan) {
        loop {
            let (mqtt, mcp) = (self.rig.outputs(self.mqtt), self.rig.outputs(self.mcp));
            if mqtt.is_empty() && mcp.is_empty() {
                return;
            }
            for output in mqtt {
                self.on_mqtt(output.at.stream, output.frame, plan);
            }
            for output in mcp {
                self.on_mcp(output.at.stream, output.frame, plan);
            }
        }
    }

    fn on_mqtt(&mut self, stream: StreamId, frame: Frame, plan: &Plan) {
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(MqttBeginEx::Subscribe(subscribe)) => {
                    let is_discover = subscribe.filters.iter().any(|it| it.pattern == DISCOVER);
                    *(if is_discover { &mut self.discover } else { &mut self.requests }) = Some(stream);
                    self.rig.send(self.mqtt, stream, Frame::begin(MqttSubscribe::default()));
                }
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => {
                    assert!(may_be_published_to(&publish.topic), "{}", publish.topic);
                    let trace = self.trace(stream);
                    self.publications.insert(stream, Publication { topic: publish.topic.to_string(), trace });
                }
                other => panic!("{other:?}"),
            },
            Frame::Flush(flush) => match *flush {
                FlushEx::Mqtt(MqttFlushEx::Acknowledge(it)) => {
                    assert_eq!(self.deliveries.insert(it.number, true), Some(false), "acknowledged once");
                }
                other => panic!("{other:?}"),
            },
            Frame::Data(data) => {
                let Some(publication) = self.publications.get(&stream) else { return };
                let Some(DataEx::Mqtt(MqttDataEx::Publish(publish))) = data.extension.as_deref() else { return };
                self.check(publication, publish, &data.payload);
            }
            Frame::End(_) if self.requests == Some(stream) || self.discover == Some(stream) => {
                self.rig.turn(self.mqtt, |cx| cx.terminate(stream, None, None));
            }
            Frame::End(_) if self.publications.remove(&stream).is_some() => {
                if plan.broker_refuses {
                    let reset = MqttReset { reason_code: 0x87, ..MqttReset::default() };
                    self.rig.turn(self.mqtt, |cx| cx.terminate(stream, Some(reset.into()), None));
                    return;
                }
                self.send(self.mqtt, stream, [Frame::begin(MqttPublish::default()), Frame::end()]);
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.publications.remove(&stream);
                self.rig.turn(self.mqtt, |cx| cx.terminate(stream, None, None));
            }
            _ => {}
        }
    }

    fn trace(&self, stream: StreamId) -> u64 {
        self.rig.worker.call_of(stream).map_or(0, |it| it.trace)
    }

    /// A message that is published.
    fn check(&self, publication: &Publication, publish: &MqttPublishData, payload: &[u8]) {
        let topic = &*publication.topic;
        let has = |key: &str| publish.properties.iter().any(|it| it.key == key && !it.value.is_empty());
        assert_eq!(has("__stat"), has("__ts"), "{topic}");
        if topic == DISCOVER {
            assert!(payload.is_empty() || serde_json::from_slice::<Json>(payload).unwrap().is_object());
            return;
        }
        if !is_rpc(topic) {
            // The answer to a command, or any other one.
            assert_ne!(has("__stat"), has("status"), "{topic}");
            return;
        }
        let message: Json = serde_json::from_slice(payload).unwrap();
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        let is_response = message.get("result").is_some() != message.get("error").is_some();
        assert_ne!(is_response, message.get("method").is_some(), "{message}");
        // The response is the last reply, and says how the request ended.
        assert_eq!((is_response, is_response), (has("mcp-final"), has("status")), "{message}");
        if self.lists.contains(&publication.trace)
            && let Some(result) = message.get("result")
        {
            let tools = result["tools"].as_array().unwrap();
            assert!(tools.iter().all(|it| it["name"].as_str().unwrap().starts_with("get_")), "{message}");
        }
    }

    fn on_mcp(&mut self, stream: StreamId, frame: Frame, plan: &Plan) {
        match frame {
            Frame::Begin(begin) => {
                let BeginEx::Mcp(begin) = begin.into_inner() else { panic!("an operation") };
                match &begin {
                    McpBeginEx::ToolsCall(call) => assert!(call.name.starts_with("get_"), "{}", call.name),
                    McpBeginEx::ToolsList(_) => {
                        self.lists.insert(self.trace(stream));
                    }
                    McpBeginEx::ResourcesRead(_) | McpBeginEx::ResourcesSubscribe(_) => {}
                    McpBeginEx::Lifecycle(_) => self.open(stream, &begin, plan),
                    other => panic!("{other:?} is not allowed"),
                }
                self.operations.insert(stream, begin);
            }
            Frame::Data(data) => {
                serde_json::from_slice::<Json>(&data.payload).unwrap();
                let Some(begin) = self.operations.get(&stream).cloned() else { return };
                if let McpBeginEx::ResourcesSubscribe(_) = begin {
                    self.open(stream, &begin, plan);
                } else {
                    self.answer(stream, begin, plan);
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.operations.remove(&stream);
                self.rig.turn(self.mcp, |cx| cx.terminate(stream, None, None));
            }
            _ => {}
        }
    }

    /// A session or a subscription, which stays open and tells a change.
    fn open(&mut self, stream: StreamId, begin: &McpBeginEx, plan: &Plan) {
        let (reply, changed): (BeginEx, FlushEx) = match begin {
            McpBeginEx::ResourcesSubscribe(_) => {
                (begin.clone().into(), McpResourcesUpdated { uri: plan.text.as_str().into() }.into())
            }
            _ => {
                let capabilities = McpCapabilities::SERVER_TOOLS.with(McpCapabilities::SERVER_TOOLS_LIST_CHANGED);
                let lifecycle = McpLifecycle { capabilities, ..McpLifecycle::default() };
                (lifecycle.into(), McpToolsListChanged {}.into())
            }
        };
        if plan.exit == Exit::Fails {
            // Confirmed, and lost at once.
            self.send(self.mcp, stream, [Frame::begin(reply), Frame::flush(changed), Frame::end()]);
        } else if plan.exit == Exit::Answers {
            self.send(self.mcp, stream, [Frame::begin(reply), Frame::flush(changed)]);
        } else {
            self.refuse(stream, plan);
        }
    }

    /// A call of a tool, or another operation with a result.
    fn answer(&mut self, stream: StreamId, begin: McpBeginEx, plan: &Plan) {
        let outcome = match plan.exit {
            Exit::Answers | Exit::Aborts => McpOutcome::Ok,
            Exit::Fails => McpOutcome::Error,
            Exit::Refuses | Exit::IsSilent => return self.refuse(stream, plan),
        };
        // What else the exit tells are JSON texts that `mcp · client` has checked.
        let progress = McpProgress {
            progress: "1".into(),
            total: Some("2.5".into()),
            message: Some(plan.text.as_str().into()),
        };
        let log = json!({ "level": "error", "data": plan.text });
        let end = McpEnd { outcome, ttl_ms: Some(1), ..McpEnd::default() };
        let frames = [
            Frame::begin(begin),
            Frame::flush(progress),
            Frame::flush(McpLog { params: log.to_string().into() }),
            Frame::data(Bytes::from(plan.result.clone())),
            if plan.exit == Exit::Aborts { Frame::abort() } else { Frame::end_with(end) },
        ];
        self.send(self.mcp, stream, frames);
    }

    fn refuse(&mut self, stream: StreamId, plan: &Plan) {
        if plan.exit == Exit::IsSilent {
            return;
        }
        let reset = (plan.exit == Exit::Refuses)
            .then(|| ResetEx::from(McpReset::new(McpResetKind::Unavailable, plan.text.as_str())));
        self.rig.turn(self.mcp, |cx| cx.terminate(stream, reset, None));
    }

    /// Sends these frames, unless the binding is done with the stream before.
    fn send(&mut self, edge: BindingId, stream: StreamId, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.rig.turn(edge, |cx| {
                if cx.is_sending(stream) {
                    cx.send(stream, frame);
                }
            });
        }
    }

    /// A message of the broker.
    fn deliver(&mut self, topic: &str, payload: Vec<u8>, mut data: MqttSubscribeData) {
        let stream = if topic == DISCOVER { self.discover } else { self.requests };
        let Some(stream) = stream else { return };
        if topic != DISCOVER {
            data.number = self.deliveries.len() as u64 + 1;
            self.deliveries.insert(data.number, false);
        }
        let frame = Frame::data_with(DataFlags::WHOLE, Bytes::from(payload), data);
        self.rig.send(self.mqtt, stream, frame);
    }
}

/// A payload for a topic.
fn payload(topic: &str, [form, id, meta]: [u8; 3], bytes: &[u8]) -> Vec<u8> {
    if !topic.starts_with("mcp/c") {
        return fill(pick(&PLAIN, form), bytes);
    }
    if form == u8::MAX {
        return bytes.to_vec();
    }
    // Any bytes are in one place.
    let (method, params) = pick(&METHODS, form);
    let (id, meta) = (pick(&IDS, id), pick(&METAS, meta));
    let id = if method.starts_with("notifications/") { String::new() } else { format!("\"id\":{id},") };
    let message =
        format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{{{params}"_meta":{{{meta}}}}}}}"#);
    match message.split_once('@') {
        Some((front, back)) => fill(&format!("{front}@{}", back.replace('@', "")), bytes),
        None => message.into_bytes(),
    }
}

/// Which topic, payload, id and `_meta`.
type Choices = [u8; 4];
type Properties = Vec<(u8, u8, String)>;
type Message = (Choices, Vec<u8>, Option<(u8, String)>, Option<Vec<u8>>, Option<u16>, Properties, Option<String>);

fuzz_target!(|messages: Vec<(Message, u8, String, Vec<u8>, u16)>| {
    let mut plant = Plant::new();
    for (message, exit, text, result, pause) in messages {
        let ([topic, choices @ ..], bytes, reply, correlation, expiry, properties, content_type) = message;
        let topic = pick(&TOPICS, topic);
        let properties = properties.into_iter().map(|(key, value, text)| MqttUserProperty {
            key: pick(&KEYS, key).into(),
            value: format!("{}{text}", pick(&VALUES, value)).into(),
        });
        let correlation = correlation.map(|mut it| {
            // That of a command has 16 bytes.
            if topic.starts_with("lines/") && !it.is_empty() {
                it.resize(16, 0);
            }
            Bytes::from(it)
        });
        let data = MqttSubscribeData {
            topic: topic.into(),
            qos: 1,
            expiry_interval: expiry.map_or(-1, i64::from),
            content_type: content_type.map(Into::into),
            response_topic: reply.map(|(front, back)| format!("{}{back}", pick(&REPLIES, front)).into()),
            correlation,
            properties: properties.collect(),
            ..MqttSubscribeData::default()
        };
        let plan = Plan::of(exit, text, &result);
        plant.deliver(topic, payload(topic, choices, &bytes), data);
        plant.play(&plan);
        plant.rig.advance(Duration::from_millis(u64::from(pause) % 1_500));
        plant.play(&plan);
    }
    for _ in 0..8 {
        plant.rig.advance(Duration::from_secs(1));
        plant.play(&Plan::silent());
    }
    assert!(plant.deliveries.values().all(|it| *it), "a message is not acknowledged");
    let now = plant.rig.now();
    plant.rig.worker.shutdown_within(now, Duration::from_secs(10));
    plant.rig.turn(plant.mqtt, |_| {});
    plant.play(&Plan::silent());
    plant.rig.assert_idle();
});
