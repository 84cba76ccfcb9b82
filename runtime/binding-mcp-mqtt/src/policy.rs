//! Which topics an operation may access: the entries of one option, for one caller.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_options::{TopicAccess, TopicRequest};
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, is_reserved};

use crate::catalog::{Catalog, Entry};
use crate::options::Permissions;

/// Added to a refusal if no patterns are configured.
const RESERVED: &str = "Topics that begin with '$' are reserved for the broker; only a pattern in the \
                        config that starts with the same level, such as '$SYS/#', allows them.";

/// Why a shared subscription is refused if the config does not allow them.
pub(crate) const SHARED: &str = "shared subscriptions are disabled (sharedSubscriptions), because they \
                                 take messages from the other subscribers of the group";

/// Number of patterns that a refusal lists.
const NAMED: usize = 10;

/// The entries of `subscribe` or `publish`, and those of `topics` with that permission, or their absence.
///
/// A topic that begins with `$` is allowed only by a pattern that names its first level: no wildcard
/// matches it, and the absence of patterns does not allow it. Brokers are administered through such
/// topics (`$CONTROL`), report on all their clients there (`$SYS`), and use them to publish to other
/// topics (`$delayed/5/a`).
#[derive(Debug)]
pub(crate) struct Policy {
    /// `subscribe` or `publish`.
    option: &'static str,
    patterns: Option<Patterns>,
    /// The names of levels, as placeholders: the index of the level, and the name in braces.
    placeholders: Vec<(usize, String)>,
}

#[derive(Debug)]
struct Patterns {
    access: TopicAccess,
    /// The places of the entries in the options, such as `topics.0`.
    places: Vec<String>,
    /// The levels of the entries that have a name.
    levels: Vec<Vec<NamedLevel>>,
    /// The allowed patterns, as a sentence for refusals, if they are the same for every caller.
    named: Option<String>,
}

/// A level of a pattern that has a name.
#[derive(Debug)]
pub(crate) struct NamedLevel {
    index: usize,
    /// It stands for all levels that follow, too.
    rest: bool,
}

impl NamedLevel {
    fn new((index, name): (usize, &str)) -> Self {
        let rest = name.starts_with("{+");
        Self { index, rest }
    }

    /// Whether the level of a topic is a value of the name.
    pub(crate) const fn names(&self, index: usize) -> bool {
        index == self.index || (self.rest && index > self.index)
    }
}

impl Policy {
    /// The entries of the catalog with a permission. `open`: the options list no topics at all.
    pub(crate) fn new(
        option: &'static str,
        catalog: &Catalog,
        permissions: Permissions,
        open: bool,
    ) -> Self {
        let mut placeholders = Vec::new();
        let mut entries = Vec::new();
        let mut places = Vec::new();
        let mut levels = Vec::new();
        for Entry { place, topic } in catalog.with(permissions) {
            for (index, name) in topic.pattern.names() {
                let placeholder = (index, name.to_owned());
                if !placeholders.contains(&placeholder) {
                    placeholders.push(placeholder);
                }
            }
            entries.push(topic.entry());
            places.push(place.clone());
            levels.push(topic.pattern.names().map(NamedLevel::new).collect());
        }
        let patterns = (!open).then(|| {
            let access = TopicAccess::new(entries);
            let named = (!access.depends_on_caller()).then(|| named(&access, None));
            Patterns {
                access,
                places,
                levels,
                named,
            }
        });
        Self {
            option,
            patterns,
            placeholders,
        }
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

    /// The entry that allows what is asked for: its place in the options, and its pattern.
    pub(crate) fn rule(self, request: TopicRequest<'_>) -> Option<(&'a str, &'a str)> {
        let patterns = self.policy.patterns.as_ref()?;
        let index = patterns.access.rule(self.caller, request)?;
        let entry = patterns.access.entries().get(index)?;
        Some((patterns.places.get(index)?, entry.pattern.text()))
    }

    /// The levels with a name of the entry that allows what is asked for.
    pub(crate) fn named_levels(self, request: TopicRequest<'_>) -> &'a [NamedLevel] {
        let named = || {
            let patterns = self.policy.patterns.as_ref()?;
            let index = patterns.access.rule(self.caller, request)?;
            patterns.levels.get(index)
        };
        named().map_or(&[], Vec::as_slice)
    }

    /// The option that it is made of: `subscribe` or `publish`.
    pub(crate) const fn option(self) -> &'static str {
        self.policy.option
    }

    /// A name in braces that a topic contains where the config names a level: most likely it was left in
    /// a template.
    pub(crate) fn placeholder(self, topic: &str) -> Option<&'a str> {
        if self.policy.placeholders.is_empty() || !topic.contains('{') {
            return None;
        }
        let mut placeholders = self.policy.placeholders.iter();
        let is_at = |index: &usize, name: &str| topic.split('/').nth(*index) == Some(name);
        let found = placeholders.find(|(index, name)| is_at(index, name));
        found.map(|(_, name)| name.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_level_and_a_last_one_for_all_that_follow() {
        let levels = |name| {
            let level = NamedLevel::new((2, name));
            [1, 2, 3, 4].map(|index| level.names(index))
        };
        assert_eq!(levels("{room}"), [false, true, false, false]);
        assert_eq!(levels("{+rest}"), [false, true, true, true]);
    }
}
