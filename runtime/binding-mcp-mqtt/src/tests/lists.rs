//! The list operations, and the operations that are not supported.

use serde_json::json;
use tidegate_streams::mcp::{
    McpCompletionComplete, McpPromptsGet, McpPromptsList, McpResetKind, McpResourcesList,
    McpResourcesTemplatesList, McpToolsList,
};

use super::*;

fn list(harness: &mut Harness, begin: impl Into<BeginEx>) -> serde_json::Value {
    let call = harness.open(begin);
    harness.send(call, Frame::data(Bytes::from_static(b"{}")));
    let answered = harness.answer(call);
    assert_eq!(answered.end, McpEnd::default());
    answered.json
}

#[test]
fn tools_have_the_schemas_of_the_specification() {
    let mut harness = harness("{}");
    let tools = list(&mut harness, McpToolsList::default());
    let all = tools["tools"].as_array().expect("tools");
    let names: Vec<&serde_json::Value> = all.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(
        json!(names),
        json!(["publish", "receive", "read", "query", "list_topics"])
    );
    for tool in all {
        assert_eq!(tool["inputSchema"]["type"], "object");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        assert_eq!(tool["outputSchema"]["type"], "object");
        assert!(tool["title"].is_string() && tool["description"].is_string());
        for schema in ["inputSchema", "outputSchema"] {
            assert!(jsonschema::meta::is_valid(&tool[schema]));
        }
    }
    let (publish, receive) = (&all[0], &all[1]);
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
        json!({
            "type": "integer",
            "description": "Maximum number of messages to receive",
            "minimum": 1,
            "maximum": 1_000,
            "default": 10,
        })
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
    harness.rig.assert_idle();
}

#[test]
fn tool_descriptions_follow_the_options() {
    let mut harness = harness(r#"{"topicHeader":true,"receiveLimit":7,"receiveTimeout":250}"#);
    let tools = list(&mut harness, McpToolsList::default());
    let all = tools["tools"].as_array().expect("tools");
    for tool in all.iter().filter(|it| it["name"] != "list_topics") {
        assert_eq!(
            tool["inputSchema"]["properties"]["topic"]["x-mcp-header"],
            "Topic"
        );
    }
    let properties = &tools["tools"][1]["inputSchema"]["properties"];
    assert_eq!(properties["limit"]["default"], 7);
    assert_eq!(properties["timeout"]["default"], 250);
    harness.rig.assert_idle();
}

#[test]
fn patterns_are_templates_and_patterns_without_wildcards_are_resources() {
    let mut harness = harness(r#"{"subscribe":["sensors/temperature/+","a/\"b\"","c/#"]}"#);
    let pairs = |list: &serde_json::Value, key: &str| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let items = list.as_array().expect("a list").iter();
        items
            .map(|item| (text(&item[key]), text(&item["name"])))
            .collect()
    };
    let pair = |topic: &str| (format!("mqtt://{topic}"), topic.to_owned());
    let all = vec![pair("sensors/temperature/+"), pair("a/\"b\""), pair("c/#")];
    let resources = list(&mut harness, McpResourcesList::default());
    assert_eq!(pairs(&resources["resourceTemplates"], "uriTemplate"), all);
    assert_eq!(pairs(&resources["resources"], "uri"), [pair("a/\"b\"")]);
    let templates = list(&mut harness, McpResourcesTemplatesList::default());
    assert_eq!(pairs(&templates["resourceTemplates"], "uriTemplate"), all);
    assert!(templates.get("resources").is_none());
    harness.rig.assert_idle();
}

#[test]
fn without_patterns_the_lists_are_empty() {
    let mut harness = harness("{}");
    let resources = list(&mut harness, McpResourcesList::default());
    assert_eq!(resources, json!({"resources": [], "resourceTemplates": []}));
    let templates = list(&mut harness, McpResourcesTemplatesList::default());
    assert_eq!(templates, json!({"resourceTemplates": []}));
    harness.rig.assert_idle();
}

#[test]
fn prompts_and_completion_are_not_supported() {
    let mut harness = harness("{}");
    for begin in [
        BeginEx::from(McpPromptsList::default()),
        McpPromptsGet::default().into(),
        McpCompletionComplete::default().into(),
    ] {
        let call = harness.open(begin);
        assert_eq!(harness.refusal(call).kind, McpResetKind::NotFound);
    }
    // A stream of another protocol.
    let call = harness.open(MqttPublish::default());
    let expected = [Frame::reset(), Frame::abort()];
    assert_eq!(harness.rig.frames(harness.caller, call), expected);
    harness.rig.assert_idle();
}

#[test]
fn a_list_longer_than_the_window_is_sent_without_a_copy_as_credit_is_granted() {
    let mut harness = harness_with_windows("{}", 200, MIB);
    let call = harness.open(McpToolsList::default());
    let mut frames = harness.rig.frames(harness.caller, call);
    while !matches!(frames.last(), Some(Frame::End(_))) {
        harness
            .rig
            .turn(harness.caller, |cx| cx.acknowledge(call, 200));
        let more = harness.rig.frames(harness.caller, call);
        assert!(!more.is_empty());
        frames.extend(more);
    }
    assert!(answer_in(&frames).json["tools"].is_array());
    harness.send(call, Frame::end());
    harness.rig.assert_idle();
}

#[test]
fn the_topics_in_a_description_are_bounded() {
    let described = "x".repeat(100);
    let topics: Vec<serde_json::Value> = (0..100)
        .map(|number| json!({"pattern": format!("t/{number}"), "permissions": ["read"], "description": described}))
        .collect();
    for (tools, next) in [
        (json!(["receive"]), "\n82 more."),
        (
            json!(["receive", "list_topics"]),
            "\n82 more; call list_topics for all of them.",
        ),
    ] {
        let options = json!({ "topics": topics, "tools": tools });
        let mut harness = harness(&options.to_string());
        let tools = list(&mut harness, McpToolsList::default());
        let description = tools["tools"][0]["description"].as_str().expect("text");
        assert!(description.ends_with(next), "{description}");
        assert!(description.contains("\n- t/17: x") && !description.contains("\n- t/18: "));
        assert!(description.len() < 2_048 + 250, "{}", description.len());
    }
}

#[test]
fn list_topics_has_pages() {
    let patterns: Vec<String> = (0..250).map(|number| format!("t/{number}")).collect();
    for (bytes, first) in [(1 << 20, 100), (1_024, 7)] {
        let options = json!({ "subscribe": patterns, "publish": [], "receiveBytes": bytes });
        let mut harness = harness(&options.to_string());
        let mut listed: Vec<serde_json::Value> = Vec::new();
        let mut arguments = json!({});
        loop {
            let call = harness.call("list_topics", &arguments.to_string());
            let answered = harness.answer(call);
            let result = &answered.json["structuredContent"];
            let text = answered.json["content"][0]["text"].as_str().expect("text");
            assert_eq!(
                &serde_json::from_str::<serde_json::Value>(text).expect("JSON"),
                result
            );
            let page = result["topics"].as_array().expect("topics");
            let size = if listed.is_empty() { page.len() } else { first };
            assert_eq!(size, first);
            listed.extend_from_slice(page);
            let Some(next) = result.get("nextCursor") else {
                break;
            };
            arguments = json!({ "cursor": next });
        }
        let listed: Vec<&str> = listed
            .iter()
            .filter_map(|it| it["pattern"].as_str())
            .collect();
        assert_eq!(listed, patterns);
        harness.rig.assert_idle();
    }
}
