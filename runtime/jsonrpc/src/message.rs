//! Parses the JSON-RPC envelope in place; its members may have any order.

use bytestring::ByteString;
use tidegate_json::{Document, Kind, Limits, Parts, ValueId};

use super::error::Error;
use super::id::Id;
use super::params::Params;

/// A parsed message.
#[derive(Debug)]
pub enum Message {
    /// A request: the sender expects a response.
    Request {
        /// The request id, echoed in the response.
        id: Id,
        /// The method.
        method: ByteString,
        /// The `params`, if present.
        params: Params,
    },
    /// A notification: the sender expects no response.
    Notification {
        /// The method.
        method: ByteString,
        /// The `params`, if present.
        params: Params,
    },
    /// A response to a request of this side.
    Response {
        /// The id of the request; `None` in an error about a message whose id could not be read.
        id: Option<Id>,
        /// The result or the error.
        outcome: Outcome,
    },
}

/// Outcome of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Success. The root of the document is the result.
    Result(Document),
    /// Failure.
    Error(Error),
}

/// An invalid message: the id for the response, and the error.
pub type Unreadable = (Id, Error);

/// Whether the sender expects a response to a message.
pub const fn is_answered(message: &Result<Message, Unreadable>) -> bool {
    matches!(message, Ok(Message::Request { .. }) | Err(_))
}

/// Parses a message.
pub fn read(parts: Parts) -> Result<Message, Unreadable> {
    match Document::parse(parts, Limits::default()) {
        Ok(document) => message(document),
        Err(error) => Err((Id::null(), not_json(error))),
    }
}

pub(super) fn not_json(error: tidegate_json::Error) -> Error {
    Error::parse(format!("Invalid JSON: {error}."))
}

/// The kind of message, and the id of its payload.
enum Shape {
    Call {
        id: Option<Id>,
        method: ByteString,
        params: Option<ValueId>,
    },
    Result(Option<Id>, ValueId),
    Error(Option<Id>, Error),
}

fn message(document: Document) -> Result<Message, Unreadable> {
    Ok(match shape(&document)? {
        Shape::Call { id, method, params } => {
            let params = Params::of(params.map(|params| document.at(params)));
            match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notification { method, params },
            }
        }
        Shape::Result(id, result) => Message::Response {
            id,
            outcome: Outcome::Result(document.at(result)),
        },
        Shape::Error(id, error) => Message::Response {
            id,
            outcome: Outcome::Error(error),
        },
    })
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

fn shape(document: &Document) -> Result<Shape, Unreadable> {
    let without_id = |what: &str| (Id::null(), Error::invalid_request(what));
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err(without_id("A message must be a JSON object."));
    }
    let members = root.pick(&Member::NAMES);
    if members.duplicate().is_some() {
        return Err(without_id("The message has a duplicate member."));
    }
    let member = |which: Member| members.get(document, which as usize).ok().flatten();
    let (result, error) = (member(Member::Result), member(Member::Error));
    if result.is_some() && error.is_some() {
        return Err(without_id(
            "A response must have either 'result' or 'error', not both.",
        ));
    }
    let id = match member(Member::Id) {
        // An error about a message whose id could not be read.
        Some(value) if value.kind() == Kind::Null && error.is_some() => None,
        Some(value) => Some(Id::read(&value).map_err(|error| (Id::null(), error))?),
        None => None,
    };
    let refuse = |what: &str| {
        let id = id.clone().unwrap_or_else(Id::null);
        (id, Error::invalid_request(what))
    };
    if !member(Member::Jsonrpc).is_some_and(|version| version.is("2.0")) {
        return Err(refuse("The member 'jsonrpc' must be \"2.0\"."));
    }
    let Some(method) = member(Member::Method) else {
        return match (result, error) {
            (Some(result), _) => Ok(Shape::Result(id, result.id())),
            (None, Some(error)) => Ok(Shape::Error(id, Error::read(&error))),
            (None, None) => Err(refuse("The member 'method' is missing.")),
        };
    };
    let method = method
        .string()
        .ok_or_else(|| refuse("The member 'method' must be a string."))?;
    let params = match member(Member::Params) {
        None => None,
        Some(params) if params.kind() == Kind::Object => Some(params.id()),
        Some(_) => return Err(refuse("The member 'params' must be an object.")),
    };
    Ok(Shape::Call { id, method, params })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::code;

    fn of(text: &'static str) -> Result<Message, Unreadable> {
        read(Parts::from(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn members_may_have_any_order() {
        let message = of(r#"{"params":{"a":1},"method":"m","id":"x","jsonrpc":"2.0"}"#);
        assert!(is_answered(&message));
        let Ok(Message::Request { id, method, .. }) = message else {
            panic!("{message:?}")
        };
        assert_eq!((id.text(), &*method), (&b"\"x\""[..], "m"));
        let message = of(r#"{"jsonrpc":"2.0","method":"m"}"#);
        assert!(matches!(message, Ok(Message::Notification { .. })));
        assert!(!is_answered(&message));
    }

    #[test]
    fn a_response_has_a_result_or_an_error() {
        let message = of(r#"{"jsonrpc":"2.0","id":3,"result":{"a":1}}"#);
        let Ok(Message::Response { id, outcome }) = message else {
            panic!("{message:?}")
        };
        assert_eq!(id.expect("an id").text(), b"3");
        assert!(matches!(outcome, Outcome::Result(result) if result.root().bytes() == "{\"a\":1}"));

        let message = of(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#);
        let Ok(Message::Response { id, outcome }) = message else {
            panic!("{message:?}")
        };
        assert_eq!(id, None);
        assert!(matches!(outcome, Outcome::Error(error) if error.code() == code::PARSE_ERROR));

        let message = of(r#"{"jsonrpc":"2.0","id":3,"error":7}"#);
        let Ok(Message::Response { outcome, .. }) = message else {
            panic!("{message:?}")
        };
        assert!(matches!(outcome, Outcome::Error(error) if error.code() == code::INTERNAL_ERROR));
    }

    #[test]
    fn an_invalid_message_is_reported() {
        for (text, code, what) in [
            ("{", code::PARSE_ERROR, "Invalid JSON"),
            ("7", code::INVALID_REQUEST, "JSON object"),
            (r#"{"id":1,"id":2}"#, code::INVALID_REQUEST, "duplicate"),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                code::INVALID_REQUEST,
                "either 'result' or 'error'",
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
                code::INVALID_REQUEST,
                "'id' must be",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
                code::INVALID_REQUEST,
                "'id' must be",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1}"#,
                code::INVALID_REQUEST,
                "missing",
            ),
        ] {
            let (_, error) = of(text).expect_err(text);
            assert_eq!(error.code(), code, "{text}");
            assert!(
                error.message().contains(what),
                "{text}: {}",
                error.message()
            );
        }
    }
}
