//! The list operations, and what there is nothing of.

use serde_json::json;
use tidegate_streams::mcp::{
    McpCompletionComplete, McpPromptsGet, McpPromptsList, McpResetKind, McpResourcesList,
    McpResourcesTemplatesList, McpToolsList,
};

use super::*;

fn list(house: &mut House, begin: impl Into<BeginEx>) -> serde_json::Value {
    let call = house.open(begin);
    house.say(call, Frame::data(Bytes::from_static(b"{}")));
    let answered = house.answer(call);
    assert_eq!(answered.end, McpEnd::default());
    answered.json
}

#[test]
fn tools_have_the_schemas_of_the_specification() {
    let mut house = house("{}");
    let tools = list(&mut house, McpToolsList::default());
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(2));
    let (publish, receive) = (&tools["tools"][0], &tools["tools"][1]);
    assert_eq!(
        (&publish["name"], &receive["name"]),
        (&json!("publish"), &json!("receive"))
    );
    let properties = &publish["inputSchema"]["properties"];
    assert_eq!(publish["inputSchema"]["type"], "object");
    assert_eq!(
        publish["inputSchema"]["required"],
        json!(["topic", "payload"])
    );
    assert_eq!(
        properties["topic"],
        json!({"type": "string", "description": "MQTT topic to publish to"})
    );
    assert_eq!(
        properties["payload"],
        json!({"type": "string", "description": "Message payload"})
    );
    assert_eq!(
        properties["qos"],
        json!({"type": "integer", "enum": [0, 1, 2], "default": 0})
    );
    assert_eq!(
        properties["retain"],
        json!({"type": "boolean", "default": false})
    );
    assert_eq!(properties["encoding"]["enum"], json!(["text", "base64"]));
    assert_eq!(properties.as_object().map(serde_json::Map::len), Some(5));
    let properties = &receive["inputSchema"]["properties"];
    assert_eq!(receive["inputSchema"]["required"], json!(["topic"]));
    assert_eq!(
        properties["topic"],
        json!({"type": "string", "description": "MQTT topic filter — supports + and # wildcards"})
    );
    assert_eq!(
        properties["limit"],
        json!({"type": "integer", "description": "Maximum number of messages to receive", "default": 10})
    );
    assert_eq!(properties["timeout"]["default"], 5_000);
    assert_eq!(properties.as_object().map(serde_json::Map::len), Some(3));
    let output = &receive["outputSchema"];
    assert_eq!(
        (&output["type"], &output["required"]),
        (&json!("object"), &json!(["messages"]))
    );
    assert_eq!(publish["annotations"]["readOnlyHint"], false);
    assert_eq!(receive["annotations"]["readOnlyHint"], true);
    assert!(publish["title"].is_string() && receive["description"].is_string());
    house.rig.assert_idle();
}

#[test]
fn tools_tell_the_options() {
    let mut house = house(r#"{"topicHeader":true,"receiveLimit":7,"receiveTimeout":250}"#);
    let tools = list(&mut house, McpToolsList::default());
    for tool in tools["tools"].as_array().expect("tools") {
        assert_eq!(
            tool["inputSchema"]["properties"]["topic"]["x-mcp-header"],
            "Topic"
        );
    }
    let properties = &tools["tools"][1]["inputSchema"]["properties"];
    assert_eq!(properties["limit"]["default"], 7);
    assert_eq!(properties["timeout"]["default"], 250);
    house.rig.assert_idle();
}

#[test]
fn patterns_are_templates_and_topics_are_resources() {
    let mut house = house(r#"{"subscribe":["sensors/temperature/+","a/\"b\"","c/#"]}"#);
    let pairs = |list: &serde_json::Value, key: &str| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let items = list.as_array().expect("a list").iter();
        items
            .map(|item| (text(&item[key]), text(&item["name"])))
            .collect()
    };
    let pair = |topic: &str| (format!("mqtt://{topic}"), topic.to_owned());
    let all = vec![pair("sensors/temperature/+"), pair("a/\"b\""), pair("c/#")];
    let resources = list(&mut house, McpResourcesList::default());
    assert_eq!(pairs(&resources["resourceTemplates"], "uriTemplate"), all);
    assert_eq!(pairs(&resources["resources"], "uri"), [pair("a/\"b\"")]);
    let templates = list(&mut house, McpResourcesTemplatesList::default());
    assert_eq!(pairs(&templates["resourceTemplates"], "uriTemplate"), all);
    assert!(templates.get("resources").is_none());
    house.rig.assert_idle();
}

#[test]
fn without_patterns_the_lists_are_empty() {
    let mut house = house("{}");
    let resources = list(&mut house, McpResourcesList::default());
    assert_eq!(resources, json!({"resources": [], "resourceTemplates": []}));
    let templates = list(&mut house, McpResourcesTemplatesList::default());
    assert_eq!(templates, json!({"resourceTemplates": []}));
    house.rig.assert_idle();
}

#[test]
fn there_are_no_prompts_and_nothing_to_complete() {
    let mut house = house("{}");
    for begin in [
        BeginEx::from(McpPromptsList::default()),
        McpPromptsGet::default().into(),
        McpCompletionComplete::default().into(),
    ] {
        let call = house.open(begin);
        assert_eq!(house.refusal(call).kind, McpResetKind::NotFound);
    }
    // A stream of another protocol.
    let call = house.open(MqttPublish::default());
    let expected = [Frame::reset(), Frame::abort()];
    assert_eq!(house.rig.frames(house.caller, call), expected);
    house.rig.assert_idle();
}

#[test]
fn a_list_longer_than_the_window_is_sent_without_a_copy_as_credit_comes() {
    let mut house = house_of_windows("{}", 200, MIB);
    let call = house.open(McpToolsList::default());
    let mut frames = house.rig.frames(house.caller, call);
    while !matches!(frames.last(), Some(Frame::End(_))) {
        house.rig.turn(house.caller, |cx| cx.acknowledge(call, 200));
        let more = house.rig.frames(house.caller, call);
        assert!(!more.is_empty());
        frames.extend(more);
    }
    assert!(answer_in(&frames).json["tools"].is_array());
    house.say(call, Frame::end());
    house.rig.assert_idle();
}
