//! The time at which certificates are verified.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tidegate_engine::WallTime;

/// The wall clock of the context, for rustls. The binding sets it before it calls rustls.
#[derive(Debug, Default)]
pub struct Clock {
    /// Seconds since the Unix epoch. All workers set it, to nearly the same value.
    seconds: AtomicU64,
}

impl Clock {
    /// Sets it.
    pub(crate) fn set(&self, now: WallTime) {
        let seconds = now.unix_millis() / 1_000;
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = Duration::from_secs(self.seconds.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(since))
    }
}
