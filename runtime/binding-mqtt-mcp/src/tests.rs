//! The whole binding between a played broker and a played MCP exit, with any messages: what holds for every request.

mod figures;

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, Output, StreamId, WallTime};
use tidegate_options::ActionRoute;
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpLifecycle, McpProgress, McpReset, McpResetKind,
    McpResourcesUpdated, McpToolsListChanged,
};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttFlushEx, MqttPublish, MqttReset, MqttSubscribe, MqttSubscribeData,
    MqttSubscribeFlags, MqttUserProperty,
};
use tidegate_streams::{BeginEx, DataEx, DataFlags, FlushEx, Frame, Role};

use crate::{Condition, MqttMcp, Options, With};

const WINDOW: u32 = 1 << 20;

fn routes() -> Vec<ActionRoute<Condition, With>> {
    let routes = [
        (
            json!([{ "topic": "devices/{device}/call" }]),
            json!({
                "tool": "{{ payload.tool }}", "allow": ["get_*"], "arguments": "{{ payload.arguments }}",
                "identity": "{{ topic.device }}", "progress": "progress/{device}",
            }),
        ),
        (
            json!([{ "topic": "lines/{line}/check" }]),
            json!({ "protocol": "aio", "tool": "get_line", "arguments": { "x": "{{ payload.x }}" } }),
        ),
        (
            json!([{ "topic": "orders/{robot}" }]),
            json!({
                "plan": {
                    "one": { "tool": "get_one", "arguments": { "x": "{{ payload.x }}" } },
                    "two": { "tool": "get_two", "optional": true, "arguments": { "of": "{{ one.text }}" } },
                },
                "answer": { "topic": "plans/{robot}", "payload": "{\"x\": {{ payload.x }}}" },
            }),
        ),
        (
            json!([{ "topic": "mcp/{device}/call" }]),
            json!({ "raw": "json-rpc", "allow": ["*"], "tools": ["get_*"], "identity": "{{ topic.device }}" }),
        ),
        (
            json!([{ "topic": "levels/{device}" }]),
            json!({
                "if": "{{ payload.x is number and payload.x < 1 }}",
                "answer": { "topic": "alerts/{device}", "payload": { "x": "{{ payload.x }}" } },
            }),
        ),
    ];
    let routes = routes.into_iter().map(|(when, with)| ActionRoute {
        when: serde_json::from_value(when).expect("conditions"),
        with: serde_json::from_value(with).expect("an action"),
    });
    routes.collect()
}

fn options() -> Options {
    let options = json!({
        "replyTopics": ["devices/{device}/answers/#", "clients/#"], "concurrency": 2, "perDevice": 1, "maxWaiting": 3,
        "maxWaitingPerDevice": 2, "timeout": 1000, "maxPayload": 400, "maxRemembered": 4, "remember": 2000,
        "maxListens": 3, "maxListensPerDevice": 2,
    });
    serde_json::from_value(options).expect("options")
}

/// A message of the broker.
#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    payload: Vec<u8>,
    reply: Option<String>,
    correlation: Option<Vec<u8>>,
    expiry: i64,
    /// `__ts`.
    timestamp: Option<&'static str>,
    retained: bool,
    /// What the MCP exit does with each call.
    exit: Exit,
    /// What the broker does with each publication.
    refuses: bool,
}

#[derive(Debug, Clone, Copy)]
enum Exit {
    Answers,
    Refuses,
    IsSilent,
}

fn sent() -> impl Strategy<Value = Sent> {
    let topics = prop::sample::select(vec![
        "devices/d1/call",
        "devices/d2/call",
        "devices//call",
        "orders/r1",
        "lines/7/check",
        "levels/d1",
        "mcp/d1/call",
        "mcp/d1/call",
        "mcp/d2/call",
        "other",
    ]);
    let payloads = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            r#"{"tool":"get_a","arguments":{}}"#,
            r#"{"tool":"delete","arguments":{}}"#,
            r#"{"tool":"get_a","arguments":{"x":"{{ payload }}"},"id":7,"replyTopic":"devices/d1/answers/7"}"#,
            r#"{"x":1,"replyTopic":"orders/r1"}"#,
            r#"{"x":{"y":["\"}"]}}"#,
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        Just(vec![b' '; 500]),
        message(),
    ];
    let replies =
        prop::option::of("devices/d[12]/(answers|call)(/[a-z+#])?|clients/[a-z]|[a-z/+#$]{0,12}");
    let guid = prop::collection::vec(0..2_u8, 16);
    let correlation = prop_oneof![prop::collection::vec(0..3_u8, 0..3), guid];
    let correlation = prop::option::of(correlation);
    let expiry = prop::sample::select(vec![-1, -1, -1, 0, 1, 60]);
    let exit = prop::sample::select(vec![
        Exit::Answers,
        Exit::Answers,
        Exit::Refuses,
        Exit::IsSilent,
    ]);
    let timestamps = vec![
        "0:0:a",
        "50000:3:b",
        "59000:18446744073709551614:c",
        "1:4294967295:d",
        "90000000:0:e",
        "no timestamp",
    ];
    let timestamp = prop::option::of(prop::sample::select(timestamps));
    let expiry = (expiry, timestamp);
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    (topics, payloads, replies, correlation, expiry, exit, flags).prop_map(
        |(topic, payload, reply, correlation, (expiry, timestamp), exit, (retained, refuses))| {
            Sent {
                topic,
                payload,
                reply,
                correlation,
                expiry,
                timestamp,
                retained,
                exit,
                refuses,
            }
        },
    )
}

/// A JSON-RPC message, valid or not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let methods = vec![
        ("tools/call", json!({ "name": "get_a", "arguments": {} })),
        ("tools/call", json!({ "name": "delete" })),
        ("tools/list", json!({})),
        ("server/discover", json!({})),
        (
            "subscriptions/listen",
            json!({ "notifications": { "toolsListChanged": true } }),
        ),
        (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": ["a:b", "a:c"] } }),
        ),
        ("resources/read", json!({ "uri": "a:b" })),
        ("initialize", json!({})),
        ("notifications/cancelled", json!({ "requestId": 1 })),
    ];
    let ids = prop::sample::select(vec![json!(1), json!(1), json!("a"), json!(null)]);
    let parts = (
        prop::sample::select(methods),
        ids,
        prop::bool::weighted(0.9),
    );
    parts.prop_map(|((method, mut params), id, is_modern)| {
        if is_modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": 1,
            });
        }
        let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if !method.starts_with("notifications/") {
            message["id"] = id;
        }
        message.to_string().into_bytes()
    })
}

/// The played broker and MCP exit.
struct Plant {
    rig: Rig,
    mqtt: BindingId,
    mcp: BindingId,
    subscription: Option<StreamId>,
    /// The operations at the exit.
    operations: BTreeMap<StreamId, McpBeginEx>,
    /// Publish streams and their topics.
    publications: BTreeMap<StreamId, ByteString>,
    /// The numbers of messages, and whether they are acknowledged.
    deliveries: BTreeMap<u64, bool>,
    published: Vec<ByteString>,
    /// `__stat` of the answers to commands.
    statuses: Vec<ByteString>,
    /// The end of publications that the broker does not take. `None`: it does not answer.
    refusal: Option<MqttReset>,
}

impl Plant {
    fn new() -> Self {
        let mut rig = Rig::new();
        let (mqtt, mcp) = (rig.edge(WINDOW), rig.edge(WINDOW));
        rig.attach(MqttMcp::new(&options(), routes(), mqtt, mcp, None));
        rig.worker.start();
        let mut plant = Self {
            rig,
            mqtt,
            mcp,
            subscription: None,
            operations: BTreeMap::new(),
            publications: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            published: Vec::new(),
            statuses: Vec::new(),
            refusal: Some(MqttReset {
                reason_code: 0x87,
                ..MqttReset::default()
            }),
        };
        plant.rig.turn(mqtt, |_| {});
        plant.play(Exit::Answers, false);
        plant
    }

    fn send(&mut self, sent: &Sent) {
        let Some(stream) = self.subscription else {
            panic!("it has subscribed")
        };
        let number = self.deliveries.len() as u64 + 1;
        self.deliveries.insert(number, false);
        let data = MqttSubscribeData {
            topic: sent.topic.into(),
            qos: 1,
            number,
            flags: MqttSubscribeFlags::NONE.with_if(MqttSubscribeFlags::RETAIN, sent.retained),
            expiry_interval: sent.expiry,
            response_topic: sent.reply.as_deref().map(Into::into),
            correlation: sent.correlation.clone().map(Bytes::from),
            properties: sent
                .timestamp
                .iter()
                .map(|it| MqttUserProperty {
                    key: "__ts".into(),
                    value: (*it).into(),
                })
                .collect(),
            ..MqttSubscribeData::default()
        };
        let payload = Bytes::from(sent.payload.clone());
        let frame = Frame::data_with(DataFlags::WHOLE, payload, data);
        self.rig.send(self.mqtt, stream, frame);
        self.play(sent.exit, sent.refuses);
    }

    /// Answers what the binding has sent, until it sends nothing more.
    fn play(&mut self, exit: Exit, refuses: bool) {
        loop {
            let mqtt = self.rig.outputs(self.mqtt);
            let mcp = self.rig.outputs(self.mcp);
            if mqtt.is_empty() && mcp.is_empty() {
                return;
            }
            for output in mqtt {
                self.on_mqtt(output, refuses);
            }
            for output in mcp {
                self.on_mcp(output, exit);
            }
        }
    }

    fn on_mqtt(&mut self, output: Output, refuses: bool) {
        let stream = output.at.stream;
        assert_eq!(output.at.role, Role::Callee);
        match output.frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(MqttBeginEx::Subscribe(_)) => {
                    self.subscription = Some(stream);
                    let begin = Frame::begin(MqttSubscribe::default());
                    self.rig.send(self.mqtt, stream, begin);
                }
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => {
                    self.publications.insert(stream, publish.topic);
                }
                other => panic!("{other:?}"),
            },
            Frame::Flush(flush) => match *flush {
                FlushEx::Mqtt(MqttFlushEx::Acknowledge(it)) => {
                    let before = self.deliveries.insert(it.number, true);
                    assert_eq!(before, Some(false), "acknowledged once");
                }
                other => panic!("{other:?}"),
            },
            Frame::Data(data) => {
                let extension = data.extension.map(tidegate_streams::Pooled::into_inner);
                if let Some(DataEx::Mqtt(MqttDataEx::Publish(publish))) = extension {
                    let topic = self.publications.get(&stream).expect("it has begun");
                    let has = |key: &str| {
                        let mut properties = publish.properties.iter();
                        properties.any(|it| it.key == key && !it.value.is_empty())
                    };
                    let mut properties = publish.properties.iter();
                    let status = properties.find(|it| it.key == "__stat");
                    self.statuses.extend(status.map(|it| it.value.clone()));
                    // The answer to a command, or any other one. A notification has no status.
                    assert!(!(has("__stat") && has("status")), "{topic}");
                    assert_eq!(has("__stat"), has("__ts"), "{topic}");
                }
            }
            Frame::End(_) if self.subscription == Some(stream) => {
                self.rig.send(self.mqtt, stream, Frame::end());
            }
            Frame::End(_) => {
                let topic = self.publications.remove(&stream).expect("it has begun");
                if refuses {
                    let Some(reset) = self.refusal.clone() else {
                        return;
                    };
                    self.rig.turn(self.mqtt, |cx| {
                        cx.terminate(stream, Some(reset.into()), None);
                    });
                    return;
                }
                self.published.push(topic);
                let begin = Frame::begin(MqttPublish::default());
                self.rig.send(self.mqtt, stream, begin);
                self.rig.send(self.mqtt, stream, Frame::end());
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.rig
                    .turn(self.mqtt, |cx| cx.terminate(stream, None, None));
            }
            _ => {}
        }
    }

    fn on_mcp(&mut self, output: Output, exit: Exit) {
        let stream = output.at.stream;
        match output.frame {
            Frame::Begin(begin) => {
                let BeginEx::Mcp(begin) = begin.into_inner() else {
                    panic!("an operation")
                };
                if let McpBeginEx::ToolsCall(call) = &begin {
                    let name = &call.name;
                    assert!(name.starts_with("get_"), "{name} is not allowed");
                }
                self.operations.insert(stream, begin.clone());
                if let McpBeginEx::Lifecycle(_) = begin {
                    self.on_open(stream, begin, exit);
                }
            }
            Frame::Data(data) => {
                let params: Json = serde_json::from_slice(&data.payload).expect("JSON");
                let begin = self.operations.get(&stream).expect("it has begun").clone();
                match begin {
                    McpBeginEx::ResourcesSubscribe(_) => {
                        return self.on_open(stream, begin, exit);
                    }
                    McpBeginEx::ToolsCall(_) => {
                        assert!(params["arguments"].is_object(), "{params}");
                    }
                    _ => {}
                }
                match exit {
                    Exit::Answers => {
                        let result =
                            Bytes::from_static(br#"{"content":[{"type":"text","text":"1"}]}"#);
                        self.rig.send(self.mcp, stream, Frame::begin(begin));
                        let progress = McpProgress {
                            progress: "1".into(),
                            ..McpProgress::default()
                        };
                        self.rig.send(self.mcp, stream, Frame::flush(progress));
                        self.rig.send(self.mcp, stream, Frame::data(result));
                        self.rig.send(self.mcp, stream, Frame::end());
                    }
                    Exit::Refuses => {
                        let reset = McpReset::new(McpResetKind::Unavailable, "away");
                        self.rig.turn(self.mcp, |cx| {
                            cx.terminate(stream, Some(reset.into()), None);
                        });
                    }
                    Exit::IsSilent => {}
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.operations.remove(&stream);
                self.rig
                    .turn(self.mcp, |cx| cx.terminate(stream, None, None));
            }
            _ => {}
        }
    }

    /// A session or a subscription, which stays open and tells a change.
    fn on_open(&mut self, stream: StreamId, begin: McpBeginEx, exit: Exit) {
        match exit {
            Exit::Answers => {
                let changed: FlushEx = match &begin {
                    McpBeginEx::ResourcesSubscribe(it) => McpResourcesUpdated {
                        uri: it.uri.clone(),
                    }
                    .into(),
                    _ => McpToolsListChanged {}.into(),
                };
                let begin = match begin {
                    McpBeginEx::Lifecycle(_) => McpLifecycle {
                        capabilities: McpCapabilities::SERVER_TOOLS_LIST_CHANGED,
                        ..McpLifecycle::default()
                    }
                    .into(),
                    other => other,
                };
                self.rig.turn(self.mcp, |cx| {
                    cx.send(stream, Frame::begin(begin));
                    if cx.is_sending(stream) {
                        cx.send(stream, Frame::flush(changed));
                    }
                });
            }
            Exit::Refuses => {
                let reset = McpReset::new(McpResetKind::NotFound, "unknown");
                self.rig.turn(self.mcp, |cx| {
                    cx.terminate(stream, Some(reset.into()), None);
                });
            }
            Exit::IsSilent => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_sent_limits_hold_and_every_message_is_done_with(
        messages in prop::collection::vec((sent(), 0..1_500_u64), 0..25),
    ) {
        let mut plant = Plant::new();
        for (sent, pause) in &messages {
            plant.send(sent);
            plant.rig.advance(Duration::from_millis(*pause));
            plant.play(sent.exit, sent.refuses);
        }
        for _ in 0..8 {
            plant.rig.advance(Duration::from_secs(1));
            plant.play(Exit::IsSilent, false);
        }
        for topic in &plant.published {
            let of_device = ["devices/d1/answers", "devices/d2/answers", "clients/", "progress/"];
            let of_config = ["plans/r1", "alerts/d1"].contains(&&**topic);
            let allowed = of_config || of_device.iter().any(|it| topic.starts_with(it));
            prop_assert!(allowed, "{topic}");
        }
        let open: Vec<_> = plant.deliveries.iter().filter(|(_, done)| !**done).collect();
        prop_assert!(open.is_empty(), "{open:?}");
        let now = plant.rig.now();
        plant.rig.worker.shutdown_within(now, Duration::from_secs(10));
        plant.rig.turn(plant.mqtt, |_| {});
        plant.play(Exit::IsSilent, false);
        plant.rig.assert_idle();
    }
}

/// A command that was executed is answered as before when it comes again, whatever the clocks say by then.
#[test]
fn a_command_that_comes_again_is_not_refused_for_its_time() {
    let mut plant = Plant::new();
    let clock_shows = |plant: &mut Plant, seconds: u64| {
        let wall = WallTime::from_unix_millis(seconds * 1_000);
        let now = plant.rig.now();
        plant.rig.worker.set_wall_clock(now, wall);
    };
    let sent = |correlation: u8, timestamp| Sent {
        topic: "lines/7/check",
        payload: br#"{"x":1}"#.to_vec(),
        reply: Some("clients/a".to_owned()),
        correlation: Some(vec![correlation; 16]),
        expiry: 60,
        timestamp: Some(timestamp),
        retained: false,
        exit: Exit::Answers,
        refuses: false,
    };
    clock_shows(&mut plant, 10_000);
    plant.send(&sent(1, "10000000:0:other"));
    clock_shows(&mut plant, 1_000);
    plant.send(&sent(1, "10000000:0:other"));
    plant.send(&sent(2, "10000000:0:other"));
    plant.send(&sent(3, "1000000:0:other"));
    assert_eq!(plant.statuses, ["200", "200", "503", "200"]);
}
