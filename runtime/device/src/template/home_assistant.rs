//! What Home Assistant adds to Jinja, as far as templates in declarations of devices use it.
//!
//! - numbers: `float`, `int`, `add`, `multiply`, `round` (with `common`, `ceil`, `floor`, `half`), `log`, `sqrt`,
//!   `is_number`, `bitwise_and`, `bitwise_or`, `bitwise_xor`;
//! - JSON: `from_json`, `to_json`;
//! - choice: `iif`, `is_defined`, `contains`;
//! - time: `as_timestamp`, `timestamp_custom`, `timestamp_local`, `timestamp_utc`. The time zone is UTC.
//!
//! `float`, `int`, `iif`, `is_number`, `min`, `max` and `as_timestamp` are functions too. Like there, `float` and `int`
//! of something that is not a number are an error, unless a default is given.

mod moments;

use std::collections::BTreeSet;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use super::TemplateError;

/// What one trial may run; enough to reach the filters of a usual template.
pub(super) const TRIAL_FUEL: u64 = 200;

/// Functions and variables that read the clock or the state of a home.
const UNAVAILABLE: [&str; 22] = [
    "area_id",
    "area_name",
    "closest",
    "device_attr",
    "device_entities",
    "device_id",
    "distance",
    "expand",
    "has_value",
    "integration_entities",
    "is_device_attr",
    "is_state",
    "is_state_attr",
    "now",
    "random",
    "relative_time",
    "state_attr",
    "states",
    "time_since",
    "time_until",
    "today_at",
    "utcnow",
];

/// Adds filters, functions, tests and methods.
pub(super) fn extend(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("float", float);
    environment.add_filter("int", int);
    environment.add_filter(
        "add",
        |value: &Value, other: f64, default: Option<Value>| {
            arithmetic(value, default, |number| number + other)
        },
    );
    environment.add_filter(
        "multiply",
        |value: &Value, other: f64, default: Option<Value>| {
            arithmetic(value, default, |number| number * other)
        },
    );
    environment.add_filter("round", round);
    environment.add_filter("log", log);
    environment.add_filter("sqrt", |value: &Value, default: Option<Value>| {
        arithmetic(value, default, f64::sqrt)
    });
    environment.add_filter("is_number", is_number);
    environment.add_filter("bitwise_and", |one: i64, other: i64| one & other);
    environment.add_filter("bitwise_or", |one: i64, other: i64| one | other);
    environment.add_filter("bitwise_xor", |one: i64, other: i64| one ^ other);
    environment.add_filter("from_json", from_json);
    environment.add_filter("to_json", to_json);
    environment.add_filter("iif", iif);
    environment.add_filter("is_defined", is_defined);
    environment.add_filter("contains", contains);
    moments::extend(environment);

    environment.add_function("float", float);
    environment.add_function("int", int);
    environment.add_function("iif", iif);
    environment.add_function("is_number", is_number);
    environment.add_function("min", |values: minijinja::value::Rest<Value>| {
        least(&values, std::cmp::Ordering::Less)
    });
    environment.add_function("max", |values: minijinja::value::Rest<Value>| {
        least(&values, std::cmp::Ordering::Greater)
    });
    environment.add_test("is_number", is_number);
    environment.add_test("contains", contains);
}

/// Refuses a template that uses what is not available here: once it is known, before a message needs it.
pub(super) fn check_names(template: &minijinja::Template<'_, '_>) -> Result<(), TemplateError> {
    let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    match UNAVAILABLE.iter().find(|name| used.contains(**name)) {
        Some(name) => Err(TemplateError::Invalid {
            reason: format!("'{name}' is not available here"),
        }),
        None => Ok(()),
    }
}

/// Refuses a template that fails on any message, because it uses a filter or a function that does not exist.
pub(super) fn check_trial(template: &minijinja::Template<'_, '_>) -> Result<(), TemplateError> {
    let message = serde_json::json!({ "value": "0", "value_json": {} });
    match template.render(Serde(&message)) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest
            ) =>
        {
            Err(TemplateError::Invalid {
                reason: error.to_string(),
            })
        }
        _ => Ok(()),
    }
}

fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The error of a filter that needs a number: a value that is not there is told from one that is wrong.
fn lacking(value: &Value, reason: &'static str) -> Error {
    let kind = if value.is_undefined() {
        ErrorKind::UndefinedError
    } else {
        ErrorKind::InvalidOperation
    };
    Error::new(kind, reason)
}

/// The number that a value is, or that its text says.
fn number(value: &Value) -> Option<f64> {
    let number = match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok()?,
        ValueKind::Bool => f64::from(u8::from(value.is_true())),
        ValueKind::String => value.as_str()?.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn float(value: &Value, default: Option<Value>) -> Result<Value, Error> {
    match (number(value), default) {
        (Some(number), _) => Ok(Value::from(number)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(lacking(
            value,
            "float: not a number, and no default is given",
        )),
    }
}

fn int(value: &Value, default: Option<Value>, base: Option<u32>) -> Result<Value, Error> {
    if let (Some(text), Some(base @ 2..=36)) = (value.as_str(), base)
        && let Ok(number) = i64::from_str_radix(digits(text.trim(), base), base)
    {
        return Ok(Value::from(number));
    }
    match (number(value), default) {
        (Some(number), _) => Ok(whole(number)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(lacking(value, "int: not a number, and no default is given")),
    }
}

/// Without the prefix that Python accepts for a base, as in `0x1f`.
fn digits(text: &str, base: u32) -> &str {
    let prefixes = match base {
        2 => ["0b", "0B"],
        8 => ["0o", "0O"],
        16 => ["0x", "0X"],
        _ => return text,
    };
    prefixes
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text)
}

/// The integer below `number`, towards zero.
#[expect(
    clippy::cast_possible_truncation,
    reason = "casts of floating-point numbers saturate"
)]
fn whole(number: f64) -> Value {
    Value::from(number.trunc() as i64)
}

fn arithmetic(
    value: &Value,
    default: Option<Value>,
    calculate: impl FnOnce(f64) -> f64,
) -> Result<Value, Error> {
    let result = number(value).map(calculate).filter(|it| it.is_finite());
    match (result, default) {
        (Some(result), _) if value.is_integer() && result.fract() == 0.0 => Ok(whole(result)),
        (Some(result), _) => Ok(Value::from(result)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(lacking(value, "not a number, and no default is given")),
    }
}

/// `round(precision, method, default)`. Without a precision the result is an integer.
fn round(
    value: &Value,
    precision: Option<i32>,
    method: Option<&str>,
    default: Option<Value>,
) -> Result<Value, Error> {
    let precision = precision.unwrap_or(0).clamp(-15, 15);
    let scale = 10_f64.powi(precision);
    let rounded = number(value).and_then(|number| {
        Some(match method.unwrap_or("common") {
            // A tie goes to the even neighbour, as in Python.
            "common" => (number * scale).round_ties_even() / scale,
            "ceil" => (number * scale).ceil() / scale,
            "floor" => (number * scale).floor() / scale,
            "half" => (number * 2.0).round_ties_even() / 2.0,
            _ => return None,
        })
    });
    match (rounded, default) {
        (Some(rounded), _) if precision == 0 && method != Some("half") => Ok(whole(rounded)),
        (Some(rounded), _) => Ok(Value::from(rounded)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(lacking(value, "round: not a number, or an unknown method")),
    }
}

fn log(value: &Value, base: Option<f64>, default: Option<Value>) -> Result<Value, Error> {
    arithmetic(value, default, |number| {
        number.log(base.unwrap_or(std::f64::consts::E))
    })
}

fn is_number(value: &Value) -> bool {
    value.kind() != ValueKind::Bool && number(value).is_some()
}

fn from_json(text: &str) -> Result<Value, Error> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("from_json: {error}")))?;
    Ok(Value::from(Serde(&value)))
}

fn to_json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| invalid(format!("to_json: {error}")))
}

fn iif(
    value: &Value,
    if_true: Option<Value>,
    if_false: Option<Value>,
    if_none: Option<Value>,
) -> Value {
    match if_none {
        Some(if_none) if value.is_none() => if_none,
        _ if value.is_true() => if_true.unwrap_or_else(|| Value::from(true)),
        _ => if_false.unwrap_or_else(|| Value::from(false)),
    }
}

/// Passes on what is defined. Nothing is said about the rest, as if the message had not come.
fn is_defined(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "it is not defined"));
    }
    Ok(value.clone())
}

fn contains(state: &minijinja::State<'_, '_>, list: &Value, value: &Value) -> Result<bool, Error> {
    if let (Some(list), Some(value)) = (list.as_str(), value.as_str()) {
        return Ok(list.contains(value));
    }
    for item in list.try_iter()? {
        state.consume_fuel(1)?;
        if item == *value {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first of `values`, or of the one list among them, that all others do not precede in `order`.
fn least(values: &[Value], order: std::cmp::Ordering) -> Result<Value, Error> {
    let listed: Vec<Value> = match values {
        [one] => one.try_iter()?.collect(),
        several => several.to_vec(),
    };
    let mut least: Option<Value> = None;
    for value in listed {
        if least.as_ref().is_none_or(|it| value.cmp(it) == order) {
            least = Some(value);
        }
    }
    least.ok_or_else(|| invalid("min and max need at least one value"))
}

#[cfg(test)]
mod tests;
