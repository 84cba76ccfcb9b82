//! What has come out and is not yet looked at.

use bytes::Bytes;
use tidegate_binding_mqtt::codec::Packet;
use tidegate_engine::StreamId;
use tidegate_streams::Frame;

use super::call::Carried;

/// One thing that came out.
#[derive(Debug, Clone)]
pub(super) struct Emitted {
    pub(super) side: usize,
    pub(super) stream: StreamId,
    /// Whether it stands on the reply half.
    pub(super) reply: bool,
    /// What the stream carries, where this opens it.
    pub(super) carried: Carried,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Frame(Frame),
    /// A packet on the network side of `mqtt · client`.
    Packet(Packet),
    /// Bytes there that are no packet, and why.
    Malformed(Bytes, String),
}

impl Emitted {
    pub(super) const fn frame(&self) -> Option<&Frame> {
        match &self.what {
            What::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}
