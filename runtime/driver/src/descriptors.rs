//! File descriptors that run out, which every edge of the process meets at the same time.
//!
//! The exhaustion is logged once when it begins, and once when it is over: a descriptor was had again
//! and no attempt has failed for [`CALM`]. In between, attempts are counted, however often edges try.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep_until};

/// How long no attempt may fail before the exhaustion is over.
const CALM: Duration = Duration::from_secs(1);

/// Whether there are descriptors left, as the edges of an engine find out.
#[derive(Clone, Default)]
pub struct Descriptors(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there is an episode, for those who pass without a lock.
    exhausted: AtomicBool,
    episode: Mutex<Option<Episode>>,
}

/// An exhaustion that is not over.
struct Episode {
    failed_attempts: u64,
    last_failure: Instant,
    /// A descriptor was had since the last failure.
    recovers: bool,
    /// A task waits for the end.
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
    /// Takes note of how an attempt went that needs a descriptor; whether it failed for want of one.
    /// Called in a task of a worker.
    pub fn note<T>(&self, attempt: &io::Result<T>) -> bool {
        match attempt {
            Ok(_) => {
                if self.0.exhausted.load(Ordering::Relaxed) {
                    self.had();
                }
                false
            }
            Err(error) if is_exhaustion(error) => {
                self.failed(error);
                true
            }
            // It may have failed before it needed a descriptor.
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

    fn had(&self) {
        let mut episode = self.episode();
        if let Some(episode) = episode.as_mut() {
            episode.recovers = true;
            if !std::mem::replace(&mut episode.awaited, true) {
                tokio::task::spawn_local(self.clone().wait());
            }
        }
    }

    /// Waits for the end of the episode, or until it is known that it goes on.
    async fn wait(self) {
        while let Some(end) = self.end() {
            sleep_until(end).await;
        }
    }

    /// When the episode may end, if it recovers and is not over now.
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

/// Whether there was no descriptor left, in the process (EMFILE) or in the system (ENFILE).
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

    /// How many attempts the current episode counts; `None` where there is none.
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
    fn other_results_are_no_exhaustion() {
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
            // One that is had in between is not the end.
            for count in 6..=8 {
                descriptors.note(&Ok(()));
                sleep(CALM / 2).await;
                descriptors.note(&failure());
                assert_eq!(counted(&descriptors), Some(count));
            }
            // Nor is it the end that nobody tries any more.
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
