//! The option `limits`: what the broker accepts, beside what it states in CONNACK.
//!
//! Some brokers, above all those of clouds, close the connection over what they do not accept, which
//! all callers of the connection feel. So it is refused before it is sent, with the reason. A limit
//! that CONNACK also states is the lower of both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_engine::streams::mqtt::topic::TopicFilter;
use tidegate_engine::{Duration, Time};
use tidegate_options::{Bounded, OptionConflict};
use tidegate_streams::shown;

use super::failure::Failure;
use super::granted::Granted;
use super::options::Options;
use crate::codec::{ReasonCode, Version};

/// What the broker accepts, beside what it states in CONNACK. More is refused before it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Largest `QoS`. Messages with more are refused; subscriptions are made with at most this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_qos: Option<Bounded<0, 2>>,
    /// Whether messages can be retained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_available: Option<bool>,
    /// Largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<Bounded<128, 268_435_460>>,
    /// Maximum number of unacknowledged messages at `QoS` 1 and 2. Further ones wait. Brokers of MQTT 3.1.1 do not
    /// state theirs, and mosquitto loses messages at `QoS` 2 beyond it, so there it is 20 if this is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<Bounded<1, 65_535>>,
    /// Whether the broker supports subscription identifiers. Without them, filters that overlap use
    /// connections of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_identifiers_available: Option<bool>,
    /// Whether the broker supports shared subscriptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_subscription_available: Option<bool>,
    /// Maximum number of subscriptions of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Bounded<1, 1_000_000>>,
    /// Maximum number of levels of a topic or a filter, without `$share/GROUP` and `$aws/rules/RULE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_levels: Option<Bounded<1, 65_535>>,
    /// Maximum length of a topic or a filter, in bytes, without `$share/GROUP` and `$aws/rules/RULE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_length: Option<Bounded<1, 65_535>>,
    /// Maximum length of a client identifier, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id_length: Option<Bounded<1, 65_535>>,
    /// Maximum number of messages per second on a connection; the first ones may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_rate: Option<Bounded<1, 1_000_000>>,
    /// Longest `sessionExpiry`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<Bounded<0, 4_294_967_295>>,
}

impl Limits {
    /// The lower of what the broker grants and of these limits.
    pub(super) fn restrict(&self, granted: &mut Granted) {
        if let Some(most) = self.maximum_qos {
            granted.maximum_qos = granted.maximum_qos.min(qos(most));
        }
        if let Some(most) = self.receive_maximum {
            granted.receive_maximum = match granted.version {
                Version::V5 => granted.receive_maximum.min(most.size()),
                // The broker has not stated one.
                Version::V311 => most.size(),
            };
        }
        if let Some(most) = self.maximum_packet_size {
            let most = most.size();
            granted.packet_size = Some(granted.packet_size.map_or(most, |size| size.min(most)));
        }
        granted.retain &= self.retain_available.unwrap_or(true);
        granted.identifiers &= self.subscription_identifiers_available.unwrap_or(true);
        granted.shared &= self.shared_subscription_available.unwrap_or(true);
    }

    /// The `QoS` of a subscription.
    pub(super) fn subscription_qos(&self, wanted: u8) -> u8 {
        self.maximum_qos
            .map_or(wanted, |most| wanted.min(qos(most)))
    }

    /// Checks the topic of a message.
    pub(super) fn check_topic(&self, topic: &str) -> Result<(), Failure> {
        self.check_levels("topic", topic, ReasonCode::TOPIC_NAME_INVALID)
    }

    /// Checks a topic filter.
    pub(super) fn check_filter(&self, filter: &TopicFilter) -> Result<(), Failure> {
        let text = filter.as_str();
        let own = if filter.is_shared() {
            text.splitn(3, '/').nth(2).unwrap_or_default()
        } else {
            text
        };
        self.check_levels("topic filter", own, ReasonCode::TOPIC_FILTER_INVALID)
    }

    fn check_levels(&self, what: &str, text: &str, code: ReasonCode) -> Result<(), Failure> {
        let own = match text.strip_prefix("$aws/rules/") {
            Some(rest) => rest.split_once('/').map_or(rest, |(_, topic)| topic),
            None => text,
        };
        let too_much = |has: usize, most: usize, unit: &str, key: &str| {
            let text = shown(text);
            let reason = format!(
                "The {what} '{text}' has {has} {unit}, but the broker accepts at most {most} (limits.{key})."
            );
            Err(Failure::new(code, reason))
        };
        if let Some(most) = self.topic_length.map(Bounded::size)
            && own.len() > most
        {
            return too_much(own.len(), most, "bytes", "topicLength");
        }
        if let Some(most) = self.topic_levels.map(Bounded::size) {
            let levels = own.split('/').count();
            if levels > most {
                return too_much(levels, most, "levels", "topicLevels");
            }
        }
        Ok(())
    }

    /// Checks the client identifier of a session.
    pub(super) fn check_client_id(&self, client_id: &str) -> Result<(), Failure> {
        match self.client_id_length.map(Bounded::size) {
            Some(most) if client_id.len() > most => {
                let has = client_id.len();
                let reason = format!(
                    "The client identifier has {has} bytes, but the broker accepts at most {most} \
                     (limits.clientIdLength)."
                );
                let code = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
                Err(Failure::new(code, reason))
            }
            _ => Ok(()),
        }
    }

    /// The failure of `added` more subscriptions of a connection that has `there`.
    pub(super) fn refuse_subscription(&self, there: usize, added: usize) -> Option<Failure> {
        let most = self.subscriptions?.size();
        (added > 0 && there + added > most).then(|| {
            let instead = if there == 0 {
                format!("would have {added}; use fewer filters with wildcards.")
            } else {
                format!("has {there}; use fewer filters with wildcards, or try again later.")
            };
            let reason = format!(
                "The broker accepts {most} subscriptions on a connection (limits.subscriptions), and this one \
                 {instead}"
            );
            Failure::new(ReasonCode::QUOTA_EXCEEDED, reason)
        })
    }

    /// Options that exceed the limits.
    pub(super) fn conflicts(&self, options: &Options) -> Vec<OptionConflict> {
        let mut conflicts = Vec::new();
        let mut exceeded = |key: &'static str, has: u64, most: u64, limit: &str| {
            if has > most {
                conflicts.push(OptionConflict {
                    key,
                    message: format!("{has} exceeds limits.{limit} ({most})"),
                    help: format!("use at most {most}, or change limits.{limit}"),
                });
            }
        };
        if let Some(most) = self.session_expiry {
            let has = options.session_expiry.get();
            exceeded("sessionExpiry", has, most.get(), "sessionExpiry");
        }
        if let (Some(most), Some(name)) = (self.client_id_length, &options.client_id) {
            let has = u64::try_from(name.text().len()).unwrap_or(u64::MAX);
            exceeded("clientId", has, most.get(), "clientIdLength");
        }
        if let Some(will) = &options.will {
            if let Some(most) = self.maximum_qos {
                exceeded("will", will.qos(), most.get(), "maximumQos");
            }
            if self.retain_available == Some(false) && will.is_retained() {
                conflicts.push(OptionConflict {
                    key: "will",
                    message: "it is retained, which the broker does not support".to_owned(),
                    help: "remove 'retain', or change limits.retainAvailable".to_owned(),
                });
            }
        }
        conflicts
    }
}

fn qos(most: Bounded<0, 2>) -> u8 {
    u8::try_from(most.get()).unwrap_or(2)
}

/// The rate of messages on a connection: as many as the limit at once, and then evenly.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    /// When a bucket that drains evenly would be empty.
    empty_at: Time,
}

impl Rate {
    /// Counts a message, or refuses it.
    pub(super) fn take(&mut self, limits: &Limits, now: Time) -> Result<(), Failure> {
        const SECOND: u64 = Duration::from_secs(1).as_micros();
        let Some(most) = limits.publish_rate.map(Bounded::get) else {
            return Ok(());
        };
        let filled = self.empty_at.since(now).as_micros();
        let full = filled + SECOND / most;
        if full > SECOND {
            let wait = (full - SECOND).div_ceil(1_000);
            let reason = format!(
                "The broker accepts {most} messages per second on a connection (limits.publishRate); try \
                 again in {wait} ms."
            );
            return Err(Failure::new(ReasonCode::MESSAGE_RATE_TOO_HIGH, reason));
        }
        self.empty_at = now + Duration::from_micros(full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_options::Options as _;

    use super::*;

    #[test]
    fn options_that_exceed_the_limits_are_refused() {
        let keys = |json: &str| -> Vec<&str> {
            let options: Options = serde_json::from_str(json).expect("options");
            let conflicts = options.conflicts();
            conflicts.iter().map(|conflict| conflict.key).collect()
        };
        let limits = r#""limits":{"sessionExpiry":60,"clientIdLength":4,"maximumQos":1,"retainAvailable":false}"#;
        for (options, expected) in [
            (r#""sessionExpiry":60,"clientId":"gate""#, &[] as &[&str]),
            (r#""sessionExpiry":61"#, &["sessionExpiry"]),
            (r#""clientId":"gates""#, &["clientId"]),
            (r#""will":{"topic":"a","qos":1}"#, &[]),
            (
                r#""will":{"topic":"a","qos":2,"retain":true}"#,
                &["will", "will"],
            ),
        ] {
            assert_eq!(keys(&format!("{{{limits},{options}}}")), expected);
        }
    }

    #[test]
    fn a_rate_allows_a_second_at_once_and_then_evenly() {
        let limits: Limits = serde_json::from_str(r#"{"publishRate":10}"#).expect("limits");
        let mut rate = Rate::default();
        let mut sent = |millis: u64| {
            let now = Time::START + Duration::from_millis(millis);
            (0..20)
                .take_while(|_| rate.take(&limits, now).is_ok())
                .count()
        };
        assert_eq!([sent(0), sent(99), sent(100), sent(350)], [10, 0, 1, 2]);
        // What was not used in a long time allows no more than a second of it.
        assert_eq!(sent(60_000), 10);
        assert!(
            Rate::default()
                .take(&Limits::default(), Time::START)
                .is_ok()
        );
    }
}
