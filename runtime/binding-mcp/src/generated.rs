//! Generated JSON for tests that compare what a binding passes on with what it has received.
//!
//! A generator writes a JSON text twice, as the toolkit `b` sends it and as the caller must get it. Both are the
//! same but at the places that the generator knows to be names or URIs: any other change is a fault.

use proptest::prelude::*;
use tidegate_streams::mcp::{McpBeginEx, McpPromptsGet, McpResourcesRead, McpToolsCall};

/// A text as sent, and as expected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    pub(crate) sent: String,
    pub(crate) expected: String,
}

impl Pair {
    fn same(text: impl Into<String>) -> Self {
        let sent = text.into();
        Self {
            expected: sent.clone(),
            sent,
        }
    }

    fn push(&mut self, text: &str) {
        self.sent.push_str(text);
        self.expected.push_str(text);
    }

    fn append(&mut self, other: &Self) {
        self.sent.push_str(&other.sent);
        self.expected.push_str(&other.expected);
    }
}

/// White space, as some serializers write it.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \n\t]{1,3}"]
}

/// A string in quotes, with escapes that a serializer would not write.
fn quoted() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9:/_+ -]{0,6}",
        Just("\\u0041".to_owned()),
        Just("\\/".to_owned()),
        Just("\\n".to_owned()),
        Just("ä\u{1f600}".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A value with which nothing is done: numbers that lose digits in a double, members of any name.
fn anything() -> impl Strategy<Value = Pair> {
    let leaf = prop_oneof![
        quoted(),
        Just("1.50".to_owned()),
        Just("-0".to_owned()),
        Just("1E400".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof![
            "[a-w]{1,3}",
            Just("uri".to_owned()),
            Just("name".to_owned()),
            Just("resource".to_owned()),
            Just("contents".to_owned()),
            Just("nextCursor".to_owned()),
        ];
        let array = (proptest::collection::vec(inner.clone(), 0..4), space())
            .prop_map(|(values, space)| format!("[{space}{}]", values.join(&format!(",{space}"))));
        let object = (proptest::collection::btree_map(key, inner, 0..4), space()).prop_map(
            |(members, space)| {
                let members = members.into_iter();
                let members: Vec<String> = members
                    .map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}"))
                    .collect();
                format!("{{{}{space}}}", members.join(","))
            },
        );
        prop_oneof![array, object]
    });
    value.prop_map(Pair::same)
}

/// A string that gets this prefix.
fn prefixed(prefix: &'static str) -> impl Strategy<Value = Pair> {
    quoted().prop_map(move |text| Pair {
        expected: format!("\"{prefix}{}", &text[1..]),
        sent: text,
    })
}

/// An object of these members, in any order, among others.
fn object(members: Vec<(&'static str, BoxedStrategy<Pair>)>) -> impl Strategy<Value = Pair> {
    let own = members
        .into_iter()
        .map(|(key, value)| (Just(key.to_owned()), value).boxed());
    let own: Vec<_> = own.collect();
    let others = proptest::collection::btree_map("x[a-z]{0,3}", anything(), 0..3);
    (own, others, space())
        .prop_flat_map(|(own, others, space)| {
            let all: Vec<(String, Pair)> = own.into_iter().chain(others).collect();
            (Just(all).prop_shuffle(), Just(space))
        })
        .prop_map(|(members, space)| {
            let mut object = Pair::same(format!("{{{space}"));
            for (index, (key, value)) in members.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                object.push(&format!("{comma}{space}\"{key}\"{space}:{space}"));
                object.append(value);
            }
            object.push(&format!("{space}}}"));
            object
        })
}

pub(crate) fn array(of: BoxedStrategy<Pair>) -> BoxedStrategy<Pair> {
    let elements = (proptest::collection::vec(of, 0..4), space());
    let text = elements.prop_map(|(elements, space)| {
        let mut array = Pair::same("[");
        for (index, element) in elements.iter().enumerate() {
            array.push(if index > 0 { "," } else { "" });
            array.push(&space);
            array.append(element);
        }
        array.push(&format!("{space}]"));
        array
    });
    text.boxed()
}

fn word(word: &'static str) -> BoxedStrategy<Pair> {
    Just(Pair::same(format!("\"{word}\""))).boxed()
}

fn content() -> BoxedStrategy<Pair> {
    let embedded = object(vec![("uri", prefixed("b+").boxed())]);
    prop_oneof![
        object(vec![("type", word("text")), ("uri", anything().boxed())]),
        object(vec![
            ("type", word("resource_link")),
            ("uri", prefixed("b+").boxed()),
        ]),
        object(vec![
            ("type", word("resource")),
            ("resource", embedded.boxed()),
        ]),
    ]
    .boxed()
}

/// `_meta` with the user interface of an app.
fn meta() -> BoxedStrategy<Pair> {
    let ui = object(vec![("resourceUri", prefixed("b+").boxed())]);
    object(vec![
        ("ui", ui.boxed()),
        ("ui/resourceUri", prefixed("b+").boxed()),
    ])
    .boxed()
}

/// An operation with one toolkit, and its result.
pub(crate) fn result() -> impl Strategy<Value = (McpBeginEx, Pair)> {
    let call = object(vec![
        ("content", array(content())),
        ("structuredContent", anything().boxed()),
        ("_meta", meta()),
    ]);
    let read = object(vec![(
        "contents",
        array(object(vec![("uri", prefixed("b+").boxed())]).boxed()),
    )]);
    let message = object(vec![("role", word("user")), ("content", content())]);
    let get = object(vec![("messages", array(message.boxed()))]);
    let subject = "b+mqtt://x";
    prop_oneof![
        call.prop_map(|pair| {
            let name = "b__x".into();
            let call = McpToolsCall {
                name,
                ..McpToolsCall::default()
            };
            (call.into(), pair)
        }),
        read.prop_map(move |pair| {
            let uri = subject.into();
            let read = McpResourcesRead {
                uri,
                ..McpResourcesRead::default()
            };
            (read.into(), pair)
        }),
        get.prop_map(|pair| {
            let name = "b__x".into();
            let get = McpPromptsGet {
                name,
                ..McpPromptsGet::default()
            };
            (get.into(), pair)
        }),
    ]
}

/// An element of a list.
pub(crate) fn element(key: &'static str, prefix: &'static str) -> BoxedStrategy<Pair> {
    object(vec![
        (key, prefixed(prefix).boxed()),
        ("inputSchema", anything().boxed()),
    ])
    .boxed()
}
