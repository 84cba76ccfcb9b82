//! Frames: the eight kinds of message that the two ends of a stream exchange.

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

    /// The half a frame of `kind` sent by this end travels on: its own half for frames with the
    /// flow, its peer's half for frames against it.
    pub const fn half(self, kind: FrameKind) -> Half {
        // Branchless, because this is evaluated twice per frame.
        let callee = matches!(self, Self::Callee);
        let against = matches!(kind.direction(), Direction::Against);
        if callee == against {
            Half::Initial
        } else {
            Half::Reply
        }
    }
}

/// A half-stream: one direction of a stream.
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

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Begins the half.
    Begin,
    /// Carries payload, subject to credit.
    Data,
    /// Ends the half in order.
    End,
    /// The sender ends the half early; the receiver discards what it received.
    Abort,
    /// A notice beside the payload, not subject to credit.
    Flush,
    /// The receiver ends the half early.
    Reset,
    /// The receiver grants credit.
    Window,
    /// The receiver asks the sender a question.
    Challenge,
}

impl FrameKind {
    /// Every kind, in documentation order.
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

    /// The word used in scripts and traces.
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

/// Position of a DATA frame within its message: both flags for a whole message, INIT for the first
/// part, FIN for the last, neither for a middle part.
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

    /// The flags of a part, given whether it is the first and whether it is the last.
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

/// Payload, subject to credit. The bytes are shared between bindings, not copied.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Position within the message.
    pub flags: DataFlags,
    /// The payload.
    pub payload: Bytes,
    /// Protocol-specific extension; only the INIT frame of a message needs one.
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

    /// Splits a message into DATA frames, in order. Yields nothing without parts.
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

/// Credit of a half: the sender may have sent up to `acknowledge + maximum` bytes. Each DATA counts
/// its payload plus `padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Bytes consumed by the receiver since the half began, including padding.
    pub acknowledge: u64,
    /// Bytes that may be in flight beyond `acknowledge`.
    pub maximum: u32,
    /// Bytes the receiver adds to each DATA when passing it on.
    pub padding: u32,
}

/// One frame. Extensions are boxed so that moving a frame stays cheap.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Begins a half.
    Begin(Pooled<BeginEx>),
    /// Payload.
    Data(Data),
    /// Ends the half in order.
    End(Option<Pooled<EndEx>>),
    /// Ends the half early, sent by its sender.
    Abort(Option<Box<AbortEx>>),
    /// A notice beside the payload.
    Flush(Box<FlushEx>),
    /// Ends the half early, sent by its receiver.
    Reset(Option<Box<ResetEx>>),
    /// Grants credit.
    Window(Window),
    /// A question from the receiver to the sender.
    Challenge(Box<ChallengeEx>),
}

// Frames are moved through the queue at each hop, so their size is the cost of a hop.
const _: () = assert!(size_of::<Frame>() <= 64);

impl Frame {
    /// The kind of the frame.
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

    /// BEGIN with a protocol extension.
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
    fn parts_of_a_message_carry_init_and_fin_flags() {
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
