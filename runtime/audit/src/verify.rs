//! Checks the chain of a sequence of lines.
//!
//! The checker reads lines in the order of the files and reports what contradicts the chain: changed
//! lines, missing ones, lines in the wrong place, and an end that is not the one that was written.
//! After a fault it goes on with the next line, so a file with two faults has two findings.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::chain::{Line, LineFault, parse};
use crate::file::SEALED;
use crate::hash::Hash;

/// Most findings that are kept; further ones are counted.
const FINDINGS_MAX: usize = 100;
/// Most numbers of missing lines that are remembered, to recognise them in another place.
const MISSING_MAX: u64 = 100_000;

/// What contradicts the chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The line itself.
    #[error(transparent)]
    Line(LineFault),
    /// The file ends within a line.
    #[error("the file ends within a line: it was truncated, or the gateway crashed")]
    Torn,
    /// Lines are missing before this one.
    #[error("{count} lines are missing before line number {before}")]
    Missing {
        /// How many.
        count: u64,
        /// The number of the line that follows.
        before: u64,
    },
    /// A line in the wrong place.
    #[error("line number {0} is in the wrong place")]
    Misplaced(u64),
    /// A number that occurs twice.
    #[error("line number {0} occurs twice")]
    Duplicate(u64),
    /// A line that does not continue the one before.
    #[error("line number {0} does not continue the line before: a line was replaced")]
    Replaced(u64),
    /// A file other than the last one without a seal.
    #[error("the file is not sealed, although another one follows it: its end is missing")]
    NotSealed,
    /// No line has the hash that is known to be of one.
    #[error("no line has the hash {0}: lines at the end are missing, or the chain was rewritten")]
    NoHead(Hash),
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, by its index.
    pub file: usize,
    /// The line in the file, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of lines.
    pub lines: u64,
    /// Number of the first line: if it is not 1, the lines before were not checked.
    pub first: u64,
    /// Number of the last line.
    pub last: u64,
    /// Hash of the last line.
    pub head: Hash,
    /// The last line is a seal. If it is not, lines at the end may be missing.
    pub sealed: bool,
    /// The findings, in the order of the files.
    pub findings: Vec<Finding>,
    /// Number of findings beyond those.
    pub further: u64,
}

impl Report {
    /// Whether nothing contradicts the chain.
    pub const fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks lines in the order of their files.
#[derive(Debug)]
pub struct Verifier {
    /// A hash that one of the lines must have.
    head: Option<Hash>,
    file: usize,
    line: u64,
    /// The highest number so far, and the hash of its line if that is known.
    last: Option<(u64, Option<Hash>)>,
    missing: BTreeSet<u64>,
    report: Report,
}

impl Verifier {
    /// Checks that the lines continue each other, and that one of them has the hash `head`, if given.
    pub const fn new(head: Option<Hash>) -> Self {
        Self {
            head,
            file: 0,
            line: 0,
            last: None,
            missing: BTreeSet::new(),
            report: Report {
                lines: 0,
                first: 0,
                last: 0,
                head: Hash::ZERO,
                sealed: false,
                findings: Vec::new(),
                further: 0,
            },
        }
    }

    /// The lines that follow are of the next file.
    pub fn next_file(&mut self) {
        if !self.report.sealed {
            self.find(Fault::NotSealed);
        }
        self.file += 1;
        self.line = 0;
    }

    /// Checks a line, without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        self.line += 1;
        self.report.lines += 1;
        self.report.sealed = false;
        match parse(line) {
            Ok(line) => self.place(&line),
            Err(fault) => {
                self.find(Fault::Line(fault));
                // It stands for the line that should be here.
                self.last = self.last.map(|(last, _)| (last.saturating_add(1), None));
            }
        }
    }

    /// The file ends with half a line.
    pub fn torn(&mut self) {
        self.line += 1;
        self.report.sealed = false;
        self.find(Fault::Torn);
    }

    fn place(&mut self, line: &Line<'_>) {
        if self.head == Some(line.hash) {
            self.head = None;
        }
        match self.last {
            None if self.report.lines == 1 => {
                self.report.first = line.seq;
                if line.seq == 1 && line.prev != Hash::ZERO {
                    self.find(Fault::Replaced(line.seq));
                }
            }
            // The lines before were faulty.
            None => self.report.first = line.seq,
            Some((last, _)) if line.seq <= last => {
                let fault = if self.missing.remove(&line.seq) {
                    Fault::Misplaced(line.seq)
                } else {
                    Fault::Duplicate(line.seq)
                };
                return self.find(fault);
            }
            Some((last, head)) => {
                let skipped = line.seq - last - 1;
                if skipped > 0 {
                    self.find(Fault::Missing {
                        count: skipped,
                        before: line.seq,
                    });
                    self.missing
                        .extend((last + 1..line.seq).take_while(|_| skipped <= MISSING_MAX));
                } else if head.is_some_and(|head| head != line.prev) {
                    self.find(Fault::Replaced(line.seq));
                }
            }
        }
        self.last = Some((line.seq, Some(line.hash)));
        self.report.last = line.seq;
        self.report.head = line.hash;
        self.report.sealed = line.event == SEALED;
    }

    fn find(&mut self, fault: Fault) {
        if self.report.findings.len() >= FINDINGS_MAX {
            self.report.further += 1;
            return;
        }
        self.report.findings.push(Finding {
            file: self.file,
            line: self.line,
            fault,
        });
    }

    /// The result.
    pub fn finish(mut self) -> Report {
        if let Some(head) = self.head {
            self.find(Fault::NoHead(head));
        }
        self.report
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Chain;

    /// Some lines of a chain; the last one is a seal.
    fn lines(count: usize) -> Vec<Vec<u8>> {
        let mut chain = Chain::START;
        let mut lines = Vec::new();
        for index in 1..=count {
            let event = if index == count { SEALED } else { "call" };
            let (line, next) = chain.line(index as u64, event, &format!("\"n\":{index}"));
            lines.push(line.trim_end().as_bytes().to_vec());
            chain = next;
        }
        lines
    }

    fn verified(lines: &[Vec<u8>]) -> Report {
        let mut verifier = Verifier::new(None);
        for line in lines {
            verifier.line(line);
        }
        verifier.finish()
    }

    fn faults(lines: &[Vec<u8>]) -> Vec<(u64, Fault)> {
        let findings = verified(lines).findings.into_iter();
        findings
            .map(|finding| (finding.line, finding.fault))
            .collect()
    }

    #[test]
    fn an_intact_chain_has_no_findings() {
        let report = verified(&lines(5));
        assert!(report.is_intact() && report.sealed);
        assert_eq!((report.lines, report.first, report.last), (5, 1, 5));
        let report = verified(&lines(5)[2..]);
        assert!(report.is_intact(), "the lines before are elsewhere");
        assert_eq!(report.first, 3);
    }

    #[test]
    fn each_kind_of_tampering_has_its_finding() {
        let all = lines(6);
        let mut changed = all.clone();
        changed[2] = String::from_utf8(changed[2].clone())
            .expect("text")
            .replace("\"n\":3", "\"n\":9")
            .into();
        assert_eq!(faults(&changed), [(3, Fault::Line(LineFault::Changed))]);
        let mut removed = all.clone();
        removed.remove(3);
        assert_eq!(
            faults(&removed),
            [(
                4,
                Fault::Missing {
                    count: 1,
                    before: 5
                }
            )]
        );
        let mut swapped = all.clone();
        swapped.swap(2, 3);
        let missing = Fault::Missing {
            count: 1,
            before: 4,
        };
        assert_eq!(faults(&swapped), [(3, missing), (4, Fault::Misplaced(3))]);
        let mut doubled = all.clone();
        doubled.insert(3, all[2].clone());
        assert_eq!(faults(&doubled), [(4, Fault::Duplicate(3))]);
        let mut inserted = all.clone();
        inserted.insert(3, b"{}".to_vec());
        let malformed = Fault::Line(LineFault::Malformed);
        assert_eq!(
            faults(&inserted),
            [(4, malformed), (5, Fault::Duplicate(4))]
        );
        let truncated = verified(&all[..4]);
        assert!(truncated.is_intact() && !truncated.sealed);
    }

    #[test]
    fn a_line_with_a_new_hash_does_not_continue_the_chain() {
        let mut all = lines(4);
        let forged = Chain {
            next: 2,
            head: Hash::of(b"other"),
        };
        all[1] = forged.line(2, "call", "").0.trim_end().into();
        assert_eq!(
            faults(&all),
            [(2, Fault::Replaced(2)), (3, Fault::Replaced(3))]
        );
        all[0] = forged
            .line(1, "call", "")
            .0
            .trim_end()
            .replace("\"seq\":2", "\"seq\":1")
            .into();
        assert_eq!(faults(&all[..1]), [(1, Fault::Line(LineFault::Changed))]);
    }

    #[test]
    fn a_known_head_must_be_there() {
        let all = lines(4);
        let head = parse(&all[3]).expect("a line").hash;
        for (given, found) in [(&all[..], true), (&all[..3], false)] {
            let mut verifier = Verifier::new(Some(head));
            for line in given {
                verifier.line(line);
            }
            assert_eq!(verifier.finish().is_intact(), found);
        }
    }

    #[test]
    fn a_file_that_is_followed_by_another_is_sealed() {
        let all = lines(4);
        let mut verifier = Verifier::new(None);
        verifier.line(&all[0]);
        verifier.next_file();
        verifier.line(&all[1]);
        let finding = Finding {
            file: 0,
            line: 1,
            fault: Fault::NotSealed,
        };
        assert_eq!(verifier.finish().findings, [finding]);
    }

    #[test]
    fn the_number_of_findings_is_bounded() {
        let mut verifier = Verifier::new(None);
        (0..FINDINGS_MAX + 5).for_each(|_| verifier.line(b"x"));
        let report = verifier.finish();
        assert_eq!((report.findings.len(), report.further), (FINDINGS_MAX, 5));
    }

    proptest! {
        #[test]
        fn any_lines_are_checked_without_a_panic(lines in any::<Vec<Vec<u8>>>()) {
            verified(&lines);
        }

        #[test]
        fn any_other_order_is_found(order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let all = lines(8);
            let shuffled: Vec<_> = order.iter().map(|index| all[*index].clone()).collect();
            let report = verified(&shuffled);
            prop_assert_eq!(report.is_intact() && report.sealed, order.is_sorted());
        }

        #[test]
        fn any_removed_line_is_found(place in 0..8_usize) {
            let mut all = lines(8);
            all.remove(place);
            let report = verified(&all);
            prop_assert!(!report.is_intact() || !report.sealed || report.first != 1);
        }

        #[test]
        fn any_changed_byte_is_found(
            place in any::<prop::sample::Index>(),
            byte in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let mut all = lines(8);
            let line = place.get_mut(&mut all);
            let byte = byte.index(line.len());
            line[byte] ^= change;
            prop_assert!(!verified(&all).is_intact());
        }
    }
}
