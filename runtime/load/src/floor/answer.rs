//! Response bodies of prepared parts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body of parts, written without copies.
#[derive(Debug)]
pub(super) struct Answer {
    first: Bytes,
    rest: VecDeque<Bytes>,
}

impl From<&'static [u8]> for Answer {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Bytes> for Answer {
    fn from(first: Bytes) -> Self {
        let rest = VecDeque::new();
        Self { first, rest }
    }
}

impl Answer {
    /// Creates a body of parts, none of which may be empty.
    pub(super) const fn parts(rest: VecDeque<Bytes>) -> Self {
        let first = Bytes::new();
        Self { first, rest }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.first.is_empty() {
            return self.rest.pop_front();
        }
        Some(std::mem::take(&mut self.first))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let rest: usize = self.rest.iter().map(Bytes::len).sum();
        SizeHint::with_exact((self.first.len() + rest) as u64)
    }
}
