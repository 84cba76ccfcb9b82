//! The broker shared by all targets: mosquitto if installed, otherwise the embedded broker.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::LoadError;
use crate::certificates::Certificates;
use crate::child::{Directory, Process, free_port};
use crate::mqtt::Mqtt;
use crate::plan::{Nagle, Settings};
use crate::socket::BrokerAddress;

/// Longest time until the broker accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Address of a broker that is started.
const HOST: &str = "127.0.0.1";
/// Value of `--broker` that selects the embedded broker.
const EMBEDDED: &str = "embedded";
/// Interval between connection attempts.
const POLL: Duration = Duration::from_millis(5);

/// The broker in reports.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    #[serde(flatten)]
    pub(crate) broker: BrokerAddress,
    /// `mosquitto`, `embedded` or `given`.
    pub(crate) kind: &'static str,
    /// `None` if unknown.
    pub(crate) nagle: Option<Nagle>,
    /// Settings that it was started with.
    pub(crate) settings: Vec<String>,
    /// Receive Maximum: unacknowledged publications per connection.
    pub(crate) receive_maximum: u16,
}

impl Description {
    /// Of operations that need none.
    pub(crate) const fn none() -> Self {
        Self {
            broker: BrokerAddress {
                address: String::new(),
                trust: None,
            },
            kind: "none",
            nagle: None,
            settings: Vec::new(),
            receive_maximum: 0,
        }
    }
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) description: Description,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker, or uses the given one; returns once it accepts connections.
    pub(crate) async fn start(settings: &Settings, nagle: Nagle) -> Result<Self, LoadError> {
        let program = match settings.broker.as_deref() {
            Some(EMBEDDED) => None,
            Some(address) => {
                let broker = BrokerAddress {
                    address: address.to_owned(),
                    trust: settings.trust.clone(),
                };
                return Self::answering(None, broker, "given", None, Vec::new()).await;
            }
            None => mosquitto(),
        };
        let port = free_port().await?;
        let mut broker = BrokerAddress {
            address: format!("{HOST}:{port}"),
            trust: None,
        };
        let directory = Directory::new()?;
        let none = BTreeMap::new();
        if let Some(program) = program {
            let mut options = mosquitto_options(port, nagle);
            if settings.tls {
                let certificates = Certificates::generate(HOST, &directory)?;
                options.push(format!("certfile {}", certificates.certificate.display()));
                options.push(format!("keyfile {}", certificates.key.display()));
                broker.trust = Some(certificates.authority);
            }
            let config = directory.write("mosquitto.conf", options.join("\n") + "\n")?;
            let command = [program, "-c".into(), config].map(|part| part.display().to_string());
            let process = Process::start(&command, &none, directory, false)?;
            return Self::answering(Some(process), broker, "mosquitto", Some(nagle), options).await;
        }
        if settings.tls {
            let why = "install mosquitto for --tls: the embedded broker has no TLS";
            return Err(LoadError::Broker(EMBEDDED.to_owned(), why.to_owned()));
        }
        let config = directory.write("broker.yaml", embedded(port))?;
        let program = env::current_exe()?.display().to_string();
        let config = config.display().to_string();
        let command = [program, "start".into(), "--config".into(), config];
        let process = Process::start(&command, &none, directory, false)?;
        Self::answering(Some(process), broker, EMBEDDED, None, Vec::new()).await
    }

    async fn answering(
        process: Option<Process>,
        broker: BrokerAddress,
        kind: &'static str,
        nagle: Option<Nagle>,
        settings: Vec<String>,
    ) -> Result<Self, LoadError> {
        let mut broker = Self {
            description: Description {
                broker,
                kind,
                nagle,
                settings,
                receive_maximum: 0,
            },
            process,
        };
        broker.description.receive_maximum = broker.answers().await?;
        Ok(broker)
    }

    /// Waits until it accepts connections.
    async fn answers(&mut self) -> Result<u16, LoadError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let address = self.description.broker.clone();
        let client_id = format!("tidegate-bench-{}", std::process::id());
        loop {
            let why = match Mqtt::connect(&address, &client_id).await {
                Ok(mqtt) => return Ok(mqtt.receive_maximum),
                Err(why) => why.to_string(),
            };
            let Some(process) = &mut self.process else {
                return Err(LoadError::Broker(address.to_string(), why));
            };
            if process.has_ended() || Instant::now() > deadline {
                let why = format!("{why}. {}", process.diagnosis());
                return Err(LoadError::Broker(address.to_string(), why));
            }
            sleep(POLL).await;
        }
    }

    pub(crate) async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}

/// Path of mosquitto; on Debian it is not in the PATH of users.
fn mosquitto() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders =
        env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join("mosquitto"))
        .find(|program| program.is_file())
}

fn mosquitto_options(port: u16, nagle: Nagle) -> Vec<String> {
    let nodelay = nagle == Nagle::Off;
    vec![
        format!("listener {port} {HOST}"),
        "allow_anonymous true".to_owned(),
        "persistence false".to_owned(),
        "log_type error".to_owned(),
        // The default of 20 would limit the throughput above 20 callers.
        "max_inflight_messages 1000".to_owned(),
        "max_queued_messages 100000".to_owned(),
        format!("set_tcp_nodelay {nodelay}"),
    ]
}

/// Config of the embedded broker. A config needs an entry, so it has an unused endpoint.
fn embedded(port: u16) -> String {
    let config = json!({
        "name": "bench-broker",
        "workers": 1,
        "bindings": {
            "broker0": {
                "type": "mqtt", "kind": "broker",
                "options": { "listen": format!("127.0.0.1:{port}"), "maxPacketSize": 128 << 20 },
            },
            "http0": {
                "type": "http", "kind": "server", "exit": "mcp_server0",
                "options": { "listen": "127.0.0.1:0" },
            },
            "mcp_server0": { "type": "mcp", "kind": "server", "exit": "mcp_mqtt0" },
            "mcp_mqtt0": { "type": "mcp_mqtt", "kind": "proxy", "exit": "mqtt_client0" },
            "mqtt_client0": { "type": "mqtt", "kind": "client", "exit": "tcp_client0" },
            "tcp_client0": {
                "type": "tcp", "kind": "client", "options": { "host": "127.0.0.1", "port": port },
            },
        },
    });
    config.to_string()
}
