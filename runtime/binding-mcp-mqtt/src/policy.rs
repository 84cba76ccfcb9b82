//! Which topics an operation may access: the entries of one option, for one caller.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_options::{TopicAccess, TopicEntry, TopicRequest};
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, is_reserved};

/// Added to a refusal if no patterns are configured.
const RESERVED: &str = "Topics that begin with '$' are reserved for the broker; only a pattern in the \
                        config that starts with the same level, such as '$SYS/#', allows them.";

/// Why a shared subscription is refused if the config does not allow them.
pub(crate) const SHARED: &str = "shared subscriptions are disabled (sharedSubscriptions), because they \
                                 take messages from the other subscribers of the group";

/// Number of patterns that a refusal lists.
const NAMED: usize = 10;

/// The entries of `options.subscribe` or `options.publish`, or their absence.
///
/// A topic that begins with `$` is allowed only by a pattern that names its first level: no wildcard
/// matches it, and the absence of patterns does not allow it. Brokers are administered through such
/// topics (`$CONTROL`), report on all their clients there (`$SYS`), and use them to publish to other
/// topics (`$delayed/5/a`).
#[derive(Debug)]
pub(crate) struct Policy {
    patterns: Option<Patterns>,
}

#[derive(Debug)]
struct Patterns {
    access: TopicAccess,
    /// The allowed patterns, as a sentence for refusals, if they are the same for every caller.
    named: Option<String>,
}

impl Policy {
    pub(crate) fn new(entries: Option<&[TopicEntry]>) -> Self {
        let patterns = entries.map(|entries| {
            let access = TopicAccess::new(entries.to_vec());
            let named = (!access.depends_on_caller()).then(|| named(&access, None));
            Patterns { access, named }
        });
        Self { patterns }
    }

    /// The policy for a caller.
    pub(crate) const fn of<'a>(&'a self, caller: Option<&'a Identity>) -> CallerPolicy<'a> {
        CallerPolicy {
            policy: self,
            caller,
        }
    }

    /// Whether what it allows depends on the caller.
    pub(crate) fn depends_on_caller(&self) -> bool {
        let patterns = self.patterns.as_ref();
        patterns.is_some_and(|it| it.access.depends_on_caller())
    }
}

/// What a caller may access.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerPolicy<'a> {
    policy: &'a Policy,
    caller: Option<&'a Identity>,
}

impl<'a> CallerPolicy<'a> {
    fn access(self) -> Option<&'a TopicAccess> {
        self.policy.patterns.as_ref().map(|it| &it.access)
    }

    /// Whether a valid topic name is allowed.
    pub(crate) fn allows_topic(self, topic: &str) -> bool {
        match self.access() {
            Some(access) => access.allows(self.caller, TopicRequest::Topic(topic)),
            None => !is_reserved(topic),
        }
    }

    /// Whether every topic that a filter can match is allowed.
    pub(crate) fn allows_filter(self, filter: &TopicFilter) -> bool {
        match self.access() {
            Some(access) => access.allows(self.caller, TopicRequest::Filter(filter)),
            None => !is_reserved(filter.inner()),
        }
    }

    /// Whether what is allowed depends on the caller.
    pub(crate) fn depends_on_caller(self) -> bool {
        self.policy.depends_on_caller()
    }

    /// Whether anything is allowed.
    pub(crate) fn allows_any(self) -> bool {
        let access = self.access();
        access.is_none_or(|access| access.allows_any(self.caller))
    }

    /// Whether the caller could ask for scopes that allow something.
    pub(crate) fn could_step_up(self) -> bool {
        let access = self.access();
        access.is_some_and(|access| access.could_step_up(self.caller))
    }

    /// The scopes that would allow what is asked for, if the caller can ask for them.
    pub(crate) fn step_up(self, request: TopicRequest<'_>) -> Option<&'a [String]> {
        self.access()?.step_up(self.caller, request)
    }

    /// The entry of the option that allows what is asked for, as an index.
    pub(crate) fn rule(self, request: TopicRequest<'_>) -> Option<usize> {
        self.access()?.rule(self.caller, request)
    }

    /// The patterns of the caller, in the order of the option; none if the option is absent.
    pub(crate) fn filters(self) -> impl Iterator<Item = Cow<'a, TopicFilter>> {
        let access = self.access().into_iter();
        access.flat_map(move |access| access.filters(self.caller))
    }

    /// What is allowed, as a sentence to append to a refusal.
    pub(crate) fn sentence(self) -> Cow<'a, str> {
        match &self.policy.patterns {
            None => Cow::Borrowed(RESERVED),
            Some(patterns) => match &patterns.named {
                Some(named) => Cow::Borrowed(named),
                None => Cow::Owned(named(&patterns.access, self.caller)),
            },
        }
    }

    /// The topic with its first level in the case that the patterns use, if they use exactly one other
    /// case: clients' URL types take that level for a host and may lower-case it.
    pub(crate) fn in_other_case(self, topic: &str) -> Option<ByteString> {
        let (first, rest) = match topic.find('/') {
            Some(slash) => topic.split_at(slash),
            None => (topic, ""),
        };
        let spelling = self.access()?.other_case(self.caller, first)?;
        Some(format!("{spelling}{rest}").into())
    }
}

/// The patterns of a caller as a sentence.
fn named(access: &TopicAccess, caller: Option<&Identity>) -> String {
    let mut sentence = String::new();
    let mut count = 0;
    for filter in access.filters(caller) {
        count += 1;
        if count <= NAMED {
            let comma = if count > 1 { ", " } else { "Allowed topics: " };
            let _ = write!(sentence, "{comma}{filter}");
        }
    }
    if count == 0 {
        return "No topics are allowed.".to_owned();
    }
    if count > NAMED {
        let _ = write!(sentence, " and {} more", count - NAMED);
    }
    sentence.push('.');
    sentence
}
