//! A minimal blocking MCP client over HTTP with read timeouts.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::process::TIMEOUT;

/// One connection to the endpoint.
pub(crate) struct Client {
    address: SocketAddr,
    socket: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            address,
            socket: BufReader::new(socket),
        })
    }

    /// Calls `tools/list`, which needs no broker.
    pub(crate) fn tools(&mut self) -> Value {
        self.send("tools/list", "", json!({}));
        self.answer()["result"]["tools"].clone()
    }

    /// Publishes a message; returns the text of the result.
    pub(crate) fn publish(&mut self) -> String {
        self.send_publish();
        self.answer()["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Publishes to a topic; returns the whole answer.
    pub(crate) fn publish_to(&mut self, topic: &str, payload: &str) -> Value {
        self.send_publish_to(topic, payload);
        self.answer()
    }

    pub(crate) fn send_publish(&mut self) {
        self.send_publish_to("a/b", "on");
    }

    fn send_publish_to(&mut self, topic: &str, payload: &str) {
        let arguments = json!({ "topic": topic, "payload": payload, "qos": 1 });
        let params = json!({ "name": "publish", "arguments": arguments });
        self.send("tools/call", "publish", params);
    }

    fn send(&mut self, method: &str, name: &str, mut params: Value) {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "process", "version": "7" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = body.to_string();
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("mcp-name: {name}\r\n")
        };
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
             mcp-method: {method}\r\n{name}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.write(request.as_bytes()).expect("it is written");
    }

    /// Writes raw bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Reads until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.socket.read_to_end(&mut all)?;
        Ok(all)
    }

    fn answer(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            let read = self.socket.read_line(&mut line);
            let read = read.unwrap_or_else(|error| panic!("no answer: {error}"));
            assert!(read > 0, "the connection is closed instead of an answer");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).expect("the body");
        serde_json::from_slice(&body).expect("a JSON body")
    }
}
