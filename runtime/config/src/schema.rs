//! The config's JSON Schema, for editors and other tools.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::registry::{Descriptor, Onward, Registry};

/// The schema of a config with the bindings of a registry (draft 2020-12).
pub fn schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let kinds: Vec<Value> = registry
        .iter()
        .map(|descriptor| one_of(descriptor, &mut generator))
        .collect();
    let definitions: Map<String, Value> = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate config",
        "type": "object",
        "required": ["name", "bindings"],
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "description": "What the deployment is called." },
            "workers": {
                "type": "integer", "minimum": 1, "maximum": u16::MAX,
                "description": "How many workers; one for each core unless given.",
            },
            "shutdownTimeout": {
                "type": "integer", "minimum": 0, "default": 10000,
                "description": "How long a stop waits for what is under way, in milliseconds.",
            },
            "bindings": {
                "type": "object",
                "description": "The bindings, by name.",
                "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
                "additionalProperties": { "oneOf": kinds },
            },
        },
        "$defs": definitions,
    })
}

fn one_of(descriptor: &Descriptor, generator: &mut SchemaGenerator) -> Value {
    let options = (descriptor.schema)(generator);
    let exit = json!({ "type": "string", "description": "The binding that takes the streams." });
    let mut properties = Map::new();
    properties.insert("type".to_owned(), json!({ "const": descriptor.r#type }));
    properties.insert("kind".to_owned(), json!({ "const": descriptor.kind }));
    properties.insert("options".to_owned(), options.to_value());
    let mut rule = Map::new();
    let mut say = |key: &str, value: Value| rule.insert(key.to_owned(), value);
    say("title", json!(descriptor.title()));
    say("description", json!(descriptor.about));
    say("type", json!("object"));
    say("additionalProperties", json!(false));
    say("required", json!(["type", "kind"]));
    match descriptor.onward {
        Onward::Nowhere => {}
        Onward::Exit => {
            properties.insert("exit".to_owned(), exit);
            say("required", json!(["type", "kind", "exit"]));
        }
        Onward::ExitOrRoutes => {
            properties.insert("routes".to_owned(), routes(&exit));
            properties.insert("exit".to_owned(), exit);
            say(
                "oneOf",
                json!([{ "required": ["exit"] }, { "required": ["routes"] }]),
            );
        }
    }
    say("properties", Value::Object(properties));
    Value::Object(rule)
}

fn routes(exit: &Value) -> Value {
    let toolkit = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
    let condition = json!({
        "type": "object", "required": ["toolkit"], "additionalProperties": false,
        "properties": { "toolkit": toolkit },
    });
    json!({
        "type": "array",
        "items": {
            "type": "object", "required": ["exit"], "additionalProperties": false,
            "properties": {
                "when": { "type": "array", "maxItems": 1, "items": condition },
                "exit": exit,
            },
        },
    })
}
