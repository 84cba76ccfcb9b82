//! What is known of a subscription before there is a connection: options may rule it out with any broker.

use std::num::NonZeroU16;

use tidegate_engine::streams::mqtt::MqttSubscribe;

use super::failure::Failure;
use super::granted::Granted;
use super::options::Options;
use super::streams::Subscriber;
use super::version::Versions;
use crate::codec::{ConnackProperties, Version};

impl Options {
    /// Why a subscription fails with these options, whatever the broker grants.
    pub fn refuse_subscription(&self, subscribe: MqttSubscribe) -> Option<String> {
        self.foresee(subscribe)
            .err()
            .map(|failure| failure.reason.to_string())
    }

    fn foresee(&self, subscribe: MqttSubscribe) -> Result<(), Failure> {
        let mut subscriber = Subscriber::new(subscribe, NonZeroU16::MAX)?;
        subscriber.restrict(&self.limits)?;
        let mut granted = self.most_granted();
        self.limits.restrict(&mut granted);
        subscriber.cover(granted.identifiers)?;
        let broker = || "The broker".to_owned();
        let mut requests = subscriber.pending_requests();
        let refused = requests.find_map(|(_, request)| granted.refuse_filter(request, broker));
        let count = subscriber.pending_requests().count();
        let refused = refused.or_else(|| self.limits.refuse_subscription(0, count));
        refused.map_or(Ok(()), Err)
    }

    /// The most that a broker grants.
    fn most_granted(&self) -> Granted {
        let version = match self.version {
            Versions::Only(version) => version,
            Versions::Auto => Version::V5,
        };
        Granted::new(version, &ConnackProperties::default())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::streams::mqtt::MqttTopicFilter;

    use super::*;

    fn refusal(options: &str, filters: &[&'static str]) -> Option<String> {
        let options: Options = serde_json::from_str(options).expect("options");
        let filters = filters.iter().map(|pattern| MqttTopicFilter {
            pattern: (*pattern).into(),
            ..MqttTopicFilter::default()
        });
        options.refuse_subscription(MqttSubscribe {
            receive_maximum: 10,
            filters: filters.collect(),
            ..MqttSubscribe::default()
        })
    }

    #[track_caller]
    fn refused(options: &str, filters: &[&'static str], why: &str) {
        let reason = refusal(options, filters).expect("it is refused");
        assert!(reason.contains(why), "{reason}");
    }

    const OLD: &str = r#"{"version":"3.1.1"}"#;
    const WITHOUT: &str = r#"{"limits":{"subscriptionIdentifiersAvailable":false}}"#;

    #[test]
    fn filters_that_overlap_need_identifiers() {
        let both = ["a/+/call", "+/b/call"];
        for options in [OLD, WITHOUT] {
            refused(
                options,
                &both,
                "'a/+/call' and '+/b/call' overlap, which needs subscription identifiers",
            );
            assert_eq!(refusal(options, &["a/+/call", "b/+/call"]), None);
            assert_eq!(refusal(options, &["a/b/call", "a/+/call", "a/#"]), None);
        }
        assert_eq!(refusal("{}", &both), None, "the broker may have them");
        assert_eq!(refusal(r#"{"version":5}"#, &both), None);
    }

    #[test]
    fn what_the_version_and_the_limits_exclude_is_refused() {
        refused(
            OLD,
            &["$share/g/a"],
            "The broker does not support shared subscriptions",
        );
        let levels = r#"{"limits":{"topicLevels":2}}"#;
        refused(levels, &["a/b", "a/b/c"], "limits.topicLevels");
        let few = r#"{"limits":{"subscriptions":1}}"#;
        refused(few, &["a", "b"], "limits.subscriptions");
        assert_eq!(refusal(few, &["a", "#"]), None, "one contains the other");
    }
}
