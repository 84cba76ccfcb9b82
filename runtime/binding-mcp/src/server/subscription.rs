//! One subscription behind this binding, and the updates that wait for a client.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{Context, Duration, PendingData, StreamId, TimerId};
use tidegate_json::Parts;
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpFlushEx, McpReset, McpResetKind, McpResourcesSubscribe};
use tidegate_streams::{FlushEx, Frame, ResetEx};

use super::binding::{Key, McpServer};
use super::deadline::{self, SLACK};
use super::errors::Refusal;
use super::output::{Sink, frames};
use crate::jsonrpc::Era;
use crate::jsonrpc::Id;

/// How many subscriptions a session, or a `listen`, may have.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_000;

/// For whom a subscription is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Session(usize),
    Listen(usize),
}

/// A subscription, asked for or standing.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) holder: Holder,
    pub(super) uri: ByteString,
    stream: StreamId,
    params: PendingData,
    /// The exit has confirmed it.
    pub(super) stands: bool,
    /// Who waits for the confirmation.
    pub(super) waiting: Vec<(Sink, Id)>,
    timer: Option<TimerId>,
}

/// Something that has changed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A list: of `tools`, `prompts` or `resources`.
    List(&'static str),
    /// A resource.
    Resource(ByteString),
}

impl Change {
    /// The notification; `subscription` is the id of the `listen` that asked for it.
    pub(super) fn message(&self, subscription: Option<&Id>) -> Bytes {
        let mut out = BytesMut::from(&b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"[..]);
        match self {
            Self::List(what) => {
                out.extend_from_slice(what.as_bytes());
                out.extend_from_slice(b"/list_changed\"");
            }
            Self::Resource(uri) => {
                out.extend_from_slice(b"resources/updated\",\"params\":{");
                if let Some(id) = subscription {
                    out.extend_from_slice(
                        b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":",
                    );
                    out.extend_from_slice(id.text());
                    out.extend_from_slice(b"},");
                }
                out.extend_from_slice(b"\"uri\":");
                push_string(&mut out, uri);
                out.extend_from_slice(b"}");
            }
        }
        out.extend_from_slice(b"}");
        out.freeze()
    }
}

/// What has changed and the client has not been told, since it does not read or is not there. One
/// thing is told once, however often it changes.
#[derive(Debug, Default)]
pub(super) struct Updates {
    changes: BTreeSet<Change>,
    /// Bytes of the URIs that the exit has named and nobody has subscribed to.
    foreign: usize,
}

impl Updates {
    /// Notes that a list has changed.
    pub(super) fn note_list(&mut self, what: &'static str) {
        self.changes.insert(Change::List(what));
    }

    /// Notes that a resource has changed. It may be a part of what is `subscribed`; where too many
    /// of those wait, or more than `bytes` of their URIs, the whole is told to have changed.
    pub(super) fn note(&mut self, subscribed: &ByteString, changed: ByteString, bytes: usize) {
        let room = bytes.saturating_sub(self.foreign);
        if changed == *subscribed || changed.len() > room || self.changes.len() >= SUBSCRIPTIONS_MAX
        {
            // In the memory of the subscription.
            self.changes.insert(Change::Resource(subscribed.clone()));
            return;
        }
        let length = changed.len();
        if self.changes.insert(Change::Resource(changed)) {
            self.foreign += length;
        }
    }

    /// Nobody wants to know of it any more.
    pub(super) fn forget(&mut self, uri: &ByteString) {
        self.changes.remove(&Change::Resource(uri.clone()));
    }

    pub(super) fn take(&mut self) -> Option<Change> {
        let change = self.changes.pop_first();
        if self.changes.is_empty() {
            self.foreign = 0;
        }
        change
    }
}

/// The subscriptions of a session or a `listen`, by URI.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_uri: BTreeMap<ByteString, usize>,
    /// Bytes of all URIs.
    bytes: usize,
}

impl Subscriptions {
    pub(super) fn insert(&mut self, uri: ByteString, subscription: usize) {
        self.bytes += uri.len();
        self.by_uri.insert(uri, subscription);
    }

    pub(super) fn remove(&mut self, uri: &str) -> Option<usize> {
        let removed = self.by_uri.remove(uri)?;
        self.bytes = self.bytes.saturating_sub(uri.len());
        Some(removed)
    }

    pub(super) fn get(&self, uri: &str) -> Option<usize> {
        self.by_uri.get(uri).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_uri.len()
    }

    /// Bytes of all URIs.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn uris(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.by_uri.keys()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ByteString, usize)> {
        self.by_uri.iter().map(|(uri, key)| (uri, *key))
    }

    /// Its subscriptions, which it is rid of.
    pub(super) fn take(&mut self) -> impl Iterator<Item = usize> + use<> {
        std::mem::take(self).by_uri.into_values()
    }
}

impl McpServer {
    /// Whether the worker has room for subscriptions with so many bytes of URIs.
    pub(super) fn check_subscribed(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.options.max_subscription_bytes;
        if self.subscribed + bytes <= limit {
            return Ok(());
        }
        Err(Refusal::unavailable(format!(
            "The URIs of all subscriptions may have {limit} bytes (maxSubscriptionBytes), and no room \
             is left for {bytes}; retry later."
        )))
    }

    /// Asks the exit for a subscription. `uri` is kept for as long as it stands.
    pub(super) fn open_subscription(
        &mut self,
        cx: &mut Context<'_>,
        holder: Holder,
        session_id: Option<ByteString>,
        uri: ByteString,
        params: Option<Parts>,
    ) -> Result<usize, Refusal> {
        let params = params.unwrap_or_else(|| {
            let mut params = BytesMut::from(&b"{\"uri\":"[..]);
            push_string(&mut params, &uri);
            params.extend_from_slice(b"}");
            Parts::from(params.freeze())
        });
        let begin = McpResourcesSubscribe {
            session_id,
            uri: uri.clone(),
            content_length: i64::try_from(params.len()).unwrap_or(-1),
        };
        let entry = self.subscriptions.vacant_entry();
        let token = Key::Subscription(entry.key()).token();
        let timeout = Duration::from_millis(self.options.timeout);
        let opened = cx.open_for(deadline::within(cx, timeout), self.exit, begin, token);
        let stream = opened.map_err(Refusal::no_room)?;
        let mut subscription = Subscription {
            holder,
            uri,
            stream,
            params: PendingData::new(),
            stands: false,
            waiting: Vec::new(),
            timer: Some(cx.timer(timeout + SLACK, token, 0, "mcp_server.subscribe")),
        };
        for data in frames(params) {
            subscription.params.send(cx, stream, data);
        }
        let key = entry.key();
        self.subscribed += subscription.uri.len();
        entry.insert(subscription);
        Ok(key)
    }

    pub(super) fn subscription_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        match frame {
            Frame::Begin(_) => self.subscription_stands(cx, key),
            Frame::Window(_) => {
                subscription.params.flush(cx, subscription.stream);
            }
            Frame::Data(data) => cx.acknowledge(subscription.stream, data.payload.len()),
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(McpFlushEx::ResourcesUpdated(updated)) = *flush {
                    self.resource_updated(cx, key, updated.uri);
                }
            }
            Frame::Reset(Some(reset)) => match *reset {
                ResetEx::Mcp(reset) => self.subscription_lost(cx, key, Some(reset)),
                _ => self.subscription_lost(cx, key, None),
            },
            Frame::Reset(None) | Frame::Abort(_) | Frame::End(_) => {
                self.subscription_lost(cx, key, None);
            }
            Frame::Challenge(_) => {}
        }
    }

    fn subscription_stands(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        subscription.stands = true;
        if let Some(timer) = subscription.timer.take() {
            cx.cancel(timer);
        }
        let holder = subscription.holder;
        for (sink, id) in std::mem::take(&mut subscription.waiting) {
            self.answer_with(cx, sink, &id, b"");
        }
        if let Holder::Listen(listen) = holder {
            self.listen_settled(cx, listen);
        }
    }

    fn resource_updated(&mut self, cx: &mut Context<'_>, key: usize, uri: ByteString) {
        let Some(subscription) = self.subscriptions.get(key) else {
            return;
        };
        let (subscribed, bytes) = (&subscription.uri, self.options.max_session_bytes);
        match subscription.holder {
            Holder::Session(session) => {
                if let Some(held) = self.sessions.get_mut(session) {
                    held.updates.note(subscribed, uri, bytes);
                }
                self.flush_session_updates(cx, session);
            }
            Holder::Listen(listen) => {
                if let Some(held) = self.listens.get_mut(listen) {
                    held.updates.note(subscribed, uri, bytes);
                }
                self.flush_listen_updates(cx, listen);
            }
        }
    }

    pub(super) fn subscription_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.timer = None;
        }
        let timeout = self.options.timeout;
        let message = format!("No confirmation came within {timeout} ms.");
        let reset = McpReset::new(McpResetKind::TimedOut, message);
        self.subscription_lost(cx, key, Some(reset));
    }

    /// The exit has refused the subscription, or ended it.
    pub(super) fn subscription_lost(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        reset: Option<McpReset>,
    ) {
        let Some(mut subscription) = self.close_subscription(cx, key) else {
            return;
        };
        let era = match subscription.holder {
            Holder::Session(_) => Era::Legacy,
            Holder::Listen(_) => Era::Modern,
        };
        let refusal = Refusal::of_exit(reset, crate::jsonrpc::Method::ResourcesSubscribe, era);
        for (sink, id) in std::mem::take(&mut subscription.waiting) {
            self.refuse(cx, sink, &id, &refusal);
        }
        match subscription.holder {
            Holder::Session(session) => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.subscriptions.remove(&subscription.uri);
                }
                if subscription.stands {
                    // A session has no message for it; whoever runs this reads it here.
                    tracing::warn!(uri = %subscription.uri, "a subscription of a session broke off");
                }
            }
            Holder::Listen(listen) => {
                if let Some(listen) = self.listens.get_mut(listen) {
                    listen.subscriptions.remove(&subscription.uri);
                }
                if subscription.stands {
                    self.fail_listen(cx, listen, &refusal);
                } else {
                    self.listen_settled(cx, listen);
                }
            }
        }
    }

    /// Ends a subscription from this side. Whoever waited for it is left to the caller.
    pub(super) fn close_subscription(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<Subscription> {
        let mut subscription = self.subscriptions.try_remove(key)?;
        self.subscribed = self.subscribed.saturating_sub(subscription.uri.len());
        if let Some(timer) = subscription.timer.take() {
            cx.cancel(timer);
        }
        if subscription.stands {
            cx.end(subscription.stream, Frame::end());
        }
        cx.terminate(subscription.stream, None, None);
        Some(subscription)
    }
}
