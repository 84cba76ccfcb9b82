//! The options of `tcp · client`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, OptionConflict, positive};

use crate::endpoint::Endpoint;

/// The options of `tcp · client`: one of `host`, `unix` and `endpoints`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Host name or IP address to connect to. Of several addresses, those of both families are tried in
    /// turn, a quarter of a second apart, and the first that answers is used.
    #[serde(
        default,
        deserialize_with = "host",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = &"broker.example.com")]
    pub host: Option<String>,
    /// Port to connect to.
    #[serde(default = "mqtt_port", deserialize_with = "positive")]
    #[schemars(range(min = 1), example = 1883_u16)]
    pub port: u16,
    /// Unix socket to connect to, instead of `host`. A relative path starts at the working directory.
    #[serde(
        default,
        deserialize_with = "unix",
        skip_serializing_if = "Option::is_none"
    )]
    pub unix: Option<PathBuf>,
    /// Several places to connect to, instead of `host`: `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`, at most
    /// 16, in order of preference. Each connection goes to the first that accepts it.
    #[serde(
        default,
        deserialize_with = "endpoints",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Vec<String>")]
    pub endpoints: Vec<Endpoint>,
    /// Time after which an endpoint that failed takes its place in `endpoints` again, in milliseconds;
    /// until then it is tried last. Open connections stay where they are.
    #[serde(default = "return_after")]
    pub return_after: Bounded<0, 86_400_000>,
    /// Time to open a connection, over all endpoints and their addresses, in milliseconds. What is left is
    /// shared equally by the endpoints that are left.
    #[serde(default = "connect_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub connect_timeout: u64,
    /// Time without data after which TCP asks whether the peer is still there, in milliseconds. It is
    /// lost after the same time without an answer. 0: never.
    #[serde(default = "keep_alive")]
    pub keep_alive: Bounded<0, 86_400_000>,
    /// Time without an acknowledgement of sent data after which the connection is lost, in milliseconds
    /// (`TCP_USER_TIMEOUT`, Linux only). 0: that of the system, usually several minutes.
    #[serde(default = "user_timeout")]
    pub user_timeout: Bounded<0, 86_400_000>,
}

/// The port that is registered for MQTT.
pub(crate) const MQTT_PORT: u16 = 1883;
/// Most endpoints.
const ENDPOINTS_MAX: usize = 16;

const fn mqtt_port() -> u16 {
    MQTT_PORT
}

const fn connect_timeout() -> u64 {
    4_000
}

const fn return_after() -> Bounded<0, 86_400_000> {
    Bounded::of(60_000)
}

const fn keep_alive() -> Bounded<0, 86_400_000> {
    Bounded::of(60_000)
}

const fn user_timeout() -> Bounded<0, 86_400_000> {
    Bounded::of(30_000)
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let host = String::deserialize(deserializer)?;
    match fault(&host) {
        Some(fault) => Err(de::Error::custom(fault)),
        None => Ok(Some(host)),
    }
}

fn unix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.as_os_str().is_empty() {
        let why = "the path is empty; use e.g. /run/mosquitto/mqtt.sock";
        return Err(de::Error::custom(why));
    }
    Ok(Some(path))
}

fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    let endpoints = Vec::<Endpoint>::deserialize(deserializer)?;
    if !(1..=ENDPOINTS_MAX).contains(&endpoints.len()) {
        let why = format!("use 1 to {ENDPOINTS_MAX} endpoints");
        return Err(de::Error::custom(why));
    }
    Ok(endpoints)
}

/// The error of an invalid host, with what to use instead; `None` if the host is valid.
fn fault(host: &str) -> Option<String> {
    let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
    let authority = rest.split('/').next().unwrap_or_default();
    let name = authority.rsplit('@').next().unwrap_or_default();
    let bracketed = name.strip_prefix('[').and_then(|it| it.split_once(']'));
    let (name, port) = match (bracketed, name.split_once(':')) {
        (Some((name, port)), _) => (name, port.trim_start_matches(':')),
        // An IPv6 address has more than one colon.
        (None, Some((name, port))) if !port.contains(':') => (name, port),
        (None, _) => (name, ""),
    };
    let mut instead = match port {
        "" => format!("host: {name}"),
        port => format!("host: {name} and port: {port}"),
    };
    if authority.contains('@') {
        instead.push_str(", and username and password in the options of mqtt · client");
    }
    // The error does not repeat the value, because a URL may contain a password.
    match scheme {
        _ if name.is_empty() => {
            Some("the host is empty; use a host name or an IP address, e.g. localhost".to_owned())
        }
        "mqtts" | "ssl" | "tls" | "ws" | "wss" => Some(
            "not a host name but a URL; use it as 'url' of mqtt · client, without its exit"
                .to_owned(),
        ),
        "" if host == name => None,
        "" => Some(format!("not a host name or IP address; use {instead}")),
        _ => Some(format!("not a host name but a URL; use {instead}")),
    }
}

impl tidegate_options::Options for Options {
    fn conflicts(&self) -> Vec<OptionConflict> {
        let given = [
            ("host", self.host.is_some()),
            ("unix", self.unix.is_some()),
            ("endpoints", !self.endpoints.is_empty()),
        ];
        let mut given = given
            .iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key);
        let (key, message) = match (given.next(), given.next()) {
            (None, _) => ("host", "missing key 'host'".to_owned()),
            (Some(first), Some(second)) => {
                let message = format!("'{second}' and '{first}' are mutually exclusive");
                (second, message)
            }
            (Some(_), None) => return Vec::new(),
        };
        vec![OptionConflict {
            key,
            message,
            help: "use one of host, unix and endpoints".to_owned(),
        }]
    }
}

impl Options {
    /// Where to connect to, in order of preference.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let host = self.host.iter().map(|host| Endpoint::Tcp {
            host: host.clone(),
            port: self.port,
        });
        let unix = self.unix.iter().cloned().map(Endpoint::Unix);
        let others = self.endpoints.iter().cloned();
        host.chain(unix).chain(others).collect()
    }

    /// All endpoints, for errors.
    pub fn remote(&self) -> String {
        let all: Vec<String> = self.endpoints().iter().map(Endpoint::to_string).collect();
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};
    use tidegate_options::Options as _;

    use super::*;

    /// Deserializes options that set only the host.
    fn read(host: &str) -> Result<Options, Error> {
        let config = [("host", host)].into_iter();
        Options::deserialize(MapDeserializer::new(config))
    }

    #[test]
    fn the_default_time_to_connect_is_shorter_than_a_session_waits() {
        let peer = read("localhost").expect("valid options");
        assert_eq!((peer.port, peer.connect_timeout), (1883, 4_000));
        assert_eq!(peer.remote(), "localhost:1883");
        assert_eq!(read("::1").expect("valid options").remote(), "[::1]:1883");
    }

    #[test]
    fn there_is_one_place_or_a_list() {
        let read = |json: &str| serde_json::from_str::<Options>(json);
        let of = |json: &str| read(json).unwrap_or_else(|why| panic!("{json}: {why}"));
        let unix = of(r#"{"unix":"/run/mqtt.sock"}"#);
        assert_eq!(unix.remote(), "unix:/run/mqtt.sock");
        let list = of(r#"{"endpoints":["a","[::1]:1884","unix:b"]}"#);
        assert_eq!(list.remote(), "a:1883, [::1]:1884, unix:b");
        for (json, expected) in [
            ("{}", "missing key 'host'"),
            (
                r#"{"host":"a","unix":"b"}"#,
                "'unix' and 'host' are mutually exclusive",
            ),
            (
                r#"{"unix":"b","endpoints":["a"]}"#,
                "'endpoints' and 'unix' are mutually exclusive",
            ),
        ] {
            assert_eq!(of(json).conflicts()[0].message, expected);
        }
        assert!(list.conflicts().is_empty() && unix.conflicts().is_empty());
        let many = format!(r#"{{"endpoints":{:?}}}"#, ["a"; ENDPOINTS_MAX + 1]);
        for (json, expected) in [
            (r#"{"endpoints":[]}"#, "use 1 to 16 endpoints"),
            (&*many, "use 1 to 16 endpoints"),
            (r#"{"endpoints":["mqtt://a"]}"#, "use HOST:PORT"),
            (r#"{"unix":""}"#, "the path is empty"),
        ] {
            let error = read(json).expect_err(json).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn invalid_hosts_are_rejected_with_a_hint() {
        let empty = "the host is empty; use a host name or an IP address, e.g. localhost";
        for (host, what) in [
            ("", empty),
            ("mqtt://", empty),
            (
                "mqtt://broker",
                "not a host name but a URL; use host: broker",
            ),
            (
                "tcp://user:word@broker:1884/x",
                "not a host name but a URL; use host: broker and port: 1884, and username and password in the \
                 options of mqtt · client",
            ),
            (
                "mqtts://broker:8883",
                "not a host name but a URL; use it as 'url' of mqtt · client, without its exit",
            ),
            (
                "broker/path",
                "not a host name or IP address; use host: broker",
            ),
            (
                "broker:1883",
                "not a host name or IP address; use host: broker and port: 1883",
            ),
            (
                "[::1]:1883",
                "not a host name or IP address; use host: ::1 and port: 1883",
            ),
            ("[::1]", "not a host name or IP address; use host: ::1"),
        ] {
            let refused = read(host).expect_err("no host");
            assert_eq!(refused.to_string(), what);
        }
        for host in ["localhost", "::1", "2001:db8::1", "192.0.2.1"] {
            assert!(read(host).is_ok(), "{host}");
        }
    }
}
