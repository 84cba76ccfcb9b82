//! The files of definition pins: what an operator has accepted, and what waits to be accepted.
//!
//! Each file has one writing process. `tidegate pins accept` writes the accepted definitions (`pinsFile`), which
//! the gateway reads at its start and again when they change. The gateway writes the definitions that are
//! not accepted to the file beside it, `….waiting.json`, which the command reads. Files are replaced
//! as a whole, so that a reader never sees half of one.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use tidegate_binding_mcp::proxy::pins::{Accepted, Digest, Waiting, hex};

/// A definition in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// SHA-256 of the definition in its canonical form.
    pub(crate) sha256: String,
    /// The definition.
    pub(crate) definition: Box<RawValue>,
}

/// The content of a file: definitions by binding, toolkit and tool.
pub(crate) type Pins = BTreeMap<String, BTreeMap<String, BTreeMap<String, Pin>>>;

/// A file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum PinFileError {
    /// It cannot be read or written.
    #[error("cannot access {path}: {error}", path = path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// Its content is not a file of pins.
    #[error("{path} is not a file of definition pins: {reason}; restore it, or remove it and accept the definitions again", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file of the definitions that wait, beside that of the accepted ones.
pub(crate) fn waiting_path(accepted: &Path) -> PathBuf {
    accepted.with_extension("waiting.json")
}

/// Reads a file; one that does not exist has no definitions.
pub(crate) fn read(path: &Path) -> Result<Pins, PinFileError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Pins::new()),
        Err(error) => {
            let path = path.to_owned();
            return Err(PinFileError::Access { path, error });
        }
    };
    serde_json::from_slice(&text).map_err(|error| PinFileError::Content {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Replaces a file.
pub(crate) fn write(path: &Path, pins: &Pins) -> Result<(), PinFileError> {
    let access = |error: io::Error| PinFileError::Access {
        path: path.to_owned(),
        error,
    };
    let mut text = serde_json::to_vec_pretty(pins).map_err(|error| access(error.into()))?;
    text.push(b'\n');
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, text).map_err(access)?;
    std::fs::rename(&draft, path).map_err(access)
}

/// The accepted hashes of a binding.
pub(crate) fn accepted(pins: &Pins, binding: &str, path: &Path) -> Result<Accepted, PinFileError> {
    let mut accepted = Accepted::new();
    for (toolkit, tools) in pins.get(binding).into_iter().flatten() {
        for (tool, pin) in tools {
            let digest = digest(&pin.sha256).ok_or_else(|| PinFileError::Content {
                path: path.to_owned(),
                reason: format!("the sha256 of {binding}.{toolkit}.{tool} is not 64 hex digits"),
            })?;
            accepted.insert((toolkit.as_str().into(), tool.as_str().into()), digest);
        }
    }
    Ok(accepted)
}

fn digest(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = Digest::default();
    for (index, byte) in digest.iter_mut().enumerate() {
        let digits = text.get(2 * index..2 * index + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(digest)
}

/// Held while a file of waiting definitions is read, changed and replaced: several bindings may share it.
static WAITING: Mutex<()> = Mutex::new(());

/// Replaces the definitions of a binding in the file of those that wait.
pub(crate) fn write_waiting(
    path: &Path,
    binding: &str,
    waiting: Waiting,
) -> Result<(), PinFileError> {
    let _alone = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    // A file that cannot be used holds nothing that is not made again.
    let mut pins = read(path).unwrap_or_default();
    pins.remove(binding);
    for ((toolkit, tool), definition) in waiting {
        let text = String::from(&*definition.text);
        let Ok(text) = RawValue::from_string(text) else {
            continue;
        };
        let toolkits = pins.entry(binding.to_owned()).or_default();
        let tools = toolkits.entry(toolkit.to_string()).or_default();
        let pin = Pin {
            sha256: hex(&definition.digest),
            definition: text,
        };
        tools.insert(tool.to_string(), pin);
    }
    write(path, &pins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_binding_mcp::proxy::pins::Definition;

    #[test]
    fn definitions_go_through_files_and_faults_are_named() {
        let folder = std::env::temp_dir().join(format!("tidegate-pins-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("tidegate.pins.json");
        let waiting = waiting_path(&path);
        assert!(waiting.ends_with("tidegate.pins.waiting.json"));
        assert!(read(&path).expect("it does not exist").is_empty());

        let definition = Definition {
            digest: [0xab; 32],
            text: r#"{"description":"d","name":"x"}"#.into(),
        };
        let key = ("plant".into(), "x".into());
        let all = Waiting::from([(key, definition)]);
        write_waiting(&waiting, "mcp_proxy0", all.clone()).expect("written");
        write_waiting(&waiting, "mcp_proxy1", all).expect("written");
        let pins = read(&waiting).expect("read");
        assert_eq!(pins.len(), 2);
        let accepted = accepted(&pins, "mcp_proxy0", &waiting).expect("hashes");
        let expected = Accepted::from([(("plant".into(), "x".into()), [0xab; 32])]);
        assert_eq!(accepted, expected);

        std::fs::write(&path, "{").expect("written");
        let error = read(&path).expect_err("half a file").to_string();
        assert!(
            error.contains("is not a file of definition pins"),
            "{error}"
        );
        let broken = r#"{"b":{"t":{"x":{"sha256":"ab","definition":{}}}}}"#;
        std::fs::write(&path, broken).expect("written");
        let pins = read(&path).expect("JSON");
        let error = super::accepted(&pins, "b", &path)
            .expect_err("two digits")
            .to_string();
        assert!(error.contains("b.t.x is not 64 hex digits"), "{error}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn bindings_that_share_a_file_do_not_overwrite_each_other() {
        let folder =
            std::env::temp_dir().join(format!("tidegate-shared-pins-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("shared.json");
        let names: Vec<String> = (0..8).map(|number| format!("proxy{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| {
                    let definition = Definition {
                        digest: [1; 32],
                        text: "{}".into(),
                    };
                    let waiting = Waiting::from([(("plant".into(), "a".into()), definition)]);
                    write_waiting(&path, name, waiting).expect("written");
                });
            }
        });
        let found: Vec<String> = read(&path).expect("read").into_keys().collect();
        assert_eq!(found, names);
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
