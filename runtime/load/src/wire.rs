//! A minimal HTTP/1.1 client: one connection, prepared requests, complete responses.
//!
//! Written by hand to keep the cost of the driver low, since it shares the machine with the measured
//! server: a request is one write, and a response usually one read.

use std::io::{self, IoSlice};

use bytes::{Buf as _, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Size of a read.
const READ_SIZE: usize = 16 << 10;
/// Most header fields of a response.
const HEADERS_MAX: usize = 64;
/// Largest head of a response, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// Largest body of a response, in bytes.
const BODY_MAX: usize = 256 << 20;

/// An exchange failed.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// The connection failed.
    #[error("connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The server closed the connection.
    #[error("connection closed before the response was complete")]
    Closed,
    /// The response is not HTTP/1.1, or too large.
    #[error("invalid response: {0}")]
    Answer(&'static str),
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// `Mcp-Session-Id`, if present.
    pub(crate) session: Option<String>,
    /// Whether the connection can be reused.
    pub(crate) keeps: bool,
    framing: Framing,
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    input: BytesMut,
    /// The body of the last response.
    pub(crate) body: Vec<u8>,
    /// Whether the last response allows reuse of the connection.
    keeps: bool,
}

impl Connection {
    pub(crate) async fn connect(authority: &str) -> Result<Self, WireError> {
        let socket = TcpStream::connect(authority).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: BytesMut::with_capacity(READ_SIZE),
            body: Vec::new(),
            keeps: true,
        })
    }

    /// Whether the connection cannot be reused: the last response said so, the server closed it, or it sent
    /// data without a request, as servers do before closing. Needs no system call while nothing is readable.
    pub(crate) fn is_over(&self) -> bool {
        if !self.keeps {
            return true;
        }
        match self.socket.try_read(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Writes a request and reads the complete response; its body is in `body`.
    pub(crate) async fn exchange(&mut self, front: &[u8], tail: &[u8]) -> Result<Head, WireError> {
        self.send(front, tail).await?;
        let mut head = self.head().await?;
        self.body.clear();
        while !self.some(&mut head).await? {
            if self.body.len() > BODY_MAX {
                return Err(WireError::Answer("body too large"));
            }
        }
        head.keeps &= !matches!(head.framing, Framing::ToEnd);
        self.keeps = head.keeps;
        Ok(head)
    }

    /// Writes a request, with one system call if the socket accepts it.
    pub(crate) async fn send(&mut self, front: &[u8], tail: &[u8]) -> Result<(), WireError> {
        let (mut front, mut tail) = (front, tail);
        while !front.is_empty() && !tail.is_empty() {
            let slices = [IoSlice::new(front), IoSlice::new(tail)];
            let written = self.socket.write_vectored(&slices).await?;
            let of_front = written.min(front.len());
            front.advance(of_front);
            tail.advance(written - of_front);
        }
        self.socket.write_all(front).await?;
        Ok(self.socket.write_all(tail).await?)
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> Result<Head, WireError> {
        loop {
            if let Some((head, length)) = parse(&self.input)? {
                self.input.advance(length);
                // An interim response has no body and is followed by another one (RFC 9110, 15.2).
                if head.status >= 200 {
                    return Ok(head);
                }
                continue;
            }
            if self.input.len() > HEAD_MAX {
                return Err(WireError::Answer("head too large"));
            }
            self.read().await?;
        }
    }

    /// Reads more of the body; returns whether it is complete.
    pub(crate) async fn some(&mut self, head: &mut Head) -> Result<bool, WireError> {
        let before = self.body.len();
        loop {
            if head.framing.take(&mut self.input, &mut self.body)? {
                return Ok(true);
            }
            if self.body.len() > before {
                return Ok(false);
            }
            match self.read().await {
                Err(WireError::Closed) if matches!(head.framing, Framing::ToEnd) => {
                    return Ok(true);
                }
                other => other?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), WireError> {
        self.input.reserve(READ_SIZE);
        match self.socket.read_buf(&mut self.input).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }
}

/// Parses the head; returns it with its length, or `None` if it is incomplete.
fn parse(input: &[u8]) -> Result<Option<(Head, usize)>, WireError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(WireError::Answer("not HTTP/1.1")),
    };
    let status = answer.code.unwrap_or_default();
    let mut head = Head {
        status,
        session: None,
        keeps: answer.version == Some(1),
        framing: Framing::ToEnd,
    };
    if matches!(status, 100..=199 | 204 | 304) {
        head.framing = Framing::Length(0);
    }
    for field in answer.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = std::str::from_utf8(field.value).ok();
            let length = length.and_then(|length| length.trim().parse().ok());
            let length = length.ok_or(WireError::Answer("Content-Length is not a number"))?;
            head.framing = Framing::Length(length);
        } else if is("transfer-encoding") && has_word(field.value, b"chunked") {
            head.framing = Framing::Chunked(Chunk::Size);
        } else if is("connection") && has_word(field.value, b"close") {
            head.keeps = false;
        } else if is("mcp-session-id") {
            head.session = String::from_utf8(field.value.to_vec()).ok();
        }
    }
    Ok(Some((head, length)))
}

fn has_word(value: &[u8], word: &[u8]) -> bool {
    let mut words = value.split(|byte| *byte == b',');
    words.any(|each| each.trim_ascii().eq_ignore_ascii_case(word))
}

/// The framing of a body, and the remaining bytes.
#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked(Chunk),
    ToEnd,
}

/// Position in a chunked body (RFC 9112, 7.1).
#[derive(Debug)]
enum Chunk {
    Size,
    Data(u64),
    Behind,
    Trailer,
}

impl Framing {
    /// Moves available bytes of the body from `input` to `out`; returns whether the body is complete.
    fn take(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool, WireError> {
        match self {
            Self::Length(left) => {
                *left -= some(*left, input, out);
                Ok(*left == 0)
            }
            Self::ToEnd => {
                some(u64::MAX, input, out);
                Ok(false)
            }
            Self::Chunked(chunk) => chunk.take(input, out),
        }
    }
}

/// Moves up to `limit` bytes; returns their number.
fn some(limit: u64, input: &mut BytesMut, out: &mut Vec<u8>) -> u64 {
    let count = usize::try_from(limit).map_or(input.len(), |limit| limit.min(input.len()));
    out.extend_from_slice(input.get(..count).unwrap_or_default());
    input.advance(count);
    count as u64
}

impl Chunk {
    fn take(&mut self, input: &mut BytesMut, out: &mut Vec<u8>) -> Result<bool, WireError> {
        loop {
            if let Self::Data(left) = self {
                *left -= some(*left, input, out);
                if *left > 0 {
                    return Ok(false);
                }
                *self = Self::Behind;
            }
            let Some(end) = memchr::memchr(b'\n', input) else {
                if input.len() > HEAD_MAX {
                    return Err(WireError::Answer("chunk header too long"));
                }
                return Ok(false);
            };
            let line = input.split_to(end + 1);
            let line = line.trim_ascii();
            *self = match self {
                Self::Size => {
                    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(digits.trim_ascii()).ok();
                    let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
                    match size.ok_or(WireError::Answer("chunk without a size"))? {
                        0 => Self::Trailer,
                        size => Self::Data(size),
                    }
                }
                Self::Trailer if line.is_empty() => return Ok(true),
                Self::Trailer => Self::Trailer,
                Self::Behind if line.is_empty() => Self::Size,
                Self::Behind | Self::Data(_) => {
                    return Err(WireError::Answer("missing line end after a chunk"));
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of an answer that arrives in pieces of `size` bytes.
    async fn answered(answer: &'static str, size: usize) -> Result<(Head, String), WireError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 6];
            socket.read_exact(&mut request).await.expect("a request");
            assert_eq!(&request, b"abcdef");
            for piece in answer.as_bytes().chunks(size) {
                socket.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
        });
        let mut connection = Connection::connect(&authority).await.expect("connected");
        let head = connection.exchange(b"abc", b"def").await;
        server.await.expect("served");
        Ok((head?, String::from_utf8(connection.body).expect("text")))
    }

    #[tokio::test]
    async fn bodies_end_where_their_framing_says() {
        for size in [1, 2, 7, 1_000] {
            for (answer, keeps) in [
                ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
                (
                    "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello",
                    false,
                ),
                (
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
                    true,
                ),
                (
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                    true,
                ),
                ("HTTP/1.1 200 OK\r\n\r\nhello", false),
                ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
            ] {
                let (head, body) = answered(answer, size).await.expect(answer);
                assert_eq!(
                    (head.status, body.as_str(), head.keeps),
                    (200, "hello", keeps),
                    "{answer}"
                );
            }
        }
        let (head, body) = answered("HTTP/1.1 204 No\r\nMcp-Session-Id: a\r\n\r\n", 9)
            .await
            .expect("an answer");
        assert_eq!(
            (head.status, body.as_str(), head.session.as_deref()),
            (204, "", Some("a"))
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "SIP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        ] {
            assert!(answered(answer, 100).await.is_err(), "{answer}");
        }
    }
}
