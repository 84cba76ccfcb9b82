//! `subscriptions/listen` (2026-07-28): open requests that receive change notifications.
//!
//! Owns the open `listen`s: the subscriptions of each, how many of them are unconfirmed, and the
//! updates queued for its client. The acknowledgement is returned once each subscription is
//! confirmed or refused; updates follow it. A `listen` for changes of lists has a session at the exit,
//! which tells them (`lists`).

mod lists;

use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration};

use super::errors::Refusal;
use super::options::Options;
use super::sink::Sink;
use super::updates::{SUBSCRIPTIONS_MAX, Subscribed, Updates};
use crate::jsonrpc::notification::{Refused, acknowledged};
use crate::jsonrpc::{Id, Params, Wanted, WantedLimits, begin_notification};
pub(super) use lists::ListenEvent;
use lists::Watch;

/// A message for the client of a `listen`, and what the operator is told.
#[derive(Debug)]
#[must_use]
pub(super) struct Acknowledgement {
    pub(super) sink: Sink,
    pub(super) message: Bytes,
    /// The refused subscriptions, if there are any.
    pub(super) refusals: Option<Refusals>,
}

/// The refused subscriptions of one `listen`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusals {
    pub(super) count: usize,
    /// The first few, at most [`NAMED_MAX`].
    pub(super) uris: Vec<ByteString>,
    /// Reason of the first.
    pub(super) reason: String,
}

/// A `listen` that has ended and was removed.
#[derive(Debug)]
#[must_use]
pub(super) struct Closed {
    pub(super) sink: Sink,
    pub(super) id: Id,
    /// Its subscriptions.
    pub(super) subscriptions: Vec<usize>,
    /// The subscriptions that were refused before it could be acknowledged, if there are any.
    pub(super) refusals: Option<Refusals>,
}

/// The open `listen`s of a worker.
#[derive(Debug)]
pub(super) struct Listens {
    exit: BindingId,
    timeout: Duration,
    all: Slab<Listen>,
    /// Maximum bytes of URIs of a `listen`.
    max_bytes: usize,
}

#[derive(Debug)]
struct Listen {
    sink: Sink,
    id: Id,
    /// Its subscriptions, except lost ones.
    subscribed: Subscribed,
    /// Number of unconfirmed subscriptions, plus one until all are requested.
    unconfirmed: usize,
    /// The refused subscriptions, until the acknowledgement is sent; at most [`REFUSED_MAX`].
    refused: Vec<Refused>,
    /// Number of all refused subscriptions.
    refusals: usize,
    updates: Updates,
    /// The lists whose changes it is told of.
    watch: Option<Watch>,
}

/// Maximum number of refused subscriptions that an acknowledgement explains. The others are only missing
/// in it.
const REFUSED_MAX: usize = 100;
/// Maximum size of a reason, in characters.
const REASON_MAX: usize = 500;
/// Maximum number of refused subscriptions that a log line names.
const NAMED_MAX: usize = 3;

impl Listens {
    pub(super) fn new(exit: BindingId, options: &Options) -> Self {
        Self {
            exit,
            timeout: Duration::from_millis(options.timeout),
            all: Slab::new(),
            max_bytes: options.max_session_bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Keys of the current `listen`s.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.all.iter().map(|(key, _)| key).collect()
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Listen> {
        let listen = self.all.get_mut(key);
        debug_assert!(listen.is_some(), "no listen {key}");
        listen
    }

    /// Creates a `listen`. Insert its subscriptions, then call [`Listens::all_requested`].
    pub(super) fn begin(&mut self, sink: Sink, id: Id) -> usize {
        self.all.insert(Listen {
            sink,
            id,
            subscribed: Subscribed::default(),
            unconfirmed: 1,
            refused: Vec::new(),
            refusals: 0,
            updates: Updates::default(),
            watch: None,
        })
    }

    /// A subscription has been requested.
    pub(super) fn insert(&mut self, key: usize, uri: ByteString, subscription: usize) {
        if let Some(listen) = self.get_mut(key) {
            listen.subscribed.insert(uri, subscription);
            listen.unconfirmed += 1;
        }
    }

    /// All subscriptions have been requested; returns the acknowledgement, if none is unconfirmed.
    pub(super) fn all_requested(&mut self, key: usize) -> Option<Acknowledgement> {
        self.get_mut(key)?.settle()
    }

    /// A subscription is confirmed; returns the acknowledgement if it was the last.
    pub(super) fn confirmed(&mut self, key: usize) -> Option<Acknowledgement> {
        self.get_mut(key)?.settle()
    }

    /// A subscription is refused: the acknowledgement says why. Returns that if it was the last.
    pub(super) fn refused(
        &mut self,
        key: usize,
        uri: &ByteString,
        reason: &str,
    ) -> Option<Acknowledgement> {
        let listen = self.get_mut(key)?;
        listen.subscribed.remove(uri);
        listen.explain(uri, reason);
        listen.settle()
    }

    /// A subscription could not be requested.
    pub(super) fn not_requested(&mut self, key: usize, uri: &ByteString, reason: &str) {
        if let Some(listen) = self.get_mut(key) {
            listen.explain(uri, reason);
        }
    }

    /// A confirmed subscription was lost.
    pub(super) fn lost(&mut self, key: usize, uri: &str) {
        if let Some(listen) = self.get_mut(key) {
            listen.subscribed.remove(uri);
        }
    }

    /// Records that a resource has changed.
    pub(super) fn note(&mut self, key: usize, subscribed: &ByteString, changed: ByteString) {
        let bytes = self.max_bytes;
        if let Some(listen) = self.get_mut(key) {
            listen.updates.note(subscribed, changed, bytes);
        }
    }

    /// Where updates are sent, once the acknowledgement has been sent.
    pub(super) fn sink(&self, key: usize) -> Option<Sink> {
        let listen = self.all.get(key);
        debug_assert!(listen.is_some(), "no listen {key}");
        let listen = listen?;
        (listen.unconfirmed == 0).then_some(listen.sink)
    }

    /// The next update.
    pub(super) fn next_update(&mut self, key: usize) -> Option<Bytes> {
        let listen = self.get_mut(key)?;
        let change = listen.updates.take()?;
        Some(change.message(Some(&listen.id)))
    }

    /// Removes a `listen`, if it exists.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Closed> {
        let mut listen = self.all.try_remove(key)?;
        if let Some(watch) = listen.watch.take() {
            watch.end(cx);
        }
        Some(Closed {
            sink: listen.sink,
            subscriptions: listen.subscribed.take().collect(),
            refusals: listen.take_refusals(),
            id: listen.id,
        })
    }

    /// What a `listen` asks for, within the limits.
    pub(super) fn wanted(&self, params: &Params) -> Result<Wanted, Refusal> {
        let limits = WantedLimits {
            resources: SUBSCRIPTIONS_MAX,
            bytes: Some((self.max_bytes, "maxSessionBytes")),
        };
        Ok(Wanted::read(params, limits)?)
    }
}

impl Listen {
    /// One subscription less is unconfirmed; returns the acknowledgement if it was the last.
    fn settle(&mut self) -> Option<Acknowledgement> {
        debug_assert!(self.unconfirmed > 0, "no subscription is unconfirmed");
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        let due = self.unconfirmed == 0;
        due.then(|| {
            let lists = self.watch.as_ref().map(Watch::lists).unwrap_or_default();
            let message = acknowledged(&self.id, lists, self.subscribed.uris(), &self.refused);
            Acknowledgement {
                sink: self.sink,
                message,
                refusals: self.take_refusals(),
            }
        })
    }

    /// What the operator is told of the refusals: once for all, since there may be a thousand.
    fn take_refusals(&mut self) -> Option<Refusals> {
        let count = std::mem::take(&mut self.refusals);
        let refused = std::mem::take(&mut self.refused);
        let reason = refused.first()?.reason.clone();
        let uris = refused.into_iter().map(|refused| refused.uri);
        Some(Refusals {
            count,
            uris: uris.take(NAMED_MAX).collect(),
            reason,
        })
    }

    /// Keeps the reason of a refusal for the acknowledgement.
    fn explain(&mut self, uri: &ByteString, reason: &str) {
        self.refusals += 1;
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(Refused {
                uri: uri.clone(),
                reason: reason.chars().take(REASON_MAX).collect(),
            });
        }
    }
}

/// The notification that a `listen` has ended, for channels that do not show it otherwise.
pub(super) fn cancelled(id: &Id) -> Bytes {
    let mut out = begin_notification("notifications/cancelled");
    out.extend_from_slice(b"{\"requestId\":");
    out.extend_from_slice(id.text());
    out.extend_from_slice(b",\"reason\":\"The subscription has ended.\"}}");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::part::Bench;

    fn listens() -> (Bench, Listens) {
        let bench = Bench::new();
        let listens = Listens::new(bench.exit, &Options::default());
        (bench, listens)
    }

    fn text(told: Option<Acknowledgement>) -> String {
        let told = told.expect("the acknowledgement is due");
        String::from_utf8(told.message.to_vec()).expect("text")
    }

    #[test]
    fn it_is_acknowledged_once_each_resource_is_confirmed_or_refused() {
        let (mut bench, mut listens) = listens();
        let key = listens.begin(Sink::Http(0), Id::number(1));
        for (subscription, uri) in ["a", "b"].into_iter().enumerate() {
            listens.insert(key, uri.into(), subscription);
        }
        assert!(listens.all_requested(key).is_none());
        listens.note(key, &"a".into(), "a".into());
        assert_eq!(listens.sink(key), None, "no update before it");
        assert!(listens.refused(key, &"a".into(), "why").is_none());
        let told = text(listens.confirmed(key));
        assert!(told.contains("\"resourceSubscriptions\":[\"b\"]"), "{told}");
        assert_eq!(listens.sink(key), Some(Sink::Http(0)));
        assert!(listens.next_update(key).is_some());
        assert!(listens.next_update(key).is_none());
        let closed = bench.act(|cx| listens.close(cx, key)).expect("it is there");
        assert_eq!(closed.subscriptions, [1]);
        assert!(bench.act(|cx| listens.close(cx, key)).is_none());
        assert_eq!(listens.len(), 0);
    }

    #[test]
    fn reasons_are_bounded() {
        let (_, mut listens) = listens();
        let key = listens.begin(Sink::Http(0), Id::number(1));
        let reason = "ä".repeat(REASON_MAX + 1);
        for number in 0..=REFUSED_MAX {
            listens.not_requested(key, &format!("u{number}").into(), &reason);
        }
        let told = text(listens.all_requested(key));
        assert_eq!(told.matches("\"reason\"").count(), REFUSED_MAX);
        assert_eq!(told.matches('ä').count(), REFUSED_MAX * REASON_MAX);
        assert!(told.contains("\"u99\"") && !told.contains("\"u100\""));
    }

    #[test]
    fn the_operator_is_told_once_of_all_refusals() {
        let (mut bench, mut listens) = listens();
        let refused = |listens: &mut Listens, all: usize| {
            let key = listens.begin(Sink::Http(0), Id::number(1));
            for number in 0..all {
                listens.not_requested(key, &format!("u{number}").into(), "why");
            }
            key
        };
        let key = refused(&mut listens, 1_000);
        let told = listens.all_requested(key).expect("it is due");
        let expected = Refusals {
            count: 1_000,
            uris: vec!["u0".into(), "u1".into(), "u2".into()],
            reason: "why".to_owned(),
        };
        assert_eq!(told.refusals, Some(expected));
        let closed = bench.act(|cx| listens.close(cx, key)).expect("it is there");
        assert_eq!(closed.refusals, None, "it was told before");

        // Its client has disconnected before all others were confirmed.
        let key = refused(&mut listens, 2);
        let closed = bench.act(|cx| listens.close(cx, key)).expect("it is there");
        assert_eq!(closed.refusals.expect("refusals").count, 2);
    }

    #[test]
    fn one_that_asks_for_nothing_is_acknowledged_at_once() {
        let (_, mut listens) = listens();
        let key = listens.begin(Sink::Line(0), Id::number(1));
        let told = text(listens.all_requested(key));
        assert!(told.ends_with("\"notifications\":{}}}"), "{told}");
    }
}
