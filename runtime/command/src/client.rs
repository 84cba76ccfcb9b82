//! A minimal MCP client over HTTP (revision 2026-07-28), used by the demo and by live scenarios. It
//! uses a real socket, with one request at a time.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpStream;

const REVISION: &str = "2026-07-28";

/// A request failed.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// The connection failed.
    #[error("connection to {0} failed: {1}")]
    Connection(SocketAddr, String),
    /// The response is not a valid MCP message.
    #[error("invalid MCP response to {0}: {1}")]
    Answer(String, String),
    /// The server returned a JSON-RPC error.
    #[error("{method} failed: {message}")]
    Refused {
        /// Method of the request.
        method: String,
        /// Message of the error.
        message: String,
    },
}

/// One connection to an MCP endpoint.
pub(crate) struct Client {
    endpoint: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    next_id: u64,
}

impl Client {
    /// Connects to `http://{endpoint}/mcp`.
    pub(crate) async fn connect(endpoint: SocketAddr) -> Result<Self, ClientError> {
        let failed =
            |error: &dyn std::error::Error| ClientError::Connection(endpoint, error.to_string());
        let socket = TcpStream::connect(endpoint)
            .await
            .map_err(|error| failed(&error))?;
        socket.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| failed(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the MCP endpoint closed");
            }
        });
        Ok(Self {
            endpoint,
            sender,
            next_id: 0,
        })
    }

    /// Sends a request and returns its result.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        params: Value,
    ) -> Result<Value, ClientError> {
        let response = self.send(method, params).await?;
        let unreadable = |what: String| ClientError::Answer(method.to_owned(), what);
        let body = response.into_body().collect().await;
        let body = body
            .map_err(|error| unreadable(error.to_string()))?
            .to_bytes();
        let mut answer: Value =
            serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
        if let Some(message) = answer.pointer("/error/message") {
            return Err(ClientError::Refused {
                method: method.to_owned(),
                message: message.as_str().unwrap_or_default().to_owned(),
            });
        }
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    /// Subscribes to resources; [`Events`] yields the notifications.
    pub(crate) async fn listen(mut self, uris: &[&str]) -> Result<Events, ClientError> {
        let params = json!({ "notifications": { "resourceSubscriptions": uris } });
        let response = self.send("subscriptions/listen", params).await?;
        Ok(Events {
            _connection: self,
            body: response.into_body(),
            buffer: Vec::new(),
        })
    }

    async fn send(
        &mut self,
        method: &str,
        mut params: Value,
    ) -> Result<Response<Incoming>, ClientError> {
        self.next_id += 1;
        if let Some(params) = params.as_object_mut() {
            params.insert("_meta".to_owned(), meta());
        }
        let mut request = Request::post("/mcp")
            .header("host", self.endpoint.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        if let Some(name) = params
            .get("name")
            .or_else(|| params.get("uri"))
            .and_then(Value::as_str)
        {
            request = request.header("mcp-name", name);
        }
        let body =
            json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params });
        let failed = |error: String| ClientError::Connection(self.endpoint, error);
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| failed(error.to_string()))?;
        self.sender
            .ready()
            .await
            .map_err(|error| failed(error.to_string()))?;
        self.sender
            .send_request(request)
            .await
            .map_err(|error| failed(error.to_string()))
    }
}

/// The `_meta` that each request of revision 2026-07-28 must have.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {
            "name": "tidegate demo",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The notifications of a subscription, as server-sent events.
pub(crate) struct Events {
    _connection: Client,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// The next notification; `None` when the server has ended the subscription.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data:")
                    && let Ok(message) = serde_json::from_slice(data)
                {
                    return Some(message);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
