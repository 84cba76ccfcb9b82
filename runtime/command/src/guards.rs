//! The guards of a gateway: their types in the config, how each is made, and the threads that verify
//! keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tidegate_config::{Config, Faults, GuardType};
use tidegate_guard::apikey::{self, KeyRing, Runner, Verification};
use tidegate_guard::{Credential, Guard, Guards, Refusal};
use tidegate_streams::Identity;

/// Largest file with keys, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Makes a guard from its declaration; relative paths start at the folder.
type Make = fn(&tidegate_config::Guard, &Path) -> Result<Arc<dyn Guard>, GuardError>;

/// A type of guard, and how one is made. Making it reads the files it names.
struct Type {
    declared: GuardType,
    make: Make,
    name: &'static str,
}

/// The types of guards, in the order of the reference.
const TYPES: &[Type] = &[Type {
    name: "apikey",
    declared: GuardType::of::<apikey::Options>(
        "apikey",
        "Accepts keys whose hashes are in the config. `tidegate genkey` makes a key and its line.",
    ),
    make: apikey,
}];

/// A guard cannot be made, or does not accept the client of standard input.
#[derive(Debug, Error)]
pub(crate) enum GuardError {
    /// The options are not those of the type.
    #[error(transparent)]
    Options(#[from] Faults),
    /// The type has no factory.
    #[error("guard '{0}': unknown guard type")]
    Unknown(String),
    /// A file that the options name cannot be used.
    #[error("guard '{guard}': cannot read {file}: {why}")]
    File {
        /// Name of the guard.
        guard: String,
        /// Path of the file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The keys of options and file cannot be used together.
    #[error("guard '{guard}': {why}")]
    Keys {
        /// Name of the guard.
        guard: String,
        /// What is wrong with them.
        why: String,
    },
    /// The credential of `stdio · server` is not accepted.
    #[error(
        "binding '{binding}': guard '{guard}' does not accept the credentials of its authorization: {why}"
    )]
    Refused {
        /// Name of the binding.
        binding: String,
        /// Name of the guard.
        guard: String,
        /// Why not.
        why: Refusal,
    },
}

/// The types of guards in the config.
pub(crate) fn types() -> impl Iterator<Item = GuardType> {
    TYPES.iter().map(|r#type| r#type.declared)
}

/// Makes the guards of a config.
pub(crate) fn make(config: &Config) -> Result<Guards, GuardError> {
    let mut guards: BTreeMap<String, Arc<dyn Guard>> = BTreeMap::new();
    for declared in &config.guards {
        let r#type = TYPES.iter().find(|it| it.name == declared.r#type);
        let r#type = r#type.ok_or_else(|| GuardError::Unknown(declared.name.clone()))?;
        let guard = (r#type.make)(declared, &config.folder)?;
        guards.insert(declared.name.clone(), guard);
    }
    Ok(Guards::new(guards))
}

/// The identity of the client of each `stdio · server` that has an `authorization`, by binding name.
pub(crate) async fn identities(
    config: &Config,
    guards: &Guards,
) -> Result<BTreeMap<String, Arc<Identity>>, GuardError> {
    let mut identities = BTreeMap::new();
    let stdio = |binding: &&tidegate_config::Binding| binding.r#type == "stdio";
    for binding in config.bindings.iter().filter(stdio) {
        let options: tidegate_binding_stdio::Options = binding.options()?;
        let Some(authorization) = options.authorization else {
            continue;
        };
        let credential = Credential::Text(authorization.credentials());
        let answer = guards.decide(authorization.guard(), credential, now());
        let identity = answer.await.map_err(|why| GuardError::Refused {
            binding: binding.name.clone(),
            guard: authorization.guard().to_owned(),
            why,
        })?;
        identities.insert(binding.name.clone(), identity);
    }
    Ok(identities)
}

fn apikey(guard: &tidegate_config::Guard, folder: &Path) -> Result<Arc<dyn Guard>, GuardError> {
    let options: apikey::Options = guard.options()?;
    let mut ring = options.keys.clone();
    if let Some(file) = &options.file {
        let path = folder.join(file);
        let unusable = |why: String| GuardError::File {
            guard: guard.name.clone(),
            file: path.display().to_string(),
            why,
        };
        let text = tidegate_config::read_text(&path, FILE_MAX).map_err(unusable)?;
        let further: Option<KeyRing> =
            serde_yaml::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        ring = ring
            .and(further.unwrap_or_default())
            .map_err(|why| GuardError::Keys {
                guard: guard.name.clone(),
                why,
            })?;
    }
    let guard = apikey::ApiKey::new(&guard.name, &options, ring, Arc::new(Threads));
    Ok(Arc::new(guard))
}

/// Runs verifications on threads of their own: a worker would not serve anybody meanwhile. The guard
/// bounds their number.
struct Threads;

impl Runner for Threads {
    fn run(&self, verification: Verification) {
        let work = move || {
            let mut next = Some(verification);
            while let Some(verification) = next {
                next = verification.run(now());
            }
        };
        let thread = std::thread::Builder::new().name("tidegate-verify".to_owned());
        if let Err(error) = thread.spawn(work) {
            tracing::error!(%error, "cannot start a thread to verify a key");
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}
