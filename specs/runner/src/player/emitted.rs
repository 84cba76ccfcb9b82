//! Frames sent by the binding that are not compared yet.

use bytes::Bytes;
use tidegate_binding_mqtt::codec::Packet;
use tidegate_engine::StreamId;
use tidegate_streams::Frame;

use super::call::Carried;

/// A frame or packet sent by the binding.
#[derive(Debug, Clone)]
pub(super) struct Emitted {
    pub(super) side: usize,
    pub(super) stream: StreamId,
    /// Whether it belongs to the reply half.
    pub(super) reply: bool,
    /// The call context, if this is the opening BEGIN.
    pub(super) carried: Carried,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Frame(Frame),
    /// A packet on the network side of `mqtt · client`.
    Packet(Packet),
    /// Bytes on the network side that are not a valid packet, and the reason.
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
