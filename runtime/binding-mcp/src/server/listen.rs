//! `subscriptions/listen` (2026-07-28): one request that stays open and tells of changes.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_json::write::push_string;
use tidegate_json::{Kind, Parts};

use super::binding::McpServer;
use super::errors::Refusal;
use super::http::Caller;
use super::line::UnderWay;
use super::output::{Head, Sink};
use super::subscription::{Holder, SUBSCRIPTIONS_MAX, Subscriptions, Updates};
use crate::jsonrpc::{Id, Params, SUBJECT_MAX};

/// A `listen` under way.
#[derive(Debug)]
pub(super) struct Listen {
    sink: Sink,
    id: Id,
    /// The subscriptions it has asked for and not lost.
    pub(super) subscriptions: Subscriptions,
    pub(super) updates: Updates,
    /// The client has been told what is honoured.
    acknowledged: bool,
}

impl McpServer {
    /// Begins to listen. The acknowledgement follows once each resource is confirmed or refused.
    pub(super) fn listen(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller<'_>,
        id: &Id,
        params: &Params,
    ) -> Result<(), Refusal> {
        self.check_room(caller, id)?;
        let uris = self.resources(params)?;
        let sink = caller.sink;
        if let Sink::Http(_) = sink
            && !caller.takes_events()
        {
            return Err(Refusal::invalid_request(
                "subscriptions/listen is answered by an event stream; accept text/event-stream.",
            ));
        }
        let key = self.listens.insert(Listen {
            sink,
            id: id.clone(),
            subscriptions: Subscriptions::default(),
            updates: Updates::default(),
            acknowledged: false,
        });
        self.register(caller, id, UnderWay::Listen(key));
        if let Sink::Http(http) = sink {
            if let Some(exchange) = self.http.get_mut(http) {
                exchange.begin_events(cx);
            }
            self.keep_events_alive(cx, http);
        }
        for uri in uris {
            let holder = Holder::Listen(key);
            // In memory of its own: the buffer it came in is larger, and would last as long.
            let uri = ByteString::from(&*uri);
            // One that cannot be had is missing in the acknowledgement.
            let opened = self.open_subscription(cx, holder, None, uri.clone(), None);
            if let (Ok(subscription), Some(listen)) = (opened, self.listens.get_mut(key)) {
                listen.subscriptions.insert(uri, subscription);
            }
        }
        self.listen_settled(cx, key);
        Ok(())
    }

    /// Acknowledges, once no resource is waited for.
    pub(super) fn listen_settled(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(listen) = self.listens.get_mut(key) else {
            return;
        };
        let stands = |key: usize| self.subscriptions.get(key).is_none_or(|held| held.stands);
        if listen.acknowledged || !listen.subscriptions.iter().all(|(_, key)| stands(key)) {
            return;
        }
        listen.acknowledged = true;
        let message = acknowledged(&listen.id, listen.subscriptions.uris());
        let sink = listen.sink;
        self.notify(cx, sink, message);
        self.flush_listen_updates(cx, key);
    }

    /// Tells of changes, as far as the client reads.
    pub(super) fn flush_listen_updates(&mut self, cx: &mut Context<'_>, key: usize) {
        loop {
            let Some(listen) = self.listens.get(key) else {
                return;
            };
            let sink = listen.sink;
            if !listen.acknowledged || self.waiting(sink) > 0 {
                return;
            }
            let Some(listen) = self.listens.get_mut(key) else {
                return;
            };
            let Some(change) = listen.updates.take() else {
                return;
            };
            let message = change.message(Some(&listen.id));
            self.notify(cx, sink, message);
        }
    }

    /// Ends it in order, from this side.
    pub(super) fn end_listen(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(listen) = self.close_listen(cx, key) else {
            return;
        };
        if let Sink::Line(_) = listen.sink {
            // On a shared channel nothing else would show that the subscription is torn down.
            self.notify(cx, listen.sink, cancelled(&listen.id));
        }
        let mut members = BytesMut::from(
            &b"\"resultType\":\"complete\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":"
                [..],
        );
        members.extend_from_slice(listen.id.text());
        members.extend_from_slice(b"}");
        let message = crate::jsonrpc::response(&listen.id, &members);
        self.answer(cx, listen.sink, Head::default(), Parts::from(message));
    }

    /// Ends it because a resource of it cannot be told of any more.
    pub(super) fn fail_listen(&mut self, cx: &mut Context<'_>, key: usize, refusal: &Refusal) {
        if let Some(listen) = self.close_listen(cx, key) {
            self.refuse(cx, listen.sink, &listen.id, refusal);
        }
    }

    /// The client listens no more, as it said.
    pub(super) fn cancel_listen(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(listen) = self.close_listen(cx, key) {
            self.left_unanswered(cx, listen.sink);
        }
    }

    /// The client has gone.
    pub(super) fn listen_left(&mut self, cx: &mut Context<'_>, key: usize) {
        self.close_listen(cx, key);
    }

    fn close_listen(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Listen> {
        let mut listen = self.listens.try_remove(key)?;
        for subscription in listen.subscriptions.take() {
            self.close_subscription(cx, subscription);
        }
        self.unregister(listen.sink, None, &listen.id);
        Some(listen)
    }
}

impl McpServer {
    /// The resources that `params.notifications` asks for, each once, if they may be so many.
    fn resources(&self, params: &Params) -> Result<BTreeSet<ByteString>, Refusal> {
        let invalid = |what: &str| Refusal::invalid_params(format!("params.notifications{what}."));
        let filter = params
            .get("notifications")?
            .filter(|value| value.kind() == Kind::Object);
        let filter = filter.ok_or_else(|| invalid(" must be an object"))?;
        let uris = filter
            .get("resourceSubscriptions")
            .map_err(|_| invalid(" names a member twice"))?;
        let Some(uris) = uris else {
            return Ok(BTreeSet::new());
        };
        if uris.kind() != Kind::Array {
            return Err(invalid(".resourceSubscriptions must be an array of URIs"));
        }
        let (limit, mut bytes) = (self.options.max_session_bytes, 0);
        let mut found = BTreeSet::new();
        // Those that are named twice count too: a long list is not read to its end.
        for (before, uri) in uris.elements().enumerate() {
            if before >= SUBSCRIPTIONS_MAX {
                let what =
                    format!(".resourceSubscriptions names over {SUBSCRIPTIONS_MAX} resources");
                return Err(invalid(&what));
            }
            let uri = uri.string();
            let uri = uri.ok_or_else(|| invalid(".resourceSubscriptions must hold strings"))?;
            let length = uri.len();
            if length > SUBJECT_MAX {
                let what = format!(" asks for a URI that is longer than {SUBJECT_MAX} bytes");
                return Err(invalid(&what));
            }
            if !found.insert(uri) {
                continue;
            }
            bytes += length;
            if bytes > limit {
                return Err(invalid(&format!(
                    ".resourceSubscriptions has URIs of over {limit} bytes (maxSessionBytes)"
                )));
            }
        }
        self.check_subscribed(bytes)?;
        Ok(found)
    }
}

fn acknowledged<'a>(id: &Id, uris: impl ExactSizeIterator<Item = &'a ByteString>) -> Bytes {
    let mut out = BytesMut::from(
        &b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":\
           {\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":"[..],
    );
    out.extend_from_slice(id.text());
    out.extend_from_slice(b"},\"notifications\":{");
    if uris.len() > 0 {
        out.extend_from_slice(b"\"resourceSubscriptions\":[");
        for (index, uri) in uris.enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            push_string(&mut out, uri);
        }
        out.extend_from_slice(b"]");
    }
    out.extend_from_slice(b"}}}");
    out.freeze()
}

fn cancelled(id: &Id) -> Bytes {
    let mut out = BytesMut::from(
        &b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":"
            [..],
    );
    out.extend_from_slice(id.text());
    out.extend_from_slice(b",\"reason\":\"The subscription ends here.\"}}");
    out.freeze()
}
