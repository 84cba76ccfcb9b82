//! Generates the JSON Schema of the config, for editors and other tools.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use tidegate_options::Guarded;

use crate::attachment::Attachment;
use crate::exporters::EXPORTERS;
use crate::guards::GUARDS;
use crate::registry::{Exits, Kinds, Registry, Routing, Shape};
use crate::shorthand::{KIND as CHAINED, Shorthand};

/// The JSON Schema (draft 2020-12) of a config with the kinds of a registry.
pub fn schema<F>(registry: &Registry<F>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let kinds = registry.kinds();
    let kinds: Vec<Value> = kinds
        .iter()
        .map(|shape| one_of(shape, &kinds, &mut generator))
        .collect();
    let guards = GUARDS.schema(registry.guards(), &mut generator);
    let exporters = EXPORTERS.schema(registry.exporters(), &mut generator);
    let definitions: Map<String, Value> = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate config",
        "type": "object",
        "required": ["name", "bindings"],
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "description": "Name of the deployment, shown in logs." },
            "workers": {
                "type": "integer", "minimum": 1, "maximum": u16::MAX,
                "description": "Number of workers, each a thread with its own event loop. Absent: one for each core.",
            },
            "shutdownTimeout": {
                "type": "integer", "minimum": 0, "default": 10000,
                "description": "How long a stop waits for requests in progress, in milliseconds. Requests still open then are aborted.",
            },
            "guards": guards,
            "bindings": {
                "type": "object",
                "description": "The bindings by name. A name has letters, digits, `_` and `-`, and starts with a letter.",
                "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
                "additionalProperties": { "oneOf": kinds },
            },
            "telemetry": {
                "type": "object",
                "description": "Records of what happens.",
                "additionalProperties": false,
                "properties": { "exporters": exporters },
            },
        },
        "$defs": definitions,
    })
}

fn one_of(shape: &Shape, kinds: &Kinds, generator: &mut SchemaGenerator) -> Value {
    let options = (shape.schema)(generator).to_value();
    if let Some(preset) = &shape.preset {
        let names: Vec<&str> = preset.names().collect();
        let property = json!({ "type": "string", "enum": names, "description": preset.about });
        add_options(&options, [(preset.key.to_owned(), property)], generator);
    }
    for shorthand in shape.shorthands {
        add_shorthand(&options, shorthand, kinds, generator);
    }
    if let Some(attachment) = &shape.attachment {
        add_attachment(&options, attachment, kinds, generator);
    }
    let exit =
        json!({ "type": "string", "description": "Name of the binding that accepts the streams." });
    let mut properties = Map::new();
    properties.insert("type".to_owned(), json!({ "const": shape.r#type }));
    properties.insert("kind".to_owned(), json!({ "const": shape.kind }));
    properties.insert("options".to_owned(), options);
    let mut rule = Map::new();
    let mut set = |key: &str, value: Value| rule.insert(key.to_owned(), value);
    set("title", json!(shape.title()));
    set("description", json!(shape.about));
    set("type", json!("object"));
    set("additionalProperties", json!(false));
    let mut required = vec!["type", "kind"];
    match shape.exits {
        Exits::None => {}
        Exits::One(_) | Exits::Any(_) => {
            let mut exits = vec![json!({ "required": ["exit"] })];
            if let Some(routing) = shape.routing {
                let needs_exit = shape.shorthands.is_empty();
                let routes = routes(routing, &exit, needs_exit, generator);
                properties.insert("routes".to_owned(), routes);
                exits.push(json!({ "required": ["routes"] }));
            }
            for shorthand in shape.shorthands {
                let options = json!({ "type": "object", "required": [shorthand.key] });
                exits
                    .push(json!({ "required": ["options"], "properties": { "options": options } }));
            }
            if exits.len() == 1 {
                required.push("exit");
            } else if shape.shorthands.is_empty() {
                set("oneOf", json!(exits));
            } else {
                // Routes may lead to what a shorthand stands for.
                set("anyOf", json!(exits));
            }
            properties.insert("exit".to_owned(), exit);
        }
        Exits::Named(_) => {
            properties.insert("exits".to_owned(), named(shape));
            required.push("exits");
            if let Some(routing) = shape.routing {
                let routes = routes(routing, &exit, false, generator);
                properties.insert("routes".to_owned(), routes);
                required.push("routes");
            }
        }
    }
    set("required", json!(required));
    set("properties", Value::Object(properties));
    Value::Object(rule)
}

fn named(shape: &Shape) -> Value {
    let names: Vec<&str> = shape.exits.iter().map(|(name, _)| name).collect();
    let attachment = shape.attachment.iter().map(|it| (it.key, it.protocol));
    let exits = shape.exits.iter().chain(attachment);
    let exits = exits.map(|(name, protocol)| {
        let description = format!(
            "Name of the binding that accepts the {} streams.",
            protocol.word()
        );
        let exit = json!({ "type": "string", "description": description });
        (name.to_owned(), exit)
    });
    json!({
        "type": "object", "required": names, "additionalProperties": false,
        "properties": exits.collect::<Map<String, Value>>(),
    })
}

/// Adds the option of a shorthand, and those of the bindings it stands for, to the definition of the
/// options.
fn add_shorthand(
    options: &Value,
    shorthand: &Shorthand,
    kinds: &Kinds,
    generator: &mut SchemaGenerator,
) {
    let mut added = Map::new();
    added.insert(
        shorthand.key.to_owned(),
        json!({ "type": "string", "description": shorthand.about }),
    );
    for link in shorthand.links {
        let Some(shape) = kinds.find(link, CHAINED) else {
            continue;
        };
        let description = format!(
            "Options of the {} that `{}` stands for.",
            shape.title(),
            shorthand.key
        );
        let options = (shape.schema)(generator).to_value();
        let schema = json!({ "type": "object", "description": description, "allOf": [options] });
        added.insert((*link).to_owned(), schema);
    }
    add_options(options, added, generator);
}

/// Adds the option of an attachment to the definition of the options.
fn add_attachment(
    options: &Value,
    attachment: &Attachment,
    kinds: &Kinds,
    generator: &mut SchemaGenerator,
) {
    let Some(shape) = kinds.find(attachment.r#type, attachment.kind) else {
        return;
    };
    let mut schema = (shape.schema)(generator).to_value();
    if let Some(members) = schema.as_object_mut() {
        let (option, value) = attachment.example;
        members.insert("description".to_owned(), json!(attachment.about));
        members.insert("examples".to_owned(), json!([{ option: value }]));
    }
    add_options(options, [(attachment.key.to_owned(), schema)], generator);
}

/// Adds properties to the definition of the options.
fn add_options(
    options: &Value,
    added: impl IntoIterator<Item = (String, Value)>,
    generator: &mut SchemaGenerator,
) {
    let definition = options.get("$ref").and_then(Value::as_str);
    let definition = definition.and_then(|reference| reference.rsplit('/').next());
    let definition = definition.and_then(|name| generator.definitions_mut().get_mut(name));
    let properties = definition.and_then(|it| it.get_mut("properties"));
    if let Some(properties) = properties.and_then(Value::as_object_mut) {
        properties.extend(added);
    }
}

fn routes(
    routing: Routing,
    exit: &Value,
    needs_exit: bool,
    generator: &mut SchemaGenerator,
) -> Value {
    let condition = (routing.schema)(generator).to_value();
    let guarded = generator.subschema_for::<Guarded>().to_value();
    let mut when = json!({ "type": "array", "items": condition });
    if routing.max != usize::MAX
        && let Some(when) = when.as_object_mut()
    {
        when.insert("maxItems".to_owned(), json!(routing.max));
    }
    if let Some(actions) = routing.actions {
        let with = (actions.schema)(generator).to_value();
        return json!({
            "type": "array",
            "items": {
                "type": "object", "required": ["when", "with"], "additionalProperties": false,
                "properties": { "when": when, "with": with },
            },
        });
    }
    let required: &[&str] = if needs_exit { &["exit"] } else { &[] };
    json!({
        "type": "array",
        "items": {
            "type": "object", "required": required, "additionalProperties": false,
            "properties": { "when": when, "guarded": guarded, "exit": exit },
        },
    })
}
