//! The section `guards`: types of guards, and the guards that a config declares.

use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::json;
use serde_yaml::{Mapping, Value};
use tidegate_options::Options;

use crate::check::Draft;
use crate::decode::decode_valid_part;
use crate::expression::Expressions;
use crate::fault::{Findings, suggestion};
use crate::load::{is_name, path};
use crate::model::Guard;
use crate::registry::check_options;

/// Most guards of a config.
const GUARDS_MAX: usize = 100;

/// A type of guards: its word in the config and its options.
#[derive(Debug, Clone, Copy)]
pub struct GuardType {
    pub(crate) r#type: &'static str,
    pub(crate) about: &'static str,
    /// JSON Schema of the options.
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes the options and records their faults and warnings.
    check: fn(Value, &[String], &Expressions, &mut Findings<'_>),
}

impl GuardType {
    /// A type with options of type `T`.
    pub const fn of<T: Options>(r#type: &'static str, about: &'static str) -> Self {
        Self {
            r#type,
            about,
            schema: |generator| generator.subschema_for::<T>(),
            check: |value, path, expressions, findings| {
                check_options::<T>(value, path, expressions, findings);
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuard {
    r#type: String,
    options: Option<Value>,
}

/// Reads the guards. A fault in one does not hide faults in others.
pub(crate) fn read(
    guards: &Mapping,
    types: &[GuardType],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<Guard> {
    if guards.len() > GUARDS_MAX {
        let message = format!("too many guards; the maximum is {GUARDS_MAX}");
        findings.value(&path(&["guards"]), message);
        return Vec::new();
    }
    let mut read = Vec::new();
    for (name, value) in guards {
        let Some(name) = name.as_str() else {
            findings.value(&path(&["guards"]), "a guard name must be a string");
            continue;
        };
        if !is_name(name) {
            findings.key(
                &path(&["guards", name]),
                format!("invalid guard name '{name}'"),
                Some("use letters, digits, '_' and '-', starting with a letter".to_owned()),
            );
        }
        read.extend(read_one(name, value, types, expressions, findings));
    }
    read
}

fn read_one(
    name: &str,
    value: &Value,
    types: &[GuardType],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Option<Guard> {
    let at = path(&["guards", name]);
    let raw = decode_valid_part::<RawGuard>(value.clone(), &at, expressions, findings)?;
    let Some(r#type) = types.iter().find(|it| it.r#type == raw.r#type) else {
        let known: Vec<&str> = types.iter().map(|it| it.r#type).collect();
        findings.value_with(
            &path(&["guards", name, "type"]),
            format!("unknown guard type '{}'", raw.r#type),
            suggestion(&raw.r#type, &known),
        );
        return None;
    };
    let options = raw.options.filter(|options| !options.is_null());
    let options = options.unwrap_or_else(|| Value::Mapping(Mapping::new()));
    let at_options = path(&["guards", name, "options"]);
    (r#type.check)(options.clone(), &at_options, expressions, findings);
    Some(Guard {
        name: name.to_owned(),
        r#type: raw.r#type,
        options,
        expressions: expressions.below(&at),
    })
}

/// Records a fault for each guard that a binding refers to and that is not declared. A guard that is
/// declared with faults has those.
pub(crate) fn check_references(
    declared: &[&str],
    drafts: &[Draft<'_>],
    findings: &mut Findings<'_>,
) {
    for draft in drafts {
        for reference in &draft.guards {
            if declared.contains(&reference.guard.as_str()) {
                continue;
            }
            let help = if declared.is_empty() {
                "declare it in the section 'guards' at the top level".to_owned()
            } else {
                suggestion(&reference.guard, declared)
            };
            let below = reference.path.iter().cloned();
            let at: Vec<String> = path(&["bindings", &draft.name])
                .into_iter()
                .chain(below)
                .collect();
            findings.key(
                &at,
                format!("unknown guard '{}'", reference.guard),
                Some(help),
            );
        }
    }
}

/// JSON Schema of the section.
pub(crate) fn schema(types: &[GuardType], generator: &mut SchemaGenerator) -> serde_json::Value {
    let types = types.iter().map(|it| {
        json!({
            "title": it.r#type,
            "description": it.about,
            "type": "object",
            "additionalProperties": false,
            "required": ["type"],
            "properties": {
                "type": { "const": it.r#type },
                "options": (it.schema)(generator).to_value(),
            },
        })
    });
    let types: Vec<serde_json::Value> = types.collect();
    let mut schema = json!({
        "type": "object",
        "description": "The guards by name: who may use the gateway. Bindings refer to them. A name has letters, digits, `_` and `-`, and starts with a letter.",
        "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
    });
    if !types.is_empty()
        && let Some(schema) = schema.as_object_mut()
    {
        schema.insert("additionalProperties".to_owned(), json!({ "oneOf": types }));
    }
    schema
}
