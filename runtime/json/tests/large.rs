//! Messages with more values than the list holds: all values are still found.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed expectation fails the test"
)]

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value as Tree, json};
use tidegate_json::{Document, Fault, Kind, Limits, Parts, Value};

/// The text in buffers of about `size` bytes.
fn parted(text: &str, size: usize) -> Parts {
    let pieces = text.as_bytes().chunks(size.max(1));
    pieces.map(Bytes::copy_from_slice).collect()
}

fn read(text: &str, size: usize) -> Document {
    Document::parse(parted(text, size), Limits::default()).expect(text)
}

fn tree(value: Value<'_>) -> Tree {
    match value.kind() {
        Kind::Object => {
            let members = value.members();
            let member = |(key, value): (tidegate_json::Key<'_>, Value<'_>)| {
                (key.text().into_owned(), tree(value))
            };
            Tree::Object(members.map(member).collect::<Map<_, _>>())
        }
        Kind::Array => Tree::Array(value.elements().map(tree).collect()),
        Kind::String => Tree::String(value.string().expect("a string").to_string()),
        _ => serde_json::from_slice(&value.bytes()).expect("a scalar is JSON"),
    }
}

fn many(count: usize) -> Vec<usize> {
    (0..count).map(|number| number % 10).collect()
}

fn members(count: usize, prefix: &str) -> Map<String, Tree> {
    let member = |number| (format!("{prefix}{number}"), json!(number));
    (0..count).map(member).collect()
}

/// Texts with many values in one place or another.
fn large() -> Vec<Tree> {
    let nested = |leaf: Tree| (0..100).fold(leaf, |inner, _| json!([inner]));
    let mut below = members(300, "a");
    below.insert(
        "wanted".to_owned(),
        json!({ "x": many(700), "y": [[], {}] }),
    );
    let mut every = members(300, "b");
    every.insert("below".to_owned(), Tree::Object(below));
    every.insert("last".to_owned(), json!("\u{1}\"é"));
    vec![
        json!(many(511)),
        json!(many(512)),
        json!(many(3_000)),
        json!({ "a": many(600), "b": many(3), "c": { "d": many(600) } }),
        Tree::Object(members(255, "m")),
        Tree::Object(members(256, "m")),
        Tree::Object(members(2_000, "m")),
        Tree::Object(every),
        Tree::Array(vec![json!([]); 600]),
        Tree::Array(vec![json!({}); 600]),
        Tree::Array(vec![json!({ "k": [1, { "x": "]}" }] }); 300]),
        Tree::Array(vec![nested(json!(7)); 6]),
        json!([many(500), [many(20), many(600)], many(600), "end"]),
    ]
}

#[test]
fn every_value_of_a_large_message_is_found_for_any_buffer_size() {
    for expected in large() {
        for text in [
            expected.to_string(),
            serde_json::to_string_pretty(&expected).expect("JSON"),
        ] {
            for size in [usize::MAX, 7] {
                assert_eq!(tree(read(&text, size).root()), expected);
            }
        }
    }
}

#[test]
fn members_of_an_object_that_is_not_listed_are_found_by_name() {
    const NAMES: [&str; 4] = ["a7", "wanted", "absent", "twice"];
    let mut text = String::from("{\"twice\":1,");
    for number in 0..1_000 {
        let _ = write!(text, "\"a{number}\" : [{number}, \"}}]\"],");
    }
    text += "\"w\\u0061nted\":{\"x\":\"y\"},\"twice\":2}";
    for size in [usize::MAX, 100, 1] {
        let document = read(&text, size);
        let root = document.root();
        let picked = root.pick(&NAMES);
        for (which, name) in NAMES.into_iter().enumerate() {
            let shown = |value: Option<Value<'_>>| value.map(tree);
            let alone = root.get(name).map(shown);
            assert_eq!(picked.get(&document, which).map(shown), alone, "{name}");
        }
        assert_eq!(root.get("twice").err(), picked.duplicate());
        assert!(picked.has_others());
        let wanted = root.get("wanted").expect("once").expect("there");
        let id = wanted.id();
        assert_eq!(tree(document.value(id)), json!({ "x": "y" }));
        let wanted = document.at(id);
        let x = wanted.root().get("x").expect("once").expect("there");
        assert!(x.is("y") && !x.is("z"));
        assert_eq!(wanted.into_parts().contiguous(), "{\"x\":\"y\"}");
    }
}

#[test]
fn an_error_is_found_wherever_the_list_is_full() {
    let ones = "1,".repeat(600);
    for (text, fault) in [
        (format!("[{ones}"), Fault::Incomplete),
        (format!("[{ones}]"), Fault::Unexpected),
        (format!("[{ones}1}}"), Fault::Unexpected),
        (format!("[{ones}1] 2"), Fault::Trailing),
        (format!("{{\"a\":[{ones}1],}}"), Fault::Unexpected),
        (format!("{{\"a\":[{ones}1]]"), Fault::Unexpected),
        (format!("[{ones}\"\u{1}\"]"), Fault::Control),
        (format!("[{ones}{}", "[".repeat(128)), Fault::Depth),
        (format!("[[{ones}1],{{\"a\" 1}}]"), Fault::Unexpected),
    ] {
        let parsed = Document::parse(parted(&text, 64), Limits::default());
        assert_eq!(parsed.expect_err(&text).fault, fault, "{text}");
    }
    let deep = format!("[{ones}{}{}]", "[".repeat(127), "]".repeat(127));
    assert!(Document::parse(parted(&deep, 64), Limits::default()).is_ok());
}

#[test]
fn the_element_limit_is_exact_and_stops_the_parser() {
    let limits = Limits {
        elements: 3,
        ..Limits::default()
    };
    let parse = |text: &str| Document::parse(parted(text, 5), limits).map_err(|it| it.fault);
    for text in ["[]", "[[1,2,3,4],{},3]", "{\"a\":[1,2,3,4]}", "7"] {
        assert!(parse(text).is_ok(), "{text}");
    }
    for text in ["[1,2,3,4]", "[1,2,3, no JSON", "[[],[],[],[]]"] {
        assert_eq!(parse(text).expect_err(text), Fault::Elements, "{text}");
    }
    let many = vec!["[1,[2]]"; 600].join(",");
    assert!(parse(&format!("[[{many}],{{\"a\":[{many}]}},3]")).is_ok());
    assert!(parse(&format!("[[{many}],2,3,4]")).is_err());
}

/// A JSON tree that is wide in some places.
fn any_wide_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<u8>().prop_map(Tree::from),
        "[a-c\"\\\\é]{0,3}".prop_map(Tree::String),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            (inner.clone(), 0..400_usize).prop_map(|(it, count)| Tree::Array(vec![it; count])),
            (inner, 0..300_usize).prop_map(|(it, count)| {
                let member = |number| (format!("m{number}"), it.clone());
                Tree::Object((0..count).map(member).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_wide_tree_is_read_as_written(
        expected in any_wide_tree().prop_filter("not too large", |it| it.to_string().len() < 200_000),
        size in 1..3_000_usize,
    ) {
        prop_assert_eq!(tree(read(&expected.to_string(), size).root()), expected);
    }
}
