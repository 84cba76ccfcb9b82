//! `resources/subscribe`: an update for each message, for as long as the caller likes.

use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpReset, McpResetKind, McpResourcesUpdated};
use tidegate_streams::mqtt::{MqttBeginEx, MqttSubscribe, MqttSubscribeFlags, MqttTopicFilter};
use tidegate_streams::shown;

use crate::result::Failure;
use crate::work::Step;

/// `AT_LEAST_ONCE`: a message of `QoS` 0 could not be given back to a group.
pub(crate) const QOS: u8 = 1;

/// The BEGIN of a subscribe stream, as `receive` and both resource operations open it. `limit` is how
/// many messages of a shared subscription it takes, and 0 for others.
pub(crate) fn begin(
    client_id: Option<ByteString>,
    pattern: ByteString,
    limit: u32,
) -> MqttSubscribe {
    MqttSubscribe {
        client_id,
        qos: QOS,
        limit,
        filters: vec![MqttTopicFilter {
            qos: QOS,
            flags: MqttSubscribeFlags::NONE,
            pattern,
            ..MqttTopicFilter::default()
        }],
    }
}

/// Why a reply BEGIN is no subscription, if the broker granted none of its filters.
pub(crate) fn refusal(begin: &MqttBeginEx) -> Option<Failure> {
    let MqttBeginEx::Subscribe(subscribe) = begin else {
        return None;
    };
    let code = subscribe.filters.first()?.reason_code;
    let refused = |filter: &MqttTopicFilter| filter.reason_code >= 0x80;
    subscribe.filters.iter().all(refused).then(|| {
        Failure::new(format!(
            "the broker refused the subscription with reason code 0x{code:02x}"
        ))
    })
}

/// A subscription, asked for or standing.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) uri: ByteString,
    pub(crate) confirmed: bool,
}

impl Subscribe {
    /// A subscription whose updates bear `uri`, as the caller gave it.
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

    /// The payload is of no use: an update tells only that there is something to read.
    pub(crate) fn data(&self, data: &Data) -> Step {
        if data.flags.is_fin() {
            Step::Update(McpResourcesUpdated {
                uri: self.uri.clone(),
            })
        } else {
            Step::Wait
        }
    }

    pub(crate) fn ended(&self) -> Step {
        self.failed(&Failure::new("the broker ended it"))
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
