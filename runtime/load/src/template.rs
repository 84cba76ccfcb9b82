//! Placeholders such as `{{topic}}` in text and JSON.
//!
//! Unknown placeholders are kept, so that files for a target may contain their own.

use serde_json::Value;

/// Names and values of placeholders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placeholders(Vec<(&'static str, String)>);

impl Placeholders {
    /// Adds or replaces a placeholder.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
        self
    }

    /// Replaces the placeholders in a text, once: values are not searched again.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            out.push_str(before);
            let known = behind.split_once("}}").and_then(|(name, behind)| {
                let found = self.0.iter().find(|(known, _)| *known == name)?;
                Some((&found.1, behind))
            });
            if let Some((value, behind)) = known {
                out.push_str(value);
                rest = behind;
            } else {
                out.push_str("{{");
                rest = behind;
            }
        }
        out.push_str(rest);
        out
    }

    /// Replaces the placeholders in JSON; the string `{{qos}}` becomes a number.
    pub(crate) fn fill_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let filled = self.fill(text);
                match filled.parse::<u64>() {
                    Ok(number) if text == "{{qos}}" => number.into(),
                    _ => Value::String(filled),
                }
            }
            Value::Array(values) => values.iter().map(|value| self.fill_json(value)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), self.fill_json(value)))
                .collect(),
            _ => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_placeholders_are_replaced_once() {
        let known = Placeholders::default()
            .with("port", "0")
            .with("port", "17")
            .with("broker", "{{port}}");
        for (text, filled) in [
            ("127.0.0.1:{{port}}", "127.0.0.1:17"),
            ("{{port}}{{port}}", "1717"),
            ("{{broker}}", "{{port}}"),
            ("${{env.PORT}} {{port}}", "${{env.PORT}} 17"),
            ("{{port", "{{port"),
            ("{{ {{port}} }}", "{{ 17 }}"),
            ("", ""),
        ] {
            assert_eq!(known.fill(text), filled);
        }
    }

    #[test]
    fn a_qos_placeholder_becomes_a_number() {
        let known = Placeholders::default()
            .with("qos", "1")
            .with("payload", "2");
        let template = json!({ "qos": "{{qos}}", "text": "{{payload}}", "deep": [{ "a": "q{{qos}}" }], "n": null });
        let filled = json!({ "qos": 1, "text": "2", "deep": [{ "a": "q1" }], "n": null });
        assert_eq!(known.fill_json(&template), filled);
    }
}
