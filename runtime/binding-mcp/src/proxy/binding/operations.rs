//! Operations on one tool, prompt or resource, which are passed on to its toolkit.

use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::{BindingId, Context, StreamId, Token};
use tidegate_options::Guarded;
use tidegate_streams::BeginEx;
use tidegate_streams::mcp::{McpBeginEx, McpReset, McpResetKind};

use super::{Exchange, McpProxy, refuse};
use crate::proxy::events::{self, CallRouted};
use crate::proxy::names::{Kind, Prefixes, key_mut};
use crate::proxy::relay::Relay;
use crate::proxy::routing::Decision;
use crate::shown::shown;

/// The way of an operation, which its caller may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// The toolkit, as an index into the routing.
    upstream: usize,
    /// Index of the route in the config.
    route: usize,
}

impl McpProxy {
    /// Passes a stream on to one exit; returns the key of the exchange.
    pub(super) fn relay(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        exit: BindingId,
        begin: McpBeginEx,
        prefixes: Option<Prefixes>,
        guarded: Option<Arc<Guarded>>,
    ) -> Option<usize> {
        let gathers = matches!(
            begin,
            McpBeginEx::ToolsCall(_) | McpBeginEx::PromptsGet(_) | McpBeginEx::ResourcesRead(_)
        );
        let entry = self.exchanges.vacant_entry();
        let key = entry.key();
        let token = Token::from_index(key);
        let Ok(opened) = cx.open(exit, BeginEx::Mcp(begin), token) else {
            refuse(
                cx,
                accepted,
                McpResetKind::Busy,
                "Stream limit reached; retry later.",
            );
            return None;
        };
        self.counts.relayed += 1;
        cx.accept(accepted, token);
        let result_max = self.options.max_result_size;
        let private = self.routing.depends_on_caller();
        entry.insert(Exchange::Relay(Relay::new(
            accepted, opened, prefixes, gathers, result_max, private, guarded,
        )));
        Some(key)
    }

    /// Finds the route of an operation on one tool, prompt or resource, and removes the prefix. Returns
    /// the key of the exchange that passes it on.
    pub(super) fn item_operation(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        mut begin: McpBeginEx,
    ) -> Option<usize> {
        let word = begin.word();
        let Some((key, kind)) = key_mut(&mut begin) else {
            let what = format!("Operation {} is not supported.", begin.word());
            refuse(cx, accepted, McpResetKind::NotFound, &what);
            return None;
        };
        let (way, name) = self.way(cx, accepted, word, kind, key)?;
        *key = name;
        if kind == Kind::Tool && self.is_withheld(way.upstream, key) {
            let what = format!(
                "The definition of tool '{}' is new or has changed; it is withheld until an operator accepts it (tidegate pins accept).",
                shown(key)
            );
            refuse(cx, accepted, McpResetKind::NotFound, &what);
            return None;
        }
        self.pass_on(cx, accepted, begin, way)
    }

    /// Whether a tool is withheld, because its definition is not accepted.
    fn is_withheld(&self, upstream: usize, tool: &str) -> bool {
        let pinned = self.pinned.as_ref().filter(|it| it.blocks());
        let to = self.routing.get(upstream);
        let both = pinned.zip(to);
        both.is_some_and(|(pinned, to)| !pinned.permits(upstream, &to.toolkit, tool))
    }

    /// The way of an operation on a subject, and the subject's name without the prefix. The operation is
    /// refused if there is none.
    pub(super) fn way(
        &self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        word: &'static str,
        kind: Kind,
        key: &ByteString,
    ) -> Option<(Way, ByteString)> {
        let routing = &self.routing;
        let caller = cx.identity().cloned();
        let decision = routing.decide(caller.as_deref(), kind, key);
        if routing.depends_on_caller() {
            events::report(cx, word, key, &decision);
        }
        let way = match decision {
            Decision::Permitted { upstream, route } => Way { upstream, route },
            Decision::StepUp { scopes, .. } => {
                let reset = McpReset::insufficient_scope(scopes);
                cx.terminate(accepted, Some(reset.into()), None);
                return None;
            }
            Decision::Unknown { .. } => {
                let what = unknown_message(&routing.toolkits(caller.as_deref()), kind, key);
                refuse(cx, accepted, McpResetKind::NotFound, &what);
                return None;
            }
        };
        let upstream = routing.get(way.upstream)?;
        let rest = key.strip_prefix(&**kind.prefix(&upstream.prefixes))?;
        let name = key.slice_ref(rest);
        Some((way, name))
    }

    /// Passes an operation on to its toolkit; returns the key of the exchange.
    pub(super) fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        accepted: StreamId,
        mut begin: McpBeginEx,
        way: Way,
    ) -> Option<usize> {
        let routing = Arc::clone(&self.routing);
        let upstream = routing.get(way.upstream)?;
        if let Some(relayed) = self.counts.by_toolkit.get_mut(way.upstream) {
            *relayed += 1;
        }
        if !upstream.toolkit.is_empty() {
            cx.event_with(|_| CallRouted {
                toolkit: upstream.toolkit.clone(),
            });
        }
        let session_id = self.hop_identity(cx, begin.session_id().cloned(), way.upstream);
        begin.set_session_id(session_id);
        let prefixes = upstream.prefixes.clone();
        let guarded = routing.guarded(way.route);
        self.relay(cx, accepted, upstream.exit, begin, Some(prefixes), guarded)
    }
}

fn unknown_message(toolkits: &[&str], kind: Kind, key: &str) -> String {
    let (word, key) = (kind.word(), shown(key));
    if toolkits.is_empty() {
        return format!("Unknown {word} '{key}'.");
    }
    let (shape, toolkits) = (kind.shape(), toolkits.join(", "));
    format!("Unknown {word} '{key}'. Its name has the form {shape}; toolkits: {toolkits}.")
}
