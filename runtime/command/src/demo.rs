//! `tidegate demo`: an embedded broker, simulated devices, a gateway, and a guided tour.

mod barista;
mod devices;
mod home;
mod snippets;
mod tour;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use tidegate_broker::Broker;
use tidegate_config::LoadError;
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::BindingId;

pub(crate) use tour::TourError;

use crate::arguments::{Demo, Logging, Tour};
use crate::assembly::Extras;
use crate::console::{dim, print_line};
use crate::factory::BrokerError;
use crate::failure::Failure;
use crate::{logging, registry, serve};

/// The config that the demo runs.
const CONFIG: &str = include_str!("demo/demo.yaml");

/// Default port of the endpoint, without `--once`.
const PORT: u16 = 7114;

/// Runs a tour.
pub(crate) fn run(demo: &Demo) -> Result<ExitCode, Failure> {
    match demo.tour {
        Tour::Home => home_tour(demo.once, demo.port, &demo.logging),
        // It has no endpoint, and ends by itself.
        Tour::Barista if demo.port.is_some() || demo.once => Err(Failure::TourOption),
        Tour::Barista => barista::run(demo),
    }
}

/// Runs the tour of an MCP client, then keeps running until a signal unless `once`.
fn home_tour(once: bool, port: Option<u16>, logs: &Logging) -> Result<ExitCode, Failure> {
    logging::start(logs)?;
    let port = port.unwrap_or(if once { 0 } else { PORT });
    // The broker listens before the config is loaded with its port, so no other process can take the
    // port. It is dropped after the gateway has stopped.
    let broker = start_broker()?;
    let broker_port = broker.local_addr().port();
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
        ..Extras::default()
    };
    let served = serve(&config, extras, async |gateway| {
        let endpoint = gateway.address("http0");
        announce(broker.local_addr(), endpoint.filter(|_| !once));
        if let Some(endpoint) = endpoint {
            tour::walk(endpoint).await?;
            if !once {
                snippets::print(endpoint);
            }
        }
        if once {
            print_line("");
            print_line(
                "Tour complete. Run `tidegate demo` without --once to keep the gateway running for your own MCP client.",
            );
            return Ok("tour complete");
        }
        print_line(dim(
            "The gateway and the simulated devices keep running. Press Ctrl-C to stop.",
        ));
        std::future::pending().await
    });
    served.map_err(|failure| match failure {
        Failure::Start(StartError::Listen { address, error }) => {
            Failure::DemoPort { address, error }
        }
        failure => failure,
    })
}

fn start_broker() -> Result<Broker, BrokerError> {
    let options = tidegate_broker::Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..tidegate_broker::Options::default()
    };
    Ok(Broker::start(&options)?)
}

/// Prints the addresses. With `--once` the endpoint is omitted: it closes after the tour.
fn announce(broker: SocketAddr, endpoint: Option<SocketAddr>) {
    print_line(concat!("tidegate ", env!("CARGO_PKG_VERSION"), " · demo"));
    print_line(format!("  broker      mqtt://{broker} (embedded)"));
    if let Some(endpoint) = endpoint {
        print_line(format!("  listening   http://{endpoint}/mcp"));
    }
    print_line("");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_listens_on_the_port_that_the_config_is_given() {
        let broker = start_broker().expect("a free port");
        let port = broker.local_addr().port();
        assert_ne!(port, 0);
        let connected = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(connected.is_ok(), "{connected:?}");
    }
}
