//! `publishQos`: the `QoS` of the messages that clients publish.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use tidegate_options::Bounded;

/// The `QoS` of published messages.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    default,
    remote = "Self"
)]
#[schemars(inline)]
pub struct PublishQos {
    /// Lowest `qos` that a call may ask for. 1: the broker acknowledges each message. Absent: 0.
    pub minimum: Option<Bounded<0, 2>>,
    /// The `qos` of a call that does not set it. Absent: `minimum`.
    pub default: Option<Bounded<0, 2>>,
}

impl PublishQos {
    /// The lowest `QoS` of a call.
    pub(crate) fn lowest(&self) -> u8 {
        self.minimum.map_or(0, level)
    }

    /// The `QoS` of a call that does not set it.
    pub(crate) fn usual(&self) -> u8 {
        self.default.map_or_else(|| self.lowest(), level)
    }
}

fn level(qos: Bounded<0, 2>) -> u8 {
    u8::try_from(qos.get()).unwrap_or(2)
}

impl<'de> Deserialize<'de> for PublishQos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let qos = Self::deserialize(deserializer)?;
        if qos.usual() < qos.lowest() {
            return Err(de::Error::custom(format!(
                "'default' is {} and lower than 'minimum', which is {}; raise 'default' or remove it",
                qos.usual(),
                qos.lowest()
            )));
        }
        Ok(qos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_follows_the_minimum() {
        for (json, lowest, usual) in [
            ("{}", 0, 0),
            (r#"{"minimum":1}"#, 1, 1),
            (r#"{"default":2}"#, 0, 2),
            (r#"{"minimum":1,"default":2}"#, 1, 2),
        ] {
            let qos: PublishQos = serde_json::from_str(json).expect(json);
            assert_eq!((qos.lowest(), qos.usual()), (lowest, usual), "{json}");
        }
        for (json, expected) in [
            (
                r#"{"minimum":1,"default":0}"#,
                "'default' is 0 and lower than 'minimum'",
            ),
            (r#"{"minimum":3}"#, "3 is out of range; use 0 to 2"),
            (r#"{"maximum":1}"#, "unknown field `maximum`"),
        ] {
            let error = serde_json::from_str::<PublishQos>(json).expect_err(json);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
