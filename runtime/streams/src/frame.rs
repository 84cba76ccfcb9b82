//! Frames: the eight things that one end of a stream can say to the other.

use std::fmt;

use bytes::Bytes;

use crate::extension::{AbortEx, BeginEx, ChallengeEx, DataEx, EndEx, FlushEx, ResetEx};
use crate::pooled::Pooled;

/// Which end of a stream: the one that opened it or the one that accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Opened the stream; sends the initial half.
    Caller,
    /// Accepted the stream; sends the reply half.
    Callee,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// The half that this end sends.
    pub const fn sends(self) -> Half {
        match self {
            Self::Caller => Half::Initial,
            Self::Callee => Half::Reply,
        }
    }

    /// The half on which this end's `kind` of frame travels: its own for frames that go with the
    /// flow, its peer's for frames that go against it.
    pub const fn half(self, kind: FrameKind) -> Half {
        // Without a branch: every frame is asked twice.
        let callee = matches!(self, Self::Callee);
        let against = matches!(kind.direction(), Direction::Against);
        if callee == against {
            Half::Initial
        } else {
            Half::Reply
        }
    }
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// Caller to callee.
    Initial,
    /// Callee to caller.
    Reply,
}

/// Whether a frame travels with the flow of its half or against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Sent by the half's sender.
    With,
    /// Sent by the half's receiver.
    Against,
}

/// What a frame is, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Opens the half.
    Begin,
    /// Carries payload, under credit.
    Data,
    /// Closes the half in order.
    End,
    /// Closes the half out of order: what was sent is to be given up.
    Abort,
    /// Tells something beside the payload, without credit.
    Flush,
    /// The receiver wants no more of the half.
    Reset,
    /// The receiver grants credit.
    Window,
    /// The receiver asks the sender something.
    Challenge,
}

impl FrameKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Begin,
        Self::Data,
        Self::End,
        Self::Abort,
        Self::Flush,
        Self::Reset,
        Self::Window,
        Self::Challenge,
    ];

    /// Whether frames of this kind travel with the flow or against it.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Begin | Self::Data | Self::End | Self::Abort | Self::Flush => Direction::With,
            Self::Reset | Self::Window | Self::Challenge => Direction::Against,
        }
    }

    /// The word scripts and traces use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Data => "data",
            Self::End => "end",
            Self::Abort => "abort",
            Self::Flush => "flush",
            Self::Reset => "reset",
            Self::Window => "window",
            Self::Challenge => "challenge",
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which part of a message a DATA frame is: both flags for a whole message, INIT for its first
/// part, FIN for its last, neither for one between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFlags(u8);

impl DataFlags {
    /// Neither first nor last.
    pub const MIDDLE: Self = Self(0);
    /// The last part.
    pub const FIN: Self = Self(1);
    /// The first part.
    pub const INIT: Self = Self(2);
    /// A whole message.
    pub const WHOLE: Self = Self(3);

    /// The flags of a part that is the first and/or the last one.
    pub const fn of(first: bool, last: bool) -> Self {
        Self(((first as u8) << 1) | last as u8)
    }

    /// Whether the message starts here.
    pub const fn is_init(self) -> bool {
        self.0 & Self::INIT.0 != 0
    }

    /// Whether the message ends here.
    pub const fn is_fin(self) -> bool {
        self.0 & Self::FIN.0 != 0
    }
}

/// Payload under credit. A hop moves the frame; the payload's bytes stay where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Which part of the message this is.
    pub flags: DataFlags,
    /// The bytes, shared and never copied between bindings.
    pub payload: Bytes,
    /// What the protocol adds; on a fragmented message only the INIT frame needs one.
    pub extension: Option<Pooled<DataEx>>,
}

impl Data {
    /// A part of a message without an extension.
    pub const fn part(flags: DataFlags, payload: Bytes) -> Self {
        Self {
            flags,
            payload,
            extension: None,
        }
    }

    /// The parts of one message, in order; none where there are no parts.
    pub fn of_message<P>(parts: P) -> impl Iterator<Item = Self>
    where
        P: IntoIterator<Item = Bytes, IntoIter: ExactSizeIterator>,
    {
        let mut parts = parts.into_iter();
        let mut first = true;
        std::iter::from_fn(move || {
            let payload = parts.next()?;
            let flags = DataFlags::of(std::mem::take(&mut first), parts.len() == 0);
            Some(Self::part(flags, payload))
        })
    }
}

/// Credit for a half: its sender may have sent up to `acknowledge + maximum` bytes, each DATA
/// counting `padding` more than its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Bytes that the receiver is done with since the half began, padding included.
    pub acknowledge: u64,
    /// Bytes that may be under way beyond `acknowledge`.
    pub maximum: u32,
    /// Bytes that the receiver adds to each DATA on its way onward.
    pub padding: u32,
}

/// One frame. Extensions are boxed so that moving a frame stays cheap.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Opens a half.
    Begin(Pooled<BeginEx>),
    /// Payload.
    Data(Data),
    /// Orderly close of the half.
    End(Option<Pooled<EndEx>>),
    /// Disorderly close of the half, by its sender.
    Abort(Option<Box<AbortEx>>),
    /// Something said beside the payload.
    Flush(Box<FlushEx>),
    /// Refusal of the half, by its receiver.
    Reset(Option<Box<ResetEx>>),
    /// Credit.
    Window(Window),
    /// A question from the receiver to the sender.
    Challenge(Box<ChallengeEx>),
}

// A hop moves a frame through a queue: its size is the cost of the hop.
const _: () = assert!(size_of::<Frame>() <= 64);

impl Frame {
    /// What the frame is.
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Begin(_) => FrameKind::Begin,
            Self::Data(_) => FrameKind::Data,
            Self::End(_) => FrameKind::End,
            Self::Abort(_) => FrameKind::Abort,
            Self::Flush(_) => FrameKind::Flush,
            Self::Reset(_) => FrameKind::Reset,
            Self::Window(_) => FrameKind::Window,
            Self::Challenge(_) => FrameKind::Challenge,
        }
    }

    /// BEGIN with the protocol's extension.
    pub fn begin(extension: impl Into<BeginEx>) -> Self {
        Self::Begin(Pooled::new(extension.into()))
    }

    /// A whole message without an extension.
    pub const fn data(payload: Bytes) -> Self {
        Self::part(DataFlags::WHOLE, payload)
    }

    /// A part of a message without an extension.
    pub const fn part(flags: DataFlags, payload: Bytes) -> Self {
        Self::Data(Data::part(flags, payload))
    }

    /// A part of a message with an extension.
    pub fn data_with(flags: DataFlags, payload: Bytes, extension: impl Into<DataEx>) -> Self {
        Self::Data(Data {
            flags,
            payload,
            extension: Some(Pooled::new(extension.into())),
        })
    }

    /// END without an extension.
    pub const fn end() -> Self {
        Self::End(None)
    }

    /// END with an extension.
    pub fn end_with(extension: impl Into<EndEx>) -> Self {
        Self::End(Some(Pooled::new(extension.into())))
    }

    /// ABORT without an extension.
    pub const fn abort() -> Self {
        Self::Abort(None)
    }

    /// ABORT with an extension.
    pub fn abort_with(extension: impl Into<AbortEx>) -> Self {
        Self::Abort(Some(Box::new(extension.into())))
    }

    /// FLUSH.
    pub fn flush(extension: impl Into<FlushEx>) -> Self {
        Self::Flush(Box::new(extension.into()))
    }

    /// RESET without an extension.
    pub const fn reset() -> Self {
        Self::Reset(None)
    }

    /// RESET with an extension.
    pub fn reset_with(extension: impl Into<ResetEx>) -> Self {
        Self::Reset(Some(Box::new(extension.into())))
    }

    /// CHALLENGE.
    pub fn challenge(extension: impl Into<ChallengeEx>) -> Self {
        Self::Challenge(Box::new(extension.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_message_say_which_they_are() {
        let flags = |count: usize| -> Vec<DataFlags> {
            let parts = vec![Bytes::from_static(b"part"); count];
            Data::of_message(parts).map(|data| data.flags).collect()
        };
        assert_eq!(flags(0), []);
        assert_eq!(flags(1), [DataFlags::WHOLE]);
        let three = [DataFlags::INIT, DataFlags::MIDDLE, DataFlags::FIN];
        assert_eq!(flags(3), three);
    }
}
