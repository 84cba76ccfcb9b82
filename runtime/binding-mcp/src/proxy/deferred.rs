//! An operation whose toolkit is not known yet: it depends on the params, or on a toolkit's list.
//!
//! The caller's frames are kept until it is known. They are not acknowledged, so that there are no more
//! than the initial credit permits.

use smallvec::SmallVec;
use tidegate_engine::StreamId;
use tidegate_json::{Gather, Parts};
use tidegate_streams::Frame;
use tidegate_streams::mcp::McpBeginEx;

/// An operation that waits.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) accepted: StreamId,
    pub(super) begin: McpBeginEx,
    /// The caller's frames.
    pub(super) frames: Vec<Frame>,
    /// The requests for lists that it waits for; without one, it waits for its params.
    pub(super) fetches: SmallVec<[usize; 2]>,
}

/// What a caller's frame means for an operation that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// The params are complete.
    Complete,
    Cancelled,
}

impl Deferred {
    pub(super) fn new(
        accepted: StreamId,
        begin: McpBeginEx,
        fetches: SmallVec<[usize; 2]>,
    ) -> Self {
        Self {
            accepted,
            begin,
            frames: Vec::new(),
            fetches,
        }
    }

    /// Keeps a frame of the caller.
    pub(super) fn on_caller_frame(&mut self, frame: Frame) -> Step {
        let step = match &frame {
            Frame::Abort(_) | Frame::Reset(_) => return Step::Cancelled,
            Frame::Data(data) if data.flags.is_fin() => Step::Complete,
            Frame::End(_) => Step::Complete,
            Frame::Data(_) | Frame::Flush(_) => Step::Wait,
            // Credit is known to the engine.
            _ => return Step::Wait,
        };
        self.frames.push(frame);
        step
    }

    /// Takes the params out of the frames.
    pub(super) fn params(&mut self) -> Parts {
        let mut params = Gather::new();
        self.frames.retain_mut(|frame| match frame {
            Frame::Data(data) => {
                params.push(std::mem::take(&mut data.payload));
                false
            }
            _ => true,
        });
        params.take()
    }
}
