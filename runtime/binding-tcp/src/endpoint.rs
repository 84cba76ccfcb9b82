//! A place to connect to: a host and a port, or a Unix socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::options::MQTT_PORT;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or an IP address, and a port.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The host whose certificate is verified; empty for a Unix socket.
    pub fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) => "",
        }
    }
}

/// `host:port`, with brackets around an IPv6 address, or `unix:` and the path.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// The error does not repeat the text, because a URL may contain a password.
    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "use HOST:PORT, [IPv6]:PORT or unix:PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.starts_with("//") {
                return Err(format!("not an endpoint; {FORMS}"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.contains("://") || text.contains(['/', '@']) {
            return Err(format!("not an endpoint but a URL; {FORMS}"));
        }
        let bracketed = text.strip_prefix('[').and_then(|it| it.split_once(']'));
        let (host, port) = match (bracketed, text.rsplit_once(':')) {
            (Some((host, "")), _) => (host, None),
            (Some((host, port)), _) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
            // An IPv6 address without a port.
            (None, Some((host, _))) if host.contains(':') => (text, None),
            (None, Some((host, port))) => (host, Some(port)),
            (None, None) => (text, None),
        };
        let port = port.map_or(Ok(MQTT_PORT), str::parse);
        match port {
            Ok(port) if port > 0 && !host.is_empty() => Ok(Self::Tcp {
                host: host.to_owned(),
                port,
            }),
            _ => Err(format!("not an endpoint; {FORMS}")),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_shown() {
        for (text, shown) in [
            ("broker", "broker:1883"),
            ("broker:1884", "broker:1884"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("::1", "[::1]:1883"),
            ("[::1]", "[::1]:1883"),
            ("[2001:db8::1]:1884", "[2001:db8::1]:1884"),
            ("unix:/run/mqtt.sock", "unix:/run/mqtt.sock"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_text() {
        for text in [
            "",
            ":1883",
            "secret:0",
            "secret:x",
            "secret:65536",
            "[::1]secret",
            "mqtt://secret",
            "u:secret@broker",
            "unix:",
            "unix://secret",
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains("use HOST:PORT"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
