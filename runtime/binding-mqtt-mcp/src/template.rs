//! Templates of texts and of JSON: Jinja, within limits.
//!
//! Guarantees: what a message contains is data and never a template; a rendering ends, and its output
//! is bounded; a value that does not exist is an error, not an empty text; what is rendered as JSON is
//! valid JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::de::IgnoredAny;
use tidegate_streams::Visible;
use tidegate_streams::shown;

/// Most bytes of a template's source.
pub(crate) const SOURCE_MAX: usize = 65_536;
/// Most instructions of one rendering.
const FUEL: u64 = 50_000;
/// Most bytes of a rendered text.
pub(crate) const OUTPUT_MAX: usize = 262_144;
/// Name of templates whose expressions are written as JSON.
const JSON: &str = "json";
const TEXT: &str = "text";

/// The variables of a rendering.
pub(crate) type Variables = BTreeMap<String, Value>;

/// A template of a text. One that is a single expression also yields a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    source: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// No template at all.
    Literal,
    /// `{{ expression }}` alone.
    Expression,
    /// Text around expressions, as it is.
    Text,
    /// JSON around expressions, whose values are written as JSON.
    Json,
}

/// Why a rendering failed. A sentence without its full stop.
pub(crate) type Failed = String;

impl Template {
    /// Parses a template of a text. The error is a sentence without its full stop.
    pub(crate) fn text(source: &str) -> Result<Self, String> {
        Self::parse(source, Form::Text)
    }

    /// Parses a template of a JSON document.
    pub(crate) fn json(source: &str) -> Result<Self, String> {
        Self::parse(source, Form::Json)
    }

    fn parse(source: &str, form: Form) -> Result<Self, String> {
        if source.len() > SOURCE_MAX {
            return Err(format!(
                "the template is {} bytes long and at most {SOURCE_MAX} are allowed; shorten it",
                source.len()
            ));
        }
        let marked = ["{{", "{%", "{#"].iter().any(|mark| source.contains(mark));
        let form = match form {
            Form::Text if !marked => Form::Literal,
            _ if expression(source).is_some_and(is_expression) => Form::Expression,
            form => form,
        };
        let template = Self {
            source: source.into(),
            form,
        };
        if matches!(form, Form::Text | Form::Json) {
            template
                .compile(environment())
                .map_err(|error| format!("invalid template: {}", reason(&error)))?;
        }
        Ok(template)
    }

    /// The template, as written.
    pub(crate) const fn source(&self) -> &str {
        &self.source
    }

    /// Whether it always yields the same text.
    pub(crate) fn is_literal(&self) -> bool {
        self.form == Form::Literal
    }

    /// The variables it refers to, with the members of those: `topic.robot`.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        let environment = environment();
        let found = match self.form {
            Form::Literal => return BTreeSet::new(),
            Form::Expression => expression(&self.source)
                .and_then(|it| environment.compile_expression(it).ok())
                .map(|it| it.undeclared_variables(true)),
            Form::Text | Form::Json => self
                .compile(environment)
                .ok()
                .map(|it| it.undeclared_variables(true)),
        };
        let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let is_global = |name: &String| globals.contains(first(name));
        let found = found.unwrap_or_default().into_iter();
        found.filter(|name| !is_global(name)).collect()
    }

    /// Renders a text.
    pub(crate) fn render(&self, variables: &Variables) -> Result<String, Failed> {
        if self.form == Form::Literal {
            return Ok(self.source.to_string());
        }
        let mut output = Bounded(Vec::new());
        let environment = environment();
        if self.form == Form::Expression {
            let value = self.value(environment, variables)?;
            std::io::Write::write_all(&mut output, value.to_string().as_bytes())
                .map_err(|_| too_long())?;
        } else {
            self.render_to(environment, variables, &mut output)?;
        }
        String::from_utf8(output.0).map_err(|error| error.to_string())
    }

    /// Renders a JSON document.
    pub(crate) fn render_json(&self, variables: &Variables) -> Result<Vec<u8>, Failed> {
        let mut output = Bounded(Vec::new());
        let environment = environment();
        match self.form {
            Form::Expression => {
                let value = self.value(environment, variables)?;
                write_json(&mut output, &value)?;
            }
            Form::Literal | Form::Text => {
                let text = self.render(variables)?;
                write_json(&mut output, &text)?;
            }
            Form::Json => {
                self.render_to(environment, variables, &mut output)?;
                serde_json::from_slice::<IgnoredAny>(&output.0)
                    .map_err(|error| format!("the template rendered invalid JSON: {error}"))?;
            }
        }
        Ok(output.0)
    }

    /// Whether the rendered value counts as true: an empty text, `false`, 0 and none do not.
    pub(crate) fn is_true(&self, variables: &Variables) -> Result<bool, Failed> {
        if self.form == Form::Expression {
            return Ok(self.value(environment(), variables)?.is_true());
        }
        let text = self.render(variables)?;
        let text = text.trim();
        Ok(!matches!(text, "" | "0") && !["false", "none"].contains(&&*text.to_ascii_lowercase()))
    }

    /// The value of an expression; one that does not exist is an error.
    fn value(
        &self,
        environment: &'static Environment<'static>,
        variables: &Variables,
    ) -> Result<Value, Failed> {
        let source = expression(&self.source).unwrap_or_default();
        let expression = compiled(environment, source);
        let expression = expression.map_err(|error| reason(&error))?;
        let value = expression.eval(Value::from_object(Members(variables.clone())));
        let value = value.map_err(|error| self.failed(&error))?;
        if value.is_undefined() {
            return Err(format!("'{}' is undefined", shown(source.trim())));
        }
        Ok(value)
    }

    fn render_to(
        &self,
        environment: &'static Environment<'static>,
        variables: &Variables,
        output: &mut Bounded,
    ) -> Result<(), Failed> {
        let template = self.compile(environment).map_err(|error| reason(&error))?;
        let context = Value::from_object(Members(variables.clone()));
        template
            .render_captured_to(context, output)
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    fn compile<'a>(
        &'a self,
        environment: &'a Environment<'a>,
    ) -> Result<minijinja::Template<'a, 'a>, minijinja::Error> {
        let name = if self.form == Form::Json { JSON } else { TEXT };
        environment.template_from_named_str(name, &self.source)
    }

    fn failed(&self, error: &minijinja::Error) -> Failed {
        match error.kind() {
            ErrorKind::WriteFailure => too_long(),
            ErrorKind::OutOfFuel => format!("the template took more than {FUEL} steps"),
            _ => {
                let source = shown(self.source.trim());
                format!("'{}' failed: {}", Visible(source), reason(error))
            }
        }
    }
}

/// A JSON value as one of templates.
pub(crate) fn from_json(json: impl serde::Serialize) -> Value {
    Value::from(minijinja::value::Serde(json))
}

/// The variables as an object, whose members need not be copied.
#[derive(Debug)]
struct Members(Variables);

impl minijinja::value::Object for Members {
    fn get_value(self: &std::sync::Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }
}

fn compiled<'a>(
    environment: &'a Environment<'a>,
    source: &'a str,
) -> Result<minijinja::Expression<'a, 'a>, minijinja::Error> {
    environment.compile_expression(source)
}

/// The name in front of the first dot.
pub(crate) fn first(variable: &str) -> &str {
    variable.split('.').next().unwrap_or(variable)
}

/// Whether a name is one of Jinja itself, such as `range`.
pub(crate) fn is_global(name: &str) -> bool {
    environment().globals().any(|(global, _)| global == name)
}

/// What is between the braces of a text that begins and ends with double braces.
fn expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Some(inner.trim_matches('-'))
}

fn is_expression(source: &str) -> bool {
    environment().compile_expression(source).is_ok()
}

fn write_json(output: &mut Bounded, value: &impl serde::Serialize) -> Result<(), Failed> {
    serde_json::to_writer(output, value).map_err(|error| {
        if error.is_io() {
            too_long()
        } else {
            error.to_string()
        }
    })
}

fn too_long() -> String {
    format!("the template rendered more than {OUTPUT_MAX} bytes")
}

/// What the engine says, which may quote the template or the payload.
fn reason(error: &minijinja::Error) -> String {
    let kind = error.kind().to_string();
    match error.detail() {
        Some(detail) => format!("{kind}: {}", Visible(shown(detail))),
        None => kind,
    }
}

/// The environment of all templates. It never changes.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_auto_escape_callback(|name| match name {
            JSON => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        environment
    })
}

/// Takes at most [`OUTPUT_MAX`] bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(json: serde_json::Value) -> Variables {
        let serde_json::Value::Object(members) = json else {
            panic!("an object")
        };
        let members = members.into_iter();
        members
            .map(|(name, value)| (name, from_json(value)))
            .collect()
    }

    fn json(source: &str, given: serde_json::Value) -> Result<String, String> {
        let template = Template::json(source).expect(source);
        let rendered = template.render_json(&variables(given))?;
        Ok(String::from_utf8(rendered).expect("JSON"))
    }

    #[test]
    fn an_expression_keeps_its_type() {
        let given =
            serde_json::json!({ "payload": { "n": 7, "list": [1, "a"], "o": { "k": null } } });
        for (source, expected) in [
            ("{{ payload.n }}", "7"),
            ("{{ payload.list }}", r#"[1,"a"]"#),
            (" {{ payload.o }} ", r#"{"k":null}"#),
            ("{{ payload.n > 3 }}", "true"),
            ("{{ {'a': {'b': payload.n}} }}", r#"{"a":{"b":7}}"#),
        ] {
            assert_eq!(
                json(source, given.clone()).as_deref(),
                Ok(expected),
                "{source}"
            );
        }
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_json() {
        let given = serde_json::json!({ "name": "a\", \"admin\": true, \"x\": \"" });
        let rendered = json(r#"{"name": {{ name }}}"#, given.clone()).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&rendered).expect("JSON");
        assert_eq!(value, serde_json::json!({ "name": given["name"] }));
        let error = json(r#"{"name": "{{ name }}"}"#, given).expect_err("quoted twice");
        assert!(error.contains("invalid JSON"), "{error}");
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        for source in [
            "{{ missing }}",
            "{{ payload.missing }}",
            "{{ payload.a.b }}",
        ] {
            let template = Template::text(source).expect(source);
            let given = variables(serde_json::json!({ "payload": {} }));
            assert!(template.render(&given).is_err(), "{source}");
            assert!(template.render_json(&given).is_err(), "{source}");
        }
        let defined = Template::text("{{ payload is defined and missing is not defined }}");
        let given = variables(serde_json::json!({ "payload": {} }));
        let rendered = defined.expect("valid").render_json(&given);
        assert_eq!(rendered, Ok(b"true".to_vec()));
    }

    #[test]
    fn what_counts_as_true() {
        let given = variables(serde_json::json!({ "level": 7, "name": "", "list": [] }));
        for (source, expected) in [
            ("{{ level < 10 }}", true),
            ("{{ level > 10 }}", false),
            ("{{ name }}", false),
            ("{{ list }}", false),
            ("{% if level > 10 %}yes{% endif %}", false),
            ("{% if level < 10 %}yes{% endif %}", true),
            (" {{ level > 10 }} {# a comment #}", false),
            ("true", true),
        ] {
            let template = Template::text(source).expect(source);
            assert_eq!(template.is_true(&given), Ok(expected), "{source}");
        }
        assert!(
            Template::text("{{ no }}")
                .expect("valid")
                .is_true(&given)
                .is_err()
        );
    }

    #[test]
    fn a_template_that_loops_or_grows_fails() {
        for source in [
            "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
            "{% for i in range(9999) %}{{ text }}{% endfor %}",
            "{{ text * 100000 }}",
            "{{ range(99999) | list | join('xxxxxxxx') }}",
        ] {
            let template = Template::text(source).expect(source);
            let given = variables(serde_json::json!({ "text": "x".repeat(100) }));
            assert!(template.render(&given).is_err(), "{source}");
        }
    }

    #[test]
    fn a_payload_is_never_a_template() {
        let given = variables(serde_json::json!({ "payload": "{{ secret }}", "secret": "x" }));
        let template = Template::text("{{ payload }}").expect("valid");
        assert_eq!(template.render(&given).as_deref(), Ok("{{ secret }}"));
    }

    #[test]
    fn the_variables_of_a_template_are_known() {
        let of = |source| {
            let found = Template::text(source).expect(source).variables();
            found.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("plain"), "");
        assert_eq!(of("{{ topic.robot }}"), "topic.robot");
        assert_eq!(
            of("a {{ payload.x.y }} {% for i in range(3) %}{{ i }}{{ b }}{% endfor %}"),
            "b payload.x.y"
        );
    }

    #[test]
    fn errors_of_the_author_are_found_at_once() {
        for source in ["{{ a", "{% if %}", "{{ a }} {{ | }}"] {
            assert!(Template::text(source).is_err(), "{source}");
        }
        assert!(Template::text(&"x".repeat(SOURCE_MAX + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_source_is_parsed_or_refused(source in "[{}%#a-z .'\"|()0-9*-]{0,60}") {
            if let Ok(template) = Template::json(&source) {
                let _ = template.variables();
                if let Ok(rendered) = template.render_json(&Variables::new()) {
                    proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(&rendered).is_ok());
                }
            }
        }
    }
}
