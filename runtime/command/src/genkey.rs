//! `tidegate genkey`: makes an API key, and stores its hash in a config.
//!
//! The key leaves the process on standard output and nowhere else. The config is replaced in one step,
//! keeps its mode, and is checked before: a config that would not load is not written.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tidegate_config::{LoadError, MissingVariables};
use tidegate_guard::Moment;
use tidegate_guard::apikey::{HashError, Key, KeyRing, Options, PasswordHash};

use crate::arguments::Genkey;
use crate::console::{print_error, print_line};
use crate::guards::now;
use crate::registry::registry;

/// Largest file that is edited, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a salt.
const SALT: usize = 16;

/// A key cannot be made or stored. Nothing was written.
#[derive(Debug, Error)]
pub(crate) enum KeyFailure {
    /// The system has no random numbers.
    #[error("cannot get random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
    /// Argon2 failed.
    #[error("cannot hash the key: {0}")]
    Hash(#[from] HashError),
    /// `--expires` is not a time.
    #[error(
        "invalid --expires '{0}'; use a date like 2027-01-31, a time like 2027-01-31T08:00:00Z, or a \
         duration like 12h, 90d or 52w"
    )]
    Expires(String),
    /// The arguments do not make a valid key, such as an empty identity.
    #[error("cannot use these arguments: {0}")]
    Arguments(String),
    /// The guard cannot take keys.
    #[error("guard '{guard}' in {} is of type {found}; keys need type apikey", file.display())]
    OtherType {
        /// Name of the guard.
        guard: String,
        /// The config.
        file: PathBuf,
        /// Its type.
        found: String,
    },
    /// The place for the line cannot be found.
    #[error(
        "cannot add a key to {} without changing more than that; write 'keys' of guard '{guard}' as \
         a list, one key a line, or add this line yourself:\n  - {line}", file.display()
    )]
    Style {
        /// The file.
        file: PathBuf,
        /// Name of the guard.
        guard: String,
        /// The line.
        line: String,
    },
    /// The config would not load with the new key.
    #[error("{} was not changed, because it would not load: {error}", file.display())]
    Invalid {
        /// The config.
        file: PathBuf,
        /// Why not.
        error: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// Somebody else has changed the file meanwhile.
    #[error("{} was changed by somebody else meanwhile; run the command again", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {error}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Error of the operating system.
        error: io::Error,
    },
}

/// Makes a key as the arguments say.
pub(crate) fn run(arguments: &Genkey) -> Result<(), crate::failure::Failure> {
    let key = Key::generate(getrandom::fill).map_err(KeyFailure::Random)?;
    let line = line(arguments, &key)?;
    let (Some(config), Some(guard)) = (&arguments.config, &arguments.guard) else {
        print_line(key.secret());
        print_error(&format!(
            "The key is shown this once. Add its line to 'keys' of a guard of type apikey:\n  - {line}\n"
        ));
        return Ok(());
    };
    let written = store(config, guard, &line)?;
    print_line(key.secret());
    print_error(&format!(
        "The key is shown this once. Its hash is in {}, which a gateway reads at start.\n",
        written.display()
    ));
    Ok(())
}

/// The line for the config, in flow style.
fn line(arguments: &Genkey, key: &Key) -> Result<String, KeyFailure> {
    let mut salt = vec![0; SALT];
    getrandom::fill(&mut salt)?;
    let hash = PasswordHash::of(key.secret().as_bytes(), salt)?;
    let mut line = format!(
        "{{ id: {}, identity: {}",
        quoted(key.id()),
        quoted(&arguments.identity)
    );
    if !arguments.roles.is_empty() {
        let roles: Vec<String> = arguments.roles.iter().map(|role| quoted(role)).collect();
        let _ = write!(line, ", roles: [ {} ]", roles.join(", "));
    }
    if let Some(text) = &arguments.expires {
        let moment = moment(text).ok_or_else(|| KeyFailure::Expires(text.clone()))?;
        let _ = write!(line, ", expires: {}", quoted(&moment.to_string()));
    }
    // Writing to a String cannot fail.
    let _ = write!(line, ", hash: \"{hash}\" }}");
    // The same rules as for the config, also when nothing is written.
    let checked: Result<KeyRing, _> = serde_yaml::from_str(&format!("[ {line} ]"));
    match checked {
        Ok(_) => Ok(line),
        Err(error) => Err(KeyFailure::Arguments(error.to_string())),
    }
}

/// A moment, or a duration from now.
fn moment(text: &str) -> Option<Moment> {
    if let Some(moment) = Moment::parse(text) {
        return Some(moment);
    }
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 24 * 7,
        _ => return None,
    };
    let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
    let millis = u64::from(count) * hours * 3_600_000;
    // A time that a config can have.
    Moment::parse(&Moment::from_unix_millis(now() + millis).to_string())
}

/// A string in YAML, quoted where a reader could take it for something else.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "/._-".contains(each));
    let is_string = serde_yaml::from_str::<serde_yaml::Value>(text)
        .is_ok_and(|value| value.as_str() == Some(text));
    let word = ["y", "n", "yes", "no", "on", "off"];
    if plain && is_string && !word.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

/// Adds the line to the keys of a guard; returns the file that has it.
fn store(config: &Path, guard: &str, line: &str) -> Result<PathBuf, crate::failure::Failure> {
    // Follow a link, so that it stays one.
    let config = fs::canonicalize(config).map_err(|error| KeyFailure::Read {
        file: config.to_owned(),
        error: error.to_string(),
    })?;
    let declared = declared(&config, guard)?;
    let path: [&str; 4] = ["guards", guard, "options", "keys"];
    let (file, path): (PathBuf, &[&str]) = match declared.and_then(|options| options.file) {
        Some(file) => (config.parent().unwrap_or(&config).join(file), &[]),
        None => (config.clone(), &path),
    };
    let text = tidegate_config::read_text(&file, FILE_MAX).map_err(|error| KeyFailure::Read {
        file: file.clone(),
        error,
    })?;
    let edited = tidegate_config::append(&text, path, line, (2, &[("type", "apikey")]));
    let edited = edited.ok_or_else(|| KeyFailure::Style {
        file: file.clone(),
        guard: guard.to_owned(),
        line: line.to_owned(),
    })?;
    let draft = Draft::write(&file, &edited)?;
    let checked = if path.is_empty() {
        let keys: Result<KeyRing, _> = serde_yaml::from_str(&edited);
        keys.map(drop).map_err(|error| error.to_string())
    } else {
        check(&draft.path)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    checked.map_err(|error| KeyFailure::Invalid {
        file: file.clone(),
        error,
    })?;
    draft.replace(&file, &text)?;
    Ok(file)
}

/// The options of a guard of a config that loads; `None` if it has no such guard.
fn declared(config: &Path, guard: &str) -> Result<Option<Options>, crate::failure::Failure> {
    let loaded = check(config)?;
    let Some(found) = loaded.guards.iter().find(|it| it.name == guard) else {
        return Ok(None);
    };
    if found.r#type != "apikey" {
        let failure = KeyFailure::OtherType {
            guard: guard.to_owned(),
            file: config.to_owned(),
            found: found.r#type.clone(),
        };
        return Err(failure.into());
    }
    // An option that comes from a variable that is not set here cannot be read.
    Ok(found.options().ok())
}

/// Loads a config. Variables may be missing: they are those of the gateway's environment.
fn check(config: &Path) -> Result<tidegate_config::Config, LoadError> {
    let environment = |name: &str| std::env::var(name).ok();
    tidegate_config::read_with(config, &registry(), &environment, MissingVariables::Allowed)
}

/// The new content of a file, beside it; removed unless it replaces it.
struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Writes the content to a new file with the mode and the owner of the old one: the gateway must be
    /// able to read it, whoever runs the command.
    fn write(file: &Path, content: &str) -> Result<Self, KeyFailure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = file.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let failed = |error| KeyFailure::Write {
            file: path.clone(),
            error,
        };
        let old = fs::metadata(file).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut new = options.open(&path).map_err(failed)?;
        let draft = Self { path: path.clone() };
        let written = new
            .write_all(content.as_bytes())
            .and_then(|()| own(&new, &old))
            .and_then(|()| new.set_permissions(old.permissions()))
            .and_then(|()| new.sync_all());
        written.map_err(failed)?;
        Ok(draft)
    }

    /// Replaces the file, if it still has the text that the draft was made of: another key that was
    /// added meanwhile would be lost.
    fn replace(self, file: &Path, before: &str) -> Result<(), KeyFailure> {
        if fs::read(file).ok().as_deref() != Some(before.as_bytes()) {
            return Err(KeyFailure::Changed {
                file: file.to_owned(),
            });
        }
        let failed = |error| KeyFailure::Write {
            file: file.to_owned(),
            error,
        };
        fs::rename(&self.path, file).map_err(failed)?;
        // The name is stored as well; a file system that cannot do that has renamed nevertheless.
        if let Some(folder) = file.parent().and_then(|folder| File::open(folder).ok()) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Gives a file the owner and the group of another one.
#[cfg(unix)]
fn own(new: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let made = new.metadata()?;
    if (made.uid(), made.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(new, Some(old.uid()), Some(old.gid()))
}

/// Elsewhere files have no such owner.
#[cfg(not(unix))]
fn own(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `replace` there is none of this name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
