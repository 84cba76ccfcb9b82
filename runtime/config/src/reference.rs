//! A reference of every key and option, in Markdown, from the schema and the registry.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::registry::{Exits, Kinds, Registry, Shape};
use crate::schema::schema;

/// The reference of a config with the bindings of a registry.
pub fn reference<F>(registry: &Registry<F>) -> String {
    let schema = schema(registry);
    let kinds = registry.kinds();
    let page = Page {
        schema: &schema,
        kinds: &kinds,
    };
    page.write()
}

/// The examples of the reference as one config: each binding by its name in it.
pub fn example<F>(registry: &Registry<F>) -> String {
    let schema = schema(registry);
    let kinds = registry.kinds();
    let page = Page {
        schema: &schema,
        kinds: &kinds,
    };
    let mut config = String::from("name: example\nbindings:\n");
    for shape in kinds.iter() {
        for line in page.example(shape).lines() {
            let _ = writeln!(config, "  {line}");
        }
    }
    config
}

const HEAD: &str = "# Config reference

Written by `tidegate schema --markdown` from the options that the bindings declare.

A config is a YAML file. `tidegate validate --config FILE` reports every fault in it, with line and
column; `tidegate schema` prints its JSON Schema for editors. A string may contain `${{env.NAME}}`, the
value of an environment variable, and `${{file.PATH}}`, the content of a file of at most 64 KiB
without its last line end; a relative PATH is relative to the config's folder. Within `{ }` and `[ ]`
such a string must be in quotes.
";

struct Page<'a> {
    schema: &'a Value,
    kinds: &'a Kinds,
}

impl Page<'_> {
    fn write(&self) -> String {
        let mut page = String::from(HEAD);
        page.push_str("\n## Top level\n\n");
        self.table(self.schema, &mut page);
        page.push_str(
            "\n## Bindings\n\nEach binding has a name, `type`, `kind` and `options`. A binding opens \
             streams towards its `exit`, another binding that accepts streams of that protocol. \
             `routes` lead to several, each under a condition (`when`).\n",
        );
        for shape in self.kinds.iter() {
            self.kind(shape, &mut page);
        }
        page
    }

    fn kind(&self, shape: &Shape, page: &mut String) {
        let about = shape.about;
        let _ = write!(
            page,
            "\n### {}\n\n{about} {}\n",
            shape.title(),
            streams(shape)
        );
        let _ = write!(page, "\n```yaml\n{}```\n", self.example(shape));
        page.push('\n');
        let options = self
            .schema_of(shape)
            .and_then(|kind| self.member(kind, "options"));
        match options {
            Some(options) if has_properties(options) => self.table(options, page),
            _ => page.push_str("It has no options.\n"),
        }
        let routes = self
            .schema_of(shape)
            .and_then(|kind| self.member(kind, "routes"));
        let condition = routes.and_then(|routes| {
            let when = routes.pointer("/items/properties/when/items")?;
            Some(self.resolve(when))
        });
        if let Some(condition) = condition {
            page.push_str("\nA condition of a route:\n\n");
            self.table(condition, page);
        }
    }

    /// A table of the properties of an object, and of those below it.
    fn table(&self, object: &Value, page: &mut String) {
        page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        self.rows(object, "", page);
    }

    fn rows(&self, object: &Value, above: &str, page: &mut String) {
        let Some(properties) = object.get("properties").and_then(Value::as_object) else {
            return;
        };
        let required = object.get("required").and_then(Value::as_array);
        let is_required = |key: &str| required.is_some_and(|keys| keys.iter().any(|it| it == key));
        let (first, then): (Vec<_>, Vec<_>) =
            properties.iter().partition(|(key, _)| is_required(key));
        for (key, property) in first.into_iter().chain(then) {
            let resolved = self.resolve(property);
            let name = format!("{above}{key}");
            // What stands beside a reference is about this place.
            let own = |member: &str| property.get(member).or_else(|| resolved.get(member));
            let meaning = own("description").and_then(Value::as_str);
            let meaning = meaning.unwrap_or_default().replace('\n', " ");
            let default = if is_required(key) {
                "required".to_owned()
            } else {
                own("default").map_or_else(String::new, |default| shown(default, &meaning))
            };
            let nested = has_properties(resolved);
            let default = if nested { String::new() } else { default };
            let _ = writeln!(
                page,
                "| `{name}` | {} | {default} | {} |",
                cell(&self.kind_of_value(property)),
                cell(&meaning)
            );
            if nested {
                self.rows(resolved, &format!("{name}."), page);
            }
        }
    }

    /// What a value may be, in words.
    fn kind_of_value(&self, property: &Value) -> String {
        let resolved = self.resolve(property);
        if let Some(alternatives) = resolved.get("anyOf").and_then(Value::as_array) {
            let words: Vec<String> = alternatives
                .iter()
                .filter(|alternative| alternative.get("type") != Some(&Value::from("null")))
                .map(|alternative| self.kind_of_value(alternative))
                .collect();
            return words.join(" or ");
        }
        let kind = resolved.get("type");
        let one = kind.and_then(Value::as_str);
        let several = kind.and_then(Value::as_array).into_iter().flatten();
        let first = several
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null");
        match one.or(first) {
            Some("integer") => bounds(resolved),
            Some("array") => {
                let items = resolved.get("items").map(|items| self.kind_of_value(items));
                match items.as_deref() {
                    None => "list".to_owned(),
                    Some("string") => "list of strings".to_owned(),
                    Some(items) => format!("list of {items}"),
                }
            }
            Some("object") => match resolved.get("properties").and_then(Value::as_object) {
                Some(properties) if property.get("default").is_none() => {
                    let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
                    format!("`{{ {}: … }}`", keys.join(": …, "))
                }
                _ => "mapping".to_owned(),
            },
            Some("boolean") => "true or false".to_owned(),
            Some(kind) => kind.to_owned(),
            None => "any".to_owned(),
        }
    }

    /// A binding of this kind, with the options that have an example, in YAML.
    fn example(&self, shape: &Shape) -> String {
        let mut yaml = format!(
            "{}:\n  type: {}\n  kind: {}\n",
            self.name_of(shape),
            shape.r#type,
            shape.kind
        );
        let options = self
            .schema_of(shape)
            .and_then(|kind| self.member(kind, "options"));
        let examples = options.map(|options| self.example_of(options));
        if let Some(Value::Object(examples)) = examples
            && !examples.is_empty()
        {
            yaml.push_str("  options:\n");
            for (key, value) in examples {
                let _ = writeln!(yaml, "    {key}: {}", flow(&value));
            }
        }
        match shape.exits {
            Exits::None => {}
            Exits::One(protocol) => {
                let exit = self.kinds.iter().find(|it| it.accepts.contains(&protocol));
                // A proxy that leads to others of its own protocol leads past itself.
                let behind =
                    |it: &&Shape| it.accepts.contains(&protocol) && it.title() != shape.title();
                let exit = self.kinds.iter().find(behind).or(exit);
                let exit = exit.map(|exit| self.name_of(exit)).unwrap_or_default();
                match self.condition_of(shape) {
                    Some(condition) => {
                        let when = flow(&self.example_of(condition));
                        let _ = write!(
                            yaml,
                            "  routes:\n    - when: [{when}]\n      exit: {exit}\n"
                        );
                    }
                    None => {
                        let _ = writeln!(yaml, "  exit: {exit}");
                    }
                }
            }
            Exits::Named(exits) => {
                yaml.push_str("  exits:\n");
                for (name, protocol) in exits {
                    let exit = self.kinds.iter().find(|it| it.accepts.contains(protocol));
                    let exit = exit.map(|exit| self.name_of(exit)).unwrap_or_default();
                    let _ = writeln!(yaml, "    {name}: {exit}");
                }
            }
        }
        yaml
    }

    /// The example of a value; of an object, those of its properties that have one.
    fn example_of(&self, schema: &Value) -> Value {
        let resolved = self.resolve(schema);
        let own = schema.get("examples").or_else(|| resolved.get("examples"));
        if let Some(example) = own.and_then(|examples| examples.get(0)) {
            return example.clone();
        }
        let properties = resolved.get("properties").and_then(Value::as_object);
        let examples = properties
            .into_iter()
            .flatten()
            .filter_map(|(key, property)| {
                let example = self.example_of(property);
                (example != Value::Null).then(|| (key.clone(), example))
            });
        let examples: Map<String, Value> = examples.collect();
        if examples.is_empty() {
            Value::Null
        } else {
            Value::Object(examples)
        }
    }

    /// `mcp_server0`; without the kind where the type has only one, unless that is a client.
    fn name_of(&self, shape: &Shape) -> String {
        let only = self.kinds.kinds_of(shape.r#type).len() == 1;
        if only && shape.kind != "client" {
            format!("{}0", shape.r#type)
        } else {
            format!("{}_{}0", shape.r#type, shape.kind)
        }
    }

    fn schema_of(&self, shape: &Shape) -> Option<&Value> {
        let kinds = self
            .schema
            .pointer("/properties/bindings/additionalProperties/oneOf")?;
        let title = Value::from(shape.title());
        let mut kinds = kinds.as_array()?.iter();
        kinds.find(|kind| kind.get("title") == Some(&title))
    }

    fn condition_of(&self, shape: &Shape) -> Option<&Value> {
        let routes = self.member(self.schema_of(shape)?, "routes")?;
        routes.pointer("/items/properties/when/items")
    }

    fn member<'s>(&'s self, schema: &'s Value, key: &str) -> Option<&'s Value> {
        Some(self.resolve(schema.get("properties")?.get(key)?))
    }

    /// What a schema refers to, if it refers to something.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.schema.pointer(pointer))
            .unwrap_or(schema)
    }
}

/// Which streams a kind accepts and opens.
fn streams(shape: &Shape) -> String {
    let words: Vec<&str> = shape
        .accepts
        .iter()
        .map(|protocol| protocol.word())
        .collect();
    let accepts = (!words.is_empty()).then(|| format!("accepts {} streams", words.join(" and ")));
    let opens: Vec<String> = shape
        .exits
        .iter()
        .map(|(name, protocol)| match shape.exits {
            Exits::Named(_) => format!("{} streams towards its exit `{name}`", protocol.word()),
            _ if shape.routing.is_some() => {
                format!("{} streams towards its `exit` or `routes`", protocol.word())
            }
            _ => format!("{} streams towards its `exit`", protocol.word()),
        })
        .collect();
    let opens = (!opens.is_empty()).then(|| format!("opens {}", opens.join(" and ")));
    match (accepts, opens) {
        (Some(accepts), Some(opens)) => format!("It {accepts} and {opens}."),
        (Some(one), None) | (None, Some(one)) => format!("It {one}."),
        (None, None) => "It stands alone: no stream leads to it or from it.".to_owned(),
    }
}

fn has_properties(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| !properties.is_empty())
}

fn bounds(integer: &Value) -> String {
    let bound = |name: &str| integer.get(name).and_then(Value::as_u64);
    match (bound("minimum"), bound("maximum")) {
        (Some(min), Some(max)) => format!("integer, {min} to {max}"),
        (Some(min), None) => format!("integer, at least {min}"),
        (None, Some(max)) => format!("integer, at most {max}"),
        (None, None) => "integer".to_owned(),
    }
}

/// A default, and in a larger unit where the meaning names the unit.
fn shown(default: &Value, meaning: &str) -> String {
    let number = default.as_u64();
    let larger = number.and_then(|number| {
        if meaning.contains("in bytes") {
            in_unit(number, &[(1 << 20, "MiB"), (1 << 10, "KiB")])
        } else if meaning.contains("milliseconds") {
            in_unit(number, &[(60_000, "min"), (1_000, "s")])
        } else {
            None
        }
    });
    match (default, larger) {
        (Value::Null, _) => "none".to_owned(),
        (default, Some(larger)) => format!("`{default}` ({larger})"),
        (Value::String(text), None) => format!("`{text}`"),
        (default, None) => format!("`{default}`"),
    }
}

fn in_unit(number: u64, units: &[(u64, &str)]) -> Option<String> {
    let fits = |(size, _): &&(u64, &str)| number >= *size && number.is_multiple_of(*size);
    let (size, unit) = units.iter().find(fits)?;
    Some(format!("{} {unit}", number / size))
}

/// A value in YAML's flow style; a string in quotes where it needs them.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[ {} ]", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| format!("{key}: {}", flow(value));
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "/._-".contains(each))
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
