//! Packets sent to the byte stream, and how much of them was written.

use bytes::Bytes;
use tidegate_engine::streams::{Data, DataFlags, Frame};
use tidegate_engine::{Context, PendingData, StreamId};

/// The packets for one byte stream. Header and payload are separate parts, passed on without a
/// copy. A position counts the bytes since the connection was opened.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pending: PendingData,
    queued: u64,
}

impl Outbound {
    /// Sends as much as the credit allows and queues the rest. Returns the position of the end.
    pub(super) fn push(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        parts: impl IntoIterator<Item = Bytes>,
    ) -> u64 {
        for payload in parts {
            if payload.is_empty() {
                continue;
            }
            self.queued += payload.len() as u64;
            let data = Data {
                flags: DataFlags::WHOLE,
                payload,
                extension: None,
            };
            self.pending.send(cx, stream, data);
        }
        self.queued
    }

    /// The byte stream has new credit.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        self.pending.flush(cx, stream);
    }

    /// The position of the end of all packets so far.
    pub(super) const fn queued(&self) -> u64 {
        self.queued
    }

    /// The position up to which bytes were sent to the byte stream.
    pub(super) const fn written(&self) -> u64 {
        self.queued - self.pending.len() as u64
    }

    /// Number of bytes that wait for credit.
    pub(super) const fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether the next packet could be sent at once, at least in part.
    pub(super) fn is_clear(&self, cx: &Context<'_>, stream: StreamId) -> bool {
        self.pending.is_empty() && cx.credit(stream) > 0
    }

    /// Sends END once everything is sent. Returns whether it did.
    pub(super) fn end(&self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let clear = self.pending.is_empty();
        if clear {
            cx.end(stream, Frame::end());
        }
        clear
    }
}
