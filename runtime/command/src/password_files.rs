//! Reads the password files of `mqtt · client`: small local files, once for each connection.
//!
//! A file system may hang, as one on the network does when its server is away, and a worker must not hang
//! with it. So a thread reads the file, and the worker waits for it [`PATIENCE`] at most. While a read
//! hangs, further ones of the same file fail at once: each worker has at most one thread for each file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tidegate_binding_mqtt::client::ReadPassword;

/// More than MQTT allows in a password, so that a larger file is recognised without reading it all.
const READ_MAX: u64 = 65_535 + 3;
/// How long a worker waits for a file. A local one takes less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a file contains.
type Content = io::Result<Vec<u8>>;

/// The files of this host. A relative path begins at the working directory.
#[derive(Debug)]
pub(crate) struct PasswordFiles {
    read: fn(&Path) -> Content,
    /// Reads that took too long, by path.
    hanging: RefCell<BTreeMap<PathBuf, Receiver<Content>>>,
}

impl Default for PasswordFiles {
    fn default() -> Self {
        Self {
            read: content,
            hanging: RefCell::default(),
        }
    }
}

fn content(path: &Path) -> Content {
    let mut content = Vec::new();
    File::open(path)?.take(READ_MAX).read_to_end(&mut content)?;
    Ok(content)
}

impl PasswordFiles {
    /// Reads a file in a thread.
    fn read_in_time(&self, path: &Path) -> Content {
        let mut hanging = self.hanging.borrow_mut();
        let late = || {
            let patience = PATIENCE.as_millis();
            let why = format!("its file system did not answer within {patience} ms");
            io::Error::new(ErrorKind::TimedOut, why)
        };
        match hanging.get(path).map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return Err(late()),
            // It is read again, since it may have changed meanwhile.
            Some(Ok(_) | Err(TryRecvError::Disconnected)) => {
                hanging.remove(path);
            }
            None => {}
        }
        let (answer, receiver) = channel();
        let (read, read_path) = (self.read, path.to_owned());
        thread::Builder::new()
            .name("tidegate-password".to_owned())
            .spawn(move || {
                // Nobody waits for it after the worker has stopped.
                let _ = answer.send(read(&read_path));
            })?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(content) => content,
            Err(RecvTimeoutError::Timeout) => {
                hanging.insert(path.to_owned(), receiver);
                Err(late())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it was not read")),
        }
    }
}

impl ReadPassword for PasswordFiles {
    fn read(&self, path: &Path) -> Result<Bytes, String> {
        let read = self.read_in_time(path);
        let mut content = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "it does not exist".to_owned(),
            ErrorKind::PermissionDenied => "it is not readable for this user".to_owned(),
            _ => error.to_string(),
        })?;
        if content.last() == Some(&b'\n') {
            content.pop();
            if content.last() == Some(&b'\r') {
                content.pop();
            }
        }
        Ok(content.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_removed_and_faults_are_named() {
        let folder = std::env::temp_dir().join(format!("tidegate-password-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("token");
        for (content, expected) in [
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
        ] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(PasswordFiles::default().read(&path), Ok(expected.into()));
        }
        let missing = PasswordFiles::default().read(&folder.join("other"));
        assert_eq!(missing, Err("it does not exist".to_owned()));
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_that_hangs_does_not_hold_up_the_worker() {
        use std::sync::Mutex;

        static HELD: Mutex<()> = Mutex::new(());
        let held = HELD.lock().expect("the lock");
        let files = PasswordFiles {
            read: |path| match path.to_str() {
                Some("/hangs") => {
                    drop(HELD.lock());
                    Ok(b"late".to_vec())
                }
                _ => Ok(b"word\n".to_vec()),
            },
            ..PasswordFiles::default()
        };
        let hangs = Path::new("/hangs");
        for _ in 0..3 {
            let error = files.read(hangs).expect_err("it hangs");
            assert!(error.contains("did not answer within 250 ms"), "{error}");
        }
        assert_eq!(files.hanging.borrow().len(), 1, "one thread");
        assert_eq!(files.read(Path::new("/other")), Ok("word".into()));
        drop(held);
        let read = loop {
            if let Ok(read) = files.read(hangs) {
                break read;
            }
            thread::yield_now();
        };
        assert_eq!(read, "late");
        assert!(files.hanging.borrow().is_empty());
    }
}
