//! Options of `http · server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_options::{positive, positive_or_absent};

/// Options of `http · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Where clients connect: `127.0.0.1:7114`. Port 0 takes any free one.
    pub listen: Listen,
    /// The path of the endpoint; any other is answered 404.
    #[serde(default = "path", deserialize_with = "absolute_path")]
    pub path: String,
    /// The largest body taken, in bytes; a larger one is answered 413.
    #[serde(default = "body_size")]
    pub max_body_size: usize,
    /// How many connections each worker serves at a time; more wait.
    #[serde(default = "connections", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The most connections of one client address that each worker serves at a time; one more is
    /// answered 503 and closed. IPv6 clients are counted by their /64 network. Behind a reverse proxy
    /// all clients have the proxy's address, so there is no limit of its own unless this is set.
    #[serde(default, deserialize_with = "positive_or_absent")]
    #[schemars(range(min = 1))]
    pub max_connections_per_address: Option<usize>,
    /// How long a client may take to send a request's whole head, from its first byte or, for the
    /// first request, from the connection's start, in milliseconds.
    #[serde(default = "header_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub header_timeout: u64,
    /// How long a client may take to send a request's whole body, in milliseconds.
    #[serde(default = "body_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub body_timeout: u64,
    /// How long a connection may be idle between two requests, in milliseconds. The default is longer
    /// than the 60 s for which common proxies keep a connection.
    #[serde(default = "idle_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub idle_timeout: u64,
    /// How long a client may take nothing of what is written to it, in milliseconds. A slow client
    /// that takes a part within this time stays; an event stream with nothing to write does too.
    #[serde(default = "write_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub write_timeout: u64,
    /// Sites whose pages may use the endpoint, as they stand in `Origin`: `https://app.example`. On a
    /// loopback address, http and https pages from this machine may always.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Names under which the endpoint may be asked for, as they stand in `Host` or in an absolute
    /// target. On a loopback address, this machine's loopback names always are; elsewhere an empty
    /// list takes any.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
}

impl tidegate_options::Options for Options {}

fn path() -> String {
    "/mcp".to_owned()
}

const fn body_size() -> usize {
    4 * 1024 * 1024
}

const fn connections() -> usize {
    1_024
}

const fn header_timeout() -> u64 {
    30_000
}

const fn body_timeout() -> u64 {
    30_000
}

const fn idle_timeout() -> u64 {
    75_000
}

const fn write_timeout() -> u64 {
    30_000
}

fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    if path.starts_with('/') && !path.contains(['?', '#', ' ']) {
        return Ok(path);
    }
    Err(serde::de::Error::custom(
        "a path starts with '/' and has no query: /mcp",
    ))
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| {
            let what = format!("'{text}' is no address and port; give one like 127.0.0.1:7114");
            serde::de::Error::custom(what)
        })
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An address and a port.",
            "examples": ["127.0.0.1:7114", "localhost:7114", "[::1]:7114"],
        })
    }
}

/// Names other than `localhost` would have to be looked up, and could change.
fn parse(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let port = text.strip_prefix("localhost:")?.parse().ok()?;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_and_no_name_but_localhost() {
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
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
