//! `tidegate import`: makes a config of the config of another server.
//!
//! What the other server accepts is imported; where tidegate differs, a comment in the config says so.
//! Patterns mean what MQTT says, and a warning tells where the other server allows more or less. A pattern
//! that would mean something else here is left out.

mod broker;
mod entry;
mod number;
mod source;
mod topics;
mod yaml;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;
use tidegate_config::{Config, Faults};
use tidegate_guard::apikey::PasswordHash;

use crate::arguments::{ImportMcpmqtt, McpmqttTransport};
use crate::console::{print_error, print_line};
use crate::failure::Failure;
use crate::registry::registry;
use source::Source;
use yaml::{Yaml, quoted};

/// Largest config that is imported, in bytes.
const SIZE_MAX: usize = 512 * 1024;
/// Bytes of a salt.
const SALT: usize = 16;

/// Why a config cannot be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {file}: {error}")]
    Unreadable {
        /// Its path.
        file: String,
        /// Error of the operating system.
        error: io::Error,
    },
    /// It is too large.
    #[error("{file} is larger than {SIZE_MAX} bytes")]
    TooLarge {
        /// Its path.
        file: String,
    },
    /// It is not JSON.
    #[error("{file}:{line}:{column}: invalid JSON: {message}")]
    Json {
        /// Its path.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Values that the other server refuses as well.
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
    /// A key that is written as text cannot be hashed.
    #[error("cannot hash remote_server.api_key: {0}")]
    Hash(String),
    /// The result is not a valid config.
    #[error("the imported config has faults, which is a mistake of the import:\n{0}")]
    Result(Faults),
    /// The result cannot be written.
    #[error("cannot write {}: {error}", file.display())]
    Write {
        /// Its path.
        file: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
}

/// An imported config.
#[derive(Debug)]
pub struct Imported {
    /// The config.
    pub yaml: String,
    /// What the operator should decide, one sentence or more each.
    pub warnings: Vec<String>,
    /// The options of `tidegate start` that the other config had.
    pub options: String,
}

/// Hashes a key that is written as text; the result is a PHC string.
pub type Hash<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Imports the config of mcpMQTT. `file` is its name in messages; `stdio` selects the transport: absent,
/// it is HTTP if there is a `remote_server`.
pub fn mcpmqtt(
    file: &str,
    text: &str,
    stdio: Option<bool>,
    hash: Hash<'_>,
) -> Result<Imported, ImportError> {
    if text.len() > SIZE_MAX {
        return Err(ImportError::TooLarge {
            file: file.to_owned(),
        });
    }
    // A line or column of 0 stands for the end of an empty text.
    let json = serde_json::from_str(text).map_err(|error| ImportError::Json {
        file: file.to_owned(),
        line: error.line().max(1),
        column: error.column().max(1),
        message: message_of(&error),
    })?;
    let source = Source::read(&json).map_err(|faults| {
        let faults = faults.iter().map(|fault| format!("{file}: {fault}"));
        ImportError::Values(faults.collect())
    })?;
    let imported = write(file, &source, stdio, hash)?;
    load(&imported.yaml).map_err(ImportError::Result)?;
    Ok(imported)
}

/// The message of the parser without its position.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// Checks a config as `tidegate validate` does.
fn load(yaml: &str) -> Result<Config, Faults> {
    tidegate_config::load("imported config", yaml, &registry(), &|_| None)
}

fn write(
    file: &str,
    source: &Source,
    stdio: Option<bool>,
    hash: Hash<'_>,
) -> Result<Imported, ImportError> {
    let mut yaml = Yaml::default();
    let options = source.logging.options();
    yaml.comment(
        0,
        &format!("Imported from {}, a config of mcpMQTT.", quoted(file)),
    );
    yaml.comment(0, "");
    yaml.comment(0, &format!("  tidegate start --config FILE{options}"));
    if !source.unknown.is_empty() {
        yaml.comment(0, "");
        let unknown: Vec<String> = source.unknown.iter().map(|key| quoted(key)).collect();
        let unknown = unknown.join(", ");
        yaml.warn(
            0,
            &format!("mcpMQTT ignores these keys, and so does the import: {unknown}."),
        );
    }
    yaml.line(0, "name: mcpmqtt");
    let remote = match (&source.remote, stdio) {
        (_, Some(true)) | (None, None) => None,
        (Some(remote), _) => Some(remote),
        (None, Some(false)) => {
            let fault = format!(
                "{file}: remote_server: missing, so there is no HTTP transport; add it, or import with \
                 --transport stdio"
            );
            return Err(ImportError::Values(vec![fault]));
        }
    };
    if let Some(remote) = remote {
        entry::guard(&mut yaml, remote, hash)?;
    }
    yaml.line(0, "bindings:");
    match remote {
        Some(remote) => entry::http(&mut yaml, remote),
        None => entry::stdio(&mut yaml, source.remote.is_some()),
    }
    yaml.comment(
        1,
        "One hour: mcpMQTT has no time limit for a call. The default is a minute.",
    );
    let server =
        "mcp_server0: { type: mcp, kind: server, options: { timeout: 3600000 }, exit: mcp_mqtt0 }";
    yaml.line(1, server);
    topics::write(&mut yaml, &source.topics);
    broker::write(&mut yaml, &source.mqtt);
    let (yaml, warnings) = yaml.into_parts();
    Ok(Imported {
        yaml,
        warnings,
        options,
    })
}

/// Runs `tidegate import mcpmqtt`.
pub(crate) fn run(arguments: &ImportMcpmqtt) -> Result<ExitCode, Failure> {
    let (file, text) = read(arguments.file.as_deref())?;
    let stdio = arguments
        .transport
        .map(|transport| transport == McpmqttTransport::Stdio);
    let imported = mcpmqtt(&file, &text, stdio, &hash)?;
    for warning in &imported.warnings {
        print_error(&format!("warning: {warning}\n"));
    }
    let Some(output) = &arguments.output else {
        print_line(imported.yaml.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    create(output, &imported.yaml).map_err(|error| ImportError::Write {
        file: output.clone(),
        error,
    })?;
    print_error(&format!(
        "Imported. Next: tidegate start --config {}{}\n",
        output.display(),
        imported.options
    ));
    Ok(ExitCode::SUCCESS)
}

/// Reads the config: the given one, or that of the user. Without one, mcpMQTT has a config for tests.
fn read(file: Option<&Path>) -> Result<(String, String), ImportError> {
    const DEFAULT: &str = r#"{"topics":[{"pattern":"test/+","permissions":["read","write"],"description":"Default test topic pattern"}]}"#;
    let home = || std::env::home_dir().unwrap_or_default();
    let path = file.map_or_else(
        || home().join(".config/mcpmqtt/config.json"),
        Path::to_owned,
    );
    let name = path.display().to_string();
    let unreadable = |error| ImportError::Unreadable {
        file: name.clone(),
        error,
    };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            print_error(&format!(
                "warning: {name} does not exist; imported what mcpMQTT uses then: a broker on localhost and \
                 the topics test/+\n"
            ));
            return Ok((name, DEFAULT.to_owned()));
        }
        Err(error) => return Err(unreadable(error)),
        Ok(file) => file,
    };
    // A pipe or a device has no size that could be asked for.
    let mut bytes = Vec::new();
    let mut file = file.take(SIZE_MAX as u64 + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > SIZE_MAX {
        return Err(ImportError::TooLarge { file: name });
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| {
        unreadable(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not UTF-8",
        ))
    })?;
    Ok((name, text))
}

/// Writes a new file that only its owner can read: it may have a password.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn hash(key: &str) -> Result<String, String> {
    let mut salt = vec![0; SALT];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let hash = PasswordHash::of(key.as_bytes(), salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests;
