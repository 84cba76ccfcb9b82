//! Subscriptions at the exit, one stream each.
//!
//! Owns the streams, the requests waiting for confirmation, and the count of URI bytes kept by the
//! worker. Returns events as [`SubscriptionEvent`]. The owner of a subscription is its [`Holder`],
//! which keeps its key. A lost or closed subscription is removed.

use bytes::BytesMut;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{BindingId, Context, Duration, Meter, PendingData, StreamId, TimerId};
use tidegate_json::Parts;
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpFlushEx, McpReset, McpResetKind, McpResourcesSubscribe};
use tidegate_streams::{Data, FlushEx, Frame, ResetEx};

use super::calls::Call;
use super::challenge;
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::key::Key;
use super::options::Options;
use super::running::REQUESTS_MAX;
use super::sink::Sink;
use crate::jsonrpc::Id;

/// The owner of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Session(usize),
    Listen(usize),
}

/// An event of a subscription.
#[derive(Debug)]
pub(super) enum SubscriptionEvent {
    /// Confirmed: updates can no longer be missed.
    Confirmed {
        holder: Holder,
        /// The requests that waited for it.
        waiting: Waiting,
        /// The call that requested it; `None` if it was requested again.
        call: Option<Call>,
    },
    /// A resource has changed: the subscribed one, or a part of it.
    Updated {
        holder: Holder,
        subscribed: ByteString,
        changed: ByteString,
    },
    /// The exit has refused or ended the subscription. It is removed.
    Lost(Lost),
}

/// A subscription that the exit has refused or ended.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) holder: Holder,
    pub(super) uri: ByteString,
    /// It had been confirmed.
    pub(super) confirmed: bool,
    /// The requests that waited for the confirmation.
    pub(super) waiting: Waiting,
    /// Reason; `None` if the stream was aborted.
    pub(super) reset: Option<McpReset>,
    /// The call that requested it, if it was not confirmed.
    pub(super) call: Option<Call>,
}

/// A subscription that was ended here.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Closed {
    /// The requests that waited for the confirmation.
    pub(super) waiting: Waiting,
    /// The call that requested it, if it was not confirmed.
    pub(super) call: Option<Call>,
}

/// Requests waiting for a confirmation: sink and request id.
pub(super) type Waiting = Vec<(Sink, Id)>;

/// A cancelled subscription request.
#[derive(Debug)]
pub(super) struct Cancelled {
    pub(super) sink: Sink,
    /// The resource, if no other request waits for the subscription.
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
    /// The exit's id of the session.
    session_id: Option<ByteString>,
    stream: StreamId,
    params: PendingData,
    /// The exit has confirmed it.
    confirmed: bool,
    waiting: Waiting,
    /// The call that requested it, until it is confirmed.
    call: Option<Call>,
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

    /// Checks that the worker may keep this many more bytes of URIs.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.max_bytes;
        if self.bytes + bytes <= limit {
            return Ok(());
        }
        Err(Refusal::unavailable(format!(
            "Subscribing to {bytes} more bytes of URIs would exceed the limit of {limit} bytes \
             (maxSubscriptionBytes); retry later."
        )))
    }

    /// Checks that one more request may wait for one of these subscriptions of a session.
    pub(super) fn check_waiting(&self, keys: impl Iterator<Item = usize>) -> Result<(), Refusal> {
        let waiting = |key| self.all.get(key).map_or(0, |it| it.waiting.len());
        if keys.map(waiting).sum::<usize>() < REQUESTS_MAX {
            return Ok(());
        }
        let what =
            format!("{REQUESTS_MAX} subscription requests are pending; wait for a response first.");
        Err(Refusal::unavailable(what))
    }

    /// Requests a subscription from the exit. `uri` is kept while it exists.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        holder: Holder,
        mut call: Call,
        session_id: Option<ByteString>,
        uri: ByteString,
        params: Option<Parts>,
    ) -> Result<usize, Refusal> {
        let params = params.unwrap_or_else(|| params_of(&uri));
        let begin = McpResourcesSubscribe {
            session_id: session_id.clone(),
            uri: uri.clone(),
            content_length: i64::try_from(params.len()).unwrap_or(-1),
        };
        let entry = self.all.vacant_entry();
        let (key, token) = (entry.key(), Key::Subscription(entry.key()).token());
        let mut context = deadline::within(cx, self.timeout);
        if let Holder::Listen(_) = holder {
            // A trace is that of one subscription, and a `listen` may have several.
            context.trace = cx.mint_trace();
        }
        call.set_context(&context);
        let opened = cx.open_for(context, self.exit, begin, token);
        let stream = opened.map_err(Refusal::no_room)?;
        let mut subscription = Subscription {
            holder,
            uri,
            session_id,
            stream,
            params: PendingData::new(),
            confirmed: false,
            waiting: Vec::new(),
            call: Some(call),
            timer: Some(cx.timer(self.timeout + SLACK, token, 0, "mcp_server.subscribe")),
        };
        for data in Data::of_message(params) {
            subscription.params.send(cx, stream, data);
        }
        self.bytes += subscription.uri.len();
        entry.insert(subscription);
        Ok(key)
    }

    /// Requests a subscription again, because its owner may do other things than before. It is lost if the
    /// exit refuses it now.
    pub(super) fn renew(&mut self, cx: &mut Context<'_>, key: usize) -> Option<SubscriptionEvent> {
        let (timeout, exit) = (self.timeout, self.exit);
        let subscription = self.get_mut(key)?;
        let params = params_of(&subscription.uri);
        let begin = McpResourcesSubscribe {
            session_id: subscription.session_id.clone(),
            uri: subscription.uri.clone(),
            content_length: i64::try_from(params.len()).unwrap_or(-1),
        };
        let token = Key::Subscription(key).token();
        let Ok(stream) = cx.open_for(deadline::within(cx, timeout), exit, begin, token) else {
            return self.lose(cx, key, None);
        };
        if subscription.confirmed {
            cx.end(subscription.stream, Frame::end());
        }
        cx.terminate(subscription.stream, None, None);
        subscription.stream = stream;
        subscription.params = PendingData::new();
        for data in Data::of_message(params) {
            subscription.params.send(cx, stream, data);
        }
        if let Some(timer) = subscription.timer.take() {
            cx.cancel(timer);
        }
        subscription.timer = Some(cx.timer(timeout + SLACK, token, 0, "mcp_server.subscribe"));
        None
    }

    /// Returns whether a subscription is confirmed; if not, adds `sink` to the waiting requests.
    pub(super) fn confirmed_or_wait(&mut self, key: usize, sink: Sink, id: &Id) -> bool {
        let Some(subscription) = self.get_mut(key) else {
            return false;
        };
        if !subscription.confirmed {
            subscription.waiting.push((sink, id.clone()));
        }
        subscription.confirmed
    }

    /// Removes a waiting request; the subscription itself belongs to the session.
    pub(super) fn client_disconnected(&mut self, key: usize, sink: Sink) {
        if let Some(subscription) = self.get_mut(key) {
            subscription.waiting.retain(|(waiting, _)| *waiting != sink);
        }
    }

    /// Cancels a request for a subscription, if it waits for this one.
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

    /// The timeout for the confirmation has expired.
    pub(super) fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<SubscriptionEvent> {
        self.get_mut(key)?.timer = None;
        let message = format!("No confirmation within {} ms.", self.timeout.as_millis());
        let reset = McpReset::new(McpResetKind::TimedOut, message);
        self.lose(cx, key, Some(reset))
    }

    /// Aborts a lost subscription, if it exists.
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
            call: subscription.call,
        }))
    }

    /// Ends a subscription; returns what waited for it.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, key: usize) -> Closed {
        debug_assert!(self.all.contains(key), "no subscription {key}");
        let closed = self.remove(cx, key);
        closed.map_or_else(Closed::default, |subscription| Closed {
            waiting: subscription.waiting,
            call: subscription.call,
        })
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
            call: self.call.take(),
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
