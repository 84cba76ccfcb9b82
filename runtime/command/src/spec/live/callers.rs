//! The callers' side: each operation is a request of its own connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_scenarios::{Captures, Payload, Said};
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError, Events};

/// Members that the modern era adds to every result; the stream knows nothing of them.
const ADDED: [&str; 4] = ["resultType", "_meta", "ttlMs", "cacheScope"];

pub(super) struct Callers {
    endpoint: SocketAddr,
    calls: BTreeMap<u32, Call>,
}

/// An operation.
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

    pub(super) fn play(&mut self, said: &Said, captures: &Captures) -> Result<(), String> {
        match said.verb.as_str() {
            "begin" => {
                let word = said.words.first().cloned().unwrap_or_default();
                let mut call = Call {
                    word,
                    running: None,
                    events: None,
                };
                // A call needs its params; for the others BEGIN says it all, and what it causes may
                // stand in the script before the params do.
                if call.word != "toolsCall" {
                    let uri = said.fields.iter().find(|(name, _)| name == "uri");
                    let uri = uri
                        .map(|(_, pattern)| pattern.resolve(captures))
                        .transpose();
                    let params = match uri.map_err(|error| error.to_string())? {
                        Some(tidegate_streams::Value::Text(uri)) => json!({ "uri": &uri[..] }),
                        _ => json!({}),
                    };
                    call.running = Some(start(&call.word, self.endpoint, params)?);
                }
                self.calls.insert(said.number, call);
                Ok(())
            }
            "data" if said.words.is_empty() => {
                let endpoint = self.endpoint;
                let call = self.call(said)?;
                if call.word == "toolsCall" {
                    let payload = said.payload.as_ref().ok_or("there are no params")?;
                    let payload = payload
                        .resolve(captures)
                        .map_err(|error| error.to_string())?;
                    let params = serde_json::from_slice(&payload);
                    let params = params.map_err(|error| error.to_string())?;
                    call.running = Some(start(&call.word, endpoint, params)?);
                }
                Ok(())
            }
            // The caller of a subscription has enough: it hangs up.
            "end" => {
                self.call(said)?.events = None;
                Ok(())
            }
            verb => Err(format!(
                "a caller's '{verb}' has no counterpart on the wire"
            )),
        }
    }

    pub(super) async fn expect(
        &mut self,
        said: &Said,
        captures: &mut Captures,
    ) -> Result<(), String> {
        let call = self.call(said)?;
        match said.verb.as_str() {
            "begin" if call.word == "resourcesSubscribe" => call.acknowledged(true).await,
            "reset" if call.word == "resourcesSubscribe" => call.acknowledged(false).await,
            "begin" | "end" | "abort" => Ok(()),
            "data" => {
                let result = call.result().await?.map_err(|error| error.to_string())?;
                let payload = said.payload.as_ref().unwrap_or(&Payload::Any);
                agrees(payload, &result, captures)
            }
            "reset" => match call.result().await? {
                Err(ClientError::Refused { message, .. }) => refused(said, &message, captures),
                Err(error) => Err(error.to_string()),
                Ok(result) => Err(format!("it was answered with {result}")),
            },
            "flush" => {
                let params = call.event("notifications/resources/updated").await?;
                let uri = params
                    .get("uri")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                field(said, "uri", uri, captures)
            }
            verb => Err(format!("'{verb}' has no counterpart on the wire")),
        }
    }

    fn call(&mut self, said: &Said) -> Result<&mut Call, String> {
        let call = self.calls.get_mut(&said.number);
        call.ok_or_else(|| format!("{} has not begun", said.conversation()))
    }
}

impl Call {
    async fn outcome(&mut self) -> Result<Result<Outcome, ClientError>, String> {
        let running = self.running.take().ok_or("it was answered before")?;
        running.await.map_err(|error| error.to_string())
    }

    async fn result(&mut self) -> Result<Result<Value, ClientError>, String> {
        Ok(match self.outcome().await? {
            Ok(Outcome::Result(result)) => Ok(result),
            Ok(Outcome::Listening(_)) => return Err("it was answered with events".to_owned()),
            Err(error) => Err(error),
        })
    }

    /// The acknowledgement of a subscription, which names the resource if it was granted.
    async fn acknowledged(&mut self, granted: bool) -> Result<(), String> {
        match self.outcome().await?.map_err(|error| error.to_string())? {
            Outcome::Listening(events) => self.events = Some(events),
            Outcome::Result(result) => return Err(format!("it was answered with {result}")),
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
            Err(format!("it was acknowledged as {params}"))
        }
    }

    async fn event(&mut self, method: &str) -> Result<Value, String> {
        let events = self.events.as_mut().ok_or("there is no event stream")?;
        let mut event = events.next().await.ok_or("the event stream has ended")?;
        if event.get("method").and_then(Value::as_str) != Some(method) {
            return Err(format!("the event is {event}"));
        }
        Ok(event.get_mut("params").map(Value::take).unwrap_or_default())
    }
}

/// Sends the request.
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
        _ => return Err(format!("'{word}' has no counterpart on the wire")),
    };
    Ok(tokio::spawn(async move {
        let mut client = Client::connect(endpoint).await?;
        client.request(method, params).await.map(Outcome::Result)
    }))
}

/// Whether a result is what the stream's DATA is, but for what the era adds.
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

fn refused(said: &Said, message: &str, captures: &mut Captures) -> Result<(), String> {
    field(said, "message", message, captures)
}

fn field(said: &Said, name: &str, value: &str, captures: &mut Captures) -> Result<(), String> {
    let pattern = said.fields.iter().find(|(known, _)| known == name);
    let value = tidegate_streams::Value::Text(value.to_owned().into());
    match pattern {
        Some((_, pattern)) if pattern.matches(&value, captures) => Ok(()),
        _ => Err(format!("{name} is {value}")),
    }
}
