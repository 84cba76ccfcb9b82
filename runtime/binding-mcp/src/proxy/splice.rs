//! Puts prefixes into JSON where names and URIs stand, and lists together out of their elements.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Kind, Limits, Parts, Value};
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

/// One page of a list, its elements with their prefixes.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// For each array of the list, its elements.
    elements: Vec<Vec<Parts>>,
    /// Where the next page starts.
    pub(super) next: Option<ByteString>,
}

/// Takes a page of a list apart; `None` if it is no result of such a list.
pub(super) fn page(list: &McpBeginEx, result: Parts, prefixes: &Prefixes) -> Option<Page> {
    let document = Document::parse(result, Limits::default()).ok()?;
    let root = document.root();
    if root.kind() != Kind::Object {
        return None;
    }
    let mut page = Page::default();
    for array in arrays(list) {
        let found = root.get(array.name).ok()?;
        let elements = found.iter().flat_map(Value::elements);
        let prefix = if array.of_uri {
            &prefixes.uri
        } else {
            &prefixes.name
        };
        page.elements.push(
            elements
                .map(|element| {
                    let places: Vec<usize> = string_start(element, array.key).into_iter().collect();
                    insert(document.message(), element.range(), &places, prefix)
                })
                .collect(),
        );
    }
    page.next = root
        .get("nextCursor")
        .ok()?
        .and_then(|cursor| cursor.string());
    Some(page)
}

/// A list's result out of the pages of all toolkits.
pub(super) fn merge(list: &McpBeginEx, pages: impl Iterator<Item = Page>) -> Parts {
    let arrays = arrays(list);
    let mut merged: Vec<Vec<Parts>> = arrays.iter().map(|_| Vec::new()).collect();
    for page in pages {
        for (all, elements) in merged.iter_mut().zip(page.elements) {
            all.extend(elements);
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
        for (index, element) in elements.into_iter().enumerate() {
            if index > 0 {
                result.push(Bytes::from_static(b","));
            }
            element.into_iter().for_each(|part| result.push(part));
        }
        result.push(Bytes::from_static(b"]"));
    }
    result.push(Bytes::from_static(b"}"));
    result
}

/// A tool's, prompt's or resource's result with a prefix in front of every URI of a resource that it
/// names; what is no JSON object passes as it is.
pub(super) fn prefix_uris(result: Parts, prefixes: &Prefixes) -> Parts {
    let Ok(document) = Document::parse(result.clone(), Limits::default()) else {
        return result;
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
        return result;
    }
    let whole = 0..result.len();
    insert(&result, whole, &places, &prefixes.uri)
}

/// The URI of a resource link or of an embedded resource.
fn uris_of_content(content: Value<'_>, places: &mut Vec<usize>) {
    let kind = content
        .get("type")
        .ok()
        .flatten()
        .and_then(|kind| kind.string());
    match kind.as_deref() {
        Some("resource_link") => places.extend(string_start(content, "uri")),
        Some("resource") => {
            let resource = content.get("resource").ok().flatten();
            places.extend(resource.and_then(|resource| string_start(resource, "uri")));
        }
        _ => {}
    }
}

/// Where the content of a string member starts.
fn string_start(value: Value<'_>, key: &str) -> Option<usize> {
    let member = value.get(key).ok()??;
    (member.kind() == Kind::String).then(|| member.range().start + 1)
}

/// A range of a message with `prefix` put in at places, which are in order. A prefix holds nothing
/// that JSON would escape.
fn insert(
    parts: &Parts,
    range: std::ops::Range<usize>,
    places: &[usize],
    prefix: &ByteString,
) -> Parts {
    let mut out = Parts::new();
    let mut start = range.start;
    for place in places {
        parts
            .slice(start..*place)
            .into_iter()
            .for_each(|part| out.push(part));
        out.push(prefix.as_bytes().clone());
        start = *place;
    }
    parts
        .slice(start..range.end)
        .into_iter()
        .for_each(|part| out.push(part));
    out
}
