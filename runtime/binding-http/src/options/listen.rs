//! The option `listen`: addresses and Unix sockets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const PREFIX: &str = "unix:";

/// Longest path of a Unix socket on all systems, in bytes.
const PATH_MAX: usize = 103;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and port.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{PREFIX}{}", path.display()),
        }
    }
}

/// One or several different addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(Vec<Address>);

impl Listen {
    /// A single address.
    pub fn on(address: Address) -> Self {
        Self(vec![address])
    }

    /// The addresses, at least one.
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenVisitor)
    }
}

struct ListenVisitor;

impl<'de> Visitor<'de> for ListenVisitor {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an address, as in 127.0.0.1:7114 or unix:/run/tidegate.sock, or a list of addresses",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
        parse(text).map(Listen::on).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listen, A::Error> {
        let mut addresses = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            let address = parse(&text).map_err(de::Error::custom)?;
            let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
            if !any_port && addresses.contains(&address) {
                return Err(de::Error::custom(format!(
                    "duplicate address '{address}'; list each address once"
                )));
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(de::Error::custom(
                "empty list; add an address, as in 127.0.0.1:7114",
            ));
        }
        Ok(Listen(addresses))
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [address] = &self.0[..] {
            return serializer.collect_str(address);
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for address in &self.0 {
            list.serialize_element(&address.to_string())?;
        }
        list.end()
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ],
            "description": "Address and port, or a Unix socket; or a list of them.",
            "examples": [
                "127.0.0.1:7114",
                "localhost:7114",
                "[::1]:7114",
                "unix:/run/tidegate/mcp.sock",
                ["127.0.0.1:7114", "unix:/run/tidegate/mcp.sock"],
            ],
        })
    }
}

fn parse(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix(PREFIX) {
        return unix(path).map(Address::Unix);
    }
    tcp(text).map(Address::Tcp).ok_or_else(|| {
        format!(
            "invalid address '{text}'; use an IP address and port, as in 127.0.0.1:7114, or a Unix \
             socket, as in unix:/run/tidegate.sock"
        )
    })
}

/// Other names than `localhost` would need DNS, and their addresses could change.
fn tcp(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let port = text.strip_prefix("localhost:")?.parse().ok()?;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

fn unix(path: &str) -> Result<PathBuf, String> {
    if cfg!(not(unix)) {
        return Err(
            "Unix sockets are not available on this system; use an address and port".into(),
        );
    }
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Err(format!(
            "invalid path of a Unix socket '{path}'; name a file, as in unix:/run/tidegate.sock"
        ));
    }
    if path.len() > PATH_MAX {
        return Err(format!(
            "the path of a Unix socket has {} bytes; use at most {PATH_MAX}",
            path.len()
        ));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Listen, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_has_a_port_and_localhost_is_the_only_name() {
        for (text, expected) in [
            ("127.0.0.1:7114", Some("127.0.0.1:7114")),
            ("localhost:7114", Some("127.0.0.1:7114")),
            ("[::1]:0", Some("[::1]:0")),
            ("127.0.0.1", None),
            ("localhost:70000", None),
            ("gate.example:80", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(tcp(text), expected, "{text}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_path_that_the_system_accepts() {
        for (path, valid) in [
            ("/run/tidegate.sock", true),
            ("tidegate.sock", true),
            ("", false),
            ("/run/", false),
            ("/run/a\0b", false),
        ] {
            assert_eq!(unix(path).is_ok(), valid, "{path:?}");
        }
        assert!(unix(&"x".repeat(PATH_MAX)).is_ok());
        assert!(unix(&"x".repeat(PATH_MAX + 1)).is_err());
    }

    #[test]
    fn a_list_has_each_address_once_and_keeps_its_order() {
        let json = r#"["127.0.0.1:1","unix:/a"]"#;
        let listen = read(json).expect("a list");
        assert_eq!(serde_json::to_string(&listen).ok().as_deref(), Some(json));
        let one = read(r#""127.0.0.1:1""#).expect("an address");
        assert_eq!(serde_json::to_value(&one).ok(), Some("127.0.0.1:1".into()));
        assert!(
            read(r#"["127.0.0.1:0","127.0.0.1:0"]"#).is_ok(),
            "two ports"
        );
        for (json, expected) in [
            (r#"["unix:/a","unix:/a"]"#, "duplicate address 'unix:/a'"),
            ("[]", "empty list"),
            ("7114", "expected an address"),
            (r#"["nowhere"]"#, "invalid address 'nowhere'"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
