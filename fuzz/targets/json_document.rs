//! Any bytes as JSON, in any pieces: the reader accepts what serde_json accepts, and every value of
//! it can be walked; also where there are more values than are listed.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_json::{Document, Kind, Limits, Parts, Value};

fn compare(ours: &Value<'_>, theirs: &serde_json::Value) {
    use serde_json::Value as Theirs;
    match (ours.kind(), theirs) {
        (Kind::Object, Theirs::Object(members)) => {
            assert!(ours.members().count() >= members.len());
            for (name, member) in members {
                // A member that is there twice is an error of ours, and the last one of theirs.
                if let Ok(found) = ours.get(name) {
                    compare(&found.expect("the member"), member);
                }
            }
        }
        (Kind::Array, Theirs::Array(elements)) => {
            assert_eq!(ours.elements().count(), elements.len());
            for (ours, theirs) in ours.elements().zip(elements) {
                compare(&ours, theirs);
            }
        }
        (Kind::String, Theirs::String(text)) => {
            assert_eq!(*ours.string().expect("a string"), **text);
        }
        (_, theirs) => {
            let text = ours.raw();
            let read: Theirs = serde_json::from_slice(&text).expect("a scalar");
            assert_eq!(read, *theirs);
        }
    }
}

/// The same value more often than a list has entries.
fn again_and_again(text: &[u8], theirs: &serde_json::Value) {
    const TIMES: usize = 600;
    let mut all = vec![text; TIMES].join(&b","[..]);
    all.insert(0, b'[');
    all.push(b']');
    // One level deeper than before may be too deep.
    let Ok(ours) = Document::parse(Parts::from(Bytes::from(all)), Limits::default()) else { return };
    let elements = ours.root().elements();
    assert_eq!(elements.clone().count(), TIMES);
    compare(&elements.last().expect("the last one"), theirs);
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let parts: Parts = [first, second].into_iter().map(Bytes::copy_from_slice).collect();
    let ours = Document::parse(parts, Limits::default());
    let theirs: Result<serde_json::Value, _> = serde_json::from_slice(bytes);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            compare(&ours.root(), &theirs);
            if bytes.len() <= 64 {
                again_and_again(bytes, &theirs);
            }
        }
        (Err(_), Err(_)) => {}
        // A number that fits no f64 is still JSON.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{error}"),
        (Err(error), Ok(theirs)) => {
            // Deeper than we go, or half a surrogate pair that it mends: nothing else.
            panic!("we refuse {theirs}: {error}");
        }
    }
});
