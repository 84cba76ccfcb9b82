//! The will (MQTT 5.0, 3.1.2.5): a message that the broker publishes when a connection is lost.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_engine::streams::mqtt::topic::check_name;
use tidegate_options::Bounded;

use crate::codec::{Will, WillProperties};

/// A message that the broker publishes when the connection that requests share is lost; not when
/// tidegate closes it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WillMessage {
    /// Topic of the message.
    #[schemars(length(min = 1))]
    #[serde(deserialize_with = "topic")]
    topic: String,
    /// Payload, as text.
    #[serde(default)]
    payload: String,
    /// `QoS` of the message.
    #[serde(default = "qos_0")]
    qos: Bounded<0, 2>,
    /// Whether the broker retains it.
    #[serde(default)]
    retain: bool,
    /// Time after the loss until the message is published, in seconds; a connection within it prevents
    /// it. MQTT 5 only.
    #[serde(default = "no_delay")]
    delay: Bounded<0, 4_294_967_295>,
}

const fn qos_0() -> Bounded<0, 2> {
    Bounded::of(0)
}

const fn no_delay() -> Bounded<0, 4_294_967_295> {
    Bounded::of(0)
}

fn topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let topic = String::deserialize(deserializer)?;
    match check_name(&topic) {
        Ok(()) => Ok(topic),
        Err(error) => Err(de::Error::custom(format!(
            "invalid topic '{topic}': {error}"
        ))),
    }
}

impl WillMessage {
    pub(super) const fn qos(&self) -> u64 {
        self.qos.get()
    }

    pub(super) const fn is_retained(&self) -> bool {
        self.retain
    }

    /// The will of CONNECT.
    pub(super) fn packet(&self) -> Will {
        let delay = u32::try_from(self.delay.get()).unwrap_or(u32::MAX);
        Will {
            qos: u8::try_from(self.qos.get()).unwrap_or(0),
            retain: self.retain,
            topic: self.topic.clone().into(),
            payload: Bytes::from(self.payload.clone()),
            properties: WillProperties {
                delay: (delay > 0).then_some(delay),
                ..WillProperties::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_will_needs_a_topic_name() {
        let read = |json| serde_json::from_str::<WillMessage>(json).map_err(|it| it.to_string());
        let will = read(r#"{"topic":"gateway/state","payload":"lost","qos":1,"delay":30}"#);
        let packet = will.expect("legal").packet();
        assert_eq!((packet.qos, packet.retain), (1, false));
        assert_eq!(packet.properties.delay, Some(30));
        for (json, expected) in [
            (r#"{"topic":"a/+"}"#, "invalid topic 'a/+'"),
            (r#"{"topic":""}"#, "invalid topic ''"),
            (r#"{"topic":"a","qos":3}"#, "use 0 to 2"),
            (r#"{"payload":"x"}"#, "missing field `topic`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
