//! The upstream: an MCP server that does nothing, behind which a gateway shows its own cost.
//!
//! A bare hyper handler of one thread, of the legacy era: it begins sessions that it does not remember, answers
//! each call of a tool with a prepared text, and each list of tools with a prepared list. It is the baseline of
//! the operations `proxy` and `list`.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::task::spawn_local;

use crate::LoadError;
use crate::child::end_of_input;
use crate::plan::PAYLOAD_MAX;

/// The tool that is called.
pub(crate) const TOOL: &str = "echo";
/// The last one of a list of a hundred.
pub(crate) const LAST_TOOL: &str = "echo_99";
/// Header with the id of a session.
const SESSION: &str = "mcp-session-id";
/// Largest request, in bytes.
const REQUEST_MAX: usize = PAYLOAD_MAX + (64 << 10);

/// Settings of the upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Listen address; port 0 for a free port.
    pub listen: SocketAddr,
    /// The text that a call is answered with.
    pub payload: String,
    /// Number of tools.
    pub tools: usize,
}

/// Runs the upstream until the end of standard input; calls `listening` with its address.
///
/// # Errors
///
/// The address cannot be listened on.
pub fn run_upstream(
    upstream: &Upstream,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let answers = Rc::new(Answers::new(upstream));
    runtime.block_on(async {
        let listener = TcpListener::bind(upstream.listen).await?;
        listening(listener.local_addr()?);
        tokio::select! {
            ended = accept(&listener, &answers) => ended?,
            () = end_of_input() => {}
        }
        Ok(())
    })
}

async fn accept(listener: &TcpListener, answers: &Rc<Answers>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        spawn_local(serve(socket, Rc::clone(answers)));
    }
}

async fn serve(socket: TcpStream, answers: Rc<Answers>) {
    let service = service_fn(|request| handle(request, &answers));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // Errors of a connection end it.
    let _ = connection.await;
}

async fn handle(
    request: Request<Incoming>,
    answers: &Answers,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let body = Limited::new(request.into_body(), REQUEST_MAX)
        .collect()
        .await;
    Ok(match (method, body) {
        (Method::POST, Ok(body)) => answers.to(&body.to_bytes()),
        (Method::POST, Err(_)) => status(StatusCode::PAYLOAD_TOO_LARGE),
        (Method::DELETE, _) => status(StatusCode::OK),
        // There is no stream of events.
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    })
}

/// What of a message is read.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Option<AskedParams>,
}

#[derive(Deserialize)]
struct AskedParams {
    #[serde(default, rename = "protocolVersion")]
    version: Option<String>,
}

/// The prepared answers.
struct Answers {
    called: String,
    listed: String,
    sessions: Cell<u64>,
}

impl Answers {
    fn new(upstream: &Upstream) -> Self {
        let called = json!({ "content": [{ "type": "text", "text": upstream.payload }] });
        Self {
            called: called.to_string(),
            listed: list(upstream.tools),
            sessions: Cell::new(0),
        }
    }

    fn to(&self, message: &[u8]) -> Response<Full<Bytes>> {
        let Ok(asked) = serde_json::from_slice::<Asked>(message) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let Some(id) = asked.id else {
            return status(StatusCode::ACCEPTED);
        };
        match asked.method.as_str() {
            "tools/call" => result(&id, &self.called),
            "tools/list" => result(&id, &self.listed),
            "initialize" => {
                let version = asked.params.and_then(|params| params.version);
                self.begin_session(&id, version.as_deref().unwrap_or(LEGACY))
            }
            "ping" => result(&id, "{}"),
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                message_with(&id, "error", &error.to_string())
            }
        }
    }

    fn begin_session(&self, id: &Value, version: &str) -> Response<Full<Bytes>> {
        let session = self.sessions.get() + 1;
        self.sessions.set(session);
        let begun = json!({
            "protocolVersion": version,
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": env!("CARGO_PKG_VERSION") },
        });
        let mut response = result(id, &begun.to_string());
        response
            .headers_mut()
            .insert(SESSION, HeaderValue::from(session));
        response
    }
}

/// The revision of a client that names none.
pub(crate) const LEGACY: &str = "2025-11-25";

/// The result of a list of tools, each with a description and a schema as tools have them.
fn list(tools: usize) -> String {
    let mut out = String::from("{\"tools\":[");
    for number in 0..tools.max(1) {
        let name = match number {
            0 => TOOL.to_owned(),
            _ => format!("{TOOL}_{number}"),
        };
        let tool = json!({
            "name": name,
            "description": "Answers with a text. It has no effect, and its answer does not depend on its arguments.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "text": { "type": "string", "description": "Any text." },
                    "count": { "type": "integer", "minimum": 0, "description": "Any number." },
                },
                "required": ["text"],
            },
        });
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{tool}");
    }
    out.push_str("]}");
    out
}

fn result(id: &Value, result: &str) -> Response<Full<Bytes>> {
    message_with(id, "result", result)
}

fn message_with(id: &Value, member: &str, value: &str) -> Response<Full<Bytes>> {
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#);
    let mut response = Response::new(Full::new(message.into()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(message: &str) -> (StatusCode, Option<String>, Value) {
        let upstream = Upstream {
            listen: "127.0.0.1:0".parse().expect("an address"),
            payload: "a \"b\"".to_owned(),
            tools: 3,
        };
        let response = Answers::new(&upstream).to(message.as_bytes());
        let (head, body) = response.into_parts();
        let session = head.headers.get(SESSION);
        let session = session.map(|id| id.to_str().expect("text").to_owned());
        let body = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (head.status, session, body)
    }

    #[tokio::test]
    async fn calls_and_lists_are_answered_with_the_id_of_their_request() {
        let call = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo"}}"#;
        let (status, session, body) = asked(call).await;
        assert_eq!(
            (status, session, &body["id"]),
            (StatusCode::OK, None, &json!("x"))
        );
        assert_eq!(body["result"]["content"][0]["text"], "a \"b\"");
        let (_, _, body) = asked(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#).await;
        let tools = body["result"]["tools"].as_array().expect("tools");
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, [Some("echo"), Some("echo_1"), Some("echo_2")]);
        assert_eq!(body["id"], 7);
    }

    #[tokio::test]
    async fn it_is_a_server_of_the_legacy_era() {
        let begin = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
        let (_, session, body) = asked(begin).await;
        assert_eq!(session.as_deref(), Some("1"));
        assert_eq!(body["result"]["protocolVersion"], "2025-06-18");
        let (_, _, body) = asked(r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#).await;
        assert_eq!(body["error"]["code"], -32601);
        let (status, ..) = asked(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(asked("{").await.0, StatusCode::BAD_REQUEST);
    }
}
