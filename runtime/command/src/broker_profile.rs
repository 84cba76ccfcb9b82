//! `profile` of `mqtt · client`: the limits of brokers that close the connection over what they do not
//! accept, and state little of it in CONNACK.
//!
//! The values are from the providers' documentation, which each profile names; none of these services was
//! reachable when they were written. What MQTT 5 brokers state in CONNACK, such as Receive Maximum, is
//! repeated here for MQTT 3.1.1. `HiveMQ` Cloud and EMQX need none: they implement the whole of MQTT, and
//! state their limits.

use tidegate_config::Preset;

/// The option.
pub(crate) const PRESET: Preset = Preset {
    key: "profile",
    about: "Broker whose limits apply: `aws-iot`, `azure-event-grid` or `emqx-serverless`. It sets `limits` and \
            other options, as far as the config does not; `tidegate validate --expanded` prints them.",
    values: &[
        ("aws-iot", AWS_IOT),
        ("azure-event-grid", AZURE_EVENT_GRID),
        ("emqx-serverless", EMQX_SERVERLESS),
    ],
};

/// AWS `IoT` Core:
/// - <https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits>: payload of 128 KB,
///   topic of 256 bytes and 7 slashes (without `$aws/rules/RULE`), client identifier of 128 bytes, 100
///   unacknowledged messages in each direction, 100 messages per second and connection, 50 subscriptions per
///   connection (can be raised), 8 filters in a SUBSCRIBE (`mqtt · client` sends one), keep-alive interval of
///   30 to 1,200 seconds, sessions of up to 7 days. More than 512 KiB per second are delayed.
/// - <https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html#mqtt-differences>: no `QoS` 2, for which
///   there is no PUBACK or SUBACK, no subscription identifiers. Retained messages are supported.
const AWS_IOT: &str = "
    keepAlive: 60
    maxMessageSize: 131072
    receiveMaximum: 100
    limits:
      maximumQos: 1
      receiveMaximum: 100
      subscriptionIdentifiersAvailable: false
      subscriptions: 50
      topicLevels: 8
      topicLength: 256
      clientIdLength: 128
      publishRate: 100
      sessionExpiry: 604800
";

/// Azure Event Grid:
/// - <https://learn.microsoft.com/azure/event-grid/mqtt-support>: no `QoS` 2, no subscription identifiers, no
///   shared subscriptions, packets of up to 512 KiB, keep-alive interval of up to 1,160 seconds.
/// - <https://learn.microsoft.com/azure/event-grid/quotas-limits>: 1,000 messages per second and session,
///   sessions of up to 8 hours.
/// - <https://learn.microsoft.com/azure/event-grid/mqtt-retain>: retained messages are supported, up to 64 KB.
const AZURE_EVENT_GRID: &str = "
    keepAlive: 60
    limits:
      maximumQos: 1
      maximumPacketSize: 524288
      subscriptionIdentifiersAvailable: false
      sharedSubscriptionAvailable: false
      publishRate: 1000
      sessionExpiry: 28800
";

/// EMQX Serverless, <https://docs.emqx.com/en/cloud/latest/create/restriction.html>: messages of up to 1 MB, 10
/// subscriptions for each client, 10 levels, client identifier of 1,024 bytes, 10 messages per second and
/// client, sessions of 2 hours (stated for MQTT 3).
const EMQX_SERVERLESS: &str = "
    maxMessageSize: 1048576
    limits:
      maximumPacketSize: 1048576
      subscriptions: 10
      topicLevels: 10
      clientIdLength: 1024
      publishRate: 10
      sessionExpiry: 7200
";

#[cfg(test)]
mod tests {
    use tidegate_binding_mqtt::client::Options;

    use super::*;

    #[test]
    fn each_profile_is_valid_and_sets_limits() {
        for (name, text) in PRESET.values {
            let options: Options =
                serde_yaml::from_str(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_ne!(options.limits, Options::default().limits, "{name}");
            assert!(PRESET.about.contains(name), "{name} is in the reference");
        }
    }
}
