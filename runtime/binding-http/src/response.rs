//! A response body in the form that hyper needs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::activity::ActiveRequest;
use crate::exchange::Piece;
use crate::request::AbortOnDrop;

/// A body, and the request it answers, until it is written.
pub(crate) struct ResponseBody {
    content: Content,
    active: ActiveRequest,
}

/// A text of the edge, or data from the stream.
enum Content {
    Text(Option<Bytes>),
    Stream {
        running: AbortOnDrop,
        left: Option<u64>,
    },
}

/// Largest part of a piece that is given to h2 at a time: it buffers what the client has no window for.
const PART_MAX: usize = 16 * 1024;

impl ResponseBody {
    pub(crate) const fn of_text(sentence: &'static str, active: ActiveRequest) -> Self {
        Self::of_bytes(Bytes::from_static(sentence.as_bytes()), active)
    }

    pub(crate) const fn of_bytes(bytes: Bytes, active: ActiveRequest) -> Self {
        Self {
            content: Content::Text(Some(bytes)),
            active,
        }
    }

    pub(crate) const fn empty(active: ActiveRequest) -> Self {
        Self {
            content: Content::Text(None),
            active,
        }
    }

    /// Drops the content: a response to HEAD has none.
    pub(crate) fn without_content(self) -> Self {
        Self::empty(self.active)
    }

    /// `length` is exact if it is known.
    pub(crate) const fn of_stream(
        running: AbortOnDrop,
        length: Option<u64>,
        active: ActiveRequest,
    ) -> Self {
        Self {
            content: Content::Stream {
                running,
                left: length,
            },
            active,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        let part_max = match body.active.place() {
            Some(_) => PART_MAX,
            None => usize::MAX,
        };
        match &mut body.content {
            Content::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Stream { running, left } => match running.exchange.poll_body(task, part_max) {
                Poll::Ready(Piece::Data(data)) => {
                    running.acknowledge(data.len());
                    if let Some(left) = left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Poll::Ready(Piece::End) => Poll::Ready(None),
                Poll::Ready(Piece::Aborted) => {
                    Poll::Ready(Some(Err(io::Error::other("response aborted"))))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Stream { running, .. } => running.exchange.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Content::Stream { left, .. } => {
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
