//! Limits that take more devices, or larger values, than a scenario can show.

mod approval;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::mcp::{McpResourcesList, McpToolsCall, McpToolsList};
use tidegate_streams::mqtt::{MqttPublish, MqttSubscribe, MqttSubscribeData};
use tidegate_streams::{BeginEx, DataFlags, Frame};

use crate::{McpDevice, Options};

struct Setup {
    rig: Rig,
    caller: BindingId,
    device: BindingId,
    broker: BindingId,
    feed: StreamId,
}

/// `count` lamps of the config, `lamp-000` and so on.
fn lamps(count: usize, tools: &str) -> Setup {
    let devices = (0..count).map(|number| (format!("lamp-{number:03}"), json!({ "type": "lamp" })));
    let devices: serde_json::Map<String, Value> = devices.collect();
    let options = json!({
        "address": "{device}/{action}",
        "tools": tools,
        "types": { "lamp": {
            "status": { "action": "state", "format": "text" },
            "commands": { "set": { "confirm": { "match": { "equals": "x".repeat(5_000) } } } },
        } },
        "devices": devices,
    });
    let options: Options = serde_json::from_value(options).expect("valid options");
    let mut rig = Rig::new();
    let broker = rig.edge(1 << 20);
    let device = rig.attach(McpDevice::new(&options, broker));
    let caller = rig.edge(1 << 20);
    rig.worker.start();
    rig.turn(caller, |_| ());
    let feed = rig.outputs(broker).pop().expect("a subscription").at.stream;
    rig.send(broker, feed, Frame::begin(MqttSubscribe::default()));
    Setup {
        rig,
        caller,
        device,
        broker,
        feed,
    }
}

impl Setup {
    fn open(&mut self, begin: impl Into<BeginEx>) -> StreamId {
        self.rig.open(self.caller, self.device, begin)
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> StreamId {
        let call = McpToolsCall {
            name: tool.into(),
            ..McpToolsCall::default()
        };
        let stream = self.open(call);
        let params = Bytes::from(json!({ "arguments": arguments }).to_string());
        self.rig.send(self.caller, stream, Frame::data(params));
        stream
    }

    /// The text of the result; empty if there is none yet.
    fn text(&mut self, stream: StreamId) -> String {
        let frames = self.rig.frames(self.caller, stream).into_iter();
        let parts = frames.filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.payload),
            _ => None,
        });
        let parts: Vec<Bytes> = parts.collect();
        String::from_utf8(parts.concat()).expect("text")
    }

    fn result(&mut self, stream: StreamId) -> Value {
        serde_json::from_str(&self.text(stream)).expect("a result")
    }

    fn publish(&mut self, topic: &str, payload: String) {
        let extension = MqttSubscribeData {
            topic: topic.into(),
            ..MqttSubscribeData::default()
        };
        let frame = Frame::data_with(DataFlags::WHOLE, payload.into(), extension);
        self.rig.send(self.broker, self.feed, frame);
    }
}

#[test]
fn more_sensors_than_a_call_may_follow_are_refused() {
    let arguments = json!({ "type": "lamp", "duration": 1_000 });
    let mut many = lamps(101, "generic");
    let call = many.call("subscribe_sensor", &arguments);
    let refused = many.text(call);
    assert!(refused.contains("More than 100 devices match"), "{refused}");
    let mut enough = lamps(100, "generic");
    let call = enough.call("subscribe_sensor", &arguments);
    assert_eq!(enough.text(call), "", "it is collecting");
}

#[test]
fn the_first_devices_are_listed_as_resources_and_the_template_stands_for_the_others() {
    let mut setup = lamps(501, "generic");
    let call = setup.open(McpResourcesList::default());
    let list = setup.result(call);
    let resources = list["resources"].as_array().expect("a list");
    assert_eq!(resources.len(), 500);
    assert_eq!(resources[499]["uri"], "device://lamp-499");
    assert_eq!(list["resourceTemplates"][0]["uriTemplate"], "device://{id}");
}

#[test]
fn a_typed_tool_lists_the_ids_of_up_to_100_devices() {
    for (count, listed) in [(100, Some(100)), (101, None)] {
        let mut setup = lamps(count, "typed");
        let call = setup.open(McpToolsList::default());
        let list = setup.result(call);
        let tools = list["tools"].as_array().expect("a list");
        let set = tools.iter().find(|tool| tool["name"] == "lamp_set");
        let device = &set.expect("a tool")["inputSchema"]["properties"]["device"];
        assert_eq!(device["enum"].as_array().map(Vec::len), listed);
    }
}

#[test]
fn a_large_answer_is_kept_for_repeated_calls_without_its_values() {
    let mut setup = lamps(1, "generic");
    let arguments = json!({ "device": "lamp-000", "command": "set", "requestId": "r" });
    let first = setup.call("control_device", &arguments);
    let publication = setup.rig.outputs(setup.broker);
    let publication = publication.last().expect("a publication").at.stream;
    let begin = Frame::begin(MqttPublish::default());
    setup.rig.send(setup.broker, publication, begin);
    setup.rig.send(setup.broker, publication, Frame::end());
    setup.publish("lamp-000/state", "x".repeat(5_000));
    let answer = setup.result(first);
    assert_eq!(answer["structuredContent"]["outcome"], "confirmed");
    let state = answer["structuredContent"]["after"]["status"].as_str();
    assert_eq!(state.map(str::len), Some(5_000));
    let again = setup.call("control_device", &arguments);
    let again = setup.result(again);
    assert_eq!(again["structuredContent"]["outcome"], "confirmed");
    assert!(again.to_string().len() < 4 * 1024, "{again}");
    assert!(
        setup.rig.outputs(setup.broker).is_empty(),
        "it is sent once"
    );
}
