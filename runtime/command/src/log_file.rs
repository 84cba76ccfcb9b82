//! A log file that is rotated by size.
//!
//! - A full file is renamed to `NAME.1`, `NAME.1` to `NAME.2`, and so on; files beyond the number to keep are
//!   deleted. A line is never split between two files.
//! - A file that was renamed or deleted by others is opened again under its path, so that an external rotation
//!   works, and several processes may share a file.
//! - While it cannot be written or rotated, [`BackgroundWriter`](crate::background_writer::BackgroundWriter) drops
//!   and counts lines: the files never take more space than their limits.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// When a file is full, and how many full ones are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    /// Size of a file, in bytes. A longer line has a file of its own.
    pub(crate) size: u64,
    /// Number of rotated files.
    pub(crate) files: u32,
}

/// Called when writing fails after it worked.
pub(crate) type Notice = Box<dyn Fn(&io::Error) + Send>;

/// A file to which lines are appended.
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// The last write ended with a line feed.
    at_line_start: bool,
    failing: bool,
    notice: Notice,
}

impl LogFile {
    /// Opens the file, or creates it together with missing folders.
    pub(crate) fn open(path: &Path, rotation: Rotation, notice: Notice) -> io::Result<Self> {
        // A relative path stays the same file if the process changes its folder.
        let path = std::path::absolute(path)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(Self {
            file: open(&path)?,
            path,
            rotation,
            at_line_start: true,
            failing: false,
            notice,
        })
    }

    /// Appends the lines that fit into the file, at least a part of one.
    fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.at_line_start && self.path_has_other_file()? {
            self.file = open(&self.path)?;
        }
        let mut taken = self.taken()?;
        let size = self.rotation.size;
        let room = |bytes: u64| {
            let room = size.saturating_sub(bytes);
            usize::try_from(room).unwrap_or(usize::MAX)
        };
        if let Some(bytes) = taken
            && self.at_line_start
            && bytes > 0
            && first_line(lines) > room(bytes)
        {
            self.rotate()?;
            taken = self.taken()?;
        }
        let length = taken.map_or(lines.len(), |bytes| whole_lines(lines, room(bytes)));
        let written = self.file.write(lines.get(..length).unwrap_or_default())?;
        if written > 0 {
            self.at_line_start = lines.get(written - 1) == Some(&b'\n');
        }
        Ok(written)
    }

    /// Bytes that the file has; `None` if it is a device, which is never full.
    fn taken(&self) -> io::Result<Option<u64>> {
        let now = self.file.metadata()?;
        Ok(now.is_file().then_some(now.len()))
    }

    /// Whether the path does not lead to the open file.
    fn path_has_other_file(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(!is_same(&found, &self.file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Renames the full files and opens a new one. Another process that shares the file may be doing it,
    /// or may have done it.
    fn rotate(&mut self) -> io::Result<()> {
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !self.path_has_other_file()? {
            self.delete_excess()?;
            for number in (1..self.rotation.files).rev() {
                rename(&self.numbered(number), &self.numbered(number + 1))?;
            }
            rename(&self.path, &self.numbered(1))?;
        }
        // The lock ends with the old file.
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Deletes files that an earlier run with a larger number has kept.
    fn delete_excess(&self) -> io::Result<()> {
        for number in self.rotation.files + 1.. {
            match fs::remove_file(self.numbered(number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let written = self.append(lines);
        match &written {
            Ok(_) => self.failing = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    (self.notice)(error);
                }
            }
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // Topics and names of clients are not for every user of the machine.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// A file that does not exist needs no other name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Length of the first line, with its line feed.
fn first_line(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}

/// Length of the lines that fit into `room`, and at least of the first one.
fn whole_lines(lines: &[u8], room: usize) -> usize {
    let fitting = lines.get(..room).unwrap_or(lines);
    memchr::memrchr(b'\n', fitting).map_or_else(|| first_line(lines), |at| at + 1)
}

#[cfg(test)]
mod tests;
