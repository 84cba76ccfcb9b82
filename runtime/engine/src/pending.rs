//! Payload that waits for credit.
//!
//! A binding that has a message to send puts it here and sends what the credit allows, now and at
//! each WINDOW. A part is split to fit without a copy; its flags and its extension stay with the
//! right pieces. What may wait is bounded by whoever pushes: [`PendingData::len`] tells.

use std::collections::VecDeque;

use tidegate_streams::{Data, DataFlags, Frame};

use crate::binding::StreamId;
use crate::context::Context;

/// A queue of DATA in front of one half-stream.
///
/// Every exchange has some, and hardly anything ever waits in one: its room is made when something does.
#[derive(Debug, Default)]
pub struct PendingData(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Data>,
    /// Bytes in the queue.
    len: usize,
}

impl PendingData {
    /// Nothing waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Bytes that wait.
    pub const fn len(&self) -> usize {
        match &self.0 {
            Some(waiting) => waiting.len,
            None => 0,
        }
    }

    /// Whether nothing waits, not even an empty message.
    pub fn is_empty(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|waiting| waiting.queue.is_empty())
    }

    /// Appends a part.
    pub fn push(&mut self, data: Data) {
        let waiting = self.0.get_or_insert_default();
        waiting.len += data.payload.len();
        waiting.queue.push_back(data);
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Sends `data` at once where nothing waits and the credit suffices; queues it otherwise.
    pub fn send(&mut self, cx: &mut Context<'_>, stream: StreamId, data: Data) {
        if self.is_empty() && data.payload.len() <= cx.credit(stream) {
            cx.send(stream, Frame::Data(data));
        } else {
            self.push(data);
            self.flush(cx, stream);
        }
    }

    /// Sends what the credit allows; whether nothing waits any more.
    pub fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let Some(waiting) = &mut self.0 else {
            return true;
        };
        while let Some(front) = waiting.queue.front_mut() {
            let credit = cx.credit(stream);
            if front.payload.len() <= credit {
                waiting.len -= front.payload.len();
                if let Some(data) = waiting.queue.pop_front() {
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
            waiting.len -= payload.len();
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
