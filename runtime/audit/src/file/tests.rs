//! The file across restarts, crashes, rotations, and what others do to it.

use super::*;
use crate::files::verify_files;

const AGELESS: Rotation = Rotation {
    size: 1 << 30,
    age: 0,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path, rotation: Rotation) -> AuditFile {
    AuditFile::open(path.to_owned(), rotation, None, 1_000_000).expect("opened")
}

#[test]
fn a_restart_continues_the_chain_of_the_file() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let mut file = open(&path, AGELESS);
    file.append(1, OPENED, "").expect("written");
    file.append(2, "call", "").expect("written");
    file.seal(3).expect("sealed");
    drop(file);
    let mut file = open(&path, AGELESS);
    file.append(4, OPENED, "").expect("written");
    file.append(5, "call", "").expect("written");
    let report = verify_files(std::slice::from_ref(&path), None).expect("read");
    assert!(report.is_intact() && !report.sealed, "{report:?}");
    file.seal(6).expect("sealed");
    let report = verify_files(&[path], None).expect("read");
    assert!(report.is_intact() && report.sealed, "{report:?}");
    assert_eq!((report.lines, report.last), (6, 6));
}

#[test]
fn half_a_line_of_a_crash_is_cut_off_and_recorded() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let mut file = open(&path, AGELESS);
    file.append(1, OPENED, "").expect("written");
    drop(file);
    let whole = fs::read_to_string(&path).expect("text");
    fs::write(&path, format!("{whole}{{\"seq\":2,\"pr")).expect("written");
    assert!(
        !verify_files(std::slice::from_ref(&path), None)
            .expect("read")
            .is_intact()
    );
    let mut file = open(&path, AGELESS);
    file.append(2, "call", "").expect("written");
    let text = fs::read_to_string(&path).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    let recovered: serde_json::Value = serde_json::from_str(lines[1]).expect("JSON");
    assert_eq!(recovered["event"], RECOVERED);
    assert_eq!(
        (&recovered["bytes"], &recovered["text"]),
        (&12.into(), &"{\"seq\":2,\"pr".into())
    );
    assert!(verify_files(&[path], None).expect("read").is_intact());
}

#[test]
fn a_full_file_is_sealed_and_renamed_and_the_next_continues_it() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let small = Rotation {
        size: 1_500,
        age: 0,
    };
    let mut file = AuditFile::open(path.clone(), small, Some(2), 1).expect("opened");
    for at in 0..40 {
        file.append(at, "call", r#""tool":"publish""#)
            .expect("written");
    }
    file.seal(41).expect("sealed");
    let mut files = file.rotated_files();
    assert_eq!(files.len(), 2, "older ones are deleted");
    files.push(path.clone());
    let report = verify_files(&files, None).expect("read");
    assert!(report.is_intact() && report.sealed, "{report:?}");
    assert!(report.first > 1);
    for name in &files {
        assert!(fs::metadata(name).expect("a file").len() <= 1_500 + 400);
    }
    // Without the written file, a new one continues the newest rotated file.
    drop(file);
    fs::remove_file(&path).expect("removed");
    let newest = File::open(&files[1]).and_then(|mut file| read_tail(&mut file));
    let newest = newest.expect("read").last.expect("a line");
    let file = open(&path, small);
    assert_eq!(file.chain().head, parse(&newest).expect("a line").hash);
}

#[test]
fn a_file_with_another_end_is_kept_under_another_name() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, "not an audit file\n").expect("written");
    let mut file = open(&path, AGELESS);
    file.append(2, "call", "").expect("written");
    let kept = rotation::set_aside(&path, 1_000_000);
    assert_eq!(
        fs::read_to_string(kept).expect("text"),
        "not an audit file\n"
    );
    let report = verify_files(&[path], None).expect("read");
    assert!(report.is_intact());
    assert_eq!(report.lines, 2);
}

#[test]
fn a_file_has_one_writer() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let _file = open(&path, AGELESS);
    let error = AuditFile::open(path, AGELESS, None, 1).expect_err("it is locked");
    assert_eq!(error.to_string(), "another process writes this file");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_chain_as_it_was() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    let mut file = open(&path, AGELESS);
    for _ in 0..3 {
        let error = file.append(1, "call", "").expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(file.chain(), Chain::START);
    fs::remove_file(&path).expect("removed");
    file.append(2, "call", "").expect("written");
    assert!(verify_files(&[path], None).expect("read").is_intact());
}

/// Lines of a file that was written and left without a seal.
fn written(path: &Path, rotation: Rotation, lines: u64) {
    let mut file = open(path, rotation);
    for at in 0..lines {
        file.append(at, "call", r#""tool":"publish""#)
            .expect("written");
    }
}

const SMALL: Rotation = Rotation {
    size: 1_500,
    age: 0,
};

#[test]
fn a_foreign_file_without_a_line_feed_is_kept_and_not_cut_off() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    for foreign in [&br#"{"precious":1}"#[..], b"{", b"\0\0\0\0", b"x"] {
        fs::write(&path, foreign).expect("written");
        let mut file = open(&path, AGELESS);
        file.append(2, "call", "").expect("written");
        let kept = rotation::set_aside(&path, 1_000_000);
        let is_torn = foreign == b"{";
        assert_eq!(kept.exists(), !is_torn, "{foreign:?}");
        if !is_torn {
            assert_eq!(fs::read(&kept).expect("bytes"), foreign);
            fs::remove_file(&kept).expect("removed");
        }
        drop(file);
        assert!(
            verify_files(std::slice::from_ref(&path), None)
                .expect("read")
                .is_intact()
        );
        fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn a_new_chain_behind_a_damaged_file_is_rotated_beside_the_old_one() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    written(&path, SMALL, 20);
    let before = open(&path, SMALL).rotated_files();
    assert!(before.len() > 1);
    let mut damaged = fs::read(&path).expect("bytes");
    damaged.extend_from_slice(b"damage\n");
    fs::write(&path, damaged).expect("written");
    written(&path, SMALL, 20);
    let file = open(&path, SMALL);
    let after = file.rotated_files();
    assert!(after.starts_with(&before), "the older ones come first");
    assert!(after.len() > before.len() + 1);
    // What was set aside is missing, and only that.
    let files = [&after[..], &[path]].concat();
    let report = verify_files(&files, None).expect("read");
    let [finding] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert!(
        matches!(finding.fault, crate::Fault::Missing { .. }),
        "{finding:?}"
    );
    assert!(
        verify_files(&files[before.len()..], None)
            .expect("read")
            .is_intact()
    );
}

#[test]
fn a_file_that_cannot_be_rotated_is_written_further() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    fs::write(rotation::rotated(&path, 1), "somebody else's").expect("written");
    // It is not a file of this chain, so the new one begins behind it.
    let mut file = open(&path, SMALL);
    let first = file.chain().next;
    let name = rotation::rotated(&path, first);
    fs::create_dir(&name).expect("a folder in the way");
    for at in 0..40 {
        file.append(at, "call", r#""tool":"publish""#)
            .expect("written");
    }
    assert!(file.size > 2 * SMALL.size);
    let report = verify_files(std::slice::from_ref(&path), None).expect("read");
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.lines, 41, "no line is lost, or a seal each time");
    fs::remove_dir(&name).expect("removed");
    for at in 40..50 {
        file.append(at, "call", r#""tool":"publish""#)
            .expect("written");
    }
    assert!(name.is_file(), "it is rotated in the end");
    let mut files = file.rotated_files();
    files.retain(|file| *file != rotation::rotated(&path, 1));
    files.push(path);
    let report = verify_files(&files, None).expect("read");
    assert!(report.is_intact(), "{report:?}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_move_or_delete_is_followed_by_a_new_one() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let moved = folder.path().join("moved.jsonl");
    let mut file = open(&path, AGELESS);
    file.append(1, "call", "").expect("written");
    file.keep_place(2);
    assert!(file.file.is_some(), "it is where it was");
    fs::rename(&path, &moved).expect("moved");
    file.keep_place(3);
    file.append(4, "call", "").expect("written");
    let files = [moved, path.clone()];
    let report = verify_files(&files, None).expect("read");
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.lines, report.first), (5, 1));
    fs::remove_file(&path).expect("deleted");
    file.keep_place(5);
    file.append(6, "call", "").expect("written");
    let report = verify_files(&[path], None).expect("read");
    assert!(report.is_intact() && report.first == 7, "{report:?}");
}

#[test]
fn a_clock_that_is_set_back_breaks_nothing() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let daily = Rotation {
        size: 1 << 30,
        age: 100,
    };
    let mut file = AuditFile::open(path.clone(), daily, None, 1_000).expect("opened");
    for at in [1_000, 900, 10, 0, u64::MAX, 1, 50] {
        file.append(at, "call", "").expect("written");
    }
    assert_eq!(file.rotated_files().len(), 1, "at the far future");
    file.append(101, "call", "").expect("written");
    let mut files = file.rotated_files();
    assert_eq!(
        files.len(),
        2,
        "its age counts from the clock that was set back"
    );
    files.push(path);
    let report = verify_files(&files, None).expect("read");
    assert!(report.is_intact(), "{report:?}");
}
