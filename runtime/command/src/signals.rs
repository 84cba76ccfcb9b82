//! Signals that stop the process.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Interrupt,
    HangUp,
}

impl Signal {
    fn kind(self) -> SignalKind {
        match self {
            Self::Terminate => SignalKind::terminate(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::HangUp => SignalKind::hangup(),
        }
    }

    /// Number of the signal on this system.
    pub(crate) fn number(self) -> u8 {
        u8::try_from(self.kind().as_raw_value()).unwrap_or_default()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Streams of SIGTERM, SIGINT and SIGHUP.
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    /// `None` if SIGHUP was ignored when the process started, as with `nohup`.
    hang_up: Option<Stream>,
}

impl Signals {
    /// Installs the signal handlers.
    pub(crate) fn install() -> io::Result<Self> {
        let hang_up = if is_ignored(Signal::HangUp) {
            None
        } else {
            Some(signal(Signal::HangUp.kind())?)
        };
        Ok(Self {
            terminate: signal(Signal::Terminate.kind())?,
            interrupt: signal(Signal::Interrupt.kind())?,
            hang_up,
        })
    }

    /// Waits for a signal.
    pub(crate) async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = hang_up => Signal::HangUp,
        }
    }

    /// Waits for a signal that ends an orderly stop immediately. SIGHUP does not: a closing terminal may
    /// send it more than once, and a service manager may send it after SIGTERM.
    pub(crate) async fn next_immediate(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::HangUp => {}
                signal => return signal,
            }
        }
    }
}

/// Whether a signal was ignored when the process started. Known on Linux only (`/proc/self/status`).
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

fn is_in_mask(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = signal.number().saturating_sub(1);
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\ttidegate\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(is_in_mask(status, Signal::HangUp));
        assert!(!is_in_mask(status, Signal::Interrupt));
        assert!(!is_in_mask(status, Signal::Terminate));
        assert!(!is_in_mask("", Signal::HangUp));
        assert!(!is_in_mask("SigIgn:\tnone\n", Signal::HangUp));
    }

    #[test]
    fn numbers_are_those_of_the_system() {
        let signals = [Signal::HangUp, Signal::Interrupt, Signal::Terminate];
        assert_eq!(signals.map(Signal::number), [1, 2, 15]);
    }
}
