//! A set of topic filters used as an allow list.
//!
//! The filters are stored as a tree of levels, so a lookup costs about the same for ten patterns
//! and for ten thousand.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Level, TopicFilter};

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
    /// A pattern has `#` here.
    rest: bool,
    /// A pattern ends here.
    end: bool,
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
        let mut at = ROOT;
        for level in pattern.levels() {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else {
                return;
            };
            at = match level {
                Level::Rest => {
                    node.rest = true;
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
            node.end = true;
        }
    }

    /// Whether a pattern matches `topic`, which must be valid.
    pub fn allows_topic(&self, topic: &str) -> bool {
        !topic.is_empty() && self.covers(topic.split('/').map(Level::Literal))
    }

    /// Whether a single pattern covers `filter`: see [`TopicFilter::covers`].
    pub fn allows_filter(&self, filter: &TopicFilter) -> bool {
        self.covers(filter.levels())
    }

    /// Matches all patterns at once, level by level; each node is visited at most once.
    fn covers<'a>(&self, mut levels: impl Iterator<Item = Level<'a>>) -> bool {
        let mut at = ROOT;
        let mut first = true;
        while let Some(node) = self.nodes.get(at) {
            let Some(level) = levels.next() else {
                return node.end || node.rest;
            };
            if node.rest {
                return true;
            }
            at = match node.fits(level, first) {
                (Some(one), None) | (None, Some(one)) => one,
                (Some(literal), Some(any)) => return self.one_covers([literal, any], levels),
                (None, None) => return false,
            };
            first = false;
        }
        false
    }

    /// Like `covers`, with two candidate nodes, because a pattern has `+` at this level.
    fn one_covers<'a>(&self, here: [usize; 2], levels: impl Iterator<Item = Level<'a>>) -> bool {
        let mut here: SmallVec<[usize; 8]> = SmallVec::from_slice(&here);
        let mut next = SmallVec::new();
        for level in levels {
            for node in here.drain(..).filter_map(|index| self.nodes.get(index)) {
                if node.rest {
                    return true;
                }
                let (literal, any) = node.fits(level, false);
                next.extend(literal.into_iter().chain(any));
            }
            std::mem::swap(&mut here, &mut next);
            if here.is_empty() {
                return false;
            }
        }
        here.iter()
            .filter_map(|index| self.nodes.get(*index))
            .any(|node| node.end || node.rest)
    }
}
