//! JSON Schemas of arguments.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

/// One argument of a command.
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) schema: Value,
    pub(crate) required: bool,
}

impl Argument {
    pub(crate) const fn required(name: &'static str, schema: Value) -> Self {
        Self {
            name,
            schema,
            required: true,
        }
    }

    pub(crate) const fn optional(name: &'static str, schema: Value) -> Self {
        Self {
            name,
            schema,
            required: false,
        }
    }
}

/// An object of these arguments and no others, for a command. All commands without arguments share one.
pub(crate) fn of_command(arguments: Vec<Argument>) -> Arc<Value> {
    static NONE: OnceLock<Arc<Value>> = OnceLock::new();
    if arguments.is_empty() {
        return Arc::clone(NONE.get_or_init(|| Arc::new(object(Vec::new()))));
    }
    Arc::new(object(arguments))
}

/// An object of these arguments and no others.
pub(crate) fn object(arguments: Vec<Argument>) -> Value {
    let required: Vec<&'static str> = arguments
        .iter()
        .filter(|it| it.required)
        .map(|it| it.name)
        .collect();
    let properties: Map<String, Value> = arguments
        .into_iter()
        .map(|it| (it.name.to_owned(), it.schema))
        .collect();
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema = with(schema, "required", required);
    }
    schema
}

/// The schema with one keyword more.
pub(crate) fn with(schema: Value, keyword: &str, value: impl Into<Value>) -> Value {
    match schema {
        Value::Object(mut members) => {
            members.insert(keyword.to_owned(), value.into());
            Value::Object(members)
        }
        other => other,
    }
}

/// An integer between two bounds, both included.
pub(crate) fn integer(minimum: i32, maximum: i32) -> Value {
    json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
}

/// A number between two bounds, both included. Bounds without a fraction are written without one.
pub(crate) fn number(minimum: f64, maximum: f64) -> Value {
    json!({ "type": "number", "minimum": plain(minimum), "maximum": plain(maximum) })
}

/// One of several texts.
pub(crate) fn choice(texts: &[String]) -> Value {
    json!({ "type": "string", "enum": texts })
}

/// The number in JSON, an integer if it is one.
pub(crate) fn plain(number: f64) -> Value {
    /// Up to here each integer is a floating-point number of its own: 2^53.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is an integer below 2^53"
        )]
        return Value::from(number as i64);
    }
    Value::from(number)
}

/// The step of a number, where its multiples are the valid values: if it is an integer, and divides the smallest one.
pub(crate) fn whole_step(step: f64, minimum: f64) -> Option<Value> {
    (step >= 1.0 && step.fract() == 0.0 && minimum % step == 0.0).then(|| plain(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_stated_where_multiples_of_it_are_meant() {
        assert_eq!(whole_step(5.0, 10.0), Some(json!(5)));
        assert_eq!(whole_step(5.0, 12.0), None);
        assert_eq!(whole_step(0.1, 0.0), None);
        assert_eq!(whole_step(0.0, 0.0), None);
        assert_eq!(
            number(0.5, 10.0),
            json!({ "type": "number", "minimum": 0.5, "maximum": 10 })
        );
    }
}
