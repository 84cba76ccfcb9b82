//! Inserts prefixes into JSON, and merges lists from their elements.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Gather, Kind, Limits, Parts, Value};
use tidegate_streams::mcp::McpBeginEx;

use super::names::Prefixes;

/// An array of a list result: its name, the member that gets a prefix, and which prefix.
#[derive(Debug, Clone, Copy)]
struct Array {
    name: &'static str,
    key: &'static str,
    of_uri: bool,
}

const TOOLS: Array = Array {
    name: "tools",
    key: "name",
    of_uri: false,
};
const PROMPTS: Array = Array {
    name: "prompts",
    key: "name",
    of_uri: false,
};
const RESOURCES: Array = Array {
    name: "resources",
    key: "uri",
    of_uri: true,
};
const TEMPLATES: Array = Array {
    name: "resourceTemplates",
    key: "uriTemplate",
    of_uri: true,
};

/// The arrays of a list result, the mandatory one first; empty if the operation is not a list.
fn arrays(list: &McpBeginEx) -> &'static [Array] {
    match list {
        McpBeginEx::ToolsList(_) => &[TOOLS],
        McpBeginEx::PromptsList(_) => &[PROMPTS],
        McpBeginEx::ResourcesList(_) => &[RESOURCES, TEMPLATES],
        McpBeginEx::ResourcesTemplatesList(_) => &[TEMPLATES],
        _ => &[],
    }
}

/// Whether an operation is a list.
pub(super) fn is_list(begin: &McpBeginEx) -> bool {
    !arrays(begin).is_empty()
}

/// Maximum length of a toolkit's cursor, in bytes: it is sent back in one piece.
const CURSOR_MAX: usize = 16 * 1024;

/// A page of a list, with prefixed elements.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// For each array, its elements separated by commas, without the brackets.
    elements: Vec<Parts>,
    /// Cursor of the next page.
    pub(super) next: Option<ByteString>,
    /// Bytes added by prefixes.
    pub(super) added: usize,
}

/// Parses a page of a list, keeps the elements whose name or URI `offers` accepts, and adds prefixes. Fails if it is not a list, or if the prefixes need
/// more than `room` bytes.
pub(super) fn page(
    list: &McpBeginEx,
    result: Parts,
    prefixes: &Prefixes,
    room: usize,
    offers: &dyn Fn(&str) -> bool,
) -> Result<Page, &'static str> {
    const NOT_A_LIST: &str = "invalid list result";
    let document = Document::parse(result, Limits::default()).map_err(|_| NOT_A_LIST)?;
    let listed = document.root();
    if listed.kind() != Kind::Object {
        return Err(NOT_A_LIST);
    }
    let mut page = Page::default();
    for array in arrays(list) {
        let found = listed.get(array.name).map_err(|_| NOT_A_LIST)?;
        let prefix = if array.of_uri {
            &prefixes.uri
        } else {
            &prefixes.name
        };
        let mut elements = Gather::new();
        for element in found.iter().flat_map(Value::elements) {
            if !is_offered(element, array.key, offers) {
                continue;
            }
            if !elements.is_empty() {
                elements.push(Bytes::from_static(b","));
            }
            let position = string_start(element, array.key).filter(|_| !prefix.is_empty());
            if position.is_some() {
                page.added += prefix.len();
            }
            if page.added > room {
                return Err("list larger than maxResultSize");
            }
            let (message, range) = (document.message(), element.range());
            insert(message, range, position.as_slice(), prefix, &mut elements);
        }
        page.elements.push(elements.take());
    }
    let next = listed.get("nextCursor").map_err(|_| NOT_A_LIST)?;
    page.next = next.and_then(|cursor| cursor.string());
    if page.next.as_ref().is_some_and(|it| it.len() > CURSOR_MAX) {
        return Err("cursor longer than 16 KiB");
    }
    Ok(page)
}

/// Whether an element is offered to the caller. One without a name cannot be called by anyone, and is
/// left to the client.
fn is_offered(element: Value<'_>, key: &str, offers: &dyn Fn(&str) -> bool) -> bool {
    let name = element.get(key).ok().flatten();
    name.and_then(|name| name.string())
        .is_none_or(|name| offers(&name))
}

/// Merges the pages of all toolkits into one list result.
pub(super) fn merge(list: &McpBeginEx, pages: impl Iterator<Item = Page>) -> Parts {
    let arrays = arrays(list);
    let mut merged: Vec<Parts> = arrays.iter().map(|_| Parts::new()).collect();
    for page in pages {
        for (all, elements) in merged.iter_mut().zip(page.elements) {
            if !all.is_empty() && !elements.is_empty() {
                all.push(Bytes::from_static(b","));
            }
            elements.into_iter().for_each(|part| all.push(part));
        }
    }
    let mut result = Parts::new();
    let text = |result: &mut Parts, text: String| result.push(Bytes::from(text));
    text(&mut result, "{".to_owned());
    for (index, (array, elements)) in arrays.iter().zip(merged).enumerate() {
        // An optional array is only written if it has elements.
        if index > 0 && elements.is_empty() {
            continue;
        }
        let comma = if index > 0 { "," } else { "" };
        text(&mut result, format!("{comma}\"{}\":[", array.name));
        elements.into_iter().for_each(|part| result.push(part));
        result.push(Bytes::from_static(b"]"));
    }
    result.push(Bytes::from_static(b"}"));
    result
}

/// Prefixes every resource URI in the result of a tool, prompt or resource. A result that is not a
/// JSON object is returned unchanged. `None` if the result would exceed `limit` bytes.
pub(super) fn prefix_uris(result: Parts, prefixes: &Prefixes, limit: usize) -> Option<Parts> {
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

/// Position of the content of a string member.
fn string_start(value: Value<'_>, key: &str) -> Option<usize> {
    let member = value.get(key).ok()??;
    (member.kind() == Kind::String).then(|| member.range().start + 1)
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

#[cfg(test)]
mod tests {
    use tidegate_streams::mcp::McpToolsList;

    use super::*;

    #[test]
    fn a_cursor_is_followed_up_to_its_maximum_length() {
        let page = |length: usize| {
            let cursor = "c".repeat(length);
            let result = format!("{{\"tools\":[],\"nextCursor\":\"{cursor}\"}}");
            let (list, prefixes) = (McpToolsList::default().into(), Prefixes::of("a"));
            page(&list, Bytes::from(result).into(), &prefixes, 0, &|_| true)
        };
        let next = page(CURSOR_MAX).expect("a page").next;
        assert_eq!(next.map(|cursor| cursor.len()), Some(16 * 1024));
        let refused = page(CURSOR_MAX + 1).map(|page| page.next);
        assert_eq!(refused, Err("cursor longer than 16 KiB"));
    }
}
