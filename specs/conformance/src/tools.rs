//! The tools of the suite.

use serde_json::{Value, json};
use tidegate_streams::mcp::{McpReset, McpResetKind};

use crate::plan::{Call, List, Plan, Reply, Step, reply, text};
use crate::{content, input};

/// Name and description of each tool without parameters.
const SIMPLE: [(&str, &str); 26] = [
    ("test_simple_text", "Returns a text"),
    ("test_image_content", "Returns an image"),
    ("test_audio_content", "Returns a sound"),
    ("test_embedded_resource", "Returns a resource"),
    (
        "test_multiple_content_types",
        "Returns several kinds of content",
    ),
    ("test_tool_with_logging", "Sends log messages"),
    ("test_tool_with_progress", "Reports progress"),
    ("test_error_handling", "Fails"),
    ("test_reconnection", "Takes a while"),
    ("test_elicitation_sep1034_defaults", "Asks with defaults"),
    ("test_elicitation_sep1330_enums", "Asks with choices"),
    ("test_missing_capability", "Requires sampling"),
    ("test_streaming_elicitation", "Reports progress and asks"),
    ("test_logging_tool", "Sends a log message"),
    ("test_trigger_tool_change", "Changes the list of tools"),
    ("test_trigger_prompt_change", "Changes the list of prompts"),
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks a model"),
    ("test_input_required_result_list_roots", "Asks for roots"),
    (
        "test_input_required_result_request_state",
        "Asks, with a state",
    ),
    (
        "test_input_required_result_multiple_inputs",
        "Asks for several things",
    ),
    ("test_input_required_result_multi_round", "Asks twice"),
    (
        "test_input_required_result_tampered_state",
        "Asks, with a sealed state",
    ),
    (
        "test_input_required_result_capabilities",
        "Asks for what the client has",
    ),
    ("test_input_required_result_nothing", "Asks for nothing"),
    ("test_slow", "Takes a second"),
];

/// The list of tools.
pub(crate) fn list() -> Value {
    let parameter = |name: &str, what: &str| {
        json!({
            "type": "object",
            "properties": { name: { "type": "string", "description": what } },
            "required": [name],
        })
    };
    let simple = SIMPLE.iter().map(|(name, description)| {
        json!({
            "name": name,
            "description": description,
            "inputSchema": { "type": "object", "properties": {} },
        })
    });
    let own = [
        json!({
            "name": "test_sampling",
            "description": "Asks a model while it runs",
            "inputSchema": parameter("prompt", "The prompt to send to the model"),
        }),
        json!({
            "name": "test_elicitation",
            "description": "Asks the user while it runs",
            "inputSchema": parameter("message", "The message to show the user"),
        }),
        json!({
            "name": "test_header",
            "description": "Has a parameter that a header repeats",
            "inputSchema": {
                "type": "object",
                "properties": { "region": { "type": "string", "x-mcp-header": "Region" } },
                "required": ["region"],
            },
        }),
        json!({
            "name": "json_schema_2020_12_tool",
            "description": "Has a schema with many keywords",
            "inputSchema": schema_2020_12(),
        }),
    ];
    json!({ "tools": simple.chain(own).collect::<Vec<_>>() })
}

/// What a tool does.
pub(crate) fn plan(name: &str, call: &Call) -> Plan {
    if let Some(plan) = input::plan(name, call) {
        return plan;
    }
    match name {
        "test_simple_text" => {
            reply(|_| Reply::Result(text("This is a simple text response for testing.")))
        }
        "test_image_content" => reply(|_| Reply::Result(json!({ "content": [content::image()] }))),
        "test_audio_content" => reply(|_| Reply::Result(json!({ "content": [content::audio()] }))),
        "test_embedded_resource" => reply(|_| {
            let text = "This is an embedded resource content.";
            let resource = content::resource("test://embedded-resource", "text/plain", text);
            Reply::Result(json!({ "content": [resource] }))
        }),
        "test_multiple_content_types" => reply(|_| {
            let text = r#"{"test":"data","value":123}"#;
            let uri = "test://mixed-content-resource";
            let resource = content::resource(uri, "application/json", text);
            let first = json!({ "type": "text", "text": "Multiple content types test:" });
            Reply::Result(json!({ "content": [first, content::image(), resource] }))
        }),
        "test_tool_with_logging" | "test_logging_tool" => Plan::from([
            Step::Log("Tool execution started"),
            Step::Pause,
            Step::Log("Tool processing data"),
            Step::Pause,
            Step::Log("Tool execution completed"),
            Step::Reply(|_| Reply::Result(text("Tool with logging executed successfully"))),
        ]),
        "test_tool_with_progress" => Plan::from([
            Step::Progress(0),
            Step::Pause,
            Step::Progress(50),
            Step::Pause,
            Step::Progress(100),
            Step::Reply(|call| {
                Reply::Result(text(call.params["_meta"]["progressToken"].to_string()))
            }),
        ]),
        "test_error_handling" => reply(|_| {
            let mut result = text("This tool intentionally returns an error for testing");
            result["isError"] = json!(true);
            Reply::Error(result)
        }),
        "test_reconnection" => Plan::from([
            Step::Pause,
            Step::Pause,
            Step::Reply(|_| Reply::Result(text("Reconnection test completed"))),
        ]),
        "test_slow" => {
            let mut plan: Plan = (0..20).map(|_| Step::Pause).collect();
            plan.push_back(Step::Reply(|_| Reply::Result(text("done"))));
            plan
        }
        "test_trigger_tool_change" => Plan::from([
            Step::Changed(List::Tools),
            Step::Reply(|_| Reply::Result(text("Changed"))),
        ]),
        "test_trigger_prompt_change" => Plan::from([
            Step::Changed(List::Prompts),
            Step::Reply(|_| Reply::Result(text("Changed"))),
        ]),
        "test_input_required_result_nothing" => reply(|call| {
            if call.params["requestState"].is_string() {
                return Reply::Result(text("done"));
            }
            Reply::InputRequired(json!({ "requestState": "once more" }))
        }),
        "test_header" => reply(with_header),
        "json_schema_2020_12_tool" => {
            reply(|call| Reply::Result(text(call.params["arguments"].to_string())))
        }
        _ => reply(|call| {
            let why = format!("Unknown tool {}.", call.params["name"]);
            Reply::Refused(McpReset::new(McpResetKind::NotFound, why))
        }),
    }
}

/// The header of a parameter has to agree with it.
fn with_header(call: &Call) -> Reply {
    let header = call.headers.iter().find(|header| header.name == "region");
    let argument = &call.params["arguments"]["region"];
    let agrees = match (header, argument) {
        (None, Value::Null) => true,
        (None, _) => !call.headers_required,
        (Some(header), argument) => argument.as_str() == Some(&*header.value),
    };
    if agrees {
        return Reply::Result(text("The header agrees"));
    }
    let why = "Mcp-Param-Region contradicts the argument 'region'.";
    Reply::Refused(McpReset::new(McpResetKind::HeaderMismatch, why))
}

/// A schema whose keywords have to survive (SEP-1613, SEP-2106).
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}
