//! The callers: each operation is a request on its own connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_scenarios::{Captures, Payload, Statement};
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError, Events};

/// Members that `mcp · server` adds to results of the modern era; streams do not have them.
const ADDED: [&str; 4] = ["resultType", "_meta", "ttlMs", "cacheScope"];

pub(super) struct Callers {
    endpoint: SocketAddr,
    calls: BTreeMap<u32, Call>,
}

/// A pending operation.
struct Call {
    word: String,
    running: Option<JoinHandle<Result<Outcome, ClientError>>>,
    events: Option<Events>,
}

enum Outcome {
    Result(Value),
    Listening(Events),
}

impl Callers {
    pub(super) const fn new(endpoint: SocketAddr) -> Self {
        Self {
            endpoint,
            calls: BTreeMap::new(),
        }
    }

    pub(super) fn play(
        &mut self,
        statement: &Statement,
        captures: &Captures,
    ) -> Result<(), String> {
        match statement.verb.as_str() {
            "begin" => {
                let word = statement.words.first().cloned().unwrap_or_default();
                let mut call = Call {
                    word,
                    running: None,
                    events: None,
                };
                // tools/call needs the params of DATA. The other operations start with BEGIN, since their
                // reactions may precede DATA in the script.
                if call.word != "toolsCall" {
                    let uri = statement.fields.iter().find(|(name, _)| name == "uri");
                    let uri = uri
                        .map(|(_, pattern)| pattern.resolve(captures))
                        .transpose();
                    let params = match uri.map_err(|error| error.to_string())? {
                        Some(tidegate_streams::Value::Text(uri)) => json!({ "uri": &uri[..] }),
                        _ => json!({}),
                    };
                    call.running = Some(start(&call.word, self.endpoint, params)?);
                }
                self.calls.insert(statement.number, call);
                Ok(())
            }
            "data" if statement.words.is_empty() => {
                let endpoint = self.endpoint;
                let call = self.call(statement)?;
                if call.word == "toolsCall" {
                    let payload = statement.payload.as_ref().ok_or("missing params")?;
                    let payload = payload
                        .resolve(captures)
                        .map_err(|error| error.to_string())?;
                    let params = serde_json::from_slice(&payload);
                    let params = params.map_err(|error| error.to_string())?;
                    call.running = Some(start(&call.word, endpoint, params)?);
                }
                Ok(())
            }
            // The caller ends its subscription by closing the connection.
            "end" => {
                self.call(statement)?.events = None;
                Ok(())
            }
            verb => Err(format!(
                "'{verb}' of a caller is not supported in live scenarios"
            )),
        }
    }

    pub(super) async fn expect(
        &mut self,
        statement: &Statement,
        captures: &mut Captures,
    ) -> Result<(), String> {
        let call = self.call(statement)?;
        match statement.verb.as_str() {
            "begin" if call.word == "resourcesSubscribe" => call.acknowledged(true).await,
            "reset" if call.word == "resourcesSubscribe" => call.acknowledged(false).await,
            "begin" | "end" | "abort" => Ok(()),
            "data" => {
                let result = call.result().await?.map_err(|error| error.to_string())?;
                let payload = statement.payload.as_ref().unwrap_or(&Payload::Any);
                agrees(payload, &result, captures)
            }
            "reset" => match call.result().await? {
                Err(ClientError::Refused { message, .. }) => refused(statement, &message, captures),
                Err(error) => Err(error.to_string()),
                Ok(result) => Err(format!("unexpected result: {result}")),
            },
            "flush" => {
                let params = call.event("notifications/resources/updated").await?;
                let uri = params
                    .get("uri")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                field(statement, "uri", uri, captures)
            }
            verb => Err(format!("'{verb}' is not supported in live scenarios")),
        }
    }

    fn call(&mut self, statement: &Statement) -> Result<&mut Call, String> {
        let call = self.calls.get_mut(&statement.number);
        call.ok_or_else(|| format!("{} is not open", statement.conversation()))
    }
}

impl Call {
    async fn outcome(&mut self) -> Result<Result<Outcome, ClientError>, String> {
        let running = self.running.take().ok_or("already answered")?;
        running.await.map_err(|error| error.to_string())
    }

    async fn result(&mut self) -> Result<Result<Value, ClientError>, String> {
        Ok(match self.outcome().await? {
            Ok(Outcome::Result(result)) => Ok(result),
            Ok(Outcome::Listening(_)) => return Err("unexpected event stream".to_owned()),
            Err(error) => Err(error),
        })
    }

    /// Waits for the acknowledgement of a subscription, which lists the resource if it was granted.
    async fn acknowledged(&mut self, granted: bool) -> Result<(), String> {
        match self.outcome().await?.map_err(|error| error.to_string())? {
            Outcome::Listening(events) => self.events = Some(events),
            Outcome::Result(result) => return Err(format!("unexpected result: {result}")),
        }
        let params = self
            .event("notifications/subscriptions/acknowledged")
            .await?;
        let named = params
            .pointer("/notifications/resourceSubscriptions/0")
            .is_some();
        if named == granted {
            Ok(())
        } else {
            Err(format!("unexpected acknowledgement: {params}"))
        }
    }

    async fn event(&mut self, method: &str) -> Result<Value, String> {
        let events = self.events.as_mut().ok_or("no event stream")?;
        let mut event = events.next().await.ok_or("event stream ended")?;
        if event.get("method").and_then(Value::as_str) != Some(method) {
            return Err(format!("unexpected event: {event}"));
        }
        Ok(event.get_mut("params").map(Value::take).unwrap_or_default())
    }
}

/// Starts the request of an operation.
fn start(
    word: &str,
    endpoint: SocketAddr,
    params: Value,
) -> Result<JoinHandle<Result<Outcome, ClientError>>, String> {
    let method = match word {
        "toolsList" => "tools/list",
        "toolsCall" => "tools/call",
        "resourcesList" => "resources/list",
        "resourcesTemplatesList" => "resources/templates/list",
        "resourcesRead" => "resources/read",
        "resourcesSubscribe" => {
            let uri = params
                .get("uri")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            return Ok(tokio::spawn(async move {
                let client = Client::connect(endpoint).await?;
                client.listen(&[&uri]).await.map(Outcome::Listening)
            }));
        }
        _ => return Err(format!("'{word}' is not supported in live scenarios")),
    };
    Ok(tokio::spawn(async move {
        let mut client = Client::connect(endpoint).await?;
        client.request(method, params).await.map(Outcome::Result)
    }))
}

/// Compares a result with the DATA of the stream, ignoring the members of [`ADDED`].
fn agrees(payload: &Payload, result: &Value, captures: &mut Captures) -> Result<(), String> {
    let mut bare = result.clone();
    if let Some(members) = bare.as_object_mut() {
        for name in ADDED {
            members.remove(name);
        }
    }
    if payload.matches(bare.to_string().as_bytes(), captures) {
        Ok(())
    } else {
        Err(format!("the result is {result}"))
    }
}

fn refused(statement: &Statement, message: &str, captures: &mut Captures) -> Result<(), String> {
    field(statement, "message", message, captures)
}

fn field(
    statement: &Statement,
    name: &str,
    value: &str,
    captures: &mut Captures,
) -> Result<(), String> {
    let pattern = statement.fields.iter().find(|(known, _)| known == name);
    let value = tidegate_streams::Value::Text(value.to_owned().into());
    match pattern {
        Some((_, pattern)) if pattern.matches(&value, captures) => Ok(()),
        _ => Err(format!("{name} is {value}")),
    }
}
