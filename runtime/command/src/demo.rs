//! `tidegate demo`: a broker, simulated machines, a gateway, and a tour through it.

mod devices;
mod snippets;
mod tour;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::ExitCode;

use tidegate_config::LoadError;
use tidegate_driver::Assembly;
use tidegate_engine::BindingId;

pub(crate) use tour::TourError;

use crate::arguments::Logging;
use crate::assembly::Extras;
use crate::console::{faint, say};
use crate::failure::Failure;
use crate::{logging, registry, serve};

/// The config that the demo runs.
const CONFIG: &str = include_str!("demo/demo.yaml");

/// Runs the demo: once, or until a signal.
pub(crate) fn run(once: bool, port: u16, logs: &Logging) -> Result<ExitCode, Failure> {
    logging::start(logs)?;
    let broker_port = free_port()?;
    let environment = |name: &str| match name {
        "TIDEGATE_DEMO_PORT" => Some(port.to_string()),
        "TIDEGATE_DEMO_BROKER_PORT" => Some(broker_port.to_string()),
        _ => None,
    };
    let registry = registry::registry();
    let config = tidegate_config::load("demo.yaml", CONFIG, &registry, &environment);
    let config = config.map_err(LoadError::from)?;
    let extras = Extras {
        attach: Some(attach_devices),
    };
    serve(&config, extras, async |gateway| {
        gateway.announce().await;
        say("");
        if let Some(endpoint) = gateway.address("http0") {
            tour::walk(endpoint).await?;
            snippets::print(endpoint);
        }
        if once {
            return Ok("the tour is over");
        }
        say(faint(
            "The endpoint and the simulated devices stay up; Ctrl-C ends them.",
        ));
        std::future::pending().await
    })
}

fn attach_devices(assembly: &mut Assembly, bindings: &BTreeMap<String, BindingId>) {
    if let Some(exit) = bindings.get("mqtt_client0")
        && assembly.worker() == 0
    {
        assembly.of("devices").attach(devices::Devices::new(*exit));
    } else {
        assembly.attach_nothing();
    }
}

/// A port that nobody listens on, so that the demo runs beside a broker that is there already.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
