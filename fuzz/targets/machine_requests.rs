//! Any messages as requests of machines, plain ones and commands of Azure IoT Operations, and any bytes as the results
//! and the progress of the tools that they call: nothing panics, only allowed tools are called, what is published goes
//! to topics that the config names or allows, and a command is never answered without a status.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tidegate_binding_mqtt_mcp::{Condition, MqttMcp, Options, With};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, StreamId};
use tidegate_options::ActionRoute;
use tidegate_streams::mcp::{McpBeginEx, McpProgress, McpToolsCall};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttPublish, MqttSubscribe, MqttSubscribeData, MqttUserProperty,
};
use tidegate_streams::{BeginEx, DataEx, DataFlags, Frame};

const WINDOW: u32 = 1 << 20;
const TOPICS: [&str; 4] = ["devices/d1/call", "lines/7/check", "orders/r1", "levels/r1/oat"];
const KEYS: [&str; 6] = ["__ts", "__protVer", "__srcId", "$partition", "traceparent", "size"];

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
    ]);
    let routes = routes.as_array().unwrap().iter().map(|route| ActionRoute {
        when: serde_json::from_value(route["when"].clone()).unwrap(),
        with: serde_json::from_value(route["with"].clone()).unwrap(),
    });
    routes.collect()
}

fn may_be_published_to(topic: &str) -> bool {
    topic.starts_with("devices/d1/answers/")
        || topic.starts_with("clients/")
        || ["devices/d1/progress", "plans/r1", "alerts/r1"].contains(&topic)
}

/// The binding between a broker and an MCP exit that are played.
struct Plant {
    rig: Rig,
    mqtt: BindingId,
    mcp: BindingId,
    subscription: Option<StreamId>,
    /// Topics of publications.
    publications: BTreeMap<StreamId, String>,
    calls: BTreeSet<StreamId>,
}

impl Plant {
    fn new() -> Self {
        let options = json!({
            "replyTopics": ["devices/{device}/answers/#", "clients/+/lines/#"], "concurrency": 2, "perDevice": 1,
            "maxWaiting": 3, "timeout": 1000, "maxPayload": 2000, "maxResult": 2000, "maxRemembered": 4,
        });
        let options: Options = serde_json::from_value(options).unwrap();
        let mut rig = Rig::new();
        let (mqtt, mcp) = (rig.edge(WINDOW), rig.edge(WINDOW));
        rig.attach(MqttMcp::new(&options, routes(), mqtt, mcp, None));
        rig.worker.start();
        let mut plant = Self {
            rig,
            mqtt,
            mcp,
            subscription: None,
            publications: BTreeMap::new(),
            calls: BTreeSet::new(),
        };
        plant.rig.turn(mqtt, |_| {});
        plant.play();
        plant
    }

    /// Takes what the binding sends until it sends nothing more.
    fn play(&mut self) {
        loop {
            let (mqtt, mcp) = (self.rig.outputs(self.mqtt), self.rig.outputs(self.mcp));
            if mqtt.is_empty() && mcp.is_empty() {
                return;
            }
            for output in mqtt {
                self.on_mqtt(output.at.stream, output.frame);
            }
            for output in mcp {
                match output.frame {
                    Frame::Begin(begin) => {
                        let BeginEx::Mcp(McpBeginEx::ToolsCall(call)) = begin.into_inner() else {
                            panic!("only tools are called")
                        };
                        assert!(call.name.starts_with("get_"), "{}", call.name);
                        self.calls.insert(output.at.stream);
                    }
                    Frame::Data(data) => {
                        serde_json::from_slice::<serde_json::Value>(&data.payload).unwrap();
                    }
                    Frame::Abort(_) | Frame::Reset(_) => {
                        self.calls.remove(&output.at.stream);
                        self.rig.turn(self.mcp, |cx| cx.terminate(output.at.stream, None, None));
                    }
                    _ => {}
                }
            }
        }
    }

    fn on_mqtt(&mut self, stream: StreamId, frame: Frame) {
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(MqttBeginEx::Subscribe(_)) => {
                    self.subscription = Some(stream);
                    self.rig.send(self.mqtt, stream, Frame::begin(MqttSubscribe::default()));
                }
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => {
                    assert!(may_be_published_to(&publish.topic), "{}", publish.topic);
                    self.publications.insert(stream, publish.topic.to_string());
                }
                _ => {}
            },
            Frame::Data(data) => {
                let topic = self.publications.get(&stream);
                if let (Some(topic), Some(DataEx::Mqtt(MqttDataEx::Publish(publish)))) = (topic, data.extension.as_deref())
                {
                    let has = |key: &str| publish.properties.iter().any(|it| it.key == key && !it.value.is_empty());
                    // The answer to a command, or any other one.
                    assert_ne!(has("__stat"), has("status"), "{topic}");
                    assert_eq!(has("__stat"), has("__ts"), "{topic}");
                }
            }
            Frame::End(_) if self.publications.remove(&stream).is_some() => {
                self.rig.send(self.mqtt, stream, Frame::begin(MqttPublish::default()));
                self.rig.send(self.mqtt, stream, Frame::end());
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.publications.remove(&stream);
                self.rig.turn(self.mqtt, |cx| cx.terminate(stream, None, None));
            }
            _ => {}
        }
    }

    /// Answers all calls.
    fn answer(&mut self, progress: &str, result: &[u8]) {
        for stream in std::mem::take(&mut self.calls) {
            self.rig.send(self.mcp, stream, Frame::begin(McpToolsCall::default()));
            let told = McpProgress {
                progress: progress.into(),
                total: Some(progress.into()),
                message: Some(progress.into()),
            };
            self.rig.send(self.mcp, stream, Frame::flush(told));
            let data = Frame::data(Bytes::copy_from_slice(result));
            self.rig.send(self.mcp, stream, data);
            self.rig.send(self.mcp, stream, Frame::end());
        }
        self.play();
    }
}

type Message = (u8, Vec<u8>, Option<String>, Option<Vec<u8>>, Option<u16>, Vec<(u8, String)>, Option<String>);

fuzz_target!(|messages: Vec<(Message, String, Vec<u8>)>| {
    let mut plant = Plant::new();
    for ((topic, payload, reply, correlation, expiry, properties, content_type), progress, result) in messages {
        let Some(stream) = plant.subscription else {
            return;
        };
        let properties = properties.into_iter().map(|(key, value)| MqttUserProperty {
            key: KEYS[usize::from(key) % KEYS.len()].into(),
            value: value.into(),
        });
        let data = MqttSubscribeData {
            topic: TOPICS[usize::from(topic) % TOPICS.len()].into(),
            qos: 1,
            expiry_interval: expiry.map_or(-1, i64::from),
            content_type: content_type.map(Into::into),
            response_topic: reply.map(Into::into),
            correlation: correlation.map(Bytes::from),
            properties: properties.collect(),
            ..MqttSubscribeData::default()
        };
        let frame = Frame::data_with(DataFlags::WHOLE, Bytes::from(payload), data);
        plant.rig.send(plant.mqtt, stream, frame);
        plant.play();
        plant.answer(&progress, &result);
        plant.rig.advance(Duration::from_millis(300));
        plant.play();
    }
});
