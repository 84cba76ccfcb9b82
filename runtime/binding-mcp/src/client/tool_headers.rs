//! The arguments of a tool that are repeated in headers of its call, as its definition declares them with
//! `x-mcp-header` (2026-07-28, Streamable HTTP, Custom Headers from Tool Parameters).
//!
//! A definition whose declarations break a rule of the specification is invalid: the server would check headers that
//! no client can send.

use bytestring::ByteString;
use tidegate_json::{Kind, Value};
use tidegate_streams::mcp::McpHeader;

use crate::shown::shown;

/// The member of a schema that declares a header.
const DECLARATION: &str = "x-mcp-header";
/// Maximum number of headers that a tool may declare.
const HEADERS_MAX: usize = 64;

/// Keywords with one schema.
const SCHEMA: [&str; 11] = [
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "not",
    "if",
    "then",
    "else",
];
/// Keywords with a list of schemas. `items` is a list in older dialects.
const SCHEMAS: [&str; 5] = ["prefixItems", "oneOf", "anyOf", "allOf", "items"];
/// Keywords with schemas under names.
const NAMED_SCHEMAS: [&str; 4] = [
    "$defs",
    "definitions",
    "patternProperties",
    "dependentSchemas",
];

/// An argument, and the header that repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// The names of the properties that lead to it.
    path: Vec<ByteString>,
    /// The part of the header's name after `Mcp-Param-`, in lower case.
    header: ByteString,
}

impl Declared {
    /// The bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let names = self
            .path
            .iter()
            .map(|name| name.len() + size_of::<ByteString>());
        size_of::<Self>() + self.header.len() + names.sum::<usize>()
    }
}

/// What the input schema of a tool declares. The error says what is wrong with it, as a part of a sentence.
pub(super) fn declared(schema: Value<'_>) -> Result<Vec<Declared>, String> {
    let mut found = Found::default();
    found.visit(schema, true)?;
    Ok(found.all)
}

/// The declarations found so far.
#[derive(Default)]
struct Found {
    all: Vec<Declared>,
    /// The properties that lead to the schema being visited.
    path: Vec<ByteString>,
}

impl Found {
    /// Visits a schema. `reachable`: a chain of `properties` leads to it.
    fn visit(&mut self, schema: Value<'_>, reachable: bool) -> Result<(), String> {
        // The parser has limited the depth.
        if schema.kind() == Kind::Object
            && let Ok(Some(header)) = schema.get(DECLARATION)
        {
            self.declare(schema, header, reachable)?;
        }
        for (key, value) in schema.members() {
            let is_one_of = |names: &[&str]| names.iter().any(|name| key.is(name));
            if key.is("properties") {
                self.properties(value, reachable)?;
            } else if value.kind() == Kind::Object && is_one_of(&SCHEMA) {
                self.visit(value, false)?;
            } else if value.kind() == Kind::Array && is_one_of(&SCHEMAS) {
                value
                    .elements()
                    .try_for_each(|schema| self.visit(schema, false))?;
            } else if is_one_of(&NAMED_SCHEMAS) {
                value
                    .members()
                    .try_for_each(|(_, schema)| self.visit(schema, false))?;
            }
        }
        Ok(())
    }

    fn properties(&mut self, properties: Value<'_>, reachable: bool) -> Result<(), String> {
        for (name, schema) in properties.members() {
            self.path.push(name.text().into_owned().into());
            self.visit(schema, reachable)?;
            self.path.pop();
        }
        Ok(())
    }

    fn declare(
        &mut self,
        schema: Value<'_>,
        header: Value<'_>,
        reachable: bool,
    ) -> Result<(), String> {
        if !reachable || self.path.is_empty() {
            return Err(
                "it declares a header for a value that is no property of the arguments".to_owned(),
            );
        }
        let name = header
            .string()
            .filter(|name| is_token(name))
            .ok_or_else(|| {
                let stated = header.string().unwrap_or_default();
                format!(
                    "it declares the header '{}', which is not the name of one",
                    shown(&stated)
                )
            })?;
        let kind = schema.get("type").ok().flatten();
        let primitive = ["string", "integer", "boolean"];
        if !kind.is_some_and(|kind| primitive.iter().any(|name| kind.is(name))) {
            let why = "whose type is not string, integer or boolean";
            return Err(format!(
                "it declares the header '{name}' for a property {why}"
            ));
        }
        let header = ByteString::from(name.to_ascii_lowercase());
        if self.all.iter().any(|other| other.header == header) {
            return Err(format!("it declares the header '{name}' twice"));
        }
        if self.all.len() == HEADERS_MAX {
            return Err(format!("it declares more than {HEADERS_MAX} headers"));
        }
        let path = self.path.clone();
        self.all.push(Declared { path, header });
        Ok(())
    }
}

/// Whether a text is a token (RFC 9110, Section 5.6.2), of which the names of headers are made.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// The headers of a call with these arguments. A value that is absent, null or not primitive has none.
pub(super) fn headers(declared: &[Declared], arguments: Value<'_>) -> Vec<McpHeader> {
    let header = |it: &Declared| {
        let mut names = it.path.iter();
        let found = names.try_fold(arguments, |value, name| value.get(name).ok().flatten())?;
        Some(McpHeader {
            name: it.header.clone(),
            value: text_of(found)?,
        })
    };
    declared.iter().filter_map(header).collect()
}

fn text_of(value: Value<'_>) -> Option<ByteString> {
    match value.kind() {
        Kind::String => value.string(),
        Kind::Number => match value.as_i64() {
            Some(number) => Some(number.to_string().into()),
            None => String::from_utf8(value.raw().into_owned())
                .ok()
                .map(Into::into),
        },
        Kind::Bool(true) => Some("true".into()),
        Kind::Bool(false) => Some("false".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use tidegate_json::{Document, Limits, Parts};

    use super::*;

    fn document(value: &serde_json::Value) -> Document {
        let parts = Parts::from(Bytes::from(value.to_string()));
        Document::parse(parts, Limits::default()).expect("JSON")
    }

    fn of(schema: &serde_json::Value) -> Result<Vec<Declared>, String> {
        declared(document(schema).root())
    }

    #[test]
    fn values_are_repeated_as_text() {
        let schema = json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "place": { "type": "object", "properties": { "floor": { "type": "integer", "x-mcp-header": "floor" } } },
            "dry": { "type": "boolean", "x-mcp-header": "Dry-Run" },
            "query": { "type": "string" },
            "x-mcp-header": { "type": "string" },
        }});
        let declared = of(&schema).expect("valid");
        let headers = |arguments: &serde_json::Value| {
            let headers = headers(&declared, document(arguments).root());
            let shown = headers.iter().map(|it| format!("{}={}", it.name, it.value));
            shown.collect::<Vec<_>>()
        };
        let all =
            json!({ "region": "größe\n", "place": { "floor": -7 }, "dry": false, "query": "q" });
        assert_eq!(
            headers(&all),
            ["dry-run=false", "floor=-7", "region=größe\n"]
        );
        let whole = json!({ "place": { "floor": 42.0 }, "region": "" });
        assert_eq!(headers(&whole), ["floor=42", "region="]);
        // What is absent, null, or of another type than the schema says has no header.
        let none = json!({ "region": null, "place": 7, "dry": [true] });
        assert_eq!(headers(&none), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_schema_declares_nothing() {
        let text = json!({ "x-mcp-header": "Region" });
        for schema in [
            json!({ "properties": { "a": { "default": text, "enum": [text], "const": text, "examples": [text] } } }),
            json!({ "properties": { "x-mcp-header": { "type": "number" } } }),
            json!({ "properties": [text] }),
            json!({ "description": "x-mcp-header" }),
            json!([text]),
            json!(true),
        ] {
            assert_eq!(of(&schema), Ok(Vec::new()), "{schema}");
        }
    }

    #[test]
    fn a_declaration_that_breaks_a_rule_is_invalid() {
        let with = |name: serde_json::Value| json!({ "type": "string", "x-mcp-header": name });
        let property = |schema: serde_json::Value| json!({ "properties": { "a": schema } });
        for (schema, why) in [
            (property(with(json!(""))), "not the name"),
            (property(with(json!("My Region"))), "not the name"),
            (property(with(json!("Region:x"))), "not the name"),
            (property(with(json!("Région"))), "not the name"),
            (property(with(json!("a\r\nb"))), "not the name"),
            (property(with(json!(7))), "not the name"),
            (
                property(json!({ "type": "number", "x-mcp-header": "A" })),
                "type",
            ),
            (
                property(json!({ "type": "object", "x-mcp-header": "A" })),
                "type",
            ),
            (
                property(json!({ "type": ["string", "null"], "x-mcp-header": "A" })),
                "type",
            ),
            (property(json!({ "x-mcp-header": "A" })), "type"),
            (
                json!({ "properties": { "a": with(json!("A")), "b": with(json!("a")) } }),
                "twice",
            ),
            (with(json!("A")), "no property"),
            (
                property(json!({ "items": with(json!("A")) })),
                "no property",
            ),
            (
                property(json!({ "items": [with(json!("A"))] })),
                "no property",
            ),
            (
                property(json!({ "anyOf": [property(with(json!("A")))] })),
                "no property",
            ),
            (json!({ "if": property(with(json!("A"))) }), "no property"),
            (json!({ "$defs": { "a": with(json!("A")) } }), "no property"),
            (
                json!({ "additionalProperties": with(json!("A")) }),
                "no property",
            ),
        ] {
            let error = of(&schema).expect_err(&schema.to_string());
            assert!(error.contains(why), "{schema}: {error}");
        }
        let many = (0..=HEADERS_MAX).map(|at| (at.to_string(), with(json!(format!("H{at}")))));
        let many = json!({ "properties": many.collect::<serde_json::Map<_, _>>() });
        assert!(of(&many).expect_err("many").contains("more than 64"));
    }
}
