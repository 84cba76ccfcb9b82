//! The JSON-RPC envelope: taken off a message in place, members in any order.

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use tidegate_json::{Document, Duplicate, Kind, Limits, Parts, Place, Value};

use super::errors::Refusal;

/// The longest id that is taken, in bytes: it is kept for as long as its request runs.
const ID_MAX: usize = 1_024;

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

/// What came in: one message, or several in a batch.
#[derive(Debug)]
pub(super) enum Incoming {
    One(Result<Message, Unreadable>),
    Batch(Vec<Result<Message, Unreadable>>),
}

impl Incoming {
    /// Whether the client waits for an answer to it.
    pub(super) fn is_answered(&self) -> bool {
        match self {
            Self::One(message) => matches!(message, Ok(Message::Request { .. }) | Err(_)),
            // A batch that is not served is answered with an error, whatever is in it.
            Self::Batch(_) => true,
        }
    }
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

/// Where a member of `_meta` stands.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nowhere,
    At(Place),
    Twice,
    /// `_meta` itself is there twice.
    InTwo,
}

/// `params`, in place.
#[derive(Debug, Clone)]
pub(super) struct Params {
    document: Option<Document>,
    /// The members of its `_meta`, which are asked for time and again.
    meta: [Found; Meta::NAMES.len()],
}

impl Params {
    fn of(document: Option<Document>) -> Self {
        let meta = document
            .as_ref()
            .map(|document| document.root().get("_meta"));
        let meta = match meta {
            Some(Ok(Some(meta))) => meta.pick(Meta::NAMES).map(|found| match found {
                Ok(Some(value)) => Found::At(value.place()),
                Ok(None) => Found::Nowhere,
                Err(_) => Found::Twice,
            }),
            Some(Err(_)) => [Found::InTwo; Meta::NAMES.len()],
            Some(Ok(None)) | None => [Found::Nowhere; Meta::NAMES.len()],
        };
        Self { document, meta }
    }

    /// The bytes as they came; `{}` where there are none.
    pub(super) fn into_parts(self) -> Parts {
        self.document.map_or_else(
            || Parts::from(Bytes::from_static(b"{}")),
            Document::into_parts,
        )
    }

    /// A member of `params`; a member that is there twice is refused.
    pub(super) fn get(&self, name: &str) -> Result<Option<Value<'_>>, Refusal> {
        let Some(document) = &self.document else {
            return Ok(None);
        };
        document
            .root()
            .get(name)
            .map_err(|error| Refusal::invalid_params(format!("{error}.")))
    }

    /// A string member.
    pub(super) fn string(&self, name: &str) -> Result<Option<ByteString>, Refusal> {
        Ok(self.get(name)?.and_then(|value| value.string()))
    }

    /// A member of `params._meta`.
    pub(super) fn meta(&self, which: Meta) -> Result<Option<Value<'_>>, Refusal> {
        let twice = |name: &str| {
            let error = Duplicate(name.to_owned());
            Refusal::invalid_params(format!("{error}."))
        };
        match (&self.document, self.meta.get(which as usize)) {
            (Some(document), Some(Found::At(place))) => Ok(Some(document.value(*place))),
            (_, Some(Found::Twice)) => Err(twice(which.name())),
            (_, Some(Found::InTwo)) => Err(twice("_meta")),
            _ => Ok(None),
        }
    }
}

/// Reads what came in.
pub(super) fn read(parts: Parts) -> Incoming {
    let document = match Document::parse(parts, Limits::default()) {
        Ok(document) => document,
        Err(error) => {
            let refusal = Refusal::parse(format!("This is no JSON: {error}."));
            return Incoming::One(Err((Id::null(), refusal)));
        }
    };
    let root = document.root();
    match root.kind() {
        Kind::Array => {
            let messages = root.elements().map(|element| message(element.document()));
            Incoming::Batch(messages.collect())
        }
        _ => Incoming::One(message(document)),
    }
}

fn message(document: Document) -> Result<Message, Unreadable> {
    let said = members(document.root())?.read()?;
    Ok(match said {
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

fn members(value: Value<'_>) -> Result<Members<'_>, Unreadable> {
    let nobody = |what: &str| (Id::null(), Refusal::invalid_request(what));
    if value.kind() != Kind::Object {
        return Err(nobody("A message is a JSON object."));
    }
    let mut members = Members::default();
    for (key, member) in value.members() {
        let place = match () {
            () if key.is("jsonrpc") => &mut members.jsonrpc,
            () if key.is("id") => &mut members.id,
            () if key.is("method") => &mut members.method,
            () if key.is("params") => &mut members.params,
            () if key.is("result") || key.is("error") => &mut members.answer,
            () => continue,
        };
        if place.replace(member).is_some() {
            return Err(nobody("A member of the message occurs twice."));
        }
    }
    Ok(members)
}

#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<Value<'a>>,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params: Option<Value<'a>>,
    answer: Option<Value<'a>>,
}

impl Members<'_> {
    fn read(self) -> Result<Said, Unreadable> {
        let id = self
            .id
            .map(id)
            .transpose()
            .map_err(|refusal| (Id::null(), refusal))?;
        let refuse = |what: &str| {
            (
                id.clone().unwrap_or_else(Id::null),
                Refusal::invalid_request(what),
            )
        };
        if !self.jsonrpc.is_some_and(|version| version.is("2.0")) {
            return Err(refuse("The member 'jsonrpc' must be \"2.0\"."));
        }
        let Some(method) = self.method else {
            if self.answer.is_some() {
                return Ok(Said::Answer);
            }
            return Err(refuse("The member 'method' is missing."));
        };
        let method = method
            .string()
            .ok_or_else(|| refuse("The member 'method' must be a string."))?;
        let params = match self.params {
            None => None,
            Some(params) if params.kind() == Kind::Object => Some(params.place()),
            Some(_) => return Err(refuse("The member 'params' must be an object.")),
        };
        Ok(Said::Call { id, method, params })
    }
}

/// An id is a string or a whole number; it is echoed as it came.
fn id(value: Value<'_>) -> Result<Id, Refusal> {
    let text = value.bytes();
    let legal = match value.kind() {
        Kind::String => true,
        Kind::Number => !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')),
        _ => false,
    };
    if !legal {
        return Err(Refusal::invalid_request(
            "The member 'id' must be a string or a whole number.",
        ));
    }
    if text.len() > ID_MAX {
        let what = format!("The member 'id' is longer than {ID_MAX} bytes.");
        return Err(Refusal::invalid_request(&what));
    }
    // The buffer it came in is large, and need not live as long as the request does.
    Ok(Id::of(&text))
}

/// The id that a `requestId` member names.
pub(super) fn request_id(params: &Params) -> Option<Id> {
    id(params.get("requestId").ok()??).ok()
}
