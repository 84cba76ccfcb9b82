//! The thread that writes: joins events, appends lines, forces them to the disk, and survives a disk
//! that takes none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tidegate_options::Bounded;

use crate::file::{AuditFile, OPENED};
use crate::join::Joiner;
use crate::json::Members;
use crate::options::{OnFailure, Options, Sync};
use crate::queue::Queue;
use crate::record::Record;

/// Reports lost records in the place where they would be.
const GAP: &str = "audit.gap";
/// A failed write is tried again after this time, and lines are forced to the disk so often.
const INTERVAL: Duration = Duration::from_secs(1);
/// The log says so often that records are lost.
const SHOUT: Duration = Duration::from_mins(1);
/// How long an idle writer sleeps.
const IDLE: Duration = Duration::from_hours(1);

/// What the writer and the workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// The last write failed.
    pub(crate) failing: AtomicBool,
    /// Number of records written.
    pub(crate) written: AtomicU64,
}

/// State of the thread.
pub(crate) struct Writer {
    name: String,
    shared: Arc<Shared>,
    file: AuditFile,
    joiner: Joiner,
    sync: Sync,
    on_failure: OnFailure,
    started: Instant,
    /// Lines were written since they were last forced to the disk.
    unsynced: bool,
    synced_at: Instant,
    failure: Failure,
}

/// Records that were not written, until a line reports them.
#[derive(Debug, Default)]
struct Failure {
    lost: u64,
    tried_at: Option<Instant>,
    /// The last attempt to force lines to the disk failed.
    unforced: bool,
    shouted_at: Option<Instant>,
}

fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

impl Writer {
    pub(crate) fn new(name: &str, options: &Options, shared: Arc<Shared>) -> io::Result<Self> {
        let files_max = options.max_files.map(Bounded::size);
        let path = options.path.clone();
        let file = AuditFile::open(path, options.rotation(), files_max, wall_clock())?;
        Ok(Self {
            name: name.to_owned(),
            shared,
            file,
            joiner: Joiner::new(options.payload_rule()),
            sync: options.sync,
            on_failure: options.on_failure,
            started: Instant::now(),
            unsynced: false,
            synced_at: Instant::now(),
            failure: Failure::default(),
        })
    }

    /// Writes until the queue is stopped.
    pub(crate) fn run(mut self) {
        let mut ready = Vec::new();
        let mut version = Members::default();
        version.text("software", concat!("tidegate ", env!("CARGO_PKG_VERSION")));
        self.write_or_lose(OPENED, &version.into_text(), wall_clock());
        loop {
            let batch = self.shared.queue.take(self.patience());
            let now = self.now();
            for entry in batch.entries {
                self.joiner.push(entry, now, &mut ready);
            }
            self.joiner.expire(now, &mut ready);
            if batch.stopping {
                self.joiner.finish(&mut ready);
            }
            if !ready.is_empty() {
                self.file.keep_place(wall_clock());
            }
            for record in ready.drain(..) {
                self.write(&record, batch.stopping);
            }
            self.failure.lost += batch.dropped;
            self.report_gap();
            self.sync_if_due();
            if batch.stopping {
                break;
            }
        }
        self.seal();
        self.shared.queue.finish();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long to wait for entries.
    fn patience(&self) -> Duration {
        if self.unsynced && self.sync != Sync::Never || self.failure.lost > 0 || self.is_failing() {
            return INTERVAL;
        }
        let deadline = self.joiner.next_deadline();
        deadline.map_or(IDLE, |at| {
            Duration::from_micros(at.saturating_sub(self.now()))
        })
    }

    /// Writes a record. Without success it is lost, or kept until it is written or the stop.
    fn write(&mut self, record: &Record, mut stopping: bool) {
        let members = record.members();
        while !self.write_or_fail(record.event(), &members, record.at) {
            if self.on_failure == OnFailure::Drop || stopping {
                return self.lose();
            }
            stopping = self.shared.queue.wait_for_stop(INTERVAL);
            self.failure.tried_at = None;
        }
    }

    fn write_or_lose(&mut self, event: &str, members: &str, at: u64) {
        if !self.write_or_fail(event, members, at) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.failure.lost += 1;
        self.shared.queue.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a line, and before it the gap, if there is one. A disk that took nothing a moment ago is
    /// not asked again.
    fn write_or_fail(&mut self, event: &str, members: &str, at: u64) -> bool {
        let recently = |at: Instant| at.elapsed() < INTERVAL;
        if self.failure.tried_at.is_some_and(recently) || !self.write_gap() {
            return false;
        }
        let written = self.file.append(at, event, members);
        self.note(written)
    }

    /// Writes the line that reports lost records, if there are any.
    fn write_gap(&mut self) -> bool {
        if self.failure.lost == 0 {
            return true;
        }
        let mut members = Members::default();
        members.number("lost", self.failure.lost);
        let written = self.file.append(wall_clock(), GAP, &members.into_text());
        if !self.note(written) {
            return false;
        }
        let lost = std::mem::take(&mut self.failure.lost);
        let exporter = &self.name;
        tracing::warn!(
            exporter,
            lost,
            "audit records were lost; a line of the audit log says how many"
        );
        true
    }

    fn report_gap(&mut self) {
        let recently = |at: Instant| at.elapsed() < INTERVAL;
        if !self.failure.tried_at.is_some_and(recently) {
            self.write_gap();
        }
    }

    fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// Notes the outcome of a write, and returns whether it succeeded.
    fn note(&mut self, written: io::Result<()>) -> bool {
        let Err(error) = written else {
            self.failure.tried_at = None;
            self.unsynced = true;
            self.shared.written.fetch_add(1, Ordering::Relaxed);
            self.recovered();
            return true;
        };
        self.failure.tried_at = Some(Instant::now());
        self.failed(&error);
        false
    }

    /// Notes whether the lines were forced to the disk. Without that, nothing recovers: neither by a line
    /// that is only written, nor later than the disk, since no call would bring one while all are refused.
    fn note_forced(&mut self, forced: io::Result<()>) {
        self.failure.unforced = forced.is_err();
        match forced {
            Ok(()) => {
                self.unsynced = false;
                self.recovered();
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Something worked again; ends the failure if nothing else fails.
    fn recovered(&mut self) {
        let fails = self.failure.unforced || self.failure.tried_at.is_some();
        if !fails && self.shared.failing.swap(false, Ordering::Relaxed) {
            self.failure.shouted_at = None;
            let exporter = &self.name;
            tracing::warn!(exporter, "the audit log is written again");
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.shared.failing.store(true, Ordering::Relaxed);
        let due = |at: Instant| now.duration_since(at) >= SHOUT;
        if self.failure.shouted_at.is_none_or(due) {
            self.failure.shouted_at = Some(now);
            let (exporter, lost) = (&self.name, self.failure.lost);
            let consequence = match self.on_failure {
                OnFailure::Drop => "calls go on and are not recorded",
                OnFailure::Refuse => "new calls are refused",
            };
            tracing::error!(
                exporter,
                lost,
                "the audit log cannot be written: {error}; {consequence}"
            );
        }
    }

    fn sync_if_due(&mut self) {
        let due = match self.sync {
            Sync::Never => false,
            Sync::Interval => self.synced_at.elapsed() >= INTERVAL,
            Sync::Always => true,
        };
        if !self.unsynced || !due {
            return;
        }
        self.synced_at = Instant::now();
        let forced = self.file.sync();
        self.note_forced(forced);
    }

    fn seal(&mut self) {
        let exporter = &self.name;
        if let Err(error) = self.file.seal(wall_clock()) {
            let lost = self.failure.lost;
            tracing::error!(exporter, lost, "the audit file was not sealed: {error}");
            return;
        }
        let chain = self.file.chain();
        let last_line = chain.next.saturating_sub(1);
        // Kept with the log, the hash shows later that no line is missing.
        tracing::info!(exporter, last_line, head = %chain.head, "audit file sealed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(name: &str) -> Writer {
        let file = format!("tidegate-audit-{name}-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(file);
        let options = serde_json::json!({ "path": path, "onFailure": "refuse" });
        let options: Options = serde_json::from_value(options).expect("options");
        let shared = Shared {
            queue: Queue::new(10_000),
            failing: AtomicBool::new(false),
            written: AtomicU64::new(0),
        };
        let writer = Writer::new("audit", &options, Arc::new(shared)).expect("a file");
        // It stays open, and is gone when the test ends.
        std::fs::remove_file(path).expect("it was there");
        writer
    }

    #[test]
    fn calls_are_refused_until_lines_are_forced_to_the_disk_again() {
        let mut writer = writer("forced");
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert!(writer.write_or_fail("test", "", 1) && !writer.is_failing());
        writer.note_forced(full());
        assert!(writer.is_failing());
        assert!(writer.write_or_fail("test", "", 2), "it is written");
        assert!(writer.is_failing(), "and nobody knows whether it stays");
        writer.note_forced(Ok(()));
        assert!(!writer.is_failing(), "no further line is needed");

        writer.note(full());
        writer.note_forced(Ok(()));
        assert!(writer.is_failing(), "the last line was not written");
        assert!(writer.note(Ok(())) && !writer.is_failing());
    }
}
