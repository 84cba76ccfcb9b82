//! One caller of a target: it makes the same call again and again, and waits for each answer.

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
    next_id: u64,
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
        }
        outcome
    }

    async fn attempt(&mut self) -> Result<(), String> {
        if let Endpoint::Stdio(pipe) = &self.endpoint {
            return pipe.call(&mut self.ready, &self.check).await;
        }
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some(connection) = &mut self.connection else {
            return Err("there is no connection".to_owned());
        };
        self.next_id += 1;
        self.ready.number(self.next_id);
        let head = connection
            .exchange(&self.ready.front, &self.ready.tail)
            .await;
        let head = head.map_err(|error| error.to_string())?;
        if head.status != 200 {
            let body = shown(&connection.body);
            return Err(format!("answered with status {}: {body}", head.status));
        }
        self.check.answer(&connection.body)?;
        if !head.keeps {
            self.connection = None;
        }
        Ok(())
    }

    /// Connects, and opens a session where the revision has them.
    pub(crate) async fn connect(&mut self) -> Result<(), String> {
        let Endpoint::Http {
            url,
            headers,
            version,
        } = &self.endpoint
        else {
            return Ok(());
        };
        let told = |error: &dyn std::error::Error| format!("{url}: {error}");
        let connected = Connection::connect(&url.authority).await;
        let mut connection = connected.map_err(|error| told(&error))?;
        if version != MODERN {
            let mut session: Option<String> = None;
            for message in [Message::initialize(version), Message::initialized(version)] {
                let ready = message.post(url, headers, session.as_deref());
                let answer = connection.exchange(&ready.front, &ready.tail).await;
                let head = answer.map_err(|error| told(&error))?;
                if !matches!(head.status, 200 | 202 | 204) {
                    let body = shown(&connection.body);
                    return Err(format!("no session: status {}: {body}", head.status));
                }
                session = head.session.or(session);
                if !head.keeps {
                    let connected = Connection::connect(&url.authority).await;
                    connection = connected.map_err(|error| told(&error))?;
                }
            }
            self.ready = self.call.message.post(url, headers, session.as_deref());
        }
        self.connection = Some(connection);
        Ok(())
    }
}
