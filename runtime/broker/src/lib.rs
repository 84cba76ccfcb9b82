//! `mqtt · broker`: an embedded MQTT broker, for use without an installed one.
//!
//! It runs the broker of the `mqtt5` crate on its own thread: MQTT 5, in memory, without passwords,
//! and therefore only on loopback addresses. For messages that must survive a restart, or a broker
//! reachable from elsewhere, point `tcp · client` at another broker.
//!
//! Bounds: clients, packet size, subscriptions per client, retained messages and queued data for a
//! slow client are limited. Beyond a limit the broker refuses or disconnects the client.
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

/// Maximum packet size of MQTT, in bytes (MQTT 5.0, 2.1.4).
const PACKET_SIZE_MAX: u64 = 268_435_455;

/// Options of `mqtt · broker`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Loopback address and port to listen on. Port 0 selects any free port.
    #[serde(deserialize_with = "loopback")]
    pub listen: SocketAddr,
    /// Maximum packet size, in bytes.
    pub max_packet_size: Bounded<1_024, PACKET_SIZE_MAX>,
    /// Maximum number of connected clients.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_clients: u16,
    /// Maximum number of retained messages.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_retained: u32,
    /// Keep the sessions of clients that are not connected, as they ask for. Their number has no limit, so
    /// a config cannot set it: it is for demonstrations.
    #[serde(skip)]
    pub sessions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            max_packet_size: Bounded::of(8 * 1024 * 1024),
            max_clients: 1_000,
            max_retained: 10_000,
            sessions: false,
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

/// Error returned when the broker cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is in use, or not an address of this machine.
    #[error("embedded broker cannot listen on {listen}: {reason}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Reason.
        reason: String,
    },
    /// A thread or an event loop is not available.
    #[error("cannot start the thread of the embedded broker: {0}")]
    Thread(#[from] io::Error),
}

/// A running broker; it stops on drop.
#[derive(Debug)]
pub struct Broker {
    local_addr: SocketAddr,
    /// Sending stops the broker.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker; returns once it listens.
    ///
    /// The broker has its own thread and runtime, so this can be called from within another
    /// runtime. It blocks the caller until the port is bound.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        let config = configured(options);
        let listen = options.listen;
        let (ready, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("tidegate-broker".to_owned())
            .spawn(move || run(config, listen, &ready))?;
        let ended = || io::Error::other("the thread ended before the broker was listening");
        let (local_addr, stop) = started.recv().map_err(|_| ended())??;
        Ok(Self {
            local_addr,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The address it listens on, with the actual port if 0 was requested.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails if the broker has already ended, which is fine.
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("embedded broker thread panicked");
        }
    }
}

type Started = Result<(SocketAddr, oneshot::Sender<()>), StartError>;

/// The broker's thread: reports the result of the start, and runs until it is stopped.
fn run(config: BrokerConfig, listen: SocketAddr, ready: &mpsc::SyncSender<Started>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // The thread that starts the broker waits for this.
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    let refused = |reason: String| StartError::Listen { listen, reason };
    runtime.block_on(async {
        let started = match MqttBroker::with_config(config).await {
            Ok(broker) => match broker.local_addr() {
                Some(local_addr) => Ok((broker, local_addr)),
                None => Err(refused("it has no local address".to_owned())),
            },
            Err(error) => Err(refused(error.to_string())),
        };
        match started {
            Ok((mut broker, local_addr)) => {
                // The library's own handle has no effect before the broker runs; this one does.
                let (stop, stopped) = oneshot::channel();
                let _ = ready.send(Ok((local_addr, stop)));
                tokio::select! {
                    ended = broker.run() => {
                        if let Err(error) = ended {
                            tracing::error!(%error, "embedded broker failed");
                        }
                    }
                    _ = stopped => {}
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
    // Dropping the broker waits for this thread, but not for the library's remaining tasks.
    runtime.shutdown_background();
}

fn configured(options: &Options) -> BrokerConfig {
    let storage = StorageConfig {
        backend: StorageBackend::Memory,
        enable_persistence: options.sessions,
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
        assert!(TcpStream::connect(address).is_err(), "the port is closed");
    }

    /// CONNECT with a session that lasts for an hour, and no clean start.
    const RESUME: &[u8] = &[
        0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 5, 0x11, 0, 0, 14, 16, 0, 1, b't',
    ];

    /// The flags of CONNACK for a client that connects for the second time: 1 if its session is there.
    fn session_present(sessions: bool) -> u8 {
        let options = Options {
            sessions,
            ..on_a_free_port()
        };
        let broker = Broker::start(&options).expect("a free port");
        let mut head = [0; 4];
        for _ in 0..2 {
            let mut client = TcpStream::connect(broker.local_addr()).expect("it listens");
            client.write_all(RESUME).expect("written");
            client.read_exact(&mut head).expect("CONNACK");
            assert_eq!((head[0], head[3]), (0x20, 0), "accepted: {head:02x?}");
        }
        head[2]
    }

    #[test]
    fn sessions_are_kept_if_asked_for() {
        assert_eq!(session_present(true), 1);
        assert_eq!(session_present(false), 0);
    }

    #[test]
    fn a_port_in_use_is_reported() {
        let first = Broker::start(&on_a_free_port()).expect("a free port");
        let options = Options {
            listen: first.local_addr(),
            ..Options::default()
        };
        let error = Broker::start(&options).expect_err("taken").to_string();
        assert!(error.contains(&first.local_addr().to_string()), "{error}");
    }
}
