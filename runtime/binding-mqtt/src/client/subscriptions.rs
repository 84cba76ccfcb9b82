//! The subscriptions of one connection, each shared by all streams that request the same filter.
//!
//! **One subscription per filter.** However many streams request a filter, the broker has one
//! subscription for it. The first stream creates it, SUBSCRIBE is sent again if a new stream needs
//! more than it provides, and UNSUBSCRIBE is sent when the last stream is removed. Its `QoS` is
//! never lowered while it is in use.
//!
//! **Generations.** Each SUBSCRIBE has a new subscription identifier, even if it repeats a
//! subscription: the broker replaces the old subscription (MQTT 5.0, 3.8.4) without losing
//! messages, and marks later messages with the new identifier. So a replayed retained message
//! (recognised by its retain flag, unless *retain as published* was requested) has the identifier
//! of the SUBSCRIBE that caused it, and is delivered only to the streams for which that SUBSCRIBE
//! was sent. Other messages are delivered to every stream of the subscription, whichever generation
//! they name. If a new stream does not request retained messages and the `QoS` suffices, no packet
//! is sent.
//!
//! **Batching.** While [`UNANSWERED`] SUBSCRIBEs for a filter are in flight, further streams wait
//! and share the next one: many concurrent requests cost the broker few packets, and few requests
//! do not wait.
//!
//! **Filters that cannot share a connection.** Without identifiers, a message does not name its
//! subscription, so overlapping filters need separate connections. So do a shared subscription and
//! a filter that overlaps it, since its messages are for one member of the group, and two streams
//! that request one filter with *retain as published*, whose replay could not be told from other
//! messages. [`Subscriptions::fits`] decides.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use slab::Slab;
use smallvec::SmallVec;
use tidegate_engine::streams::mqtt::topic::TopicFilter;

use self::subscription::Subscription;
use crate::codec::ReasonCode;

mod subscription;

/// The largest subscription identifier (MQTT 5.0, 3.8.2.1.2).
const IDENTIFIER_MAX: u32 = 268_435_455;

/// The request of a stream for one filter.
#[derive(Debug, Clone)]
pub(super) struct FilterRequest {
    pub(super) filter: TopicFilter,
    pub(super) qos: u8,
    /// Whether retained messages are requested.
    pub(super) retained: bool,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
}

/// A filter of a stream, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Recipient {
    pub(super) stream: usize,
    pub(super) index: usize,
}

/// The recipients of a message; often one.
pub(super) type Recipients = SmallVec<[Recipient; 2]>;

/// Whether a connection can serve a request. The greatest value of several requests applies to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    Here,
    /// On a separate connection.
    Elsewhere,
    /// On no connection: another stream of this client receives the client's own messages for this
    /// filter.
    Never,
}

/// A SUBSCRIBE to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) filter: ByteString,
    pub(super) identifier: u32,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
    /// Whether retained messages are to be replayed.
    pub(super) replay: bool,
}

/// Reason codes for streams, by filter; nearly always one.
pub(super) type Answers = SmallVec<[(Recipient, ReasonCode); 1]>;

/// The effect of a SUBACK.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The streams that waited for it, with the reason code of each.
    pub(super) recipients: Answers,
    /// A filter without streams, to unsubscribe from.
    pub(super) unsubscribe: Option<ByteString>,
}

/// The SUBSCRIBE that an identifier belongs to.
#[derive(Debug, Clone, Copy)]
struct Known {
    subscription: usize,
    generation: u64,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: Slab<Subscription>,
    // Only looked up, never iterated, so their order does not matter.
    by_filter: BTreeMap<ByteString, usize>,
    by_identifier: BTreeMap<u32, Known>,
    last_identifier: u32,
    /// Subscriptions for which a SUBSCRIBE may be due.
    due: VecDeque<usize>,
}

impl Subscriptions {
    /// Whether a request can be served here. `identifiers`: whether the broker supports
    /// subscription identifiers.
    pub(super) fn fits(&self, request: &FilterRequest, identifiers: bool) -> Fit {
        let filter = &request.filter;
        if let Some(there) = self.named(filter.as_str()) {
            let alone = filter.is_shared() || request.as_published || there.as_published;
            return match (request.no_local, there.no_local) {
                (true, false) => Fit::Never,
                (wanted, given) if !alone && identifiers && wanted == given => Fit::Here,
                _ => Fit::Elsewhere,
            };
        }
        let clash = |other: &TopicFilter| {
            (!identifiers || filter.is_shared() || other.is_shared()) && filter.overlaps(other)
        };
        if self.table.iter().any(|(_, there)| clash(&there.filter)) {
            return Fit::Elsewhere;
        }
        Fit::Here
    }

    /// Adds a stream to the subscription of its filter. Returns the reason code if no SUBSCRIBE is
    /// needed.
    pub(super) fn join(
        &mut self,
        recipient: Recipient,
        request: &FilterRequest,
    ) -> Option<ReasonCode> {
        let key = self.entry(request);
        let subscription = self.table.get_mut(key)?;
        let code = subscription.join(recipient, request);
        if subscription.is_due() {
            self.due.push_back(key);
        }
        code
    }

    fn named(&self, filter: &str) -> Option<&Subscription> {
        self.table.get(*self.by_filter.get(filter)?)
    }

    fn entry(&mut self, request: &FilterRequest) -> usize {
        if let Some(key) = self.by_filter.get(request.filter.as_str()) {
            return *key;
        }
        let key = self.table.insert(Subscription::new(request));
        self.by_filter.insert(request.filter.text(), key);
        key
    }

    /// The connection was lost: no SUBSCRIBE will be answered any more.
    pub(super) fn forget_unanswered(&mut self) {
        for (_, subscription) in &mut self.table {
            subscription.forget_unanswered();
        }
    }

    /// Messages may have the identifiers of an earlier session: further ones are taken from elsewhere in
    /// their range.
    pub(super) fn set_last_identifier(&mut self, last: u32) {
        self.last_identifier = last.min(IDENTIFIER_MAX);
    }

    /// The number of filters that streams use.
    pub(super) fn count(&self) -> usize {
        self.by_filter.len()
    }

    /// Whether a stream uses this filter.
    pub(super) fn has(&self, filter: &str) -> bool {
        self.by_filter.contains_key(filter)
    }

    /// The next SUBSCRIBE that is due, for all streams that joined since the last one.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        while let Some(key) = self.due.pop_front() {
            // It may have been sent already, or have no waiting stream any more.
            if !self.table.get(key).is_some_and(Subscription::is_due) {
                continue;
            }
            let identifier = self.fresh_identifier();
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            let (order, generation) = subscription.order(identifier);
            while let Some(identifier) = subscription.remove_spare_generation() {
                self.by_identifier.remove(&identifier);
            }
            let known = Known {
                subscription: key,
                generation,
            };
            self.by_identifier.insert(identifier, known);
            return Some(order);
        }
        None
    }

    fn fresh_identifier(&mut self) -> u32 {
        loop {
            self.last_identifier = match self.last_identifier {
                IDENTIFIER_MAX => 1,
                last => last + 1,
            };
            if !self.by_identifier.contains_key(&self.last_identifier) {
                return self.last_identifier;
            }
        }
    }

    /// The broker has answered the SUBSCRIBE with this identifier.
    pub(super) fn answered(&mut self, identifier: u32, code: ReasonCode) -> Answer {
        let mut answer = Answer::default();
        let Some(known) = self.by_identifier.get(&identifier).copied() else {
            return answer;
        };
        let Some(subscription) = self.table.get_mut(known.subscription) else {
            return answer;
        };
        answer.recipients = subscription.answered(known.generation, code);
        if subscription.is_due() {
            self.due.push_back(known.subscription);
        } else if subscription.is_empty() {
            answer.unsubscribe = self
                .remove(known.subscription)
                .filter(Subscription::may_be_granted)
                .map(|removed| removed.filter.text());
        }
        answer
    }

    /// Removes a stream from its subscriptions. Returns the filters to unsubscribe from.
    pub(super) fn remove_stream<'a>(
        &mut self,
        stream: usize,
        requests: impl Iterator<Item = (usize, &'a FilterRequest)>,
    ) -> SmallVec<[ByteString; 1]> {
        let mut unsubscribed = SmallVec::new();
        for (index, request) in requests {
            let Some(key) = self.by_filter.get(request.filter.as_str()).copied() else {
                continue;
            };
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            if subscription.remove_member(Recipient { stream, index })
                && subscription.is_empty()
                && let Some(removed) = self.remove(key)
                && removed.was_requested()
            {
                unsubscribed.push(removed.filter.text());
            }
        }
        unsubscribed
    }

    fn remove(&mut self, key: usize) -> Option<Subscription> {
        let removed = self.table.try_remove(key)?;
        self.by_filter.remove(removed.filter.as_str());
        for identifier in removed.identifiers() {
            self.by_identifier.remove(&identifier);
        }
        Some(removed)
    }

    /// The recipients of a message; a stream with overlapping filters may occur more than once.
    /// `identifiers` are those of the message; if it has none, its topic decides.
    pub(super) fn route(&self, identifiers: &[u32], topic: &str, retain: bool) -> Recipients {
        let mut recipients = Recipients::new();
        if identifiers.is_empty() {
            for (_, subscription) in &self.table {
                if subscription.filter.matches(topic) {
                    subscription.members_for(None, retain, &mut recipients);
                }
            }
        }
        for identifier in identifiers {
            if let Some(known) = self.by_identifier.get(identifier)
                && let Some(subscription) = self.table.get(known.subscription)
                && subscription.filter.matches(topic)
            {
                subscription.members_for(Some(known.generation), retain, &mut recipients);
            }
        }
        recipients.sort_unstable();
        recipients.dedup();
        recipients
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.table.is_empty() && self.by_filter.is_empty() && self.by_identifier.is_empty()
    }
}

#[cfg(test)]
mod tests;
