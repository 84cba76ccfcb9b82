//! Expressions in config strings: `${{env.NAME}}` is replaced by the value of an environment variable,
//! `${{file.PATH}}` by the content of a file, for secrets.
//!
//! A replaced value never appears in a message: it may be a secret.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_yaml::Value;

use crate::fault::Findings;
use crate::locate::Location;

/// The largest file that an expression reads, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// What an expression begins with; a text keeps it only where an expression has no value.
pub(crate) const UNRESOLVED: &str = "${{";

/// How an environment variable that is not set is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingVariables {
    /// As a fault.
    #[default]
    Refused,
    /// As a warning; the value that contains it is not checked.
    Allowed,
}

/// Where the values of expressions come from.
pub(crate) struct Sources<'a> {
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Base of relative file paths: the folder of the config.
    pub(crate) folder: &'a Path,
    pub(crate) missing: MissingVariables,
}

/// A string whose expressions were replaced.
#[derive(Debug, Clone)]
struct Expanded {
    path: Vec<String>,
    /// The text before replacement.
    source: String,
    /// The string was a single expression, so its value may be read as a number.
    alone: bool,
}

/// All strings of a config, or of a part of it, whose expressions were replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expressions(Vec<Expanded>);

impl Expressions {
    /// The source of the expression at a path, if the value is a single expression.
    pub(crate) fn alone_at(&self, path: &[String]) -> Option<&str> {
        let found = self.0.iter().find(|it| it.alone && it.path == path);
        found.map(|it| it.source.as_str())
    }

    /// Whether the value at a path contains an expression.
    pub(crate) fn is_at(&self, path: &[String]) -> bool {
        self.0.iter().any(|it| it.path == path)
    }

    /// Repeats the expressions at and below a path for another one, to which the value is moved.
    pub(crate) fn repeat_at(&mut self, from: &[String], to: &[String]) {
        let below = self.below(from);
        self.0.extend(below.0.into_iter().map(|it| Expanded {
            path: to.iter().cloned().chain(it.path).collect(),
            ..it
        }));
    }

    /// The expressions below a path, with paths relative to it.
    pub(crate) fn below(&self, path: &[String]) -> Self {
        let below = self.0.iter().filter_map(|it| {
            let path = it.path.strip_prefix(path)?.to_vec();
            Some(Expanded { path, ..it.clone() })
        });
        Self(below.collect())
    }
}

/// Replaces the expressions in every string below `value`.
pub(crate) fn substitute(
    value: &mut Value,
    sources: &Sources<'_>,
    findings: &mut Findings<'_>,
) -> Expressions {
    let mut expressions = Expressions::default();
    walk(value, &mut Vec::new(), sources, findings, &mut expressions);
    expressions
}

fn walk(
    value: &mut Value,
    path: &mut Vec<String>,
    sources: &Sources<'_>,
    findings: &mut Findings<'_>,
    expressions: &mut Expressions,
) {
    match value {
        Value::String(text) if text.contains("${{") => match expand(text, sources) {
            Ok((expanded, alone)) => {
                let source = std::mem::replace(text, expanded);
                expressions.0.push(Expanded {
                    path: path.clone(),
                    source,
                    alone,
                });
            }
            Err(Refusal::Unset(name)) if sources.missing == MissingVariables::Allowed => {
                let message = format!("environment variable {name} is not set");
                findings.warn(path, message, "set it before the gateway starts");
                findings.ignore_below(path);
            }
            Err(refusal) => {
                let (message, help) = refusal.into_message();
                findings.value_with(path, message, help);
                // Without the value nothing below can be checked.
                findings.ignore_below(path);
            }
        },
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                walk(item, path, sources, findings, expressions);
                path.pop();
            }
        }
        Value::Mapping(members) => {
            for (key, member) in members.iter_mut() {
                path.push(key.as_str().unwrap_or_default().to_owned());
                walk(member, path, sources, findings, expressions);
                path.pop();
            }
        }
        _ => {}
    }
}

/// An expression that has no value.
enum Refusal {
    Unterminated,
    Unknown(String),
    Unset(String),
    File { path: String, why: String },
}

impl Refusal {
    /// The message and the fix.
    fn into_message(self) -> (String, String) {
        match self {
            Self::Unterminated => (
                "unterminated expression: missing '}}'".to_owned(),
                "write ${{env.NAME}}".to_owned(),
            ),
            Self::Unknown(expression) => (
                format!("unknown expression '{expression}'"),
                "write ${{env.NAME}} for an environment variable, ${{file.PATH}} for the content \
                 of a file"
                    .to_owned(),
            ),
            Self::Unset(name) => (
                format!("environment variable {name} is not set"),
                format!(
                    "set {name}, or use validate --allow-missing-env to check the config without it"
                ),
            ),
            Self::File { path, why } => (
                format!("cannot read file '{path}': {why}"),
                "use a text file, with an absolute path or a path relative to the config's folder"
                    .to_owned(),
            ),
        }
    }
}

/// The text with its expressions replaced, and whether it was one expression alone.
fn expand(text: &str, sources: &Sources<'_>) -> Result<(String, bool), Refusal> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut alone = false;
    while let Some((before, behind)) = rest.split_once("${{") {
        let (expression, after) = behind.split_once("}}").ok_or(Refusal::Unterminated)?;
        let value = evaluate(expression.trim(), sources)?;
        alone = before.is_empty() && after.is_empty() && expanded.is_empty();
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok((expanded, alone))
}

fn evaluate(expression: &str, sources: &Sources<'_>) -> Result<String, Refusal> {
    if let Some(name) = expression.strip_prefix("env.") {
        return (sources.environment)(name).ok_or_else(|| Refusal::Unset(name.to_owned()));
    }
    let Some(path) = expression.strip_prefix("file.") else {
        return Err(Refusal::Unknown(expression.to_owned()));
    };
    let path = sources.folder.join(path);
    read_secret(&path).map_err(|why| Refusal::File {
        path: path.display().to_string(),
        why,
    })
}

/// The content of a file without the trailing newline that editors and `echo` add.
fn read_secret(path: &Path) -> Result<String, String> {
    let mut text = read_text(path, FILE_MAX)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The content of a regular file of UTF-8 that is at most `max` bytes long.
pub fn read_text(path: &Path, max: u64) -> Result<String, String> {
    let file = fs::metadata(path).map_err(|error| error.to_string())?;
    // A device may never end, and a pipe blocks until someone writes.
    if !file.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > max {
        return Err(format!("larger than {max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not valid UTF-8".to_owned())
}

/// The unquoted expression that made a text invalid YAML, if any: within `{ }` and `[ ]` the parser
/// takes its braces for a mapping.
pub(crate) fn unquoted(text: &str, at: Location) -> Option<&str> {
    // The parser may report the following line.
    let mut lines = text.lines().skip(at.line.saturating_sub(2)).take(2);
    lines.find_map(|line| {
        line.match_indices("${{").find_map(|(start, _)| {
            let before = line.get(..start)?;
            let within_quotes = |quote: char| before.matches(quote).count() % 2 == 1;
            if within_quotes('"') || within_quotes('\'') {
                return None;
            }
            let rest = line.get(start..)?;
            let end = rest.find("}}")? + 2;
            rest.get(..end)
        })
    })
}
