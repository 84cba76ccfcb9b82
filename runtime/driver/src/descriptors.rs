//! Detects exhausted file descriptors, which affect every edge of the process.
//!
//! The exhaustion is logged once when it begins and once when it ends. It ends when a descriptor
//! was allocated and no attempt has failed for [`CALM`]. Failed attempts in between are only
//! counted.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep_until};

/// Time without a failed attempt after which the exhaustion ends.
const CALM: Duration = Duration::from_secs(1);

/// Availability of file descriptors, shared by the edges of an engine.
#[derive(Clone, Default)]
pub struct Descriptors(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there is an episode; read without taking the lock.
    exhausted: AtomicBool,
    episode: Mutex<Option<Episode>>,
}

/// An exhaustion that has not ended.
struct Episode {
    failed_attempts: u64,
    last_failure: Instant,
    /// A descriptor was allocated since the last failure.
    recovers: bool,
    /// A task is waiting for the end.
    awaited: bool,
}

impl Episode {
    fn began() -> Self {
        Self {
            failed_attempts: 0,
            last_failure: Instant::now(),
            recovers: false,
            awaited: false,
        }
    }

    fn fail(&mut self) {
        self.failed_attempts += 1;
        self.last_failure = Instant::now();
        self.recovers = false;
    }

    fn ends_at(&self) -> Instant {
        self.last_failure + CALM
    }
}

impl Descriptors {
    /// Records the result of an attempt that needs a descriptor; returns whether it failed because
    /// none was available. Must be called in a task of a worker.
    pub fn note<T>(&self, attempt: &io::Result<T>) -> bool {
        match attempt {
            Ok(_) => {
                if self.0.exhausted.load(Ordering::Relaxed) {
                    self.succeeded();
                }
                false
            }
            Err(error) if is_exhaustion(error) => {
                self.failed(error);
                true
            }
            // The attempt may have failed before it needed a descriptor.
            Err(_) => false,
        }
    }

    fn failed(&self, error: &io::Error) {
        let mut episode = self.episode();
        if episode.is_none() {
            self.0.exhausted.store(true, Ordering::Relaxed);
            tracing::warn!(
                %error,
                "file descriptors exhausted: connections wait to be accepted, and brokers cannot be \
                 reached; raise the limit (ulimit -n) or lower maxConnections"
            );
        }
        episode.get_or_insert_with(Episode::began).fail();
    }

    fn succeeded(&self) {
        let mut episode = self.episode();
        if let Some(episode) = episode.as_mut() {
            episode.recovers = true;
            if !std::mem::replace(&mut episode.awaited, true) {
                tokio::task::spawn_local(self.clone().wait());
            }
        }
    }

    /// Waits until the episode ends, or is known to continue.
    async fn wait(self) {
        while let Some(end) = self.end() {
            sleep_until(end).await;
        }
    }

    /// When the episode may end, if it recovers and has not ended.
    fn end(&self) -> Option<Instant> {
        let mut current = self.episode();
        let episode = current.as_mut()?;
        if !episode.recovers {
            episode.awaited = false;
            return None;
        }
        let end = episode.ends_at();
        if Instant::now() < end {
            return Some(end);
        }
        tracing::warn!(
            failed_attempts = episode.failed_attempts,
            "file descriptors are available again"
        );
        *current = None;
        self.0.exhausted.store(false, Ordering::Relaxed);
        None
    }

    fn episode(&self) -> MutexGuard<'_, Option<Episode>> {
        let episode = self.0.episode.lock();
        episode.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the error means that the process (EMFILE) or the system (ENFILE) has no descriptor left.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::{advance, sleep};

    use super::*;

    fn failure() -> io::Result<()> {
        Err(Errno::MFILE.into())
    }

    /// Failed attempts of the current episode; `None` without one.
    fn counted(descriptors: &Descriptors) -> Option<u64> {
        let episode = descriptors.episode();
        episode.as_ref().map(|episode| episode.failed_attempts)
    }

    fn on_a_worker(test: impl Future<Output = ()>) {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true);
        let runtime = runtime.build_local(LocalOptions::default());
        runtime.expect("a runtime").block_on(test);
    }

    #[test]
    fn other_errors_are_not_exhaustion() {
        let descriptors = Descriptors::default();
        assert!(!descriptors.note(&Ok(())));
        let refused: io::Result<()> = Err(io::ErrorKind::ConnectionRefused.into());
        assert!(!descriptors.note(&refused));
        assert_eq!(counted(&descriptors), None);
    }

    #[test]
    fn an_episode_lasts_until_no_attempt_fails_for_a_while() {
        on_a_worker(async {
            let descriptors = Descriptors::default();
            for count in 1..=5 {
                assert!(descriptors.note(&failure()));
                assert_eq!(counted(&descriptors), Some(count));
            }
            // One allocated descriptor in between does not end it.
            for count in 6..=8 {
                descriptors.note(&Ok(()));
                sleep(CALM / 2).await;
                descriptors.note(&failure());
                assert_eq!(counted(&descriptors), Some(count));
            }
            // Neither does the absence of attempts.
            advance(CALM * 10).await;
            assert_eq!(counted(&descriptors), Some(8));
            descriptors.note(&Ok(()));
            sleep(CALM * 2).await;
            assert_eq!(counted(&descriptors), None);
            descriptors.note(&failure());
            assert_eq!(counted(&descriptors), Some(1));
        });
    }

    #[test]
    fn the_workers_of_an_engine_share_an_episode() {
        on_a_worker(async {
            let (one, other) = {
                let descriptors = Descriptors::default();
                (descriptors.clone(), descriptors)
            };
            one.note(&failure());
            other.note(&failure());
            assert_eq!(counted(&one), Some(2));
            other.note(&Ok(()));
            sleep(CALM * 2).await;
            assert_eq!(counted(&one), None);
        });
    }
}
