//! Which topics an operation may access: the patterns of one option.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_streams::mqtt::topic::{TopicFilter, TopicPatterns, is_reserved};

use crate::options::TopicPattern;

/// Added to a refusal if no patterns are configured.
const RESERVED: &str = "Topics that begin with '$' are reserved for the broker; only a pattern in the \
                        config that starts with the same level, such as '$SYS/#', allows them.";

/// Why a shared subscription is refused if the config does not allow them.
pub(crate) const SHARED: &str = "shared subscriptions are disabled (sharedSubscriptions), because they \
                                 take messages from the other subscribers of the group";

/// Number of patterns that a refusal lists.
const NAMED: usize = 10;

/// The patterns of `options.subscribe` or `options.publish`, or their absence.
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
    set: TopicPatterns,
    /// The allowed patterns, as a sentence for refusals.
    named: String,
    /// First levels without wildcards, by their lower-case form.
    first_levels: BTreeMap<String, Vec<Box<str>>>,
}

impl Policy {
    pub(crate) fn new(patterns: Option<&[TopicPattern]>) -> Self {
        let patterns = patterns.map(|patterns| Patterns {
            set: TopicPatterns::new(patterns.iter().map(TopicPattern::filter)),
            named: named(patterns),
            first_levels: first_levels(patterns),
        });
        Self { patterns }
    }

    /// Whether a valid topic name is allowed.
    pub(crate) fn allows_topic(&self, topic: &str) -> bool {
        match &self.patterns {
            Some(patterns) => patterns.set.allows_topic(topic),
            None => !is_reserved(topic),
        }
    }

    /// Whether every topic that a filter can match is allowed.
    pub(crate) fn allows_filter(&self, filter: &TopicFilter) -> bool {
        match &self.patterns {
            Some(patterns) => patterns.set.allows_filter(filter),
            None => !is_reserved(filter.inner()),
        }
    }

    /// What is allowed, as a sentence to append to a refusal.
    pub(crate) fn sentence(&self) -> &str {
        self.patterns.as_ref().map_or(RESERVED, |it| &it.named)
    }

    /// The topic with its first level in the case that the patterns use, if they use exactly one other
    /// case: clients' URL types take that level for a host and may lower-case it.
    pub(crate) fn in_other_case(&self, topic: &str) -> Option<ByteString> {
        let patterns = self.patterns.as_ref()?;
        let (first, rest) = match topic.find('/') {
            Some(slash) => topic.split_at(slash),
            None => (topic, ""),
        };
        let mut others = patterns
            .first_levels
            .get(&first.to_lowercase())?
            .iter()
            .filter(|spelling| spelling.as_ref() != first);
        match (others.next(), others.next()) {
            (Some(spelling), None) => Some(format!("{spelling}{rest}").into()),
            _ => None,
        }
    }
}

fn named(patterns: &[TopicPattern]) -> String {
    if patterns.is_empty() {
        return "No topics are allowed.".to_owned();
    }
    let mut sentence = "Allowed topics: ".to_owned();
    for (index, pattern) in patterns.iter().take(NAMED).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(sentence, "{comma}{}", pattern.filter());
    }
    if patterns.len() > NAMED {
        let _ = write!(sentence, " and {} more", patterns.len() - NAMED);
    }
    sentence.push('.');
    sentence
}

fn first_levels(patterns: &[TopicPattern]) -> BTreeMap<String, Vec<Box<str>>> {
    let mut levels: BTreeMap<String, Vec<Box<str>>> = BTreeMap::new();
    for pattern in patterns {
        let first = pattern.filter().inner().split('/').next();
        let Some(first) = first.filter(|level| !matches!(*level, "+" | "#")) else {
            continue;
        };
        let spellings = levels.entry(first.to_lowercase()).or_default();
        if !spellings.iter().any(|spelling| spelling.as_ref() == first) {
            spellings.push(first.into());
        }
    }
    levels
}
