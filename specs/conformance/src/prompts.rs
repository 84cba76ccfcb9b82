//! The prompts of the suite, and completion of their arguments.

use serde_json::{Value, json};
use tidegate_streams::mcp::{McpReset, McpResetKind};

use crate::plan::{Call, Plan, Reply, reply};
use crate::{content, input};

/// The list of prompts.
pub(crate) fn list() -> Value {
    let argument =
        |name: &str, what: &str| json!({ "name": name, "description": what, "required": true });
    json!({ "prompts": [
        { "name": "test_simple_prompt", "description": "A prompt without arguments" },
        {
            "name": "test_prompt_with_arguments",
            "description": "A prompt with two arguments",
            "arguments": [argument("arg1", "First argument"), argument("arg2", "Second argument")],
        },
        {
            "name": "test_prompt_with_embedded_resource",
            "description": "A prompt with a resource",
            "arguments": [argument("resourceUri", "URI of the resource")],
        },
        { "name": "test_prompt_with_image", "description": "A prompt with an image" },
        { "name": "test_input_required_result_prompt", "description": "A prompt that asks" },
    ] })
}

fn messages(contents: Vec<Value>) -> Reply {
    let messages = contents
        .into_iter()
        .map(|content| json!({ "role": "user", "content": content }));
    Reply::Result(json!({ "messages": messages.collect::<Vec<_>>() }))
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

/// What a prompt does.
pub(crate) fn plan(name: &str) -> Plan {
    reply(match name {
        "test_simple_prompt" => |_| messages(vec![text("This is a simple prompt for testing.")]),
        "test_prompt_with_arguments" => |call| {
            let (first, second) = (call.argument("arg1"), call.argument("arg2"));
            let filled = format!("Prompt with arguments: arg1='{first}', arg2='{second}'");
            messages(vec![text(&filled)])
        },
        "test_prompt_with_embedded_resource" => |call| {
            let uri = call.argument("resourceUri");
            let embedded = "Embedded resource content for testing.";
            messages(vec![
                content::resource(uri, "text/plain", embedded),
                text("Please process the embedded resource above."),
            ])
        },
        "test_prompt_with_image" => |_| {
            messages(vec![
                content::image(),
                text("Please analyze the image above."),
            ])
        },
        "test_input_required_result_prompt" => input::prompt,
        _ => |call| {
            let why = format!("Unknown prompt {}.", call.params["name"]);
            Reply::Refused(McpReset::new(McpResetKind::NotFound, why))
        },
    })
}

/// Completes an argument: the words of the fixtures that begin like it.
pub(crate) fn complete(call: &Call) -> Reply {
    let begin = call.params["argument"]["value"]
        .as_str()
        .unwrap_or_default();
    let values: Vec<&str> = ["paris", "park", "party"]
        .into_iter()
        .filter(|word| word.starts_with(begin))
        .collect();
    Reply::Result(json!({
        "completion": { "values": values, "total": values.len(), "hasMore": false },
    }))
}
