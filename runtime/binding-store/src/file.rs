//! The file: records by key, changed in transactions.
//!
//! It is a redb database with two tables: what it is, and the records. A file that is not one, or is
//! damaged, is an error that says so before anything in it is changed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableHandle as _, backends::FileBackend,
};

/// The records.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// What the file is.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("tidegate store");
/// The key of its format.
const FORMAT: &str = "format";
/// The format that this code writes.
const FORMAT_NOW: u64 = 1;
/// Memory for pages of the file, in bytes: records are read once, and written.
const CACHE: usize = 4 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refuses it.
    #[error(
        "cannot open {}: {error}; its folder must exist, and the gateway must be allowed to write there",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another process or another queue; each needs a 'path' of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is another file, or damaged.
    #[error(
        "{} is not a store of tidegate, or is damaged ({why}). Use another 'path', or move \
         it away to start without what it contains",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version wrote it.
    #[error(
        "{} has format {found}, which a newer tidegate wrote; use that version, or another 'path'",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: u64,
    /// Its new content; `None`: it is removed.
    pub(crate) content: Option<Bytes>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct RecordFile {
    database: Database,
}

impl RecordFile {
    /// Opens a file, or creates it.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let unusable = |error| FileError::Unusable {
            path: path.to_owned(),
            error,
        };
        let found = fs::metadata(path);
        if found
            .as_ref()
            .map_or(true, |it| it.is_file() && it.len() == 0)
        {
            return Self::create(path);
        }
        let file = open_file(path).map_err(unusable)?;
        let opened = guarded(path, || open_database(file))?;
        let mut database = opened.map_err(|error| refused(path, error))?;
        let sound = guarded(path, || database.check_integrity())?;
        sound.map_err(|error| refused(path, error))?;
        let format = guarded(path, || format_of(&database))?;
        match format.map_err(|error| foreign(path, &error))? {
            None => Err(foreign(path, &"it is another redb database")),
            Some(found) if found > FORMAT_NOW => Err(FileError::Newer {
                path: path.to_owned(),
                found,
            }),
            Some(_) => Ok(Self { database }),
        }
    }

    /// Creates a file, under another name until it is complete: a crash meanwhile leaves none that cannot be opened.
    fn create(path: &Path) -> Result<Self, FileError> {
        let unusable = |error| FileError::Unusable {
            path: path.to_owned(),
            error,
        };
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let file = open_file(&new).map_err(unusable)?;
        let opened = file.try_lock().is_ok() && file.set_len(0).is_ok();
        let _ = file.unlock();
        if !opened {
            return Err(FileError::InUse {
                path: path.to_owned(),
            });
        }
        let database = open_database(file).map_err(|error| refused(path, error))?;
        initialize(&database).map_err(|error| foreign(path, &error))?;
        fs::rename(&new, path).map_err(unusable)?;
        sync_folder(path).map_err(unusable)?;
        Ok(Self { database })
    }

    /// All records, in order of their keys.
    pub(crate) fn read(&self) -> Result<Vec<(u64, Bytes)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(RECORDS)?;
        let mut records = Vec::new();
        for entry in table.iter()? {
            let (key, content) = entry?;
            records.push((key.value(), Bytes::copy_from_slice(content.value())));
        }
        Ok(records)
    }

    /// Makes changes durable, all or none.
    pub(crate) fn apply(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for change in changes {
                match &change.content {
                    Some(content) => table.insert(change.key, &content[..])?,
                    None => table.remove(change.key)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Runs what reads a file that may be damaged: a panic of the library is a fault of the file.
fn guarded<T>(path: &Path, act: impl FnOnce() -> T) -> Result<T, FileError> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| foreign(path, &"it has invalid content"))
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// A file whose name is not on the disk is lost in a crash of the machine.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn open_database(file: File) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder.create_with_backend(FileBackend::new(file)?)
}

fn initialize(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert(FORMAT, FORMAT_NOW)?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    Ok(())
}

/// The format of a store; `None` if it is not one.
fn format_of(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let is_store = transaction
        .list_tables()?
        .any(|table| table.name() == ABOUT.name());
    if !is_store {
        return Ok(None);
    }
    let table = transaction.open_table(ABOUT)?;
    Ok(table.get(FORMAT)?.map(|format| format.value()))
}

fn refused(path: &Path, error: DatabaseError) -> FileError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => FileError::InUse {
            path: path.to_owned(),
        },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() != io::ErrorKind::InvalidData
                && error.kind() != io::ErrorKind::UnexpectedEof =>
        {
            FileError::Unusable {
                path: path.to_owned(),
                error,
            }
        }
        other => foreign(path, &other),
    }
}

fn foreign(path: &Path, why: &dyn std::fmt::Display) -> FileError {
    FileError::Foreign {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice differs: to move the file away, or to let the gateway read it.
    #[test]
    fn invalid_content_is_told_from_a_file_that_cannot_be_read() {
        use io::ErrorKind::{InvalidData, PermissionDenied, StorageFull, UnexpectedEof};
        for (kind, is_foreign) in [
            (InvalidData, true),
            (UnexpectedEof, true),
            (PermissionDenied, false),
            (StorageFull, false),
        ] {
            let error = DatabaseError::Storage(StorageError::Io(io::Error::from(kind)));
            let found = match refused(Path::new("a"), error) {
                FileError::Foreign { .. } => true,
                FileError::Unusable { .. } => false,
                other => panic!("{other}"),
            };
            assert_eq!(found, is_foreign, "{kind}");
        }
    }
}
