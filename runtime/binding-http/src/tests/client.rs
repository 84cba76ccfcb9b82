//! A raw HTTP client: writes any bytes and reads responses as they arrive.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;

pub(super) struct Client<S = TcpStream> {
    pub(super) socket: S,
    read: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Status line and headers, in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let socket = in_time("a connection", TcpStream::connect(address)).await;
        Self::over(socket.expect("the server listens"))
    }

    /// A client with a small receive buffer.
    pub(super) async fn with_small_buffer(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_recv_buffer_size(16 * 1024)
            .expect("a small buffer");
        Self::over(socket.connect(address).await.expect("it listens"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) const fn over(socket: S) -> Self {
        let read = Vec::new();
        Self { socket, read }
    }

    /// Writes bytes; a closed connection is ignored.
    pub(super) async fn send(&mut self, what: impl AsRef<[u8]>) {
        let _ = in_time("writing", self.socket.write_all(what.as_ref())).await;
    }

    pub(super) async fn post(&mut self, body: &str) {
        let length = body.len();
        self.send(format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// A request without a body.
    pub(super) async fn ask(&mut self, method: &str, target: &str) {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
    }

    /// Status and head of the next response.
    pub(super) async fn head(&mut self) -> Response {
        let head = self.until(b"\r\n\r\n").await.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Response {
            status: status.unwrap_or_else(|| panic!("no status in {head}")),
            head,
            body: String::new(),
        }
    }

    /// The next response, with a body of known length.
    pub(super) async fn response(&mut self) -> Response {
        let mut response = self.head().await;
        response.body = self.body_of(&response).await;
        response
    }

    /// The body of known length after a head.
    pub(super) async fn body_of(&mut self, head: &Response) -> String {
        let length = head.head.split("content-length: ").nth(1);
        let length = length.and_then(|it| it.split("\r\n").next()?.parse().ok());
        let body = self.exactly(length.unwrap_or(0)).await;
        String::from_utf8(body).expect("a text")
    }

    /// The next chunk of a body.
    pub(super) async fn chunk(&mut self) -> String {
        let length = self.until(b"\r\n").await;
        let length = usize::from_str_radix(length.trim(), 16).expect("a chunk's length");
        let chunk = self.exactly(length + 2).await;
        String::from_utf8_lossy(&chunk[..length]).into_owned()
    }

    /// Everything until the server closes.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        // A reset also ends the response.
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    pub(super) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended early");
        }
        self.read.drain(..length).collect()
    }

    async fn until(&mut self, mark: &[u8]) -> String {
        loop {
            let at = self.read.windows(mark.len()).position(|it| it == mark);
            if let Some(at) = at {
                let text = self.read.drain(..at + mark.len()).collect();
                return String::from_utf8(text).expect("a text");
            }
            assert!(self.more().await, "the connection ended early");
        }
    }

    async fn more(&mut self) -> bool {
        let read = self.socket.read_buf(&mut self.read);
        in_time("an answer", read).await.is_ok_and(|read| read > 0)
    }
}
