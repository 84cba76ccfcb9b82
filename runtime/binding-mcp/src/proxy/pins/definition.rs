//! The definition of a tool in a canonical form: members in the order of their names, no white space,
//! strings with the fewest escapes, numbers as they were written.

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};
use tidegate_json::{Kind, Value, write};

/// A SHA-256.
pub type Digest = [u8; 32];

/// The members of a tool that a model is told.
const MEMBERS: [&str; 4] = ["name", "description", "inputSchema", "outputSchema"];

/// The definition of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The SHA-256 of its text.
    pub digest: Digest,
    /// The canonical form: an object with name, description and schemas.
    pub text: ByteString,
}

impl Definition {
    /// The definition of a tool in a list.
    pub(crate) fn of(tool: Value<'_>) -> Self {
        let mut text = BytesMut::new();
        push_object(&mut text, tool, |name| MEMBERS.contains(&name));
        let digest = Sha256::digest(&text).into();
        // JSON is valid UTF-8.
        let text = ByteString::try_from(text.freeze()).unwrap_or_default();
        Self { digest, text }
    }
}

/// The digits of a hash.
pub fn hex(digest: &Digest) -> String {
    let mut digits = String::with_capacity(64);
    for byte in digest {
        // Writing to a text does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn push(out: &mut BytesMut, value: Value<'_>) {
    match value.kind() {
        Kind::Object => push_object(out, value, |_| true),
        Kind::Array => {
            out.put_u8(b'[');
            for (index, element) in value.elements().enumerate() {
                if index > 0 {
                    out.put_u8(b',');
                }
                push(out, element);
            }
            out.put_u8(b']');
        }
        Kind::String => write::push_string(out, &value.text().unwrap_or_default()),
        Kind::Number | Kind::Bool(_) | Kind::Null => out.extend_from_slice(&value.bytes()),
    }
}

/// A member that occurs twice is there twice, since readers may take either.
fn push_object(out: &mut BytesMut, object: Value<'_>, includes: impl Fn(&str) -> bool) {
    let members = object.members().map(|(key, value)| (key.text(), value));
    let mut members: Vec<_> = members.filter(|(key, _)| includes(key)).collect();
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    out.put_u8(b'{');
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write::push_string(out, &key);
        out.put_u8(b':');
        push(out, value);
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Document, Limits};

    use super::*;

    fn definition(tool: &str) -> Definition {
        let tool = Bytes::copy_from_slice(tool.as_bytes());
        let tool = Document::parse(tool.into(), Limits::default()).expect("JSON");
        Definition::of(tool.root())
    }

    #[test]
    fn only_what_a_model_is_told_counts_and_not_how_it_is_written() {
        let one = definition(
            r#"{"name":"a","description":"d\u0065","inputSchema":{"type":"object","b":[1.0, null,true]},"_meta":1}"#,
        );
        let other = definition(
            r#"{ "inputSchema": {"b":[1.0,null,true], "type":"object"}, "annotations":{}, "description":"de", "name":"a"}"#,
        );
        assert_eq!(one, other);
        let text = r#"{"description":"de","inputSchema":{"b":[1.0,null,true],"type":"object"},"name":"a"}"#;
        assert_eq!(one.text, text);
        assert_eq!(hex(&one.digest).len(), 64);
    }

    #[test]
    fn every_change_of_it_counts() {
        let accepted = definition(r#"{"name":"a","description":"d","inputSchema":{"x":1}}"#);
        for changed in [
            r#"{"name":"b","description":"d","inputSchema":{"x":1}}"#,
            r#"{"name":"a","description":"d ","inputSchema":{"x":1}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"x":1.0}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"x":1},"outputSchema":{}}"#,
            r#"{"name":"a","description":"d","description":"d","inputSchema":{"x":1}}"#,
        ] {
            assert_ne!(definition(changed).digest, accepted.digest, "{changed}");
        }
    }
}
