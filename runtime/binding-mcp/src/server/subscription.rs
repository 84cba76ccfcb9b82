//! Subscriptions to resources behind this binding, a stream towards the exit for each.
//!
//! Owns the streams, who waits for a confirmation, and how many bytes of URIs the worker keeps for them.
//! What comes of a subscription is told as a [`SubscriptionEvent`]; whoever holds it is named by its
//! [`Holder`], and keeps its key. One that is lost or closed is removed.

use bytes::BytesMut;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration, Meter, PendingData, StreamId, TimerId};
use tidegate_json::Parts;
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpFlushEx, McpReset, McpResetKind, McpResourcesSubscribe};
use tidegate_streams::{Data, FlushEx, Frame, ResetEx};

use super::challenge;
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::key::Key;
use super::options::Options;
use super::sink::Sink;
use super::under_way::REQUESTS_MAX;
use crate::jsonrpc::Id;

/// For whom a subscription is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Session(usize),
    Listen(usize),
}

/// What comes of a subscription.
#[derive(Debug)]
pub(super) enum SubscriptionEvent {
    /// Updates can no longer be missed.
    Confirmed {
        holder: Holder,
        /// Who waited for it.
        waiting: Waiting,
    },
    /// A resource has changed: the one that was subscribed to, or a part of it.
    Updated {
        holder: Holder,
        subscribed: ByteString,
        changed: ByteString,
    },
    /// The exit has refused the subscription, or ended it. It is removed.
    Lost(Lost),
}

/// A subscription that the exit has refused, or ended.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) holder: Holder,
    pub(super) uri: ByteString,
    /// It had been confirmed.
    pub(super) confirmed: bool,
    /// Who waited for the confirmation.
    pub(super) waiting: Waiting,
    /// Why; `None` where the stream broke off.
    pub(super) reset: Option<McpReset>,
}

/// Who waits for a confirmation: where the answer goes, and the id of the request.
pub(super) type Waiting = Vec<(Sink, Id)>;

/// A request for a subscription that is not waited for any more.
#[derive(Debug)]
pub(super) struct Cancelled {
    pub(super) sink: Sink,
    /// The resource, where nobody else waits for that subscription.
    pub(super) abandoned: Option<ByteString>,
}

/// The subscriptions of a worker.
#[derive(Debug)]
pub(super) struct Subscriptions {
    exit: BindingId,
    timeout: Duration,
    max_bytes: usize,
    all: Slab<Subscription>,
    /// Bytes of the URIs of all subscriptions.
    bytes: usize,
}

#[derive(Debug)]
struct Subscription {
    holder: Holder,
    uri: ByteString,
    stream: StreamId,
    params: PendingData,
    /// The exit has confirmed it.
    confirmed: bool,
    waiting: Waiting,
    timer: Option<TimerId>,
}

impl Subscriptions {
    pub(super) fn new(exit: BindingId, options: &Options) -> Self {
        Self {
            exit,
            timeout: Duration::from_millis(options.timeout),
            max_bytes: options.max_subscription_bytes,
            all: Slab::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp.server.subscriptions", self.all.len());
        meter.gauge("mcp.server.subscriptions.bytes", self.bytes);
    }

    fn get_mut(&mut self, key: usize) -> Option<&mut Subscription> {
        let subscription = self.all.get_mut(key);
        debug_assert!(subscription.is_some(), "no subscription {key}");
        subscription
    }

    /// Whether the worker has room for subscriptions with so many bytes of URIs.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.max_bytes;
        if self.bytes + bytes <= limit {
            return Ok(());
        }
        Err(Refusal::unavailable(format!(
            "The URIs of all subscriptions may have {limit} bytes (maxSubscriptionBytes), and no room \
             is left for {bytes}; retry later."
        )))
    }

    /// Whether one more request may wait for one of these subscriptions, those of a session.
    pub(super) fn check_waiting(&self, keys: impl Iterator<Item = usize>) -> Result<(), Refusal> {
        let waiting = |key| self.all.get(key).map_or(0, |it| it.waiting.len());
        if keys.map(waiting).sum::<usize>() < REQUESTS_MAX {
            return Ok(());
        }
        let what = format!("{REQUESTS_MAX} subscriptions are waited for; wait for one first.");
        Err(Refusal::unavailable(what))
    }

    /// Asks the exit for a subscription. `uri` is kept for as long as it lasts.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        holder: Holder,
        session_id: Option<ByteString>,
        uri: ByteString,
        params: Option<Parts>,
    ) -> Result<usize, Refusal> {
        let params = params.unwrap_or_else(|| params_of(&uri));
        let begin = McpResourcesSubscribe {
            session_id,
            uri: uri.clone(),
            content_length: i64::try_from(params.len()).unwrap_or(-1),
        };
        let entry = self.all.vacant_entry();
        let (key, token) = (entry.key(), Key::Subscription(entry.key()).token());
        let opened = cx.open_for(deadline::within(cx, self.timeout), self.exit, begin, token);
        let stream = opened.map_err(Refusal::no_room)?;
        let mut subscription = Subscription {
            holder,
            uri,
            stream,
            params: PendingData::new(),
            confirmed: false,
            waiting: Vec::new(),
            timer: Some(cx.timer(self.timeout + SLACK, token, 0, "mcp_server.subscribe")),
        };
        for data in Data::of_message(params) {
            subscription.params.send(cx, stream, data);
        }
        self.bytes += subscription.uri.len();
        entry.insert(subscription);
        Ok(key)
    }

    /// Whether a subscription is confirmed; where it is not, `sink` waits for it from now on.
    pub(super) fn confirmed_or_wait(&mut self, key: usize, sink: Sink, id: &Id) -> bool {
        let Some(subscription) = self.get_mut(key) else {
            return false;
        };
        if !subscription.confirmed {
            subscription.waiting.push((sink, id.clone()));
        }
        subscription.confirmed
    }

    /// Who waited for a subscription has gone; the subscription itself is the session's.
    pub(super) fn client_disconnected(&mut self, key: usize, sink: Sink) {
        if let Some(subscription) = self.get_mut(key) {
            subscription.waiting.retain(|(waiting, _)| *waiting != sink);
        }
    }

    /// A request for a subscription is cancelled, if it waits for this one.
    pub(super) fn cancel_wait(&mut self, key: usize, id: &Id) -> Option<Cancelled> {
        let subscription = self.get_mut(key)?;
        let waiting = &mut subscription.waiting;
        let at = waiting.iter().position(|(_, waiting)| waiting == id)?;
        let (sink, _) = waiting.remove(at);
        let last = waiting.is_empty();
        Some(Cancelled {
            sink,
            abandoned: last.then(|| subscription.uri.clone()),
        })
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<SubscriptionEvent> {
        let subscription = self.get_mut(key)?;
        match frame {
            Frame::Begin(_) => Some(subscription.confirm(cx)),
            Frame::Window(_) => {
                subscription.params.flush(cx, subscription.stream);
                None
            }
            Frame::Data(data) => {
                cx.acknowledge(subscription.stream, data.payload.len());
                None
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)) => {
                    Some(SubscriptionEvent::Updated {
                        holder: subscription.holder,
                        subscribed: subscription.uri.clone(),
                        changed: updated.uri,
                    })
                }
                _ => None,
            },
            Frame::Challenge(challenge) => {
                challenge::refuse(cx, subscription.stream, &challenge);
                None
            }
            Frame::Reset(reset) => match reset.map(|reset| *reset) {
                Some(ResetEx::Mcp(reset)) => self.lose(cx, key, Some(reset)),
                _ => self.lose(cx, key, None),
            },
            Frame::Abort(_) | Frame::End(_) => self.lose(cx, key, None),
        }
    }

    /// No confirmation came in time.
    pub(super) fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<SubscriptionEvent> {
        self.get_mut(key)?.timer = None;
        let message = format!(
            "No confirmation came within {} ms.",
            self.timeout.as_millis()
        );
        let reset = McpReset::new(McpResetKind::TimedOut, message);
        self.lose(cx, key, Some(reset))
    }

    /// Gives a subscription up that is lost, if it is still there.
    pub(super) fn lose(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        reset: Option<McpReset>,
    ) -> Option<SubscriptionEvent> {
        let subscription = self.remove(cx, key)?;
        Some(SubscriptionEvent::Lost(Lost {
            holder: subscription.holder,
            uri: subscription.uri,
            confirmed: subscription.confirmed,
            waiting: subscription.waiting,
            reset,
        }))
    }

    /// Ends a subscription from this side: who still waited for it.
    #[must_use]
    pub(super) fn close(&mut self, cx: &mut Context<'_>, key: usize) -> Waiting {
        debug_assert!(self.all.contains(key), "no subscription {key}");
        let closed = self.remove(cx, key);
        closed.map_or_else(Vec::new, |subscription| subscription.waiting)
    }

    fn remove(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Subscription> {
        let mut subscription = self.all.try_remove(key)?;
        self.bytes = self.bytes.saturating_sub(subscription.uri.len());
        if let Some(timer) = subscription.timer.take() {
            cx.cancel(timer);
        }
        if subscription.confirmed {
            cx.end(subscription.stream, Frame::end());
        }
        cx.terminate(subscription.stream, None, None);
        Some(subscription)
    }
}

impl Subscription {
    fn confirm(&mut self, cx: &mut Context<'_>) -> SubscriptionEvent {
        self.confirmed = true;
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        SubscriptionEvent::Confirmed {
            holder: self.holder,
            waiting: std::mem::take(&mut self.waiting),
        }
    }
}

fn params_of(uri: &str) -> Parts {
    let mut params = BytesMut::with_capacity(16 + uri.len());
    params.extend_from_slice(b"{\"uri\":");
    push_string(&mut params, uri);
    params.extend_from_slice(b"}");
    Parts::from(params.freeze())
}

#[cfg(test)]
mod tests;
