//! Which topics a caller may access: the entries of one list, compiled.
//!
//! Patterns with the same `guarded` share one tree, so that a decision costs a look-up in each tree that
//! the caller may use. Templates are compared one by one. Nothing is kept for a caller.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, TopicPatterns, TopicTemplate};

use crate::guarded::Guarded;
use crate::topic_entry::TopicEntry;

/// A compiled list of topic entries.
#[derive(Debug)]
pub struct TopicAccess {
    entries: Vec<TopicEntry>,
    groups: Vec<Group>,
    /// Indexes of the entries whose pattern depends on the caller.
    templates: Vec<usize>,
    guarded: bool,
}

/// The plain patterns with the same `guarded`.
#[derive(Debug)]
struct Group {
    guarded: Option<Guarded>,
    patterns: TopicPatterns,
    /// First levels without wildcards, by their lower-case form.
    first_levels: BTreeMap<String, Vec<Box<str>>>,
}

/// What is asked for: each topic of a filter, or one topic.
#[derive(Debug, Clone, Copy)]
pub enum TopicRequest<'a> {
    /// A valid topic name.
    Topic(&'a str),
    /// Every topic that a filter can match.
    Filter(&'a TopicFilter),
}

fn permits(guarded: Option<&Guarded>, caller: Option<&Identity>) -> bool {
    guarded.is_none_or(|guarded| guarded.permits(caller))
}

impl TopicAccess {
    /// Compiles a list.
    pub fn new(entries: Vec<TopicEntry>) -> Self {
        let mut access = Self {
            guarded: entries.iter().any(TopicEntry::depends_on_caller),
            groups: Vec::new(),
            templates: Vec::new(),
            entries: Vec::new(),
        };
        for (index, entry) in entries.iter().enumerate() {
            match entry.pattern.filter() {
                Some(filter) => access.insert(entry.guarded.as_ref(), filter),
                None => access.templates.push(index),
            }
        }
        access.entries = entries;
        access
    }

    fn insert(&mut self, guarded: Option<&Guarded>, filter: &TopicFilter) {
        let mut groups = self.groups.iter_mut();
        if let Some(group) = groups.find(|group| group.guarded.as_ref() == guarded) {
            return group.insert(filter);
        }
        let mut group = Group {
            guarded: guarded.cloned(),
            patterns: TopicPatterns::default(),
            first_levels: BTreeMap::new(),
        };
        group.insert(filter);
        self.groups.push(group);
    }

    /// Whether the decisions depend on the caller.
    pub const fn depends_on_caller(&self) -> bool {
        self.guarded
    }

    /// Whether a caller may access all that is asked for, by a single pattern.
    pub fn allows(&self, caller: Option<&Identity>, request: TopicRequest<'_>) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| {
            permits(group.guarded.as_ref(), caller) && request.is_allowed_by(&group.patterns)
        }) || self
            .own_templates(caller)
            .any(|(_, template)| request.is_allowed_by_template(template, caller))
    }

    /// The entry that allows what is asked for, as an index: the first in the list.
    pub fn rule(&self, caller: Option<&Identity>, request: TopicRequest<'_>) -> Option<usize> {
        let mut entries = self.entries.iter();
        entries.position(|entry| {
            permits(entry.guarded.as_ref(), caller) && request.is_covered(entry, caller)
        })
    }

    /// The entries of the list.
    pub fn entries(&self) -> &[TopicEntry] {
        &self.entries
    }

    /// Whether a caller may access anything.
    pub fn allows_any(&self, caller: Option<&Identity>) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| permits(group.guarded.as_ref(), caller))
            || self
                .own_templates(caller)
                .any(|(_, template)| template.filter(caller).is_some())
    }

    /// The filters that a caller may access, in the order of the list.
    pub fn filters<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> impl Iterator<Item = Cow<'a, TopicFilter>> {
        let entries = self.entries.iter();
        let own = entries.filter(move |entry| permits(entry.guarded.as_ref(), caller));
        own.filter_map(move |entry| entry.pattern.for_caller(caller))
    }

    /// The scopes that would allow what is asked for to a caller that can ask for them: the fewest, if
    /// several entries would.
    pub fn step_up(
        &self,
        caller: Option<&Identity>,
        request: TopicRequest<'_>,
    ) -> Option<&[String]> {
        let caller = caller.filter(|caller| caller.step_up)?;
        let entries = self.entries.iter();
        let scopes = entries.filter_map(|entry| {
            let scopes = entry.guarded.as_ref()?.step_up(caller)?;
            request.is_covered(entry, Some(caller)).then_some(scopes)
        });
        scopes.min_by_key(|scopes| scopes.len())
    }

    /// Whether some scope would allow the caller to access anything.
    pub fn could_step_up(&self, caller: Option<&Identity>) -> bool {
        let caller = caller.filter(|caller| caller.step_up);
        caller.is_some_and(|caller| {
            let mut guarded = self.entries.iter().filter_map(|it| it.guarded.as_ref());
            guarded.any(|guarded| guarded.step_up(caller).is_some())
        })
    }

    /// The only other spelling of a first level, in upper or lower case, that the caller's patterns have.
    pub fn other_case<'a>(&'a self, caller: Option<&'a Identity>, first: &str) -> Option<&'a str> {
        let lower = first.to_lowercase();
        let groups = self.groups.iter();
        let of_groups = groups
            .filter(|group| permits(group.guarded.as_ref(), caller))
            .filter_map(|group| group.first_levels.get(&lower))
            .flatten()
            .map(|spelling| &**spelling);
        let templates = self.own_templates(caller);
        let of_templates = templates
            .filter_map(|(_, template)| template.first_level(caller))
            .filter(|spelling| spelling.to_lowercase() == lower);
        let mut others = of_groups.chain(of_templates).filter(|it| *it != first);
        let spelling = others.next()?;
        others.all(|other| other == spelling).then_some(spelling)
    }

    fn own_templates<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> impl Iterator<Item = (usize, &'a TopicTemplate)> {
        let templates = self.templates.iter();
        templates.filter_map(move |index| {
            let entry = self.entries.get(*index)?;
            let template = entry.pattern.template()?;
            permits(entry.guarded.as_ref(), caller).then_some((*index, template))
        })
    }
}

impl Group {
    fn insert(&mut self, filter: &TopicFilter) {
        self.patterns.insert(filter);
        let first = filter.inner().split('/').next();
        let Some(first) = first.filter(|level| !matches!(*level, "+" | "#")) else {
            return;
        };
        let spellings = self.first_levels.entry(first.to_lowercase()).or_default();
        if !spellings.iter().any(|spelling| **spelling == *first) {
            spellings.push(first.into());
        }
    }
}

impl<'a> TopicRequest<'a> {
    /// The topic or the filter.
    pub fn text(self) -> &'a str {
        match self {
            Self::Topic(topic) => topic,
            Self::Filter(filter) => filter.as_str(),
        }
    }

    fn is_allowed_by(self, patterns: &TopicPatterns) -> bool {
        match self {
            Self::Topic(topic) => patterns.allows_topic(topic),
            Self::Filter(filter) => patterns.allows_filter(filter),
        }
    }

    fn is_allowed_by_template(self, template: &TopicTemplate, caller: Option<&Identity>) -> bool {
        match self {
            Self::Topic(topic) => template.allows_topic(caller, topic),
            Self::Filter(filter) => template.allows_filter(caller, filter),
        }
    }

    /// Whether the pattern of an entry covers it, whoever may use the entry.
    fn is_covered(self, entry: &TopicEntry, caller: Option<&Identity>) -> bool {
        match (entry.pattern.filter(), entry.pattern.template(), self) {
            (Some(pattern), _, Self::Topic(topic)) => pattern.matches(topic),
            (Some(pattern), _, Self::Filter(filter)) => pattern.covers(filter),
            (None, Some(template), request) => request.is_allowed_by_template(template, caller),
            (None, None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
