//! Failed authentications on record: an event for each, and a line of the log that counts them.
//!
//! Anyone who reaches the endpoint can cause them, so the single events are of severity debug, for
//! exporters that ask for them, and the line is written at most once a minute by each worker.

use std::cell::Cell;
use std::time::Duration;

use tidegate_driver::Handle;
use tidegate_engine::{BindingId, Context};
use tokio::time::Instant;

use super::{Denial, Kind};
use crate::client::Client;
use crate::events::{
    AuthorizationFailed, AuthorizationsFailed, CertificateFailed, KeyFailed, TokenFailed,
};

/// Minimum time between two lines.
const INTERVAL: Duration = Duration::from_mins(1);

/// The failures of a worker that no line has counted yet.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: Cell<u64>,
    reported: Cell<Option<Instant>>,
}

impl Failures {
    /// Records a failure.
    pub(crate) fn add(&self, handle: &Handle, edge: BindingId, client: &Client, denial: &Denial) {
        let count = self.due();
        handle.turn(edge, |cx| {
            emit(cx, client, denial);
            if let Some(count) = count {
                cx.event(&AuthorizationsFailed {
                    count,
                    reason: denial.word().into(),
                    address: client.shown(),
                });
            }
        });
    }

    /// The number to report now; `None` within [`INTERVAL`] of the last report.
    fn due(&self) -> Option<u64> {
        self.count.set(self.count.get().saturating_add(1));
        let due = |reported: Instant| reported.elapsed() >= INTERVAL;
        self.reported.get().is_none_or(due).then(|| {
            self.reported.set(Some(Instant::now()));
            self.count.take()
        })
    }
}

fn emit(cx: &mut Context<'_>, client: &Client, denial: &Denial) {
    let (reason, address) = (denial.word().into(), client.shown());
    let Denial::Refused { guard, kind, .. } = denial else {
        return cx.event(&AuthorizationFailed { reason, address });
    };
    let guard = guard.clone();
    match kind {
        Kind::Keys => cx.event(&KeyFailed {
            guard,
            reason,
            address,
        }),
        Kind::Tokens => cx.event(&TokenFailed {
            guard,
            reason,
            address,
        }),
        Kind::Certificates => cx.event(&CertificateFailed {
            guard,
            reason,
            address,
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_reported_once_a_minute_with_their_number() {
        let failures = Failures::default();
        assert_eq!(failures.due(), Some(1));
        assert_eq!((failures.due(), failures.due()), (None, None));
        advance(INTERVAL).await;
        assert_eq!(failures.due(), Some(3));
    }
}
