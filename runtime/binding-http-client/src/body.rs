//! The body of a request: buffers that are sent as they are, and can be sent again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The buffers of a body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    parts: VecDeque<Bytes>,
    length: usize,
}

impl Buffers {
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.length += part.len();
            self.parts.push_back(part);
        }
    }

    /// Length in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.length
    }
}

impl From<Bytes> for Buffers {
    fn from(bytes: Bytes) -> Self {
        let mut buffers = Self::default();
        buffers.push(bytes);
        buffers
    }
}

impl Body for Buffers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.parts.pop_front();
        Poll::Ready(next.map(|part| {
            self.length -= part.len();
            Ok(Frame::data(part))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
