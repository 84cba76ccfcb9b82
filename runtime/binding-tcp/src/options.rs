//! Options of `tcp · client`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_options::positive;

/// Options of `tcp · client`.
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
    let wrong = |what: &str| Err(serde::de::Error::custom(what));
    if host.is_empty() {
        return wrong("the host is empty; give a name or an address: localhost");
    }
    if let Some((scheme, rest)) = host.split_once("://") {
        return wrong(&of_url(scheme, rest));
    }
    if host.contains('/') {
        return wrong("give the host alone, without a path: localhost");
    }
    // An address of IPv6 has colons, and more than one.
    if host.matches(':').count() == 1 {
        return wrong("give the port in a key of its own: port: 1883");
    }
    Ok(host)
}

impl tidegate_options::Options for Options {}

/// What to write instead of a URL. The URL itself is not repeated, as it may contain a password.
fn of_url(scheme: &str, rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, address) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, address)| (Some(user), address));
    let (host, port) = match address.strip_prefix('[') {
        // An address of IPv6 stands in brackets.
        Some(bracketed) => bracketed.split_once(']').unwrap_or((bracketed, "")),
        None => address
            .find(':')
            .map_or((address, ""), |at| address.split_at(at)),
    };
    let port = port.strip_prefix(':').filter(|port| !port.is_empty());
    let mut told = format!(
        "a URL is not a host; write host: {host}, port: {}",
        port.unwrap_or("1883")
    );
    if user.is_some() {
        told.push_str(", and username and password in the options of mqtt · client");
    }
    if !matches!(scheme, "mqtt" | "tcp") {
        told.push_str("; only plain TCP (mqtt://) is supported, so name such a port of the broker");
    }
    told
}

impl Options {
    /// The peer as `host:port`, as errors name it.
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

    /// Options as they are read from a config that names the host alone.
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
    fn hosts_that_are_none_are_refused_with_what_to_write() {
        for (host, what) in [
            ("", "the host is empty"),
            (
                "mqtt://broker",
                "a URL is not a host; write host: broker, port: 1883",
            ),
            ("tcp://10.0.0.7:2883/", "write host: 10.0.0.7, port: 2883"),
            ("mqtt://[fe80::1]:1", "write host: fe80::1, port: 1"),
            (
                "mqtts://me:secret@broker:8883",
                "write host: broker, port: 8883, and username and password in the options of \
                 mqtt · client; only plain TCP (mqtt://) is supported",
            ),
            ("broker/path", "without a path"),
            ("broker:1883", "give the port in a key of its own"),
        ] {
            let refused = read(host).expect_err("no host");
            let refused = refused.to_string();
            assert!(refused.contains(what), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
