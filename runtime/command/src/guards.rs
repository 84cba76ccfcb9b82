//! The guards of a gateway: their types in the config, how each is made, and the threads that verify
//! keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tidegate_config::{Config, Faults, MemberType};
use tidegate_guard::apikey::{self, KeyRing, Runner, Verification};
use tidegate_guard::jwt::{self, KeySet, KeySource};
use tidegate_guard::x509;
use tidegate_guard::{Credential, Guard, Guards, Refusal};
use tidegate_guard_fetch::{Fetcher, Trust, TrustError};
use tidegate_streams::Identity;

/// Largest file with keys, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// A guard, and the keys that are fetched for it.
struct Made {
    guard: Arc<dyn Guard>,
    keys: Option<(KeySource, Fetcher)>,
}

/// Makes a guard from its declaration; relative paths start at the folder.
type Make = fn(&tidegate_config::Member, &Path) -> Result<Made, GuardError>;

/// A type of guard, and how one is made. Making it reads the files it names.
struct Type {
    declared: MemberType,
    make: Make,
    name: &'static str,
}

/// The types of guards, in the order of the reference.
const TYPES: &[Type] = &[
    Type {
        name: "apikey",
        declared: MemberType::of::<apikey::Options>(
            "apikey",
            "Accepts keys whose hashes are in the config. `tidegate genkey` makes a key and its line.",
        ),
        make: apikey,
    },
    Type {
        name: "jwt",
        declared: MemberType::of::<jwt::Options>(
            "jwt",
            "Accepts tokens (JWT) of an authorization server, signed with RS256, PS256, ES256, ES384 or \
             EdDSA.",
        ),
        make: jwt,
    },
    Type {
        name: "x509",
        declared: MemberType::of::<x509::Options>(
            "x509",
            "Accepts client certificates that TLS has verified.",
        ),
        make: x509,
    },
];

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
    /// The certificates of the option `trust` cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The keys of options and file cannot be used together.
    #[error("guard '{guard}': {why}")]
    Keys {
        /// Name of the guard.
        guard: String,
        /// What is wrong with them.
        why: String,
    },
    /// The `authorization` of `http · server` does not fit a guard.
    #[error("binding '{binding}': {why}")]
    Authorization {
        /// Name of the binding.
        binding: String,
        /// What does not fit, and what to do.
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
pub(crate) fn types() -> impl Iterator<Item = MemberType> {
    TYPES.iter().map(|r#type| r#type.declared)
}

/// The guards of a config, and what must run for them.
pub(crate) struct Declared {
    pub(crate) guards: Guards,
    keys: Vec<(String, KeySource, Fetcher)>,
}

impl Declared {
    /// Fetches keys in tasks of this runtime, as long as it runs.
    pub(crate) fn start(self) -> Guards {
        for (name, source, fetcher) in self.keys {
            tokio::spawn(tidegate_guard_fetch::drive(name.into(), source, fetcher));
        }
        self.guards
    }
}

/// Makes the guards of a config.
pub(crate) fn make(config: &Config) -> Result<Declared, GuardError> {
    let mut keys = Vec::new();
    let mut guards: BTreeMap<String, Arc<dyn Guard>> = BTreeMap::new();
    for declared in &config.guards {
        let r#type = TYPES.iter().find(|it| it.name == declared.r#type);
        let r#type = r#type.ok_or_else(|| GuardError::Unknown(declared.name.clone()))?;
        let made = (r#type.make)(declared, &config.folder)?;
        guards.insert(declared.name.clone(), made.guard);
        let of_it = made.keys.into_iter();
        keys.extend(of_it.map(|(source, fetcher)| (declared.name.clone(), source, fetcher)));
    }
    let guards = Guards::new(guards);
    check_http(config, &guards)?;
    Ok(Declared { guards, keys })
}

/// Whether the `authorization` of each `http · server` fits its guards.
fn check_http(config: &Config, guards: &Guards) -> Result<(), GuardError> {
    let http = |binding: &&tidegate_config::Binding| {
        (binding.r#type.as_str(), binding.kind.as_str()) == ("http", "server")
    };
    for binding in config.bindings.iter().filter(http) {
        let options: tidegate_binding_http::Options = binding.options()?;
        let fits = tidegate_binding_http::check(&options, guards);
        fits.map_err(|why| GuardError::Authorization {
            binding: binding.name.clone(),
            why,
        })?;
    }
    Ok(())
}

/// The identity of the client of each `stdio · server` that has an `authorization`, by binding name.
pub(crate) async fn identities(
    config: &Config,
    guards: &Guards,
) -> Result<BTreeMap<String, Arc<Identity>>, GuardError> {
    let mut identities = BTreeMap::new();
    let stdio = |binding: &&tidegate_config::Binding| {
        (binding.r#type.as_str(), binding.kind.as_str()) == ("stdio", "server")
    };
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

/// Reads a file that the options of a guard name.
fn read<T, E: ToString>(
    guard: &tidegate_config::Member,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, GuardError> {
    let text = tidegate_config::read_text(path, FILE_MAX);
    let parsed = text.and_then(|text| parse(&text).map_err(|error| error.to_string()));
    parsed.map_err(|why| GuardError::File {
        guard: guard.name.clone(),
        file: path.display().to_string(),
        why,
    })
}

fn jwt(guard: &tidegate_config::Member, folder: &Path) -> Result<Made, GuardError> {
    let options: jwt::Options = guard.options()?;
    let file = options.file.as_ref().map(|file| {
        let path = folder.join(file);
        read(guard, &path, |text| KeySet::parse(text.as_bytes()))
    });
    let made = jwt::Jwt::new(&guard.name, &options, file.transpose()?);
    let keys = match made.key_source() {
        None => None,
        Some(source) => {
            let trust = match &options.trust {
                Some(file) => Some(Trust::of_file(&folder.join(file))?),
                None => Trust::of_system()
                    .inspect_err(|error| tracing::warn!(guard = guard.name, %error, "no trust"))
                    .ok(),
            };
            let timeout = Duration::from_millis(options.timeout.get());
            Some((source, Fetcher::new(trust, timeout)))
        }
    };
    Ok(Made {
        guard: Arc::new(made),
        keys,
    })
}

fn x509(guard: &tidegate_config::Member, _: &Path) -> Result<Made, GuardError> {
    Ok(Made {
        guard: Arc::new(x509::X509::new(&guard.name, guard.options()?)),
        keys: None,
    })
}

fn apikey(guard: &tidegate_config::Member, folder: &Path) -> Result<Made, GuardError> {
    let options: apikey::Options = guard.options()?;
    let mut ring = options.keys.clone();
    if let Some(file) = &options.file {
        // A file of comments has no keys yet.
        let further: Option<KeyRing> =
            read(guard, &folder.join(file), |text| serde_yaml::from_str(text))?;
        ring = ring
            .and(further.unwrap_or_default())
            .map_err(|why| GuardError::Keys {
                guard: guard.name.clone(),
                why,
            })?;
    }
    let made = apikey::ApiKey::new(&guard.name, &options, ring, Arc::new(Threads));
    Ok(Made {
        guard: Arc::new(made),
        keys: None,
    })
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
