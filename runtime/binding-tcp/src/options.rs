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
    #[serde(default = "connect_timeout")]
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
