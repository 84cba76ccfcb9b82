//! Which protocol version a connection uses: MQTT 5 or 3.1.1.
//!
//! With `version: auto`, MQTT 5 is tried first. A broker that answers with *Unsupported Protocol
//! Version* or in the form of MQTT 3.1.1 does not support it, so 3.1.1 is used at once and
//! remembered. A broker that closes the connection before CONNACK, or does not answer, may or may not
//! support it: 3.1.1 is tried at once too, but remembered only if it is accepted, and only for
//! [`PROVISIONAL`]; otherwise the next attempt uses MQTT 5 again. So a broker that was merely slow does
//! not lose the features of MQTT 5 for good. A connection that can resume its session does not try.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_engine::{Duration, Time};

use crate::codec::Version;

/// How long 3.1.1 is used because the broker did not answer CONNECT of MQTT 5.
const PROVISIONAL: Duration = Duration::from_secs(600);

/// The protocol versions that may be used: `auto`, `5` or `3.1.1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Versions {
    /// MQTT 5, or 3.1.1 if the broker does not support it.
    #[default]
    Auto,
    /// Only this version.
    Only(Version),
}

impl Versions {
    const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(version) => version.word(),
        }
    }
}

impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// YAML reads `5` as a number and `3.1.1` as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let invalid = "invalid version: use auto, 5 or 3.1.1";
        let word = Word::deserialize(deserializer).map_err(|_| de::Error::custom(invalid))?;
        let word = match &word {
            Word::Number(number) => Cow::Owned(number.to_string()),
            Word::Text(text) => Cow::Borrowed(text.as_str()),
        };
        let all = [
            Self::Auto,
            Self::Only(Version::V5),
            Self::Only(Version::V311),
        ];
        let known = all.into_iter().find(|known| known.word() == word);
        known.ok_or_else(|| de::Error::custom(invalid))
    }
}

impl JsonSchema for Versions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MqttVersions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["auto", 5, "5", "3.1.1"] })
    }
}

/// How a broker showed that it does not support the version of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// By its answer.
    Stated,
    /// It closed the connection before CONNACK, or did not answer.
    Silent,
}

/// The version of further connections.
#[derive(Debug)]
pub(super) struct Negotiation {
    versions: Versions,
    current: Version,
    /// The broker has accepted it.
    accepted: bool,
    /// It is used because of silence.
    by_silence: bool,
    /// When MQTT 5 is tried again.
    until: Option<Time>,
    /// Why 3.1.1 is used, until it is reported.
    why: Option<&'static str>,
}

impl Negotiation {
    /// Enhanced authentication requires MQTT 5.
    pub(super) const fn new(versions: Versions, authenticates: bool) -> Self {
        let versions = match versions {
            Versions::Auto if authenticates => Versions::Only(Version::V5),
            versions => versions,
        };
        let current = match versions {
            Versions::Auto => Version::V5,
            Versions::Only(version) => version,
        };
        Self {
            versions,
            current,
            accepted: false,
            by_silence: false,
            until: None,
            why: None,
        }
    }

    /// The version for CONNECT. `session` is that of a session to resume.
    pub(super) fn current(&mut self, now: Time, session: Option<Version>) -> Version {
        if self.until.is_some_and(|until| until <= now) && session != Some(self.current) {
            self.set(Version::V5, false);
        }
        self.current
    }

    fn set(&mut self, version: Version, by_silence: bool) {
        self.current = version;
        self.accepted = false;
        self.by_silence = by_silence;
        self.until = None;
    }

    /// The broker accepted a connection of this version. Returns why it is not MQTT 5, once.
    pub(super) fn accepted(&mut self, version: Version, now: Time) -> Option<&'static str> {
        if self.current != version {
            return None;
        }
        self.accepted = true;
        if self.by_silence && self.until.is_none() {
            self.until = Some(now + PROVISIONAL);
        }
        self.why.take().filter(|_| version == Version::V311)
    }

    /// The broker refused a connection of this version. Returns whether another version is to be
    /// tried at once.
    pub(super) fn refused(&mut self, version: Version, how: Refusal) -> bool {
        if self.versions != Versions::Auto || (how == Refusal::Silent && self.accepted) {
            return false;
        }
        // Another connection may have found out already.
        if self.current != version {
            return self.current == Version::V311;
        }
        match version {
            Version::V5 => {
                self.set(Version::V311, how == Refusal::Silent);
                self.why = Some(match how {
                    Refusal::Stated => "it does not support MQTT 5",
                    Refusal::Silent => {
                        "it closed the connection or did not answer when MQTT 5 was tried; MQTT 5 is tried \
                         again after 10 minutes"
                    }
                });
            }
            Version::V311 => self.set(Version::V5, false),
        }
        version == Version::V5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(minutes: u64) -> Time {
        Time::from_micros(minutes * 60_000_000)
    }

    #[test]
    fn a_stated_refusal_is_remembered() {
        let mut auto = Negotiation::new(Versions::Auto, false);
        assert!(auto.refused(Version::V5, Refusal::Stated));
        assert_eq!(auto.current(at(0), None), Version::V311);
        assert!(
            auto.refused(Version::V5, Refusal::Stated),
            "another connection"
        );
        let why = auto.accepted(Version::V311, at(0));
        assert_eq!(why, Some("it does not support MQTT 5"));
        assert_eq!(auto.accepted(Version::V311, at(0)), None, "it is told once");
        assert!(!auto.refused(Version::V311, Refusal::Silent));
        assert_eq!(auto.current(at(0), None), Version::V311);
        assert!(
            !auto.refused(Version::V311, Refusal::Stated),
            "after the backoff"
        );
        assert_eq!(
            auto.current(at(0), None),
            Version::V5,
            "the broker was replaced"
        );
    }

    #[test]
    fn silence_is_no_proof() {
        let mut auto = Negotiation::new(Versions::Auto, false);
        assert!(auto.refused(Version::V5, Refusal::Silent));
        assert!(!auto.refused(Version::V311, Refusal::Silent));
        assert_eq!(auto.current(at(0), None), Version::V5);
        auto.accepted(Version::V5, at(0));
        assert!(!auto.refused(Version::V5, Refusal::Silent));
        assert_eq!(auto.current(at(0), None), Version::V5);
    }

    #[test]
    fn what_is_used_because_of_silence_is_checked_again() {
        let mut auto = Negotiation::new(Versions::Auto, false);
        assert!(auto.refused(Version::V5, Refusal::Silent));
        let why = auto.accepted(Version::V311, at(1));
        assert!(why.is_some_and(|why| why.contains("after 10 minutes")));
        auto.accepted(Version::V311, at(9));
        assert_eq!(auto.current(at(10), None), Version::V311);
        let session = Some(Version::V311);
        assert_eq!(
            auto.current(at(11), session),
            Version::V311,
            "it is resumed"
        );
        assert_eq!(auto.current(at(11), None), Version::V5);
        assert!(auto.refused(Version::V5, Refusal::Stated));
        auto.accepted(Version::V311, at(12));
        assert_eq!(auto.current(at(100), None), Version::V311, "it was stated");
    }

    #[test]
    fn a_configured_version_is_never_changed() {
        for version in [Version::V5, Version::V311] {
            let mut fixed = Negotiation::new(Versions::Only(version), false);
            assert!(!fixed.refused(version, Refusal::Stated));
            assert_eq!(fixed.current(at(0), None), version);
        }
    }

    #[test]
    fn a_version_is_read_from_text_and_from_a_number() {
        let read = |json| serde_json::from_str::<Versions>(json).map_err(|it| it.to_string());
        assert_eq!(read("\"auto\""), Ok(Versions::Auto));
        assert_eq!(read("5"), Ok(Versions::Only(Version::V5)));
        assert_eq!(read("\"3.1.1\""), Ok(Versions::Only(Version::V311)));
        for wrong in ["4", "\"3.1\"", "3.1", "null"] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains("use auto, 5 or 3.1.1"), "{error}");
        }
    }
}
