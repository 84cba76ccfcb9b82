//! Plays a scenario of `mcp_mqtt · proxy` against the wire: its callers through a real HTTP endpoint,
//! its exit as a real MQTT broker's end of a socket. The same script then proves the bindings in
//! front of and behind the one that it was written for, and both edges.
//!
//! What only streams can say has no counterpart there and is passed over: a BEGIN that repeats the
//! other, whose session an operation is of.

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

/// How long a reaction may take. It is never waited for in full but by a scenario that fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays a script; says what went wrong, and where.
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
    let gateway = Gateway::start(&config, Extras::default()).map_err(|error| error.to_string())?;
    let endpoint = config
        .bindings
        .iter()
        .find_map(|binding| gateway.address(&binding.name));
    let endpoint = endpoint.ok_or("its config has no http · server")?;
    let mut stage = Stage {
        callers: Callers::new(endpoint),
        broker: Broker::new(listener)?,
        captures: Captures::default(),
    };
    let mut told = Ok(());
    for (number, text, step) in script.steps() {
        let path = script.path().display();
        let taken = tokio::time::timeout(PATIENCE, stage.take(step)).await;
        let taken = taken.unwrap_or_else(|_| Err("nothing came on the wire".to_owned()));
        if let Err(what) = taken {
            told = Err(format!(
                "{path}:{number}: on the wire: {what}\n  !   {text}\n"
            ));
            break;
        }
    }
    let left = stage.broker.left();
    drop(stage);
    gateway.stop("the scenario is over", &mut signals).await;
    told?;
    match left {
        Some(packet) => Err(format!(
            "{}: on the wire: {packet} was sent and is not in the script\n",
            script.path().display()
        )),
        None => Ok(()),
    }
}

struct Stage {
    callers: Callers,
    broker: Broker,
    captures: Captures,
}

impl Stage {
    async fn take(&mut self, step: &Step) -> Result<(), String> {
        let captures = &mut self.captures;
        match step {
            Step::Play(said) if said.side == "mcp" => self.callers.play(said, captures),
            Step::Expect(said) if said.side == "mcp" => self.callers.expect(said, captures).await,
            Step::Play(said) if said.side == "mqtt" => self.broker.play(said, captures).await,
            Step::Expect(said) if said.side == "mqtt" => self.broker.expect(said, captures).await,
            _ => Err("this cannot be played on the wire; take 'live' out of the script".to_owned()),
        }
    }
}
