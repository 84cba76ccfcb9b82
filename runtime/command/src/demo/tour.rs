//! The tour of the demo: the requests of an MCP client, step by step, over a real connection.

mod devices;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::timeout;

use crate::client::{Client, ClientError, Events};
use crate::console::{bold, dim, print_line};

/// Longest time for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A step of the tour failed.
#[derive(Debug, Error)]
pub(crate) enum TourError {
    /// The request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A machine lost its broker.
    #[error(transparent)]
    Mqtt(#[from] super::barista::MqttError),
    /// A part of the tour ended before the tour.
    #[error("{0} ended before the tour")]
    Over(&'static str),
    /// No response in time.
    #[error("step '{0}': no response within {STEP_TIMEOUT:?}")]
    TimedOut(&'static str),
    /// Unexpected response.
    #[error("step '{step}': expected {expected}, got {got}")]
    Unexpected {
        /// Name of the step.
        step: &'static str,
        /// Expected content.
        expected: String,
        /// Actual response.
        got: String,
    },
}

const LAMP: &str = "mqtt://devices/lamp/state";
const KITCHEN: &str = "mqtt://sensors/temperature/kitchen";

/// Runs the tour against an endpoint and prints each step.
pub(crate) async fn walk(endpoint: SocketAddr) -> Result<(), TourError> {
    let mut client = Client::connect(endpoint).await?;
    discover(&mut client).await?;
    list(&mut client).await?;
    read(&mut client).await?;
    let mut lamp = subscribe(endpoint).await?;
    publish(&mut client).await?;
    lamp_changed(&mut client, &mut lamp).await?;
    receive(&mut client).await?;
    devices::walk(&mut client).await
}

async fn discover(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "1  server/discover";
    let (found, took) = ask(client, STEP, "server/discover", json!({})).await?;
    step(
        STEP,
        "which versions and capabilities does the server have?",
        took,
    );
    let versions = texts(&found, "supportedVersions");
    let capabilities = found
        .get("capabilities")
        .map(Value::to_string)
        .unwrap_or_default();
    detail(&format!("versions {versions}; capabilities {capabilities}"));
    expect(
        STEP,
        "supported versions",
        !versions.is_empty(),
        &found.to_string(),
    )
}

async fn list(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "2  tools/list, resources/list";
    let (tools, took) = ask(client, STEP, "tools/list", json!({})).await?;
    step(STEP, "which tools and resources are available?", took);
    let tools = items(&tools, "tools");
    for tool in &tools {
        detail(&format!(
            "tool      {} — {}",
            text(tool, "name"),
            first_sentence(text(tool, "description"))
        ));
    }
    let (resources, _) = ask(client, STEP, "resources/list", json!({})).await?;
    for resource in items(&resources, "resources") {
        detail(&format!("resource  {}", text(&resource, "uri")));
    }
    for template in items(&resources, "resourceTemplates") {
        detail(&format!("template  {}", text(&template, "uriTemplate")));
    }
    let publish = tools.iter().any(|tool| text(tool, "name") == "publish");
    expect(STEP, "a tool named publish", publish, &format!("{tools:?}"))
}

async fn read(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "3  resources/read";
    let (read, took) = ask(client, STEP, "resources/read", json!({ "uri": KITCHEN })).await?;
    step(STEP, "read the latest temperature in the kitchen", took);
    let content = read
        .pointer("/contents/0/text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    detail(&format!("{KITCHEN} = {content}"));
    expect(STEP, "a value", !content.is_empty(), &read.to_string())
}

async fn subscribe(endpoint: SocketAddr) -> Result<Events, TourError> {
    const STEP: &str = "4  subscriptions/listen";
    let started = Instant::now();
    let mut events = Client::connect(endpoint).await?.listen(&[LAMP]).await?;
    let first = next(&mut events, STEP).await?;
    step(
        STEP,
        "subscribe to the state of the lamp",
        started.elapsed(),
    );
    let acknowledged = text(&first, "method") == "notifications/subscriptions/acknowledged";
    expect(STEP, "an acknowledgement", acknowledged, &first.to_string())?;
    detail(&format!("subscribed to {LAMP}"));
    Ok(events)
}

async fn publish(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "5  tools/call publish";
    let arguments = json!({ "topic": "commands/lamp/set", "payload": "on", "qos": 1 });
    let params = json!({ "name": "publish", "arguments": arguments });
    let (result, took) = ask(client, STEP, "tools/call", params).await?;
    step(STEP, "switch the lamp on", took);
    detail("commands/lamp/set ← \"on\" at QoS 1, acknowledged by the broker");
    let done = result.get("isError").and_then(Value::as_bool) != Some(true);
    expect(
        STEP,
        "the broker's acknowledgement",
        done,
        &result.to_string(),
    )
}

/// Waits until the lamp reports `on`. Its retained state from before the command is an update too, so
/// this may be the second one.
async fn lamp_changed(client: &mut Client, lamp: &mut Events) -> Result<(), TourError> {
    const STEP: &str = "6  notifications/resources/updated";
    const READ: &str = "7  resources/read";
    let started = Instant::now();
    loop {
        let update = next(lamp, STEP).await?;
        let uri = update
            .pointer("/params/uri")
            .and_then(Value::as_str)
            .unwrap_or_default();
        expect(
            STEP,
            "an update of the lamp",
            uri == LAMP,
            &update.to_string(),
        )?;
        let waited = started.elapsed();
        let (read, took) = ask(client, READ, "resources/read", json!({ "uri": LAMP })).await?;
        let state = read
            .pointer("/contents/0/text")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if state == "on" {
            step(STEP, "the lamp reports a new state", waited);
            detail(uri);
            step(READ, "read the new state", took);
            detail(&format!("{LAMP} = {state}"));
            return Ok(());
        }
        if started.elapsed() > STEP_TIMEOUT {
            return Err(TourError::TimedOut(STEP));
        }
    }
}

async fn receive(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "8  tools/call receive";
    let arguments = json!({ "topic": "sensors/temperature/+", "limit": 4, "timeout": 6000 });
    let params = json!({ "name": "receive", "arguments": arguments });
    let (result, took) = ask(client, STEP, "tools/call", params).await?;
    step(STEP, "receive temperatures from all rooms", took);
    let messages = result
        .pointer("/structuredContent/messages")
        .cloned()
        .unwrap_or_default();
    let messages = messages.as_array().cloned().unwrap_or_default();
    for message in &messages {
        let retained = message.get("retain").and_then(Value::as_bool) == Some(true);
        let note = if retained { " (retained)" } else { "" };
        detail(&format!(
            "{} = {}{note}",
            text(message, "topic"),
            text(message, "payload")
        ));
    }
    expect(STEP, "messages", !messages.is_empty(), &result.to_string())
}

async fn ask(
    client: &mut Client,
    name: &'static str,
    method: &str,
    params: Value,
) -> Result<(Value, Duration), TourError> {
    let started = Instant::now();
    let answer = timeout(STEP_TIMEOUT, client.request(method, params)).await;
    let answer = answer.map_err(|_| TourError::TimedOut(name))??;
    Ok((answer, started.elapsed()))
}

async fn next(events: &mut Events, name: &'static str) -> Result<Value, TourError> {
    let event = timeout(STEP_TIMEOUT, events.next())
        .await
        .map_err(|_| TourError::TimedOut(name))?;
    event.ok_or(TourError::Unexpected {
        step: name,
        expected: "a notification".to_owned(),
        got: "end of stream".to_owned(),
    })
}

fn expect(
    step: &'static str,
    expected: &'static str,
    holds: bool,
    got: &str,
) -> Result<(), TourError> {
    if holds {
        Ok(())
    } else {
        Err(TourError::Unexpected {
            step,
            expected: expected.to_owned(),
            got: got.to_owned(),
        })
    }
}

fn step(name: &str, what: &str, took: Duration) {
    print_line(format!(
        "{}  {what} {}",
        bold(name),
        dim(&format!("{:.1} ms", took.as_secs_f64() * 1e3))
    ));
}

fn detail(line: &str) {
    print_line(format!("     {line}"));
}

fn items(value: &Value, key: &str) -> Vec<Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").map(|stop| stop + 1);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

fn texts(value: &Value, key: &str) -> String {
    let items = items(value, key);
    items
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
