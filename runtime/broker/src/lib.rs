//! `mqtt · broker`: an MQTT broker inside tidegate, so that nothing needs to be installed.
//!
//! It is the broker of the `mqtt5` crate on a thread of its own: MQTT 5, in memory, without
//! passwords, and therefore on loopback addresses alone. For anything that must survive a restart,
//! or be reached from elsewhere, point `tcp · client` at a real broker.
//!
//! Bounds: clients, packet size, subscriptions of a client, retained messages and what waits for a
//! slow client are all limited; beyond a limit the broker refuses or disconnects that client.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use tidegate_options::{Bounded, positive};
use tokio::sync::oneshot;

/// The largest packet that MQTT can express, in bytes (MQTT 5.0, 2.1.4).
const PACKET_SIZE_MAX: u64 = 268_435_455;

/// Options of `mqtt · broker`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Loopback address and port to listen on. Port 0 takes any free port.
    #[serde(deserialize_with = "loopback")]
    pub listen: SocketAddr,
    /// Largest packet that is accepted, in bytes.
    pub max_packet_size: Bounded<1_024, PACKET_SIZE_MAX>,
    /// Number of clients that may be connected at a time.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_clients: u16,
    /// Number of retained messages that are kept.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_retained: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            max_packet_size: Bounded::of(8 * 1024 * 1024),
            max_clients: 1_000,
            max_retained: 10_000,
        }
    }
}

fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let listen = SocketAddr::deserialize(deserializer)?;
    if listen.ip().is_loopback() {
        return Ok(listen);
    }
    Err(serde::de::Error::custom(format!(
        "the embedded broker asks for no password, so it listens on a loopback address \
         (127.0.0.1:{}); {listen} can be reached from elsewhere",
        listen.port()
    )))
}

impl tidegate_options::Options for Options {}

/// The broker could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("the embedded broker cannot listen on {listen}: {reason}")]
    Listen {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Why it cannot.
        reason: String,
    },
    /// There is no thread or no event loop to be had.
    #[error("the embedded broker cannot have a thread of its own: {0}")]
    Thread(#[from] io::Error),
}

/// A running broker; it stops when this is dropped.
#[derive(Debug)]
pub struct Broker {
    local_addr: SocketAddr,
    /// Taken to stop it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker; returns once it listens.
    ///
    /// The broker has a thread and a runtime of its own, so that this can be called from within
    /// another runtime; the caller's thread waits for as long as it takes to bind a port.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let config = configured(options);
        let listen = options.listen;
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("tidegate-broker".to_owned())
            .spawn(move || run(config, listen, &tell))?;
        let gone = || io::Error::other("its thread ended before it listened");
        let (local_addr, stop) = told.recv().map_err(|_| gone())??;
        Ok(Self {
            local_addr,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A broker that has ended by itself listens no more for this.
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded broker's thread panicked");
        }
    }
}

type Started = Result<(SocketAddr, oneshot::Sender<()>), StartError>;

/// The broker's thread: tells how it started, and runs until it is stopped.
fn run(config: BrokerConfig, listen: SocketAddr, tell: &mpsc::SyncSender<Started>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whoever started it waits for this, and is there.
            let _ = tell.send(Err(error.into()));
            return;
        }
    };
    let refused = |reason: String| StartError::Listen { listen, reason };
    runtime.block_on(async {
        let started = match MqttBroker::with_config(config).await {
            Ok(broker) => match broker.local_addr() {
                Some(local_addr) => Ok((broker, local_addr)),
                None => Err(refused("it got no address".to_owned())),
            },
            Err(error) => Err(refused(error.to_string())),
        };
        match started {
            Ok((mut broker, local_addr)) => {
                // The library's own handle is deaf until the broker runs, and this one is not.
                let (stop, stopped) = oneshot::channel();
                let _ = tell.send(Ok((local_addr, stop)));
                tokio::select! {
                    ended = broker.run() => {
                        if let Err(error) = ended {
                            tracing::error!(%error, "the embedded broker stopped");
                        }
                    }
                    _ = stopped => {}
                }
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
    // Whoever drops the broker waits for this thread, and not for what the library still does.
    runtime.shutdown_background();
}

fn configured(options: &Options) -> BrokerConfig {
    let storage = StorageConfig {
        backend: StorageBackend::Memory,
        enable_persistence: false,
        max_queued_messages_per_client: 1_000,
        ..StorageConfig::default()
    };
    BrokerConfig {
        bind_addresses: vec![options.listen],
        max_clients: usize::from(options.max_clients),
        max_packet_size: options.max_packet_size.size(),
        max_subscriptions_per_client: 1_000,
        max_retained_messages: options.max_retained as usize,
        storage_config: storage,
        ..BrokerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    /// CONNECT of MQTT 5 with a clean start, no keep-alive and the client identifier `t`.
    const CONNECT: &[u8] = &[
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b't',
    ];

    fn on_a_free_port() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..Options::default()
        }
    }

    #[test]
    fn it_answers_a_connect_and_stops_when_dropped() {
        let broker = Broker::start(&on_a_free_port()).expect("a free port");
        let address = broker.local_addr();
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(CONNECT).expect("written");
        let mut head = [0; 4];
        client.read_exact(&mut head).expect("CONNACK");
        assert_eq!(
            (head[0], head[3]),
            (0x20, 0),
            "CONNACK with reason code 0: {head:02x?}"
        );
        drop(client);
        drop(broker);
        assert!(
            TcpStream::connect(address).is_err(),
            "nobody listens any more"
        );
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let first = Broker::start(&on_a_free_port()).expect("a free port");
        let options = Options {
            listen: first.local_addr(),
            ..Options::default()
        };
        let error = Broker::start(&options).expect_err("taken").to_string();
        assert!(error.contains(&first.local_addr().to_string()), "{error}");
    }
}
