//! What lists have told about the tools of a modern server over HTTP: the headers that repeat their arguments, and
//! which of them are invalid.
//!
//! Lists of all callers are remembered together. A caller sees nothing of that: it only decides in which headers the
//! caller's own arguments are repeated.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Kind, Parts, Value};

use super::tool_headers::{Declared, declared};

/// Maximum size of what is remembered, in bytes. Tools beyond it are not: their calls are sent without headers,
/// and the server refuses those that need them.
const SIZE_MAX: usize = 1 << 20;

/// What is known of a tool.
#[derive(Debug, PartialEq)]
enum Known {
    Declares(Vec<Declared>),
    /// Its definition is invalid.
    Invalid,
}

/// The tools that are remembered: those that declare headers.
#[derive(Debug, Default)]
pub(super) struct KnownTools {
    tools: BTreeMap<ByteString, Known>,
    size: usize,
}

/// What is learnt from a list.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// The array without the invalid tools, if there are any.
    pub(super) valid: Option<Parts>,
    /// The tools that are found to be invalid for the first time, and why.
    pub(super) invalid: Vec<(ByteString, String)>,
}

impl KnownTools {
    pub(super) const fn new() -> Self {
        Self {
            tools: BTreeMap::new(),
            size: 0,
        }
    }

    /// What a tool declares; empty if nothing is known of it.
    pub(super) fn declared(&self, name: &str) -> &[Declared] {
        match self.tools.get(name) {
            Some(Known::Declares(declared)) => declared,
            _ => &[],
        }
    }

    /// Reads the result of `tools/list`.
    pub(super) fn learn(&mut self, result: &Document) -> Learnt {
        let mut learnt = Learnt::default();
        let tools = result.root().get("tools").ok().flatten();
        let Some(tools) = tools.filter(|tools| tools.kind() == Kind::Array) else {
            return learnt;
        };
        let mut invalid = Vec::new();
        for tool in tools.elements() {
            let Some((name, read)) = read(tool) else {
                continue;
            };
            if let Err(why) = &read {
                invalid.push(tool.range().start);
                if self.tools.get(&name) != Some(&Known::Invalid) {
                    learnt.invalid.push((name.clone(), why.clone()));
                }
            }
            self.remember(name, read.map_or(Known::Invalid, Known::Declares));
        }
        if !invalid.is_empty() {
            let is_valid = |tool: &Value<'_>| invalid.binary_search(&tool.range().start).is_err();
            learnt.valid = Some(array(tools.elements().filter(is_valid)));
        }
        learnt
    }

    fn remember(&mut self, name: ByteString, known: Known) {
        if let Some(old) = self.tools.remove(&name) {
            self.size -= size(&name, &old);
        }
        if known == Known::Declares(Vec::new()) {
            return;
        }
        let size = size(&name, &known);
        if self.size + size <= SIZE_MAX {
            self.size += size;
            self.tools.insert(name, known);
        }
    }
}

/// The name of a tool, and what it declares.
fn read(tool: Value<'_>) -> Option<(ByteString, Result<Vec<Declared>, String>)> {
    let name = tool.get("name").ok()??.string()?;
    let schema = tool.get("inputSchema").ok().flatten();
    Some((name, schema.map_or_else(|| Ok(Vec::new()), declared)))
}

fn size(name: &ByteString, known: &Known) -> usize {
    let declared = match known {
        Known::Declares(declared) => declared.iter().map(Declared::size).sum(),
        Known::Invalid => 0,
    };
    size_of::<(ByteString, Known)>() + name.len() + declared
}

/// An array of values as they were received.
fn array<'a>(values: impl Iterator<Item = Value<'a>>) -> Parts {
    let mut out = Parts::from(Bytes::from_static(b"["));
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(Bytes::from_static(b","));
        }
        value.parts().into_iter().for_each(|part| out.push(part));
    }
    out.push(Bytes::from_static(b"]"));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_json::Limits;

    use super::*;

    fn list(tools: &serde_json::Value) -> Document {
        let text = json!({ "tools": tools }).to_string();
        Document::parse(Parts::from(Bytes::from(text)), Limits::default()).expect("JSON")
    }

    fn tool(name: &str, header: &str) -> serde_json::Value {
        let schema = json!({ "properties": { "a": { "type": "string", "x-mcp-header": header } } });
        json!({ "name": name, "inputSchema": schema })
    }

    #[test]
    fn an_invalid_tool_is_taken_out_and_reported_once() {
        let mut known = KnownTools::new();
        let tools = json!([tool("a", "A"), tool("b", "B B"), { "name": "c" }, 7, tool("d", "")]);
        let learnt = known.learn(&list(&tools));
        let valid = learnt.valid.expect("changed").contiguous();
        let expected = json!([tool("a", "A"), { "name": "c" }, 7]).to_string();
        assert_eq!(std::str::from_utf8(&valid).expect("text"), expected);
        let names: Vec<_> = learnt.invalid.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["b", "d"]);
        assert_eq!(known.declared("a").len(), 1);
        assert!(known.declared("b").is_empty() && known.declared("c").is_empty());

        let learnt = known.learn(&list(&tools));
        assert!(learnt.valid.is_some() && learnt.invalid.is_empty());
        // What a tool does not declare any more is forgotten, and what it declares now is known.
        let learnt = known.learn(&list(&json!([{ "name": "a" }, tool("b", "B")])));
        assert!(learnt.valid.is_none() && learnt.invalid.is_empty());
        assert!(known.declared("a").is_empty());
        assert_eq!(known.declared("b").len(), 1);
    }

    #[test]
    fn a_result_that_is_no_list_tells_nothing() {
        let mut known = KnownTools::new();
        for tools in [json!(7), json!({}), json!([[], { "name": 7 }, null])] {
            assert!(known.learn(&list(&tools)).valid.is_none());
        }
        assert_eq!((known.tools.len(), known.size), (0, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = KnownTools::new();
        for at in 0..20_000 {
            known.learn(&list(&json!([tool(&format!("tool-{at}"), "A")])));
        }
        assert!(known.size <= SIZE_MAX && known.size > SIZE_MAX - 1_000);
        for at in 0..20_000 {
            known.learn(&list(&json!([{ "name": format!("tool-{at}") }])));
        }
        assert_eq!((known.tools.len(), known.size), (0, 0));
    }
}
