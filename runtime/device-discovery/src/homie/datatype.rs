//! Datatypes and formats of properties: how a value is read, which arguments are valid, and how they are written.

use serde_json::{Value, json};
use tidegate_device::{Format, Payload, Template, TemplateError, Text};

use crate::fault::Fault;
use crate::limits::{LIST_MAX, NAME_MAX};
use crate::schema::{plain, with};

/// Most bytes of a JSON Schema that a device declares.
const SCHEMA_MAX: usize = 16 << 10;
/// Most levels of it.
const SCHEMA_DEPTH_MAX: usize = 16;
/// Most bytes of a text argument.
const TEXT_MAX: usize = 65_535;

/// A text that is empty is one NUL, because MQTT deletes a retained message with an empty payload.
const WRITE_TEXT: &str = "{% if value %}{{ value }}{% else %}\0{% endif %}";
const READ_TEXT: &str = "{% if value != '\0' %}{{ value }}{% endif %}";

/// What a datatype and its format say.
pub(super) struct Datatype {
    pub(super) format: Format,
    /// Reads the payload; `None`: it is the value.
    pub(super) value: Option<Template>,
    /// JSON Schema of the argument `value`.
    pub(super) schema: Value,
    pub(super) payload: Payload,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
}

impl Datatype {
    pub(super) fn read(datatype: &str, format: Option<&str>) -> Result<Self, Fault> {
        match datatype {
            "integer" => Ok(Self::number(&Range::read(format, true)?, "integer")),
            "float" => Ok(Self::number(&Range::read(format, false)?, "number")),
            "boolean" => Self::boolean(format),
            "string" => Self::text(),
            "enum" => Self::choice(format),
            "color" => Self::color(format),
            "datetime" => Ok(Self::plain(
                Format::Text,
                json!({ "type": "string", "maxLength": 64, "description": "A moment as in ISO 8601." }),
            )),
            "duration" => Ok(Self::plain(
                Format::Text,
                json!({
                    "type": "string",
                    "pattern": "^PT([0-9]+H)?([0-9]+M)?([0-9]+(\\.[0-9]+)?S)?$",
                    "maxLength": 64,
                    "description": "A duration as in ISO 8601, such as PT5M.",
                }),
            )),
            "json" => Ok(Self::plain(Format::Json, json_schema(format))),
            _ => Err(Fault::invalid("datatype", "is not one of Homie 5")),
        }
    }

    fn plain(format: Format, schema: Value) -> Self {
        Self {
            format,
            value: None,
            schema,
            payload: Payload::Argument("value".to_owned()),
            minimum: None,
            maximum: None,
        }
    }

    fn number(range: &Range, kind: &str) -> Self {
        let mut schema = json!({ "type": kind });
        for (key, bound) in [("minimum", range.minimum), ("maximum", range.maximum)] {
            if let Some(bound) = bound {
                schema = with(schema, key, plain(bound));
            }
        }
        // The device rounds a value to its steps, so that a value between them is valid.
        if let Some(step) = range.step {
            schema = with(schema, "description", format!("Steps of {}.", plain(step)));
        }
        Self {
            minimum: range.minimum,
            maximum: range.maximum,
            ..Self::plain(Format::Number, schema)
        }
    }

    fn boolean(format: Option<&str>) -> Result<Self, Fault> {
        let mut schema = json!({ "type": "boolean" });
        if let Some(labels) = format.filter(|it| !it.is_empty()) {
            let Some((off, on)) = labels.split_once(',').filter(|(off, on)| off != on) else {
                return Err(Fault::invalid("format", "must be two labels"));
            };
            let labels = format!("true: {}, false: {}", Text::new(on), Text::new(off));
            schema = with(schema, "description", Text::new(&labels).as_str());
        }
        let format = Format::Boolean {
            on: "true".to_owned(),
            off: "false".to_owned(),
        };
        Ok(Self::plain(format, schema))
    }

    fn text() -> Result<Self, Fault> {
        let invalid = |_: TemplateError| Fault::invalid("datatype", "cannot be read");
        Ok(Self {
            value: Some(Template::new(READ_TEXT).map_err(invalid)?),
            payload: Payload::Template(Template::new(WRITE_TEXT).map_err(invalid)?),
            ..Self::plain(
                Format::Text,
                json!({ "type": "string", "maxLength": TEXT_MAX }),
            )
        })
    }

    fn choice(format: Option<&str>) -> Result<Self, Fault> {
        let choices: Vec<String> = format
            .ok_or(Fault::Missing { key: "format" })?
            .split(',')
            .map(str::to_owned)
            .collect();
        if choices.len() > LIST_MAX {
            return Err(Fault::invalid("format", "has more than 256 values"));
        }
        for (index, choice) in choices.iter().enumerate() {
            let is_short = !choice.is_empty() && choice.len() <= NAME_MAX;
            if !is_short || !Text::is_visible(choice) {
                return Err(Fault::invalid(
                    "format",
                    "must have values of 1 to 256 visible bytes",
                ));
            }
            if choices.iter().take(index).any(|it| it == choice) {
                return Err(Fault::invalid("format", "has a value twice"));
            }
        }
        let schema = json!({ "type": "string", "enum": choices });
        Ok(Self::plain(Format::Choice(choices), schema))
    }

    fn color(format: Option<&str>) -> Result<Self, Fault> {
        const NUMBER: &str = "-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?";
        let mut patterns = Vec::new();
        for kind in format.ok_or(Fault::Missing { key: "format" })?.split(',') {
            let numbers = match kind {
                "rgb" | "hsv" => 3,
                "xyz" => 2,
                _ => return Err(Fault::invalid("format", "must list 'rgb', 'hsv' and 'xyz'")),
            };
            if patterns.len() >= 3 {
                return Err(Fault::invalid("format", "has a value twice"));
            }
            patterns.push(format!("{kind}(,{NUMBER}){{{numbers}}}"));
        }
        let schema = json!({
            "type": "string",
            "pattern": format!("^({})$", patterns.join("|")),
            "maxLength": 128,
            "description": "rgb,R,G,B with 0 to 255; hsv,H,S,V with 0 to 360, 100 and 100; xyz,X,Y with 0 to 1.",
        });
        Ok(Self::plain(Format::Text, schema))
    }
}

/// `[min]:[max][:step]`
struct Range {
    minimum: Option<f64>,
    maximum: Option<f64>,
    step: Option<f64>,
}

impl Range {
    fn read(format: Option<&str>, is_integer: bool) -> Result<Self, Fault> {
        let invalid = || Fault::invalid("format", "must be 'min:max' or 'min:max:step'");
        let mut parts = format.unwrap_or(":").split(':');
        let mut part = || match parts.next() {
            None | Some("") => Ok(None),
            Some(text) => number(text, is_integer).map(Some).ok_or_else(invalid),
        };
        let range = Self {
            minimum: part()?,
            maximum: part()?,
            step: part()?,
        };
        let is_reversed = range
            .minimum
            .zip(range.maximum)
            .is_some_and(|(least, most)| least > most);
        let has_no_step = range.step.is_some_and(|step| step <= 0.0);
        if parts.next().is_some()
            || is_reversed
            || has_no_step
            || !format.unwrap_or(":").contains(':')
        {
            return Err(invalid());
        }
        Ok(range)
    }
}

fn number(text: &str, is_integer: bool) -> Option<f64> {
    let characters = if is_integer {
        "-0123456789"
    } else {
        "-0123456789.eE"
    };
    let number: f64 = text.parse().ok()?;
    let is_plain = text.chars().all(|it| characters.contains(it));
    (is_plain && number.is_finite()).then_some(number)
}

/// The schema that a device declares, or that of any array and object if it cannot be used.
fn json_schema(format: Option<&str>) -> Value {
    let any = || json!({ "type": ["array", "object"] });
    let Some(format) = format.filter(|it| it.len() <= SCHEMA_MAX) else {
        return any();
    };
    match serde_json::from_str::<Value>(format) {
        Ok(schema) if schema.is_object() && is_harmless(&schema, SCHEMA_DEPTH_MAX) => schema,
        _ => any(),
    }
}

/// Whether a schema has no reference, no regular expression, and only texts that can be shown.
fn is_harmless(schema: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match schema {
        Value::Object(members) => members.iter().all(|(key, value)| {
            let is_safe = !key.starts_with('$')
                && !matches!(key.as_str(), "pattern" | "patternProperties" | "id");
            is_safe && is_short(key) && is_harmless(value, depth)
        }),
        Value::Array(items) => {
            items.len() <= LIST_MAX && items.iter().all(|it| is_harmless(it, depth))
        }
        Value::String(text) => is_short(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= NAME_MAX && Text::is_visible(text)
}
