//! The result of `tools/list` with the names that callers see.

use bytes::{Bytes, BytesMut};
use tidegate_json::{Document, Gather, Kind, Limits, Parts, write};

use crate::names::Names;

/// What is wrong with a result that is no list of tools.
pub(super) const NOT_A_LIST: &str = "The answer to tools/list is not a list of tools.";

/// Renames the tools of a list. Tools whose names have been taken are left out; the text between
/// names stays as it came.
pub(super) fn rename(result: Parts, names: &Names) -> Result<Parts, &'static str> {
    let document = Document::parse(result, Limits::default()).map_err(|_| NOT_A_LIST)?;
    let tools = document.root().get("tools").ok().flatten();
    let tools = tools.filter(|tools| tools.kind() == Kind::Array);
    let tools = tools.ok_or(NOT_A_LIST)?;

    let message = document.message();
    let mut renamed = Gather::new();
    let mut push = |parts: Parts| parts.into_iter().for_each(|part| renamed.push(part));
    push(message.slice(0..tools.range().start));
    let mut separator = "[";
    for tool in tools.elements() {
        let name = tool.get("name").ok().flatten().ok_or(NOT_A_LIST)?;
        let original = name.string().ok_or(NOT_A_LIST)?;
        let Some(offered) = names.offered(&original) else {
            continue;
        };
        push(Bytes::from_static(separator.as_bytes()).into());
        push(message.slice(tool.range().start..name.range().start));
        push(quoted(offered).into());
        push(message.slice(name.range().end..tool.range().end));
        separator = ",";
    }
    let end = if separator == "[" { "[]" } else { "]" };
    push(Bytes::from_static(end.as_bytes()).into());
    push(message.slice(tools.range().end..message.len()));
    Ok(renamed.take())
}

fn quoted(text: &str) -> Bytes {
    let mut quoted = BytesMut::with_capacity(text.len() + 2);
    write::push_string(&mut quoted, text);
    quoted.freeze()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn renamed(result: &str) -> Result<Value, &'static str> {
        let names = json!({ "publish": "send", "receive": "publish" });
        let names: Names = serde_json::from_value(names).expect("valid");
        let cut = result.len() / 2;
        let halves = [&result[..cut], &result[cut..]];
        let parts = halves.map(|half| Bytes::copy_from_slice(half.as_bytes()));
        let renamed = rename(parts.into_iter().collect(), &names)?;
        Ok(serde_json::from_slice(&renamed.contiguous()).expect("JSON"))
    }

    #[test]
    fn only_names_of_tools_change() {
        let result = json!({
            "tools": [
                { "name": "publish", "description": "publish \"it\"", "inputSchema": { "name": "publish" } },
                { "title": "receive", "name": "receive" },
                { "name": "other" },
            ],
            "nextCursor": "publish",
        });
        let expected = json!({
            "tools": [
                { "name": "send", "description": "publish \"it\"", "inputSchema": { "name": "publish" } },
                { "title": "receive", "name": "publish" },
                { "name": "other" },
            ],
            "nextCursor": "publish",
        });
        assert_eq!(renamed(&result.to_string()), Ok(expected));
    }

    #[test]
    fn a_name_is_compared_unescaped() {
        let listed = renamed(r#"{"tools":[{"name":"pub\u006cish"},{"name":"\"\n"}]}"#);
        assert_eq!(
            listed,
            Ok(json!({ "tools": [{ "name": "send" }, { "name": "\"\n" }] }))
        );
    }

    #[test]
    fn a_tool_whose_name_is_taken_is_left_out() {
        for (tools, left) in [
            (json!([{ "name": "send" }]), json!([])),
            (
                json!([{ "name": "send" }, { "name": "a" }]),
                json!([{ "name": "a" }]),
            ),
            (
                json!([{ "name": "a" }, { "name": "send" }]),
                json!([{ "name": "a" }]),
            ),
            (json!([]), json!([])),
        ] {
            let listed = renamed(&json!({ "tools": tools }).to_string());
            assert_eq!(listed, Ok(json!({ "tools": left })), "{tools}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for result in [
            "",
            "[]",
            "{}",
            r#"{"tools":{}}"#,
            r#"{"tools":[{}]}"#,
            r#"{"tools":[{"name":1}]}"#,
            r#"{"tools":[]"#,
        ] {
            assert_eq!(renamed(result), Err(NOT_A_LIST), "{result}");
        }
    }
}
