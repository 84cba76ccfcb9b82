//! Options of the guard `apikey`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, OptionWarning};
use tidegate_streams::{Identity, IdentityAttribute};

use super::hash::{PasswordHash, padded};
use super::key::is_id;
use crate::moment::Moment;

/// Most keys of a guard.
const KEYS_MAX: usize = 10_000;
/// Most keys without an id, each of which a key of that form is tried against.
const ANONYMOUS_MAX: usize = 8;
/// Longest identity, role, attribute name or value, in bytes.
const TEXT_MAX: usize = 256;
/// Most roles, and most attributes, of a key.
const LIST_MAX: usize = 64;

/// Options of the guard `apikey`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// The keys: `identity`, `roles`, and `hash`, a line that `tidegate genkey` prints. `id` is the part
    /// of the key that is not secret. `expires` and `notBefore` are dates or times. `attributes` name
    /// further values of the identity. Instead of `hash`, `api_key_kdf` takes the block of that name of
    /// mcpMQTT. A guard has at most 10000 keys, and 8 without an `id`.
    #[schemars(extend("examples" = [[{
        "id": "k3u8xq2m", "identity": "alice", "roles": ["operator"],
        "hash": "$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4",
    }]]))]
    pub keys: KeyRing,
    /// A YAML file with a list of further keys of the same form; a relative path starts at the config's
    /// folder. It is read at start. None: no further keys.
    pub file: Option<String>,
    /// Most keys that are verified at the same time, each on a thread of its own and with the memory
    /// that its hash asks for (64 MiB). A key is verified when it is used for the first time.
    pub verifications: Bounded<1, 64>,
    /// Most keys that wait for their verification. A further one is refused as busy (503); keys that
    /// were accepted before do not wait.
    pub waiting: Bounded<0, 10_000>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: KeyRing::default(),
            file: None,
            verifications: Bounded::of(2),
            waiting: Bounded::of(64),
        }
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        if !self.keys.0.is_empty() || self.file.is_some() {
            return Vec::new();
        }
        vec![OptionWarning {
            key: "keys",
            message: "no keys: this guard accepts nobody".to_owned(),
            help: "make one with tidegate genkey".to_owned(),
        }]
    }
}

/// The keys of a guard: no id twice, and bounded.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KeyRing(Vec<StoredKey>);

impl KeyRing {
    /// These keys and those of another ring together, under the same rules.
    pub fn and(mut self, other: Self) -> Result<Self, String> {
        self.0.extend(other.0);
        Self::checked(self.0)
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &StoredKey> {
        self.0.iter()
    }

    pub(crate) fn into_keys(self) -> Vec<StoredKey> {
        self.0
    }

    fn checked(keys: Vec<StoredKey>) -> Result<Self, String> {
        if keys.len() > KEYS_MAX {
            return Err(format!("too many keys; the maximum is {KEYS_MAX}"));
        }
        let mut ids = BTreeSet::new();
        let mut anonymous = 0;
        for key in &keys {
            match &key.id {
                Some(id) if !ids.insert(id) => return Err(format!("two keys have the id '{id}'")),
                Some(_) => {}
                None => anonymous += 1,
            }
        }
        if anonymous > ANONYMOUS_MAX {
            return Err(format!(
                "too many keys without an id, each of which is tried: the maximum is {ANONYMOUS_MAX}; \
                 replace some of them by keys of tidegate genkey"
            ));
        }
        Ok(Self(keys))
    }
}

impl<'de> Deserialize<'de> for KeyRing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::deserialize(deserializer)?;
        Self::checked(keys).map_err(de::Error::custom)
    }
}

impl JsonSchema for KeyRing {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "KeyRing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<RawKey>::json_schema(generator)
    }
}

/// A key in the config: who has it, and its hash.
#[derive(Debug, Clone, Serialize)]
pub struct StoredKey {
    id: Option<String>,
    identity: String,
    roles: Vec<String>,
    attributes: BTreeMap<String, String>,
    hash: PasswordHash,
    expires: Option<Moment>,
    not_before: Option<Moment>,
}

impl StoredKey {
    /// The part of the key that is not secret.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whose key it is.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// When it becomes valid.
    pub const fn not_before(&self) -> Option<Moment> {
        self.not_before
    }

    pub(crate) fn into_hash(self) -> PasswordHash {
        self.hash
    }

    /// The identity as streams carry it.
    pub(crate) fn identity_of(&self, guard: &str) -> Identity {
        let attributes = self
            .attributes
            .iter()
            .map(|(name, value)| IdentityAttribute {
                name: name.as_str().into(),
                value: value.as_str().into(),
            });
        Identity {
            subject: self.identity.as_str().into(),
            guard: guard.into(),
            roles: self
                .roles
                .iter()
                .map(|role| ByteString::from(role.as_str()))
                .collect(),
            attributes: attributes.collect(),
            // 0 means never, which no expiry of a key is.
            expires: self.expires.map_or(0, |it| it.unix_millis().max(1)),
            step_up: false,
        }
    }
}

impl<'de> Deserialize<'de> for StoredKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawKey::deserialize(deserializer)?
            .checked()
            .map_err(de::Error::custom)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawKey {
    /// The part of the key that is not secret.
    id: Option<String>,
    /// Whose key it is.
    identity: String,
    /// What it grants.
    #[serde(default)]
    roles: Vec<String>,
    /// Further values of the identity, by name.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Argon2id hash of the key.
    #[schemars(with = "Option<String>")]
    hash: Option<PasswordHash>,
    /// mcpMQTT's hash of the key.
    #[serde(rename = "api_key_kdf")]
    api_key_kdf: Option<Kdf>,
    /// When it stops being valid.
    expires: Option<Moment>,
    /// When it becomes valid.
    not_before: Option<Moment>,
}

/// mcpMQTT's `api_key_kdf` block, with its names and defaults.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kdf {
    /// Only `argon2id`.
    #[serde(default = "argon2id")]
    algorithm: String,
    /// 8 to 64 bytes in base64, with padding.
    salt: String,
    /// 16 to 64 bytes in base64, with padding.
    hash: String,
    /// Passes over the memory: 1 to 16. Times `memory_cost`, at most 1048576.
    #[serde(default = "time_cost")]
    time_cost: u32,
    /// Memory in KiB: 8 to 262144.
    #[serde(default = "memory_cost")]
    memory_cost: u32,
    /// Lanes: 1 to 16.
    #[serde(default = "parallelism")]
    parallelism: u32,
    /// Bytes of `hash`. Absent: 32.
    hash_len: Option<usize>,
}

fn argon2id() -> String {
    "argon2id".to_owned()
}

const fn time_cost() -> u32 {
    3
}

const fn memory_cost() -> u32 {
    64 * 1024
}

const fn parallelism() -> u32 {
    1
}

impl Kdf {
    fn checked(&self) -> Result<PasswordHash, String> {
        if self.algorithm != "argon2id" {
            return Err("algorithm of api_key_kdf must be argon2id".to_owned());
        }
        let bytes = |text| padded(text).map_err(|error| error.to_string());
        let (salt, hash) = (bytes(&self.salt)?, bytes(&self.hash)?);
        // Absent, mcpMQTT computes 32 bytes.
        if hash.len() != self.hash_len.unwrap_or(32) {
            return Err("hash of api_key_kdf must have hash_len bytes".to_owned());
        }
        let parameters = (self.memory_cost, self.time_cost, self.parallelism);
        PasswordHash::new(parameters, salt, hash).map_err(|error| error.to_string())
    }
}

impl RawKey {
    fn checked(self) -> Result<StoredKey, String> {
        if let Some(id) = &self.id
            && !is_id(id)
        {
            return Err("'id' must be the 8 characters between tg_ and _ of the key".to_owned());
        }
        let hash = match (self.hash, &self.api_key_kdf) {
            (Some(hash), None) => hash,
            (None, Some(kdf)) => kdf.checked()?,
            (None, None) => return Err("missing key 'hash'".to_owned()),
            (Some(_), Some(_)) => {
                return Err("'hash' and 'api_key_kdf' are mutually exclusive".to_owned());
            }
        };
        if self.id.is_some() && self.api_key_kdf.is_some() {
            return Err("'id' and 'api_key_kdf' are mutually exclusive".to_owned());
        }
        let texts = self
            .attributes
            .iter()
            .flat_map(|(name, value)| [name, value]);
        if self.identity.is_empty() {
            return Err("'identity' must not be empty".to_owned());
        }
        if texts
            .chain(&self.roles)
            .chain([&self.identity])
            .any(|it| it.len() > TEXT_MAX)
        {
            return Err(format!(
                "identity, roles and attributes have at most {TEXT_MAX} bytes each"
            ));
        }
        if self.roles.len().max(self.attributes.len()) > LIST_MAX {
            return Err(format!(
                "too many roles or attributes; the maximum is {LIST_MAX}"
            ));
        }
        if let (Some(not_before), Some(expires)) = (self.not_before, self.expires)
            && not_before >= expires
        {
            return Err("'notBefore' must be before 'expires'".to_owned());
        }
        Ok(StoredKey {
            id: self.id,
            identity: self.identity,
            roles: self.roles,
            attributes: self.attributes,
            hash,
            expires: self.expires,
            not_before: self.not_before,
        })
    }
}
