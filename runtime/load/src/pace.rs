//! Timers with a resolution below one millisecond, for schedules.
//!
//! Timers of tokio have a resolution of 1 ms, which is longer than many calls: the delay would count as
//! latency of the server. Timers of Linux (timerfd) have a resolution of 1 ns.

use std::future::Future;

use tokio::time::{Instant, sleep_until};

/// A timer.
pub(crate) trait Pace {
    fn until(&mut self, moment: Instant) -> impl Future<Output = ()>;
}

/// The timer of tokio, with a resolution of 1 ms.
#[derive(Debug)]
pub(crate) struct Coarse;

impl Pace for Coarse {
    async fn until(&mut self, moment: Instant) {
        sleep_until(moment).await;
    }
}

#[cfg(target_os = "linux")]
pub(crate) use fine::Fine;
#[cfg(not(target_os = "linux"))]
pub(crate) type Fine = Coarse;

#[cfg(not(target_os = "linux"))]
impl Coarse {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }
}

#[cfg(target_os = "linux")]
mod fine {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe::Receiver;
    use tokio::time::Instant;

    use super::{Coarse, Pace};

    /// A timerfd. The runtime reads it like a pipe: the number of expirations becomes readable.
    #[derive(Debug)]
    pub(crate) struct Fine(Receiver);

    impl Fine {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(Receiver::from_owned_fd_unchecked(timer)?))
        }

        async fn wait(&mut self, moment: Instant) -> io::Result<()> {
            loop {
                let left = moment.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                let zero = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let left = Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                };
                let timer = Itimerspec {
                    it_interval: zero,
                    it_value: left,
                };
                timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
                self.0.read_exact(&mut [0; 8]).await?;
            }
        }
    }

    impl Pace for Fine {
        async fn until(&mut self, moment: Instant) {
            if self.wait(moment).await.is_err() {
                Coarse.until(moment).await;
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use super::*;

        #[tokio::test]
        async fn a_timer_never_fires_early() {
            let mut pace = Fine::new().expect("a timer");
            let start = Instant::now();
            for step in [0, 300, 300, 1_700, 900] {
                let moment = start + Duration::from_micros(step);
                pace.until(moment).await;
                assert!(Instant::now() >= moment);
            }
        }
    }
}
