//! One caller of a target: repeats the same call and waits for each response.
//!
//! A caller keeps its connection between its turns. A server may close an idle connection or end a
//! session; neither is a failure if a new one can be opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::device::{Device, Devices};
use crate::message::{Check, FIRST_ID, Message, Ready, shown};
use crate::stdio::Pipe;
use crate::targets::{MODERN, Url};
use crate::wire::Connection;

/// Longest duration of a call.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a target is reached.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// Over HTTP: a connection for each caller, and a session where the revision has them.
    Http {
        /// URL of the endpoint.
        url: Url,
        /// Headers of each request.
        headers: Arc<BTreeMap<String, String>>,
        /// MCP protocol version.
        version: String,
    },
    /// Over standard input and output, shared by all callers.
    Stdio(Arc<Pipe>),
    /// Over a broker: each caller is a device.
    Devices(Arc<Devices>),
}

/// The call of all callers, and the check of its response.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) message: Message,
    pub(crate) check: Check,
}

/// A caller: connection, session, and the request ready to be sent.
#[derive(Debug)]
pub(crate) struct Caller {
    endpoint: Endpoint,
    call: Call,
    ready: Ready,
    check: Check,
    connection: Option<Connection>,
    /// Used by legacy versions.
    session: Session,
    next_id: u64,
    device: Option<Device>,
}

/// The legacy session, with its id if the server assigned one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Session {
    None,
    Open(Option<String>),
}

impl Caller {
    /// A caller that connects at its first call.
    pub(crate) fn new(endpoint: &Endpoint, call: &Call) -> Self {
        let ready = match endpoint {
            Endpoint::Http { url, headers, .. } => call.message.post(url, headers, None),
            Endpoint::Stdio(_) | Endpoint::Devices(_) => call.message.line(),
        };
        Self {
            endpoint: endpoint.clone(),
            call: call.clone(),
            ready,
            check: call.check.clone(),
            connection: None,
            session: Session::None,
            next_id: FIRST_ID,
            device: match endpoint {
                Endpoint::Devices(all) => Some(Device::new(all)),
                _ => None,
            },
        }
    }

    /// Makes one call; errors are messages for the report.
    pub(crate) async fn call(&mut self) -> Result<(), String> {
        let outcome = match timeout(CALL_TIMEOUT, self.attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no response within {CALL_TIMEOUT:?}")),
        };
        if outcome.is_err() {
            // The rest of this response must not be read as the next one.
            self.connection = None;
            self.session = Session::None;
            if let Endpoint::Devices(all) = &self.endpoint {
                self.device = Some(Device::new(all));
            }
        }
        outcome
    }

    /// Prepares a turn before it is timed: reopens a closed connection. Errors are ignored here, since the
    /// first call reports them.
    pub(crate) async fn prepare(&mut self) {
        // Let the runtime process the events of the socket.
        tokio::task::yield_now().await;
        let _ = timeout(CALL_TIMEOUT, self.connect()).await;
    }

    async fn attempt(&mut self) -> Result<(), String> {
        if let Endpoint::Stdio(pipe) = &self.endpoint {
            return pipe.call(&mut self.ready, &self.check).await;
        }
        if let Some(device) = &mut self.device {
            return device.call().await;
        }
        let mut status = self.exchange().await?;
        // The session has expired: begin a new one.
        if status == 404 && matches!(self.session, Session::Open(Some(_))) {
            self.session = Session::None;
            status = self.exchange().await?;
        }
        let body = self.connection.as_ref().map(|held| held.body.as_slice());
        let body = body.unwrap_or_default();
        if status != 200 {
            return Err(format!("HTTP status {status}: {}", shown(body)));
        }
        self.check.answer(body)
    }

    /// Sends the request and reads the response.
    async fn exchange(&mut self) -> Result<u16, String> {
        self.connect().await?;
        let Some(connection) = &mut self.connection else {
            return Err("no connection".to_owned());
        };
        self.next_id += 1;
        self.ready.number(self.next_id);
        let head = connection
            .exchange(&self.ready.front, &self.ready.tail)
            .await;
        let head = head.map_err(|error| error.to_string())?;
        Ok(head.status)
    }

    /// Connects and opens a legacy session, unless already done.
    async fn connect(&mut self) -> Result<(), String> {
        if let Some(device) = &mut self.device {
            return device.connect().await.map(|_| ());
        }
        let Endpoint::Http {
            url,
            headers,
            version,
        } = &self.endpoint
        else {
            return Ok(());
        };
        let describe = |error: &dyn std::error::Error| format!("{url}: {error}");
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_over() => connection,
            none => {
                let connected = Connection::connect(&url.authority).await;
                none.insert(connected.map_err(|error| describe(&error))?)
            }
        };
        if version == MODERN || self.session != Session::None {
            return Ok(());
        }
        let mut session: Option<String> = None;
        for message in [Message::initialize(version), Message::initialized(version)] {
            if connection.is_over() {
                let connected = Connection::connect(&url.authority).await;
                *connection = connected.map_err(|error| describe(&error))?;
            }
            let ready = message.post(url, headers, session.as_deref());
            let answer = connection.exchange(&ready.front, &ready.tail).await;
            let head = answer.map_err(|error| describe(&error))?;
            if !matches!(head.status, 200 | 202 | 204) {
                let body = shown(&connection.body);
                return Err(format!(
                    "cannot open a session: HTTP status {}: {body}",
                    head.status
                ));
            }
            session = head.session.or(session);
        }
        if connection.is_over() {
            let connected = Connection::connect(&url.authority).await;
            *connection = connected.map_err(|error| describe(&error))?;
        }
        self.ready = self.call.message.post(url, headers, session.as_deref());
        self.session = Session::Open(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    const LEGACY: &str = "2025-06-18";
    const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
    const GREETED: &str =
        "HTTP/1.1 200 OK\r\nMcp-Session-Id: s\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
    const NOTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    const FORGOTTEN: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

    /// A server that sends these responses, connection by connection, and closes each connection after its
    /// last one; returns the requests.
    async fn server(
        connections: &'static [&'static [&'static str]],
        version: &str,
    ) -> (Caller, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answers in connections {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                for answer in *answers {
                    let mut request = vec![0; 4_096];
                    let length = socket.read(&mut request).await.expect("a request");
                    request.truncate(length);
                    asked.push(String::from_utf8(request).expect("text"));
                    socket.write_all(answer.as_bytes()).await.expect("written");
                }
            }
            asked
        });
        let endpoint = Endpoint::Http {
            url: url.parse().expect("a URL"),
            headers: Arc::default(),
            version: version.to_owned(),
        };
        let call = Call {
            message: Message::request(version, "tools/call", json!({ "name": "a" })),
            check: Check::new(None),
        };
        (Caller::new(&endpoint, &call), asked)
    }

    /// Waits until the close of the connection has arrived.
    async fn closed(caller: &Caller) {
        while !caller.connection.as_ref().is_some_and(Connection::is_over) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_idle_connection_that_was_closed_is_reopened() {
        let (mut caller, asked) = server(&[&[DONE], &[DONE]], MODERN).await;
        caller.prepare().await;
        assert_eq!(caller.call().await, Ok(()));
        closed(&caller).await;
        caller.prepare().await;
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(asked.await.expect("served").len(), 2);
    }

    #[tokio::test]
    async fn a_session_is_kept_over_a_new_connection() {
        let (mut caller, asked) = server(&[&[GREETED, NOTED, DONE], &[DONE]], LEGACY).await;
        assert_eq!(caller.call().await, Ok(()));
        closed(&caller).await;
        assert_eq!(caller.call().await, Ok(()));
        let asked = asked.await.expect("served");
        assert_eq!(asked.len(), 4);
        assert!(asked[3].contains("mcp-session-id: s\r\n"), "{}", asked[3]);
    }

    #[tokio::test]
    async fn an_expired_session_is_replaced() {
        let answers: &[&[&str]] = &[&[
            GREETED, NOTED, DONE, FORGOTTEN, GREETED, NOTED, DONE, FORGOTTEN, GREETED, NOTED,
            FORGOTTEN,
        ]];
        let (mut caller, asked) = server(answers, LEGACY).await;
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(caller.call().await, Ok(()));
        // Only once: a second 404 is reported.
        let failed = caller.call().await.expect_err("no session");
        assert!(failed.contains("404"), "{failed}");
        assert_eq!(asked.await.expect("served").len(), 11);
    }

    #[tokio::test]
    async fn a_connection_closed_during_a_call_is_a_failure() {
        let (mut caller, asked) = server(&[&["HTTP/1.1 200 OK\r\n"], &[DONE]], MODERN).await;
        assert!(caller.call().await.is_err());
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(asked.await.expect("served").len(), 2);
    }
}
