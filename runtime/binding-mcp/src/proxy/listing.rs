//! What a toolkit lists, with the toolkit's prefix: the text of its elements, and their names.
//!
//! The text of an array is one buffer, so that a list that is passed on whole takes no work for each
//! element. It is copied once from the pages of the toolkit.

use std::collections::BTreeMap;

use bytes::BytesMut;
use bytestring::ByteString;
use tidegate_json::{Document, Kind, Limits, Parts, Value, write};

use super::clean;
use super::edit::{self, Edit, ui_resources};
use super::list_kind::{Array, ListKind};
use super::listed::{Elements, Listed};
use super::names::Prefixes;
use super::pins::{Definition, Digest};
use super::short_name::shortened;

/// Maximum length of a toolkit's cursor, in bytes: it is sent back in one piece.
const CURSOR_MAX: usize = 16 * 1024;

/// A toolkit's list.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// As many as the list has arrays.
    pub(super) arrays: Vec<Listed>,
    /// The tools whose names are shortened: the name with the toolkit's prefix, and that at the toolkit.
    pub(super) short_names: Vec<(ByteString, ByteString)>,
    /// The definition of each tool, in the order of the list, if they are wanted.
    definitions: Vec<Digest>,
}

/// The definition of a tool that the list has with another one, too. It is not that of any tool, so that it is
/// not accepted: nobody knows which one is called.
const AMBIGUOUS: Digest = [0; 32];

impl Listing {
    /// The definition of a tool; tools are in the first array.
    pub(super) fn definition(&self, array: usize, element: usize) -> Option<&Digest> {
        self.definitions.get(element).filter(|_| array == 0)
    }

    /// The name at the toolkit of a tool whose name is shortened.
    pub(super) fn full_name(&self, short: &str) -> Option<&ByteString> {
        let mut names = self.short_names.iter();
        names.find(|(it, _)| it == short).map(|(_, full)| full)
    }

    /// The memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let names = self.short_names.iter();
        let names: usize = names.map(|(short, full)| short.len() + full.len()).sum();
        let definitions = self.definitions.len() * size_of::<Digest>();
        self.arrays.iter().map(Listed::size).sum::<usize>() + names + definitions
    }
}

/// How elements are changed for the caller.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) prefixes: Prefixes,
    /// Maximum length of a tool's name with its prefix, in bytes.
    pub(super) name_max: usize,
    /// Whether the definitions of tools are wanted.
    pub(super) pins: bool,
}

/// Texts from which invisible characters were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub(super) count: u32,
    /// Name or URI of the first element with one.
    pub(super) first: ByteString,
}

/// What the pages of a list contain.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) listing: Listing,
    pub(super) definitions: Vec<(ByteString, Definition)>,
    pub(super) cleaned: Option<Cleaned>,
}

/// Collects the pages of a toolkit's list.
#[derive(Debug)]
pub(super) struct Collector {
    kind: ListKind,
    rules: Rules,
    short_names: Vec<(ByteString, ByteString)>,
    definitions: Vec<(ByteString, Definition)>,
    cleaned: Option<Cleaned>,
    arrays: Vec<Elements>,
}

/// What a page said about the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageEnd {
    /// Cursor of the next page.
    pub(super) next: Option<ByteString>,
    /// Bytes added by prefixes.
    pub(super) added: usize,
}

impl Collector {
    pub(super) fn new(kind: ListKind, rules: Rules) -> Self {
        let arrays = kind.arrays().iter().map(|_| Elements::default()).collect();
        Self {
            kind,
            rules,
            short_names: Vec::new(),
            definitions: Vec::new(),
            cleaned: None,
            arrays,
        }
    }

    /// Adds a page. Fails if it is not a list, or if the prefixes need more than `room` bytes.
    pub(super) fn add(&mut self, result: Parts, room: usize) -> Result<PageEnd, &'static str> {
        const NOT_A_LIST: &str = "invalid list result";
        let document = Document::parse(result, Limits::default()).map_err(|_| NOT_A_LIST)?;
        let listed = document.root();
        if listed.kind() != Kind::Object {
            return Err(NOT_A_LIST);
        }
        let mut added = 0;
        let pins = self.rules.pins && self.kind == ListKind::Tools;
        for (array, elements) in self.kind.arrays().iter().zip(&mut self.arrays) {
            let found = listed.get(array.name).map_err(|_| NOT_A_LIST)?;
            if let Some(found) = found {
                let named = found
                    .elements()
                    .filter(|it| matches!(it.get(array.key), Ok(Some(_))));
                let (count, prefix) = (named.count(), &self.rules.prefixes);
                let prefix = self.kind.lists().prefix(prefix).len();
                elements.reserve(count, found.range().len() + (count * prefix).min(room));
            }
            for element in found.iter().flat_map(Value::elements) {
                let key = element.get(array.key).ok().flatten();
                let key = key.and_then(|key| key.text());
                // Nobody can use what has no name, and many clients refuse a whole list because of it.
                let Some(key) = key else {
                    continue;
                };
                let mut edits = edits(
                    self.kind,
                    *array,
                    element,
                    &self.rules,
                    &mut self.short_names,
                );
                let clean = clean::edits(element);
                let texts = u32::try_from(clean.len()).unwrap_or(u32::MAX);
                edits.extend(clean);
                edits.sort_by_key(|edit| edit.at.start);
                added += edits.iter().map(Edit::added).sum::<usize>();
                if added > room {
                    return Err("list larger than maxResultSize");
                }
                let text = elements.begin();
                edit::write(document.message(), element.range(), &edits, text);
                if texts > 0 {
                    let cleaned = self.cleaned.get_or_insert_with(|| Cleaned {
                        count: 0,
                        first: ByteString::from(&*key),
                    });
                    cleaned.count = cleaned.count.saturating_add(texts);
                }
                if pins {
                    self.definitions
                        .push((ByteString::from(&*key), Definition::of(element)));
                }
                elements.end(&key)?;
            }
        }
        let next = listed.get("nextCursor").map_err(|_| NOT_A_LIST)?;
        let next = next.and_then(|cursor| cursor.string());
        if next.as_ref().is_some_and(|it| it.len() > CURSOR_MAX) {
            return Err("cursor longer than 16 KiB");
        }
        Ok(PageEnd { next, added })
    }

    /// The content of all pages; nothing remains.
    pub(super) fn take(&mut self) -> Collected {
        let arrays = std::mem::take(&mut self.arrays).into_iter();
        let definitions = std::mem::take(&mut self.definitions);
        let listing = Listing {
            arrays: arrays.map(Elements::finish).collect(),
            short_names: std::mem::take(&mut self.short_names),
            definitions: digests(&definitions),
        };
        Collected {
            listing,
            definitions,
            cleaned: self.cleaned.take(),
        }
    }
}

/// The definition of each tool.
fn digests(definitions: &[(ByteString, Definition)]) -> Vec<Digest> {
    let mut first: BTreeMap<&ByteString, Digest> = BTreeMap::new();
    for (tool, definition) in definitions {
        let known = first.entry(tool).or_insert(definition.digest);
        if *known != definition.digest {
            *known = AMBIGUOUS;
        }
    }
    let each = definitions.iter();
    each.filter_map(|(tool, _)| first.get(tool).copied())
        .collect()
}

/// The changes to an element: prefixes of its name or URI, and of the resources that it refers to.
fn edits(
    kind: ListKind,
    array: Array,
    element: Value<'_>,
    rules: &Rules,
    short_names: &mut Vec<(ByteString, ByteString)>,
) -> Vec<Edit> {
    let prefixes = &rules.prefixes;
    if prefixes.is_empty() {
        return Vec::new();
    }
    let mut edits = Vec::new();
    let prefix = kind.lists().prefix(prefixes);
    let named = element.get(array.key).ok().flatten();
    let named = named.filter(|named| named.kind() == Kind::String);
    edits.extend(named.map(|named| {
        let short = match kind {
            ListKind::Tools => named.text().and_then(|name| {
                let short = shortened(prefix, &name, rules.name_max)?;
                short_names.push((short.as_str().into(), ByteString::from(&*name)));
                Some(short)
            }),
            _ => None,
        };
        match short {
            Some(short) => {
                let mut quoted = BytesMut::new();
                write::push_string(&mut quoted, &short);
                Edit {
                    at: named.range(),
                    with: quoted.freeze(),
                }
            }
            None => Edit::insert(named.range().start + 1, prefix.as_bytes().clone()),
        }
    }));
    if kind == ListKind::Tools
        && let Ok(Some(meta)) = element.get("_meta")
    {
        let uri = prefixes.uri.as_bytes();
        edits.extend(ui_resources(meta).map(|at| Edit::insert(at, uri.clone())));
    }
    edits
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(in crate::proxy) fn rules(toolkit: &str) -> Rules {
        Rules {
            prefixes: Prefixes::of(toolkit),
            name_max: 64,
            pins: false,
        }
    }

    fn collect(kind: ListKind, pages: &[&str]) -> Listing {
        let mut collector = Collector::new(kind, rules("a"));
        for page in pages {
            let page = Bytes::copy_from_slice(page.as_bytes());
            collector.add(page.into(), 1_000).expect("a page");
        }
        collector.take().listing
    }

    #[test]
    fn a_cursor_is_followed_up_to_its_maximum_length() {
        let page = |length: usize| {
            let cursor = "c".repeat(length);
            let result = format!("{{\"tools\":[],\"nextCursor\":\"{cursor}\"}}");
            let mut collector = Collector::new(ListKind::Tools, rules("a"));
            collector.add(Bytes::from(result).into(), 0)
        };
        let next = page(CURSOR_MAX).expect("a page").next;
        assert_eq!(next.map(|cursor| cursor.len()), Some(16 * 1024));
        assert_eq!(page(CURSOR_MAX + 1), Err("cursor longer than 16 KiB"));
    }

    #[test]
    fn elements_of_all_pages_are_found_in_one_text() {
        let listing = collect(
            ListKind::Tools,
            &[
                r#"{"tools":[ {"x":1.50, "name" : "b\u0041"} ,{"nam":1}]}"#,
                r#"{"tools":[]}"#,
                r#"{"tools":[{"name":"c"}]}"#,
            ],
        );
        let [tools] = &listing.arrays[..] else {
            panic!("{listing:?}")
        };
        assert_eq!(
            tools.slice(0, 1),
            r#"{"x":1.50, "name" : "a__b\u0041"},{"name":"a__c"}"#
        );
        let keys: Vec<&str> = tools.keys().collect();
        assert_eq!(keys, ["bA", "c"], "one without a name is left out");
        assert_eq!(tools.slice(1, 1), r#"{"name":"a__c"}"#);
    }

    #[test]
    fn a_name_that_is_too_long_is_shortened_and_found_again() {
        let name = format!("ä\\u0022{}", "n".repeat(60));
        let listing = collect(
            ListKind::Tools,
            &[&format!(r#"{{"tools":[{{"name":"{name}"}}]}}"#)],
        );
        let tools = &listing.arrays[0];
        let text: serde_json::Value = serde_json::from_slice(&tools.slice(0, 0)).expect("JSON");
        let short = text["name"].as_str().expect("a name");
        assert!(short.len() <= 64 && short.starts_with("a__ä\"n"), "{short}");
        assert_eq!(listing.full_name(short).map(|it| &**it), tools.key(0));
        assert_eq!(listing.full_name("a__other"), None);
    }

    #[test]
    fn the_user_interface_of_a_tool_gets_the_prefix_of_resources() {
        let listing = collect(
            ListKind::Tools,
            &[
                r#"{"tools":[{"_meta":{"ui/resourceUri":"ui://b","ui":{"resourceUri":"ui://a"}},"name":"x"}]}"#,
            ],
        );
        assert_eq!(
            listing.arrays[0].slice(0, 0),
            r#"{"_meta":{"ui/resourceUri":"a+ui://b","ui":{"resourceUri":"a+ui://a"}},"name":"a__x"}"#
        );
    }
}
