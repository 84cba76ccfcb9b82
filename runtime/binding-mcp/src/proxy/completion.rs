//! `completion/complete`: its params name the prompt or the template whose argument is completed.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_json::{Document, Limits, Parts, Value, write};

use super::edit::{self, Edit};
use super::names::Kind;

/// What an argument belongs to.
#[derive(Debug)]
pub(super) struct Reference {
    params: Document,
    pub(super) kind: Kind,
    /// Name or URI template, as the caller states it.
    pub(super) key: ByteString,
}

impl Reference {
    /// Reads it; the error says what is wrong with the params.
    pub(super) fn of(params: Parts) -> Result<Self, &'static str> {
        let params = Document::parse(params, Limits::default());
        let params = params.map_err(|_| "params is not valid JSON.")?;
        let reference = params.root().get("ref");
        let reference = reference.map_err(|_| "params.ref occurs twice.")?;
        let text = |member: &str| {
            let value = reference?.get(member).ok()??;
            value.string()
        };
        let (kind, key) = match text("type").as_deref() {
            Some("ref/prompt") => (Kind::Prompt, text("name")),
            Some("ref/resource") => (Kind::Resource, text("uri")),
            _ => return Err("params.ref.type must be 'ref/prompt' or 'ref/resource'."),
        };
        let key = key.ok_or("params.ref must have a name or a uri.")?;
        Ok(Self { params, kind, key })
    }

    /// The params with another name or URI; all other bytes are the same.
    pub(super) fn with(&self, key: &str) -> Bytes {
        let member = match self.kind {
            Kind::Resource => "uri",
            Kind::Tool | Kind::Prompt => "name",
        };
        let reference = self.params.root().get("ref").ok().flatten();
        let named = reference.and_then(|it| it.get(member).ok().flatten());
        let edit = named.map(|it: Value<'_>| {
            let mut quoted = BytesMut::new();
            write::push_string(&mut quoted, key);
            Edit {
                at: it.range(),
                with: quoted.freeze(),
            }
        });
        let message = self.params.message();
        let mut params = BytesMut::with_capacity(message.len());
        edit::write(message, 0..message.len(), edit.as_slice(), &mut params);
        params.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str) -> Result<Reference, &'static str> {
        Reference::of(Bytes::copy_from_slice(params.as_bytes()).into())
    }

    #[test]
    fn only_the_name_is_replaced() {
        let params = r#"{ "argument":{"name":"a","value":"1.50"}, "ref" : {"type":"ref/prompt","name":"p\u005f_x"} }"#;
        let reference = read(params).expect("a reference");
        assert_eq!((&*reference.key, reference.kind), ("p__x", Kind::Prompt));
        assert_eq!(reference.with("x\""), params.replace("p\\u005f_x", "x\\\""));
        let template = r#"{"ref":{"uri":"p+mqtt://{a}","type":"ref/resource"}}"#;
        let reference = read(template).expect("a reference");
        assert_eq!(reference.with("mqtt://{a}"), template.replace("p+", ""));
    }

    #[test]
    fn other_params_are_refused_with_words() {
        for (params, expected) in [
            ("", "valid JSON"),
            ("{}", "ref.type"),
            (r#"{"ref":{"type":"ref/tool","name":"x"}}"#, "ref.type"),
            (r#"{"ref":{"type":"ref/prompt"}}"#, "a name or a uri"),
            (r#"{"ref":{},"ref":{}}"#, "twice"),
        ] {
            let error = read(params).expect_err(params);
            assert!(error.contains(expected), "{params}: {error}");
        }
    }
}
