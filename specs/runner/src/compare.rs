//! Compares frames, packets and headers with the statements of a script.

use http::HeaderMap;
use tidegate_streams::{Frame, FrameKind, Protocol, Scripted, Value};

use crate::captures::Captures;
use crate::difference::Difference;
use crate::statement::Statement;
use crate::value::Pattern;

/// Compares the fields; a field that is not stated must have its default. `blank` provides the defaults
/// and converts a stated value to the canonical form of the field.
pub fn fields(
    statement: &Statement,
    actual: &dyn Scripted,
    blank: &mut dyn Scripted,
    captures: &mut Captures,
) -> Result<(), Difference> {
    for (name, value) in actual.fields() {
        if !statement.fields.iter().any(|(known, _)| known == name) {
            return Err(format!("unexpected field {name}={value}").into());
        }
    }
    for (name, pattern) in &statement.fields {
        let Some(value) = actual.value(name) else {
            let known: Vec<&str> = actual.fields().iter().map(|(name, _)| *name).collect();
            let what = format!(
                "no field '{name}' in this frame; its fields: {}",
                known.join(", ")
            );
            return Err(Difference::of_field(name, what));
        };
        if !field(name, pattern, &value, blank, captures)? {
            return Err(Difference::of_field(name, format!("{name} is {value}")));
        }
    }
    Ok(())
}

fn field(
    name: &str,
    pattern: &Pattern,
    value: &Value,
    blank: &mut dyn Scripted,
    captures: &mut Captures,
) -> Result<bool, Difference> {
    if let Pattern::Exactly(expected) = pattern {
        blank
            .set(name, expected)
            .map_err(|error| Difference::of_field(name, error.to_string()))?;
        return Ok(blank.value(name).as_ref() == Some(value));
    }
    Ok(pattern.matches(value, captures))
}

/// Compares the extension of a frame: its word and its fields.
pub(crate) fn frame(
    statement: &Statement,
    frame: &mut Frame,
    protocol: Protocol,
    captures: &mut Captures,
) -> Result<(), Difference> {
    let kind = frame.kind();
    let Some(actual) = frame.extension() else {
        return bare(statement);
    };
    let word = actual.word();
    let has_word = matches!(
        kind,
        FrameKind::Begin | FrameKind::Flush | FrameKind::Challenge
    );
    if has_word && statement.words.first().map(String::as_str) != Some(word) {
        let stated = statement.words.first().map_or("", String::as_str);
        return Err(format!("expected {kind} {stated}, got {kind} {word}").into());
    }
    let mut blank = Frame::blank(kind, protocol, word);
    match blank.as_mut().and_then(Frame::extension) {
        Some(blank) => fields(statement, actual, blank, captures),
        None => bare(statement),
    }
}

/// For a frame without an extension: any stated field is a difference, except `_`.
fn bare(statement: &Statement) -> Result<(), Difference> {
    let named = statement
        .fields
        .iter()
        .find(|(_, pattern)| *pattern != Pattern::Any);
    match named {
        Some((name, _)) => Err(Difference::of_field(
            name,
            format!("no field '{name}' in this frame"),
        )),
        None => Ok(()),
    }
}

/// Compares the headers; headers that are not stated must be `implied` ones.
pub(crate) fn headers(
    statement: &Statement,
    actual: &HeaderMap,
    implied: &[(&str, &str)],
    captures: &mut Captures,
) -> Result<(), Difference> {
    for (name, value) in actual {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let pattern = statement
            .fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_str()));
        let agrees = match pattern {
            Some((_, pattern)) => pattern.matches(&Value::Text(value.clone().into()), captures),
            None => implied.contains(&(name.as_str(), value.as_str())),
        };
        if !agrees {
            let what = format!("unexpected header {name}={value:?}");
            return Err(Difference::of_field(name.as_str(), what));
        }
    }
    let missing = statement
        .fields
        .iter()
        .find(|(name, _)| !actual.contains_key(name.as_str()));
    match missing {
        Some((name, _)) => Err(Difference::of_field(
            name,
            format!("missing header '{name}'"),
        )),
        None => Ok(()),
    }
}
