//! Reads files for the verification.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::chain::{LINE_MAX, parse};
use crate::hash::Hash;
use crate::verify::{Report, Verifier};

/// A file that cannot be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Its path.
        path: String,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// Verifies files of one chain, which may be given in any order. `head` is the hash of a line that
/// must be there. The indices in the report are those of `paths`.
pub fn verify_files(paths: &[PathBuf], head: Option<Hash>) -> Result<Report, VerifyError> {
    let mut order = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let first = first_number(path).map_err(|error| unreadable(path, error))?;
        // A file without a valid first line comes last, where its lines are reported.
        order.push((first.unwrap_or(u64::MAX), index, path));
    }
    order.sort();
    let mut verifier = Verifier::new(head);
    for (place, (_, _, path)) in order.iter().enumerate() {
        if place > 0 {
            verifier.next_file();
        }
        read_lines(path, &mut verifier).map_err(|error| unreadable(path, error))?;
    }
    let mut report = verifier.finish();
    for finding in &mut report.findings {
        finding.file = order.get(finding.file).map_or(0, |(_, index, _)| *index);
    }
    Ok(report)
}

fn unreadable(path: &Path, error: io::Error) -> VerifyError {
    VerifyError::Unreadable {
        path: path.display().to_string(),
        error,
    }
}

fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?)
        .take(LINE_MAX as u64)
        .read_until(b'\n', &mut line)?;
    line.pop();
    Ok(parse(&line).ok().map(|line| line.seq))
}

/// A line longer than [`LINE_MAX`] is read as several, none of which is valid.
fn read_lines(path: &Path, verifier: &mut Verifier) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file
            .by_ref()
            .take(LINE_MAX as u64)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            verifier.line(&line);
        } else {
            verifier.torn();
        }
    }
}
