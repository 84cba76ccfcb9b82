//! A subscription: its members, and the SUBSCRIBE that was sent for each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_engine::streams::mqtt::topic::TopicFilter;

use super::{Answers, FilterRequest, Order, Recipient, Recipients};
use crate::codec::ReasonCode;

/// Maximum number of unanswered SUBSCRIBEs for one filter; further members wait and share the next.
pub(super) const UNANSWERED: usize = 4;
/// Number of generations whose identifiers are kept, besides those that a current member has
/// joined. Older identifiers could occur only in messages that the broker has delayed since.
pub(super) const GENERATIONS: usize = 64;

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberState {
    /// A SUBSCRIBE must be sent for it.
    New,
    /// The SUBSCRIBE of this generation has not been answered yet.
    Awaits(u64),
    Granted,
}

#[derive(Debug)]
struct Member {
    qos: u8,
    retained: bool,
    state: MemberState,
    /// The generation whose replay of retained messages it receives.
    joined: Option<u64>,
}

/// A SUBSCRIBE that was sent, with the members that wait for its answer or receive its replay.
#[derive(Debug)]
struct Generation {
    identifier: u32,
    /// The requested `QoS`.
    qos: u8,
    answered: bool,
    recipients: BTreeSet<Recipient>,
}

impl Generation {
    /// Whether it is answered and has no members; it stays so.
    fn is_spare(&self) -> bool {
        self.answered && self.recipients.is_empty()
    }
}

/// What the broker granted, and the `QoS` requested for it.
#[derive(Debug, Clone, Copy)]
struct Granted {
    asked: u8,
    code: ReasonCode,
}

/// The subscription to one filter.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) no_local: bool,
    pub(super) as_published: bool,
    /// The `QoS` of the next SUBSCRIBE.
    qos: u8,
    /// By number, in the order in which they were sent.
    generations: BTreeMap<u64, Generation>,
    last_generation: u64,
    /// Numbers of the spare generations, oldest first.
    spare: VecDeque<u64>,
    /// Number of unanswered generations.
    unanswered: usize,
    /// The grant of the newest successful SUBSCRIBE.
    granted: Option<Granted>,
    members: BTreeMap<Recipient, Member>,
    /// Members in the state `New`.
    newcomers: BTreeSet<Recipient>,
}

impl Subscription {
    pub(super) fn new(request: &FilterRequest) -> Self {
        Self {
            filter: request.filter.clone(),
            no_local: request.no_local,
            as_published: request.as_published,
            qos: request.qos,
            generations: BTreeMap::new(),
            last_generation: 0,
            spare: VecDeque::new(),
            unanswered: 0,
            granted: None,
            members: BTreeMap::new(),
            newcomers: BTreeSet::new(),
        }
    }

    /// Whether a SUBSCRIBE must be sent now.
    pub(super) fn is_due(&self) -> bool {
        !self.newcomers.is_empty() && self.unanswered < UNANSWERED
    }

    /// Whether it has no members.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the broker has granted it, or may still do so.
    pub(super) const fn may_be_granted(&self) -> bool {
        self.granted.is_some() || self.unanswered > 0
    }

    /// Whether a SUBSCRIBE was sent.
    pub(super) fn was_requested(&self) -> bool {
        !self.generations.is_empty()
    }

    /// The identifiers that messages may have.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = u32> {
        self.generations.values().map(|known| known.identifier)
    }

    /// Adds a stream. Returns the reason code if no SUBSCRIBE is needed.
    pub(super) fn join(
        &mut self,
        recipient: Recipient,
        request: &FilterRequest,
    ) -> Option<ReasonCode> {
        self.qos = self.qos.max(request.qos);
        let suffices = |asked: u8| !request.retained && asked >= request.qos;
        let granted = self.granted.filter(|granted| suffices(granted.asked));
        let newest = self.generations.last_entry();
        let newest = newest.filter(|newest| {
            let newest = newest.get();
            !newest.answered && suffices(newest.qos)
        });
        let (state, code) = match (granted, newest) {
            (Some(granted), _) => {
                let code = granted.code.min(ReasonCode(request.qos));
                (MemberState::Granted, Some(code))
            }
            (None, Some(mut newest)) => {
                newest.get_mut().recipients.insert(recipient);
                (MemberState::Awaits(*newest.key()), None)
            }
            (None, None) => {
                self.newcomers.insert(recipient);
                (MemberState::New, None)
            }
        };
        let member = Member {
            qos: request.qos,
            retained: request.retained,
            state,
            joined: None,
        };
        self.members.insert(recipient, member);
        code
    }

    /// Creates the SUBSCRIBE for the new members. Returns it with the number of its generation.
    pub(super) fn order(&mut self, identifier: u32) -> (Order, u64) {
        let recipients = std::mem::take(&mut self.newcomers);
        self.last_generation += 1;
        let number = self.last_generation;
        let mut replay = false;
        for recipient in &recipients {
            if let Some(member) = self.members.get_mut(recipient) {
                member.state = MemberState::Awaits(number);
                member.joined = member.retained.then_some(number);
                replay |= member.retained;
            }
        }
        self.unanswered += 1;
        let generation = Generation {
            identifier,
            qos: self.qos,
            answered: false,
            recipients,
        };
        self.generations.insert(number, generation);
        let order = Order {
            filter: self.filter.text(),
            identifier,
            qos: self.qos,
            no_local: self.no_local,
            as_published: self.as_published,
            replay,
        };
        (order, number)
    }

    /// Removes a spare generation if there are too many. Returns its identifier.
    pub(super) fn remove_spare_generation(&mut self) -> Option<u32> {
        if self.generations.len() <= GENERATIONS {
            return None;
        }
        let number = self.spare.pop_front()?;
        Some(self.generations.remove(&number)?.identifier)
    }

    /// The broker answered. Returns the members that waited, with the reason code of each. On an
    /// error, these members are removed.
    pub(super) fn answered(&mut self, number: u64, code: ReasonCode) -> Answers {
        let mut answers = Answers::new();
        let Some(generation) = self.generations.get_mut(&number) else {
            return answers;
        };
        if std::mem::replace(&mut generation.answered, true) {
            return answers;
        }
        self.unanswered -= 1;
        if !code.is_error() {
            let asked = generation.qos;
            // An answer that arrives out of order does not lower what was granted.
            if self.granted.is_none_or(|granted| granted.asked <= asked) {
                self.granted = Some(Granted { asked, code });
            }
        }
        let members = &mut self.members;
        generation.recipients.retain(|recipient| {
            let Some(member) = members.get_mut(recipient) else {
                return false;
            };
            if member.state == MemberState::Awaits(number) {
                if code.is_error() {
                    answers.push((*recipient, code));
                    members.remove(recipient);
                    return false;
                }
                answers.push((*recipient, code.min(ReasonCode(member.qos))));
                member.state = MemberState::Granted;
            }
            member.joined == Some(number)
        });
        if generation.is_spare() {
            self.spare.push_back(number);
        }
        answers
    }

    /// The connection was lost: no SUBSCRIBE will be answered any more.
    pub(super) fn forget_unanswered(&mut self) {
        self.unanswered = 0;
        for (number, generation) in &mut self.generations {
            if !std::mem::replace(&mut generation.answered, true) && generation.is_spare() {
                self.spare.push_back(*number);
            }
        }
    }

    /// Removes a stream. Returns whether it was a member.
    pub(super) fn remove_member(&mut self, recipient: Recipient) -> bool {
        let Some(member) = self.members.remove(&recipient) else {
            return false;
        };
        let number = match member.state {
            MemberState::New => {
                self.newcomers.remove(&recipient);
                return true;
            }
            MemberState::Awaits(number) => Some(number),
            MemberState::Granted => member.joined,
        };
        if let Some(number) = number
            && let Some(generation) = self.generations.get_mut(&number)
            && generation.recipients.remove(&recipient)
            && generation.is_spare()
            // After the last member, the whole subscription is removed.
            && !self.members.is_empty()
        {
            self.spare.push_back(number);
        }
        true
    }

    /// Adds the recipients of a message that has the identifier of this generation, or no
    /// identifier.
    pub(super) fn members_for(
        &self,
        number: Option<u64>,
        retain: bool,
        recipients: &mut Recipients,
    ) {
        let replay = retain && !self.as_published;
        if let Some(number) = number
            && replay
        {
            let generation = self.generations.get(&number);
            let joined = |recipient: &&Recipient| {
                let member = self.members.get(recipient);
                member.is_some_and(|member| member.joined == Some(number))
            };
            return recipients.extend(
                generation
                    .iter()
                    .flat_map(|it| &it.recipients)
                    .filter(joined)
                    .copied(),
            );
        }
        let wanted = |member: &Member| match number {
            Some(number) => {
                matches!(member.state, MemberState::Granted)
                    || member.state == MemberState::Awaits(number)
            }
            None => member.state != MemberState::New && (!replay || member.retained),
        };
        let members = self.members.iter();
        recipients.extend(
            members
                .filter(|(_, member)| wanted(member))
                .map(|(recipient, _)| *recipient),
        );
    }
}
