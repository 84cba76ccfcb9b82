//! Filters that the broker refused, and that are requested again: the stream goes on without them until they are
//! granted, and its caller is told what has changed.

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
