//! Tests with real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;

const SMALL: Rotation = Rotation { size: 10, files: 2 };

struct Harness {
    folder: TempDir,
    notices: Arc<AtomicUsize>,
}

impl Harness {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            notices: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("logs/gate.log")
    }

    fn open(&self, rotation: Rotation) -> LogFile {
        let notices = Arc::clone(&self.notices);
        let notice = move |_: &io::Error| {
            notices.fetch_add(1, Ordering::Relaxed);
        };
        LogFile::open(&self.path(), rotation, Box::new(notice)).expect("a file")
    }

    fn notices(&self) -> usize {
        self.notices.load(Ordering::Relaxed)
    }

    /// The files and their content, in the order of their names.
    fn files(&self) -> Vec<(String, String)> {
        let folder = self.path();
        let entries = fs::read_dir(folder.parent().expect("a folder")).expect("a folder");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy();
                (name.into_owned(), fs::read_to_string(&path).expect("text"))
            })
            .collect();
        files.sort();
        files
    }

    fn expect(&self, files: &[(&str, &str)]) {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        assert_eq!(self.files(), files.iter().map(owned).collect::<Vec<_>>());
    }
}

#[test]
fn lines_are_appended_to_what_is_there_and_folders_are_made() {
    let harness = Harness::new();
    harness.open(SMALL).write_all(b"one\n").expect("written");
    harness.open(SMALL).write_all(b"two\n").expect("written");
    harness.expect(&[("gate.log", "one\ntwo\n")]);
}

#[test]
fn a_full_file_is_renamed_and_the_oldest_one_is_deleted() {
    let harness = Harness::new();
    let mut log = harness.open(SMALL);
    // All in one write, as after a burst.
    log.write_all(b"11\n22\n33\n44\n55\n66\n77\n")
        .expect("written");
    harness.expect(&[
        ("gate.log", "77\n"),
        ("gate.log.1", "44\n55\n66\n"),
        ("gate.log.2", "11\n22\n33\n"),
    ]);
    log.write_all(b"88\n99\n00\n").expect("written");
    harness.expect(&[
        ("gate.log", "00\n"),
        ("gate.log.1", "77\n88\n99\n"),
        ("gate.log.2", "44\n55\n66\n"),
    ]);
    // Fewer are kept from now on.
    let mut log = harness.open(Rotation { size: 10, files: 1 });
    log.write_all(b"a long line\n").expect("written");
    harness.expect(&[("gate.log", "a long line\n"), ("gate.log.1", "00\n")]);
}

#[test]
fn a_line_that_is_written_in_parts_stays_in_one_file() {
    let harness = Harness::new();
    let mut log = harness.open(SMALL);
    for part in ["12345\n", "abc", "def", "ghi\n", "next\n"] {
        log.write_all(part.as_bytes()).expect("written");
    }
    harness.expect(&[("gate.log", "next\n"), ("gate.log.1", "12345\nabcdefghi\n")]);
}

#[test]
fn a_file_that_others_renamed_or_deleted_is_opened_again() {
    let harness = Harness::new();
    let mut log = harness.open(SMALL);
    log.write_all(b"one\n").expect("written");
    let moved = harness.path().with_file_name("moved");
    fs::rename(harness.path(), moved).expect("renamed");
    log.write_all(b"two\n").expect("written");
    harness.expect(&[("gate.log", "two\n"), ("moved", "one\n")]);
    fs::remove_file(harness.path()).expect("deleted");
    log.write_all(b"three\n").expect("written");
    harness.expect(&[("gate.log", "three\n"), ("moved", "one\n")]);
}

#[test]
fn two_processes_share_a_file_and_its_rotation() {
    let harness = Harness::new();
    let mut logs = [harness.open(SMALL), harness.open(SMALL)];
    for (index, line) in ["11\n", "22\n", "33\n", "44\n", "55\n"].iter().enumerate() {
        logs[index % 2].write_all(line.as_bytes()).expect("written");
    }
    let files = [("gate.log", "44\n55\n"), ("gate.log.1", "11\n22\n33\n")];
    harness.expect(&files);
    // While another process rotates, the line goes to the file that there is.
    let other = File::open(harness.path()).expect("a file");
    other.lock().expect("locked");
    logs[0].write_all(b"6666\n").expect("written");
    harness.expect(&[
        ("gate.log", "44\n55\n6666\n"),
        ("gate.log.1", "11\n22\n33\n"),
    ]);
}

#[test]
fn a_failure_is_noticed_once_until_writing_works_again() {
    let harness = Harness::new();
    let mut log = harness.open(SMALL);
    log.write_all(b"12345678\n").expect("written");
    // A folder under the name of an excess file: the rotation fails, and no limit is exceeded.
    let taken = log.numbered(3);
    fs::create_dir(&taken).expect("a folder");
    for _ in 0..3 {
        log.write_all(b"next\n").expect_err("not rotated");
    }
    assert_eq!(harness.notices(), 1);
    fs::remove_dir(&taken).expect("deleted");
    log.write_all(b"next\n").expect("written");
    harness.expect(&[("gate.log", "next\n"), ("gate.log.1", "12345678\n")]);
    fs::create_dir(&taken).expect("a folder");
    log.write_all(b"further\n").expect_err("not rotated");
    assert_eq!(harness.notices(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_is_written_without_rotation() {
    let notice = |_: &io::Error| {};
    let mut log = LogFile::open(Path::new("/dev/null"), SMALL, Box::new(notice)).expect("a file");
    for _ in 0..3 {
        log.write_all(b"0123456789\n").expect("written");
    }
    let mut full = LogFile::open(Path::new("/dev/full"), SMALL, Box::new(notice)).expect("a file");
    let error = full.write_all(b"0123456789\n").expect_err("it is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
