//! An `audit` exporter: takes events from the workers, and owns the thread that writes them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tidegate_driver::Export;
use tidegate_engine::{Emitted, Meter};
use tidegate_streams::{Audit as Kind, Value};

use crate::entry::Entry;
use crate::hash::Hash;
use crate::options::{OnFailure, Options};
use crate::queue::Queue;
use crate::writer::{Shared, Writer};

/// What a client is told while calls cannot be recorded.
const REFUSED: &str = "The gateway cannot record calls now (audit log); retry later.";

/// Starting an exporter failed.
#[derive(Debug, Error)]
pub enum StartError {
    /// The file cannot be opened.
    #[error("audit exporter '{exporter}': cannot write {path}: {error}")]
    File {
        /// Name of the exporter.
        exporter: String,
        /// Path of the file.
        path: String,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The thread cannot be started.
    #[error("audit exporter '{exporter}': cannot start a thread: {error}")]
    Thread {
        /// Name of the exporter.
        exporter: String,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// The start of a gateway, which is recorded first.
#[derive(Debug, Clone)]
pub struct Started<'a> {
    /// Name of the config.
    pub config: &'a str,
    /// Text of the config, of which the SHA-256 is recorded.
    pub text: &'a str,
    /// Number of workers.
    pub workers: u16,
    /// In microseconds since the Unix epoch.
    pub at: u64,
}

impl Started<'_> {
    fn entry(&self) -> Entry {
        let sha256 = Hash::of(self.text.as_bytes()).to_string();
        Entry {
            at: self.at,
            worker: 0,
            binding: "".into(),
            trace: 0,
            id: "gateway.started",
            audit: Kind::Line,
            identity: None,
            fields: vec![
                ("config", Value::Text(self.config.into())),
                ("configSha256", Value::Text(sha256.into())),
                ("workers", Value::Integer(self.workers.into())),
            ],
            payload: None,
        }
    }
}

/// A running exporter.
#[derive(Debug)]
pub struct Audit {
    name: String,
    on_failure: OnFailure,
    shared: Arc<Shared>,
}

impl Audit {
    /// Opens the file, starts the thread, and records the start of the gateway.
    pub fn start(
        name: &str,
        options: &Options,
        started: &Started<'_>,
    ) -> Result<Arc<Self>, StartError> {
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_size.size()),
            failing: AtomicBool::new(false),
            written: AtomicU64::new(0),
        });
        let writer = Writer::new(name, options, Arc::clone(&shared));
        let writer = writer.map_err(|error| StartError::File {
            exporter: name.to_owned(),
            path: options.path.display().to_string(),
            error,
        })?;
        std::thread::Builder::new()
            .name(format!("tidegate-{name}"))
            .spawn(move || writer.run())
            .map_err(|error| StartError::Thread {
                exporter: name.to_owned(),
                error,
            })?;
        shared.queue.push(started.entry());
        Ok(Arc::new(Self {
            name: name.to_owned(),
            on_failure: options.on_failure,
            shared,
        }))
    }

    /// Writes what is queued, and seals the file; returns whether that was done `within` this time.
    pub fn stop(&self, within: Duration) -> bool {
        self.shared.queue.stop(within)
    }
}

impl Export for Audit {
    fn name(&self) -> &str {
        &self.name
    }

    fn report(&self, meter: &mut dyn Meter) {
        let shared = &self.shared;
        meter.counter("audit.lines", shared.written.load(Ordering::Relaxed));
        meter.counter("audit.lost", shared.queue.lost.load(Ordering::Relaxed));
        meter.gauge("audit.queue.bytes", shared.queue.bytes());
        let failing = shared.failing.load(Ordering::Relaxed);
        meter.gauge("audit.failing", usize::from(failing));
    }

    fn record(&self, worker: u16, binding: &str, event: &Emitted) {
        self.shared.queue.push(Entry::copy(worker, binding, event));
    }

    fn lost(&self, events: u64) {
        self.shared.queue.drop_some(events);
    }

    fn calls_refused(&self) -> Option<&'static str> {
        let refuses = self.on_failure == OnFailure::Refuse;
        let shared = &self.shared;
        let full = || shared.failing.load(Ordering::Relaxed) || shared.queue.is_pressed();
        (refuses && full()).then_some(REFUSED)
    }
}
