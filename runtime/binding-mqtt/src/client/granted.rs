//! What the broker grants in CONNACK (MQTT 5.0, 3.2.2.3), and what it therefore refuses.

use bytestring::ByteString;
use tidegate_engine::streams::mqtt::MqttSession;

use super::failure::Failure;
use super::publications::Message;
use super::subscriptions::FilterRequest;
use crate::codec::{ConnackProperties, ReasonCode, Version};

/// Messages in flight for a broker of MQTT 3.1.1, which cannot state how many it takes. mosquitto takes 20
/// (`max_inflight_messages`). Of more, 2.0.11 acknowledges those at `QoS` 2 and loses them.
const UNSTATED_RECEIVE_MAXIMUM: u16 = 20;

/// The limits and features that the broker granted.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a property of CONNACK"
)]
pub(super) struct Granted {
    /// Maximum number of unacknowledged `QoS` 1 and 2 messages.
    pub(super) receive_maximum: usize,
    pub(super) maximum_qos: u8,
    /// Number of topic aliases that the broker allows this side.
    pub(super) aliases: u16,
    pub(super) retain: bool,
    /// Largest packet that the broker accepts, in bytes.
    pub(super) packet_size: Option<usize>,
    pub(super) wildcards: bool,
    pub(super) shared: bool,
    pub(super) identifiers: bool,
    pub(super) version: Version,
    /// The keep-alive interval that the broker demands, in seconds.
    pub(super) keep_alive: Option<u16>,
    pub(super) client_id: Option<ByteString>,
    /// Time in seconds that the broker keeps the session, if it differs from CONNECT.
    pub(super) session_expiry: Option<u32>,
}

impl Default for Granted {
    fn default() -> Self {
        Self::new(Version::V5, &ConnackProperties::default())
    }
}

impl Granted {
    /// Reads the properties of CONNACK. MQTT 3.1.1 has none: subscription identifiers and shared
    /// subscriptions are then unavailable, and Receive Maximum is [`UNSTATED_RECEIVE_MAXIMUM`].
    pub(super) fn new(version: Version, properties: &ConnackProperties) -> Self {
        let modern = version == Version::V5;
        let unstated = if modern {
            u16::MAX
        } else {
            UNSTATED_RECEIVE_MAXIMUM
        };
        let size = properties.maximum_packet_size;
        Self {
            receive_maximum: usize::from(properties.receive_maximum.unwrap_or(unstated)),
            maximum_qos: properties.maximum_qos.unwrap_or(2),
            aliases: properties.topic_alias_maximum.unwrap_or(0),
            retain: properties.retain_available.unwrap_or(true),
            packet_size: size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
            wildcards: properties.wildcard_subscription_available.unwrap_or(true),
            shared: properties.shared_subscription_available.unwrap_or(modern),
            identifiers: modern
                && properties
                    .subscription_identifiers_available
                    .unwrap_or(true),
            version,
            keep_alive: properties.server_keep_alive,
            client_id: properties.assigned_client_id.clone(),
            session_expiry: properties.session_expiry,
        }
    }

    /// The reply BEGIN of a session.
    pub(super) fn session(&self, client_id: ByteString) -> MqttSession {
        MqttSession {
            client_id,
            publish_qos_max: self.maximum_qos,
            packet_size_max: self
                .packet_size
                .map_or(0, |size| u32::try_from(size).unwrap_or(u32::MAX)),
        }
    }

    /// The failure of a message that the broker does not support.
    pub(super) fn refuse_message(
        &self,
        message: &Message,
        broker: impl Fn() -> String,
    ) -> Option<Failure> {
        if message.qos > self.maximum_qos {
            let (asked, most) = (message.qos, self.maximum_qos);
            return Some(Failure::new(
                ReasonCode::QOS_NOT_SUPPORTED,
                format!(
                    "{} supports up to QoS {most}, but the message has QoS {asked}.",
                    broker()
                ),
            ));
        }
        if message.retain && !self.retain {
            return Some(Failure::new(
                ReasonCode::RETAIN_NOT_SUPPORTED,
                format!(
                    "{} does not support retained messages; publish without 'retain'.",
                    broker()
                ),
            ));
        }
        if self.version == Version::V311 {
            return message.needs_version_5().map(|what| {
                Failure::new(
                    ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                    format!(
                        "{} is connected with MQTT 3.1.1, which has no {what}; it requires MQTT 5.",
                        broker()
                    ),
                )
            });
        }
        None
    }

    /// The failure of a topic filter that the broker does not support.
    pub(super) fn refuse_filter(
        &self,
        request: &FilterRequest,
        broker: impl Fn() -> String,
    ) -> Option<Failure> {
        let filter = &request.filter;
        if self.version == Version::V311 && (request.no_local || request.as_published) {
            let what = if request.no_local {
                "no local"
            } else {
                "retain as published"
            };
            return Some(Failure::new(
                ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                format!(
                    "{} is connected with MQTT 3.1.1, which has no '{what}'; it requires MQTT 5.",
                    broker()
                ),
            ));
        }
        if filter.is_shared() && !self.shared {
            return Some(Failure::new(
                ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
                format!("{} does not support shared subscriptions.", broker()),
            ));
        }
        if filter.has_wildcards() && !self.wildcards {
            return Some(Failure::new(
                ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
                format!(
                    "{} does not support wildcard subscriptions; subscribe to single topics.",
                    broker()
                ),
            ));
        }
        None
    }
}
