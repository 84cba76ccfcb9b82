//! The wire forms of messages.

use bytes::{Bytes, BytesMut};
use tidegate_json::Parts;

/// Start of a server-sent event.
pub(super) const EVENT_BEGINS: Bytes = Bytes::from_static(b"event: message\ndata: ");
/// End of a server-sent event.
pub(super) const EVENT_ENDS: Bytes = Bytes::from_static(b"\n\n");

/// A message as one server-sent event.
pub(super) fn event(message: Parts) -> Parts {
    let mut event = Parts::from(EVENT_BEGINS);
    for part in message {
        event.push(one_line(part));
    }
    event.push(EVENT_ENDS);
    event
}

/// A message as one server-sent event with an id.
pub(super) fn event_with_id(id: &str, message: Parts) -> Parts {
    let mut all = Parts::from(Bytes::from(format!("id: {id}\n")));
    event(message).into_iter().for_each(|part| all.push(part));
    all
}

/// An event without data, which only gives the client an id to resume behind, and the time after which it
/// is to do so in milliseconds.
pub(super) fn priming(id: &str, retry: u64) -> Parts {
    Parts::from(Bytes::from(format!("id: {id}\nretry: {retry}\ndata: \n\n")))
}

/// A part of a message with line ends replaced by spaces. Line ends occur only as white space
/// between tokens.
pub(super) fn one_line(part: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &part).is_none() {
        return part;
    }
    let mut line = BytesMut::from(&part[..]);
    for byte in line.iter_mut() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_white_space_the_message_has() {
        let parts = ["{\"a\":\r\n", "1}"].map(|part| Bytes::from_static(part.as_bytes()));
        let event = event(parts.into_iter().collect()).contiguous();
        assert_eq!(event, "event: message\ndata: {\"a\":  1}\n\n");
    }
}
