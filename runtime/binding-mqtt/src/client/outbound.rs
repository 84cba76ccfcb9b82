//! What goes out on the byte stream, and how far it has come.

use bytes::Bytes;
use tidegate_engine::streams::{Data, DataFlags, Frame};
use tidegate_engine::{Context, PendingData, StreamId};

/// Packets in front of one byte stream. Header and payload are separate parts, handed on as they
/// are; a position counts the bytes since the connection was opened.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pending: PendingData,
    queued: u64,
}

impl Outbound {
    /// Hands over what the credit allows, keeps the rest; the position behind it.
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

    /// There is credit again.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, stream: StreamId) {
        self.pending.flush(cx, stream);
    }

    /// The position behind all packets so far.
    pub(super) const fn queued(&self) -> u64 {
        self.queued
    }

    /// Up to which position bytes were handed over.
    pub(super) const fn written(&self) -> u64 {
        self.queued - self.pending.len() as u64
    }

    /// How many bytes wait for credit.
    pub(super) const fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether the next packet would be begun at once.
    pub(super) fn is_clear(&self, cx: &Context<'_>, stream: StreamId) -> bool {
        self.pending.is_empty() && cx.credit(stream) > 0
    }

    /// Tells the peer that nothing more comes, as soon as all was handed over; whether it was.
    pub(super) fn end(&self, cx: &mut Context<'_>, stream: StreamId) -> bool {
        let clear = self.pending.is_empty();
        if clear {
            cx.end(stream, Frame::end());
        }
        clear
    }
}
