//! Updates for the client of a session, and its subscriptions.

use bytestring::ByteString;

use super::Sessions;
use crate::server::errors::Refusal;
use crate::server::sink::Sink;
use crate::server::updates::{Change, SUBSCRIPTIONS_MAX};

impl Sessions {
    /// Sets the event stream of a session; returns the previous one.
    pub(in crate::server) fn open_events(&mut self, key: usize, http: usize) -> Option<usize> {
        self.get_mut(key)?.events.replace(http)
    }

    /// Removes its event stream, because the engine is stopping.
    pub(in crate::server) fn take_events(&mut self, key: usize) -> Option<usize> {
        self.get_mut(key)?.events.take()
    }

    /// An event stream was aborted; returns whether it was the session's.
    pub(in crate::server) fn end_events(&mut self, key: usize, http: usize) -> bool {
        self.get_mut(key).is_some_and(|session| {
            let current = session.events == Some(http);
            if current {
                session.events = None;
            }
            current
        })
    }

    /// Where updates are sent.
    pub(in crate::server) fn sink(&self, key: usize) -> Sink {
        match self.get(key).map(|session| (session.line, session.events)) {
            Some((Some(line), _)) => Sink::Line(line),
            Some((None, Some(events))) => Sink::Http(events),
            Some((None, None)) | None => Sink::Nowhere,
        }
    }

    /// Records that a resource has changed.
    pub(in crate::server) fn note(
        &mut self,
        key: usize,
        subscribed: &ByteString,
        changed: ByteString,
    ) {
        let bytes = self.max_bytes;
        if let Some(session) = self.get_mut(key) {
            session.updates.note(subscribed, changed, bytes);
        }
    }

    /// The next update.
    pub(in crate::server) fn next_update(&mut self, key: usize) -> Option<Change> {
        self.get_mut(key)?.updates.take()
    }

    /// The subscription to a resource.
    pub(in crate::server) fn subscription(&self, key: usize, uri: &str) -> Option<usize> {
        self.get(key)?.subscribed.get(uri)
    }

    /// All its subscriptions.
    pub(in crate::server) fn subscriptions(&self, key: usize) -> impl Iterator<Item = usize> {
        let session = self.get(key).into_iter();
        session.flat_map(|session| session.subscribed.keys())
    }

    /// Checks that it may have one more subscription.
    pub(in crate::server) fn check_subscription(
        &self,
        key: usize,
        uri: &str,
    ) -> Result<(), Refusal> {
        let Some(session) = self.get(key) else {
            return Err(Refusal::internal());
        };
        let held = &session.subscribed;
        if held.len() >= SUBSCRIPTIONS_MAX {
            let what = format!(
                "Subscription limit of the session reached ({SUBSCRIPTIONS_MAX}); unsubscribe first."
            );
            return Err(Refusal::unavailable(what));
        }
        let limit = self.max_bytes;
        if held.bytes() + uri.len() > limit {
            return Err(Refusal::unavailable(format!(
                "Subscribing to this URI ({} bytes) would exceed the session's limit of {limit} \
                 bytes (maxSessionBytes); unsubscribe first.",
                uri.len()
            )));
        }
        Ok(())
    }

    /// A subscription has been requested.
    pub(in crate::server) fn subscribe(
        &mut self,
        key: usize,
        uri: ByteString,
        subscription: usize,
    ) {
        if let Some(session) = self.get_mut(key) {
            session.subscribed.insert(uri, subscription);
        }
    }

    /// Removes a subscription and its queued updates.
    pub(in crate::server) fn unsubscribe(&mut self, key: usize, uri: &ByteString) -> Option<usize> {
        let session = self.get_mut(key)?;
        session.updates.remove(uri);
        session.subscribed.remove(uri)
    }

    /// A subscription was lost; its queued updates are still sent.
    pub(in crate::server) fn remove_subscription(&mut self, key: usize, uri: &str) {
        if let Some(session) = self.get_mut(key) {
            session.subscribed.remove(uri);
        }
    }
}
