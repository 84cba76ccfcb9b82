//! The result of a successful `publish`: how far the broker has confirmed the message.
//!
//! | `outcome` | `QoS` | confirmed by |
//! |---|---|---|
//! | `sent` | 0 | nothing: the message was written to the connection |
//! | `acknowledged` | 1 | PUBACK |
//! | `completed` | 2 | PUBCOMP |
//!
//! `matched` says whether somebody subscribes to the topic. A broker may answer 0x10 *No matching
//! subscribers* (MQTT 5.0, 3.4.2.1), and need not: its 0x00 means *matched* only if it has answered 0x10
//! before. Until then `matched` is null. An acknowledgement of MQTT 3.1.1 has no reason code: `reasonCode`
//! is null too.

use bytes::Bytes;
use tidegate_streams::EndEx;
use tidegate_streams::mqtt::MqttEnd;

/// *No matching subscribers*.
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// What a broker has shown of itself.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// It reports that a message has no subscribers.
    reports_no_match: bool,
}

/// How the broker acknowledged a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledgement {
    reason_code: u8,
    /// Not in MQTT 3.1.1.
    has_reason: bool,
    /// The broker reports that a message has no subscribers.
    reports_no_match: bool,
}

impl Acknowledgement {
    /// Whether the broker reports that nobody subscribes to the topic.
    pub(crate) const fn is_unmatched(self) -> bool {
        self.reason_code == NO_MATCHING_SUBSCRIBERS
    }
}

impl Broker {
    /// Reads the END of a reply.
    pub(crate) fn acknowledged(&mut self, end: Option<&EndEx>) -> Acknowledgement {
        let (reason_code, has_reason) = match end {
            Some(EndEx::Mqtt(MqttEnd {
                reason_code,
                has_reason,
                ..
            })) => (*reason_code, *has_reason),
            _ => (0, true),
        };
        self.reports_no_match |= reason_code == NO_MATCHING_SUBSCRIBERS;
        Acknowledgement {
            reason_code,
            has_reason,
            reports_no_match: self.reports_no_match,
        }
    }
}

macro_rules! text {
    ($outcome:literal, $code:literal, $matched:literal) => {
        Bytes::from_static(
            concat!(
                "{\"content\":[],\"structuredContent\":{\"outcome\":\"",
                $outcome,
                "\",\"reasonCode\":",
                $code,
                ",\"matched\":",
                $matched,
                "}}"
            )
            .as_bytes(),
        )
    };
}

/// The result of a publish.
pub(crate) fn result(qos: u8, acknowledgement: Acknowledgement) -> Bytes {
    let Acknowledgement {
        reason_code,
        has_reason,
        reports_no_match,
    } = acknowledgement;
    if !has_reason {
        return match qos {
            0 => text!("sent", "null", "null"),
            1 => text!("acknowledged", "null", "null"),
            _ => text!("completed", "null", "null"),
        };
    }
    match (qos, reason_code, reports_no_match) {
        (0, ..) => text!("sent", "null", "null"),
        (1, 0, false) => text!("acknowledged", "0", "null"),
        (1, 0, true) => text!("acknowledged", "0", "true"),
        (1, NO_MATCHING_SUBSCRIBERS, _) => text!("acknowledged", "16", "false"),
        (_, 0, false) => text!("completed", "0", "null"),
        (_, 0, true) => text!("completed", "0", "true"),
        (_, NO_MATCHING_SUBSCRIBERS, _) => text!("completed", "16", "false"),
        // No specification defines another success; a later one might.
        (qos, code, _) => {
            let outcome = if qos == 1 {
                "acknowledged"
            } else {
                "completed"
            };
            let result = format!(
                "{{\"content\":[],\"structuredContent\":{{\"outcome\":\"{outcome}\",\
                 \"reasonCode\":{code},\"matched\":null}}}}"
            );
            Bytes::from(result)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(reason_code: u8) -> EndEx {
        let end = MqttEnd {
            reason_code,
            ..MqttEnd::default()
        };
        end.into()
    }

    fn structured(result: &Bytes) -> serde_json::Value {
        let result: serde_json::Value = serde_json::from_slice(result).expect("JSON");
        assert_eq!(result["content"], serde_json::json!([]));
        result["structuredContent"].clone()
    }

    #[test]
    fn a_success_says_what_it_means() {
        let mut broker = Broker::default();
        for (qos, code, outcome, matched) in [
            (1, 0, "acknowledged", None),
            (2, 0, "completed", None),
            (1, 16, "acknowledged", Some(false)),
            (2, 16, "completed", Some(false)),
            (1, 0, "acknowledged", Some(true)),
            (2, 0, "completed", Some(true)),
            (1, 1, "acknowledged", None),
            (2, 127, "completed", None),
        ] {
            let acknowledgement = broker.acknowledged(Some(&end(code)).filter(|_| code > 0));
            let expected = serde_json::json!(
                {"outcome": outcome, "reasonCode": code, "matched": matched});
            assert_eq!(structured(&result(qos, acknowledgement)), expected);
            let sent = serde_json::json!({"outcome": "sent", "reasonCode": null, "matched": null});
            assert_eq!(structured(&result(0, acknowledgement)), sent);
        }
    }
}
