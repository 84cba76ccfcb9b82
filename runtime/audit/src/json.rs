//! Writes JSON members into the text of a line.
//!
//! A line must be safe to print on a terminal: control characters, escape sequences, line separators
//! and characters that change the direction of text are written as `\u` escapes.

use std::fmt::Write as _;

use tidegate_streams::{Value, is_deceptive};

/// A text is cut after so many characters: a name from the wire may be as long as a body.
const CHARACTERS_MAX: usize = 4_096;

/// A list of JSON members, without braces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(String);

impl Members {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Bytes of the text.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        push_string(&mut self.0, name);
        self.0.push(':');
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.key(name);
        push_string(&mut self.0, text);
        self
    }

    /// A text that is not cut: its length is bounded where it comes from.
    pub(crate) fn whole_text(&mut self, name: &str, text: &str) -> &mut Self {
        self.key(name);
        push_characters(&mut self.0, text.chars());
        self
    }

    /// Like [`Self::text`], if it is not empty.
    pub(crate) fn text_if_any(&mut self, name: &str, text: &str) -> &mut Self {
        if text.is_empty() {
            return self;
        }
        self.text(name, text)
    }

    pub(crate) fn number(&mut self, name: &str, number: u64) -> &mut Self {
        self.key(name);
        let _ = write!(self.0, "{number}");
        self
    }

    pub(crate) fn value(&mut self, name: &str, value: &Value) -> &mut Self {
        self.key(name);
        push_value(&mut self.0, value);
        self
    }

    pub(crate) fn texts<'t>(
        &mut self,
        name: &str,
        texts: impl Iterator<Item = &'t str>,
    ) -> &mut Self {
        self.key(name);
        self.0.push('[');
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            push_string(&mut self.0, text);
        }
        self.0.push(']');
        self
    }

    pub(crate) fn object(&mut self, name: &str, members: &Self) -> &mut Self {
        self.key(name);
        let _ = write!(self.0, "{{{}}}", members.0);
        self
    }
}

/// Appends a string in quotes, cut after [`CHARACTERS_MAX`].
fn push_string(out: &mut String, text: &str) {
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            push_characters(out, start.chars().chain(['…']));
        }
        None => push_characters(out, text.chars()),
    }
}

fn push_characters(out: &mut String, characters: impl Iterator<Item = char>) {
    out.push('"');
    for each in characters {
        match each {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            each if is_deceptive(each) => {
                for unit in each.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            each => out.push(each),
        }
    }
    out.push('"');
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Word(word) if matches!(word.as_str(), "true" | "false" | "null") => {
            out.push_str(word);
        }
        Value::Word(word) => push_string(out, word),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Text(text) => push_string(out, text),
        Value::Hex(bytes) => {
            out.push('"');
            for byte in bytes.iter().take(CHARACTERS_MAX) {
                let _ = write!(out, "{byte:02x}");
            }
            out.push('"');
        }
        Value::List(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_value(out, value);
            }
            out.push(']');
        }
        Value::Record(members) => {
            let mut all = Members::default();
            for (name, value) in members {
                all.value(name, value);
            }
            let _ = write!(out, "{{{}}}", all.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut members = Members::default();
        members.text("t", text);
        format!("{{{}}}", members.into_text())
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = "a\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}\r\n\0";
        assert_eq!(
            written(text),
            r#"{"t":"a\u001b[31m\u007f\u009b\u2028\u202e\u2066\ufeff\udb40\udc41\r\n\u0000"}"#
        );
        assert_eq!(
            written("größe 温度 \"q\" \\"),
            r#"{"t":"größe 温度 \"q\" \\"}"#
        );
    }

    #[test]
    fn values_of_events_keep_their_type() {
        let mut members = Members::default();
        members
            .value("flag", &Value::Word("true".to_owned()))
            .value("word", &Value::Word("none".to_owned()))
            .value("number", &Value::Integer(-7))
            .value("bytes", &Value::Hex(vec![0, 255].into()))
            .value(
                "list",
                &Value::List(vec![
                    Value::Text("a".into()),
                    Value::Record(vec![("b".to_owned(), Value::Integer(1))]),
                ]),
            );
        assert_eq!(
            members.into_text(),
            r#""flag":true,"word":"none","number":-7,"bytes":"00ff","list":["a",{"b":1}]"#
        );
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_from_printable_json(text in any::<String>()) {
            let json = written(&text);
            prop_assert!(!json.chars().any(is_deceptive), "{}", json);
            let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(read["t"].as_str(), Some(text.as_str()));
        }
    }
}
