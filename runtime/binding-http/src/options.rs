//! Options of `http · server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_options::{positive, positive_or_absent};

/// Options of `http · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Address and port to listen on. Port 0 selects any free port.
    pub listen: Listen,
    /// Path of the MCP endpoint. A request for another path is answered with 404.
    #[serde(default = "path", deserialize_with = "absolute_path")]
    pub path: String,
    /// Maximum size of a request body, in bytes. A larger one is answered with 413.
    #[serde(default = "body_size", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_body_size: usize,
    /// Maximum number of open connections of each worker. Further ones wait in the kernel's queue.
    #[serde(default = "connections", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// Maximum number of open connections from one client address on each worker. A further one is
    /// answered with 503 and closed. IPv6 clients are counted by /64 network. Absent: no limit,
    /// because all clients behind a reverse proxy share its address.
    #[serde(default, deserialize_with = "positive_or_absent")]
    #[schemars(range(min = 1))]
    pub max_connections_per_address: Option<usize>,
    /// Timeout for the head of a request, in milliseconds, from its first byte; for the first
    /// request, from the start of the connection.
    #[serde(default = "header_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub header_timeout: u64,
    /// Timeout for the body of a request, in milliseconds.
    #[serde(default = "body_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub body_timeout: u64,
    /// Timeout for an idle connection between two requests, in milliseconds. The default is longer
    /// than the 60 s for which common reverse proxies keep a connection open.
    #[serde(default = "idle_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub idle_timeout: u64,
    /// Timeout for a client that does not read a pending response, in milliseconds. A slow client
    /// that reads some of it within this time stays connected, as does an event stream with nothing
    /// to send.
    #[serde(default = "write_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub write_timeout: u64,
    /// Sites whose pages may use the endpoint, as browsers send them in `Origin`. On a loopback
    /// address, pages from this machine are always allowed.
    #[serde(default)]
    #[schemars(extend("examples" = [["https://app.example.com"]]))]
    pub allowed_origins: Vec<String>,
    /// Host names of the endpoint, as clients send them in `Host`. On a loopback address, the
    /// loopback names of this machine are always allowed; elsewhere an empty list allows any host.
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
        "invalid path; it must begin with '/' and have no query, as in /mcp",
    ))
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| {
            let what = format!(
                "invalid address '{text}'; use an IP address and port, as in 127.0.0.1:7114"
            );
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
            "description": "Address and port.",
            "examples": ["127.0.0.1:7114", "localhost:7114", "[::1]:7114"],
        })
    }
}

/// Other names than `localhost` would need DNS, and their addresses could change.
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
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
