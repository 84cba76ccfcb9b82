//! Tools that ask the client for something.
//!
//! The suite has two kinds. Those of 2025-11-25 ask while they run. Those of 2026-07-28 may ask in
//! either way that the vocabulary has, so that the suite sees both: where it prescribes the key of an
//! input, or repeats a request without a state, the tool ends with `input_required` itself; elsewhere it
//! challenges, and `mcp · server` makes `input_required` and the state of it.

use serde_json::{Value, json};
use tidegate_streams::mcp::{McpAnswer, McpCapabilities, McpReset};

use crate::plan::{Call, Plan, Reply, Step, reply, text};

const ELICIT: &str = "elicitation/create";
const SAMPLE: &str = "sampling/createMessage";
const ROOTS: &str = "roots/list";

/// Parameters of an elicitation of one required member.
fn form(message: &str, member: &str, r#type: &str) -> Value {
    json!({
        "message": message,
        "requestedSchema": {
            "type": "object",
            "properties": { member: { "type": r#type } },
            "required": [member],
        },
    })
}

fn question(text: &str, max_tokens: u32) -> Value {
    let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
    json!({ "messages": [message], "maxTokens": max_tokens })
}

/// Asks for one thing, and replies with the answer.
fn ask(method: &'static str, params: Value, answer: fn(&Call) -> Reply) -> Plan {
    Plan::from([Step::Ask(vec![(method, params)]), Step::Reply(answer)])
}

/// The plan of a tool that asks; `None` for another tool.
pub(crate) fn plan(name: &str, call: &Call) -> Option<Plan> {
    Some(match name {
        "test_sampling" => ask(SAMPLE, question(call.argument("prompt"), 100), sampled),
        "test_elicitation" => {
            let message = call.argument("message");
            ask(ELICIT, form(message, "response", "string"), elicited)
        }
        "test_elicitation_sep1034_defaults" => ask(ELICIT, defaults(), elicited),
        "test_elicitation_sep1330_enums" => ask(ELICIT, enums(), elicited),
        "test_missing_capability" => reply(|call| {
            let needed = McpCapabilities::CLIENT_SAMPLING;
            if call.capabilities.contains(needed) {
                return Reply::Result(text("Success"));
            }
            Reply::Refused(McpReset::missing_capability(needed))
        }),
        "test_input_required_result_elicitation" => reply(name_of_user),
        "test_input_required_result_sampling" => {
            let params = question("What is the capital of France?", 100);
            ask(SAMPLE, params, sampled)
        }
        "test_input_required_result_list_roots" => ask(ROOTS, json!({}), |call| {
            let roots = call.answers.first().map(|it| it.content["roots"].clone());
            let roots = roots.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
            Reply::Result(text(format!("Found {roots} root(s)")))
        }),
        "test_input_required_result_request_state" => {
            let params = form("Please confirm", "ok", "boolean");
            ask(ELICIT, params, |_| Reply::Result(text("state-ok")))
        }
        "test_input_required_result_tampered_state" => {
            let params = form("Please confirm", "ok", "boolean");
            ask(ELICIT, params, |_| Reply::Result(text("integrity-ok")))
        }
        "test_input_required_result_multiple_inputs" => Plan::from([
            Step::Ask(vec![
                (ELICIT, form("What is your name?", "name", "string")),
                (SAMPLE, question("Generate a greeting", 50)),
                (ROOTS, json!({})),
            ]),
            Step::Reply(|call| Reply::Result(text(format!("{} inputs", call.answers.len())))),
        ]),
        "test_input_required_result_multi_round" => Plan::from([
            Step::Ask(vec![(
                ELICIT,
                form("Step 1: What is your name?", "name", "string"),
            )]),
            Step::Ask(vec![(
                ELICIT,
                form("Step 2: What is your favorite color?", "color", "string"),
            )]),
            Step::Reply(|call| {
                let member = |at: usize, name: &str| -> String {
                    let answer = call.answers.get(at);
                    let value = answer.map(|it| it.content["content"][name].to_string());
                    value.unwrap_or_default()
                };
                let (name, color) = (member(0, "name"), member(1, "color"));
                Reply::Result(text(format!("{name} likes {color}")))
            }),
        ]),
        "test_input_required_result_capabilities" => capabilities(call),
        "test_streaming_elicitation" => {
            let params = form("Go on?", "ok", "boolean");
            let mut plan = ask(ELICIT, params, elicited);
            plan.push_front(Step::Progress(50));
            plan
        }
        _ => return None,
    })
}

/// The prompt that asks.
pub(crate) fn prompt(call: &Call) -> Reply {
    let input = call.inputs().get("user_context");
    let Some(input) = input.filter(|input| input.is_object()) else {
        let params = form("What context should the prompt use?", "context", "string");
        return required("user_context", ELICIT, &params);
    };
    let text = format!("Prompt with context: {}", input["content"]["context"]);
    Reply::Result(json!({
        "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
    }))
}

fn name_of_user(call: &Call) -> Reply {
    let input = call.inputs().get("user_name");
    let Some(input) = input.filter(|input| input.is_object()) else {
        let params = form("What is your name?", "name", "string");
        return required("user_name", ELICIT, &params);
    };
    let name = input["content"]["name"].as_str().unwrap_or("unknown");
    Reply::Result(text(format!("Hello, {name}!")))
}

fn required(key: &str, method: &str, params: &Value) -> Reply {
    Reply::InputRequired(json!({
        "inputRequests": { key: { "method": method, "params": params } },
    }))
}

/// Asks for what the client declares.
fn capabilities(call: &Call) -> Plan {
    type C = McpCapabilities;
    let mut asked = Vec::new();
    if call.capabilities.contains(C::CLIENT_ELICITATION_FORM) {
        asked.push((ELICIT, form("Elicitation input", "value", "string")));
    }
    if call.capabilities.contains(C::CLIENT_SAMPLING) {
        asked.push((SAMPLE, question("Sample request", 50)));
    }
    if asked.is_empty() {
        return reply(|_| Reply::Result(text("No supported capabilities declared")));
    }
    Plan::from([
        Step::Ask(asked),
        Step::Reply(|_| Reply::Result(text("capabilities-ok"))),
    ])
}

fn error(why: &str) -> Reply {
    let mut result = text(why);
    result["isError"] = json!(true);
    Reply::Error(result)
}

fn sampled(call: &Call) -> Reply {
    let Some(answer) = call.answers.first() else {
        return error("No answer");
    };
    if answer.how != McpAnswer::Result {
        return error(answer.content["message"].as_str().unwrap_or("No answer"));
    }
    let sampled = answer.content["content"]["text"].as_str();
    let sampled = sampled.unwrap_or("No response");
    Reply::Result(text(format!("LLM response: {sampled}")))
}

fn elicited(call: &Call) -> Reply {
    let Some(answer) = call.answers.first() else {
        return error("No answer");
    };
    if answer.how != McpAnswer::Result {
        return error(answer.content["message"].as_str().unwrap_or("No answer"));
    }
    let action = answer.content["action"].as_str().unwrap_or_default();
    let content = match &answer.content["content"] {
        Value::Null => json!({}),
        content => content.clone(),
    };
    Reply::Result(text(format!(
        "Elicitation completed: action={action}, content={content}"
    )))
}

/// A form with a default of each primitive type (SEP-1034).
fn defaults() -> Value {
    json!({
        "message": "Please review and update the form fields with defaults",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "description": "User name", "default": "John Doe" },
                "age": { "type": "integer", "description": "User age", "default": 30 },
                "score": { "type": "number", "description": "User score", "default": 95.5 },
                "status": {
                    "type": "string",
                    "description": "User status",
                    "enum": ["active", "inactive", "pending"],
                    "default": "active",
                },
                "verified": {
                    "type": "boolean",
                    "description": "Verification status",
                    "default": true,
                },
            },
            "required": [],
        },
    })
}

/// A form with each way to choose from a list (SEP-1330).
fn enums() -> Value {
    let options = json!(["option1", "option2", "option3"]);
    let titled = |what: &str| {
        json!([
            { "const": "value1", "title": format!("First {what}") },
            { "const": "value2", "title": format!("Second {what}") },
            { "const": "value3", "title": format!("Third {what}") },
        ])
    };
    json!({
        "message": "Please select options from the enum fields",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "untitledSingle": {
                    "type": "string",
                    "description": "Select one option",
                    "enum": options,
                },
                "titledSingle": {
                    "type": "string",
                    "description": "Select one option with titles",
                    "oneOf": titled("Option"),
                },
                "legacyEnum": {
                    "type": "string",
                    "description": "Select one option (legacy)",
                    "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"],
                },
                "untitledMulti": {
                    "type": "array",
                    "description": "Select multiple options",
                    "minItems": 1,
                    "maxItems": 3,
                    "items": { "type": "string", "enum": options },
                },
                "titledMulti": {
                    "type": "array",
                    "description": "Select multiple options with titles",
                    "minItems": 1,
                    "maxItems": 3,
                    "items": { "anyOf": titled("Choice") },
                },
            },
            "required": [],
        },
    })
}
