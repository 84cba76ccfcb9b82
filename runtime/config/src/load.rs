//! From the text to the model.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::num::NonZeroU16;
use std::path::Path;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use thiserror::Error;

use crate::check::{Draft, DraftRoute, connect};
use crate::decode::decode;
use crate::environment::substitute;
use crate::fault::{Faults, Findings, suggestion};
use crate::locate::Location;
use crate::model::Config;
use crate::registry::{Onward, Registry};

/// The largest config that is read, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;
/// How many bindings a config may have.
const BINDINGS_MAX: usize = 10_000;
/// How long a stop waits for what is under way, in milliseconds, unless the config says otherwise.
const SHUTDOWN_TIMEOUT: u64 = 10_000;

/// A config that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the config {file} cannot be read: {error}")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The file is over the limit.
    #[error("the config {file} is larger than {SIZE_MAX} bytes")]
    TooLarge {
        /// Which file.
        file: String,
    },
    /// What stands in it is wrong.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Reads and checks a config file.
pub fn read(
    path: &Path,
    registry: &Registry,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, LoadError> {
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
    Ok(load(&file, &text, registry, environment)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Top {
    name: String,
    workers: Option<NonZeroU16>,
    shutdown_timeout: Option<u64>,
    /// Read one by one, behind their type and kind.
    #[serde(rename = "bindings")]
    _bindings: Mapping,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBinding {
    r#type: String,
    kind: String,
    options: Option<Value>,
    routes: Option<Vec<RawRoute>>,
    exit: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    when: Option<Vec<RawCondition>>,
    exit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    toolkit: String,
}

/// Checks a config's text. `file` names it in messages; `environment` looks variables up.
pub fn load(
    file: &str,
    text: &str,
    registry: &Registry,
    environment: &dyn Fn(&str) -> Option<String>,
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
            findings.at(location, format!("this is no YAML: {error}"));
            return Err(findings.into_faults());
        }
    };
    let from_environment = substitute(&mut value, environment, &mut findings);
    // The bindings are looked at even where something at the top is wrong.
    let bindings = value
        .get("bindings")
        .and_then(Value::as_mapping)
        .cloned()
        .unwrap_or_default();
    let top = decode::<Top>(value, &[], &from_environment, &mut findings);
    let drafts = drafts(&bindings, registry, &from_environment, &mut findings);
    let (bindings, warnings) = connect(drafts, &mut findings);
    match top {
        Some(top) if findings.is_empty() => Ok(Config {
            name: top.name,
            workers: top.workers.map(NonZeroU16::get),
            shutdown_timeout: top.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT),
            bindings,
            warnings,
        }),
        _ => {
            if findings.is_empty() {
                findings.at(Location::START, "this is no config");
            }
            Err(findings.into_faults())
        }
    }
}

fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

fn drafts<'r>(
    bindings: &Mapping,
    registry: &'r Registry,
    from_environment: &[Vec<String>],
    findings: &mut Findings<'_>,
) -> Vec<Draft<'r>> {
    if bindings.len() > BINDINGS_MAX {
        findings.value(
            &path(&["bindings"]),
            format!("more than {BINDINGS_MAX} bindings"),
        );
        return Vec::new();
    }
    let mut drafts = Vec::new();
    for (name, value) in bindings {
        let Some(name) = name.as_str() else {
            findings.value(
                &path(&["bindings"]),
                "the name of a binding must be a string",
            );
            continue;
        };
        let at = path(&["bindings", name]);
        if !is_name(name) {
            findings.key(
                &at,
                "a binding's name is letters, digits, '_' and '-', a letter first",
                None,
            );
        }
        let raw = decode::<RawBinding>(value.clone(), &at, from_environment, findings);
        drafts.push(draft(name, raw, registry, from_environment, findings));
    }
    drafts
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || matches!(each, '_' | '-'))
}

fn draft<'r>(
    name: &str,
    raw: Option<RawBinding>,
    registry: &'r Registry,
    from_environment: &[Vec<String>],
    findings: &mut Findings<'_>,
) -> Draft<'r> {
    let Some(raw) = raw else {
        return Draft::unusable(name);
    };
    let Some(descriptor) = registry.find(&raw.r#type, &raw.kind) else {
        unknown_kind(name, &raw, registry, findings);
        return Draft::unusable(name);
    };
    let at = path(&["bindings", name, "options"]);
    let options = raw.options.filter(|options| !options.is_null());
    let options = options.unwrap_or_else(|| Value::Mapping(Mapping::new()));
    descriptor.check_options(options.clone(), &at, from_environment, findings);
    let of_binding = from_environment
        .iter()
        .filter_map(|path| path.strip_prefix(&at[..]));
    let routes = raw.routes.map(|routes| {
        let routes = routes.into_iter().enumerate();
        routes
            .map(|(index, route)| draft_route(name, index, route, findings))
            .collect()
    });
    presence(
        name,
        descriptor.onward,
        raw.exit.is_some(),
        routes.is_some(),
        findings,
    );
    Draft {
        name: name.to_owned(),
        descriptor: Some(descriptor),
        exit: raw.exit,
        routes: routes.unwrap_or_default(),
        options,
        from_environment: of_binding.map(<[String]>::to_vec).collect(),
    }
}

fn unknown_kind(name: &str, raw: &RawBinding, registry: &Registry, findings: &mut Findings<'_>) {
    let kinds = registry.kinds(&raw.r#type);
    let (key, word, known) = if kinds.is_empty() {
        ("type", &raw.r#type, registry.types())
    } else {
        ("kind", &raw.kind, kinds)
    };
    let message = format!("there is no {key} '{word}' of bindings");
    findings.value_with(
        &path(&["bindings", name, key]),
        message,
        suggestion(word, &known),
    );
}

fn presence(name: &str, onward: Onward, exit: bool, routes: bool, findings: &mut Findings<'_>) {
    let key = |key: &str| path(&["bindings", name, key]);
    let missing = "the key 'exit' is missing: it names the binding that takes the streams";
    match (onward, exit, routes) {
        (Onward::Nowhere, _, _) => {
            for (there, word) in [(exit, "exit"), (routes, "routes")] {
                if there {
                    let message = format!("this binding opens no streams, so it has no {word}");
                    findings.key(&key(word), message, None);
                }
            }
        }
        (Onward::Exit, exit, routes) => {
            if routes {
                let message = "this binding has a single exit and no routes";
                let help = "aggregate several behind an mcp · proxy in front of it".to_owned();
                findings.key(&key("routes"), message, Some(help));
            }
            if !exit {
                findings.value(&path(&["bindings", name]), missing);
            }
        }
        (Onward::ExitOrRoutes, false, false) => {
            findings.value(
                &path(&["bindings", name]),
                format!("{missing}, or give 'routes'"),
            );
        }
        (Onward::ExitOrRoutes, true, true) => {
            findings.key(
                &key("exit"),
                "give either 'exit' or 'routes', not both",
                None,
            );
        }
        (Onward::ExitOrRoutes, _, _) => {}
    }
}

fn draft_route(
    name: &str,
    index: usize,
    route: RawRoute,
    findings: &mut Findings<'_>,
) -> DraftRoute {
    let index = index.to_string();
    let at = path(&["bindings", name, "routes", &index, "when"]);
    let conditions = route.when.unwrap_or_default();
    if conditions.len() > 1 {
        findings.value(
            &at,
            "a route takes one toolkit; give each toolkit a route of its own",
        );
    }
    let toolkit = conditions
        .into_iter()
        .next()
        .map(|condition| condition.toolkit);
    if let Some(toolkit) = &toolkit
        && !is_toolkit(toolkit)
    {
        let at = path(&["bindings", name, "routes", &index, "when", "0", "toolkit"]);
        let message = format!("'{toolkit}' is no name of a toolkit");
        findings.value_with(
            &at,
            message,
            "it is a-z, 0-9 and '-', a letter first: plant-1",
        );
    }
    DraftRoute {
        toolkit,
        exit: route.exit,
    }
}

/// `[a-z][a-z0-9-]*`, so that it can stand in a tool's name and in front of a URI.
fn is_toolkit(toolkit: &str) -> bool {
    toolkit.starts_with(|first: char| first.is_ascii_lowercase())
        && toolkit
            .chars()
            .all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-')
}

/// An index of names, for exits.
pub(crate) fn index_of<'d>(drafts: &'d [Draft<'_>]) -> BTreeMap<&'d str, usize> {
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| (draft.name.as_str(), index))
        .collect()
}
