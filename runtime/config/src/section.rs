//! A section of the config whose members have names: each is of a type, with options of its own.

use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use serde_yaml::{Mapping, Value};
use tidegate_options::Options;

use crate::decode::{decode_again, decode_valid_part};
use crate::expression::Expressions;
use crate::fault::{Faults, Findings, suggestion};
use crate::load::{is_name, path};
use crate::registry::check_options;

/// A type of members: its word in the config, purpose and options.
#[derive(Debug, Clone, Copy)]
pub struct MemberType {
    pub(crate) r#type: &'static str,
    pub(crate) about: &'static str,
    /// JSON Schema of the options.
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes the options and records their faults and warnings.
    check: fn(Value, &[String], &Expressions, &mut Findings<'_>),
}

impl MemberType {
    /// A type with options of type `T`.
    pub const fn of<T: Options>(r#type: &'static str, about: &'static str) -> Self {
        Self {
            r#type,
            about,
            schema: |generator| generator.subschema_for::<T>(),
            check: |value, path, expressions, findings| {
                check_options::<T>(value, path, expressions, findings);
            },
        }
    }
}

/// A declared member: its name, type and undecoded options.
#[derive(Debug, Clone)]
pub struct Member {
    /// Name in the config, such as `audit0`.
    pub name: String,
    /// Type, such as `audit`.
    pub r#type: String,
    options: Value,
    /// Its expressions, with paths relative to the member.
    expressions: Expressions,
}

impl Member {
    /// The options, decoded as `T`. They were checked when the config was loaded, so this fails only if
    /// `T` is not the declared type.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        let options = self.options.clone();
        decode_again(&self.name, options, &["options"], &self.expressions)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    r#type: String,
    options: Option<Value>,
}

/// A section: where it is, and what its members are.
pub(crate) struct Section {
    /// Keys from the top of the config.
    pub(crate) at: &'static [&'static str],
    /// A member, as messages call it.
    pub(crate) member: &'static str,
    /// Most members of a config.
    pub(crate) max: usize,
    /// What the section is for.
    pub(crate) about: &'static str,
}

impl Section {
    /// The section in a config; empty if there is none.
    pub(crate) fn of(&self, config: &Value) -> Mapping {
        let mut keys = self.at.iter();
        let found = keys.try_fold(config, |value, key| value.get(key));
        let section = found.and_then(Value::as_mapping);
        section.cloned().unwrap_or_default()
    }

    fn path(&self, below: &[&str]) -> Vec<String> {
        path(&[self.at, below].concat())
    }

    /// Reads the members. A fault in one does not hide faults in others.
    pub(crate) fn read(
        &self,
        members: &Mapping,
        types: &[MemberType],
        expressions: &Expressions,
        findings: &mut Findings<'_>,
    ) -> Vec<Member> {
        let Self { member, max, .. } = self;
        if members.len() > *max {
            let message = format!("too many {member}s; the maximum is {max}");
            findings.value(&self.path(&[]), message);
            return Vec::new();
        }
        let mut read = Vec::new();
        for (name, value) in members {
            let Some(name) = name.as_str() else {
                let message = format!("the name of {} {member} must be a string", self.article());
                findings.value(&self.path(&[]), message);
                continue;
            };
            if !is_name(name) {
                findings.key(
                    &self.path(&[name]),
                    format!("invalid {member} name '{name}'"),
                    Some("use letters, digits, '_' and '-', starting with a letter".to_owned()),
                );
            }
            read.extend(self.read_one(name, value, types, expressions, findings));
        }
        read
    }

    fn article(&self) -> &'static str {
        if self.member.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        }
    }

    fn read_one(
        &self,
        name: &str,
        value: &Value,
        types: &[MemberType],
        expressions: &Expressions,
        findings: &mut Findings<'_>,
    ) -> Option<Member> {
        let at = self.path(&[name]);
        let raw = decode_valid_part::<RawMember>(value.clone(), &at, expressions, findings)?;
        let Some(found) = types.iter().find(|it| it.r#type == raw.r#type) else {
            let known: Vec<&str> = types.iter().map(|it| it.r#type).collect();
            findings.value_with(
                &self.path(&[name, "type"]),
                format!("unknown {} type '{}'", self.member, raw.r#type),
                suggestion(&raw.r#type, &known),
            );
            return None;
        };
        let options = raw.options.filter(|options| !options.is_null());
        let options = options.unwrap_or_else(|| Value::Mapping(Mapping::new()));
        let at_options = self.path(&[name, "options"]);
        (found.check)(options.clone(), &at_options, expressions, findings);
        Some(Member {
            name: name.to_owned(),
            r#type: raw.r#type,
            options,
            expressions: expressions.below(&at),
        })
    }

    /// JSON Schema of the section.
    pub(crate) fn schema(&self, types: &[MemberType], generator: &mut SchemaGenerator) -> Json {
        let types = types.iter().map(|it| {
            json!({
                "title": it.r#type,
                "description": it.about,
                "type": "object",
                "additionalProperties": false,
                "required": ["type"],
                "properties": {
                    "type": { "const": it.r#type },
                    "options": (it.schema)(generator).to_value(),
                },
            })
        });
        let types: Vec<Json> = types.collect();
        let mut schema = json!({
            "type": "object",
            "description": self.about,
            "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
        });
        if !types.is_empty()
            && let Some(schema) = schema.as_object_mut()
        {
            schema.insert("additionalProperties".to_owned(), json!({ "oneOf": types }));
        }
        schema
    }

    /// The schema of a type's options, in the schema of the config.
    pub(crate) fn options_of<'s>(&self, schema: &'s Json, r#type: &MemberType) -> Option<&'s Json> {
        let mut at: String = self
            .at
            .iter()
            .flat_map(|key| ["/properties/", key])
            .collect();
        at.push_str("/additionalProperties/oneOf");
        let mut types = schema.pointer(&at)?.as_array()?.iter();
        let title = Json::from(r#type.r#type);
        let found = types.find(|it| it.get("title") == Some(&title))?;
        found.pointer("/properties/options")
    }
}
