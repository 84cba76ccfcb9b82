//! When the reply of a subscription begins, and what it states.
//!
//! It states the broker's answer for each filter. It begins when all answers are there, or earlier, when so many messages
//! have arrived that there would be no room for the next ones; the missing answers follow then.

use bytestring::ByteString;
use tidegate_engine::streams::mqtt::{MqttSubscribe, MqttTopicFilter};

use super::{RequestedFilter, Subscriber};
use crate::codec::ReasonCode;

impl Subscriber {
    /// The broker's answer for a filter, or for the one that is subscribed to instead.
    pub(super) fn code_of(&self, asked: &RequestedFilter) -> Option<ReasonCode> {
        let mut by = asked;
        while let Some(other) = by.covered_by.and_then(|by| self.filters.get(by)) {
            by = other;
        }
        by.code
    }

    /// A filter as the reply states it; the requested `QoS` if there is no answer yet.
    fn stated(&self, asked: &RequestedFilter) -> MqttTopicFilter {
        let reason_code = match self.code_of(asked) {
            Some(code) if code.is_error() => code.0,
            Some(code) => code.0.min(asked.original.qos),
            None => asked.request.qos.min(asked.original.qos),
        };
        MqttTopicFilter {
            reason_code,
            ..asked.original.clone()
        }
    }

    /// The reply BEGIN: the requested filters with the broker's reason codes. What is stated without
    /// an answer is remembered, see [`Self::late_answers`].
    pub(in crate::client) fn begin(&mut self, client_id: Option<ByteString>) -> MqttSubscribe {
        for index in 0..self.filters.len() {
            let asked = self.filters.get(index);
            let assumed = asked.is_some_and(|it| self.code_of(it).is_none());
            if let Some(asked) = self.filters.get_mut(index) {
                asked.assumed = assumed;
            }
        }
        self.begun = true;
        MqttSubscribe {
            client_id,
            qos: self
                .filters
                .iter()
                .map(|it| it.original.qos)
                .max()
                .unwrap_or(0),
            limit: self.limit.map_or(0, |limit| u32::from(limit.get())),
            filters: self.filters.iter().map(|it| self.stated(it)).collect(),
            ..MqttSubscribe::default()
        }
    }

    /// All filters are answered: those that were not when the reply began, and those whose answer is another one
    /// than before, with the reason codes.
    pub(in crate::client) fn late_answers(&mut self) -> Vec<MqttTopicFilter> {
        let has_changed = |asked: &RequestedFilter| {
            let refused = asked.refused;
            refused.is_some_and(|refused| self.code_of(asked) != Some(refused))
        };
        let filters = self.filters.iter();
        let late = filters.filter(|asked| asked.assumed || has_changed(asked));
        let late = late.map(|asked| self.stated(asked)).collect();
        for asked in &mut self.filters {
            asked.assumed = false;
            asked.refused = None;
        }
        late
    }

    /// Whether the reply must begin although the broker has not answered for all filters: so many
    /// messages wait that the next ones might not find room, and the answers come behind them. A
    /// subscription with a limit has room for all of its messages.
    pub(in crate::client) fn must_begin(&self, messages: usize, bytes: usize) -> bool {
        !self.begun
            && self.limit.is_none()
            && self
                .deliveries
                .is_full(messages.div_ceil(2), bytes.div_ceil(2))
    }
}
