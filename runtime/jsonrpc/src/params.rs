//! `params` in place, and the members of `params` defined by MCP.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Kind, Parts, Picked, Value};
use tidegate_streams::mcp::McpSubject as Subject;

use super::error::Error;
use super::id::Id;

/// Maximum length of the name or URI of a request, in bytes: an MQTT topic of maximum length plus a
/// scheme and a toolkit prefix.
pub const SUBJECT_MAX: usize = 65_535 + 1_024;

/// Maximum length of the cursor of a list, in bytes.
pub const CURSOR_MAX: usize = 64 * 1_024;

/// Members of `params._meta`.
#[derive(Debug, Clone, Copy)]
pub enum Meta {
    /// Protocol version of a modern request.
    ProtocolVersion,
    /// Client capabilities.
    ClientCapabilities,
    /// Token for progress notifications.
    ProgressToken,
    /// Minimum severity of log messages sent to the client.
    LogLevel,
}

impl Meta {
    const NAMES: [&str; 4] = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "progressToken",
        "io.modelcontextprotocol/logLevel",
    ];

    /// The member's name.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// The members of `params` read for nearly every request.
const PICKED: [&str; 4] = ["name", "uri", "_meta", "requestState"];
const META: usize = 2;
const STATE: usize = 3;

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
    /// The members of `_meta`.
    meta: Picked<{ Meta::NAMES.len() }>,
}

impl Params {
    /// Wraps the object at the root of a document; `None` if the message has no `params`.
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

    /// Takes them; none remain.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::of(None))
    }

    /// The whole message that they are a part of.
    pub fn message(&self) -> Option<Parts> {
        let document = self.document.as_ref()?;
        Some(document.message().clone())
    }

    /// The bytes as received, `{}` without `params`, and the parsed document.
    pub fn into_payload(self) -> (Parts, Option<Document>) {
        let parts = match &self.document {
            Some(document) => document.root().parts(),
            None => Parts::from(Bytes::from_static(b"{}")),
        };
        (parts, self.document)
    }

    /// A member; a duplicate is an error.
    pub fn get(&self, name: &str) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(document.root().get(name)?)
    }

    /// The subject of the request.
    pub fn subject(&self, subject: Subject) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(self.picked.get(document, picked(subject))?)
    }

    /// The `requestState` of a request that continues another one.
    pub fn request_state(&self) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(self.picked.get(document, STATE)?)
    }

    /// Like [`Self::subject`], for a mandatory string.
    pub fn subject_text(&self, subject: Subject) -> Result<ByteString, Error> {
        let text = self.subject(subject)?.and_then(|value| value.string());
        let invalid = |what: &str| {
            let name = subject.name();
            Error::invalid_params(format!("params.{name} {what}."))
        };
        let text = text.ok_or_else(|| invalid("must be a string"))?;
        if text.len() > SUBJECT_MAX {
            return Err(invalid(&format!("exceeds {SUBJECT_MAX} bytes")));
        }
        Ok(text)
    }

    /// `cursor` of a list; `None` for the first page, for which some clients write `null`.
    pub fn cursor(&self) -> Result<Option<ByteString>, Error> {
        let cursor = self.get("cursor")?;
        let Some(cursor) = cursor.filter(|cursor| cursor.kind() != Kind::Null) else {
            return Ok(None);
        };
        let invalid = |what: &str| Error::invalid_params(format!("params.cursor {what}."));
        let cursor = cursor.string();
        let cursor = cursor.ok_or_else(|| invalid("must be a string"))?;
        if cursor.len() > CURSOR_MAX {
            return Err(invalid(&format!("exceeds {CURSOR_MAX} bytes")));
        }
        Ok(Some(cursor))
    }

    /// A member of `params._meta`.
    pub fn meta(&self, which: Meta) -> Result<Option<Value<'_>>, Error> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        // A duplicate `_meta` is ambiguous.
        self.picked.get(document, META)?;
        Ok(self.meta.get(document, which as usize)?)
    }

    /// `name` or `version` of the client: modern requests have it in `_meta`, `initialize` beside it.
    pub fn client_info(&self, member: &str) -> Option<ByteString> {
        let root = self.document.as_ref()?.root();
        let beside = || root.get("clientInfo").ok()?;
        let modern = || {
            let meta = self.picked.get(self.document.as_ref()?, META).ok()??;
            meta.get("io.modelcontextprotocol/clientInfo").ok()?
        };
        let text = modern().or_else(beside)?.get(member).ok()??;
        text.string()
    }

    /// The id in the member `requestId`.
    pub fn request_id(&self) -> Option<Id> {
        Id::read(&self.get("requestId").ok()??).ok()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_json::Limits;

    use super::*;
    use crate::code;

    fn params(text: &str) -> Params {
        let parts = Parts::from(Bytes::copy_from_slice(text.as_bytes()));
        Params::of(Some(
            Document::parse(parts, Limits::default()).expect("JSON"),
        ))
    }

    #[test]
    fn a_cursor_has_a_bounded_length() {
        let of = |length: usize| {
            let params = params(&format!(r#"{{"cursor":"{}"}}"#, "c".repeat(length)));
            params.cursor().map(|it| it.map_or(0, |it| it.len()))
        };
        assert_eq!(of(CURSOR_MAX).expect("the longest one"), CURSOR_MAX);
        let error = of(CURSOR_MAX + 1).expect_err("too long");
        assert_eq!(error.message(), "params.cursor exceeds 65536 bytes.");
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
            (params(&long), "exceeds"),
        ] {
            let error = params.subject_text(Subject::Uri).expect_err(what);
            assert_eq!(error.code(), code::INVALID_PARAMS);
            assert!(error.message().contains(what), "{}", error.message());
        }
    }

    #[test]
    fn a_cursor_is_a_bounded_string() {
        let cursor = |text: &str| params(text).cursor().map_err(|error| error.code());
        assert_eq!(cursor("{}"), Ok(None));
        assert_eq!(cursor(r#"{"cursor":null}"#), Ok(None));
        assert_eq!(cursor(r#"{"cursor":"2"}"#), Ok(Some("2".into())));
        let long = format!(r#"{{"cursor":"{}"}}"#, "c".repeat(CURSOR_MAX + 1));
        for refused in [r#"{"cursor":2}"#, r#"{"cursor":"a","cursor":"b"}"#, &long] {
            assert_eq!(cursor(refused), Err(code::INVALID_PARAMS));
        }
    }

    #[test]
    fn the_client_name_is_read_from_either_place() {
        let modern = r#"{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"m"}}}"#;
        assert_eq!(params(modern).client_info("name").as_deref(), Some("m"));
        let legacy = r#"{"clientInfo":{"name":"l","version":"1"}}"#;
        assert_eq!(params(legacy).client_info("name").as_deref(), Some("l"));
        assert_eq!(params(legacy).client_info("version").as_deref(), Some("1"));
        for none in ["{}", r#"{"clientInfo":7}"#, r#"{"_meta":[]}"#] {
            assert_eq!(params(none).client_info("name"), None, "{none}");
        }
        assert_eq!(Params::of(None).client_info("name"), None);
    }

    #[test]
    fn missing_params_are_an_empty_object() {
        let none = Params::of(None);
        assert!(none.meta(Meta::LogLevel).expect("no duplicate").is_none());
        assert!(none.request_id().is_none());
        let (text, document) = none.into_payload();
        assert_eq!(text.contiguous(), "{}");
        assert!(document.is_none());
    }
}
