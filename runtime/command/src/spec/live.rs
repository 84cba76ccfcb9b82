//! Runs a scenario of `mcp_mqtt · proxy` over real sockets: callers use the HTTP endpoint, the exit is an
//! MQTT peer. The same script then also tests the neighbouring bindings and both edges.
//!
//! Frames and fields without a counterpart on the wire are skipped, such as a reply BEGIN or the session
//! of an operation.

mod broker;
mod callers;

use std::net::TcpListener;
use std::time::Duration;

use tidegate_scenarios::{Captures, Script, Step};

use crate::assembly::Extras;
use crate::gateway::Gateway;
use crate::registry;
use crate::signals::Signals;
use broker::Broker;
use callers::Callers;

/// Longest wait for a reaction; reached only by a failing scenario.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a script; an error names the line and the difference.
pub(super) fn play(script: &Script) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(walk(script))
}

async fn walk(script: &Script) -> Result<(), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let port = listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    let environment = |name: &str| (name == "BROKER_PORT").then(|| port.to_string());
    let config = tidegate_config::read(&script.config(), &registry::registry(), &environment);
    let mut config = config.map_err(|error| error.to_string())?;
    // One connection to the broker, so that the script's streams meet on it.
    config.workers = Some(1);
    let mut signals = Signals::install().map_err(|error| error.to_string())?;
    let gateway = Gateway::start(&config, Extras::default()).await;
    let gateway = gateway.map_err(|error| error.to_string())?;
    let endpoint = config
        .bindings
        .iter()
        .filter(|binding| binding.r#type == "http" && binding.kind == "server")
        .find_map(|binding| gateway.address(&binding.name));
    let endpoint = endpoint.ok_or("the config has no http · server")?;
    let mut harness = Harness {
        callers: Callers::new(endpoint),
        broker: Broker::new(listener)?,
        captures: Captures::default(),
    };
    let mut outcome = Ok(());
    for (number, text, step) in script.steps() {
        let path = script.path().display();
        let taken = tokio::time::timeout(TIMEOUT, harness.take(step)).await;
        let taken = taken.unwrap_or_else(|_| Err("timed out waiting for this line".to_owned()));
        if let Err(what) = taken {
            outcome = Err(format!("{path}:{number}: live: {what}\n  !   {text}\n"));
            break;
        }
    }
    let unexpected = harness.broker.unexpected();
    drop(harness);
    gateway.stop("scenario finished", &mut signals).await;
    outcome?;
    match unexpected {
        Some(packet) => Err(format!(
            "{}: live: unexpected {packet} at the end\n",
            script.path().display()
        )),
        None => Ok(()),
    }
}

struct Harness {
    callers: Callers,
    broker: Broker,
    captures: Captures,
}

impl Harness {
    async fn take(&mut self, step: &Step) -> Result<(), String> {
        let captures = &mut self.captures;
        match step {
            Step::Play(statement) if statement.side == "mcp" => {
                self.callers.play(statement, captures)
            }
            Step::Expect(statement) if statement.side == "mcp" => {
                self.callers.expect(statement, captures).await
            }
            Step::Play(statement) if statement.side == "mqtt" => {
                self.broker.play(statement, captures).await
            }
            Step::Expect(statement) if statement.side == "mqtt" => {
                self.broker.expect(statement, captures).await
            }
            _ => Err("not supported in a live scenario; remove 'live' from the script".to_owned()),
        }
    }
}
