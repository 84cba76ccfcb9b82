//! Compares the parser with `serde_json`: same verdict and same values for any buffer boundaries.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failed expectation fails the test"
)]

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Map, Value as Tree};
use tidegate_json::{Document, Fault, Kind, Limits, Parts, Value, write};

fn parted(text: &[u8], cuts: &[usize]) -> Parts {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    let mut start = 0;
    let mut parts = Parts::new();
    for cut in cuts {
        parts.push(Bytes::copy_from_slice(&text[start..cut]));
        start = cut;
    }
    parts
}

fn tree(value: Value<'_>) -> Tree {
    match value.kind() {
        Kind::Object => Tree::Object(
            value
                .members()
                .map(|(key, value)| (key.text().into_owned(), tree(value)))
                .collect(),
        ),
        Kind::Array => Tree::Array(value.elements().map(tree).collect()),
        Kind::String => {
            let text = value.string().expect("a string");
            assert_eq!(
                value.string_parts().expect("a string").contiguous(),
                text.as_bytes()
            );
            Tree::String(text.to_string())
        }
        Kind::Number => {
            serde_json::from_slice(&value.parts().contiguous()).expect("a number is JSON")
        }
        Kind::Bool(value) => Tree::Bool(value),
        Kind::Null => Tree::Null,
    }
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        any::<i64>().prop_map(Tree::from),
        (-1e15..1e15).prop_map(|number: f64| Tree::from(number)),
        any::<String>().prop_map(Tree::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Tree::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An equivalent text: every character escaped, and white space everywhere.
fn escaped(tree: &Tree) -> String {
    let quoted = |text: &str| {
        let mut units = String::new();
        for unit in text.encode_utf16() {
            let _ = write!(units, "\\u{unit:04X}");
        }
        format!("\"{units}\"")
    };
    match tree {
        Tree::String(text) => quoted(text),
        Tree::Array(items) => {
            format!(
                "[ {} ]",
                items.iter().map(escaped).collect::<Vec<_>>().join(" ,\n")
            )
        }
        Tree::Object(members) => {
            let member =
                |(key, value): (&String, &Tree)| format!("{} :\t{}", quoted(key), escaped(value));
            format!(
                "{{ {} }}",
                members.iter().map(member).collect::<Vec<_>>().join("\r, ")
            )
        }
        other => other.to_string(),
    }
}

/// String content: long runs, consecutive escapes, and characters beyond ASCII.
fn long_string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        (0..200_usize).prop_map(|length| "x".repeat(length)),
        (0..20_usize).prop_map(|length| "ж".repeat(length)),
        (0..20_usize).prop_map(|length| r#"\""#.repeat(length)),
        proptest::sample::select(vec![
            r"\\",
            r"\/",
            r"\b",
            r"\f",
            r"\n",
            r"\r",
            r"\t",
            r"\u0041",
            r"\ud83d\ude00",
            "😀",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_long_string_in_any_buffers_is_read_and_written_as_by_serde_json(
        inside in long_string(),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
        damage in proptest::option::of((any::<usize>(), any::<u8>())),
    ) {
        let mut text = format!("\"{inside}\"").into_bytes();
        if let Some((at, byte)) = damage {
            let at = at % text.len();
            text[at] = byte;
        }
        let ours = Document::parse(parted(&text, &cuts), Limits::default());
        let theirs = serde_json::from_slice::<String>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(tree(ours.root()), Tree::String(theirs.clone()));
            let mut out = BytesMut::new();
            write::push_string(&mut out, &theirs);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), &theirs[..]);
            let (mut once, mut within, mut expected) = <(BytesMut, BytesMut, BytesMut)>::default();
            write::push_escaped_twice(&mut once, &mut within, theirs.as_bytes());
            prop_assert_eq!(&once, &out[1..out.len() - 1]);
            write::push_escaped_bytes(&mut expected, &once);
            prop_assert_eq!(&within, &expected);
        }
    }

    #[test]
    fn any_json_in_any_buffers_is_read_as_by_serde_json(
        expected in any_tree(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        for text in [expected.to_string(), escaped(&expected)] {
            let document = Document::parse(parted(text.as_bytes(), &cuts), Limits::default());
            let document = document.expect("serde_json wrote it");
            // serde_json may differ in the last digit of a fraction, so both sides are parsed by
            // it.
            let read: Tree = serde_json::from_str(&text).expect("it wrote it");
            prop_assert_eq!(tree(document.root()), read);
        }
    }

    #[test]
    fn any_damage_gets_the_verdict_of_serde_json(
        original in any_tree(),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3u8), 1..4),
        cuts in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        let mut text = original.to_string().into_bytes();
        for (at, byte, kind) in damage {
            let at = at % text.len().max(1);
            match kind {
                0 if !text.is_empty() => { text.remove(at); }
                1 if !text.is_empty() => text[at] = byte,
                _ => text.insert(at, byte),
            }
        }
        let ours = Document::parse(parted(&text, &cuts), Limits::default());
        // A raw value, since a tree would also refuse numbers out of its range.
        let theirs = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text);
        // The raw value of serde_json does not check surrogate pairs.
        let halves = matches!(&ours, Err(error) if error.fault == Fault::Escape);
        prop_assert!(
            ours.is_ok() == theirs.is_ok() || halves,
            "{:?}: {ours:?} {theirs:?}", String::from_utf8_lossy(&text)
        );
    }

    #[test]
    fn any_bytes_are_handled_without_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = Document::parse(Parts::from(Bytes::from(text)), Limits::default()) {
            tree(document.root());
        }
    }

    #[test]
    fn a_written_string_is_read_as_it_was(text in any::<String>(), number in any::<u64>()) {
        let mut out = BytesMut::new();
        write::push_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
        out.clear();
        write::push_number(&mut out, number);
        prop_assert_eq!(String::from_utf8_lossy(&out), number.to_string());
    }
}

fn fault(text: &str) -> (usize, Fault) {
    let parsed = Document::parse(
        Parts::from(Bytes::copy_from_slice(text.as_bytes())),
        Limits::default(),
    );
    let error = parsed.expect_err(text);
    (error.offset, error.fault)
}

#[test]
fn each_error_is_reported_with_its_offset() {
    assert_eq!(fault(""), (0, Fault::Incomplete));
    assert_eq!(fault("{\"a\":"), (5, Fault::Incomplete));
    assert_eq!(fault("[1,]"), (3, Fault::Unexpected));
    assert_eq!(fault("{\"a\" 1}"), (5, Fault::Unexpected));
    assert_eq!(fault("1 2"), (2, Fault::Trailing));
    assert_eq!(fault("\"a\nb\""), (2, Fault::Control));
    assert_eq!(fault("\"\\x\"").1, Fault::Escape);
    assert_eq!(fault("\"\\ud800\"").1, Fault::Escape);
    assert_eq!(fault("\"\\udc00\"").1, Fault::Escape);
    assert_eq!(fault("01").1, Fault::Number);
    assert_eq!(fault("1.").1, Fault::Number);
    assert_eq!(fault("-").1, Fault::Number);
    assert_eq!(fault(&"[".repeat(200)).1, Fault::Depth);
}

#[test]
fn the_depth_limit_is_exact() {
    let limits = Limits {
        depth: 3,
        ..Limits::default()
    };
    let nested = |depth: usize| Parts::from(Bytes::from("[".repeat(depth) + &"]".repeat(depth)));
    assert!(Document::parse(nested(3), limits).is_ok());
    assert!(Document::parse(nested(4), limits).is_err());
    let beyond = Limits {
        depth: 500,
        ..Limits::default()
    };
    assert!(Document::parse(nested(128), beyond).is_ok());
    assert!(Document::parse(nested(129), beyond).is_err());
}

#[test]
fn a_payload_without_escapes_is_a_slice_of_the_input() {
    let text = Bytes::from(format!("{{\"payload\":\"{}\"}}", "x".repeat(1_000)));
    let whole = text.as_ptr_range();
    let mut parts = Parts::new();
    parts.push(text.slice(..300));
    parts.push(text.slice(300..700));
    parts.push(text.slice(700..));
    let document = Document::parse(parts, Limits::default()).expect("JSON");
    let payload = document
        .root()
        .get("payload")
        .expect("once")
        .expect("there");
    let slices = payload.string_parts().expect("a string");
    assert_eq!((slices.len(), slices.count()), (1_000, 3));
    for slice in slices.iter() {
        let slice = slice.as_ptr_range();
        assert!(whole.start <= slice.start && slice.end <= whole.end);
    }
}

#[test]
fn a_member_that_occurs_twice_is_refused() {
    let text = Bytes::from_static(b"{\"topic\":\"a\",\"t\\u006fpic\":\"b\",\"qos\":1}");
    let document = Document::parse(Parts::from(text), Limits::default()).expect("JSON");
    assert!(document.root().get("topic").is_err());
    assert_eq!(
        document
            .root()
            .get("qos")
            .unwrap()
            .and_then(|qos| qos.as_u64()),
        Some(1)
    );
    assert!(document.root().get("payload").unwrap().is_none());
}

#[test]
fn picked_members_equal_members_read_one_by_one() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let text = Bytes::from_static(b"{\"a\":1,\"b\":[{\"a\":2}],\"\\u0063\":3,\"a\":4,\"d\":null}");
    let document = Document::parse(Parts::from(text), Limits::default()).expect("JSON");
    let root = document.root();
    let picked = root.pick(&NAMES);
    for (which, name) in NAMES.into_iter().enumerate() {
        let range = |value: Option<Value<'_>>| value.map(|value| value.range());
        let alone = root.get(name).map(range);
        assert_eq!(picked.get(&document, which).map(range), alone, "{name}");
    }
    assert_eq!(picked.duplicate(), root.get("a").err());
    assert_eq!(root.pick(&["b"]).duplicate(), None);
    assert!(root.pick(&["a", "b", "c"]).has_others());
    assert!(!root.pick(&["d", "c", "b", "a"]).has_others());
}

#[test]
fn numbers_without_a_fraction_are_integers() {
    for (text, expected) in [
        ("3", Some(3)),
        ("3.0", Some(3)),
        ("1e2", Some(100)),
        ("3.5", None),
        ("-1", None),
        ("18446744073709551615", Some(u64::MAX)),
        ("1e300", None),
        ("\"3\"", None),
    ] {
        let parts = Parts::from(Bytes::from_static(text.as_bytes()));
        let document = Document::parse(parts, Limits::default()).expect("JSON");
        assert_eq!(document.root().as_u64(), expected, "{text}");
    }
}
