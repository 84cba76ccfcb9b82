//! Filters that the broker refused, and that are requested again: the stream goes on without them until they are
//! granted, and its caller is told what has changed.

use std::cmp::Reverse;

use super::{RequestedFilter, Subscriber};
use crate::codec::ReasonCode;

impl Subscriber {
    /// Whether the broker may grant a filter later that it has refused.
    pub(in crate::client) fn may_be_granted_later(&self) -> bool {
        self.filters
            .iter()
            .any(RequestedFilter::may_be_granted_later)
    }

    /// Such filters still need an answer.
    pub(in crate::client) fn ask_again(&mut self) {
        self.remember_refusals();
        for asked in &mut self.filters {
            if asked.may_be_granted_later() {
                asked.code = None;
            }
        }
    }

    /// A filter cannot be requested now. Returns whether the stream goes on without it: it was refused before, and
    /// stays so.
    pub(in crate::client) fn goes_without(&mut self, index: usize) -> bool {
        let asked = self.filters.get_mut(index);
        let Some(asked) = asked.filter(|asked| asked.given_up && asked.refused.is_some()) else {
            return false;
        };
        asked.code = asked.refused;
        true
    }

    /// Remembers what the caller was told of refused filters.
    pub(super) fn remember_refusals(&mut self) {
        for index in 0..self.filters.len() {
            let asked = self.filters.get(index);
            let refused = asked.and_then(|it| self.code_of(it));
            let refused = refused.filter(|code| code.is_error());
            if let Some(asked) = self.filters.get_mut(index) {
                asked.refused = refused.or(asked.refused);
            }
        }
    }
}

impl RequestedFilter {
    /// Which of several filters that match a message its copy is taken for: the one with the highest `QoS`. But for
    /// one that is requested again after a refusal, there may be no copy; and when it is granted, the broker may have
    /// held back messages since before (Receive Maximum), with copies only for filters that were granted earlier.
    /// What has `QoS` 0 is not held back, and not kept while there is no connection: it does not come before others.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let qos = self.code.map_or(self.request.qos, |code| code.0);
        (
            !self.given_up,
            qos > 0,
            Reverse(self.late),
            self.request.qos,
        )
    }

    fn may_be_granted_later(&self) -> bool {
        self.given_up
            && self
                .code
                .is_some_and(|code| code.is_error() && !is_final(code))
    }
}

/// Whether a filter that was refused with this reason code is refused each time (MQTT 5.0, 3.9.3).
const fn is_final(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::NOT_AUTHORIZED
            | ReasonCode::TOPIC_FILTER_INVALID
            | ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
            | ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
            | ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
    )
}
