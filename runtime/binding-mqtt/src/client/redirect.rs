//! Server redirection (MQTT 5.0, 4.11): a broker refers to another server, in CONNACK or DISCONNECT.
//!
//! Only hosts that `redirects` allows are followed, since credentials go there. The other server is
//! reached through the same bindings, so TLS verifies its host name.
//!
//! - *Use another server* (0x9C) is for one connection, and temporary: after the next loss it goes to the
//!   configured server again. *Server moved* (0x9D) is for all connections, until one to the new server
//!   cannot be opened.
//! - A connection to a server that was referred to and cannot be opened goes to the configured one at
//!   once, in the same attempt.
//! - At most [`HOPS`] references in a row are followed. Then the connection has failed, with the backoff
//!   of any other failure.

use std::borrow::Cow;
use std::str::FromStr as _;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_engine::streams::bytes_stream::BytesEndpoint;
use tidegate_engine::{Duration, Time};
use tidegate_options::Glob;

use super::connection::{Connection, Env, Phase};
use super::events::Redirected;
use super::failure::printable;
use crate::codec::ReasonCode;

/// Most references in a row.
const HOPS: u8 = 4;
/// A connection that lasted as long is not part of a row.
const SETTLED: Duration = Duration::from_secs(60);
/// Most servers of one reference.
const SERVERS_MAX: usize = 16;
/// Longest host name (RFC 1035, 2.3.4).
const HOST_MAX: usize = 253;
/// Most globs.
const GLOBS_MAX: usize = 64;

/// Which servers a broker may refer to: none, `any`, or hosts by globs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Redirects {
    /// References are told in errors only.
    #[default]
    None,
    /// Every server.
    Any,
    /// Hosts that one of the globs matches.
    Hosts(Vec<Glob>),
}

impl Redirects {
    /// Whether none is followed.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    fn allow(&self, host: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Hosts(globs) => globs.iter().any(|glob| glob.matches(host)),
        }
    }

    /// The servers of a Server Reference that are allowed, in its order.
    fn servers(&self, reference: &str) -> Vec<BytesEndpoint> {
        let servers = reference.split_ascii_whitespace().take(SERVERS_MAX);
        let servers = servers.filter_map(server);
        servers.filter(|server| self.allow(&server.host)).collect()
    }
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, with the host in lower case.
fn server(text: &str) -> Option<BytesEndpoint> {
    let bracketed = text.strip_prefix('[').and_then(|it| it.split_once(']'));
    let (host, port) = match (bracketed, text.split_once(':')) {
        (Some((host, "")), _) => (host, None),
        (Some((host, port)), _) => (host, Some(port.strip_prefix(':')?)),
        // An IPv6 address without brackets has no port.
        (None, Some((_, port))) if port.contains(':') => (text, None),
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (text, None),
    };
    let port = match port {
        Some(port) => u16::from_str(port).ok().filter(|port| *port > 0)?,
        None => 0,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let is_valid = !host.is_empty() && host.len() <= HOST_MAX && host.chars().all(is_host);
    is_valid.then(|| BytesEndpoint {
        host: host.into(),
        port,
    })
}

/// Where the connections of one client identifier go.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Where the next connection goes, because the broker has just said so.
    next: Vec<BytesEndpoint>,
    /// Where the current one goes; empty: to the configured servers, or where they have moved.
    current: Vec<BytesEndpoint>,
    /// Number of references in a row.
    hops: u8,
}

/// What a reference of the broker leads to.
pub(super) enum Reference {
    /// The connection goes there.
    Followed,
    /// It is only told, as a sentence with a space before it.
    Told(String),
}

impl Connection {
    /// The broker refers to another server: notes where the next connection goes, if it is allowed.
    pub(super) fn refer(
        &mut self,
        env: &mut Env<'_, '_>,
        code: ReasonCode,
        reference: Option<&str>,
    ) -> Reference {
        let Some(reference) = reference.filter(|it| !it.is_empty()) else {
            return Reference::Told(String::new());
        };
        let told = format!(" It refers to '{}'", printable(reference));
        let moved = code == ReasonCode::SERVER_MOVED;
        let redirects = &env.shared.options.redirects;
        if redirects.is_none() || !(moved || code == ReasonCode::USE_ANOTHER_SERVER) {
            return Reference::Told(format!("{told}."));
        }
        let servers = redirects.servers(reference);
        if servers.is_empty() {
            return Reference::Told(format!("{told}, which 'redirects' does not allow."));
        }
        self.end_row(env.cx.now());
        if self.course.hops >= HOPS {
            // The configured servers are next, but not in this attempt.
            self.course = Course::default();
            env.shared.link.moved = Vec::new();
            return Reference::Told(format!("{told}, after {HOPS} servers that did so."));
        }
        self.course.hops += 1;
        env.cx.event(&Redirected {
            client: self.client_id.clone(),
            broker: self.remote.clone(),
            reference: ByteString::from(printable(reference)),
            code: code.0,
        });
        if moved {
            env.shared.link.moved = servers;
        } else {
            self.course.next = servers;
        }
        Reference::Followed
    }

    /// The connection is lost: if it lasted, references that it had followed do not count further.
    pub(super) fn end_row(&mut self, now: Time) {
        if self.phase == Phase::Ready && now.since(self.up_since) >= SETTLED {
            self.course.hops = 0;
        }
    }

    /// Where a connection goes that is opened now; empty: to the configured servers.
    pub(super) fn servers(&mut self, env: &Env<'_, '_>) -> Vec<BytesEndpoint> {
        self.course.current = std::mem::take(&mut self.course.next);
        if self.course.current.is_empty() {
            self.course.current.clone_from(&env.shared.link.moved);
        }
        self.course.current.clone()
    }

    /// The attempt failed. If it went where a broker had referred to, that is not used again, and the
    /// connection goes to the configured servers at once. Returns whether it does.
    pub(super) fn return_to_configured(&mut self, env: &mut Env<'_, '_>) -> bool {
        let current = std::mem::take(&mut self.course.current);
        if current.is_empty() || self.phase != Phase::Connecting || env.cx.stopping() {
            return false;
        }
        if env.shared.link.moved == current {
            env.shared.link.moved = Vec::new();
        }
        self.course.next = Vec::new();
        self.connect_again(env, None)
    }
}

impl Serialize for Redirects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Any => serializer.serialize_str("any"),
            Self::Hosts(globs) => globs.serialize(serializer),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Word(String),
    Hosts(Vec<String>),
}

impl<'de> Deserialize<'de> for Redirects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let invalid = || {
            let why = format!(
                "invalid redirects; use any, or a list of 1 to {GLOBS_MAX} hosts, such as [\"*.example.com\"]"
            );
            de::Error::custom(why)
        };
        match Form::deserialize(deserializer).map_err(|_| invalid())? {
            Form::Word(word) if word == "any" => Ok(Self::Any),
            Form::Hosts(hosts) if (1..=GLOBS_MAX).contains(&hosts.len()) => {
                let globs = hosts
                    .iter()
                    .map(|host| Glob::new(&host.to_ascii_lowercase()));
                let globs = globs.collect::<Option<_>>().ok_or_else(invalid)?;
                Ok(Self::Hosts(globs))
            }
            _ => Err(invalid()),
        }
    }
}

impl JsonSchema for Redirects {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MqttRedirects".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["any"] },
            { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": GLOBS_MAX },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Redirects, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn servers(redirects: &str, reference: &str) -> Vec<String> {
        let redirects = read(redirects).expect("redirects");
        let servers = redirects.servers(reference).into_iter();
        servers
            .map(|it| format!("{} {}", it.host, it.port))
            .collect()
    }

    #[test]
    fn each_form_of_a_reference_is_read() {
        for (reference, expected) in [
            ("b.example", vec!["b.example 0"]),
            ("B.Example.:1884", vec!["b.example 1884"]),
            ("[2001:db8::1]:1884", vec!["2001:db8::1 1884"]),
            ("[::1] ::1", vec!["::1 0", "::1 0"]),
            ("a:1 b c:3", vec!["a 1", "b 0", "c 3"]),
            ("", vec![]),
            ("a:0", vec![]),
            ("a:65536", vec![]),
            ("a:x", vec![]),
            ("[::1]1", vec![]),
            ("mqtt://a", vec![]),
            ("unix:/run/x", vec![]),
            ("a@b", vec![]),
            (":1883", vec![]),
            ("ä", vec![]),
        ] {
            assert_eq!(servers("\"any\"", reference), expected, "{reference}");
        }
        let many = "a ".repeat(100);
        assert_eq!(servers("\"any\"", &many).len(), SERVERS_MAX);
        assert!(servers("\"any\"", &"a".repeat(HOST_MAX + 1)).is_empty());
    }

    #[test]
    fn only_allowed_hosts_are_followed() {
        let own = r#"["*.Example.com", "10.0.0.*"]"#;
        assert_eq!(
            servers(own, "a.example.com:1 evil.com:2 10.0.0.9 EXAMPLE.com"),
            ["a.example.com 1", "10.0.0.9 0"]
        );
        assert!(Redirects::None.servers("a").is_empty());
    }

    #[test]
    fn invalid_values_are_rejected_with_a_hint() {
        for json in ["\"all\"", "[]", "[\"\"]", "7"] {
            let error = read(json).expect_err(json);
            assert!(error.contains("use any, or a list"), "{error}");
        }
        let any = serde_json::to_string(&Redirects::Any).expect("JSON");
        assert_eq!(any, "\"any\"");
    }
}
