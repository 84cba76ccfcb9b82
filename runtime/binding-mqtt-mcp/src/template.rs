//! Templates of texts and of JSON: Jinja, within limits.
//!
//! Guarantees: what a message contains is data and never a template; a rendering ends, and its output
//! is bounded; a value that does not exist is an error, not an empty text; what is rendered as JSON is
//! valid JSON.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytestring::ByteString;
use minijinja::value::ObjectRepr;
use minijinja::{
    AutoEscape, Environment, ErrorKind, Expression, UndefinedBehavior, Value, escape_formatter,
};
use serde::de::IgnoredAny;
use tidegate_streams::Visible;
use tidegate_streams::shown;

use crate::levels::is_word;
use crate::variables::Variables;

/// Most bytes of a template's source.
pub(crate) const SOURCE_MAX: usize = 65_536;
/// Most instructions of one rendering.
const FUEL: u64 = 50_000;
/// Most bytes of a rendered text.
pub(crate) const OUTPUT_MAX: usize = 262_144;
/// Name of templates whose expressions are written as JSON.
const JSON: &str = "json";
/// Deepest nesting of a value that an expression computes: as deep as JSON is read.
const DEPTH_MAX: usize = 128;
/// Words that are no names of variables.
const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];
const TEXT: &str = "text";

/// A template of a text. One that is a single expression also yields a value. It is compiled once.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: ByteString,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// No template at all.
    Literal,
    /// `{{ expression }}` alone.
    Expression(Arc<Alone>),
    /// Text around expressions, as it is: the environment has it by the name [`TEXT`].
    Text(Arc<Environment<'static>>),
    /// JSON around expressions, whose values are written as JSON: by the name [`JSON`].
    Json(Arc<Environment<'static>>),
}

/// An expression that is the whole template.
#[derive(Debug)]
struct Alone {
    expression: Expression<'static, 'static>,
    /// The names of one that only names a variable or a member of it: they are looked up without the engine.
    path: Vec<Box<str>>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        let forms = (&self.form, &other.form);
        self.source == other.source
            && std::mem::discriminant(forms.0) == std::mem::discriminant(forms.1)
    }
}

impl Eq for Template {}

/// Why a rendering failed. A sentence without its full stop.
pub(crate) type Failed = String;

impl Template {
    /// Parses a template of a text. The error is a sentence without its full stop.
    pub(crate) fn text(source: &str) -> Result<Self, String> {
        Self::parse(source, false)
    }

    /// Parses a template of a JSON document.
    pub(crate) fn json(source: &str) -> Result<Self, String> {
        Self::parse(source, true)
    }

    fn parse(source: &str, is_json: bool) -> Result<Self, String> {
        if source.len() > SOURCE_MAX {
            return Err(format!(
                "the template is {} bytes long and at most {SOURCE_MAX} are allowed; shorten it",
                source.len()
            ));
        }
        let is_marked = ["{{", "{%", "{#"].iter().any(|mark| source.contains(mark));
        let form = if !is_marked && !is_json {
            Form::Literal
        } else if let Some(expression) = expression(source) {
            Form::Expression(Arc::new(expression))
        } else {
            let name = if is_json { JSON } else { TEXT };
            let mut environment = environment().clone();
            environment
                .add_template_owned(name, source.to_owned())
                .map_err(|error| format!("invalid template: {}", reason(&error)))?;
            let environment = Arc::new(environment);
            match name {
                JSON => Form::Json(environment),
                _ => Form::Text(environment),
            }
        };
        Ok(Self {
            source: source.into(),
            form,
        })
    }

    /// The template, as written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it always yields the same text.
    pub(crate) fn is_literal(&self) -> bool {
        matches!(self.form, Form::Literal)
    }

    /// The variables it refers to, with the members of those: `topic.robot`.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        let found = match &self.form {
            Form::Literal => BTreeSet::new(),
            Form::Expression(alone) => alone
                .expression
                .undeclared_variables(true)
                .into_iter()
                .collect(),
            Form::Text(environment) => undeclared(environment, TEXT),
            Form::Json(environment) => undeclared(environment, JSON),
        };
        let environment = environment();
        let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let is_global = |name: &String| globals.contains(first(name));
        let found = found.into_iter();
        found.filter(|name| !is_global(name)).collect()
    }

    /// Renders a text.
    pub(crate) fn render(&self, variables: &Variables) -> Result<ByteString, Failed> {
        match &self.form {
            Form::Literal => Ok(self.source.clone()),
            Form::Expression(alone) => {
                let value = self.value(alone, variables)?;
                let mut output = Vec::new();
                let mut bounded = Bounded {
                    output: &mut output,
                    start: 0,
                };
                write!(bounded, "{value}").map_err(|_| too_long())?;
                text(output)
            }
            Form::Text(environment) => self.text_of(environment, TEXT, variables),
            Form::Json(environment) => self.text_of(environment, JSON, variables),
        }
    }

    /// Appends the rendered JSON document. After an error, `output` has a part of it.
    pub(crate) fn render_json(
        &self,
        variables: &Variables,
        output: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        let start = output.len();
        let mut bounded = Bounded { output, start };
        match &self.form {
            Form::Expression(alone) => write_json(&mut bounded, &self.value(alone, variables)?),
            Form::Literal | Form::Text(_) => {
                let text = self.render(variables)?;
                write_json(&mut bounded, &*text)
            }
            Form::Json(environment) => {
                self.render_to(environment, JSON, variables, &mut bounded)?;
                let rendered = output.get(start..).unwrap_or_default();
                serde_json::from_slice::<IgnoredAny>(rendered)
                    .map(|_| ())
                    .map_err(|error| format!("the template rendered invalid JSON: {error}"))
            }
        }
    }

    /// Whether the rendered value counts as true: an empty text, `false`, 0 and none do not.
    pub(crate) fn is_true(&self, variables: &Variables) -> Result<bool, Failed> {
        if let Form::Expression(alone) = &self.form {
            return Ok(self.value(alone, variables)?.is_true());
        }
        let text = self.render(variables)?;
        let text = text.trim();
        Ok(!matches!(text, "" | "0") && !["false", "none"].contains(&&*text.to_ascii_lowercase()))
    }

    /// The value of an expression; one that does not exist is an error.
    fn value(&self, alone: &Alone, variables: &Variables) -> Result<Value, Failed> {
        if let Some(value) = alone.look_up(variables) {
            return Ok(value);
        }
        let value = alone.expression.eval(variables.context());
        let value = value.map_err(|error| self.failed(&error))?;
        if value.is_undefined() {
            let source = between_braces(&self.source).unwrap_or_default();
            return Err(format!("'{}' is undefined", shown(source.trim())));
        }
        if !fits(&value) {
            return Err(too_long());
        }
        Ok(value)
    }

    fn text_of(
        &self,
        environment: &Environment<'static>,
        name: &str,
        variables: &Variables,
    ) -> Result<ByteString, Failed> {
        let mut output = Vec::new();
        let mut bounded = Bounded {
            output: &mut output,
            start: 0,
        };
        self.render_to(environment, name, variables, &mut bounded)?;
        text(output)
    }

    fn render_to(
        &self,
        environment: &Environment<'static>,
        name: &str,
        variables: &Variables,
        output: &mut Bounded<'_>,
    ) -> Result<(), Failed> {
        let template = environment.get_template(name);
        template
            .and_then(|it| it.render_captured_to(variables.context(), output))
            .map(|_| ())
            .map_err(|error| self.failed(&error))
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

/// Whether a value that an expression has computed can be written: `[text] * n` is a list that takes room only then,
/// and all of its items are visited, also when the first ones are too many already.
fn fits(value: &Value) -> bool {
    let mut left = OUTPUT_MAX;
    fits_in(value, &mut left, DEPTH_MAX)
}

/// Takes at least as many bytes from `left` as the value has items, and its texts bytes.
fn fits_in(value: &Value, left: &mut usize, depth: usize) -> bool {
    let size = value.as_str().map(str::len).or_else(|| value.len());
    let Some(rest) = left.checked_sub(size.unwrap_or(1)) else {
        return false;
    };
    *left = rest;
    let Some(object) = value.as_object() else {
        return true;
    };
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match object.repr() {
        ObjectRepr::Map => {
            let mut pairs = object.try_iter_pairs().into_iter().flatten();
            pairs.all(|(key, it)| fits_in(&key, left, depth) && fits_in(&it, left, depth))
        }
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            let mut items = object.try_iter().into_iter().flatten();
            items.all(|it| fits_in(&it, left, depth))
        }
        _ => true,
    }
}

/// A JSON value as one of templates.
pub(crate) fn from_json(json: impl serde::Serialize) -> Value {
    Value::from(minijinja::value::Serde(json))
}

/// The variables that a template refers to, with the members of those.
fn undeclared(environment: &Environment<'static>, name: &str) -> BTreeSet<String> {
    let template = environment.get_template(name).into_iter();
    template
        .flat_map(|it| it.undeclared_variables(true))
        .collect()
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
fn between_braces(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    Some(inner.trim_matches('-'))
}

/// The only expression of a text.
fn expression(source: &str) -> Option<Alone> {
    let source = between_braces(source)?;
    let expression = environment()
        .compile_expression_owned(source.to_owned())
        .ok()?;
    let path = path(source.trim());
    Some(Alone { expression, path })
}

/// The names in an expression such as `payload.order.drink`; none if it is another one.
fn path(expression: &str) -> Vec<Box<str>> {
    let names = expression.split('.').map(|name| {
        let is_name = is_word(name) && !CONSTANTS.contains(&name);
        is_name.then(|| Box::from(name))
    });
    names.collect::<Option<_>>().unwrap_or_default()
}

impl Alone {
    /// The value that a path names. `None` if there is none, or it is not a path: the engine knows why.
    fn look_up(&self, variables: &Variables) -> Option<Value> {
        let (first, members) = self.path.split_first()?;
        let mut value = variables.get(first)?.clone();
        for name in members {
            value = value.get_attr(name).ok()?;
        }
        (!value.is_undefined()).then_some(value)
    }
}

fn write_json(
    output: &mut Bounded<'_>,
    value: &(impl serde::Serialize + ?Sized),
) -> Result<(), Failed> {
    serde_json::to_writer(output, value).map_err(|error| {
        if error.is_io() {
            too_long()
        } else {
            error.to_string()
        }
    })
}

fn text(output: Vec<u8>) -> Result<ByteString, Failed> {
    let text = String::from_utf8(output).map_err(|error| error.to_string())?;
    Ok(text.into())
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
        environment.set_formatter(|output, state, value| {
            if fits(value) {
                escape_formatter(output, state, value)
            } else {
                Err(ErrorKind::WriteFailure.into())
            }
        });
        environment.set_auto_escape_callback(|name| match name {
            JSON => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        environment
    })
}

/// Takes at most [`OUTPUT_MAX`] bytes.
struct Bounded<'a> {
    output: &'a mut Vec<u8>,
    /// What was in the output before.
    start: usize,
}

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.output.len() - self.start + bytes.len() > OUTPUT_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
