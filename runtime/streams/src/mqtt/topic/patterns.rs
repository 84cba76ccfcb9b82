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

    /// Follows the literal levels, and returns to each `+` passed on the way, so that each node is
    /// visited at most once.
    fn covers<'a>(&self, levels: impl Iterator<Item = Level<'a>> + Clone) -> bool {
        let mut first = true;
        let mut untried = SmallVec::<[_; 4]>::new();
        let mut path = Some((ROOT, levels));
        while let Some((mut at, mut levels)) = path {
            while let Some(node) = self.nodes.get(at) {
                if node.rest {
                    return true;
                }
                let Some(level) = levels.next() else {
                    if node.end {
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
