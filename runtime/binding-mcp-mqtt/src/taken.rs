//! The messages of an answer, for an audit log.

use bytes::{Bytes, BytesMut};

use crate::message::Message;

/// The payloads of the messages that a result has, one behind the other.
///
/// They are copied, because a part would keep its receive buffer alive. Their number and size are
/// bounded by those of the result, which has each payload.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    count: u32,
    payloads: BytesMut,
}

impl Taken {
    /// For an operation whose messages are recorded, if they are.
    pub(crate) fn new(audited: bool) -> Option<Box<Self>> {
        audited.then(Box::default)
    }

    pub(crate) fn add(&mut self, message: &Message) {
        self.count += 1;
        for part in &message.payload {
            self.payloads.extend_from_slice(part);
        }
    }

    /// Number of messages.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Their payloads; `None` without a message.
    pub(crate) fn into_payload(self) -> Option<Vec<Bytes>> {
        (self.count > 0).then(|| vec![self.payloads.freeze()])
    }
}
