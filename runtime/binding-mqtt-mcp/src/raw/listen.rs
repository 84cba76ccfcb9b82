//! A `subscriptions/listen` of a raw route: what a device is told of, until it does not renew it.
//!
//! Owns its streams at the exit: one for each resource, and a session that tells changes of lists. A listen is
//! acknowledged once each of them is confirmed or refused. Changes are told one by one, each when the broker has
//! acknowledged the one before; a change that comes again meanwhile is told once.
//!
//! Bounds: the changes that wait. What it asks for is bounded by `request` and `listens`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{BindingId, CallContext, Context, PendingData, StreamId, TimerId};
use tidegate_json::write::push_string;
use tidegate_jsonrpc::Id;
use tidegate_jsonrpc::notification::{List, Refused, acknowledged, updated};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpFlushEx, McpLifecycle, McpResourcesSubscribe,
};
use tidegate_streams::{BeginEx, Data, DataFlags, FlushEx, Frame, ResetEx};

use super::request::{Wanted, renewed};
use crate::proxy::listen_token;
use crate::request::{Content, Envelope, Key};

/// The kind of the timer of a listen that is not acknowledged.
pub(crate) const CONFIRM: u32 = 4;
/// The kind of the timer of its end.
pub(crate) const END: u32 = 5;
/// Most changes of parts of resources that wait. Beyond, the subscribed resource is told to have changed.
const CHANGES_MAX: usize = 200;
/// Most characters of the reason of a refusal.
const REASON_MAX: usize = 500;

/// A listen.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) envelope: Envelope,
    pub(super) key: Option<Key>,
    pub(super) content: Content,
    pub(crate) context: CallContext,
    resources: BTreeMap<ByteString, Resource>,
    lists: Vec<List>,
    session: Option<Stream>,
    refused: Vec<Refused>,
    /// Its acknowledgement was made.
    pub(crate) established: bool,
    changes: BTreeSet<Change>,
    /// A message of it is on its way.
    sending: bool,
    /// It came again: the acknowledgement follows once more.
    again: bool,
    /// Number of streams that it counts.
    pub(super) streams: usize,
    timer: Option<TimerId>,
}

/// A stream at the exit.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    confirmed: bool,
}

#[derive(Debug)]
struct Resource {
    stream: Stream,
    params: PendingData,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    List(List),
    Resource(ByteString),
}

/// What follows of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// The listen can be acknowledged.
    Acknowledge,
    /// A change can be told.
    Tell,
    /// The exit has ended something that it had confirmed.
    End,
}

impl Listen {
    /// `streams`: the number of streams that it counts.
    pub(super) const fn new(
        envelope: Envelope,
        key: Option<Key>,
        content: Content,
        call: CallContext,
        streams: usize,
    ) -> Self {
        Self {
            envelope,
            key,
            content,
            context: call,
            resources: BTreeMap::new(),
            lists: Vec::new(),
            session: None,
            refused: Vec::new(),
            established: false,
            changes: BTreeSet::new(),
            sending: false,
            again: false,
            streams,
            timer: None,
        }
    }

    fn id(&self) -> Id {
        let rpc = self.envelope.rpc.as_ref();
        rpc.map_or_else(Id::null, |rpc| rpc.id.clone())
    }

    pub(super) fn is_of(&self, id: &Id) -> bool {
        self.id() == *id
    }

    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        exit: BindingId,
        index: usize,
        wanted: Wanted,
    ) {
        let token = listen_token(index);
        for uri in wanted.resources {
            let params = params_of(&uri);
            let begin = McpResourcesSubscribe {
                uri: uri.clone(),
                content_length: i64::try_from(params.len()).unwrap_or(-1),
                ..McpResourcesSubscribe::default()
            };
            // A trace is that of one subscription.
            let context = CallContext {
                trace: cx.mint_trace(),
                ..self.context.clone()
            };
            match cx.open_for(context, exit, begin, token) {
                Ok(id) => {
                    let mut pending = PendingData::new();
                    pending.send(cx, id, Data::part(DataFlags::WHOLE, params));
                    let stream = Stream {
                        id,
                        confirmed: false,
                    };
                    let params = pending;
                    self.resources.insert(uri, Resource { stream, params });
                }
                Err(error) => self.refuse(uri, &error.to_string()),
            }
        }
        if wanted.lists.is_empty() {
            return;
        }
        let begin = McpLifecycle::default();
        if let Ok(id) = cx.open_for(self.context.clone(), exit, begin, token) {
            self.lists = wanted.lists;
            self.session = Some(Stream {
                id,
                confirmed: false,
            });
        }
    }

    fn refuse(&mut self, uri: ByteString, reason: &str) {
        self.refused.push(Refused {
            uri,
            reason: reason.chars().take(REASON_MAX).collect(),
        });
    }

    /// A frame of one of its streams.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Next {
        if self.session.as_ref().is_some_and(|it| it.id == stream) {
            return self.on_session(cx, stream, frame);
        }
        let mut resources = self.resources.iter_mut();
        let found = resources.find(|(_, it)| it.stream.id == stream);
        let Some((uri, resource)) = found else {
            return Next::Nothing;
        };
        match frame {
            Frame::Begin(_) => {
                resource.stream.confirmed = true;
                self.settled()
            }
            Frame::Window(_) => {
                resource.params.flush(cx, stream);
                Next::Nothing
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                Next::Nothing
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(McpFlushEx::ResourcesUpdated(told)) => {
                    let uri = uri.clone();
                    self.changed(&uri, told.uri)
                }
                _ => Next::Nothing,
            },
            Frame::Reset(reset) => {
                let uri = uri.clone();
                let reason = reset.and_then(|it| match *it {
                    ResetEx::Mcp(reset) => Some(reset.message),
                    _ => None,
                });
                self.lost(cx, &uri, reason.as_deref())
            }
            Frame::Abort(_) | Frame::End(_) => {
                let uri = uri.clone();
                self.lost(cx, &uri, None)
            }
            Frame::Challenge(_) => Next::Nothing,
        }
    }

    /// A frame of the session that tells changes of lists.
    fn on_session(&mut self, cx: &mut Context<'_>, stream: StreamId, frame: Frame) -> Next {
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = begin.into_inner() {
                    self.session_begun(cx, begin.capabilities);
                }
                self.settled()
            }
            Frame::Flush(flush) => {
                let FlushEx::Mcp(flush) = *flush else {
                    return Next::Nothing;
                };
                match List::changed(&flush) {
                    Some(list) if self.lists.contains(&list) => {
                        self.changes.insert(Change::List(list));
                        Next::Tell
                    }
                    _ => Next::Nothing,
                }
            }
            Frame::Reset(_) | Frame::Abort(_) | Frame::End(_) => {
                let was = self.session.take().is_some_and(|it| it.confirmed);
                cx.terminate(stream, None, None);
                self.lists.clear();
                if was { Next::End } else { self.settled() }
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                Next::Nothing
            }
            Frame::Window(_) | Frame::Challenge(_) => Next::Nothing,
        }
    }

    /// The exit has begun the session: lists whose changes it does not tell are left out.
    fn session_begun(&mut self, cx: &mut Context<'_>, exit: McpCapabilities) {
        self.lists.retain(|list| exit.contains(list.capability()));
        if self.lists.is_empty() {
            self.end_session(cx);
        } else if let Some(session) = &mut self.session {
            session.confirmed = true;
        }
    }

    fn end_session(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = self.session.take() {
            cx.end(session.id, Frame::end());
            cx.terminate(session.id, None, None);
        }
    }

    fn lost(&mut self, cx: &mut Context<'_>, uri: &ByteString, reason: Option<&str>) -> Next {
        let Some(resource) = self.resources.remove(uri) else {
            return Next::Nothing;
        };
        cx.terminate(resource.stream.id, None, None);
        if resource.stream.confirmed {
            return Next::End;
        }
        let reason = reason.unwrap_or("the subscription was ended without a reason");
        self.refuse(uri.clone(), reason);
        self.settled()
    }

    fn changed(&mut self, subscribed: &ByteString, changed: ByteString) -> Next {
        let changed = if self.changes.len() < CHANGES_MAX {
            changed
        } else {
            subscribed.clone()
        };
        self.changes.insert(Change::Resource(changed));
        Next::Tell
    }

    fn settled(&self) -> Next {
        let mut streams = self.resources.values().map(|it| &it.stream);
        let confirmed = |it: &Stream| it.confirmed;
        let all = streams.all(confirmed) && self.session.as_ref().is_none_or(confirmed);
        if all && !self.established {
            Next::Acknowledge
        } else {
            Next::Nothing
        }
    }

    /// Whether all is confirmed or refused.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled() == Next::Acknowledge
    }

    /// What is not confirmed is refused: it has taken too long.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>) {
        let resources = self.resources.iter();
        let late = resources.filter(|(_, it)| !it.stream.confirmed);
        let late: Vec<ByteString> = late.map(|(uri, _)| uri.clone()).collect();
        for uri in late {
            let _ = self.lost(cx, &uri, Some("no confirmation in time"));
        }
        if self.session.as_ref().is_some_and(|it| !it.confirmed) {
            self.lists.clear();
            self.end_session(cx);
        }
    }

    /// The acknowledgement. From now on, changes are told.
    pub(crate) fn acknowledge(&mut self, cx: &mut Context<'_>, index: usize) -> Bytes {
        self.established = true;
        self.sending = true;
        let left = self.envelope.deadline.since(cx.now());
        self.set_timer(cx, index, left, END);
        self.acknowledgement()
    }

    /// The acknowledgement: what it tells. A repetition of the listen gets it again.
    fn acknowledgement(&self) -> Bytes {
        let uris = self.resources.keys();
        acknowledged(&self.id(), &self.lists, uris, &self.refused)
    }

    /// Whether nothing is left that it could be told of.
    pub(crate) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.session.is_none()
    }

    /// The same listen came again.
    pub(crate) fn renew(&mut self, cx: &mut Context<'_>, index: usize, again: Envelope) {
        self.envelope.deadline = renewed(&self.envelope, &again);
        self.envelope.adopt(again);
        if self.established {
            self.again = true;
            let left = self.envelope.deadline.since(cx.now());
            self.set_timer(cx, index, left, END);
        }
    }

    /// The next message to send, unless one is on its way: the acknowledgement once more, or a change.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if self.sending || !self.established {
            return None;
        }
        if std::mem::take(&mut self.again) {
            self.sending = true;
            return Some(self.acknowledgement());
        }
        let change = self.changes.pop_first()?;
        self.sending = true;
        let id = self.id();
        Some(match change {
            Change::List(list) => list.changed_message(Some(&id)),
            Change::Resource(uri) => updated(&uri, Some(&id)),
        })
    }

    /// The message on its way was published, or is given up.
    pub(crate) const fn told(&mut self) {
        self.sending = false;
    }

    pub(super) fn set_timer(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        after: tidegate_engine::Duration,
        kind: u32,
    ) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        let reason = "the end of a listen";
        self.timer = Some(cx.timer(after, listen_token(index), kind, reason));
    }

    /// The timer was due.
    pub(crate) const fn timer_over(&mut self) {
        self.timer = None;
    }

    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        self.end_session(cx);
        for (_, resource) in std::mem::take(&mut self.resources) {
            if resource.stream.confirmed {
                cx.end(resource.stream.id, Frame::end());
            }
            cx.terminate(resource.stream.id, None, None);
        }
    }
}

fn params_of(uri: &str) -> Bytes {
    let mut params = BytesMut::with_capacity(16 + uri.len());
    params.extend_from_slice(b"{\"uri\":");
    push_string(&mut params, uri);
    params.extend_from_slice(b"}");
    params.freeze()
}
