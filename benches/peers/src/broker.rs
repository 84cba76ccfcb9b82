//! The single connection to the broker, maintained by a task.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use rumqttc::{AsyncClient, EventLoop, MqttOptions, NetworkOptions};

/// Most publishes queued for the task.
pub(crate) const QUEUE: usize = 1024;
/// Most publishes written before a flush.
const BATCH: usize = 64;
/// Delay after a failed connection attempt.
const RECONNECT: Duration = Duration::from_secs(1);

/// `host:port` of a broker.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text
            .rsplit_once(':')
            .context("expected HOST:PORT, for example 127.0.0.1:1883")?;
        Ok(Self {
            host: host.to_owned(),
            port: port
                .parse()
                .context("the port is not a number from 0 to 65535")?,
        })
    }
}

/// How to connect to the broker at `address`.
pub(crate) fn options(address: &Address) -> MqttOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    let mut options = MqttOptions::new(
        format!("rmcp-publish-{}", std::process::id()),
        (address.host.clone(), address.port),
    );
    options
        .set_network_options(network)
        .set_max_request_batch(BATCH);
    options
}

/// Creates a client of the broker at `address`; a task of the current runtime maintains its connection.
pub(crate) fn connect(address: &Address) -> AsyncClient {
    let options = options(address);
    let (client, events) = AsyncClient::new(options, QUEUE);
    tokio::spawn(drive(events));
    client
}

async fn drive(mut events: EventLoop) {
    loop {
        if let Err(error) = events.poll().await {
            tracing::warn!("broker: {error}");
            tokio::time::sleep(RECONNECT).await;
        }
    }
}
