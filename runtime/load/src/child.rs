//! Child processes: each has its own directory, its standard error goes to a file, and it is killed when
//! the benchmark ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Time to stop after SIGTERM before the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Time to wait for the end of a killed process.
const REAP_ATTEMPTS: u32 = 200;
const REAP_STEP: Duration = Duration::from_millis(1);
/// Most bytes of standard error shown in messages.
const LAST_WORDS: usize = 600;

/// A temporary directory, removed on drop.
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
        Err(io::Error::other(
            "cannot create a temporary directory: all names are taken",
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in the directory.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Ignore errors: the system clears its temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running process, killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    directory: Directory,
}

impl Process {
    /// Starts a command with standard error redirected to a file.
    pub(crate) fn start(
        command: &[String],
        environment: &BTreeMap<String, String>,
        directory: Directory,
        speaks: bool,
    ) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("empty command"))?;
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

    /// Process id; `None` once it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Exit status, if it has ended, and the end of its standard error.
    pub(crate) fn diagnosis(&mut self) -> String {
        let errors = fs::read(self.directory.path().join("stderr")).unwrap_or_default();
        let start = errors.len().saturating_sub(LAST_WORDS);
        let words = String::from_utf8_lossy(errors.get(start..).unwrap_or_default());
        match self.child.try_wait() {
            Ok(Some(status)) => format!("exited with {status}: {}", words.trim()),
            _ => words.trim().to_owned(),
        }
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Sends SIGTERM, and kills the process after [`STOP_TIMEOUT`].
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // Fails if the process has just ended.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        // Otherwise it is killed on drop.
        let _ = timeout(STOP_TIMEOUT, self.child.wait()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // When a run is interrupted, no runtime is left to wait for the process.
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

/// Ends when standard input does, which the parent process holds open.
pub(crate) async fn end_of_input() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(input.read(&mut bytes).await, Ok(1..)) {}
}

/// A free port on loopback.
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
    async fn a_stopped_process_removes_its_directory() {
        let directory = Directory::new().expect("a directory");
        let path = directory.path().to_owned();
        let script = "echo trouble >&2; exec cat";
        let command = ["sh", "-c", script].map(str::to_owned);
        let mut process = Process::start(&command, &BTreeMap::new(), directory, false).expect("sh");
        assert!(process.pid().is_some());
        while !process.diagnosis().contains("trouble") {
            tokio::task::yield_now().await;
        }
        assert!(!process.has_ended());
        process.stop().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_failed_start_names_the_program() {
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
