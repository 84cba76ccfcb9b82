//! Reads a config: file, YAML, expressions, guards, bindings, checks across bindings.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::num::NonZeroU16;
use std::path::Path;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use thiserror::Error;

use crate::attachment;
use crate::check::{Draft, connect};
use crate::decode::decode;
use crate::draft::draft;
use crate::exporters::{EXPORTERS, RawTelemetry};
use crate::expression::{Expressions, MissingVariables, Sources, substitute, unquoted};
use crate::fault::{Fault, Faults, Findings};
use crate::fit;
use crate::guards::{GUARDS, check_references};
use crate::locate::Location;
use crate::model::Config;
use crate::preset;
use crate::registry::{Kinds, Registry};
use crate::shorthand::{self, expand};

/// Largest accepted config, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;
/// Most bindings of a config.
const BINDINGS_MAX: usize = 10_000;
/// Default of `shutdownTimeout`, in milliseconds.
const SHUTDOWN_TIMEOUT: u64 = 10_000;

/// A config that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read config {file}: {error}")]
    Unreadable {
        /// Path of the config.
        file: String,
        /// Error of the operating system.
        error: io::Error,
    },
    /// The file is larger than [`SIZE_MAX`].
    #[error("config {file} is larger than {SIZE_MAX} bytes")]
    TooLarge {
        /// Path of the config.
        file: String,
    },
    /// The content has faults.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Reads and checks a config file. `environment` looks up variables.
pub fn read<F>(
    path: &Path,
    registry: &Registry<F>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, LoadError> {
    read_with(path, registry, environment, MissingVariables::Refused)
}

/// The result of checking a config without faults.
#[derive(Debug, Clone)]
pub struct Validated {
    /// Number of bindings.
    pub bindings: usize,
    /// Valid settings that are likely mistakes, in source order.
    pub warnings: Vec<Fault>,
}

/// Checks a config file without running it; `missing` says whether environment variables may be unset.
pub fn validate<F>(
    path: &Path,
    registry: &Registry<F>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: MissingVariables,
) -> Result<Validated, LoadError> {
    let config = read_with(path, registry, environment, missing)?;
    Ok(Validated {
        bindings: config.bindings.len(),
        warnings: config.warnings,
    })
}

/// Reads and checks a config file; `missing` says whether environment variables may be unset.
pub fn read_with<F>(
    path: &Path,
    registry: &Registry<F>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: MissingVariables,
) -> Result<Config, LoadError> {
    let (file, text) = read_file(path)?;
    let sources = Sources {
        environment,
        folder: path.parent().unwrap_or_else(|| Path::new("")),
        missing,
    };
    Ok(load_with(&file, &text, registry, &sources)?)
}

/// The config with its shorthands replaced by the bindings that they stand for, as YAML. Expressions stay
/// as they are, but for those of a shorthand; secrets in a shorthand are replaced by expressions.
pub fn expanded<F>(
    path: &Path,
    registry: &Registry<F>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: MissingVariables,
) -> Result<String, LoadError> {
    read_with(path, registry, environment, missing)?;
    let (file, text) = read_file(path)?;
    let sources = Sources {
        environment,
        folder: path.parent().unwrap_or_else(|| Path::new("")),
        missing,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut findings = Findings::new(&file, text);
    // It was checked, so it is valid YAML.
    let value: Value = serde_yaml::from_str(text).unwrap_or_default();
    let expanded = shorthand::written_out(value, &registry.kinds(), &sources, &mut findings);
    Ok(serde_yaml::to_string(&expanded).unwrap_or_default())
}

/// The name of a file in messages, and its text.
fn read_file(path: &Path) -> Result<(String, String), LoadError> {
    let file = path.display().to_string();
    let unreadable = |error| LoadError::Unreadable {
        file: file.clone(),
        error,
    };
    let mut text = String::new();
    let source = fs::File::open(path).map_err(unreadable)?;
    source
        .take(SIZE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(LoadError::TooLarge { file });
    }
    Ok((file, text))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Top {
    name: String,
    workers: Option<NonZeroU16>,
    shutdown_timeout: Option<u64>,
    /// Decoded one by one, according to their type.
    #[serde(rename = "guards", default)]
    _guards: Mapping,
    #[serde(rename = "telemetry")]
    _telemetry: Option<RawTelemetry>,
    /// Decoded one by one, according to their type and kind.
    #[serde(rename = "bindings")]
    _bindings: Mapping,
}

/// Checks the text of a config. `file` is its name in messages, and relative file paths in it start at
/// the folder of `file`; `environment` looks up variables.
pub fn load<F>(
    file: &str,
    text: &str,
    registry: &Registry<F>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Faults> {
    let sources = Sources {
        environment,
        folder: Path::new(file).parent().unwrap_or_else(|| Path::new("")),
        missing: MissingVariables::Refused,
    };
    load_with(file, text, registry, &sources)
}

fn load_with<F>(
    file: &str,
    text: &str,
    registry: &Registry<F>,
    sources: &Sources<'_>,
) -> Result<Config, Faults> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut findings = Findings::new(file, text);
    let mut value: Value = match serde_yaml::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let location = error
                .location()
                .map_or(Location::START, |location| Location {
                    line: location.line(),
                    column: location.column(),
                });
            let help = unquoted(text, location)
                .map(|expression| format!("quote the expression: \"{expression}\""));
            findings.at(location, format!("invalid YAML: {error}"), help);
            return Err(findings.into_faults());
        }
    };
    let mut expressions = substitute(&mut value, sources, &mut findings);
    // Check guards, bindings and exporters even if the top level has faults.
    let bindings = value.get("bindings").and_then(Value::as_mapping);
    let mut bindings = bindings.cloned().unwrap_or_default();
    let (guards, exporters) = (GUARDS.of(&value), EXPORTERS.of(&value));
    let kinds = &registry.kinds();
    preset::replace(&mut bindings, kinds, &mut findings);
    let bindings = expand(&bindings, kinds, &mut expressions, &mut findings);
    let bindings = attachment::expand(bindings, kinds, &mut expressions, &mut findings);
    let top = decode::<Top>(value, &[], &expressions, &mut findings);
    let declared_guards: Vec<&str> = guards.keys().filter_map(Value::as_str).collect();
    let guards = GUARDS.read(&guards, registry.guards(), &expressions, &mut findings);
    let drafts = drafts(&bindings, kinds, &expressions, &mut findings);
    check_references(&declared_guards, &drafts, &mut findings);
    let exporters = EXPORTERS.read(
        &exporters,
        registry.exporters(),
        &expressions,
        &mut findings,
    );
    let bindings = connect(drafts, kinds, &mut findings);
    fit::check(&bindings, kinds, &mut findings);
    if top.is_none() && findings.is_empty() {
        findings.at(Location::START, "the config is empty", None);
    }
    let warnings = findings.into_warnings()?;
    Ok(top.map_or_else(Config::default, |top| Config {
        name: top.name,
        workers: top.workers.map(NonZeroU16::get),
        shutdown_timeout: top.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT),
        folder: sources.folder.to_owned(),
        guards,
        bindings,
        exporters,
        warnings,
        text: text.to_owned(),
    }))
}

pub(crate) fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

fn drafts<'r>(
    bindings: &Mapping,
    kinds: &'r Kinds,
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<Draft<'r>> {
    if bindings.len() > BINDINGS_MAX {
        findings.value(
            &path(&["bindings"]),
            format!("too many bindings; the maximum is {BINDINGS_MAX}"),
        );
        return Vec::new();
    }
    let mut drafts = Vec::new();
    for (name, value) in bindings {
        let Some(name) = name.as_str() else {
            findings.value(&path(&["bindings"]), "a binding name must be a string");
            continue;
        };
        if !is_name(name) {
            findings.key(
                &path(&["bindings", name]),
                format!("invalid binding name '{name}'"),
                Some("use letters, digits, '_' and '-', starting with a letter".to_owned()),
            );
        }
        drafts.push(draft(name, value, kinds, expressions, findings));
    }
    drafts
}

pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || matches!(each, '_' | '-'))
}

/// Maps binding names to indices.
pub(crate) fn index_of<'d>(drafts: &'d [Draft<'_>]) -> BTreeMap<&'d str, usize> {
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| (draft.name.as_str(), index))
        .collect()
}
