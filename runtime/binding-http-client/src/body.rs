//! The body of a request: buffers that are sent as they are, and can be sent again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

/// The buffers of a body. Most bodies are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    parts: SmallVec<[Bytes; 1]>,
    /// Number of parts that were sent.
    sent: usize,
    /// Bytes that were not sent.
    length: usize,
}

impl Buffers {
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.length += part.len();
            self.parts.push(part);
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
        let next = self.sent;
        let part = self.parts.get_mut(next).map(std::mem::take);
        Poll::Ready(part.map(|part| {
            self.sent += 1;
            self.length -= part.len();
            Ok(Frame::data(part))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
