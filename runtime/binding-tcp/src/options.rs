//! Options of `tcp · client`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Options of `tcp · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// The peer's name or address.
    #[serde(deserialize_with = "host")]
    pub host: String,
    /// The peer's port.
    #[serde(default = "mqtt_port")]
    pub port: u16,
    /// How long a connection attempt may take over all of the peer's addresses, in milliseconds.
    #[serde(default = "connect_timeout", deserialize_with = "at_least_one")]
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
    if host.contains("://") || host.contains('/') {
        return wrong("give the host alone, without a scheme or a path: localhost");
    }
    // An address of IPv6 has colons, and more than one.
    if host.matches(':').count() == 1 {
        return wrong("give the port in a key of its own: port: 1883");
    }
    Ok(host)
}

/// No connection is made within no time.
fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("write 1 or more")),
        value => Ok(value),
    }
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
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, MapDeserializer, U64Deserializer};

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
            ("mqtt://broker", "without a scheme"),
            ("broker/path", "without a scheme or a path"),
            ("broker:1883", "give the port in a key of its own"),
        ] {
            let refused = read(host).expect_err("no host");
            assert!(refused.to_string().contains(what), "{refused}");
        }
    }

    #[test]
    fn no_time_to_connect_is_refused() {
        let number = |value: u64| -> U64Deserializer<Error> { value.into_deserializer() };
        assert_eq!(at_least_one(number(1)), Ok(1));
        assert!(at_least_one(number(0)).is_err());
    }
}
