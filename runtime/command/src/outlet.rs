//! A standard stream that holds nobody up: a thread of its own writes it.
//!
//! - [`Outlet::push`] puts lines into a queue and returns. It waits for nothing but the queue's lock,
//!   which is not held while the stream is written.
//! - At most [`QUEUE_MAX`] bytes wait, and as many are being written. What does not fit is dropped and
//!   counted, and so is what the stream refuses to take: a full disk, a reader that has gone.
//! - A gap is reported in its place, as soon as a line can be written again.
//! - What was pushed last is written when the process ends, as long as somebody takes it
//!   ([`Outlet::flush`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait.
pub(crate) const QUEUE_MAX: usize = 256 * 1024;
/// A buffer that is larger is not kept when it is empty.
const KEPT: usize = 16 * 1024;
/// How long to wait before a stream is tried again that would block. Whoever shares it may have made it
/// non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Lines that were not written.
#[derive(Debug)]
pub(crate) struct Gap {
    /// How many.
    pub(crate) lines: u64,
    /// Why, where the stream refused them; otherwise they came faster than it took them.
    pub(crate) error: Option<io::Error>,
}

/// Puts a gap into words: a whole line.
pub(crate) type Report = Box<dyn Fn(&Gap) -> String + Send>;

/// The stream, as those see it who write to it.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines that did not fit behind `lines`. Nothing is taken until that is known to the writer, so
    /// that a gap is in one place.
    dropped: u64,
    /// The writer has nothing to write.
    idle: bool,
}

impl Outlet {
    /// Starts the thread that writes a stream.
    pub(crate) fn start(name: &str, stream: impl AsFd, report: Report) -> io::Result<Self> {
        // A descriptor of its own: the standard library's lock of a stream is held while it blocks.
        let stream = stream.as_fd().try_clone_to_owned()?;
        Self::write_to(name, File::from(stream), report)
    }

    fn write_to(
        name: &str,
        stream: impl Write + Send + 'static,
        report: Report,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut writer = Writer::new(stream, report);
        let queue = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let dropped = queue.take(&mut batch);
                    writer.write(&batch, dropped);
                }
            })?;
        Ok(Self(shared))
    }

    /// Has whole lines written, if there is room for them.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut queue = self.0.queue();
        if queue.dropped > 0 || queue.lines.len() + lines.len() > QUEUE_MAX {
            queue.dropped += count(lines);
        } else {
            queue.lines.extend_from_slice(lines);
        }
        if std::mem::replace(&mut queue.idle, false) {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all lines are written or dropped, or the time is over.
    pub(crate) fn flush(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let busy = |queue: &mut Queue| !queue.idle;
        let waited = self
            .0
            .written
            .wait_timeout_while(self.0.queue(), left, busy);
        drop(waited);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No holder of the lock leaves the queue half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes all of them; how many were dropped behind them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        if batch.capacity() > KEPT {
            *batch = Vec::new();
        }
        let mut queue = self.queue();
        while queue.lines.is_empty() && queue.dropped == 0 {
            queue.idle = true;
            self.written.notify_all();
            let waited = self.filled.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(batch, &mut queue.lines);
        std::mem::take(&mut queue.dropped)
    }
}

/// The stream, as its thread writes it.
struct Writer<W> {
    stream: W,
    report: Report,
    /// What is still to be reported.
    gap: Gap,
    /// The last line that was begun was not written to its end.
    torn: bool,
}

impl<W: Write> Writer<W> {
    fn new(stream: W, report: Report) -> Self {
        Self {
            stream,
            report,
            gap: Gap {
                lines: 0,
                error: None,
            },
            torn: false,
        }
    }

    /// Writes lines, and takes note of those that were dropped behind them.
    fn write(&mut self, lines: &[u8], dropped: u64) {
        if self.report_gap() {
            let written = self.write_all(lines);
            self.lose(lines, written);
        } else {
            self.gap.lines += count(lines);
        }
        if dropped > 0 {
            self.gap.lines += dropped;
            self.report_gap();
        }
    }

    /// Whether there is no gap that is still to be reported.
    fn report_gap(&mut self) -> bool {
        if self.gap.lines > 0 {
            let end = if self.torn { "\n" } else { "" };
            let line = format!("{end}{}", (self.report)(&self.gap));
            match self.write_all(line.as_bytes()) {
                Ok(()) => {
                    self.gap = Gap {
                        lines: 0,
                        error: None,
                    };
                }
                Err((_, error)) => self.gap.error = Some(error),
            }
        }
        self.gap.lines == 0
    }

    fn lose(&mut self, lines: &[u8], written: Result<(), (usize, io::Error)>) {
        if let Err((written, error)) = written {
            self.gap.lines += count(lines.get(written..).unwrap_or_default());
            self.gap.error = Some(error);
        }
    }

    /// How far it came, where the stream takes no more.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(length) => {
                    written += length;
                    self.torn = bytes.get(written - 1) != Some(&b'\n');
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(RETRY);
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

/// How many lines end here.
fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests;
