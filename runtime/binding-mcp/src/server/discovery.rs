//! `server/discover`: the capabilities of the exit, for each caller.
//!
//! What the exit has may depend on who asks, so nothing is shared between callers with different rights.
//! The number of callers is bounded: at the limit, the capabilities of a caller that does not wait for
//! them are forgotten, and requested again when it asks.

use std::sync::Arc;

use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration};
use tidegate_streams::mcp::{McpCapabilities, McpReset};
use tidegate_streams::{Frame, Identity};

use super::capabilities::{Capabilities, CapabilitiesEvent};
use super::errors::Refusal;
use super::key::Key;
use super::options::Options;
use super::sink::Sink;
use crate::jsonrpc::Id;

/// Most callers whose capabilities are kept.
const CALLERS_MAX: usize = 256;

/// The capabilities of the exit, for each caller.
#[derive(Debug)]
pub(super) struct Discovery {
    exit: BindingId,
    timeout: Duration,
    all: Slab<Capabilities>,
}

impl Discovery {
    pub(super) fn new(exit: BindingId, options: &Options) -> Self {
        Self {
            exit,
            timeout: Duration::from_millis(options.timeout),
            all: Slab::new(),
        }
    }

    /// Returns the capabilities for the caller if they are cached; otherwise adds `sink` to the waiting
    /// requests.
    pub(super) fn known_or_wait(
        &mut self,
        cx: &mut Context<'_>,
        sink: Sink,
        id: &Id,
    ) -> Result<Option<McpCapabilities>, Refusal> {
        let caller = cx.identity().cloned();
        let key = self.of(caller)?;
        match self.all.get_mut(key) {
            Some(capabilities) => capabilities.known_or_wait(cx, sink, id),
            None => Err(Refusal::internal()),
        }
    }

    /// The capabilities of a caller, which are added if they are new.
    fn of(&mut self, caller: Option<Arc<Identity>>) -> Result<usize, Refusal> {
        let same = |known: Option<&Identity>| match (known, &caller) {
            (None, None) => true,
            (Some(known), Some(caller)) => known.has_same_rights(caller),
            _ => false,
        };
        if let Some((key, _)) = self.all.iter().find(|(_, it)| same(it.caller())) {
            return Ok(key);
        }
        if self.all.len() >= CALLERS_MAX {
            let idle = self.all.iter().find(|(_, it)| !it.is_pending());
            let idle = idle.map(|(key, _)| key);
            let idle = idle.ok_or_else(|| {
                Refusal::unavailable("Too many pending server/discover requests; retry later.")
            })?;
            self.all.remove(idle);
        }
        let entry = self.all.vacant_entry();
        let key = entry.key();
        let token = Key::Capabilities(key).token();
        entry.insert(Capabilities::new(self.exit, self.timeout, token, caller));
        Ok(key)
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<CapabilitiesEvent> {
        self.all.get_mut(key)?.on_frame(cx, frame)
    }

    /// The timeout of a request to the exit has expired.
    pub(super) fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<CapabilitiesEvent> {
        Some(self.all.get_mut(key)?.on_timer(cx))
    }

    /// The exit did not answer.
    pub(super) fn lose(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        reset: Option<McpReset>,
    ) -> Option<CapabilitiesEvent> {
        Some(self.all.get_mut(key)?.lose(cx, reset))
    }

    /// Removes a waiting request.
    pub(super) fn client_disconnected(&mut self, sink: Sink) {
        for (_, capabilities) in &mut self.all {
            capabilities.client_disconnected(sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::part::Bench;

    fn caller(subject: usize) -> Arc<Identity> {
        Arc::new(Identity {
            subject: format!("s{subject}").into(),
            ..Identity::default()
        })
    }

    #[test]
    fn callers_with_other_rights_share_nothing_and_their_number_is_bounded() {
        let bench = Bench::new();
        let mut discovery = Discovery::new(bench.exit, &Options::default());
        let anonymous = discovery.of(None).expect("room");
        let first = discovery.of(Some(caller(1))).expect("room");
        assert_ne!(anonymous, first);
        assert_eq!(discovery.of(Some(caller(1))).expect("room"), first);
        for subject in 2..CALLERS_MAX * 2 {
            discovery
                .of(Some(caller(subject)))
                .expect("an idle one is removed");
        }
        assert_eq!(discovery.all.len(), CALLERS_MAX);
    }
}
