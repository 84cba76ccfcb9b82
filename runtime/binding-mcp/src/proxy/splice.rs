//! Puts prefixes into JSON where names and URIs stand, and lists together out of their elements.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Gather, Kind, Limits, Parts, Value};
use tidegate_streams::mcp::McpBeginEx;

use super::names::Prefixes;

/// An array of a list's result: its name, what in an element gets a prefix, and which.
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

/// The arrays of a list's result, the one it must have first; nothing for what is no list.
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

/// The longest cursor that a toolkit may give, in bytes: it goes back in one piece.
const CURSOR_MAX: usize = 16 * 1024;

/// One page of a list, its elements with their prefixes.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// For each array of the list, its elements as they stand in an array, without the brackets.
    elements: Vec<Parts>,
    /// Where the next page starts.
    pub(super) next: Option<ByteString>,
    /// Bytes of its prefixes.
    pub(super) added: usize,
}

/// Takes a page of a list apart, if it is one and its prefixes have no more than `room` bytes.
pub(super) fn page(
    list: &McpBeginEx,
    result: Parts,
    prefixes: &Prefixes,
    room: usize,
) -> Result<Page, &'static str> {
    const NO_LIST: &str = "its answer is no list";
    let document = Document::parse(result, Limits::default()).map_err(|_| NO_LIST)?;
    let listed = document.root();
    if listed.kind() != Kind::Object {
        return Err(NO_LIST);
    }
    let mut page = Page::default();
    for array in arrays(list) {
        let found = listed.get(array.name).map_err(|_| NO_LIST)?;
        let prefix = if array.of_uri {
            &prefixes.uri
        } else {
            &prefixes.name
        };
        let mut elements = Gather::new();
        for element in found.iter().flat_map(Value::elements) {
            if !elements.is_empty() {
                elements.push(Bytes::from_static(b","));
            }
            let place = string_start(element, array.key);
            if place.is_some() {
                page.added += prefix.len();
            }
            if page.added > room {
                return Err("its list is too large");
            }
            let (message, range) = (document.message(), element.range());
            insert(message, range, place.as_slice(), prefix, &mut elements);
        }
        page.elements.push(elements.take());
    }
    let next = listed.get("nextCursor").map_err(|_| NO_LIST)?;
    page.next = next.and_then(|cursor| cursor.string());
    if page.next.as_ref().is_some_and(|it| it.len() > CURSOR_MAX) {
        return Err("its cursor is too long");
    }
    Ok(page)
}

/// A list's result out of the pages of all toolkits.
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
        // A further array is there only where there is something in it.
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

/// A tool's, prompt's or resource's result with a prefix in front of every URI of a resource that it
/// names; what is no JSON object passes as it is. `None` if it would have more than `limit` bytes.
pub(super) fn prefix_uris(result: Parts, prefixes: &Prefixes, limit: usize) -> Option<Parts> {
    let Ok(document) = Document::parse(result.clone(), Limits::default()) else {
        return Some(result);
    };
    let mut places = Vec::new();
    for (key, value) in document.root().members() {
        if key.is("contents") {
            places.extend(
                value
                    .elements()
                    .filter_map(|content| string_start(content, "uri")),
            );
        } else if key.is("content") {
            value
                .elements()
                .for_each(|content| uris_of_content(content, &mut places));
        } else if key.is("messages") {
            let contents = value
                .elements()
                .filter_map(|message| message.get("content").ok()?);
            contents.for_each(|content| uris_of_content(content, &mut places));
        }
    }
    if places.is_empty() {
        return Some(result);
    }
    if result.len() + places.len() * prefixes.uri.len() > limit {
        return None;
    }
    let mut out = Gather::new();
    let whole = 0..result.len();
    insert(&result, whole, &places, &prefixes.uri, &mut out);
    Some(out.take())
}

/// The URI of a resource link or of an embedded resource.
fn uris_of_content(content: Value<'_>, places: &mut Vec<usize>) {
    let kind = content.get("type").ok().flatten();
    let is = |name| kind.is_some_and(|kind| kind.is(name));
    if is("resource_link") {
        places.extend(string_start(content, "uri"));
    } else if is("resource") {
        let resource = content.get("resource").ok().flatten();
        places.extend(resource.and_then(|resource| string_start(resource, "uri")));
    }
}

/// Where the content of a string member starts.
fn string_start(value: Value<'_>, key: &str) -> Option<usize> {
    let member = value.get(key).ok()??;
    (member.kind() == Kind::String).then(|| member.range().start + 1)
}

/// Writes a range of a message with `prefix` put in at places, which are in order. A prefix holds
/// nothing that JSON would escape.
fn insert(
    parts: &Parts,
    range: Range<usize>,
    places: &[usize],
    prefix: &ByteString,
    out: &mut Gather,
) {
    let mut start = range.start;
    for place in places {
        let before = parts.slice(start..*place);
        before.into_iter().for_each(|part| out.push(part));
        out.push(prefix.as_bytes().clone());
        start = *place;
    }
    let rest = parts.slice(start..range.end);
    rest.into_iter().for_each(|part| out.push(part));
}
