//! Options of `http · server`.

mod access_control;
mod authorization;
mod listen;
mod pattern;
mod resource;
mod tls;
mod unix;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_options::{
    GuardReference, OptionConflict, OptionWarning, positive, positive_or_absent,
};

pub(crate) use access_control::AccessControl;
pub(crate) use authorization::{Authorization, Credentials};
pub(crate) use listen::{Address, Listen};
pub(crate) use pattern::Pattern;
pub(crate) use resource::Resource;
pub(crate) use tls::{ClientCertificates, Tls};
pub(crate) use unix::UnixSocket;

/// Options of `http · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Where to listen: `address:port`, `unix:` and the path of a Unix socket, or a list of several.
    /// Port 0 selects any free port.
    pub listen: Listen,
    /// Access to the Unix sockets of `listen`.
    #[serde(default)]
    pub unix: UnixSocket,
    /// TLS on the addresses of `listen`. Unix sockets stay without it. With TLS, and without it on
    /// loopback addresses and Unix sockets, clients may use HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Allows everyone who reaches an address other than loopback to use every tool. Without it, such
    /// an address is refused unless clients are authenticated.
    #[serde(default)]
    pub unguarded: bool,
    /// Who may send requests: guards, and where credentials for them are. The first guard that accepts
    /// its credential decides who the client is; a request without a valid credential is answered with
    /// 401. `staff: {}` takes credentials from where they usually are: keys from `Authorization: Bearer`
    /// or `X-API-Key`, tokens from `Authorization: Bearer`, client certificates from the TLS connection.
    /// Absent: nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Whether a request without a credential is served, too: as that of an anonymous client, which may
    /// use what is not `guarded`. A credential that is not accepted is answered with 401 all the same.
    #[serde(default)]
    pub anonymous: bool,
    /// Path of the MCP endpoint. A request for another path is answered with 404.
    #[serde(default = "path", deserialize_with = "absolute_path")]
    pub path: String,
    /// Path of the status page, such as `/status`: whether the gateway runs and its brokers are
    /// connected, as JSON, without credentials. While it is set, a connection to each broker is kept
    /// open. Absent: no status page.
    #[serde(
        default,
        deserialize_with = "optional_path",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(extend("examples" = ["/status"]))]
    pub status: Option<String>,
    /// Maximum size of a request body, in bytes. A larger one is answered with 413.
    #[serde(default = "body_size", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_body_size: usize,
    /// Maximum number of open connections of each worker. Further ones wait in the kernel's queue.
    #[serde(default = "connections", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// Maximum number of open connections from one client address on each worker. A further one is
    /// answered with 503 and closed. IPv6 clients are counted by /64 network, and clients of a Unix
    /// socket not at all. Absent: no limit, because all clients behind a reverse proxy share its
    /// address.
    #[serde(default, deserialize_with = "positive_or_absent")]
    #[schemars(range(min = 1))]
    pub max_connections_per_address: Option<usize>,
    /// Maximum number of concurrent requests of one HTTP/2 connection. Clients wait before they send
    /// further ones.
    #[serde(default = "streams", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_streams: u32,
    /// Maximum number of concurrent requests of all HTTP/2 connections of each worker. A further one
    /// is answered with 503. An HTTP/1.1 connection has one request at a time.
    #[serde(default = "connections", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_requests: usize,
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
    /// Timeout for a client that does not read a pending response, in milliseconds: its connection is
    /// closed, or its HTTP/2 request aborted. A slow client that reads some of it within this time
    /// stays connected, as does an event stream with nothing to send. An HTTP/2 client must also
    /// answer a ping within this time.
    #[serde(default = "write_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub write_timeout: u64,
    /// Sites whose pages may use the endpoint, as browsers send them in `Origin`. On a loopback
    /// address, pages from this machine are always allowed. Pages of another origin than the endpoint
    /// also need `accessControl`.
    #[serde(default)]
    #[schemars(extend("examples" = [["https://app.example.com"]]))]
    pub allowed_origins: Vec<String>,
    /// Host names of the endpoint, as clients send them in `Host`. On a loopback address, the
    /// loopback names of this machine are always allowed; elsewhere an empty list allows any host.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Lets browsers give the responses to pages of other origins (CORS). Absent: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_control: Option<AccessControl>,
}

impl Options {
    /// Options with their defaults.
    #[cfg(test)]
    pub(crate) fn listening(listen: Listen) -> Self {
        Self {
            listen,
            unix: UnixSocket::default(),
            tls: None,
            unguarded: false,
            authorization: None,
            anonymous: false,
            path: path(),
            status: None,
            max_body_size: body_size(),
            max_connections: connections(),
            max_connections_per_address: None,
            max_streams: streams(),
            max_requests: connections(),
            header_timeout: header_timeout(),
            body_timeout: body_timeout(),
            idle_timeout: idle_timeout(),
            write_timeout: write_timeout(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            access_control: None,
        }
    }

    /// Whether every client is authenticated before it is served.
    pub(crate) fn authenticates(&self) -> bool {
        let certificates = self.tls.as_ref().map(|tls| tls.client_certificates);
        certificates == Some(ClientCertificates::Required)
            || (self.authorization.is_some() && !self.anonymous)
    }

    /// A network address without authentication, which nothing says is meant.
    fn open_to_all(&self, address: SocketAddr) -> OptionConflict {
        let (message, first) = if self.anonymous {
            (
                format!(
                    "anonymous clients are served on {address}: anyone who can reach this address could use \
                     what is not guarded"
                ),
                "remove 'anonymous'",
            )
        } else {
            (
                format!(
                    "no authentication on {address}: anyone who can reach this address could use every tool"
                ),
                "name a guard (authorization), require client certificates (tls.clientCertificates)",
            )
        };
        OptionConflict {
            key: "listen",
            message,
            help: format!(
                "{first}, listen on 127.0.0.1 or a Unix socket, or set 'unguarded: true' if that is meant"
            ),
        }
    }

    /// The first address that a network can reach.
    pub(crate) fn network_address(&self) -> Option<SocketAddr> {
        let mut addresses = self.listen.addresses().iter();
        addresses.find_map(|address| match address {
            Address::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(*address),
            _ => None,
        })
    }
}

impl tidegate_options::Options for Options {
    fn guards(&self) -> Vec<GuardReference> {
        let authorization = self.authorization.as_ref();
        authorization.map_or_else(Vec::new, Authorization::references)
    }

    fn warnings(&self) -> Vec<OptionWarning> {
        let authorization = self.authorization.as_ref();
        authorization.map_or_else(Vec::new, Authorization::warnings)
    }

    fn conflicts(&self) -> Vec<OptionConflict> {
        let mut conflicts = Vec::new();
        if let Some(address) = self.network_address()
            && !self.unguarded
            && !self.authenticates()
        {
            conflicts.push(self.open_to_all(address));
        }
        if self.status.as_ref() == Some(&self.path) {
            conflicts.push(OptionConflict {
                key: "status",
                message: format!("'{}' is also the path of the MCP endpoint", self.path),
                help: "use another path, as in /status".to_owned(),
            });
        }
        if self.anonymous && self.authorization.is_none() {
            conflicts.push(OptionConflict {
                key: "anonymous",
                message: "without 'authorization', every client is anonymous".to_owned(),
                help: "name a guard in 'authorization', or remove 'anonymous'".to_owned(),
            });
        }
        let authorization = self.authorization.as_ref();
        conflicts.extend(authorization.map_or_else(Vec::new, Authorization::conflicts));
        conflicts.extend(self.tls.as_ref().and_then(Tls::conflict));
        conflicts.extend(
            self.access_control
                .as_ref()
                .and_then(AccessControl::conflict),
        );
        conflicts
    }
}

fn path() -> String {
    "/mcp".to_owned()
}

const fn body_size() -> usize {
    4 * 1024 * 1024
}

const fn connections() -> usize {
    1_024
}

const fn streams() -> u32 {
    100
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

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    absolute_path(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use tidegate_options::Options as _;

    use super::*;

    fn conflicts(json: &str) -> Vec<OptionConflict> {
        let options: Options = serde_json::from_str(json).expect("valid options");
        options.conflicts()
    }

    fn keys(json: &str) -> Vec<&'static str> {
        conflicts(json)
            .iter()
            .map(|conflict| conflict.key)
            .collect()
    }

    #[test]
    fn a_network_address_needs_authentication() {
        for listen in [
            r#""0.0.0.0:7114""#,
            r#"["127.0.0.1:7114", "192.0.2.1:7114"]"#,
            r#""[::]:7114""#,
        ] {
            let json = format!(r#"{{ "listen": {listen} }}"#);
            let [conflict] = &conflicts(&json)[..] else {
                panic!("{json}");
            };
            assert_eq!(conflict.key, "listen");
            assert!(conflict.message.starts_with("no authentication on "));
            assert!(conflict.help.contains("unguarded: true"));
            let json = format!(r#"{{ "listen": {listen}, "unguarded": true }}"#);
            assert!(keys(&json).is_empty());
        }
    }

    #[test]
    fn loopback_and_unix_sockets_need_none() {
        for listen in [
            "127.0.0.1:1",
            "127.8.8.8:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "unix:/run/tidegate.sock",
        ] {
            assert!(keys(&format!(r#"{{ "listen": "{listen}" }}"#)).is_empty());
        }
    }

    #[test]
    fn a_guard_authenticates_unless_anonymous_clients_are_served() {
        let listening = |rest| keys(&format!(r#"{{ "listen": "0.0.0.0:1", {rest} }}"#));
        let guarded = r#""authorization": { "staff": {} }"#;
        assert!(listening(guarded).is_empty());
        let anonymous = format!(r#"{guarded}, "anonymous": true"#);
        assert_eq!(listening(&anonymous), ["listen"]);
        assert!(listening(&format!(r#"{anonymous}, "unguarded": true"#)).is_empty());
        let json = r#"{ "listen": "127.0.0.1:1", "anonymous": true }"#;
        assert_eq!(keys(json), ["anonymous"]);
    }

    #[test]
    fn only_required_client_certificates_authenticate() {
        for (mode, expected) in [("required", &[][..]), ("requested", &["listen"])] {
            let json = format!(
                r#"{{ "listen": "0.0.0.0:1", "tls": {{ "certificate": "c", "key": "k",
                     "clientCertificates": "{mode}", "trust": "t" }} }}"#
            );
            assert_eq!(keys(&json), expected, "{mode}");
        }
    }

    #[test]
    fn the_status_page_has_a_path_of_its_own() {
        let json = r#"{ "listen": "127.0.0.1:1", "status": "/mcp" }"#;
        assert_eq!(keys(json), ["status"]);
    }
}
