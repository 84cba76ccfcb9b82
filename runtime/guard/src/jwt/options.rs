//! Options of the guard `jwt`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::Bounded;

use super::jwk::KeySet;
use super::url::Url;

/// Options of the guard `jwt`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Options {
    /// The authorization server: a token's `iss` must be exactly this.
    #[schemars(extend("examples" = ["https://id.example/realms/plant"]))]
    issuer: Url,
    /// Who tokens are for: a token's `aud` must contain this, or one of these. Use the URL that clients
    /// connect to. A slash at its end makes no difference.
    #[schemars(extend("examples" = ["https://gate.example/mcp"]))]
    pub audience: Audience,
    /// The keys of the authorization server: the URL of a JSON Web Key Set (https, or http on loopback),
    /// or a list of public keys (JWK). Absent: its metadata says where they are, on https if the issuer is.
    pub keys: Option<Keys>,
    /// A file with a JSON Web Key Set, read at start instead of `keys`; a relative path starts at the
    /// config's folder.
    pub file: Option<String>,
    /// The claim with the roles: a string with spaces between them, or a list. Dots lead to a member of
    /// a claim, as in `realm_access.roles`. With `scope` or `scp`, roles are OAuth scopes, and a client
    /// that lacks one is told which to ask for.
    #[schemars(default = "defaults::roles")]
    pub roles: String,
    /// The claim with the identity.
    #[schemars(default = "defaults::identity")]
    pub identity: String,
    /// Attributes of the identity by name, and the claim of each. An absent claim is an absent attribute.
    #[schemars(default)]
    pub attributes: BTreeMap<String, String>,
    /// How far the clocks of the authorization server and this host may differ, in seconds.
    #[schemars(default = "defaults::leeway")]
    pub leeway: Bounded<0, 3_600>,
    /// Longest token, in bytes. A longer one is refused before it is parsed.
    #[schemars(default = "defaults::max_token_size")]
    pub max_token_size: Bounded<256, 262_144>,
    /// Most tokens that are remembered as valid, so that they are not verified again. Beyond, the oldest
    /// is forgotten.
    #[schemars(default = "defaults::cache")]
    pub cache: Bounded<0, 1_000_000>,
    /// Time between two fetches of the keys, in milliseconds. A token with an unknown key id causes one
    /// earlier, at most once a minute.
    #[schemars(default = "defaults::refresh")]
    pub refresh: Bounded<60_000, 604_800_000>,
    /// How long fetching keys or metadata may take, in milliseconds. When it fails, the last good keys
    /// stay in use.
    #[schemars(default = "defaults::timeout")]
    pub timeout: Bounded<100, 60_000>,
    /// A PEM file with the certificates that the authorization server's certificate is verified with; a
    /// relative path starts at the config's folder. Absent: those of the system.
    pub trust: Option<String>,
}

/// The defaults, for the schema and for absent options.
mod defaults {
    use tidegate_options::Bounded;

    pub(super) fn roles() -> String {
        "scope".to_owned()
    }

    pub(super) fn identity() -> String {
        "sub".to_owned()
    }

    pub(super) const fn leeway() -> Bounded<0, 3_600> {
        Bounded::of(60)
    }

    pub(super) const fn max_token_size() -> Bounded<256, 262_144> {
        Bounded::of(16_384)
    }

    pub(super) const fn cache() -> Bounded<0, 1_000_000> {
        Bounded::of(10_000)
    }

    pub(super) const fn refresh() -> Bounded<60_000, 604_800_000> {
        Bounded::of(3_600_000)
    }

    pub(super) const fn timeout() -> Bounded<100, 60_000> {
        Bounded::of(5_000)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    issuer: Url,
    audience: Audience,
    keys: Option<Keys>,
    file: Option<String>,
    roles: Option<String>,
    identity: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    leeway: Option<Bounded<0, 3_600>>,
    max_token_size: Option<Bounded<256, 262_144>>,
    cache: Option<Bounded<0, 1_000_000>>,
    refresh: Option<Bounded<60_000, 604_800_000>>,
    timeout: Option<Bounded<100, 60_000>>,
    trust: Option<String>,
}

impl Options {
    pub(crate) const fn issuer(&self) -> &Url {
        &self.issuer
    }

    /// Milliseconds between two fetches.
    pub(crate) const fn refresh(&self) -> u64 {
        self.refresh.get()
    }

    /// Whether roles are OAuth scopes.
    pub(crate) fn roles_are_scopes(&self) -> bool {
        matches!(self.roles.as_str(), "scope" | "scp")
    }
}

impl tidegate_options::Options for Options {}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        if raw.keys.is_some() && raw.file.is_some() {
            return Err(de::Error::custom(
                "'keys' and 'file' are mutually exclusive",
            ));
        }
        if raw.attributes.len() > 64 {
            return Err(de::Error::custom("too many attributes; the maximum is 64"));
        }
        Ok(Self {
            issuer: raw.issuer,
            audience: raw.audience,
            keys: raw.keys,
            file: raw.file,
            roles: raw.roles.unwrap_or_else(defaults::roles),
            identity: raw.identity.unwrap_or_else(defaults::identity),
            attributes: raw.attributes,
            leeway: raw.leeway.unwrap_or_else(defaults::leeway),
            max_token_size: raw.max_token_size.unwrap_or_else(defaults::max_token_size),
            cache: raw.cache.unwrap_or_else(defaults::cache),
            refresh: raw.refresh.unwrap_or_else(defaults::refresh),
            timeout: raw.timeout.unwrap_or_else(defaults::timeout),
            trust: raw.trust,
        })
    }
}

/// One audience or several, not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audience(Vec<String>);

impl Audience {
    /// Whether a value of `aud` is one of them.
    pub(crate) fn is(&self, value: &str) -> bool {
        let bare = |text: &str| text.strip_suffix('/').map_or(text.len(), str::len);
        let same = |own: &String| own.get(..bare(own)) == value.get(..bare(value));
        self.0.iter().any(same)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a string or a list of strings")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(all) => all,
        };
        if all.is_empty() || all.iter().any(String::is_empty) {
            return Err(de::Error::custom(
                "must name who tokens are for, so that those for others are refused",
            ));
        }
        Ok(Self(all))
    }
}

impl JsonSchema for Audience {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Audience".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ] })
    }
}

/// Where keys are: at a URL, or here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Keys {
    /// The URL of a JSON Web Key Set.
    Url(Url),
    /// The keys themselves.
    List(KeySet),
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if let Some(text) = value.as_str() {
            return Url::parse(text).map(Self::Url).map_err(de::Error::custom);
        }
        let keys = KeySet::deserialize(value);
        keys.map(Self::List).map_err(de::Error::custom)
    }
}

impl JsonSchema for Keys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "object" }, "minItems": 1 },
        ] })
    }
}
