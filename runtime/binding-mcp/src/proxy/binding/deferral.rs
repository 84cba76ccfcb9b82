//! Operations whose toolkit or tool is not known yet: it depends on their params, or on a toolkit's list.

use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_engine::{At, Context, StreamId, Token};
use tidegate_streams::mcp::{McpBeginEx, McpResetKind};
use tidegate_streams::{Frame, Role};

use super::{Exchange, McpProxy, refuse};
use crate::proxy::cache::Key;
use crate::proxy::completion::Reference;
use crate::proxy::deferred::{Deferred, Step};
use crate::proxy::list_kind::ListKind;
use crate::proxy::listing::Listing;
use crate::proxy::names::Kind;
use crate::proxy::routing::Decision;
use crate::proxy::short_name::may_be_shortened;

/// What is known of a name.
enum Name {
    /// It is that of the caller, or this one of the toolkit.
    Known(Option<ByteString>),
    /// These requests for lists will tell.
    Waits(SmallVec<[usize; 2]>),
}

impl McpProxy {
    /// `completion/complete` waits for its params.
    pub(super) fn completion(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        begin: McpBeginEx,
    ) {
        self.defer(cx, Deferred::new(accepted, begin, SmallVec::new()));
    }

    fn defer(&mut self, cx: &mut Context<'_>, deferred: Deferred) -> usize {
        let accepted = deferred.accepted;
        let key = self.insert(Exchange::Deferred(Box::new(deferred)));
        cx.accept(accepted, Token::from_index(key));
        key
    }

    pub(super) fn deferred_frame(&mut self, cx: &mut Context<'_>, key: usize, frame: Frame) {
        let Some(Exchange::Deferred(deferred)) = self.exchanges.get_mut(key) else {
            return;
        };
        match deferred.on_caller_frame(frame) {
            Step::Complete if deferred.fetches.is_empty() => {
                if let Some(Exchange::Deferred(deferred)) = self.exchanges.try_remove(key) {
                    self.complete(cx, *deferred);
                }
            }
            Step::Cancelled => {
                if let Some(Exchange::Deferred(deferred)) = self.exchanges.try_remove(key) {
                    self.release_deferred(cx, key, &deferred);
                    cx.terminate(deferred.accepted, None, None);
                }
            }
            Step::Complete | Step::Wait => {}
        }
    }

    /// An operation does not wait for lists any more.
    pub(super) fn release_deferred(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        deferred: &Deferred,
    ) {
        for fetch in &deferred.fetches {
            self.leave(cx, *fetch, key, true);
        }
    }

    /// The params of a completion are there: it is passed on to the toolkit of its reference.
    fn complete(&mut self, cx: &mut Context<'_>, mut deferred: Deferred) {
        let accepted = deferred.accepted;
        let reference = match Reference::of(deferred.params()) {
            Ok(reference) => reference,
            Err(what) => return refuse(cx, accepted, McpResetKind::Invalid, what),
        };
        let word = deferred.begin.word();
        let way = self.way(cx, accepted, word, reference.kind, &reference.key);
        let Some((way, name)) = way else { return };
        let params = reference.with(&name);
        let mut begin = deferred.begin;
        if let McpBeginEx::CompletionComplete(completion) = &mut begin {
            completion.content_length = i64::try_from(params.len()).unwrap_or(-1);
        }
        let relay = self.pass_on(cx, accepted, begin, way);
        deferred.frames.insert(0, Frame::data(params));
        self.replay(cx, accepted, relay, deferred.frames);
    }

    /// Gives the frames that were kept to the exchange that passes them on.
    fn replay(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        relay: Option<usize>,
        frames: Vec<Frame>,
    ) {
        let Some(relay) = relay else { return };
        for frame in frames {
            let at = At {
                stream: accepted,
                role: Role::Callee,
                token: Token::from_index(relay),
            };
            if let Some(Exchange::Relay(relay)) = self.exchanges.get_mut(at.token.index()) {
                relay.on_frame(cx, at, frame);
            }
        }
    }

    /// Passes a call of a tool on, if its name at the toolkit is known. The name may be a shortened one,
    /// which the toolkit's list explains.
    pub(super) fn tool_call(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        begin: McpBeginEx,
    ) {
        let McpBeginEx::ToolsCall(call) = &begin else {
            return;
        };
        let max = self.options.max_name_length;
        if !may_be_shortened(&call.name, max) && !self.awaits_definition(cx, &call.name) {
            self.item_operation(cx, accepted, begin);
            return;
        }
        match self.explain_name(cx, &call.name.clone(), begin.session_id()) {
            Name::Known(name) => {
                self.call_by(cx, accepted, begin, name);
            }
            Name::Waits(fetches) => {
                let deferred = Deferred::new(accepted, begin, fetches.clone());
                let key = self.defer(cx, deferred);
                for fetch in fetches {
                    if let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(fetch) {
                        fetch.waiting.push(key);
                    }
                }
            }
        }
    }

    /// Whether a call of a tool has to wait for a list, because tools are withheld until they are accepted
    /// and its definition is not known.
    fn awaits_definition(&self, cx: &Context<'_>, name: &str) -> bool {
        let Some(pinned) = self.pinned.as_ref().filter(|it| it.blocks()) else {
            return false;
        };
        let caller = cx.identity().map(|it| &**it);
        let decision = self.routing.decide(caller, Kind::Tool, name);
        let Decision::Permitted { upstream, .. } = decision else {
            return false;
        };
        let prefix = self.routing.get(upstream).map(|it| &it.prefixes.name);
        let tool = prefix.and_then(|prefix| name.strip_prefix(&**prefix));
        tool.is_some_and(|tool| !pinned.knows(upstream, tool))
    }

    /// Passes a call on under the name with which the toolkit lists it, if there is one.
    fn call_by(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        mut begin: McpBeginEx,
        name: Option<ByteString>,
    ) -> Option<usize> {
        if let (McpBeginEx::ToolsCall(call), Some(name)) = (&mut begin, name) {
            call.name = name;
        }
        self.item_operation(cx, accepted, begin)
    }

    /// The name of a tool with the toolkit's prefix and in full length.
    fn explain_name(
        &mut self,
        cx: &mut Context<'_>,
        name: &str,
        session: Option<&ByteString>,
    ) -> Name {
        let caller = cx.identity().cloned();
        let mut waits = SmallVec::new();
        for upstream in self.routing.reachable(caller.as_deref(), Some(Kind::Tool)) {
            let prefix = self
                .routing
                .get(upstream)
                .map(|it| it.prefixes.name.clone());
            let Some(prefix) = prefix.filter(|prefix| name.starts_with(&**prefix)) else {
                continue;
            };
            let key = Key {
                upstream,
                kind: ListKind::Tools,
                caller: caller.clone(),
            };
            if let Some(kept) = self.cache.get(&key, cx.now()) {
                if let Some(full) = kept.listing.full_name(name) {
                    return Name::Known(Some(format!("{prefix}{full}").into()));
                }
                continue;
            }
            let under_way = self.cache.fetch(&key);
            let fetch = match under_way {
                Some(fetch) => Ok(fetch),
                None => self.begin_fetch(cx, &key, session.cloned(), None),
            };
            waits.extend(fetch.ok());
        }
        if waits.is_empty() {
            Name::Known(None)
        } else {
            Name::Waits(waits)
        }
    }

    /// A list that an operation waits for is there, or cannot be had.
    pub(super) fn list_for_deferred(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        fetch: usize,
        upstream: usize,
        listing: Option<&Listing>,
    ) {
        let Some(Exchange::Deferred(deferred)) = self.exchanges.get_mut(key) else {
            return;
        };
        deferred.fetches.retain(|it| *it != fetch);
        let McpBeginEx::ToolsCall(call) = &deferred.begin else {
            return;
        };
        let prefix = self.routing.get(upstream).map(|it| &it.prefixes.name);
        let full = listing.and_then(|it| it.full_name(&call.name)).zip(prefix);
        let full = full.map(|(full, prefix)| ByteString::from(format!("{prefix}{full}")));
        if full.is_none() && !deferred.fetches.is_empty() {
            return;
        }
        if let Some(Exchange::Deferred(mut deferred)) = self.exchanges.try_remove(key) {
            cx.work_for(deferred.accepted);
            self.release_deferred(cx, key, &deferred);
            let frames = std::mem::take(&mut deferred.frames);
            let accepted = deferred.accepted;
            let relay = self.call_by(cx, accepted, deferred.begin, full);
            self.replay(cx, accepted, relay, frames);
        }
    }
}
