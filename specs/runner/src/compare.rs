//! Whether what was emitted is what the script says.

use http::HeaderMap;
use tidegate_streams::{Frame, FrameKind, Protocol, Scripted, Value};

use crate::captures::Captures;
use crate::difference::Difference;
use crate::said::Said;
use crate::value::Pattern;

/// Whether the fields agree: one that is not said is at its default. `blank` gives the defaults,
/// and puts a value that was written into the form in which the field tells it.
pub fn fields(
    said: &Said,
    actual: &dyn Scripted,
    blank: &mut dyn Scripted,
    captures: &mut Captures,
) -> Result<(), Difference> {
    for (name, value) in actual.fields() {
        if !said.fields.iter().any(|(known, _)| known == name) {
            return Err(format!("{name}={value} is not in the script").into());
        }
    }
    for (name, pattern) in &said.fields {
        let Some(value) = actual.value(name) else {
            let known: Vec<&str> = actual.fields().iter().map(|(name, _)| *name).collect();
            let what = format!("unknown field '{name}'; given are: {}", known.join(", "));
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
    if let Pattern::Exactly(wanted) = pattern {
        blank
            .set(name, wanted)
            .map_err(|error| Difference::of_field(name, error.to_string()))?;
        return Ok(blank.value(name).as_ref() == Some(value));
    }
    Ok(pattern.matches(value, captures))
}

/// Whether a frame's fields and its word agree. `word` is the extension's word where the line does
/// not say it.
pub(crate) fn frame(
    said: &Said,
    frame: &mut Frame,
    protocol: Protocol,
    captures: &mut Captures,
) -> Result<(), Difference> {
    let kind = frame.kind();
    let Some(actual) = frame.extension() else {
        return bare(said);
    };
    let word = actual.word();
    let told = matches!(
        kind,
        FrameKind::Begin | FrameKind::Flush | FrameKind::Challenge
    );
    if told && said.words.first().map(String::as_str) != Some(word) {
        return Err(format!("it is a {kind} of {word}").into());
    }
    let mut blank = Frame::blank(kind, protocol, word);
    match blank.as_mut().and_then(Frame::extension) {
        Some(blank) => fields(said, actual, blank, captures),
        None => bare(said),
    }
}

/// Nothing with fields came, so that none may be wanted but at its default.
fn bare(said: &Said) -> Result<(), Difference> {
    let named = said
        .fields
        .iter()
        .find(|(_, pattern)| *pattern != Pattern::Any);
    match named {
        Some((name, _)) => Err(Difference::of_field(
            name,
            format!("it has no field '{name}'"),
        )),
        None => Ok(()),
    }
}

/// Whether the headers are those that are said, and no others but `implied` ones.
pub(crate) fn headers(
    said: &Said,
    actual: &HeaderMap,
    implied: &[(&str, &str)],
    captures: &mut Captures,
) -> Result<(), Difference> {
    for (name, value) in actual {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let pattern = said
            .fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_str()));
        let agrees = match pattern {
            Some((_, pattern)) => pattern.matches(&Value::Text(value.clone().into()), captures),
            None => implied.contains(&(name.as_str(), value.as_str())),
        };
        if !agrees {
            let what = format!("{name}={value:?} is not in the script");
            return Err(Difference::of_field(name.as_str(), what));
        }
    }
    let missing = said
        .fields
        .iter()
        .find(|(name, _)| !actual.contains_key(name.as_str()));
    match missing {
        Some((name, _)) => Err(Difference::of_field(
            name,
            format!("there is no header '{name}'"),
        )),
        None => Ok(()),
    }
}
