//! The file that is written: opened, continued, appended to, sealed and rotated.
//!
//! After a failed write the file is cut back to its last whole line, so it never has half a line; if
//! that fails too, it is closed, and opened and continued again by the next write. A file that cannot
//! be rotated is written further, and rotated when it is full once more. If the file is moved or deleted
//! by others, a new one continues its chain.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::chain::{Chain, LINE_MAX, LINE_MIN, SEQ, parse};
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
    /// Time of that line, or of the last attempt to rotate it.
    begun: u64,
    /// Its size at that attempt.
    tried: u64,
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
            tried: 0,
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
        // A clock that was set back starts the age anew, or it would not be reached for as long.
        self.begun = self.begun.min(at);
        let size = self.size.saturating_sub(self.tried);
        if self.rotation.is_due(size, lines, length, self.begun, at) {
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
            (self.first, self.begun, self.tried) = (self.chain.next, at, 0);
        }
        self.size += line.len() as u64;
        self.chain = chain;
        Ok(())
    }

    fn rotate(&mut self, at: u64) -> io::Result<()> {
        let name = rotation::rotated(&self.path, self.first);
        if name.exists() {
            let why = io::Error::new(io::ErrorKind::AlreadyExists, "it exists");
            self.not_rotated(&name, &why, at);
            return Ok(());
        }
        self.seal(at)?;
        if let Err(error) = fs::rename(&self.path, &name) {
            self.not_rotated(&name, &error, at);
            return Ok(());
        }
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

    /// Goes on with the same file until it is full once more: records in a file that is too large are
    /// better than none.
    fn not_rotated(&mut self, name: &Path, error: &io::Error, at: u64) {
        (self.begun, self.tried) = (at, self.size);
        tracing::error!(
            file = %self.path.display(),
            "the audit file cannot be renamed to {}: {error}; it is written further, beyond its limits",
            name.display()
        );
    }

    /// Checks that the path still leads to the file that is written. If the file was moved or deleted, it
    /// is sealed, and the next line begins a new one.
    pub(crate) fn keep_place(&mut self, at: u64) {
        let Some(file) = &self.file else {
            return;
        };
        if is_at(file, &self.path) {
            return;
        }
        tracing::error!(
            file = %self.path.display(),
            "the audit file was moved or deleted; a new one continues its chain"
        );
        // It may be all that a log rotation has left to find.
        let _ = self.seal(at);
        self.file = None;
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
            .filter(|path| path.is_file())
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
            // Without a line, it must be the beginning of one that a crash has left.
            return if is_beginning(&tail.torn) {
                self.begin_file(file, &tail.torn, at)
            } else {
                self.set_aside(length, at)
            };
        };
        let Ok(line) = parse(last) else {
            return self.set_aside(length, at);
        };
        if tail.torn.len() > LINE_MAX {
            return self.set_aside(length, at);
        }
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
            let tail = read_tail(&mut File::open(&newest)?)?;
            self.chain = match tail.last.as_deref().map(parse) {
                Some(Ok(line)) => Chain {
                    next: line.seq.saturating_add(1),
                    head: line.hash,
                },
                _ => self.new_chain(0)?,
            };
        }
        (self.size, self.first, self.begun) = (0, self.chain.next, at);
        self.file = Some(file);
        self.recover(torn, at)
    }

    /// A chain that continues none. If there are rotated files, its numbers are higher than all that they
    /// and `lost` bytes of lines can have: names of files are made of them, and their order is that of
    /// age.
    fn new_chain(&self, lost: u64) -> io::Result<Chain> {
        let Some(newest) = self.rotated_files().pop() else {
            return Ok(Chain::START);
        };
        let first = rotation::first_number(&self.path, &newest).unwrap_or_default();
        let bytes = fs::metadata(&newest)?.len().saturating_add(lost);
        Ok(Chain {
            next: first.saturating_add(bytes / LINE_MIN + 2),
            ..Chain::START
        })
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
    fn set_aside(&mut self, length: u64, at: u64) -> io::Result<()> {
        let name = rotation::set_aside(&self.path, at);
        fs::rename(&self.path, &name)?;
        tracing::error!(
            file = %name.display(),
            "the audit file does not end with a valid line; it was renamed, and a new chain begins"
        );
        self.chain = self.new_chain(length)?;
        let file = open_locked(&self.path)?;
        (self.size, self.first, self.begun) = (0, self.chain.next, at);
        self.file = Some(file);
        let mut members = Members::default();
        members.text("damaged", &name.to_string_lossy());
        self.write(at, OPENED, &members.into_text())
    }
}

/// Opens a file for this process alone: two writers would break the chain.
fn open_locked(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        // Some file systems have no locks.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(
                file = %path.display(),
                "the audit file cannot be locked: {error}; make sure that no other process writes it"
            );
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let why = "another process writes this file";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
        }
    }
}

/// Whether a path leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(found)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (found.dev(), found.ino())
}

/// Whether a path leads to an open file: one that is open cannot be moved.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Whether bytes without a line feed are the beginning of a line, or nothing.
fn is_beginning(torn: &[u8]) -> bool {
    let length = torn.len().min(SEQ.len());
    torn.len() <= LINE_MAX && torn.get(..length) == SEQ.get(..length)
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
mod tests;
