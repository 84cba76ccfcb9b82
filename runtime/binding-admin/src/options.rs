//! Options of `admin · server`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Options of `admin · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Fields")]
#[schemars(with = "Fields")]
pub struct Options {
    pub(crate) listen: Listen,
    pub(crate) unguarded: bool,
}

/// Options of `admin · server`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    /// Address and port, or `unix:` and the path of a Unix socket, which user and group of the gateway
    /// may use. Port 0 selects any free port.
    #[serde(default = "listen")]
    listen: Listen,
    /// Allows an address other than loopback: anyone who can reach it reads state and metrics.
    #[serde(default)]
    unguarded: bool,
}

fn listen() -> Listen {
    Listen::Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7_190))
}

impl TryFrom<Fields> for Options {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields { listen, unguarded } = fields;
        match &listen {
            Listen::Address(address) if !address.ip().is_loopback() && !unguarded => Err(format!(
                "{address} is not a loopback address, and anyone who can reach it could read state \
                 and metrics; listen on 127.0.0.1 or a Unix socket, or set 'unguarded: true'"
            )),
            _ => Ok(Self { listen, unguarded }),
        }
    }
}

impl tidegate_options::Options for Options {}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Address(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "invalid address '{text}'; use an IP address and port, as in 127.0.0.1:7190, or the \
                 path of a Unix socket, as in unix:/run/tidegate/admin.sock"
            ))
        })
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Listen {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AdminListen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

fn parse(text: &str) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        return (!path.is_empty()).then(|| Listen::Unix(path.into()));
    }
    if let Ok(address) = text.parse() {
        return Some(Listen::Address(address));
    }
    let port = text.strip_prefix("localhost:")?.parse().ok()?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Some(Listen::Address(SocketAddr::new(loopback, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, String> {
        let options = serde_json::from_str::<Options>(json);
        options
            .map(|it| it.listen.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn loopback_and_unix_sockets_need_no_permission() {
        for (json, expected) in [
            ("{}", "127.0.0.1:7190"),
            (r#"{"listen":"localhost:1"}"#, "127.0.0.1:1"),
            (r#"{"listen":"[::1]:0"}"#, "[::1]:0"),
            (r#"{"listen":"unix:/run/a.sock"}"#, "unix:/run/a.sock"),
            (
                r#"{"listen":"0.0.0.0:7190","unguarded":true}"#,
                "0.0.0.0:7190",
            ),
        ] {
            assert_eq!(read(json).as_deref(), Ok(expected), "{json}");
        }
        let error = read(r#"{"listen":"0.0.0.0:7190"}"#).expect_err("not loopback");
        assert!(error.contains("set 'unguarded: true'"), "{error}");
        for wrong in ["127.0.0.1", "unix:", "host:80", ""] {
            assert!(
                read(&format!(r#"{{"listen":"{wrong}"}}"#)).is_err(),
                "{wrong}"
            );
        }
    }
}
