//! Results and schemas pass byte for byte, but for the names and URIs that get a prefix.

use super::*;
use crate::generated::{array, element, result};
use tidegate_streams::mcp::McpPromptsList;

/// Sends a text in two parts, cut anywhere.
fn answer(harness: &mut Harness, stream: StreamId, begin: McpBeginEx, text: &str, cut: usize) {
    let kit = harness.kits[1];
    let text = Bytes::copy_from_slice(text.as_bytes());
    let cut = cut % (text.len() + 1);
    harness
        .rig
        .send(kit, stream, Frame::begin(BeginEx::Mcp(begin)));
    let first = Frame::part(DataFlags::INIT, text.slice(..cut));
    harness.rig.send(kit, stream, first);
    let last = Frame::part(DataFlags::FIN, text.slice(cut..));
    harness.rig.send(kit, stream, last);
    harness.rig.send(kit, stream, Frame::end());
}

fn received(harness: &mut Harness, stream: StreamId) -> String {
    let mut body = Vec::new();
    for frame in harness.rig.frames(harness.caller, stream) {
        if let Frame::Data(data) = frame {
            body.extend_from_slice(&data.payload);
        }
    }
    String::from_utf8(body).expect("text")
}

proptest! {
    #[test]
    fn a_result_differs_by_its_prefixes_only((begin, pair) in result(), cut in any::<usize>()) {
        let mut harness = harness(&[Some("a"), Some("b")]);
        let stream = harness.open(BeginEx::Mcp(begin.clone()));
        let (onward, _) = harness.opened(1);
        answer(&mut harness, onward, begin, &pair.sent, cut);
        prop_assert_eq!(received(&mut harness, stream), pair.expected);
        harness.finish(stream);
    }

    #[test]
    fn elements_of_lists_differ_by_their_prefixes_only(
        tools in array(element("name", "b__")),
        prompts in array(element("name", "b__")),
        resources in array(element("uri", "b+")),
        cut in any::<usize>(),
    ) {
        // Texts with escapes may stand for invisible characters, but these do not.
        for (list, name, elements) in [
            (McpBeginEx::from(McpToolsList::default()), "tools", &tools),
            (McpPromptsList::default().into(), "prompts", &prompts),
            (McpResourcesList::default().into(), "resources", &resources),
        ] {
            let mut harness = harness(&[Some("a"), Some("b")]);
            let stream = harness.open(BeginEx::Mcp(list.clone()));
            let (empty, _) = harness.opened(0);
            let (onward, _) = harness.opened(1);
            harness.reply(0, empty, BeginEx::Mcp(list.clone()), &json!({ name: [] }));
            let sent = format!("{{\"{name}\":{}}}", elements.sent);
            answer(&mut harness, onward, list, &sent, cut);
            let got = received(&mut harness, stream);
            let elements: Vec<&serde_json::value::RawValue> =
                serde_json::from_str(&elements.expected).expect("an array");
            let elements: Vec<&str> = elements.into_iter().map(serde_json::value::RawValue::get).collect();
            prop_assert_eq!(got, format!("{{\"{name}\":[{}]}}", elements.join(",")));
            harness.finish(stream);
        }
    }
}
