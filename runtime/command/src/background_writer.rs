//! Writes a standard stream or the log file from a separate thread, so that callers never block.
//!
//! - [`BackgroundWriter::push`] queues lines and returns. It takes only the lock of the queue, which is not held
//!   while the stream is written.
//! - At most [`QUEUE_MAX`] bytes are queued, and as many are being written. Further lines are dropped and
//!   counted, and so are lines that the stream rejects (disk full, closed pipe).
//! - A gap is reported where it occurred, as soon as a line can be written again.
//! - [`BackgroundWriter::flush`] waits for the last lines when the process ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most queued bytes.
pub(crate) const QUEUE_MAX: usize = 256 * 1024;
/// An empty buffer with a larger capacity is freed.
const BUFFER_KEEP_MAX: usize = 16 * 1024;
/// Delay before a write is retried after `WouldBlock`: another process that shares the stream may have
/// made it non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Lines that were not written.
#[derive(Debug)]
pub(crate) struct Gap {
    /// Number of lines.
    pub(crate) lines: u64,
    /// The write error; `None` if the queue was full.
    pub(crate) error: Option<io::Error>,
}

/// Formats the line that reports a gap.
pub(crate) type Report = Box<dyn Fn(&Gap) -> String + Send>;

/// Handle of a stream that is written by a thread.
#[derive(Clone)]
pub(crate) struct BackgroundWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines dropped after `lines`. While this is not 0, all further lines are dropped too, so that a gap
    /// is contiguous.
    dropped: u64,
    /// The thread waits for lines.
    idle: bool,
}

impl BackgroundWriter {
    /// Starts the thread that writes a stream.
    pub(crate) fn start(name: &str, stream: impl AsFd, report: Report) -> io::Result<Self> {
        // Use a separate descriptor: the lock of the standard library is held while a write blocks.
        let stream = stream.as_fd().try_clone_to_owned()?;
        Self::write_to(name, File::from(stream), report)
    }

    /// Starts the thread that writes to `stream`.
    pub(crate) fn write_to(
        name: &str,
        stream: impl Write + Send + 'static,
        report: Report,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut writer = StreamWriter::new(stream, report);
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

    /// Queues whole lines, or drops them if the queue is full.
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

    /// Waits until all lines are written or dropped, at most until `deadline`.
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
        // The queue is consistent even if a holder of the lock panicked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and moves them to `batch`; returns the number of lines dropped after them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        if batch.capacity() > BUFFER_KEEP_MAX {
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

/// The thread's side: the stream and the unreported gap.
struct StreamWriter<W> {
    stream: W,
    report: Report,
    /// The gap that is not reported yet.
    gap: Gap,
    /// The last line was written only in part.
    partial_line: bool,
}

impl<W: Write> StreamWriter<W> {
    fn new(stream: W, report: Report) -> Self {
        Self {
            stream,
            report,
            gap: Gap {
                lines: 0,
                error: None,
            },
            partial_line: false,
        }
    }

    /// Writes lines, then records the lines dropped after them.
    fn write(&mut self, lines: &[u8], dropped: u64) {
        if self.report_gap() {
            let written = self.write_all(lines);
            self.record_failure(lines, written);
        } else {
            self.gap.lines += count(lines);
        }
        if dropped > 0 {
            self.gap.lines += dropped;
            self.report_gap();
        }
    }

    /// Reports the gap, if any; returns whether none is left.
    fn report_gap(&mut self) -> bool {
        if self.gap.lines > 0 {
            let end = if self.partial_line { "\n" } else { "" };
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

    fn record_failure(&mut self, lines: &[u8], written: Result<(), (usize, io::Error)>) {
        if let Err((written, error)) = written {
            self.gap.lines += count(lines.get(written..).unwrap_or_default());
            self.gap.error = Some(error);
        }
    }

    /// Writes all bytes; an error includes the number of bytes written.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(length) => {
                    written += length;
                    self.partial_line = bytes.get(written - 1) != Some(&b'\n');
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

/// The number of complete lines.
fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests;
