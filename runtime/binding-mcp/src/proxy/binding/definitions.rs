//! The definitions of tools, compared with those that an operator has accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::FlushEx;
use tidegate_streams::mcp::{McpFlushEx, McpToolsListChanged};

use super::{Exchange, McpProxy};
use crate::proxy::events::{DefinitionChanged, DefinitionsNew, TextCleaned};
use crate::proxy::list_kind::ListKind;
use crate::proxy::listing::Cleaned;
use crate::proxy::page::Element;
use crate::proxy::pins::{Accepted, Definition, Digest, PinMode, Pins, hex};

/// Most tools of a toolkit whose definitions are known. Beyond it, those that were not in the last list
/// are forgotten.
const KNOWN_MAX: usize = 100_000;

/// The pins of a proxy, and the definitions that its toolkits have.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) mode: PinMode,
    pub(super) pins: Arc<Pins>,
    /// For each toolkit, by its index in the routing: the last definition of each tool.
    known: Vec<BTreeMap<ByteString, Digest>>,
}

impl Pinned {
    pub(super) fn new(mode: PinMode, pins: Arc<Pins>, toolkits: usize) -> Self {
        Self {
            mode,
            pins,
            known: vec![BTreeMap::new(); toolkits],
        }
    }

    /// Whether tools are withheld until they are accepted.
    pub(super) fn blocks(&self) -> bool {
        self.mode == PinMode::Block
    }

    /// Whether the definition of a tool is known.
    pub(super) fn knows(&self, upstream: usize, tool: &str) -> bool {
        self.known
            .get(upstream)
            .is_some_and(|known| known.contains_key(tool))
    }

    /// Whether a tool may be called: the definition that it had last is accepted. One whose definition is not
    /// known, because its toolkit cannot be asked, may be called if any was accepted.
    pub(super) fn permits(&self, upstream: usize, toolkit: &ByteString, tool: &str) -> bool {
        let accepted = self.pins.accepted();
        let accepted = accepted.get(&(toolkit.clone(), ByteString::from(tool)));
        let known = self.known.get(upstream).and_then(|known| known.get(tool));
        match (accepted, known) {
            (Some(accepted), Some(known)) => accepted == known,
            (accepted, None) => accepted.is_some(),
            (None, Some(_)) => false,
        }
    }
}

/// Whether an element of a list of tools has the definition that is accepted.
pub(super) fn is_accepted(
    accepted: &Accepted,
    toolkit: &ByteString,
    element: &Element<'_>,
) -> bool {
    let key = (toolkit.clone(), ByteString::from(element.key));
    let definition = accepted.get(&key);
    definition.is_some() && definition == element.definition
}

impl McpProxy {
    /// Tells the callers that have a session that other tools may be offered.
    pub(super) fn tell_of_pins(&self, cx: &mut Context<'_>) {
        if !self.pinned.as_ref().is_some_and(Pinned::blocks) {
            return;
        }
        for key in self.sessions.values() {
            if let Some(Exchange::Session(session)) = self.exchanges.get(*key) {
                let changed = McpFlushEx::ToolsListChanged(McpToolsListChanged {});
                session.notify(cx, Box::new(FlushEx::Mcp(changed)));
            }
        }
    }

    /// Compares the definitions of a list with those that are accepted, and reports others once.
    pub(super) fn compare(
        &mut self,
        cx: &mut Context<'_>,
        upstream: usize,
        mut definitions: Vec<(ByteString, Definition)>,
    ) {
        let (Some(pinned), Some(to)) = (&mut self.pinned, self.routing.get(upstream)) else {
            return;
        };
        let (toolkit, label) = (to.toolkit.clone(), self.routing.label(upstream));
        let Some(known) = pinned.known.get_mut(upstream) else {
            return;
        };
        if known.len() + definitions.len() > KNOWN_MAX {
            known.clear();
        }
        let accepted = pinned.pins.accepted();
        // A tool that is listed twice is not accepted unless both definitions are.
        let is_accepted = |(tool, it): &(ByteString, Definition)| {
            accepted.get(&(toolkit.clone(), tool.clone())) == Some(&it.digest)
        };
        let others = definitions.iter().filter(|it| !is_accepted(it));
        let others: BTreeSet<ByteString> = others.map(|(tool, _)| tool.clone()).collect();
        definitions.retain(|it| !others.contains(&it.0) || !is_accepted(it));
        let (mut added, mut first) = (0, None);
        for (tool, definition) in definitions {
            let digest = definition.digest;
            let is_new = known.insert(tool.clone(), digest) != Some(digest);
            let key = (toolkit.clone(), tool);
            let was = accepted.get(&key);
            let (_, tool) = &key;
            if was == Some(&digest) {
                if is_new {
                    pinned.pins.settle(&toolkit, tool);
                }
                continue;
            }
            if !is_new {
                continue;
            }
            pinned.pins.wait(&toolkit, tool, definition);
            if let Some(was) = was {
                cx.event(&DefinitionChanged {
                    toolkit: label.into(),
                    tool: tool.clone(),
                    accepted: hex(was).into(),
                    definition: hex(&digest).into(),
                    withheld: pinned.mode == PinMode::Block,
                });
            } else {
                added += 1;
                first.get_or_insert(tool.clone());
            }
        }
        if let Some(tool) = first {
            cx.event(&DefinitionsNew {
                toolkit: label.into(),
                tool,
                count: added,
                withheld: pinned.mode == PinMode::Block,
            });
        }
    }

    /// Reports texts that were cleaned, unless the same was reported before.
    pub(super) fn report_cleaned(
        &mut self,
        cx: &mut Context<'_>,
        upstream: usize,
        kind: ListKind,
        cleaned: Option<Cleaned>,
    ) {
        let place = (upstream, kind);
        let Some(cleaned) = cleaned else {
            self.cleaned.remove(&place);
            return;
        };
        if self.cleaned.get(&place) == Some(&cleaned) {
            return;
        }
        cx.event(&TextCleaned {
            toolkit: self.routing.label(upstream).into(),
            list: kind.begin().word().into(),
            count: cleaned.count,
            subject: cleaned.first.clone(),
        });
        self.cleaned.insert(place, cleaned);
    }
}
