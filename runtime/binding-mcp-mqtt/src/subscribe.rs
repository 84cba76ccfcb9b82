//! `resources/subscribe`: one update per message, until the caller ends the subscription.

use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpReset, McpResetKind, McpResourcesUpdated};
use tidegate_streams::mqtt::{MqttBeginEx, MqttSubscribe, MqttSubscribeFlags, MqttTopicFilter};
use tidegate_streams::shown;

use crate::result::Failure;
use crate::state::Step;

/// At least once: with `QoS` 0, a message could not be returned to the group of a shared
/// subscription.
pub(crate) const QOS: u8 = 1;

/// The BEGIN of a subscribe stream. `limit` is the number
/// of messages to take from a shared subscription, and 0 for other subscriptions.
pub(crate) fn begin(
    client_id: Option<ByteString>,
    pattern: ByteString,
    limit: u32,
    flags: MqttSubscribeFlags,
) -> MqttSubscribe {
    MqttSubscribe {
        client_id,
        qos: QOS,
        limit,
        filters: vec![MqttTopicFilter {
            qos: QOS,
            flags,
            pattern,
            ..MqttTopicFilter::default()
        }],
        ..MqttSubscribe::default()
    }
}

/// The failure of a reply BEGIN if the broker refused all of its filters.
pub(crate) fn refusal(begin: &MqttBeginEx) -> Option<Failure> {
    let MqttBeginEx::Subscribe(subscribe) = begin else {
        return None;
    };
    let code = subscribe.filters.first()?.reason_code;
    let refused = |filter: &MqttTopicFilter| filter.reason_code >= 0x80;
    subscribe.filters.iter().all(refused).then(|| {
        let words = words(code).map_or_else(String::new, |words| format!(" ({words})"));
        Failure::new(format!(
            "the broker refused the subscription with reason code 0x{code:02x}{words}"
        ))
    })
}

/// A reason code of SUBACK in words (MQTT 5.0, 3.9.3).
const fn words(code: u8) -> Option<&'static str> {
    Some(match code {
        0x80 => "Unspecified error",
        0x83 => "Implementation specific error",
        0x87 => "Not authorized",
        0x8f => "Topic Filter invalid",
        0x91 => "Packet Identifier in use",
        0x97 => "Quota exceeded",
        0x9e => "Shared Subscriptions not supported",
        0xa1 => "Subscription Identifiers not supported",
        0xa2 => "Wildcard Subscriptions not supported",
        _ => return None,
    })
}

/// A subscription that is requested or confirmed.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) uri: ByteString,
    pub(crate) confirmed: bool,
}

impl Subscribe {
    /// The updates carry `uri` as the caller wrote it.
    pub(crate) const fn new(uri: ByteString) -> Self {
        Self {
            uri,
            confirmed: false,
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Begin
    }

    /// The payload is dropped: an update only says that there is something to read.
    pub(crate) fn data(&self, data: &Data) -> Step {
        if data.flags.is_fin() {
            Step::Update(McpResourcesUpdated {
                uri: self.uri.clone(),
            })
        } else {
            Step::Wait
        }
    }

    /// Messages may have been missed, so there may be something to read.
    pub(crate) fn gap(&self) -> Step {
        Step::Update(McpResourcesUpdated {
            uri: self.uri.clone(),
        })
    }

    pub(crate) fn ended(&self) -> Step {
        self.failed(&Failure::new("the broker ended the subscription"))
    }

    pub(crate) fn failed(&self, failure: &Failure) -> Step {
        Step::Refuse(McpReset::new(
            McpResetKind::Unavailable,
            format!(
                "The subscription to '{}' failed: {}.",
                shown(&self.uri),
                failure.why
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT 5.0, 3.9.3: the reason codes of a SUBACK that refuse a filter.
    #[test]
    fn each_reason_code_of_a_suback_has_words() {
        let codes = [0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
        for code in 0..=u8::MAX {
            assert_eq!(words(code).is_some(), codes.contains(&code), "0x{code:02x}");
        }
    }
}
