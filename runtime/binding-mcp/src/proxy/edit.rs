//! Changes at a few places of a JSON text, whose other bytes stay as they are.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use tidegate_json::{Kind, Parts, Value};

/// Replaces a range of a message, which may be empty.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) with: Bytes,
}

impl Edit {
    pub(super) const fn insert(at: usize, with: Bytes) -> Self {
        Self { at: at..at, with }
    }

    /// The bytes by which it makes the text longer.
    pub(super) fn added(&self) -> usize {
        self.with.len().saturating_sub(self.at.len())
    }
}

/// Writes a range of a message with changes, which are sorted and do not overlap.
pub(super) fn write(parts: &Parts, range: Range<usize>, edits: &[Edit], out: &mut BytesMut) {
    let mut start = range.start;
    let copy = |out: &mut BytesMut, range: Range<usize>| {
        let slice = parts.slice(range);
        slice.iter().for_each(|part| out.extend_from_slice(part));
    };
    for edit in edits {
        copy(out, start..edit.at.start);
        out.extend_from_slice(&edit.with);
        start = edit.at.end;
    }
    copy(out, start..range.end);
}

/// Position of the content of a string member.
pub(super) fn string_start(value: Value<'_>, key: &str) -> Option<usize> {
    let member = value.get(key).ok()??;
    (member.kind() == Kind::String).then(|| member.range().start + 1)
}

/// Positions of the URIs of an app's user interface in the `_meta` of a tool or of a result:
/// `ui.resourceUri`, and its older form `ui/resourceUri`.
pub(super) fn ui_resources(meta: Value<'_>) -> impl Iterator<Item = usize> {
    let ui = meta.get("ui").ok().flatten();
    let nested = ui.and_then(|ui| string_start(ui, "resourceUri"));
    let flat = string_start(meta, "ui/resourceUri");
    let mut found = [nested, flat];
    found.sort_unstable();
    found.into_iter().flatten()
}
