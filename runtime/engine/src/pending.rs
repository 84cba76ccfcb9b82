//! Payload waiting for credit.
//!
//! A binding pushes a message here and sends as much as the credit allows, now and at each WINDOW.
//! A part that does not fit is split without a copy; flags and extension stay with the right
//! pieces. The caller bounds the queue: see [`PendingData::len`].

use std::collections::VecDeque;

use tidegate_streams::{Data, DataFlags, Frame};

use crate::binding::StreamId;
use crate::context::Context;

/// A queue of DATA for one half-stream. Every exchange has several; storage is allocated only when something is
/// queued.
#[derive(Debug, Default)]
pub struct PendingData {
    queue: VecDeque<Data>,
    /// Bytes in the queue.
    len: usize,
}

impl PendingData {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            len: 0,
        }
    }

    /// Queued bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the queue is empty; an empty message counts as queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends a part.
    pub fn push(&mut self, data: Data) {
        self.len += data.payload.len();
        self.queue.push_back(data);
    }

    /// Removes all parts.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Sends `data` at once if the queue is empty and the credit covers it; queues it otherwise.
    pub fn send(&mut self, cx: &mut Context<'_>, stream: StreamId, data: Data) {
        if self.is_empty() && data.payload.len() <= cx.credit(stream) {
            cx.send(stream, Frame::Data(data));
        } else {
            self.push(data);
            self.flush(cx, stream);
        }
    }

    /// Sends what the credit allows; returns whether the queue is empty.
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
