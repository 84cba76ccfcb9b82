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
//! **Who cannot share.** Without identifiers a message does not tell its subscription: then filters
//! that overlap cannot be on one connection. Nor can a shared subscription and what overlaps it,
//! since its messages are meant for one of the sharers; nor two streams that want one filter *as
//! published*, for which a replay could not be told from the rest. [`Subscriptions::fits`] tells.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::streams::mqtt::topic::TopicFilter;

use crate::codec::ReasonCode;

/// How many generations of a subscription are known by their identifiers, beside those that a
/// present stream has joined. Older ones could only be borne by messages that have waited in the
/// broker since.
const GENERATIONS: usize = 64;
/// The largest subscription identifier (MQTT 5.0, 3.8.2.1.2).
const IDENTIFIER_MAX: u32 = 268_435_455;

/// What a stream wants of one filter.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) filter: TopicFilter,
    pub(super) qos: u8,
    /// Retained messages are to be replayed.
    pub(super) retained: bool,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
}

/// A stream, and which of its filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) stream: usize,
    pub(super) index: usize,
}

/// Whether a wish can be met on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub(super) told: Vec<(Place, ReasonCode)>,
    /// A subscription that nobody wants any more.
    pub(super) unsubscribe: Option<ByteString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A SUBSCRIBE is to be sent for it.
    New,
    /// This SUBSCRIBE has not been answered yet.
    Awaits(u32),
    Granted,
}

#[derive(Debug)]
struct Member {
    place: Place,
    qos: u8,
    retained: bool,
    standing: Standing,
    /// The generation whose replay is its own.
    joined: Option<u32>,
}

#[derive(Debug)]
struct Subscription {
    filter: TopicFilter,
    qos: u8,
    no_local: bool,
    as_published: bool,
    /// Newest last.
    generations: Vec<u32>,
    /// What the newest answered SUBSCRIBE was granted.
    granted: Option<ReasonCode>,
    members: Vec<Member>,
}

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: Slab<Subscription>,
    by_filter: BTreeMap<ByteString, usize>,
    by_identifier: BTreeMap<u32, usize>,
    last_identifier: u32,
    /// Those for which a SUBSCRIBE is to be sent.
    due: BTreeSet<usize>,
}

impl Subscriptions {
    /// Whether a wish can be met here, `identifiers` telling whether the broker grants them.
    pub(super) fn fits(&self, wish: &Wish, identifiers: bool) -> Fit {
        let filter = &wish.filter;
        if let Some(there) = self.named(filter.as_str()) {
            let alone = filter.is_shared() || wish.as_published || there.as_published;
            return match (wish.no_local, there.no_local) {
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

    /// Adds a stream to the subscription that it wishes for; the reason code, if nothing needs to be
    /// asked of the broker.
    pub(super) fn join(&mut self, place: Place, wish: &Wish) -> Option<ReasonCode> {
        let key = self.entry(wish);
        let subscription = self.table.get_mut(key)?;
        let suffices = !subscription.generations.is_empty() && subscription.qos >= wish.qos;
        let mut member = Member {
            place,
            qos: wish.qos,
            retained: wish.retained,
            standing: Standing::New,
            joined: None,
        };
        subscription.qos = subscription.qos.max(wish.qos);
        let mut code = None;
        if suffices && !wish.retained {
            match (subscription.granted, subscription.generations.last()) {
                (Some(granted), _) => {
                    member.standing = Standing::Granted;
                    code = Some(granted.min(ReasonCode(wish.qos)));
                }
                (None, Some(newest)) => member.standing = Standing::Awaits(*newest),
                (None, None) => {}
            }
        }
        if member.standing == Standing::New {
            self.due.insert(key);
        }
        subscription.members.push(member);
        code
    }

    fn named(&self, filter: &str) -> Option<&Subscription> {
        self.table.get(*self.by_filter.get(filter)?)
    }

    fn entry(&mut self, wish: &Wish) -> usize {
        if let Some(key) = self.by_filter.get(wish.filter.as_str()) {
            return *key;
        }
        let key = self.table.insert(Subscription {
            filter: wish.filter.clone(),
            qos: wish.qos,
            no_local: wish.no_local,
            as_published: wish.as_published,
            generations: Vec::new(),
            granted: None,
            members: Vec::new(),
        });
        self.by_filter.insert(wish.filter.text(), key);
        key
    }

    /// The next SUBSCRIBE that is due. Whoever has joined since the last one shares it.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        while let Some(key) = self.due.pop_first() {
            let identifier = self.fresh_identifier();
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            let mut replay = false;
            for member in &mut subscription.members {
                if member.standing == Standing::New {
                    member.standing = Standing::Awaits(identifier);
                    member.joined = member.retained.then_some(identifier);
                    replay |= member.retained;
                }
            }
            subscription.generations.push(identifier);
            if let Some(forgotten) = subscription.oldest_unneeded() {
                self.by_identifier.remove(&forgotten);
            }
            self.by_identifier.insert(identifier, key);
            return Some(Order {
                filter: subscription.filter.text(),
                identifier,
                qos: subscription.qos,
                no_local: subscription.no_local,
                as_published: subscription.as_published,
                replay,
            });
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
        let Some(key) = self.by_identifier.get(&identifier).copied() else {
            return answer;
        };
        let Some(subscription) = self.table.get_mut(key) else {
            return answer;
        };
        let refused = code.is_error();
        if !refused {
            subscription.granted = Some(code);
        }
        for member in &mut subscription.members {
            if member.standing == Standing::Awaits(identifier) {
                let told = if refused {
                    code
                } else {
                    code.min(ReasonCode(member.qos))
                };
                answer.told.push((member.place, told));
                member.standing = Standing::Granted;
            }
        }
        if refused {
            let refused: BTreeSet<Place> = answer.told.iter().map(|(place, _)| *place).collect();
            subscription
                .members
                .retain(|member| !refused.contains(&member.place));
            if subscription.members.is_empty() {
                answer.unsubscribe = self
                    .remove(key)
                    .filter(|gone| gone.granted.is_some())
                    .map(|gone| gone.filter.text());
            }
        }
        answer
    }

    /// A stream leaves the subscriptions it wished for; the filters to unsubscribe from.
    pub(super) fn leave<'a>(
        &mut self,
        stream: usize,
        wishes: impl Iterator<Item = &'a Wish>,
    ) -> Vec<ByteString> {
        let mut given_up = Vec::new();
        for wish in wishes {
            let Some(key) = self.by_filter.get(wish.filter.as_str()).copied() else {
                continue;
            };
            let Some(subscription) = self.table.get_mut(key) else {
                continue;
            };
            let before = subscription.members.len();
            subscription
                .members
                .retain(|member| member.place.stream != stream);
            if before > 0
                && subscription.members.is_empty()
                && let Some(gone) = self.remove(key)
                && !gone.generations.is_empty()
            {
                given_up.push(gone.filter.text());
            }
        }
        given_up
    }

    fn remove(&mut self, key: usize) -> Option<Subscription> {
        let gone = self.table.try_remove(key)?;
        self.by_filter.remove(gone.filter.as_str());
        self.due.remove(&key);
        for identifier in &gone.generations {
            self.by_identifier.remove(identifier);
        }
        Some(gone)
    }

    /// Whom a message is for, as far as its subscriptions tell; a stream with filters that overlap
    /// may be named more than once. `identifiers` is what the message bears; where it bears none, its
    /// topic decides.
    pub(super) fn route(&self, identifiers: &[u32], topic: &str, retain: bool) -> Vec<Place> {
        let mut places = Vec::new();
        if identifiers.is_empty() {
            for (_, subscription) in &self.table {
                if subscription.filter.matches(topic) {
                    subscription.members_for(None, retain, &mut places);
                }
            }
        }
        for identifier in identifiers {
            if let Some(subscription) = self
                .by_identifier
                .get(identifier)
                .and_then(|key| self.table.get(*key))
                && subscription.filter.matches(topic)
            {
                subscription.members_for(Some(*identifier), retain, &mut places);
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Whether nobody is subscribed to anything.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.table.is_empty() && self.by_filter.is_empty() && self.by_identifier.is_empty()
    }
}

impl Subscription {
    /// Forgets the oldest generation that is nobody's, if there are too many.
    fn oldest_unneeded(&mut self) -> Option<u32> {
        if self.generations.len() <= GENERATIONS {
            return None;
        }
        let needed = |identifier: u32| {
            self.members.iter().any(|member| {
                member.joined == Some(identifier) || member.standing == Standing::Awaits(identifier)
            })
        };
        let unneeded = self.generations.iter().position(|known| !needed(*known))?;
        Some(self.generations.remove(unneeded))
    }

    fn members_for(&self, identifier: Option<u32>, retain: bool, places: &mut Vec<Place>) {
        let replay = retain && !self.as_published;
        let wanted = |member: &&Member| match identifier {
            Some(identifier) if replay => member.joined == Some(identifier),
            Some(identifier) => {
                matches!(member.standing, Standing::Granted)
                    || member.standing == Standing::Awaits(identifier)
            }
            None => member.standing != Standing::New && (!replay || member.retained),
        };
        places.extend(
            self.members
                .iter()
                .filter(wanted)
                .map(|member| member.place),
        );
    }
}

#[cfg(test)]
mod tests;
