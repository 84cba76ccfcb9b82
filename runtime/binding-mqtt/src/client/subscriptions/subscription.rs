//! One subscription: who shares it, and which SUBSCRIBE was made for whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_engine::streams::mqtt::topic::TopicFilter;

use super::{Order, Place, Wish};
use crate::codec::ReasonCode;

/// How many SUBSCRIBEs for one filter may be unanswered before newcomers wait for each other.
pub(super) const UNANSWERED: usize = 4;
/// How many generations of a subscription are known by their identifiers, beside those that a
/// present stream has joined. Older ones could only be borne by messages that have waited in the
/// broker since.
pub(super) const GENERATIONS: usize = 64;

/// What a stream has of the subscription.
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
    qos: u8,
    retained: bool,
    standing: Standing,
    /// The generation whose replay is its own.
    joined: Option<u32>,
}

/// A SUBSCRIBE that was sent, and who it was made for: those who wait for its answer, and those whose
/// replay it brings.
#[derive(Debug)]
struct Generation {
    identifier: u32,
    /// What it asks for.
    qos: u8,
    answered: bool,
    places: BTreeSet<Place>,
}

/// What the broker has granted, and what it was asked for then.
#[derive(Debug, Clone, Copy)]
struct Granted {
    asked: u8,
    code: ReasonCode,
}

/// The one subscription to a filter.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
    /// What the next SUBSCRIBE asks for.
    qos: u8,
    /// Newest last.
    generations: VecDeque<Generation>,
    /// How many of them are not answered.
    unanswered: usize,
    /// Of the newest SUBSCRIBE that was answered and not refused.
    granted: Option<Granted>,
    members: BTreeMap<Place, Member>,
    /// Those whose standing is new.
    newcomers: BTreeSet<Place>,
}

impl Subscription {
    pub(super) fn new(wish: &Wish) -> Self {
        Self {
            filter: wish.filter.clone(),
            no_local: wish.no_local,
            as_published: wish.as_published,
            qos: wish.qos,
            generations: VecDeque::new(),
            unanswered: 0,
            granted: None,
            members: BTreeMap::new(),
            newcomers: BTreeSet::new(),
        }
    }

    /// Whether a SUBSCRIBE is to be sent now.
    pub(super) fn is_due(&self) -> bool {
        !self.newcomers.is_empty() && self.unanswered < UNANSWERED
    }

    /// Whether nobody has a part in it.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the broker has granted it at some time, or still may.
    pub(super) const fn may_stand(&self) -> bool {
        self.granted.is_some() || self.unanswered > 0
    }

    /// Whether the broker was asked for it.
    pub(super) fn was_ordered(&self) -> bool {
        !self.generations.is_empty()
    }

    /// The identifiers that messages may bear.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = u32> {
        self.generations.iter().map(|known| known.identifier)
    }

    /// Adds a stream; the reason code, if nothing needs to be asked of the broker.
    pub(super) fn join(&mut self, place: Place, wish: &Wish) -> Option<ReasonCode> {
        self.qos = self.qos.max(wish.qos);
        let suffices = |asked: u8| !wish.retained && asked >= wish.qos;
        let granted = self.granted.filter(|granted| suffices(granted.asked));
        let newest = self.generations.back_mut();
        let newest = newest.filter(|newest| !newest.answered && suffices(newest.qos));
        let (standing, code) = match (granted, newest) {
            (Some(granted), _) => {
                let code = granted.code.min(ReasonCode(wish.qos));
                (Standing::Granted, Some(code))
            }
            (None, Some(newest)) => {
                newest.places.insert(place);
                (Standing::Awaits(newest.identifier), None)
            }
            (None, None) => {
                self.newcomers.insert(place);
                (Standing::New, None)
            }
        };
        let member = Member {
            qos: wish.qos,
            retained: wish.retained,
            standing,
            joined: None,
        };
        self.members.insert(place, member);
        code
    }

    /// The SUBSCRIBE for the newcomers, and a generation that is forgotten over it.
    pub(super) fn order(&mut self, identifier: u32) -> (Order, Option<u32>) {
        let places = std::mem::take(&mut self.newcomers);
        let mut replay = false;
        for place in &places {
            if let Some(member) = self.members.get_mut(place) {
                member.standing = Standing::Awaits(identifier);
                member.joined = member.retained.then_some(identifier);
                replay |= member.retained;
            }
        }
        self.unanswered += 1;
        self.generations.push_back(Generation {
            identifier,
            qos: self.qos,
            answered: false,
            places,
        });
        let order = Order {
            filter: self.filter.text(),
            identifier,
            qos: self.qos,
            no_local: self.no_local,
            as_published: self.as_published,
            replay,
        };
        (order, self.forget())
    }

    /// Forgets the oldest generation that is nobody's, if there are too many.
    fn forget(&mut self) -> Option<u32> {
        if self.generations.len() <= GENERATIONS {
            return None;
        }
        let unneeded = self
            .generations
            .iter()
            .position(|known| known.answered && known.places.is_empty())?;
        Some(self.generations.remove(unneeded)?.identifier)
    }

    /// The broker has answered; who waited for it, and the reason code for each. Where it refused,
    /// they have no part in the subscription any more.
    pub(super) fn answered(
        &mut self,
        identifier: u32,
        code: ReasonCode,
    ) -> Vec<(Place, ReasonCode)> {
        let mut told = Vec::new();
        let Some(at) = self.place_of(identifier) else {
            return told;
        };
        let Some(generation) = self.generations.get_mut(at) else {
            return told;
        };
        if !std::mem::replace(&mut generation.answered, true) {
            self.unanswered -= 1;
        }
        if !code.is_error() {
            let asked = generation.qos;
            // Answers that come out of order do not take back what was granted on top.
            if self.granted.is_none_or(|granted| granted.asked <= asked) {
                self.granted = Some(Granted { asked, code });
            }
        }
        let members = &mut self.members;
        generation.places.retain(|place| {
            let Some(member) = members.get_mut(place) else {
                return false;
            };
            if member.standing == Standing::Awaits(identifier) {
                if code.is_error() {
                    told.push((*place, code));
                    members.remove(place);
                    return false;
                }
                told.push((*place, code.min(ReasonCode(member.qos))));
                member.standing = Standing::Granted;
            }
            member.joined == Some(identifier)
        });
        told
    }

    /// A stream leaves; whether it had a part.
    pub(super) fn leave(&mut self, place: Place) -> bool {
        let Some(member) = self.members.remove(&place) else {
            return false;
        };
        let identifier = match member.standing {
            Standing::New => {
                self.newcomers.remove(&place);
                return true;
            }
            Standing::Awaits(identifier) => Some(identifier),
            Standing::Granted => member.joined,
        };
        if let Some(identifier) = identifier
            && let Some(at) = self.place_of(identifier)
            && let Some(generation) = self.generations.get_mut(at)
        {
            generation.places.remove(&place);
        }
        true
    }

    /// Which generation bears an identifier: nearly always one of the newest.
    fn place_of(&self, identifier: u32) -> Option<usize> {
        self.generations
            .iter()
            .rposition(|known| known.identifier == identifier)
    }

    /// Whom a message is for that bears this identifier, or none.
    pub(super) fn members_for(
        &self,
        identifier: Option<u32>,
        retain: bool,
        places: &mut Vec<Place>,
    ) {
        let replay = retain && !self.as_published;
        if let Some(identifier) = identifier
            && replay
        {
            let generation = self.place_of(identifier);
            let generation = generation.and_then(|at| self.generations.get(at));
            let joined = |place: &&Place| {
                let member = self.members.get(place);
                member.is_some_and(|member| member.joined == Some(identifier))
            };
            return places.extend(generation.iter().flat_map(|it| &it.places).filter(joined));
        }
        let wanted = |member: &Member| match identifier {
            Some(identifier) => {
                matches!(member.standing, Standing::Granted)
                    || member.standing == Standing::Awaits(identifier)
            }
            None => member.standing != Standing::New && (!replay || member.retained),
        };
        let members = self.members.iter();
        places.extend(
            members
                .filter(|(_, member)| wanted(member))
                .map(|(place, _)| *place),
        );
    }
}
