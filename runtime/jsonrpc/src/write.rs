//! Writes JSON-RPC envelopes.

use bytes::{Bytes, BytesMut};
use tidegate_json::Parts;

use super::error::Error;
use super::id::Id;

/// A complete request. The buffers of `params` are shared.
pub fn request(id: &Id, method: &str, params: Parts) -> Parts {
    let mut head = BytesMut::with_capacity(64 + method.len());
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    head.extend_from_slice(id.text());
    head.extend_from_slice(b",\"method\":\"");
    head.extend_from_slice(method.as_bytes());
    head.extend_from_slice(b"\",\"params\":");
    let mut message = Parts::from(head.freeze());
    params.into_iter().for_each(|part| message.push(part));
    message.push(Bytes::from_static(b"}"));
    message
}

/// Begins a notification; append its `params` and a closing brace.
pub fn begin_notification(method: &str) -> BytesMut {
    let mut out = BytesMut::with_capacity(128);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\",\"params\":");
    out
}

/// Begins a response; append its result and a closing brace.
pub fn begin_response(out: &mut BytesMut, id: &Id) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.text());
    out.extend_from_slice(b",\"result\":");
}

/// A complete response; `members` are the members of its result.
pub fn response(id: &Id, members: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(48 + id.text().len() + members.len());
    begin_response(&mut out, id);
    out.extend_from_slice(b"{");
    out.extend_from_slice(members);
    out.extend_from_slice(b"}}");
    out.freeze()
}

/// A complete error response.
pub fn error_response(id: &Id, error: &Error) -> Bytes {
    let mut out = BytesMut::with_capacity(96 + error.message().len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.text());
    out.extend_from_slice(b",\"error\":");
    error.write(&mut out);
    out.extend_from_slice(b"}");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Outcome, read};

    #[test]
    fn a_written_request_can_be_read() {
        let params = Parts::from(Bytes::from_static(b"{\"name\":\"publish\"}"));
        let message = read(request(&Id::number(7), "tools/call", params)).expect("a message");
        let Message::Request { id, method, params } = message else {
            panic!("{message:?}")
        };
        assert_eq!((id.text(), &*method), (&b"7"[..], "tools/call"));
        let (text, document) = params.into_payload();
        assert_eq!(text.contiguous(), "{\"name\":\"publish\"}");
        assert!(document.is_some());
    }

    #[test]
    fn a_written_response_can_be_read() {
        let id = Id::number(7);
        let message = read(Parts::from(response(&id, b"\"tools\":[]"))).expect("a message");
        let Message::Response { id: of, outcome } = message else {
            panic!("{message:?}")
        };
        assert_eq!(of.as_ref(), Some(&id));
        let Outcome::Result(result) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(result.root().bytes(), "{\"tools\":[]}");

        let error = Error::new(-32002, "no \"such\" resource")
            .with_data(Some(Bytes::from_static(b"{\"uri\":\"u\"}")));
        let message = read(Parts::from(error_response(&id, &error))).expect("a message");
        let Message::Response { id: of, outcome } = message else {
            panic!("{message:?}")
        };
        assert_eq!(of, Some(id));
        let Outcome::Error(read) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(read, error);
    }

    #[test]
    fn a_notification_is_completed_by_its_params_and_a_brace() {
        let mut out = begin_notification("notifications/message");
        out.extend_from_slice(b"{\"level\":\"info\"}}");
        let message = read(Parts::from(out.freeze())).expect("a message");
        let Message::Notification { method, params } = message else {
            panic!("{message:?}")
        };
        assert_eq!(method, "notifications/message");
        let level = params.get("level").expect("once").expect("there");
        assert_eq!(level.text().as_deref(), Some("info"));
    }
}
