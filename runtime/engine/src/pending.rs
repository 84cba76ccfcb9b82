//! Payload that waits for credit.
//!
//! A binding that has a message to send puts it here and sends what the credit allows, now and at
//! each WINDOW. A part is split to fit without a copy; its flags and its extension stay with the
//! right pieces. What may wait is bounded by whoever pushes: [`PendingData::len`] tells.

use tidegate_streams::{Data, DataFlags, Frame};

use crate::binding::StreamId;
use crate::context::Context;
use crate::fifo::Fifo;

/// A queue of DATA in front of one half-stream.
#[derive(Debug, Default)]
pub struct PendingData {
    queue: Fifo<Data>,
    len: usize,
}

impl PendingData {
    /// Nothing waits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: Fifo::new(),
            len: 0,
        }
    }

    /// Bytes that wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits, not even an empty message.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends a part.
    pub fn push(&mut self, data: Data) {
        self.len += data.payload.len();
        self.queue.push_back(data);
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.len = 0;
    }

    /// Sends `data` at once where nothing waits and the credit suffices; queues it otherwise.
    pub fn send(&mut self, cx: &mut Context<'_>, stream: StreamId, data: Data) {
        if self.queue.is_empty() && data.payload.len() <= cx.credit(stream) {
            cx.send(stream, Frame::Data(data));
        } else {
            self.push(data);
            self.flush(cx, stream);
        }
    }

    /// Sends what the credit allows; whether nothing waits any more.
    pub fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        while let Some(front) = self.queue.front_mut() {
            let credit = cx.credit(stream);
            if front.payload.len() <= credit {
                self.len -= front.payload.len();
                if let Some(data) = self.queue.pop_front() {
                    cx.send(stream, Frame::Data(data));
                }
                continue;
            }
            if credit == 0 {
                return false;
            }
            let payload = front.payload.split_to(credit);
            let flags = DataFlags::of(front.flags.is_init(), false);
            front.flags = DataFlags::of(false, front.flags.is_fin());
            let extension = front.extension.take();
            self.len -= payload.len();
            cx.send(
                stream,
                Frame::Data(Data {
                    flags,
                    payload,
                    extension,
                }),
            );
        }
        true
    }
}
