//! The options of `tcp · client`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_options::positive;

/// The options of `tcp · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Host name or IP address to connect to.
    #[serde(deserialize_with = "host")]
    #[schemars(example = &"broker.example.com")]
    pub host: String,
    /// Port to connect to.
    #[serde(default = "mqtt_port", deserialize_with = "positive")]
    #[schemars(range(min = 1), example = 1883_u16)]
    pub port: u16,
    /// Time to open a connection, over all addresses of the host, in milliseconds.
    #[serde(default = "connect_timeout", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub connect_timeout: u64,
}

/// The port that is registered for MQTT.
const fn mqtt_port() -> u16 {
    1883
}

const fn connect_timeout() -> u64 {
    4_000
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let host = String::deserialize(deserializer)?;
    match fault(&host) {
        Some(fault) => Err(serde::de::Error::custom(fault)),
        None => Ok(host),
    }
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
        "mqtts" | "ssl" | "tls" | "ws" | "wss" => Some(format!(
            "{scheme}:// is not supported; use a listener for MQTT over TCP, e.g. \
             host: {name} and port: 1883"
        )),
        "" if host == name => None,
        "" => Some(format!("not a host name or IP address; use {instead}")),
        _ => Some(format!("not a host name but a URL; use {instead}")),
    }
}

impl tidegate_options::Options for Options {}

impl Options {
    /// The peer as `host:port`, for errors.
    pub fn remote(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

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
                "mqtts:// is not supported; use a listener for MQTT over TCP, e.g. \
                 host: broker and port: 1883",
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
