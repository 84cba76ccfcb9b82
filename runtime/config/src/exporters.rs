//! The section `telemetry.exporters`: named exporters, each of a type with options of its own.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use serde_yaml::{Mapping, Value};
use tidegate_options::Options;

use crate::decode::{decode, decode_valid_part};
use crate::expression::Expressions;
use crate::fault::{Faults, Findings, suggestion};
use crate::load::{is_name, path};
use crate::registry::{CheckOptions, check_options};

/// Most exporters of a config.
const EXPORTERS_MAX: usize = 16;

/// A type of exporter: its name, purpose and options.
#[derive(Debug, Clone, Copy)]
pub struct ExporterType {
    pub(crate) r#type: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    check: CheckOptions,
}

impl ExporterType {
    /// A type with options of type `T`.
    pub const fn of<T: Options>(r#type: &'static str, about: &'static str) -> Self {
        Self {
            r#type,
            about,
            schema: |generator| generator.subschema_for::<T>(),
            check: check_options::<T>,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.r#type
    }
}

/// A declared exporter: its name, type and undecoded options.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Name in the config, such as `audit0`.
    pub name: String,
    /// Type, such as `audit`.
    pub r#type: String,
    options: Value,
    /// Its expressions, with paths relative to the exporter.
    expressions: Expressions,
}

impl Exporter {
    /// The options, decoded as `T`. They were checked when the config was loaded, so this fails only if
    /// `T` is not the declared type.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        let mut findings = Findings::new(&self.name, "");
        let at = path(&["options"]);
        decode(self.options.clone(), &at, &self.expressions, &mut findings)
            .ok_or_else(|| findings.into_faults())
    }
}

/// The section `telemetry`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    /// Decoded one by one, according to their types.
    #[serde(default, rename = "exporters")]
    _exporters: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExporter {
    r#type: String,
    options: Option<Value>,
}

/// Reads the exporters of a config. A fault in one does not hide faults in others.
pub(crate) fn read(
    config: &Value,
    types: &[ExporterType],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<Exporter> {
    let section = config.get("telemetry").and_then(|it| it.get("exporters"));
    let Some(section) = section.and_then(Value::as_mapping) else {
        return Vec::new();
    };
    if section.len() > EXPORTERS_MAX {
        let message = format!("too many exporters; the maximum is {EXPORTERS_MAX}");
        findings.value(&path(&["telemetry", "exporters"]), message);
        return Vec::new();
    }
    let named = section
        .iter()
        .filter_map(|(name, value)| Some((name.as_str()?, value)));
    named
        .filter_map(|(name, value)| exporter(name, value, types, expressions, findings))
        .collect()
}

fn exporter(
    name: &str,
    value: &Value,
    types: &[ExporterType],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Option<Exporter> {
    let at = path(&["telemetry", "exporters", name]);
    if !is_name(name) {
        findings.key(
            &at,
            format!("invalid exporter name '{name}'"),
            Some("use letters, digits, '_' and '-', starting with a letter".to_owned()),
        );
    }
    let raw = decode_valid_part::<RawExporter>(value.clone(), &at, expressions, findings)?;
    let Some(found) = types.iter().find(|it| it.r#type == raw.r#type) else {
        let known: Vec<&str> = types.iter().map(|it| it.r#type).collect();
        let at = path(&["telemetry", "exporters", name, "type"]);
        let message = format!("unknown exporter type '{}'", raw.r#type);
        findings.value_with(&at, message, suggestion(&raw.r#type, &known));
        return None;
    };
    let options = raw.options.filter(|options| !options.is_null());
    let options = options.unwrap_or_else(|| Value::Mapping(Mapping::new()));
    let at_options = path(&["telemetry", "exporters", name, "options"]);
    (found.check)(options.clone(), &at_options, expressions, findings);
    Some(Exporter {
        name: name.to_owned(),
        r#type: raw.r#type,
        options,
        expressions: expressions.below(&at),
    })
}

/// The JSON Schema of the section `telemetry`.
pub(crate) fn schema(types: &[ExporterType], generator: &mut SchemaGenerator) -> Json {
    let one = |it: &ExporterType, generator: &mut SchemaGenerator| {
        let options = (it.schema)(generator).to_value();
        json!({
            "title": it.r#type, "description": it.about,
            "type": "object", "additionalProperties": false, "required": ["type"],
            "properties": { "type": { "const": it.r#type }, "options": options },
        })
    };
    let types: Vec<Json> = types.iter().map(|it| one(it, generator)).collect();
    json!({
        "type": "object",
        "description": "Records of what happens.",
        "additionalProperties": false,
        "properties": {
            "exporters": {
                "type": "object",
                "description": "Exporters by name, each of a `type` with `options`.",
                "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
                "additionalProperties": { "oneOf": types },
            },
        },
    })
}
