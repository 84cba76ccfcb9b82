//! A set of topic filters used as an allow list, or to find the entries that a topic belongs to.
//!
//! The filters are stored as a tree of levels, so a lookup costs about the same for ten patterns
//! and for ten thousand.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Level, TopicFilter, levels};

/// An allow list of topic filters. Shared subscriptions count as their inner filter.
#[derive(Debug, Clone)]
pub struct TopicPatterns {
    /// The root, followed by all other nodes; a parent precedes its children.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted, not hashed: a lookup costs a few comparisons, and no topic from outside can raise
    /// that cost.
    literals: BTreeMap<Box<str>, usize>,
    any: Option<usize>,
    /// The entries whose pattern has `#` here.
    rest: SmallVec<[usize; 1]>,
    /// The entries whose pattern ends here.
    end: SmallVec<[usize; 1]>,
}

impl Node {
    /// The child nodes that match a level: the literal one and that of `+`.
    fn fits(&self, level: Level<'_>, first: bool) -> (Option<usize>, Option<usize>) {
        match level {
            Level::Literal(text) => (
                self.literals.get(text).copied(),
                self.any.filter(|_| !(first && level.is_hidden())),
            ),
            Level::Any => (None, self.any),
            Level::Rest => (None, None),
        }
    }
}

const ROOT: usize = 0;

impl Default for TopicPatterns {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl TopicPatterns {
    /// Creates a set of patterns; an empty set allows nothing.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a TopicFilter>) -> Self {
        let mut set = Self::default();
        for pattern in patterns {
            set.insert(pattern);
        }
        set
    }

    /// Adds a pattern.
    pub fn insert(&mut self, pattern: &TopicFilter) {
        self.insert_entry(pattern, 0);
    }

    /// Adds the pattern of an entry, which [`matching`](Self::matching) returns as this index.
    pub fn insert_entry(&mut self, pattern: &TopicFilter, index: usize) {
        let mut at = ROOT;
        for level in pattern.levels() {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else {
                return;
            };
            at = match level {
                Level::Rest => {
                    add(&mut node.rest, index);
                    return;
                }
                Level::Any => *node.any.get_or_insert(next),
                Level::Literal(text) => match node.literals.get(text) {
                    Some(child) => *child,
                    None => *node.literals.entry(text.into()).or_insert(next),
                },
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            add(&mut node.end, index);
        }
    }

    /// The entries whose pattern matches `topic`, which must be valid, in no particular order.
    pub fn matching(&self, topic: &str) -> SmallVec<[usize; 4]> {
        let mut indexes = SmallVec::new();
        let mut untried = SmallVec::<[_; 4]>::new();
        let levels = levels(topic).map(Level::Literal);
        untried.push((ROOT, levels, true));
        while let Some((at, mut levels, first)) = untried.pop() {
            let Some(node) = self.nodes.get(at) else {
                continue;
            };
            let level = levels.next();
            let hidden = first && level.is_some_and(Level::is_hidden);
            if !hidden {
                indexes.extend_from_slice(&node.rest);
            }
            let Some(level) = level else {
                indexes.extend_from_slice(&node.end);
                continue;
            };
            let (literal, any) = node.fits(level, first);
            for next in literal.into_iter().chain(any) {
                untried.push((next, levels.clone(), false));
            }
        }
        indexes
    }

    /// Whether a pattern matches `topic`, which must be valid.
    pub fn allows_topic(&self, topic: &str) -> bool {
        !topic.is_empty() && self.covers(levels(topic).map(Level::Literal))
    }

    /// Whether a single pattern covers `filter`: see [`TopicFilter::covers`].
    pub fn allows_filter(&self, filter: &TopicFilter) -> bool {
        self.covers(filter.levels())
    }

    /// Follows the literal levels, and returns to each `+` passed on the way, so that each node is
    /// visited at most once.
    fn covers<'a>(&self, levels: impl Iterator<Item = Level<'a>> + Clone) -> bool {
        let mut first = true;
        let mut untried = SmallVec::<[_; 4]>::new();
        let mut path = Some((ROOT, levels));
        while let Some((mut at, mut levels)) = path {
            while let Some(node) = self.nodes.get(at) {
                if !node.rest.is_empty() {
                    return true;
                }
                let Some(level) = levels.next() else {
                    if !node.end.is_empty() {
                        return true;
                    }
                    break;
                };
                let (literal, any) = node.fits(level, first);
                first = false;
                if let (Some(_), Some(any)) = (literal, any) {
                    untried.push((any, levels.clone()));
                }
                let Some(next) = literal.or(any) else { break };
                at = next;
            }
            path = untried.pop();
        }
        false
    }
}

fn add(indexes: &mut SmallVec<[usize; 1]>, index: usize) {
    if !indexes.contains(&index) {
        indexes.push(index);
    }
}
