//! Inserts prefixes into the results of tools, prompts and resources.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use memchr::memmem;
use tidegate_json::{Document, Gather, Limits, Parts, Value};

use super::edit::{string_start, ui_resources};
use super::names::Prefixes;

/// Prefixes every resource URI in the result of a tool, prompt or resource. A result that is not a
/// JSON object is returned unchanged. `None` if the result would exceed `limit` bytes.
pub(super) fn prefix_uris(result: Parts, prefixes: &Prefixes, limit: usize) -> Option<Parts> {
    if has_no_uri(&result) {
        return Some(result);
    }
    let Ok(document) = Document::parse(result.clone(), Limits::default()) else {
        return Some(result);
    };
    let mut positions = Vec::new();
    for (key, value) in document.root().members() {
        if key.is("contents") {
            positions.extend(
                value
                    .elements()
                    .filter_map(|content| string_start(content, "uri")),
            );
        } else if key.is("content") {
            value
                .elements()
                .for_each(|content| uris_of_content(content, &mut positions));
        } else if key.is("_meta") {
            positions.extend(ui_resources(value));
        } else if key.is("messages") {
            let contents = value
                .elements()
                .filter_map(|message| message.get("content").ok()?);
            contents.for_each(|content| uris_of_content(content, &mut positions));
        }
    }
    if positions.is_empty() {
        return Some(result);
    }
    if result.len() + positions.len() * prefixes.uri.len() > limit {
        return None;
    }
    let mut out = Gather::new();
    let whole = 0..result.len();
    insert(&result, whole, &positions, &prefixes.uri, &mut out);
    Some(out.take())
}

/// Prefixes the URI that the data of an error name. Data that name none are returned unchanged.
pub(super) fn prefix_uri(data: &Bytes, prefixes: &Prefixes) -> Bytes {
    let parts = Parts::from(data.clone());
    let document = Document::parse(parts.clone(), Limits::default());
    let place = document.ok().and_then(|it| string_start(it.root(), "uri"));
    let Some(place) = place else {
        return data.clone();
    };
    let mut out = Gather::new();
    insert(&parts, 0..data.len(), &[place], &prefixes.uri, &mut out);
    out.take().contiguous()
}

/// Whether no member of a result can be a URI, by its text: none is called `uri` or `resourceUri`. Most
/// results are texts without either, and need not be parsed.
fn has_no_uri(result: &Parts) -> bool {
    let mut parts = result.iter();
    let (Some(text), None) = (parts.next(), parts.next()) else {
        return false;
    };
    // A name with an escape may be any.
    memchr::memchr(b'\\', text).is_none() && memmem::find(text, b"ri\"").is_none()
}

/// The URI of a resource link or of an embedded resource.
fn uris_of_content(content: Value<'_>, positions: &mut Vec<usize>) {
    let kind = content.get("type").ok().flatten();
    let is = |name| kind.is_some_and(|kind| kind.is(name));
    if is("resource_link") {
        positions.extend(string_start(content, "uri"));
    } else if is("resource") {
        let resource = content.get("resource").ok().flatten();
        positions.extend(resource.and_then(|resource| string_start(resource, "uri")));
    }
}

/// Writes a range of a message with `prefix` inserted at the given positions, which are sorted. A
/// prefix contains nothing that JSON would escape.
fn insert(
    parts: &Parts,
    range: Range<usize>,
    positions: &[usize],
    prefix: &ByteString,
    out: &mut Gather,
) {
    let mut start = range.start;
    for place in positions {
        let before = parts.slice(start..*place);
        before.into_iter().for_each(|part| out.push(part));
        out.push(prefix.as_bytes().clone());
        start = *place;
    }
    let rest = parts.slice(start..range.end);
    rest.into_iter().for_each(|part| out.push(part));
}
