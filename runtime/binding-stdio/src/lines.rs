//! Cuts an input into lines, in bounded memory.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes asked of one read.
const READ: usize = 64 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line within the limit.
    Whole(Bytes),
    /// A line beyond it, which was given up; its length in bytes.
    Oversized(u64),
}

/// An input and what of it was read ahead.
pub(crate) struct Lines<R> {
    input: R,
    limit: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    /// Bytes of an oversized line that were given up already.
    given_up: u64,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(input: R, limit: usize) -> Self {
        let buffer = BytesMut::new();
        Self {
            input,
            limit,
            buffer,
            searched: 0,
            given_up: 0,
            ended: false,
        }
    }

    /// The longest line that is taken, in bytes.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// The next line that is not empty; `None` at the end of the input. A last line without an end
    /// is a line.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                if let Some(line) = self.finish(line) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.limit {
                self.given_up += self.buffer.len() as u64;
                self.buffer.clear();
                self.searched = 0;
            }
            if self.ended {
                let rest = self.buffer.split();
                self.searched = 0;
                return Ok(self.finish(rest));
            }
            self.buffer.reserve(READ);
            self.ended = self.input.read_buf(&mut self.buffer).await? == 0;
        }
    }

    fn finish(&mut self, mut line: BytesMut) -> Option<Line> {
        let length = self.given_up + line.len() as u64;
        if std::mem::take(&mut self.given_up) > 0 || line.len() > self.limit {
            return Some(Line::Oversized(length));
        }
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        let blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t'));
        (!blank).then(|| Line::Whole(line.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(input, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.expect("a slice can be read") {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn lines_come_without_their_ends_and_empty_ones_not_at_all() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            all(b"one\r\n\n  \ntwo\nthree", 100).await,
            [whole("one"), whole("two"), whole("three")]
        );
        assert_eq!(all(b"", 100).await, []);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_told_and_the_next_one_is_read() {
        let mut input = vec![b'x'; 1_000_000];
        input.extend_from_slice(b"\nafter\n");
        assert_eq!(
            all(&input, 10).await,
            [
                Line::Oversized(1_000_000),
                Line::Whole(Bytes::from_static(b"after"))
            ]
        );
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        assert_eq!(
            all(b"12345\n", 5).await,
            [Line::Whole(Bytes::from_static(b"12345"))]
        );
        assert_eq!(all(b"123456\n", 5).await, [Line::Oversized(6)]);
        assert_eq!(all(b"123456", 5).await, [Line::Oversized(6)]);
    }
}
