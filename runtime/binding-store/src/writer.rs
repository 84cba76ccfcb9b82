//! The thread that reads and writes the file.
//!
//! It takes all commands that wait, and makes their writes durable with one transaction: while the disk is
//! busy, further ones gather. After a failure the file is closed; the next stream opens it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use tidegate_engine::StreamId;
use tokio::sync::mpsc::UnboundedSender;

use crate::file::{Change, RecordFile};

/// Most writes of a transaction.
const BATCH_MAX: usize = 10_000;

/// What the thread does, for a stream.
#[derive(Debug)]
pub(crate) enum Command {
    /// Reads all records.
    Read(StreamId),
    Write(StreamId, Write),
    /// Closes the file.
    Close(StreamId),
}

/// A write.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) number: u64,
    pub(crate) change: Change,
    /// Bytes of the stream's credit that it holds.
    pub(crate) credit: usize,
}

/// What the thread has done.
#[derive(Debug)]
pub(crate) enum Report {
    /// All records.
    Records(StreamId, Vec<(u64, Bytes)>),
    /// Writes are durable, up to a number.
    Stored {
        stream: StreamId,
        number: u64,
        credit: usize,
        writes: usize,
    },
    /// The file cannot be used any more; why.
    Failed(StreamId, String),
    Closed(StreamId),
}

/// The thread's state.
pub(crate) struct Writer {
    path: PathBuf,
    /// `None` after a failure, and while no stream is open.
    file: Option<RecordFile>,
    reports: UnboundedSender<Report>,
}

impl Writer {
    pub(crate) const fn new(
        path: PathBuf,
        file: RecordFile,
        reports: UnboundedSender<Report>,
    ) -> Self {
        Self {
            path,
            file: Some(file),
            reports,
        }
    }

    /// Works until the edge is dropped.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut batch = Batch::default();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Write(stream, write) => batch.add(stream, write),
                    Command::Read(stream) => {
                        self.write(&mut batch);
                        self.read(stream);
                    }
                    Command::Close(stream) => {
                        self.write(&mut batch);
                        self.file = None;
                        self.tell(Report::Closed(stream));
                    }
                }
                next = if batch.changes.len() < BATCH_MAX {
                    commands.try_recv().ok()
                } else {
                    None
                };
            }
            self.write(&mut batch);
        }
    }

    fn read(&mut self, stream: StreamId) {
        if self.file.is_none() {
            match RecordFile::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) => return self.failed(stream, error.to_string()),
            }
        }
        let Some(file) = &self.file else { return };
        match caught(|| file.read()) {
            Ok(records) => self.tell(Report::Records(stream, records)),
            Err(why) => self.failed(stream, why),
        }
    }

    /// Makes the writes of a batch durable.
    fn write(&mut self, batch: &mut Batch) {
        let Some(last) = batch.last.take() else {
            return;
        };
        let changes = std::mem::take(&mut batch.changes);
        let credit = std::mem::take(&mut batch.credit);
        // After a failure, what was not stored is written again by the next stream.
        let Some(file) = &self.file else { return };
        match caught(|| file.apply(&changes)) {
            Ok(()) => self.tell(Report::Stored {
                stream: last.0,
                number: last.1,
                credit,
                writes: changes.len(),
            }),
            Err(why) => self.failed(last.0, why),
        }
    }

    fn failed(&mut self, stream: StreamId, why: String) {
        self.file = None;
        self.tell(Report::Failed(stream, why));
    }

    fn tell(&self, report: Report) {
        // The worker has ended if nobody hears it.
        let _ = self.reports.send(report);
    }
}

/// What the library does, or why it failed; a panic is a failure too.
fn caught<T>(act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the file has invalid content".to_owned()),
    }
}

/// The writes of a transaction.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    credit: usize,
    /// The stream and the number of the last one.
    last: Option<(StreamId, u64)>,
}

impl Batch {
    fn add(&mut self, stream: StreamId, write: Write) {
        if self.last.is_some_and(|(last, _)| last != stream) {
            // The credit of a stream that is over is of no use.
            self.credit = 0;
        }
        self.credit += write.credit;
        self.last = Some((stream, write.number));
        self.changes.push(write.change);
    }
}
