//! A small MCP server over HTTP (revision 2026-07-28) with the tools of one toolkit: each request stands
//! alone, and is answered with JSON.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::journal::{Event, Journal};
use super::kitchen::{Kitchen, Tool};

/// Largest request, in bytes.
const REQUEST_MAX: usize = 64 << 10;
const REVISION: &str = "2026-07-28";
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;

/// A server of tools.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) tools: &'static [Tool],
    pub(super) kitchen: Arc<Kitchen>,
    pub(super) journal: Journal,
}

/// An error of JSON-RPC.
type Refused = (i64, String);

impl Server {
    pub(super) async fn run(&self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            tokio::spawn(self.clone().serve(socket));
        }
    }

    async fn serve(self, socket: TcpStream) {
        let service = service_fn(|request| self.handle(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), service);
        // Errors of a connection end it.
        let _ = connection.await;
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.method() != Method::POST {
            return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
        }
        let body = Limited::new(request.into_body(), REQUEST_MAX).collect();
        let Ok(body) = body.await else {
            return Ok(status(StatusCode::PAYLOAD_TOO_LARGE));
        };
        let Ok(message) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        let Some(id) = message.get("id") else {
            return Ok(status(StatusCode::ACCEPTED));
        };
        let method = message.get("method").and_then(Value::as_str);
        let params = message.get("params").unwrap_or(&Value::Null);
        let mut answer = json!({ "jsonrpc": "2.0", "id": id });
        let (member, value) = match self.answer(method.unwrap_or_default(), params).await {
            Ok(result) => ("result", result),
            Err((code, message)) => ("error", json!({ "code": code, "message": message })),
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert(member.to_owned(), value);
        }
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Ok(response)
    }

    async fn answer(&self, method: &str, params: &Value) -> Result<Value, Refused> {
        match method {
            "server/discover" => Ok(json!({
                "resultType": "complete",
                "supportedVersions": [REVISION],
                "capabilities": { "tools": {} },
                "ttlMs": 60_000,
                "cacheScope": "public",
                "_meta": { "io.modelcontextprotocol/serverInfo": {
                    "name": self.name,
                    "version": env!("CARGO_PKG_VERSION"),
                } },
            })),
            "tools/list" => Ok(json!({
                "resultType": "complete",
                "tools": self.tools.iter().map(described).collect::<Vec<_>>(),
                "ttlMs": 60_000,
                "cacheScope": "public",
            })),
            "tools/call" => self.call(params).await,
            _ => Err((METHOD_NOT_FOUND, format!("Method not found: '{method}'"))),
        }
    }

    async fn call(&self, params: &Value) -> Result<Value, Refused> {
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let tool = self.tools.iter().find(|tool| tool.name == name);
        let tool = tool.ok_or_else(|| (INVALID_PARAMS, format!("Unknown tool '{name}'.")))?;
        let argument = params.get("arguments").and_then(|it| it.get(tool.argument));
        let argument = argument.and_then(Value::as_str);
        let argument = argument.ok_or_else(|| {
            let message = format!("'{}' must be a string.", tool.argument);
            (INVALID_PARAMS, message)
        })?;
        tokio::time::sleep(tool.takes).await;
        let answer = tool.answer(&self.kitchen, argument);
        let text = match &answer {
            Some(answer) => answer.text.clone(),
            None => format!("'{argument}' is unknown."),
        };
        let event = Event::Called {
            tool: tool.name,
            argument: argument.to_owned(),
            answer: text.clone(),
        };
        self.journal.add(self.name, event);
        let content = json!([{ "type": "text", "text": text }]);
        Ok(match answer {
            Some(answer) => json!({
                "resultType": "complete",
                "content": content,
                "structuredContent": answer.structured,
            }),
            None => json!({ "resultType": "complete", "content": content, "isError": true }),
        })
    }
}

fn described(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "description": tool.description,
        "inputSchema": {
            "type": "object",
            "properties": { tool.argument: { "type": "string" } },
            "required": [tool.argument],
        },
    })
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
