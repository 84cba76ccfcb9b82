//! `params`, in place, and the members of them that MCP gives a meaning.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Parts, Picked, Value};
use tidegate_streams::mcp::McpSubject as Subject;

use super::error::Error;
use super::id::Id;

/// The longest name or URI that a request may be about, in bytes: an MQTT topic of the greatest length,
/// with room for a scheme and a toolkit's prefix in front of it.
pub const SUBJECT_MAX: usize = 65_535 + 1_024;

/// Members of `params._meta`.
#[derive(Debug, Clone, Copy)]
pub enum Meta {
    /// The revision of a modern request.
    ProtocolVersion,
    /// What its client can do.
    ClientCapabilities,
    /// The token that progress is told with.
    ProgressToken,
    /// The least severity of the log messages that the client wants.
    LogLevel,
}

impl Meta {
    const NAMES: [&str; 4] = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "progressToken",
        "io.modelcontextprotocol/logLevel",
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// The members of `params` that nearly every request is asked for.
const PICKED: [&str; 3] = ["name", "uri", "_meta"];
const META: usize = 2;

const fn picked(subject: Subject) -> usize {
    match subject {
        Subject::Name => 0,
        Subject::Uri => 1,
    }
}

/// `params`, in place.
#[derive(Debug, Clone)]
pub struct Params {
    document: Option<Document>,
    picked: Picked<{ PICKED.len() }>,
    /// The members of its `_meta`.
    meta: Picked<{ Meta::NAMES.len() }>,
}

impl Params {
    /// The object at the root of a document; `None` where the message has no `params`.
    pub fn of(document: Option<Document>) -> Self {
        let mut picked = Picked::none(&PICKED);
        let mut meta = Picked::none(&Meta::NAMES);
        if let Some(document) = &document {
            picked = document.root().pick(&PICKED);
            if let Ok(Some(found)) = picked.get(document, META) {
                meta = found.pick(&Meta::NAMES);
            }
        }
        Self {
            document,
            picked,
            meta,
        }
    }

    /// The bytes as they came, `{}` where there are none; and what was read in them.
    pub fn into_payload(self) -> (Parts, Option<Document>) {
        let parts = match &self.document {
            Some(document) => document.root().parts(),
            None => Parts::from(Bytes::from_static(b"{}")),
        };
        (parts, self.document)
    }

    /// A member; one that is there twice is refused.
    pub fn get(&self, name: &str) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(document.root().get(name)?)
    }

    /// What the request is about.
    pub fn subject(&self, subject: Subject) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(self.picked.get(document, picked(subject))?)
    }

    /// The same where it must be there.
    pub fn subject_text(&self, subject: Subject) -> Result<ByteString, Error> {
        let text = self.subject(subject)?.and_then(|value| value.string());
        let invalid = |what: &str| {
            let name = subject.name();
            Error::invalid_params(format!("params.{name} {what}."))
        };
        let text = text.ok_or_else(|| invalid("must be a string"))?;
        if text.len() > SUBJECT_MAX {
            return Err(invalid(&format!("is longer than {SUBJECT_MAX} bytes")));
        }
        Ok(text)
    }

    /// A member of `params._meta`.
    pub fn meta(&self, which: Meta) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        // Where `_meta` itself is there twice, it is not clear which one is meant.
        self.picked.get(document, META)?;
        Ok(self.meta.get(document, which as usize)?)
    }

    /// The name of the client, as a modern request tells it in `_meta` and `initialize` beside it.
    pub fn client_name(&self) -> Option<ByteString> {
        let root = self.document.as_ref()?.root();
        let beside = || root.get("clientInfo").ok()?;
        let modern = || {
            let meta = self.picked.get(self.document.as_ref()?, META).ok()??;
            meta.get("io.modelcontextprotocol/clientInfo").ok()?
        };
        let name = modern().or_else(beside)?.get("name").ok()??;
        name.string()
    }

    /// The id that the member `requestId` names.
    pub fn request_id(&self) -> Option<Id> {
        Id::read(&self.get("requestId").ok()??).ok()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_json::Limits;

    use super::*;
    use crate::jsonrpc::code;

    fn params(text: &str) -> Params {
        let parts = Parts::from(Bytes::copy_from_slice(text.as_bytes()));
        Params::of(Some(
            Document::parse(parts, Limits::default()).expect("JSON"),
        ))
    }

    #[test]
    fn a_subject_must_be_one_string_of_a_bounded_length() {
        let named = params(r#"{"name":"publish","uri":7}"#);
        assert_eq!(
            named.subject_text(Subject::Name).expect("a name"),
            "publish"
        );
        let long = format!(r#"{{"uri":"{}"}}"#, "u".repeat(SUBJECT_MAX + 1));
        for (params, what) in [
            (named, "params.uri must be a string."),
            (params("{}"), "params.uri must be a string."),
            (params(r#"{"uri":"a","uri":"b"}"#), "'uri' occurs twice"),
            (params(&long), "is longer than"),
        ] {
            let error = params.subject_text(Subject::Uri).expect_err(what);
            assert_eq!(error.code(), code::INVALID_PARAMS);
            assert!(error.message().contains(what), "{}", error.message());
        }
    }

    #[test]
    fn a_client_is_named_in_either_place() {
        let modern = r#"{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"m"}}}"#;
        assert_eq!(params(modern).client_name().as_deref(), Some("m"));
        let legacy = r#"{"clientInfo":{"name":"l","version":"1"}}"#;
        assert_eq!(params(legacy).client_name().as_deref(), Some("l"));
        for none in ["{}", r#"{"clientInfo":7}"#, r#"{"_meta":[]}"#] {
            assert_eq!(params(none).client_name(), None, "{none}");
        }
        assert_eq!(Params::of(None).client_name(), None);
    }

    #[test]
    fn params_that_are_not_there_are_an_empty_object() {
        let none = Params::of(None);
        assert!(none.meta(Meta::LogLevel).expect("no duplicate").is_none());
        assert!(none.request_id().is_none());
        let (text, document) = none.into_payload();
        assert_eq!(text.contiguous(), "{}");
        assert!(document.is_none());
    }
}
