//! Versions of TLS in the config.

use std::fmt;

use rustls::{SupportedProtocolVersion, version};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Version {
    /// TLS 1.2
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    Tls13,
}

impl Version {
    /// This version and the later ones.
    pub const fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        const LATEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
        const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];
        match self {
            Self::Tls12 => BOTH,
            Self::Tls13 => LATEST,
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VersionVisitor)
    }
}

struct VersionVisitor;

impl de::Visitor<'_> for VersionVisitor {
    type Value = Version;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"1.2\" or \"1.3\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Version, E> {
        match text {
            "1.2" => Ok(Version::Tls12),
            "1.3" => Ok(Version::Tls13),
            _ => Err(E::custom(format!(
                "unsupported TLS version '{text}'; use \"1.2\" or \"1.3\""
            ))),
        }
    }

    /// Without quotes, YAML takes it for a number.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Version, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_1_2_do_not_exist() {
        for (json, expected) in [
            ("\"1.2\"", Some(Version::Tls12)),
            ("\"1.3\"", Some(Version::Tls13)),
            ("1.2", Some(Version::Tls12)),
            ("1.3", Some(Version::Tls13)),
            ("\"1.1\"", None),
            ("1.1", None),
            ("13", None),
        ] {
            assert_eq!(serde_json::from_str(json).ok(), expected, "{json}");
        }
    }
}
