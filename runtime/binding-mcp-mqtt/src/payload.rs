//! A payload as JSON, for its schema.

use serde_json::{Map, Value};
use tidegate_json::{Document, Kind, Limits, Parts};
use tidegate_streams::shown;

/// Largest payload that is checked, in bytes: as JSON values it takes many times its size.
const CHECKED_MAX: usize = 64 * 1024;

/// A payload that was read.
pub(crate) struct Read {
    pub(crate) value: Value,
    /// What to add to a refusal: why it is no JSON, if it looks as if it should be.
    pub(crate) note: Option<String>,
}

/// Reads a payload. One that is not JSON is a string. A member that occurs twice is refused: a device
/// might read the one, and the schema check the other. The error is a sentence.
pub(crate) fn read(payload: &Parts) -> Result<Read, String> {
    let size: usize = payload.iter().map(bytes::Bytes::len).sum();
    if size > CHECKED_MAX {
        return Err(format!(
            "The payload has {size} bytes; topics with a schema take at most {CHECKED_MAX}. Send a smaller one."
        ));
    }
    match Document::parse(payload.clone(), Limits::default()) {
        Ok(document) => {
            let value = converted(&document.root())?;
            Ok(Read { value, note: None })
        }
        Err(error) => {
            let text = payload.contiguous();
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_like_json = text.trim_start().starts_with(['{', '[']);
            let note = is_like_json.then(|| {
                format!("It was checked as a string, because it is not valid JSON: {error}.")
            });
            Ok(Read {
                value: Value::String(text),
                note,
            })
        }
    }
}

/// The depth of the value is bounded by the limits of the document. The error is a sentence.
fn converted(value: &tidegate_json::Value<'_>) -> Result<Value, String> {
    Ok(match value.kind() {
        Kind::Object => {
            let mut members = Map::new();
            for (key, member) in value.members() {
                let key = key.text().into_owned();
                let member = converted(&member)?;
                if members.contains_key(&key) {
                    let key = shown(&key);
                    return Err(format!(
                        "The payload has the member '{key}' twice; send it once."
                    ));
                }
                members.insert(key, member);
            }
            Value::Object(members)
        }
        Kind::Array => {
            let elements = value.elements();
            let elements = elements.map(|element| converted(&element));
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        Kind::String => Value::String(value.text().unwrap_or_default().into_owned()),
        // Such as 1e999. As any other value, it would break rules that the device relies on.
        Kind::Number => serde_json::from_slice(&value.raw()).map_err(|_| {
            let raw = value.raw();
            let number = String::from_utf8_lossy(&raw);
            format!(
                "The payload has the number {}, which is out of range; send one that a double can hold.",
                shown(&number)
            )
        })?,
        Kind::Bool(value) => Value::Bool(value),
        Kind::Null => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn parts(text: &str) -> Parts {
        Parts::from(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_payload_is_json_or_a_string() {
        let value = |text| read(&parts(text)).expect("no duplicate").value;
        assert_eq!(value("22.5"), serde_json::json!(22.5));
        assert_eq!(value("on"), serde_json::json!("on"));
        assert_eq!(value("\"on\""), serde_json::json!("on"));
        assert_eq!(value(""), serde_json::json!(""));
        let broken = read(&parts("{\"a\":")).expect("a string");
        assert_eq!(broken.value, serde_json::json!("{\"a\":"));
        assert!(
            broken
                .note
                .is_some_and(|note| note.contains("not valid JSON"))
        );
    }

    #[test]
    fn a_payload_that_is_too_large_to_be_checked_is_refused() {
        assert!(read(&parts(&" ".repeat(CHECKED_MAX))).is_ok());
        let Err(sentence) = read(&parts(&" ".repeat(CHECKED_MAX + 1))) else {
            panic!("refused");
        };
        assert!(sentence.contains("has 65537 bytes"), "{sentence}");
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused() {
        for text in ["{\"a\":1,\"a\":2}", "[{\"b\":{\"\\u0061\":1,\"a\":1}}]"] {
            let Err(sentence) = read(&parts(text)) else {
                panic!("refused: {text}");
            };
            assert!(sentence.contains("the member 'a' twice"), "{sentence}");
        }
    }

    // As null it would pass a schema that has a maximum and no type.
    #[test]
    fn a_number_that_no_double_holds_is_refused() {
        for text in ["1e999", "-1e999", "{\"level\":1e999}"] {
            let Err(sentence) = read(&parts(text)) else {
                panic!("refused: {text}");
            };
            assert!(
                sentence.contains("1e999, which is out of range"),
                "{sentence}"
            );
        }
        assert!(read(&parts("[1e308,-0,1e-999]")).is_ok());
    }

    proptest! {
        #[test]
        fn json_is_read_as_serde_json_reads_it(text in "[\\[\\]{}:,\"a0-9.e\\-\\\\ntrufls ]{0,30}") {
            let expected: Option<Value> = serde_json::from_str(&text).ok();
            if let (Some(expected), Ok(read)) = (expected, read(&parts(&text))) {
                prop_assert_eq!(read.value, expected);
            }
        }
    }
}
