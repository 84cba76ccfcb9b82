//! The lines of an audit file and the chain that they form.
//!
//! A line is `{"seq":N,"prev":"…","time":"…","event":"…", … ,"hash":"…"}`. `hash` is the SHA-256 of
//! the text before it (up to the comma), and `prev` the `hash` of the line before, also across files;
//! so a change of any byte contradicts the line itself, and a removed, inserted or moved line its
//! neighbours. Lines are compared as bytes: there is one text for each content.

use std::fmt::Write as _;

use thiserror::Error;

use crate::hash::{DIGITS, Hash};
use crate::timestamp;

/// Longest line that is read. A writer's lines are shorter: all that they contain is bounded.
pub const LINE_MAX: usize = 16 * 1024 * 1024;
/// No line is shorter, with its line feed.
pub(crate) const LINE_MIN: u64 = {
    let names = SEQ.len() + PREV.len() + TIME.len() + EVENT.len() + HASH.len() + END.len();
    // A number and the line feed have a byte or more.
    (names + 2 * DIGITS + timestamp::LENGTH + 2) as u64
};

pub(crate) const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const TIME: &[u8] = b"\",\"time\":\"";
const EVENT: &[u8] = b"\",\"event\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

/// The end of a chain, from which the next line continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Number of the next line.
    pub(crate) next: u64,
    /// Hash of the last line.
    pub(crate) head: Hash,
}

impl Chain {
    /// The chain without a line.
    pub(crate) const START: Self = Self {
        next: 1,
        head: Hash::ZERO,
    };

    /// The next line, with its line feed, and the chain behind it. `members` are those between
    /// `event` and `hash`.
    pub(crate) fn line(&self, at: u64, event: &str, members: &str) -> (String, Self) {
        let mut line = String::with_capacity(members.len() + 256);
        let (time, comma) = (
            timestamp::text(at),
            if members.is_empty() { "" } else { "," },
        );
        let _ = write!(
            line,
            "{{\"seq\":{},\"prev\":\"{}\",\"time\":\"{time}\",\"event\":\"{event}\"{comma}{members}",
            self.next, self.head
        );
        let head = Hash::of(line.as_bytes());
        let _ = writeln!(line, ",\"hash\":\"{head}\"}}");
        let next = self.next.saturating_add(1);
        (line, Self { next, head })
    }
}

/// A line that agrees with its own hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, counted from 1 in the first file of the chain.
    pub seq: u64,
    /// The hash of the line before.
    pub prev: Hash,
    /// Its time, in microseconds since the Unix epoch.
    pub at: u64,
    /// The event that it records.
    pub event: &'a str,
    /// Its hash.
    pub hash: Hash,
}

/// Why a text is not a line of an audit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineFault {
    /// It does not have the form of a line.
    #[error("not a line of an audit file")]
    Malformed,
    /// It has the form, and contradicts its hash.
    #[error("the line was changed: its hash does not match")]
    Changed,
}

/// Reads a line, without its line feed.
pub fn parse(line: &[u8]) -> Result<Line<'_>, LineFault> {
    read(line)
        .ok_or(LineFault::Malformed)
        .and_then(|(found, text)| {
            let same = Hash::of(text) == found.hash;
            same.then_some(found).ok_or(LineFault::Changed)
        })
}

/// The parts of a line, and the text that is hashed.
fn read(line: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let tail = HASH.len() + DIGITS + END.len();
    let (text, tail) = line.split_at_checked(line.len().checked_sub(tail)?)?;
    let hash = tail.strip_prefix(HASH)?.strip_suffix(END)?;
    let rest = text.strip_prefix(SEQ)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(digits)?;
    // One text for each number: no leading zero.
    let seq: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if digits.first() == Some(&b'0') {
        return None;
    }
    let (prev, rest) = rest.strip_prefix(PREV)?.split_at_checked(DIGITS)?;
    let (time, rest) = rest
        .strip_prefix(TIME)?
        .split_at_checked(timestamp::LENGTH)?;
    let rest = rest.strip_prefix(EVENT)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let line = Line {
        seq,
        prev: Hash::parse(prev)?,
        at: timestamp::parse(std::str::from_utf8(time).ok()?)?,
        event: std::str::from_utf8(rest.get(..end)?).ok()?,
        hash: Hash::parse(hash)?,
    };
    Some((line, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_line_is_shorter_than_the_minimum() {
        let (line, _) = Chain::START.line(0, "", "");
        assert!(line.len() as u64 >= LINE_MIN);
    }

    #[test]
    fn a_line_continues_the_one_before() {
        let (first, chain) = Chain::START.line(0, "audit.opened", "");
        let (second, _) = chain.line(1_000_000, "call", r#""tool":"publish""#);
        let read = parse(second.trim_end().as_bytes()).expect("a line");
        assert_eq!((read.seq, read.event, read.at), (2, "call", 1_000_000));
        assert_eq!(
            read.prev,
            parse(first.trim_end().as_bytes()).expect("a line").hash
        );
        let json: serde_json::Value = serde_json::from_str(&second).expect("JSON");
        assert_eq!(json["tool"], "publish");
        assert_eq!(json["time"], "1970-01-01T00:00:01.000000Z");
        assert!(first.starts_with(&format!("{{\"seq\":1,\"prev\":\"{}\"", Hash::ZERO)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_change_of_a_byte_is_found(
            seq in 1_u64..u64::MAX,
            members in r#"("[a-z]{1,8}":"[ -!#-\[\]-~]{0,20}"){0,1}"#,
            place in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let chain = Chain { next: seq, head: Hash::of(b"before") };
            let (line, _) = chain.line(1_700_000_000_000_000, "call", &members);
            let mut bytes = line.trim_end().as_bytes().to_vec();
            prop_assert!(parse(&bytes).is_ok());
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            prop_assert!(parse(&bytes).is_err());
        }

        #[test]
        fn any_cut_is_found(place in any::<prop::sample::Index>()) {
            let (line, _) = Chain::START.line(0, "call", r#""tool":"publish""#);
            let bytes = line.trim_end().as_bytes();
            prop_assert!(parse(&bytes[..place.index(bytes.len())]).is_err());
        }
    }
}
