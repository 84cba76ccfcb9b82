//! Complete messages that wait to be published on a connection.

use std::collections::VecDeque;

use tidegate_engine::Time;

use super::publications::Message;

/// A queued message of a publish stream.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) stream: usize,
    pub(super) number: u64,
    pub(super) message: Message,
    /// Since when it waits.
    pub(super) since: Time,
    order: u64,
}

/// The queue: in order of arrival, except that `QoS` 0 messages may overtake the others while the
/// broker's Receive Maximum is reached.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    plain: VecDeque<Queued>,
    acknowledged: VecDeque<Queued>,
    order: u64,
    bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, stream: usize, number: u64, message: Message, since: Time) {
        self.order += 1;
        self.bytes += message.length;
        let queue = match message.qos {
            0 => &mut self.plain,
            _ => &mut self.acknowledged,
        };
        queue.push_back(Queued {
            stream,
            number,
            message,
            since,
            order: self.order,
        });
    }

    /// Takes the next message; `open` says whether a `QoS` 1 or 2 message may be sent.
    pub(super) fn next(&mut self, open: bool) -> Option<Queued> {
        let order = |queue: &VecDeque<Queued>| queue.front().map(|front| front.order);
        let queued = match (order(&self.plain), order(&self.acknowledged)) {
            (Some(plain), Some(other)) if open && other < plain => self.acknowledged.pop_front(),
            (None, Some(_)) if open => self.acknowledged.pop_front(),
            _ => self.plain.pop_front(),
        }?;
        self.bytes -= queued.message.length;
        Some(queued)
    }

    /// Removes the messages of a stream.
    pub(super) fn remove(&mut self, stream: usize) {
        let mut bytes = self.bytes;
        for queue in [&mut self.plain, &mut self.acknowledged] {
            queue.retain(|queued| {
                let stays = queued.stream != stream;
                if !stays {
                    bytes -= queued.message.length;
                }
                stays
            });
        }
        self.bytes = bytes;
    }

    /// Number of queued messages.
    pub(super) fn len(&self) -> usize {
        self.plain.len() + self.acknowledged.len()
    }

    /// Size of the queued payloads, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
