//! What differs between a line of a script and what came out, and where in the line it stands.

use std::fmt;

use crate::lexer::blanks;
use crate::said::{Item, head, item};

/// Where in a line something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere in particular.
    Line,
    /// At the field of this name.
    Field(String),
    /// At the payload.
    Payload,
}

/// A line that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    what: String,
    place: Place,
}

impl Difference {
    pub(crate) fn of_field(name: &str, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            place: Place::Field(name.to_owned()),
        }
    }

    pub(crate) fn of_payload(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            place: Place::Payload,
        }
    }

    /// Where in the text of the line it stands, in bytes.
    pub(crate) fn offset_in(&self, text: &str) -> Option<usize> {
        if self.place == Place::Line {
            return None;
        }
        let body = text.trim_start().strip_prefix(['<', '>'])?;
        let (mut rest, _) = head(body).ok()?;
        loop {
            let (behind, _) = blanks(rest).ok()?;
            let (after, found) = item(behind).ok()?;
            let is_it = match (&found, &self.place) {
                (Item::Field(name, _), Place::Field(wanted)) => name.eq_ignore_ascii_case(wanted),
                (Item::Payload(_), Place::Payload) => true,
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
            place: Place::Line,
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
    fn a_difference_stands_at_its_item_wherever_the_line_goes_on() {
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
