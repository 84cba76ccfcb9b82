//! `tidegate demo --tour barista`: a robot that meets an order it has no recipe for.
//!
//! The gateway runs `config/barista.yaml`, as it is but for the addresses. Around it, each behind a socket of
//! its own, are an embedded broker, MCP servers with the tools of the kitchen and of the loyalty programme, a
//! simulated robot, and the link between gateway and broker, which the tour cuts.

mod journal;
mod kitchen;
mod link;
mod mqtt;
mod robot;
mod shop;
mod story;
mod tools;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidegate_broker::Broker;
use tidegate_config::{Config, LoadError};
use tokio::sync::mpsc;

pub(crate) use mqtt::MqttError;

use super::TourError;
use crate::arguments::Demo;
use crate::assembly::Extras;
use crate::console::print_line;
use crate::factory::BrokerError;
use crate::failure::Failure;
use crate::{logging, registry, serve};
use journal::Journal;
use kitchen::Kitchen;
use link::Link;
use mqtt::Mqtt;
use robot::Robot;
use story::Stage;
use tools::Server;

/// The config that the tour runs, with the addresses of its peers.
const CONFIG: &str = include_str!("../../../../config/barista.yaml");
const BROKER: &str = "127.0.0.1:1883";
const KITCHEN: &str = "127.0.0.1:8000";
const LOYALTY: &str = "127.0.0.1:8001";

/// Most orders and readings that wait for the machines.
const WAITING: usize = 16;

/// The sockets of the gateway's peers. They listen before the config is loaded with their ports, so that no
/// other process can take a port.
#[derive(Debug)]
struct Peers {
    broker: TcpListener,
    kitchen: TcpListener,
    loyalty: TcpListener,
}

/// Runs the tour, and exits.
pub(super) fn run(demo: &Demo) -> Result<ExitCode, Failure> {
    logging::start(&demo.logging)?;
    let plan_within = Duration::from_millis(demo.plan_within);
    let broker = start_broker()?;
    let peers = Peers::listen()?;
    let config = config(&peers)?;
    let address = broker.local_addr();
    serve(&config, Extras::default(), async |_| {
        announce(address, &peers)?;
        play(address, &peers, plan_within).await?;
        print_line("");
        print_line("Tour complete.");
        Ok("tour complete")
    })
}

/// A broker that keeps what a client misses while its link is down.
fn start_broker() -> Result<Broker, BrokerError> {
    let options = tidegate_broker::Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        sessions: true,
        ..tidegate_broker::Options::default()
    };
    Ok(Broker::start(&options)?)
}

fn config(peers: &Peers) -> Result<Config, Failure> {
    let text = CONFIG
        .replace(BROKER, &peers.broker.local_addr()?.to_string())
        .replace(KITCHEN, &peers.kitchen.local_addr()?.to_string())
        .replace(LOYALTY, &peers.loyalty.local_addr()?.to_string());
    let environment = |_: &str| None;
    let registry = registry::registry();
    let config = tidegate_config::load("barista.yaml", &text, &registry, &environment);
    Ok(config.map_err(LoadError::from)?)
}

fn announce(broker: SocketAddr, peers: &Peers) -> io::Result<()> {
    print_line(concat!(
        "tidegate ",
        env!("CARGO_PKG_VERSION"),
        " · demo · barista"
    ));
    print_line(format!("  broker      mqtt://{broker} (embedded)"));
    let kitchen = peers.kitchen.local_addr()?;
    print_line(format!("  kitchen     http://{kitchen}/mcp"));
    let loyalty = peers.loyalty.local_addr()?;
    print_line(format!("  loyalty     http://{loyalty}/mcp"));
    print_line("  gateway     config/barista.yaml");
    Ok(())
}

/// Runs the machines and the tools while the story is told.
async fn play(broker: SocketAddr, peers: &Peers, plan_within: Duration) -> Result<(), TourError> {
    let journal = Journal::new();
    let link = Link::new(journal.clone());
    let kitchen = Arc::new(Kitchen::new());
    let server = |name, tools| Server {
        name,
        tools,
        kitchen: Arc::clone(&kitchen),
        journal: journal.clone(),
    };
    let (kitchens, loyalty) = (
        server("kitchen", kitchen::KITCHEN),
        server("loyalty", kitchen::LOYALTY),
    );
    let robot = Mqtt::connect(broker, robot::NAME, &robot::filters()).await?;
    let robot = Robot::new(robot, journal.clone());
    let topics = [shop::display_topic(), shop::restock_topic()];
    let shop = Mqtt::connect(broker, "shop", &topics).await?;
    let (orders, ordered) = mpsc::channel(WAITING);
    let (readings, read) = mpsc::channel(WAITING);
    let stage = Stage {
        journal: journal.clone(),
        link: link.clone(),
        plan_within,
        kitchen: Arc::clone(&kitchen),
        orders,
        readings,
    };
    tokio::select! {
        told = story::tell(&stage) => told,
        ended = robot.run(read) => Err(ended.err().map_or(TourError::Over("the robot"), Into::into)),
        ended = shop::run(shop, ordered, journal.clone()) => {
            Err(ended.err().map_or(TourError::Over("the shop"), Into::into))
        }
        ended = link.run(listener(&peers.broker)?, broker) => Err(over(ended)),
        ended = kitchens.run(listener(&peers.kitchen)?) => Err(over(ended)),
        ended = loyalty.run(listener(&peers.loyalty)?) => Err(over(ended)),
    }
}

fn over(ended: io::Result<()>) -> TourError {
    let ended = ended.err().map(MqttError::from);
    ended.map_or(TourError::Over("a socket"), Into::into)
}

fn listener(listener: &TcpListener) -> Result<tokio::net::TcpListener, MqttError> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

impl Peers {
    fn listen() -> io::Result<Self> {
        let free = || TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
        Ok(Self {
            broker: free()?,
            kitchen: free()?,
            loyalty: free()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_names_each_address_once() {
        for address in [BROKER, KITCHEN, LOYALTY] {
            assert_eq!(CONFIG.matches(address).count(), 1, "{address}");
        }
    }

    #[test]
    fn the_config_has_no_warnings() {
        let peers = Peers::listen().expect("free ports");
        let config = config(&peers).expect("a valid config");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
