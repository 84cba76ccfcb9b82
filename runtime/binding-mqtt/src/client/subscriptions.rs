//! The subscriptions of one connection, each shared by the streams that want the same filter.
//!
//! **One filter, one subscription.** However many streams want a filter, the broker knows one
//! subscription for it. It is made by the first, made again where a newcomer needs more than it
//! gives, and given up when the last one leaves. Its `QoS` never falls while it is in use.
//!
//! **Generations.** Each SUBSCRIBE bears a subscription identifier of its own, also when it makes
//! the same subscription again: the broker replaces the old subscription (MQTT 5.0, 3.8.4), loses no
//! message over it, and marks what follows with the new identifier. So a retained message that is
//! replayed (its retain flag is set only then, unless *retain as published* was asked for) bears the
//! identifier of the very SUBSCRIBE that caused it, and goes to the streams that this SUBSCRIBE was
//! made for, and to no other. A message that is not a replay goes to every stream of the
//! subscription, whichever of its generations it bears. Where no newcomer wants retained messages
//! and the `QoS` suffices, nothing is sent at all.
//!
//! **Company.** While [`UNANSWERED`] SUBSCRIBEs for a filter are under way, newcomers to it gather, and
//! share the next one: many who ask for the same thing at a time cost the broker few packets, and few
//! wait for nobody.
//!
//! **Who cannot share.** Without identifiers a message does not tell its subscription: then filters
//! that overlap cannot be on one connection. Nor can a shared subscription and what overlaps it,
//! since its messages are meant for one of the sharers; nor two streams that want one filter *as
//! published*, for which a replay could not be told from the rest. [`Subscriptions::fits`] tells.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::streams::mqtt::topic::TopicFilter;

use self::subscription::Subscription;
use crate::codec::ReasonCode;

mod subscription;

/// The largest subscription identifier (MQTT 5.0, 3.8.2.1.2).
const IDENTIFIER_MAX: u32 = 268_435_455;

/// What a stream wants of one filter.
#[derive(Debug, Clone)]
pub(super) struct FilterRequest {
    pub(super) filter: TopicFilter,
    pub(super) qos: u8,
    /// Retained messages are to be replayed.
    pub(super) retained: bool,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
}

/// A stream, and which of its filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Recipient {
    pub(super) stream: usize,
    pub(super) index: usize,
}

/// Whether a request can be met on a connection; of several requests, the greatest is that of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    Here,
    /// On a connection of its own.
    Elsewhere,
    /// On none: another stream of this client wants its own messages for this filter.
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

/// What a SUBACK means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who waited for it, and the reason code for each.
    pub(super) recipients: Vec<(Recipient, ReasonCode)>,
    /// A subscription that nobody wants any more.
    pub(super) unsubscribe: Option<ByteString>,
}

/// What an identifier stands for.
#[derive(Debug, Clone, Copy)]
struct Known {
    subscription: usize,
    generation: u64,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: Slab<Subscription>,
    // These are looked up and never walked: their order is not anybody's.
    by_filter: BTreeMap<ByteString, usize>,
    by_identifier: BTreeMap<u32, Known>,
    last_identifier: u32,
    /// Those for which a SUBSCRIBE may be to be sent.
    due: VecDeque<usize>,
}

impl Subscriptions {
    /// Whether a request can be met here, `identifiers` telling whether the broker grants them.
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

    /// Adds a stream to the subscription that it requests for; the reason code, if nothing needs to be
    /// asked of the broker.
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

    /// The next SUBSCRIBE that is due. Whoever has joined since the last one shares it.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        while let Some(key) = self.due.pop_front() {
            // It may have been sent, or nobody may wait for it any more.
            if !self.table.get(key).is_some_and(Subscription::is_due) {
                continue;
            }
            let identifier = self.fresh_identifier();
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            let (order, generation) = subscription.order(identifier);
            while let Some(forgotten) = subscription.forget() {
                self.by_identifier.remove(&forgotten);
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
                .filter(Subscription::may_stand)
                .map(|gone| gone.filter.text());
        }
        answer
    }

    /// A stream leaves the subscriptions it wished for, each with its index; the filters to
    /// unsubscribe from.
    pub(super) fn remove_stream<'a>(
        &mut self,
        stream: usize,
        requests: impl Iterator<Item = (usize, &'a FilterRequest)>,
    ) -> Vec<ByteString> {
        let mut unsubscribed = Vec::new();
        for (index, request) in requests {
            let Some(key) = self.by_filter.get(request.filter.as_str()).copied() else {
                continue;
            };
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            if subscription.remove_member(Recipient { stream, index })
                && subscription.is_empty()
                && let Some(gone) = self.remove(key)
                && gone.was_ordered()
            {
                unsubscribed.push(gone.filter.text());
            }
        }
        unsubscribed
    }

    fn remove(&mut self, key: usize) -> Option<Subscription> {
        let gone = self.table.try_remove(key)?;
        self.by_filter.remove(gone.filter.as_str());
        for identifier in gone.identifiers() {
            self.by_identifier.remove(&identifier);
        }
        Some(gone)
    }

    /// Whom a message is for, as far as its subscriptions tell; a stream with filters that overlap
    /// may be named more than once. `identifiers` is what the message bears; where it bears none, its
    /// topic decides.
    pub(super) fn route(&self, identifiers: &[u32], topic: &str, retain: bool) -> Vec<Recipient> {
        let mut recipients = Vec::new();
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

    /// Whether nobody is subscribed to anything.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.table.is_empty() && self.by_filter.is_empty() && self.by_identifier.is_empty()
    }
}

#[cfg(test)]
mod tests;
