//! One caller of a target: it makes the same call again and again, and waits for each answer.
//!
//! A caller keeps its connection while others have their turns. A server may close one that is idle,
//! and forget a session; neither is a failure, as long as a new one can be had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::message::{Check, FIRST_ID, Message, Ready, shown};
use crate::stdio::Pipe;
use crate::targets::{MODERN, Url};
use crate::wire::Connection;

/// The longest that a call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a target answers.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// Over HTTP: a connection for each caller, and a session where the revision has them.
    Http {
        /// Where.
        url: Url,
        /// Headers of each request.
        headers: Arc<BTreeMap<String, String>>,
        /// The revision of MCP.
        version: String,
    },
    /// Over its standard input and output, which all callers share.
    Stdio(Arc<Pipe>),
}

/// A call that all callers make.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) message: Message,
    pub(crate) check: Check,
}

/// One caller.
#[derive(Debug)]
pub(crate) struct Caller {
    endpoint: Endpoint,
    call: Call,
    ready: Ready,
    check: Check,
    connection: Option<Connection>,
    /// Of a revision that has them.
    session: Session,
    next_id: u64,
}

/// Whether a session has been opened, and what the server calls it, where it does.
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
            Endpoint::Stdio(_) => call.message.line(),
        };
        Self {
            endpoint: endpoint.clone(),
            call: call.clone(),
            ready,
            check: call.check.clone(),
            connection: None,
            session: Session::None,
            next_id: FIRST_ID,
        }
    }

    /// One call; an error in words that can be shown.
    pub(crate) async fn call(&mut self) -> Result<(), String> {
        let outcome = match timeout(CALL_TIMEOUT, self.attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {CALL_TIMEOUT:?}")),
        };
        if outcome.is_err() {
            // What is left of an answer must not be taken for the next one.
            self.connection = None;
            self.session = Session::None;
        }
        outcome
    }

    /// Makes ready for a turn, before its clock runs: a connection that was closed meanwhile is opened
    /// anew. What goes wrong goes wrong again in the first call, which tells it.
    pub(crate) async fn prepare(&mut self) {
        // The runtime takes note of what has happened to the socket.
        tokio::task::yield_now().await;
        let _ = timeout(CALL_TIMEOUT, self.connect()).await;
    }

    async fn attempt(&mut self) -> Result<(), String> {
        if let Endpoint::Stdio(pipe) = &self.endpoint {
            return pipe.call(&mut self.ready, &self.check).await;
        }
        let mut status = self.exchange().await?;
        // The server has forgotten the session: a client begins a new one.
        if status == 404 && matches!(self.session, Session::Open(Some(_))) {
            self.session = Session::None;
            status = self.exchange().await?;
        }
        let body = self.connection.as_ref().map(|held| held.body.as_slice());
        let body = body.unwrap_or_default();
        if status != 200 {
            return Err(format!("answered with status {status}: {}", shown(body)));
        }
        self.check.answer(body)
    }

    /// Asks, and reads the whole answer.
    async fn exchange(&mut self) -> Result<u16, String> {
        self.connect().await?;
        let Some(connection) = &mut self.connection else {
            return Err("there is no connection".to_owned());
        };
        self.next_id += 1;
        self.ready.number(self.next_id);
        let head = connection
            .exchange(&self.ready.front, &self.ready.tail)
            .await;
        let head = head.map_err(|error| error.to_string())?;
        Ok(head.status)
    }

    /// Connects unless there is a connection, and opens a session where the revision has them.
    async fn connect(&mut self) -> Result<(), String> {
        let Endpoint::Http {
            url,
            headers,
            version,
        } = &self.endpoint
        else {
            return Ok(());
        };
        let told = |error: &dyn std::error::Error| format!("{url}: {error}");
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_over() => connection,
            none => {
                let connected = Connection::connect(&url.authority).await;
                none.insert(connected.map_err(|error| told(&error))?)
            }
        };
        if version == MODERN || self.session != Session::None {
            return Ok(());
        }
        let mut session: Option<String> = None;
        for message in [Message::initialize(version), Message::initialized(version)] {
            if connection.is_over() {
                let connected = Connection::connect(&url.authority).await;
                *connection = connected.map_err(|error| told(&error))?;
            }
            let ready = message.post(url, headers, session.as_deref());
            let answer = connection.exchange(&ready.front, &ready.tail).await;
            let head = answer.map_err(|error| told(&error))?;
            if !matches!(head.status, 200 | 202 | 204) {
                let body = shown(&connection.body);
                return Err(format!("no session: status {}: {body}", head.status));
            }
            session = head.session.or(session);
        }
        if connection.is_over() {
            let connected = Connection::connect(&url.authority).await;
            *connection = connected.map_err(|error| told(&error))?;
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

    /// A server that gives these answers, connection by connection, and closes each behind its last
    /// one; it returns what it was asked.
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

    /// Waits until the server's end of the connection has arrived.
    async fn hung_up(caller: &Caller) {
        while !caller.connection.as_ref().is_some_and(Connection::is_over) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_it_was_idle_is_opened_anew() {
        let (mut caller, asked) = server(&[&[DONE], &[DONE]], MODERN).await;
        caller.prepare().await;
        assert_eq!(caller.call().await, Ok(()));
        hung_up(&caller).await;
        caller.prepare().await;
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(asked.await.expect("served").len(), 2);
    }

    #[tokio::test]
    async fn a_session_outlives_its_connection() {
        let (mut caller, asked) = server(&[&[GREETED, NOTED, DONE], &[DONE]], LEGACY).await;
        assert_eq!(caller.call().await, Ok(()));
        hung_up(&caller).await;
        assert_eq!(caller.call().await, Ok(()));
        let asked = asked.await.expect("served");
        assert_eq!(asked.len(), 4);
        assert!(asked[3].contains("mcp-session-id: s\r\n"), "{}", asked[3]);
    }

    #[tokio::test]
    async fn a_session_that_was_forgotten_is_begun_anew() {
        let answers: &[&[&str]] = &[&[
            GREETED, NOTED, DONE, FORGOTTEN, GREETED, NOTED, DONE, FORGOTTEN, GREETED, NOTED,
            FORGOTTEN,
        ]];
        let (mut caller, asked) = server(answers, LEGACY).await;
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(caller.call().await, Ok(()));
        // Once: a server that forgets every session is told of.
        let failed = caller.call().await.expect_err("no session");
        assert!(failed.contains("404"), "{failed}");
        assert_eq!(asked.await.expect("served").len(), 11);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_during_a_call_is_a_failure() {
        let (mut caller, asked) = server(&[&["HTTP/1.1 200 OK\r\n"], &[DONE]], MODERN).await;
        assert!(caller.call().await.is_err());
        assert_eq!(caller.call().await, Ok(()));
        assert_eq!(asked.await.expect("served").len(), 2);
    }
}
