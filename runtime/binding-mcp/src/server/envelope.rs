//! The JSON-RPC envelope: taken off a message in place, members in any order.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_json::{Document, Duplicate, Fault, Kind, Limits, Parts, Picked, Place, Value};

use super::errors::Refusal;

/// The longest id that is taken, in bytes: it is kept for as long as its request runs.
pub(super) const ID_MAX: usize = 1_024;
/// The longest name or URI that a request may be about, in bytes: an MQTT topic of the greatest length,
/// with room for a scheme and a toolkit's prefix in front of it.
pub(super) const SUBJECT_MAX: usize = 65_535 + 1_024;
/// How many messages a batch may have.
const MESSAGES_MAX: u32 = 100;

/// A JSON-RPC id, as its JSON text: `7` or `"seven"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(SmallVec<[u8; 22]>);

impl Id {
    /// The id of an answer to what has none that could be read.
    pub(super) fn null() -> Self {
        Self::of(b"null")
    }

    /// An id of this text.
    pub(super) fn of(text: &[u8]) -> Self {
        Self(SmallVec::from_slice(text))
    }

    /// Its text.
    pub(super) fn text(&self) -> &[u8] {
        &self.0
    }
}

/// A message that was read.
#[derive(Debug)]
pub(super) enum Message {
    Request {
        id: Id,
        method: ByteString,
        params: Params,
    },
    Notification {
        method: ByteString,
        params: Params,
    },
    /// An answer to a request of ours.
    Response,
}

/// A message that cannot be served, and the id to answer it with.
pub(super) type Unreadable = (Id, Refusal);

/// Whether the sender waits for an answer to it.
pub(super) const fn is_answered(message: &Result<Message, Unreadable>) -> bool {
    matches!(message, Ok(Message::Request { .. }) | Err(_))
}

/// What of `params._meta` is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    ProtocolVersion,
    ClientCapabilities,
    ProgressToken,
    LogLevel,
}

impl Meta {
    const NAMES: [&str; 4] = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "progressToken",
        "io.modelcontextprotocol/logLevel",
    ];

    /// The member.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// The member of `params` that says what a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Name,
    Uri,
}

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Uri => "uri",
        }
    }
}

/// The members of `params` that are asked for time and again: each [`Subject`], and `_meta`.
const SAID: [&str; 3] = ["name", "uri", "_meta"];
const META: usize = 2;

/// `params`, in place.
#[derive(Debug, Clone)]
pub(super) struct Params {
    document: Option<Document>,
    said: Picked<{ SAID.len() }>,
    /// The members of its `_meta`.
    meta: Picked<{ Meta::NAMES.len() }>,
}

impl Params {
    fn of(document: Option<Document>) -> Self {
        let mut said = Picked::none(&SAID);
        let mut meta = Picked::none(&Meta::NAMES);
        if let Some(document) = &document {
            said = document.root().pick(&SAID);
            if let Ok(Some(found)) = said.get(document, META) {
                meta = found.pick(&Meta::NAMES);
            }
        }
        Self {
            document,
            said,
            meta,
        }
    }

    /// The bytes as they came, `{}` where there are none; and what was read in them.
    pub(super) fn into_payload(self) -> (Parts, Option<Document>) {
        let parts = match &self.document {
            Some(document) => document.root().parts(),
            None => Parts::from(Bytes::from_static(b"{}")),
        };
        (parts, self.document)
    }

    /// A member of `params`; a member that is there twice is refused.
    pub(super) fn get(&self, name: &str) -> Result<Option<Value<'_>>, Refusal> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(document.root().get(name)?)
    }

    /// What the request is about.
    pub(super) fn subject(&self, subject: Subject) -> Result<Option<Value<'_>>, Refusal> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        Ok(self.said.get(document, subject as usize)?)
    }

    /// The same where it must be there.
    pub(super) fn subject_text(&self, subject: Subject) -> Result<ByteString, Refusal> {
        let text = self.subject(subject)?.and_then(|value| value.string());
        let invalid = |what: &str| {
            let name = subject.name();
            Refusal::invalid_params(format!("params.{name} {what}."))
        };
        let text = text.ok_or_else(|| invalid("must be a string"))?;
        if text.len() > SUBJECT_MAX {
            return Err(invalid(&format!("is longer than {SUBJECT_MAX} bytes")));
        }
        Ok(text)
    }

    /// A member of `params._meta`.
    pub(super) fn meta(&self, which: Meta) -> Result<Option<Value<'_>>, Refusal> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        // Where `_meta` itself is there twice, it is not clear which one is meant.
        self.said.get(document, META)?;
        Ok(self.meta.get(document, which as usize)?)
    }
}

impl From<Duplicate> for Refusal {
    /// Of the params.
    fn from(error: Duplicate) -> Self {
        Self::invalid_params(format!("{error}."))
    }
}

/// Whether what came in is a batch, as its first token tells.
pub(super) fn is_batch(parts: &Parts) -> bool {
    let mut parts = parts.iter();
    // Nearly every message begins with its first token, which is another one.
    let first = parts.next();
    if first.is_none_or(|part| part.starts_with(b"{")) {
        return false;
    }
    let bytes = first.into_iter().chain(parts).flat_map(|part| part.iter());
    let mut black = bytes.filter(|byte| !byte.is_ascii_whitespace());
    black.next() == Some(&b'[')
}

/// Reads a message.
pub(super) fn read(parts: Parts) -> Result<Message, Unreadable> {
    match Document::parse(parts, Limits::default()) {
        Ok(document) => message(document),
        Err(error) => Err((Id::null(), no_json(error))),
    }
}

/// The messages of a batch, which are checked and not yet read. One that has too many is read no
/// further than there.
pub(super) fn read_batch(parts: Parts) -> Result<Vec<Parts>, Refusal> {
    let limits = Limits {
        elements: MESSAGES_MAX,
        ..Limits::default()
    };
    let size = || Refusal::invalid_request(&format!("A batch has 1 to {MESSAGES_MAX} messages."));
    let document = Document::parse(parts, limits).map_err(|error| match error.fault {
        Fault::Elements => size(),
        _ => no_json(error),
    })?;
    let messages: Vec<Parts> = document.root().elements().map(|it| it.parts()).collect();
    if messages.is_empty() {
        return Err(size());
    }
    Ok(messages)
}

fn no_json(error: tidegate_json::Error) -> Refusal {
    Refusal::parse(format!("This is no JSON: {error}."))
}

fn message(document: Document) -> Result<Message, Unreadable> {
    Ok(match said(&document)? {
        Said::Call { id, method, params } => {
            let params = Params::of(params.map(|params| document.at(params)));
            match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notification { method, params },
            }
        }
        Said::Answer => Message::Response,
    })
}

/// What a message says, and where in it the params are.
enum Said {
    Call {
        id: Option<Id>,
        method: ByteString,
        params: Option<Place>,
    },
    Answer,
}

/// The members of a message.
#[derive(Debug, Clone, Copy)]
enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
}

impl Member {
    const NAMES: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
}

fn said(document: &Document) -> Result<Said, Unreadable> {
    let nobody = |what: &str| (Id::null(), Refusal::invalid_request(what));
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err(nobody("A message is a JSON object."));
    }
    let members = root.pick(&Member::NAMES);
    let member = |which: Member| members.get(document, which as usize).ok().flatten();
    let (result, error) = (member(Member::Result), member(Member::Error));
    if members.duplicate().is_some() || (result.is_some() && error.is_some()) {
        return Err(nobody("A member of the message occurs twice."));
    }
    let id = match member(Member::Id) {
        Some(value) => Some(id(value).map_err(|refusal| (Id::null(), refusal))?),
        None => None,
    };
    let refuse = |what: &str| {
        let id = id.clone().unwrap_or_else(Id::null);
        (id, Refusal::invalid_request(what))
    };
    if !member(Member::Jsonrpc).is_some_and(|version| version.is("2.0")) {
        return Err(refuse("The member 'jsonrpc' must be \"2.0\"."));
    }
    let Some(method) = member(Member::Method) else {
        if result.is_some() || error.is_some() {
            return Ok(Said::Answer);
        }
        return Err(refuse("The member 'method' is missing."));
    };
    let method = method
        .string()
        .ok_or_else(|| refuse("The member 'method' must be a string."))?;
    let params = match member(Member::Params) {
        None => None,
        Some(params) if params.kind() == Kind::Object => Some(params.place()),
        Some(_) => return Err(refuse("The member 'params' must be an object.")),
    };
    Ok(Said::Call { id, method, params })
}

/// An id is a string or a whole number; it is echoed as it came.
fn id(value: Value<'_>) -> Result<Id, Refusal> {
    let whole = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let long = value.range().len() > ID_MAX;
    let legal = match value.kind() {
        Kind::String => true,
        Kind::Number => long || whole(&value.raw()),
        _ => false,
    };
    if !legal {
        return Err(Refusal::invalid_request(
            "The member 'id' must be a string or a whole number.",
        ));
    }
    if long {
        let what = format!("The member 'id' is longer than {ID_MAX} bytes.");
        return Err(Refusal::invalid_request(&what));
    }
    // The buffer it came in is large, and need not live as long as the request does.
    Ok(Id::of(&value.raw()))
}

/// The id that a `requestId` member names.
pub(super) fn request_id(params: &Params) -> Option<Id> {
    id(params.get("requestId").ok()??).ok()
}
