//! The file that is written: opened, continued, appended to, sealed and rotated.
//!
//! After a failed write the file is cut back to its last whole line, so it never has half a line; if
//! that fails too, it is closed, and opened and continued again by the next write.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use crate::chain::{Chain, LINE_MAX, parse};
use crate::hash::Hash;
use crate::json::Members;
use crate::rotation::{self, Rotation};

/// The first line of a file, and the first one of a process.
pub(crate) const OPENED: &str = "audit.opened";
/// The last line of a file that was ended in order.
pub(crate) const SEALED: &str = "audit.sealed";
/// Reports half a line that a crash had left, and that was cut off.
pub(crate) const RECOVERED: &str = "audit.recovered";

/// An audit file and the end of its chain.
#[derive(Debug)]
pub(crate) struct AuditFile {
    path: PathBuf,
    rotation: Rotation,
    files_max: Option<usize>,
    file: Option<File>,
    chain: Chain,
    size: u64,
    /// Number of its first line, of which the name of a rotated file is made.
    first: u64,
    /// Time of that line.
    begun: u64,
}

/// What a file ends with.
struct Tail {
    /// The last whole line, without its line feed.
    last: Option<Vec<u8>>,
    /// What follows it: half a line.
    torn: Vec<u8>,
}

impl AuditFile {
    /// Opens the file and reads the end of its chain.
    pub(crate) fn open(
        path: PathBuf,
        rotation: Rotation,
        files_max: Option<usize>,
        at: u64,
    ) -> io::Result<Self> {
        let mut file = Self {
            path,
            rotation,
            files_max,
            file: None,
            chain: Chain::START,
            size: 0,
            first: 1,
            begun: at,
        };
        file.reopen(at)?;
        Ok(file)
    }

    /// The end of the chain.
    pub(crate) const fn chain(&self) -> Chain {
        self.chain
    }

    /// Appends a line, after rotating the file if it is full.
    pub(crate) fn append(&mut self, at: u64, event: &str, members: &str) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen(at)?;
        }
        let (line, _) = self.chain.line(at, event, members);
        let lines = self.chain.next.saturating_sub(self.first);
        let length = line.len() as u64;
        if self
            .rotation
            .is_due(self.size, lines, length, self.begun, at)
        {
            self.rotate(at)?;
        }
        if self.size == 0 && event != OPENED {
            self.write(at, OPENED, "")?;
        }
        self.write(at, event, members)
    }

    /// Ends the file with a line that says so, and forces it to the disk.
    pub(crate) fn seal(&mut self, at: u64) -> io::Result<()> {
        let lines = self.chain.next.saturating_sub(self.first) + 1;
        let mut members = Members::default();
        members.number("lines", lines);
        self.write(at, SEALED, &members.into_text())?;
        self.sync()
    }

    /// Forces what was written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn write(&mut self, at: u64, event: &str, members: &str) -> io::Result<()> {
        let (line, chain) = self.chain.line(at, event, members);
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = file.write_all(line.as_bytes()) {
            if file.set_len(self.size).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        if self.size == 0 {
            (self.first, self.begun) = (self.chain.next, at);
        }
        self.size += line.len() as u64;
        self.chain = chain;
        Ok(())
    }

    fn rotate(&mut self, at: u64) -> io::Result<()> {
        self.seal(at)?;
        let name = rotation::rotated(&self.path, self.first);
        if name.exists() {
            let why = format!("'{}' exists", name.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        fs::rename(&self.path, &name)?;
        tracing::info!(
            file = %name.display(),
            last_line = self.chain.next.saturating_sub(1),
            head = %self.chain.head,
            "audit file rotated and sealed"
        );
        // The lock goes with the old file.
        self.file = None;
        self.reopen(at)?;
        self.delete_oldest();
        Ok(())
    }

    /// Deletes rotated files beyond their maximum number. A failure is logged: the next rotation tries
    /// again.
    fn delete_oldest(&self) {
        let Some(max) = self.files_max else {
            return;
        };
        let mut names = self.rotated_files();
        let excess = names.len().saturating_sub(max);
        for name in names.drain(..excess) {
            match fs::remove_file(&name) {
                Ok(()) => tracing::info!(file = %name.display(), "audit file deleted (maxFiles)"),
                Err(error) => {
                    tracing::warn!(file = %name.display(), "cannot delete audit file: {error}");
                }
            }
        }
    }

    /// The rotated files, oldest first.
    fn rotated_files(&self) -> Vec<PathBuf> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let entries = fs::read_dir(folder.unwrap_or_else(|| ".".as_ref()));
        let mut names: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| rotation::is_rotated(&self.path, &entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        names.sort();
        names
    }

    /// Opens the file at the path, and continues its chain.
    fn reopen(&mut self, at: u64) -> io::Result<()> {
        let mut file = open_locked(&self.path)?;
        let tail = read_tail(&mut file)?;
        let length = file.metadata()?.len();
        let Some(last) = &tail.last else {
            return self.begin_file(file, &tail.torn, at);
        };
        let Ok(line) = parse(last) else {
            return self.set_aside(at);
        };
        self.chain = Chain {
            next: line.seq.saturating_add(1),
            head: line.hash,
        };
        self.size = length - tail.torn.len() as u64;
        (self.first, self.begun) = first_line(&mut file)?.unwrap_or((line.seq, line.at));
        self.file = Some(file);
        self.recover(&tail.torn, at)
    }

    /// The file has no line. Its first one continues the newest rotated file, if there is one.
    fn begin_file(&mut self, file: File, torn: &[u8], at: u64) -> io::Result<()> {
        if self.chain == Chain::START
            && let Some(newest) = self.rotated_files().pop()
        {
            let tail = read_tail(&mut File::open(newest)?)?;
            if let Some(Ok(line)) = tail.last.as_deref().map(parse) {
                self.chain = Chain {
                    next: line.seq.saturating_add(1),
                    head: line.hash,
                };
            }
        }
        (self.size, self.first, self.begun) = (0, self.chain.next, at);
        self.file = Some(file);
        self.recover(torn, at)
    }

    /// Cuts off half a line that a crash left, and records that.
    fn recover(&mut self, torn: &[u8], at: u64) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !torn.is_empty()) else {
            return Ok(());
        };
        file.set_len(self.size)?;
        let mut members = Members::default();
        members.number("bytes", torn.len() as u64);
        members.text("sha256", &Hash::of(torn).to_string());
        members.text("text", &String::from_utf8_lossy(torn));
        self.write(at, RECOVERED, &members.into_text())
    }

    /// The file does not end with a line of an audit file: keep it under another name, and begin a new
    /// chain.
    fn set_aside(&mut self, at: u64) -> io::Result<()> {
        let name = rotation::set_aside(&self.path, at);
        fs::rename(&self.path, &name)?;
        tracing::error!(
            file = %name.display(),
            "the audit file does not end with a valid line; it was renamed, and a new chain begins"
        );
        self.chain = Chain::START;
        let file = open_locked(&self.path)?;
        (self.size, self.first, self.begun) = (0, 1, at);
        self.file = Some(file);
        let mut members = Members::default();
        members.text("damaged", &name.to_string_lossy());
        self.write(at, OPENED, &members.into_text())
    }
}

/// Opens a file for this process alone: two writers would break the chain.
fn open_locked(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    match file.try_lock() {
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process writes this file";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        }
    }
}

/// Reads what the file ends with, at most [`LINE_MAX`] bytes of each.
fn read_tail(file: &mut File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let window = length.min(2 * LINE_MAX as u64);
    file.seek(SeekFrom::Start(length - window))?;
    let mut bytes = Vec::new();
    file.take(window).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(Tail {
            last: None,
            torn: bytes,
        });
    };
    let torn = bytes.split_off(end + 1);
    bytes.pop();
    let start = bytes.iter().rposition(|byte| *byte == b'\n');
    let last = bytes.split_off(start.map_or(0, |start| start + 1));
    Ok(Tail {
        last: Some(last),
        torn,
    })
}

/// Number and time of the first line.
fn first_line(file: &mut File) -> io::Result<Option<(u64, u64)>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = vec![0; 64 * 1024];
    let read = file.read(&mut bytes)?;
    bytes.truncate(read);
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| bytes.get(..end));
    Ok(line
        .and_then(|line| parse(line).ok())
        .map(|line| (line.seq, line.at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::verify_files;

    const AGELESS: Rotation = Rotation {
        size: 1 << 30,
        age: 0,
    };

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn open(path: &std::path::Path, rotation: Rotation) -> AuditFile {
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
}
