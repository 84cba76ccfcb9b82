//! What a connection presents to the broker: a user name and a password, which may come from a file
//! that is read again for each connection, so that a token in it can be replaced.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::authentication::Authentication;
use super::connection::{Connection, Env, Shared};
use super::failure::Failure;

/// Reads the file of a password. The binding does no I/O itself.
pub trait ReadPassword: fmt::Debug {
    /// The content without a newline at its end. An error is the reason in words: `not found`.
    fn read(&self, path: &Path) -> Result<Bytes, String>;
}

/// A password: bytes, or a file with them. `Debug` and `Serialize` do not reveal it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Bytes(Bytes),
    File(PathBuf),
}

impl Password {
    /// Returns `None` for more than 65,535 bytes, the limit of MQTT.
    pub fn new(bytes: Bytes) -> Option<Self> {
        u16::try_from(bytes.len())
            .is_ok()
            .then_some(Self(Source::Bytes(bytes)))
    }

    /// Its bytes; `None` if they are in a file.
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Source::Bytes(bytes) => Some(bytes),
            Source::File(_) => None,
        }
    }

    /// Its bytes now.
    pub(super) fn read(&self, files: Option<&dyn ReadPassword>) -> Result<Bytes, String> {
        let path = match &self.0 {
            Source::Bytes(bytes) => return Ok(bytes.clone()),
            Source::File(path) => path,
        };
        let content = match files {
            Some(files) => files.read(path),
            None => Err("files are not available here".to_owned()),
        };
        let refused = |why: &str| {
            format!(
                "The password file {} cannot be used: {why}.",
                path.display()
            )
        };
        match content {
            Ok(content) if u16::try_from(content.len()).is_err() => {
                Err(refused("it has more than 65535 bytes"))
            }
            Ok(content) if content.is_empty() => Err(refused("it is empty")),
            Ok(content) => Ok(content),
            Err(why) => Err(refused(&why)),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Bytes(_) => f.write_str("Password(…)"),
            Source::File(path) => f.debug_tuple("Password").field(path).finish(),
        }
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PasswordText {
    Text(String),
    Bytes(Base64),
    File(File),
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = PasswordText::deserialize(deserializer).map_err(|_| {
            de::Error::custom("invalid password: use text, { base64: … } or { file: … }")
        })?;
        let bytes = match text {
            PasswordText::Text(text) => text.into_bytes(),
            PasswordText::Bytes(Base64 { base64 }) => STANDARD
                .decode(base64)
                .map_err(|error| de::Error::custom(format!("invalid base64: {error}")))?,
            PasswordText::File(File { file }) => return Ok(Self(Source::File(file))),
        };
        Self::new(bytes.into())
            .ok_or_else(|| de::Error::custom("invalid password: use at most 65535 bytes"))
    }
}

impl JsonSchema for Password {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let object = |key: &str| {
            json_schema!({
                "type": "object",
                "properties": { key: { "type": "string" } },
                "required": [key],
                "additionalProperties": false,
            })
        };
        json_schema!({ "anyOf": [{ "type": "string" }, object("base64"), object("file")] })
    }
}

/// What CONNECT presents.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) username: Option<ByteString>,
    pub(super) password: Option<Bytes>,
    /// The method and the first data of an enhanced authentication.
    pub(super) authentication: Option<(&'static str, Bytes)>,
}

impl Connection {
    /// The enhanced authentication that it uses.
    pub(super) fn authentication<'s>(&self, shared: &'s Shared) -> Option<&'s Authentication> {
        let options = &shared.options;
        match &self.account {
            Some(account) => options.accounts.get(account.entry)?.authentication.as_ref(),
            None => options.authentication.as_ref(),
        }
    }

    /// Reads the credentials for CONNECT, and begins an enhanced authentication.
    pub(super) fn credentials(&mut self, env: &mut Env<'_, '_>) -> Result<Credentials, Failure> {
        let files = env.shared.files.as_deref();
        let options = &env.shared.options;
        let (username, password) = if let Some(account) = &self.account {
            let entry = options.accounts.get(account.entry);
            let password = entry.and_then(|entry| entry.password.as_ref());
            (account.username.clone(), password)
        } else {
            let username = options.username.as_ref().map(|name| name.text().clone());
            (username, options.password.as_ref())
        };
        let mut credentials = Credentials {
            username,
            ..Credentials::default()
        };
        if let Some(password) = password {
            credentials.password = Some(password.read(files).map_err(Failure::local)?);
        }
        if let Some(authentication) = self.authentication(env.shared) {
            let password = authentication
                .password
                .read(files)
                .map_err(Failure::local)?;
            let began = authentication.begin(env.cx, &password, self.packets.version);
            let (exchange, data) = began.map_err(Failure::local)?;
            self.exchange = Some(exchange);
            credentials.authentication = Some((authentication.method(), data));
        }
        Ok(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Password, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[derive(Debug)]
    struct Files(Result<Bytes, String>);

    impl ReadPassword for Files {
        fn read(&self, path: &Path) -> Result<Bytes, String> {
            assert_eq!(path, Path::new("/run/token"));
            self.0.clone()
        }
    }

    #[test]
    fn a_password_may_be_bytes_and_is_never_shown() {
        let password = read(r#"{"base64":"AP9z"}"#).expect("legal");
        let bytes = password.bytes().expect("given");
        assert_eq!(bytes.as_ref(), [0, 0xff, b's']);
        let text = read(r#""secret""#).expect("legal");
        assert!(!format!("{text:?}").contains("secret"));
        let json = serde_json::to_string(&text).expect("serializes");
        assert!(!json.contains("secret"), "{json}");
    }

    #[test]
    fn a_file_is_read_each_time_and_its_faults_are_named() {
        let password = read(r#"{"file":"/run/token"}"#).expect("legal");
        assert_eq!(password.bytes(), None);
        let now = |content: Result<&'static str, &str>| {
            let content = content.map(Bytes::from).map_err(str::to_owned);
            password.read(Some(&Files(content)))
        };
        assert_eq!(now(Ok("one")), Ok("one".into()));
        assert_eq!(now(Ok("two")), Ok("two".into()));
        assert_eq!(
            now(Err("not found")),
            Err("The password file /run/token cannot be used: not found.".to_owned())
        );
        let empty = now(Ok("")).expect_err("empty");
        assert!(empty.contains("it is empty"), "{empty}");
        assert!(password.read(None).is_err());
    }

    #[test]
    fn other_forms_are_rejected() {
        for (json, expected) in [
            ("7", "invalid password: use text"),
            (r#"{"base64":"%"}"#, "invalid base64"),
            (r#"{"path":"x"}"#, "{ file: … }"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
