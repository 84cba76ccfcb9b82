//! Which topics an operation may reach: the patterns of one option.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_streams::mqtt::topic::{TopicFilter, TopicPatterns, is_reserved};

use crate::options::TopicPattern;

/// What is refused where there are no patterns.
const RESERVED: &str = "Topics that begin with '$' belong to the broker and need a pattern in the \
                        config that names them, such as '$SYS/#'.";

/// Why a shared subscription is refused where the config does not allow them.
pub(crate) const SHARED: &str = "a shared subscription takes messages away from the other subscribers \
                                 of its group, which the config does not allow (sharedSubscriptions)";

/// How many patterns a refusal names.
const NAMED: usize = 10;

/// The patterns of `options.subscribe` or `options.publish`, or their absence.
///
/// A topic that begins with `$` is reached by a pattern that names its first level alone: no wildcard
/// matches it, and neither does the absence of patterns. Brokers are administered through such topics
/// (`$CONTROL`), tell about all their clients there (`$SYS`), and publish to other topics by them
/// (`$delayed/5/a`).
#[derive(Debug)]
pub(crate) struct Policy {
    patterns: Option<Patterns>,
}

#[derive(Debug)]
struct Patterns {
    set: TopicPatterns,
    /// The patterns a refusal names.
    named: String,
    /// First levels that are no wildcards, by their lower-case form.
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

    /// Whether a legal topic name may be reached.
    pub(crate) fn allows_topic(&self, topic: &str) -> bool {
        match &self.patterns {
            Some(patterns) => patterns.set.allows_topic(topic),
            None => !is_reserved(topic),
        }
    }

    /// Whether everything that a filter can match may be reached.
    pub(crate) fn allows_filter(&self, filter: &TopicFilter) -> bool {
        match &self.patterns {
            Some(patterns) => patterns.set.allows_filter(filter),
            None => !is_reserved(filter.inner()),
        }
    }

    /// What is allowed, as a sentence behind a refusal.
    pub(crate) fn sentence(&self) -> &str {
        self.patterns.as_ref().map_or(RESERVED, |it| &it.named)
    }

    /// The topic with its first level in the case of the patterns, where they spell it in exactly
    /// one other case: clients' URL types take that level for a host and may lower-case it.
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
        return "No topic is allowed.".to_owned();
    }
    let mut sentence = "Allowed is what these patterns match: ".to_owned();
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
