//! Splits an input into lines, in bounded memory.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Capacity of a read buffer, in bytes.
const READ: usize = 64 * 1024;
/// Minimum space for a read, in bytes.
const READ_MIN: usize = 4 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line within the limit.
    Whole(Bytes),
    /// A skipped line that exceeds the limit; its length in bytes.
    Oversized(u64),
}

/// An input and the bytes read ahead.
pub(crate) struct Lines<R> {
    input: R,
    limit: usize,
    buffer: BytesMut,
    /// Length of the buffered prefix without a line end.
    searched: usize,
    /// Bytes of an oversized line that were skipped.
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

    /// Maximum length of a line, in bytes.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// The next non-empty line; `None` at the end of the input. A last line without a line end
    /// counts.
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
            // The optional carriage return does not count.
            if self.buffer.len() > self.limit.saturating_add(1) {
                let beyond = self.buffer.len() - 1;
                self.given_up += beyond as u64;
                self.buffer.advance(beyond);
            }
            self.searched = self.buffer.len();
            if self.ended {
                let rest = self.buffer.split();
                self.searched = 0;
                return Ok(self.finish(rest));
            }
            // Lines are slices of this block, which small lines share.
            if self.buffer.capacity() - self.buffer.len() < READ_MIN {
                self.buffer.reserve(READ);
            }
            self.ended = self.input.read_buf(&mut self.buffer).await? == 0;
        }
    }

    fn finish(&mut self, mut line: BytesMut) -> Option<Line> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        let length = self.given_up + line.len() as u64;
        if std::mem::take(&mut self.given_up) > 0 || line.len() > self.limit {
            return Some(Line::Oversized(length));
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
    async fn line_ends_are_removed_and_empty_lines_skipped() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            all(b"one\r\n\n  \ntwo\nthree", 100).await,
            [whole("one"), whole("two"), whole("three")]
        );
        assert_eq!(all(b"", 100).await, []);
    }

    #[tokio::test]
    async fn an_oversized_line_is_reported_and_the_next_one_is_read() {
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
        // With either line end.
        let whole = Line::Whole(Bytes::from_static(b"12345"));
        assert_eq!(all(b"12345\r\n", 5).await, [whole]);
        assert_eq!(all(b"123456\r\n", 5).await, [Line::Oversized(6)]);
    }

    #[tokio::test]
    async fn lines_do_not_depend_on_read_boundaries() {
        let (mut input, output) = tokio::io::duplex(1);
        let text = b"one\r\n\r\ntoo long a line\n12345\r\n123456\r\nlast\r";
        let mut lines = Lines::new(output, 5);
        let feed = async {
            tokio::io::AsyncWriteExt::write_all(&mut input, text)
                .await
                .expect("it is read");
            drop(input);
        };
        let mut found = Vec::new();
        let read = async {
            while let Some(line) = lines.next().await.expect("a pipe can be read") {
                found.push(line);
            }
        };
        tokio::join!(feed, read);
        assert_eq!(found, all(text, 5).await);
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        let oversized = Line::Oversized;
        assert_eq!(
            found,
            [
                whole("one"),
                oversized(15),
                whole("12345"),
                oversized(6),
                whole("last")
            ]
        );
    }

    #[tokio::test]
    async fn an_oversized_line_uses_bounded_memory() {
        let mut input = vec![b'x'; 10_000_000];
        input.extend_from_slice(b"\nafter\n");
        let mut lines = Lines::new(input.as_slice(), 1_000);
        assert_eq!(
            lines.next().await.expect("a slice"),
            Some(Line::Oversized(10_000_000))
        );
        let capacity = lines.buffer.capacity();
        assert!(capacity <= 2 * (1_000 + READ), "{capacity}");
    }

    #[tokio::test]
    async fn small_lines_share_their_memory() {
        let (mut input, output) = tokio::io::duplex(64);
        let mut lines = Lines::new(output, 1_000);
        let mut kept: Vec<Bytes> = Vec::new();
        for _ in 0..200 {
            let write = tokio::io::AsyncWriteExt::write_all(&mut input, b"a small line\n");
            write.await.expect("it is read");
            match lines.next().await.expect("a pipe can be read") {
                Some(Line::Whole(line)) => kept.push(line),
                other => panic!("no line but {other:?}"),
            }
        }
        let places: Vec<usize> = kept.iter().map(|it| it.as_ptr() as usize).collect();
        let blocks = places
            .windows(2)
            .filter(|two| two[1] != two[0] + 13)
            .count();
        assert!(blocks < 4, "{blocks} blocks for 3 kB");
    }
}
