//! JSON-RPC batches: several messages in one array (only in 2025-03-26).

use tidegate_json::{Document, Fault, Limits, Parts};

use super::error::Error;
use super::message::not_json;

/// Maximum number of messages in a batch.
pub const BATCH_MAX: u32 = 100;

/// Whether a message is a batch, judging by its first token.
pub fn is_batch(parts: &Parts) -> bool {
    let mut parts = parts.iter();
    // Fast path: nearly every message begins with the brace of an object.
    let first = parts.next();
    if first.is_none_or(|part| part.starts_with(b"{")) {
        return false;
    }
    let bytes = first.into_iter().chain(parts).flat_map(|part| part.iter());
    let mut black = bytes.filter(|byte| !byte.is_ascii_whitespace());
    black.next() == Some(&b'[')
}

/// Splits a batch into its messages, which are validated but not interpreted. Parsing stops at the
/// first message beyond the limit.
pub fn read_batch(parts: Parts) -> Result<Vec<Parts>, Error> {
    let limits = Limits {
        elements: BATCH_MAX,
        ..Limits::default()
    };
    let size =
        || Error::invalid_request(format!("A batch must contain 1 to {BATCH_MAX} messages."));
    let document = Document::parse(parts, limits).map_err(|error| match error.fault {
        Fault::Elements => size(),
        _ => not_json(error),
    })?;
    let messages: Vec<Parts> = document.root().elements().map(|it| it.parts()).collect();
    if messages.is_empty() {
        return Err(size());
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::code;

    fn parts(texts: &[&'static str]) -> Parts {
        let bytes = |text: &&'static str| Bytes::from_static(text.as_bytes());
        texts.iter().map(bytes).collect()
    }

    #[test]
    fn a_batch_is_detected_by_its_first_token() {
        for batch in [&["[]"][..], &[" \n", "\t[1]"], &["  ["]] {
            assert!(is_batch(&parts(batch)), "{batch:?}");
        }
        for other in [&["{}"][..], &[" {\"a\":[]}"], &["7"], &[" "], &[]] {
            assert!(!is_batch(&parts(other)), "{other:?}");
        }
    }

    #[test]
    fn a_batch_has_one_to_a_hundred_messages() {
        let of = |count: usize| {
            let text = format!("[{}]", vec!["{}"; count].join(","));
            read_batch(Parts::from(Bytes::from(text)))
        };
        for count in [1, 100] {
            assert_eq!(of(count).expect("a batch").len(), count);
        }
        for count in [0, 101] {
            let error = of(count).expect_err("its size");
            assert_eq!(error.code(), code::INVALID_REQUEST);
            assert_eq!(error.message(), "A batch must contain 1 to 100 messages.");
        }
        let error = read_batch(parts(&["[{},"])).expect_err("cut off");
        assert_eq!(error.code(), code::PARSE_ERROR);
    }
}
