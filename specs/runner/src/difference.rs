//! A difference between a line of a script and the actual frame, and its position in the line.

use std::fmt;

use crate::lexer::blanks;
use crate::statement::{Item, head, item};

/// Position in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// The whole line.
    Line,
    /// A field, by name.
    Field(String),
    /// The payload.
    Payload,
}

/// A line that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    what: String,
    position: Position,
}

impl Difference {
    pub(crate) fn of_field(name: &str, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            position: Position::Field(name.to_owned()),
        }
    }

    pub(crate) fn of_payload(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            position: Position::Payload,
        }
    }

    /// Byte offset in the text of the line; `None` for the whole line.
    pub(crate) fn offset_in(&self, text: &str) -> Option<usize> {
        if self.position == Position::Line {
            return None;
        }
        let body = text.trim_start().strip_prefix(['<', '>'])?;
        let (mut rest, _) = head(body).ok()?;
        loop {
            let (behind, _) = blanks(rest).ok()?;
            let (after, found) = item(behind).ok()?;
            let is_it = match (&found, &self.position) {
                (Item::Field(name, _), Position::Field(expected)) => {
                    name.eq_ignore_ascii_case(expected)
                }
                (Item::Payload(_), Position::Payload) => true,
                _ => false,
            };
            if is_it {
                return Some(text.len() - behind.len());
            }
            rest = after;
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<String> for Difference {
    fn from(what: String) -> Self {
        Self {
            what,
            position: Position::Line,
        }
    }
}

impl From<&str> for Difference {
    fn from(what: &str) -> Self {
        what.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_the_offset_of_its_item_on_continued_lines() {
        let text = "< mqtt.1' data  format=TEXT\n  topic=\"a b=c\"\n  qos=1 {\"qos\": 2}";
        let at = |difference: &Difference| difference.offset_in(text).map(|at| &text[at..]);
        let field = |name: &str| at(&Difference::of_field(name, ""));
        assert_eq!(field("qos"), Some("qos=1 {\"qos\": 2}"));
        assert_eq!(field("topic").map(|rest| &rest[..6]), Some("topic="));
        assert_eq!(at(&Difference::of_payload("")), Some("{\"qos\": 2}"));
        assert_eq!(field("retain"), None);
        assert_eq!(at(&Difference::from("")), None);
    }
}
