//! When a file is full, and what it is called then.

use std::path::{Path, PathBuf};

/// Digits of the number in the name of a rotated file, so that names sort in the order of lines.
const DIGITS: usize = 12;

/// The limits of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    /// In bytes.
    pub(crate) size: u64,
    /// In microseconds; 0: none.
    pub(crate) age: u64,
}

impl Rotation {
    /// Whether a file of `size` bytes, begun at `begun`, is full before `line` more bytes are written.
    /// A file always takes one line, however long.
    pub(crate) const fn is_due(
        &self,
        size: u64,
        lines: u64,
        line: u64,
        begun: u64,
        now: u64,
    ) -> bool {
        if lines < 2 {
            return false;
        }
        let old = self.age > 0 && now.saturating_sub(begun) >= self.age;
        old || size.saturating_add(line) > self.size
    }
}

/// The name of a rotated file: that of the written one, with the number of its first line.
pub(crate) fn rotated(path: &Path, first: u64) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}.{first:0DIGITS$}{extension}"))
}

/// The name of a file that could not be continued.
pub(crate) fn set_aside(path: &Path, at: u64) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}.damaged-{at}{extension}"))
}

/// Whether a name in the folder is that of a rotated file.
pub(crate) fn is_rotated(path: &Path, name: &str) -> bool {
    number(path, name).is_some()
}

/// The number of the first line of a rotated file, of which its name is made.
pub(crate) fn first_number(path: &Path, rotated: &Path) -> Option<u64> {
    number(path, &rotated.file_name()?.to_string_lossy())
}

fn number(path: &Path, name: &str) -> Option<u64> {
    let (stem, extension) = parts(path);
    let rest = name.strip_prefix(&stem)?.strip_prefix('.')?;
    let digits = rest.strip_suffix(&extension)?;
    let valid = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| valid)
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map_or_else(String::new, |part| part.to_string_lossy().into_owned())
    };
    let extension = text(path.extension());
    let dot = if extension.is_empty() { "" } else { "." };
    (text(path.file_stem()), format!("{dot}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_age_are_limits() {
        let rotation = Rotation { size: 100, age: 50 };
        let due = |size, line, now| rotation.is_due(size, 5, line, 1_000, now);
        assert!(!due(60, 40, 1_049));
        assert!(due(60, 41, 1_000) && due(1, 1, 1_050));
        assert!(!due(1, 1, 10), "the clock went back");
        assert!(!rotation.is_due(90, 1, 400, 0, 99), "a file takes one line");
        let ageless = Rotation { size: 100, age: 0 };
        assert!(!ageless.is_due(1, 5, 1, 0, u64::MAX));
    }

    #[test]
    fn rotated_files_are_named_by_their_first_line() {
        let path = Path::new("/var/log/audit.jsonl");
        let name = rotated(path, 42);
        assert_eq!(name, Path::new("/var/log/audit.000000000042.jsonl"));
        assert!(is_rotated(path, "audit.000000000042.jsonl"));
        for other in [
            "audit.jsonl",
            "audit.42.jsonl",
            "audit.000000000042.json",
            "b.000000000042.jsonl",
        ] {
            assert!(!is_rotated(path, other), "{other}");
        }
        assert_eq!(rotated(Path::new("log"), 1), Path::new("log.000000000001"));
        let aside = set_aside(path, 7);
        assert_eq!(aside, Path::new("/var/log/audit.damaged-7.jsonl"));
    }
}
