//! Requests for the lists of toolkits.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{At, CallContext, Context, Duration, Token};
use tidegate_json::write;
use tidegate_streams::{BeginEx, Frame};

use super::{Exchange, McpProxy, OF_EXCHANGE};
use crate::proxy::cache::{Kept, Key};
use crate::proxy::deadline::GRACE;
use crate::proxy::events::{ListCut, ToolkitLeftOut};
use crate::proxy::fetch::{About, Failure, Fetch, Outcome, Step};
use crate::proxy::list::PartState;
use crate::proxy::listing::Rules;

impl McpProxy {
    /// Requests a toolkit's list, for a list that waits for it or for none. Returns the key of the
    /// request.
    pub(super) fn begin_fetch(
        &mut self,
        cx: &mut Context<'_>,
        key: &Key,
        session: Option<ByteString>,
        waiting: Option<usize>,
    ) -> Result<usize, Failure> {
        let routing = Arc::clone(&self.routing);
        let upstream = routing.get(key.upstream);
        let upstream = upstream.ok_or_else(|| Failure::unusable("no such toolkit"))?;
        let timeout = Duration::from_millis(self.options.list_timeout);
        let call = CallContext {
            identity: key.caller.clone(),
            deadline: Some(cx.now() + timeout),
            ..cx.call().shared()
        };
        let session = self.hop_identity(cx, session, key.upstream);
        let (size_max, pages_max) = (self.options.max_result_size, self.options.max_pages);
        let rules = Rules {
            prefixes: upstream.prefixes.clone(),
            name_max: self.options.max_name_length,
            pins: self.pinned.is_some(),
        };
        let mut fetch = Fetch::new(key.clone(), call, rules, size_max, pages_max);
        fetch.session = session;
        fetch.waiting.extend(waiting);
        let entry = self.exchanges.vacant_entry();
        let (id, token) = (entry.key(), Token::from_index(entry.key()));
        let begin = BeginEx::Mcp(fetch.begin(None));
        let opened = cx.open_for(fetch.call.clone(), upstream.exit, begin, token);
        // The stream limit of the worker says nothing about the toolkit.
        fetch.stream = Some(opened.map_err(|error| Failure::unusable(error.to_string()))?);
        let deadline = self.options.deadline_of(&upstream.toolkit);
        let wait = if deadline < self.options.list_timeout {
            Duration::from_millis(deadline)
        } else {
            timeout + Duration::from_millis(GRACE)
        };
        fetch.timer = Some(cx.timer(wait, token, OF_EXCHANGE, "mcp_proxy.fetch"));
        entry.insert(Exchange::Fetch(Box::new(fetch)));
        self.cache.fetch_begun(key, id);
        self.counts.fetched += 1;
        Ok(id)
    }

    pub(super) fn fetch_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index();
        let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(key) else {
            return;
        };
        match fetch.on_frame(cx, at.stream, frame) {
            Step::Wait => {}
            Step::NextPage(cursor) => self.next_page(cx, key, &cursor),
            Step::Ended(outcome) => self.fetch_ended(cx, key, outcome),
        }
    }

    fn next_page(&mut self, cx: &mut Context<'_>, key: usize, cursor: &ByteString) {
        let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(key) else {
            return;
        };
        let Some(upstream) = self.routing.get(fetch.key.upstream) else {
            return;
        };
        let begin = BeginEx::Mcp(fetch.begin(Some(cursor.clone())));
        let (call, token) = (fetch.call.clone(), Token::from_index(key));
        match cx.open_for(call, upstream.exit, begin, token) {
            Ok(stream) => {
                cx.send_whole(stream, params(cursor));
                fetch.stream = Some(stream);
            }
            Err(error) => {
                let failure = Failure::unusable(error.to_string());
                self.fetch_ended(cx, key, Outcome::Failed(failure));
            }
        }
    }

    /// The deadline of a toolkit, or the end of its time.
    pub(super) fn fetch_timer(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(key) else {
            return;
        };
        fetch.timer = None;
        cx.work_with(fetch.call.clone());
        let left = fetch.call.deadline.map(|until| until.since(cx.now()));
        let left = left.unwrap_or_default();
        if fetch.late || left == Duration::ZERO {
            let failure = Failure::unavailable("no response within the timeout");
            return self.fetch_ended(cx, key, Outcome::Failed(failure));
        }
        fetch.late = true;
        let left = left + Duration::from_millis(GRACE);
        let token = Token::from_index(key);
        fetch.timer = Some(cx.timer(left, token, OF_EXCHANGE, "mcp_proxy.fetch"));
        let (upstream, waiting) = (fetch.key.upstream, fetch.waiting.clone());
        let failure = Failure::unavailable("no response within its deadline");
        self.toolkit_failed(cx, upstream, &failure);
        // This request finds out whether the toolkit is back.
        if let Some(health) = self.health.get_mut(upstream) {
            health.asked(cx.now() + left);
        }
        waiting
            .into_iter()
            .for_each(|list| self.settle_list(cx, list));
        self.end_if_unwanted(cx, key);
    }

    /// A request has ended: the lists that wait for it go on.
    fn fetch_ended(&mut self, cx: &mut Context<'_>, key: usize, outcome: Outcome) {
        let Some(Exchange::Fetch(mut fetch)) = self.exchanges.try_remove(key) else {
            return;
        };
        fetch.close(cx);
        let waiting = std::mem::take(&mut fetch.waiting);
        self.cache.fetch_ended(&fetch.key, key);
        let (upstream, kind) = (fetch.key.upstream, fetch.key.kind);
        let state = match outcome {
            Outcome::Listed {
                collected,
                mut hints,
                cut,
            } => {
                self.toolkit_answered(cx, upstream);
                self.compare(cx, upstream, collected.definitions);
                self.report_cleaned(cx, upstream, kind, collected.cleaned);
                let listing = collected.listing;
                self.report_names(cx, upstream, kind, &listing);
                if fetch.changed {
                    hints.ttl_ms = Some(0);
                }
                let ttl = hints.ttl_ms.unwrap_or(self.options.cache_ttl);
                let kept = Kept {
                    listing: Arc::new(listing),
                    hints,
                    cut,
                    until: cx.now() + Duration::from_millis(ttl),
                };
                if ttl > 0 {
                    self.cache.put(&fetch.key, kept.clone());
                }
                if cut {
                    cx.event(&ListCut {
                        toolkit: self.routing.label(upstream).into(),
                        list: kind.begin().word().into(),
                        pages: self.options.max_pages,
                    });
                }
                Ok(kept)
            }
            Outcome::Failed(failure) => {
                if !waiting.is_empty() {
                    cx.event(&ToolkitLeftOut {
                        toolkit: self.routing.label(upstream).into(),
                        list: kind.begin().word().into(),
                        reason: failure.reason.as_str().into(),
                    });
                }
                match failure.about {
                    About::Unavailable => self.toolkit_failed(cx, upstream, &failure),
                    About::Unusable => self.toolkit_answered(cx, upstream),
                    About::Nothing => self.toolkit_not_asked(cx, upstream),
                }
                Err(failure.reason)
            }
        };
        for waiting in &waiting {
            if let Some(Exchange::List(list)) = self.exchanges.get_mut(*waiting) {
                list.resolve(key, || match &state {
                    Ok(kept) => PartState::Listed(kept.clone()),
                    Err(reason) => PartState::Missing(reason.clone()),
                });
            }
        }
        let listing = state.as_ref().ok().map(|kept| &*kept.listing);
        for waiting in waiting {
            self.settle_list(cx, waiting);
            self.list_for_deferred(cx, waiting, key, upstream, listing);
        }
    }

    /// A list does not wait for a request any more. `ends`: it ends if nobody else waits for it.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, key: usize, list: usize, ends: bool) {
        if let Some(Exchange::Fetch(fetch)) = self.exchanges.get_mut(key) {
            fetch.waiting.retain(|waiting| *waiting != list);
            if ends && fetch.waiting.is_empty() && !fetch.late {
                self.remove_fetch(cx, key);
            }
        }
        self.end_if_unwanted(cx, key);
    }

    /// While the engine is stopping, a request that nobody waits for ends.
    fn end_if_unwanted(&mut self, cx: &mut Context<'_>, key: usize) {
        if cx.stopping()
            && let Some(Exchange::Fetch(fetch)) = self.exchanges.get(key)
            && fetch.waiting.is_empty()
        {
            self.remove_fetch(cx, key);
        }
    }

    fn remove_fetch(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(Exchange::Fetch(mut fetch)) = self.exchanges.try_remove(key) {
            fetch.close(cx);
            self.cache.fetch_ended(&fetch.key, key);
            // It no longer finds out whether the toolkit is back.
            self.watch(cx, fetch.key.upstream);
        }
    }

    /// A fault has ended the streams of a request.
    pub(super) fn fetch_failed_internally(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        mut fetch: Fetch,
    ) {
        fetch.close(cx);
        self.cache.fetch_ended(&fetch.key, key);
        let waiting = std::mem::take(&mut fetch.waiting);
        for waiting in waiting {
            if let Some(Exchange::List(list)) = self.exchanges.get_mut(waiting) {
                list.resolve(key, || PartState::Missing("internal error".to_owned()));
            }
            self.settle_list(cx, waiting);
            self.list_for_deferred(cx, waiting, key, fetch.key.upstream, None);
        }
    }
}

/// The params that request the page at a cursor.
fn params(cursor: &str) -> Bytes {
    let mut params = BytesMut::from(&b"{\"cursor\":"[..]);
    write::push_string(&mut params, cursor);
    params.extend_from_slice(b"}");
    params.freeze()
}
