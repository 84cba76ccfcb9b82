//! Topic names and filters (MQTT 5.0, 4.7 and 4.8.2): validation, matching and covering.
//!
//! All functions accept any UTF-8 without panicking and without recursion. Names and filters are
//! compared byte for byte: case matters, empty levels count, and nothing is normalised.

mod limits;
mod patterns;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use bytestring::ByteString;
use thiserror::Error;

pub use limits::TopicLimits;
pub use patterns::TopicPatterns;
pub use template::{TemplateError, TopicTemplate};

use super::text::{ForbiddenCharacter, check_characters};

/// Maximum length of a topic name or filter, in bytes of UTF-8 (MQTT 5.0, 4.7.3).
pub const TOPIC_LENGTH_MAX: usize = 65_535;

const SHARE: &str = "$share/";

/// Why a text is not a valid topic name or topic filter. Each message completes a sentence such as
/// `invalid topic 'a': …` and says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TopicError {
    /// The text is empty.
    #[error("it is empty; write at least one character")]
    Empty,
    /// Longer than 65,535 bytes.
    #[error("it is {length} bytes long and at most 65535 are allowed; shorten it")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// Longer than [`TopicLimits`] allow.
    #[error(
        "it is {length} bytes long and at most {limit} are allowed (maxTopicLength); shorten it"
    )]
    OverLength {
        /// Length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// More levels than [`TopicLimits`] allow.
    #[error("it has {levels} levels and at most {limit} are allowed (maxTopicLevels); use fewer")]
    OverLevels {
        /// Number of levels.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// A control character or a noncharacter.
    #[error("it contains {0}; remove it")]
    Character(ForbiddenCharacter),
    /// A wildcard in a topic name.
    #[error("the wildcard '{0}' is only allowed in a topic filter; name one concrete topic")]
    WildcardInName(char),
    /// A wildcard next to other characters in a level.
    #[error("the wildcard '{0}' must stand alone between slashes; write it as a whole level")]
    WildcardInLevel(char),
    /// `#` before the last level.
    #[error("the wildcard '#' must be the last level; remove what follows it or use '+'")]
    RestNotLast,
    /// `$share/` without a valid share name and filter.
    #[error(
        "a shared subscription is written '$share/NAME/FILTER', NAME being at least one character \
         without '/', '+' and '#', and FILTER not being empty"
    )]
    Share,
}

/// Checks that `name` is a valid topic name, to which messages can be published.
pub fn check_name(name: &str) -> Result<(), TopicError> {
    check_length(name)?;
    // Nearly every name: printable ASCII without '#' and '+'.
    if name
        .bytes()
        .all(|byte| matches!(byte, b'$'..=b'*' | b','..=b'~'))
    {
        return Ok(());
    }
    check_characters(name).map_err(TopicError::Character)?;
    match name.bytes().find(|byte| matches!(byte, b'+' | b'#')) {
        Some(wildcard) => Err(TopicError::WildcardInName(char::from(wildcard))),
        None => Ok(()),
    }
}

/// Whether a topic or filter begins with `$`. Such topics are reserved for the broker, and a
/// wildcard at the first level does not match them (MQTT 5.0, 4.7.2).
pub fn is_reserved(text: &str) -> bool {
    text.starts_with('$')
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        length if length > TOPIC_LENGTH_MAX => Err(TopicError::TooLong { length }),
        _ => Ok(()),
    }
}

fn check_filter(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.as_bytes().split(|byte| *byte == b'/');
    while let Some(level) = levels.next() {
        match level {
            b"#" if levels.next().is_some() => return Err(TopicError::RestNotLast),
            b"#" | b"+" => {}
            level => {
                if let Some(wildcard) = level.iter().find(|byte| matches!(byte, b'+' | b'#')) {
                    return Err(TopicError::WildcardInLevel(char::from(*wildcard)));
                }
            }
        }
    }
    Ok(())
}

/// One level of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level<'a> {
    /// Exactly this text.
    Literal(&'a str),
    /// `+`: any single level.
    Any,
    /// `#`: any number of levels, including none.
    Rest,
}

impl<'a> Level<'a> {
    fn of_filter(level: &'a str) -> Self {
        match level {
            "+" => Self::Any,
            "#" => Self::Rest,
            text => Self::Literal(text),
        }
    }

    /// Whether a wildcard at the first level does not match this level (MQTT 5.0, 4.7.2).
    fn is_hidden(self) -> bool {
        matches!(self, Self::Literal(text) if is_reserved(text))
    }
}

/// A valid topic filter, shared (`$share/NAME/FILTER`) or not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter {
    text: ByteString,
    /// Offset of the filter after `$share/NAME/`.
    start: usize,
    wildcards: bool,
}

impl TopicFilter {
    /// Parses a filter as used in SUBSCRIBE.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        check_length(&text)?;
        check_characters(&text).map_err(TopicError::Character)?;
        let start = match text.strip_prefix(SHARE) {
            None => 0,
            Some(rest) => match rest.split_once('/') {
                Some((name, inner))
                    if !name.is_empty() && !name.contains(['+', '#']) && !inner.is_empty() =>
                {
                    text.len() - inner.len()
                }
                _ => return Err(TopicError::Share),
            },
        };
        let inner = text.get(start..).unwrap_or_default();
        check_filter(inner)?;
        let wildcards = inner.bytes().any(|byte| matches!(byte, b'+' | b'#'));
        Ok(Self {
            text,
            start,
            wildcards,
        })
    }

    /// The text, including the share prefix.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, including the share prefix; a cheap clone.
    pub fn text(&self) -> ByteString {
        self.text.clone()
    }

    /// The filter without the share prefix.
    pub fn inner(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// The share name of a shared subscription.
    pub fn share_name(&self) -> Option<&str> {
        self.text
            .get(SHARE.len()..self.start.checked_sub(1)?)
            .filter(|_| self.is_shared())
    }

    /// Whether it is a shared subscription.
    pub const fn is_shared(&self) -> bool {
        self.start > 0
    }

    /// Whether the filter contains a wildcard; without one it matches a single topic.
    pub const fn has_wildcards(&self) -> bool {
        self.wildcards
    }

    /// Whether the filter matches `topic`, which must be valid: see [`check_name`].
    pub fn matches(&self, topic: &str) -> bool {
        if !self.wildcards {
            return self.inner() == topic;
        }
        !topic.is_empty() && covers(self.levels(), levels(topic).map(Level::Literal))
    }

    /// Whether this filter matches every topic that `other` matches. A shared subscription is
    /// compared by its inner filter.
    pub fn covers(&self, other: &Self) -> bool {
        covers(self.levels(), other.levels())
    }

    /// Whether some topic is matched by both filters. A shared subscription is compared by its
    /// inner filter.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.levels(), other.levels());
        let mut first = true;
        loop {
            let pair = (left.next(), right.next());
            match pair {
                (Some(Level::Literal(left)), Some(Level::Literal(right))) if left != right => {
                    return false;
                }
                (Some(Level::Literal(_)), Some(Level::Literal(_))) => {}
                (Some(left), Some(right)) if first && (left.is_hidden() || right.is_hidden()) => {
                    return false;
                }
                (Some(Level::Rest), _) | (_, Some(Level::Rest)) | (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(_), Some(_)) => {}
            }
            first = false;
        }
    }

    /// The levels in canonical form: since no topic is empty, `#` requires at least one level and
    /// `/#` at least two.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Level<'_>> + Clone {
        let exact = match self.inner() {
            "#" => "+/#",
            "/#" => "/+/#",
            inner => inner,
        };
        levels(exact).map(Level::of_filter)
    }
}

/// The levels of a topic or a filter.
///
/// ```
/// use tidegate_streams::mqtt::topic::levels;
///
/// assert!(levels("line/4//speed").eq(["line", "4", "", "speed"]));
/// ```
pub const fn levels(text: &str) -> Levels<'_> {
    Levels { rest: Some(text) }
}

/// The iterator of [`levels`]. A level is short, so its end is looked for byte by byte: `str::split` prepares a
/// search for each, which takes longer.
#[derive(Debug, Clone)]
pub struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let end = rest.bytes().position(|it| it == b'/');
        let Some((level, tail)) = end.and_then(|end| rest.split_at_checked(end)) else {
            self.rest = None;
            return Some(rest);
        };
        self.rest = tail.get(1..);
        Some(level)
    }
}

/// Whether `outer` matches every topic that `inner` matches.
///
/// Comparing level by level is exact: the number of possible texts is infinite, so no finite set of
/// literals is equivalent to a wildcard.
fn covers<'a>(
    mut outer: impl Iterator<Item = Level<'a>>,
    mut inner: impl Iterator<Item = Level<'a>>,
) -> bool {
    let mut first = true;
    loop {
        let same = match (outer.next(), inner.next()) {
            (Some(Level::Rest), _) | (None, None) => return true,
            (Some(Level::Literal(outer)), Some(Level::Literal(inner))) => outer == inner,
            (Some(Level::Any), Some(Level::Literal(inner))) => !(first && is_reserved(inner)),
            (Some(Level::Any), Some(Level::Any)) => true,
            _ => false,
        };
        if !same {
            return false;
        }
        first = false;
    }
}

impl FromStr for TopicFilter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::parse(text)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
