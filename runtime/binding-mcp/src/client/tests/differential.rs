//! What a server sends reaches the caller byte for byte: through the client alone, and as a toolkit with its
//! prefix. Only members that belong to the hop are taken out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;
use tidegate_engine::Duration;
use tidegate_streams::BeginEx;
use tidegate_streams::mcp::{McpBeginEx, McpToolsList};

use super::harness::{Asked, Setup, setup, setup_as_toolkit};
use crate::generated::{Pair, array, element, result};

/// How the server answers.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// As an event, with a line for each line of the text.
    events: bool,
    cut: usize,
}

fn way() -> impl Strategy<Value = Way> {
    (any::<bool>(), any::<usize>()).prop_map(|(events, cut)| Way { events, cut })
}

/// Answers a request with a result, in two parts.
fn answer(setup: &mut Setup, asked: &Asked, result: &str, way: Way) {
    let id = &asked.body["id"];
    let message = format!("{{\"jsonrpc\":\"2.0\",\"result\": {result} ,\"id\":{id}}}");
    let (kind, text) = if way.events {
        let lines = message.split('\n').map(|line| format!("data: {line}\n"));
        ("text/event-stream", lines.collect::<String>() + "\n")
    } else {
        ("application/json", message)
    };
    let mut cut = way.cut % (text.len() + 1);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let (first, second) = text.split_at(cut);
    setup.begin(asked, 200, &[("content-type", kind)]);
    setup.data(asked, first);
    setup.data(asked, second);
    setup.end(asked);
}

/// The operation as it is without the prefix of a toolkit.
fn without_prefix(mut begin: McpBeginEx) -> McpBeginEx {
    if let Some(subject) = begin.subject_mut() {
        let own = subject.trim_start_matches("b__").trim_start_matches("b+");
        *subject = own.to_owned().into();
    }
    begin
}

/// The operation's result as the caller gets it, of a server that is legacy, or modern.
fn passed(mut setup: Setup, begin: McpBeginEx, modern: bool, result: &str, way: Way) -> String {
    let call = setup.open(BeginEx::Mcp(begin), "{}");
    // A list of the proxy comes without params, which the client finds out in the next turn.
    setup.rig.advance(Duration::ZERO);
    let capabilities = json!({ "tools": {}, "prompts": {}, "resources": {} });
    if modern {
        setup.modern(&capabilities);
    } else {
        setup.initialize("s", &capabilities);
    }
    let asked = setup.next();
    answer(&mut setup, &asked, result, way);
    let (text, _) = setup.result(call);
    setup.finish();
    text
}

/// The text of each member of an object.
fn members(object: &str) -> BTreeMap<String, String> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(object).expect("an object");
    let members = members.into_iter();
    members
        .map(|(key, value)| (key, value.get().to_owned()))
        .collect()
}

/// The result of a modern server: with what belongs to the hop, first and last.
fn with_hop_members(pair: &Pair) -> Pair {
    let inner = |text: &str| text[1..text.len() - 1].to_owned();
    let (mut own, mut left) = (String::new(), String::new());
    if !pair.sent.contains("\"_meta\"") {
        own = ",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"s\"},\"a\":{ \"b\": 1.50}}".to_owned();
        left = ",\"_meta\":{\"a\":{ \"b\": 1.50}}".to_owned();
    }
    let (sent, expected) = (inner(&pair.sent), inner(&pair.expected));
    Pair {
        sent: format!(
            "{{\"resultType\":\"complete\",{sent}{own},\"ttlMs\":5,\"cacheScope\":\"private\"}}"
        ),
        expected: format!("{{{expected}{left}}}"),
    }
}

proptest! {
    #[test]
    fn a_result_of_a_legacy_server_is_not_changed((begin, pair) in result(), way in way()) {
        let legacy = json!({ "era": "legacy" });
        let own = without_prefix(begin.clone());
        let alone = passed(setup(legacy.clone()), own, false, &pair.sent, way);
        prop_assert_eq!(&alone, &pair.sent);
        let toolkit = passed(setup_as_toolkit(legacy), begin, false, &pair.sent, way);
        prop_assert_eq!(toolkit, pair.expected);
    }

    #[test]
    fn a_result_of_a_modern_server_loses_what_belongs_to_the_hop((begin, pair) in result(), way in way()) {
        let pair = with_hop_members(&pair);
        let toolkit = passed(setup_as_toolkit(json!({})), begin, true, &pair.sent, way);
        prop_assert_eq!(members(&toolkit), members(&pair.expected));
    }

    #[test]
    fn a_list_differs_by_its_prefixes_only(tools in array(element("name", "b__")), way in way()) {
        let legacy = json!({ "era": "legacy" });
        let sent = format!("{{\"tools\":{}}}", tools.sent);
        let list = || McpBeginEx::from(McpToolsList::default());
        let alone = passed(setup(legacy.clone()), list(), false, &sent, way);
        prop_assert_eq!(&alone, &sent);
        let toolkit = passed(setup_as_toolkit(legacy), list(), false, &sent, way);
        let elements: Vec<&RawValue> = serde_json::from_str(&tools.expected).expect("an array");
        let elements: Vec<&str> = elements.into_iter().map(RawValue::get).collect();
        prop_assert_eq!(toolkit, format!("{{\"tools\":[{}]}}", elements.join(",")));
    }
}
