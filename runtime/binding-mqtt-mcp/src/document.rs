//! A JSON document with templates, as an option: a mapping or list whose texts are templates, or one
//! template that renders JSON.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value as Json;

use crate::template::{Failed, OUTPUT_MAX, Template};
use crate::variables::Variables;

/// Deepest nesting of a document.
const DEPTH_MAX: usize = 32;
/// Bytes that are reserved for a rendered document: most have not more.
const EXPECTED: usize = 256;

/// A JSON document with templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// A value without templates, as JSON text.
    Constant(Box<str>),
    Template(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Document {
    /// Parses a document. The error is a sentence without its full stop.
    pub(crate) fn parse(json: &Json) -> Result<Self, String> {
        match json {
            Json::String(text) => Ok(Self(Node::Template(Template::json(text)?))),
            other => Ok(Self(Node::parse(other, 0)?)),
        }
    }

    /// Renders JSON text.
    pub(crate) fn render(&self, variables: &Variables) -> Result<Vec<u8>, Failed> {
        let mut output = Vec::with_capacity(EXPECTED);
        self.0.render(variables, &mut output)?;
        Ok(output)
    }

    /// The variables it refers to.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.0.collect(&mut found);
        found
    }
}

impl Node {
    fn parse(json: &Json, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} levels deep"));
        }
        Ok(match json {
            Json::String(text) => {
                let template = Template::text(text)?;
                if template.is_literal() {
                    Self::Constant(json.to_string().into())
                } else {
                    Self::Template(template)
                }
            }
            Json::Array(items) => {
                let items = items.iter().map(|item| Self::parse(item, depth + 1));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Json::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(value, depth + 1)?)));
                Self::Object(members.collect::<Result<_, String>>()?)
            }
            other => Self::Constant(other.to_string().into()),
        })
    }

    fn render(&self, variables: &Variables, output: &mut Vec<u8>) -> Result<(), Failed> {
        match self {
            Self::Constant(text) => output.extend_from_slice(text.as_bytes()),
            Self::Template(template) => template.render_json(variables, output)?,
            Self::List(items) => {
                output.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        output.push(b',');
                    }
                    item.render(variables, output)?;
                }
                output.push(b']');
            }
            Self::Object(members) => {
                output.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        output.push(b',');
                    }
                    push_name(output, name);
                    value.render(variables, output)?;
                }
                output.push(b'}');
            }
        }
        if output.len() > OUTPUT_MAX {
            return Err(format!(
                "the template rendered more than {OUTPUT_MAX} bytes"
            ));
        }
        Ok(())
    }

    fn collect(&self, found: &mut BTreeSet<String>) {
        match self {
            Self::Constant(_) => {}
            Self::Template(template) => found.extend(template.variables()),
            Self::List(items) => items.iter().for_each(|item| item.collect(found)),
            Self::Object(members) => members.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}

/// Appends a text as JSON.
pub(crate) fn push_text(output: &mut Vec<u8>, text: &str) {
    // A text is always valid JSON, and a vector takes any number of bytes.
    let _ = serde_json::to_writer(output, text);
}

/// Appends the name of a member and its colon.
pub(crate) fn push_name(output: &mut Vec<u8>, name: &str) {
    push_text(output, name);
    output.push(b':');
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        Self::parse(&json).map_err(de::Error::custom)
    }
}

impl JsonSchema for Document {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Document".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "object" }, { "type": "array" }] })
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Value;
    use serde_json::json;

    use super::*;

    fn render(document: &Json) -> Result<Json, String> {
        let given = [
            ("drink", Value::from("flat \"white\"")),
            ("n", Value::from(7)),
        ];
        let rendered = Document::parse(document)?.render(&given.into())?;
        Ok(serde_json::from_slice(&rendered).expect("JSON"))
    }

    #[test]
    fn each_text_of_a_document_is_a_template() {
        let document =
            json!({ "drink": "{{ drink }}", "n": ["{{ n }}", "n={{ n }}"], "x": null, "y": "z" });
        let expected = json!({ "drink": "flat \"white\"", "n": [7, "n=7"], "x": null, "y": "z" });
        assert_eq!(render(&document), Ok(expected));
    }

    #[test]
    fn one_template_renders_the_whole_document() {
        let document = json!("{\"drink\": {{ drink }}, \"twice\": {{ n * 2 }}}");
        let expected = json!({ "drink": "flat \"white\"", "twice": 14 });
        assert_eq!(render(&document), Ok(expected));
        assert_eq!(render(&json!("{{ n }}")), Ok(json!(7)));
        assert!(render(&json!("no JSON")).is_err());
    }

    #[test]
    fn a_deep_document_is_refused() {
        let deep = (0..40).fold(json!("x"), |inner, _| json!([inner]));
        assert!(Document::parse(&deep).is_err());
    }
}
