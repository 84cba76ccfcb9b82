//! What an operator should know about the names of a toolkit.

use tidegate_engine::Context;

use super::McpProxy;
use crate::proxy::events::{NamesHidden, NamesShortened};
use crate::proxy::list_kind::ListKind;
use crate::proxy::listed::Listed;
use crate::proxy::listing::Listing;

impl McpProxy {
    /// Reports names that are shortened, and those that nobody can use.
    pub(super) fn report_names(
        &self,
        cx: &mut Context<'_>,
        upstream: usize,
        kind: ListKind,
        listing: &Listing,
    ) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        if let Some((name, _)) = listing.short_names.first() {
            cx.event(&NamesShortened {
                toolkit: self.routing.label(upstream).into(),
                count: count(listing.short_names.len()),
                name: name.clone(),
            });
        }
        if !self.routing.shares_name(upstream) {
            return;
        }
        let keys = listing.arrays.iter().flat_map(Listed::keys);
        let is_hidden = |key: &&str| self.routing.hides(upstream, kind.lists(), key);
        let mut hidden = keys.filter(is_hidden);
        if let Some(name) = hidden.next() {
            cx.event(&NamesHidden {
                toolkit: self.routing.label(upstream).into(),
                list: kind.begin().word().into(),
                count: count(1 + hidden.count()),
                name: name.into(),
            });
        }
    }
}
