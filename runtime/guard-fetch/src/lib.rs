//! Fetches the keys of guards: the edge of [`tidegate_guard::jwt::KeySource`].
//!
//! One GET on one connection, over TLS unless the host is loopback. Redirects are refused, since they lead
//! where the config does not say; the answer must be JSON and at most 1 MiB; and everything together takes
//! at most the timeout, including the lookup of the host's name.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod fetch;
mod trust;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_guard::jwt::{KeySource, Step};

pub use fetch::Fetcher;
pub use trust::{Trust, TrustError};

/// Longest wait without asking for the next step: the wall clock may be set meanwhile.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Drives a source for as long as it is polled. `guard` is its name in logs.
pub async fn drive(guard: Arc<str>, source: KeySource, fetcher: Fetcher) {
    loop {
        match source.step(now()) {
            Step::Fetch(url) => {
                let answer = fetcher.fetch(&url).await;
                let answer = answer.as_deref().map_err(Clone::clone);
                match source.fetched(answer, now()) {
                    Ok(()) => tracing::debug!(guard = &*guard, %url, "fetched"),
                    Err(error) => {
                        tracing::warn!(guard = &*guard, %url, %error, "cannot fetch the keys of the guard");
                    }
                }
            }
            Step::Wait(until) => {
                let wait = Duration::from_millis(until.saturating_sub(now()));
                tokio::select! {
                    () = tokio::time::sleep(wait.min(WAIT_MAX)) => {}
                    () = source.wanted() => {}
                }
            }
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
