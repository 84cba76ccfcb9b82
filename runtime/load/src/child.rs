//! Processes that the load starts: each with a directory of its own, its standard error kept in a
//! file, and an end that comes with the load's own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a process may take to stop when it is asked to, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the end of a killed process is waited for.
const REAP_ATTEMPTS: u32 = 200;
const REAP_STEP: Duration = Duration::from_millis(1);
/// How much of its last words is shown.
const LAST_WORDS: usize = 600;

/// A directory that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        for attempt in 0..1_000 {
            let name = format!("tidegate-bench-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("there is no name left for a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, which clears its temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    directory: Directory,
}

impl Process {
    /// Starts a command. Its standard error goes to a file.
    pub(crate) fn start(
        command: &[String],
        environment: &BTreeMap<String, String>,
        directory: Directory,
        speaks: bool,
    ) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("the command is empty"))?;
        let errors = File::create(directory.path().join("stderr"))?;
        let output = if speaks {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let child = Command::new(program)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        Ok(Self { child, directory })
    }

    /// Its number; `None` once it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it said last on its standard error, and whether it has ended.
    pub(crate) fn last_words(&mut self) -> String {
        let errors = fs::read(self.directory.path().join("stderr")).unwrap_or_default();
        let start = errors.len().saturating_sub(LAST_WORDS);
        let words = String::from_utf8_lossy(errors.get(start..).unwrap_or_default());
        match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}: {}", words.trim()),
            _ => words.trim().to_owned(),
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Asks it to stop, and kills it when it does not.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // One that has just ended cannot be told any more.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        // One that has not stopped by then is killed as it is dropped.
        let _ = timeout(STOP_TIMEOUT, self.child.wait()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // When a run is broken off there is no runtime any more that would wait for its end.
        if matches!(self.child.try_wait(), Ok(None)) && self.child.start_kill().is_ok() {
            for _ in 0..REAP_ATTEMPTS {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(REAP_STEP);
            }
        }
    }
}

/// A port on loopback that nobody listens on.
pub(crate) async fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))
        .await?
        .local_addr()?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_stopped_and_its_directory_goes() {
        let directory = Directory::new().expect("a directory");
        let path = directory.path().to_owned();
        let script = "echo trouble >&2; exec cat";
        let command = ["sh", "-c", script].map(str::to_owned);
        let mut process = Process::start(&command, &BTreeMap::new(), directory, false).expect("sh");
        assert!(process.pid().is_some());
        while !process.last_words().contains("trouble") {
            tokio::task::yield_now().await;
        }
        assert!(!process.has_ended());
        process.stop().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let directory = Directory::new().expect("a directory");
        let command = ["/nowhere/server".to_owned()];
        let error = Process::start(&command, &BTreeMap::new(), directory, true);
        assert!(
            error
                .expect_err("no file")
                .to_string()
                .contains("/nowhere/server")
        );
    }
}
