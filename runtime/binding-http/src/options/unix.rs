//! The option `unix`: who may connect to a Unix socket.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Access to Unix sockets. A socket that no process listens on any more is replaced; the socket is
/// removed at the stop.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UnixSocket {
    /// Permissions in octal. Clients need write permission to connect.
    pub mode: Mode,
    /// User that owns the socket: a name of `/etc/passwd`, or a number. Absent: the user of the
    /// gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group of the socket: a name of `/etc/group`, or a number. Absent: the group of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Permissions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Default for Mode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModeVisitor)
    }
}

struct ModeVisitor;

impl de::Visitor<'_> for ModeVisitor {
    type Value = Mode;

    /// Without quotes, YAML takes it for a decimal number.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("three or four octal digits in quotes, as in \"0660\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
        let digits = text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| digits && *mode <= 0o777)
            .map(Mode)
            .ok_or_else(|| {
                E::custom(format!(
                    "invalid mode '{text}'; use three or four octal digits in quotes, as in \"0660\""
                ))
            })
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal() {
        let read = |json: &str| serde_json::from_str::<Mode>(json).ok();
        assert_eq!(read("\"0660\""), Some(Mode(0o660)));
        assert_eq!(read("\"600\""), Some(Mode(0o600)));
        for json in ["\"0888\"", "\"4755\"", "\"6\"", "660", "\"rw\"", "\"+660\""] {
            assert_eq!(read(json), None, "{json}");
        }
        let written = serde_json::to_string(&Mode::default()).ok();
        assert_eq!(written.as_deref(), Some("\"0660\""));
    }
}
