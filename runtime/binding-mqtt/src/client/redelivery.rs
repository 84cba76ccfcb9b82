//! Recognises messages of `QoS` 1 that the broker sends again because it did not receive their
//! PUBACK, so that they are not delivered to a caller twice.
//!
//! The packet identifier alone does not tell: a broker that did receive PUBACK may have used it for
//! another message since. So a message is the same if identifier, topic and payload are. A PUBACK
//! that the broker has read, as its later answers show, is not remembered further.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;

use crate::codec::Publish;

/// At most this many bytes of a payload are compared.
const COMPARED: usize = 4_096;

#[derive(Debug)]
struct Entry {
    /// The position of the end of PUBACK in the byte stream; 0 in an earlier one.
    position: u64,
    packet_id: u16,
    content: u64,
}

/// The messages acknowledged last.
#[derive(Debug, Default)]
pub(super) struct Acknowledged(VecDeque<Entry>);

impl Acknowledged {
    /// PUBACK was sent, up to this position. `read`: the position up to which the broker has read.
    pub(super) fn push(
        &mut self,
        packet_id: u16,
        content: u64,
        position: u64,
        read: u64,
        limit: usize,
    ) {
        let is_read = |it: &Entry| it.position > 0 && it.position <= read;
        while self.0.front().is_some_and(is_read) || self.0.len() >= limit {
            self.0.pop_front();
        }
        self.0.push_back(Entry {
            position,
            packet_id,
            content,
        });
    }

    /// The connection was lost: the broker read its byte stream up to `read` at least.
    pub(super) fn interrupted(&mut self, read: u64) {
        self.0.retain_mut(|it| {
            // That of an even earlier connection stays until it is displaced.
            let unread = it.position == 0 || it.position > read;
            it.position = 0;
            unread
        });
    }

    /// Whether this message was acknowledged on an earlier connection; it is then forgotten. Only the last
    /// message with its identifier counts: the broker has read the PUBACKs of those before it.
    pub(super) fn take(&mut self, publish: &Publish) -> bool {
        if !publish.dup || self.0.front().is_none_or(|it| it.position > 0) {
            return false;
        }
        let mut last = self.0.iter().rev();
        let last = last.find(|it| it.packet_id == publish.packet_id);
        let same = last.is_some_and(|it| it.position == 0 && it.content == content(publish));
        if same {
            self.0.retain(|it| it.packet_id != publish.packet_id);
        }
        same
    }
}

/// A hash of what a message says.
pub(super) fn content(publish: &Publish) -> u64 {
    let mut hasher = DefaultHasher::new();
    publish.topic.as_bytes().hash(&mut hasher);
    publish.properties.correlation.hash(&mut hasher);
    hasher.write_usize(publish.payload.iter().map(Bytes::len).sum());
    let mut left = COMPARED;
    for part in &publish.payload {
        let compared = part.get(..left.min(part.len())).unwrap_or_default();
        hasher.write(compared);
        left -= compared.len();
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(packet_id: u16, payload: &'static str, dup: bool) -> Publish {
        Publish {
            dup,
            qos: 1,
            packet_id,
            topic: "a".into(),
            payload: std::iter::once(payload.into()).collect(),
            ..Publish::default()
        }
    }

    fn push(known: &mut Acknowledged, publish: &Publish, position: u64, read: u64, limit: usize) {
        known.push(publish.packet_id, content(publish), position, read, limit);
    }

    #[test]
    fn only_a_repetition_on_a_later_connection_is_the_same() {
        let mut known = Acknowledged::default();
        push(&mut known, &message(1, "on", false), 4, 0, 10);
        push(&mut known, &message(2, "off", false), 8, 0, 10);
        assert!(!known.take(&message(1, "on", true)), "the same connection");
        known.interrupted(0);
        assert!(!known.take(&message(1, "off", true)), "another message");
        assert!(!known.take(&message(1, "on", false)), "not repeated");
        assert!(known.take(&message(1, "on", true)));
        assert!(!known.take(&message(1, "on", true)), "once");
        assert!(known.take(&message(2, "off", true)));
    }

    #[test]
    fn an_identifier_that_the_broker_used_again_stands_for_its_last_message() {
        let mut known = Acknowledged::default();
        push(&mut known, &message(1, "step", false), 4, 0, 10);
        push(&mut known, &message(1, "step", false), 8, 0, 10);
        known.interrupted(0);
        assert!(known.take(&message(1, "step", true)));
        push(&mut known, &message(1, "step", true), 4, 0, 10);
        push(&mut known, &message(1, "stop", false), 8, 0, 10);
        known.interrupted(0);
        assert!(!known.take(&message(1, "step", true)), "a new message");
    }

    #[test]
    fn a_message_received_in_other_parts_is_the_same() {
        let mut known = Acknowledged::default();
        push(&mut known, &message(1, "heating", false), 4, 0, 10);
        known.interrupted(0);
        let mut again = message(1, "heating", true);
        again.payload = ["he", "ating"].map(Bytes::from).into_iter().collect();
        assert!(known.take(&again));
    }

    #[test]
    fn what_the_broker_has_read_and_what_is_beyond_the_limit_is_forgotten() {
        let mut known = Acknowledged::default();
        push(&mut known, &message(1, "on", false), 4, 0, 2);
        push(&mut known, &message(2, "on", false), 8, 4, 2);
        assert_eq!(known.0.len(), 1);
        push(&mut known, &message(3, "on", false), 12, 4, 2);
        push(&mut known, &message(4, "on", false), 16, 4, 2);
        assert_eq!(known.0.len(), 2);
        known.interrupted(12);
        assert!(!known.take(&message(3, "on", true)));
        assert!(known.take(&message(4, "on", true)));
    }
}
