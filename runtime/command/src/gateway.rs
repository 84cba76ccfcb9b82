//! A running gateway: workers, embedded brokers, status lines, and an orderly stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tidegate_config::Config;
#[cfg(feature = "broker")]
use tidegate_config::Descriptor;
use tidegate_driver::{Engine, ShutdownReport};
use tidegate_engine::Limits;
use tidegate_engine::streams::Extension as _;
use tokio::time::timeout;

use crate::assembly::{self, Extras, Shared};
use crate::certificates;
use crate::console::print_line;
use crate::exporters::Exporters;
#[cfg(feature = "broker")]
use crate::factory::Factory;
use crate::factory::{Admission, Listening};
use crate::failure::Failure;
use crate::guards;
use crate::passwords;
use crate::pin_edge::AllPins;
use crate::probe::{Answer, Probes};
#[cfg(feature = "broker")]
use crate::registry::registry;
use crate::signals::{Signal, Signals};
use crate::tls_files::TlsFiles;

/// How long a stop waits for the counters of workers, which may hang.
const COUNTERS_TIMEOUT: Duration = Duration::from_millis(500);

/// The events of `--log-calls`: the request of a client, and its outcome at the broker.
const CALLS: &[&str] = &[
    tidegate_binding_mcp::server::events::CallCompleted::WORD,
    tidegate_binding_mcp_mqtt::CallCompleted::WORD,
    tidegate_binding_mcp_device::CallCompleted::WORD,
    tidegate_binding_mqtt_mcp::RequestCompleted::WORD,
    tidegate_binding_mqtt_mcp::StepCompleted::WORD,
];

/// A running gateway.
pub(crate) struct Gateway {
    engine: Engine,
    config: Config,
    listening: Listening,
    probes: Probes,
    exporters: Exporters,
    workers: u16,
    #[cfg(feature = "broker")]
    brokers: Vec<(String, tidegate_broker::Broker)>,
}

impl Gateway {
    /// Starts the brokers, guards and workers of a config. Logs its warnings first.
    pub(crate) async fn start(config: &Config, extras: Extras) -> Result<Self, Failure> {
        for warning in &config.warnings {
            tracing::warn!("{}", warning.with_help());
        }
        let missing = certificates::missing(config);
        for warning in passwords::unprotected(config).iter().chain(&missing) {
            tracing::warn!("{warning}");
        }
        let guards = guards::make(config)?.start();
        let admission = Admission {
            identities: guards::identities(config, &guards).await?,
            guards,
        };
        #[cfg(feature = "broker")]
        let brokers = start_brokers(config)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = config
            .workers
            .unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX));
        let exporters = Exporters::start(config, workers)?;
        let listening = Listening::default();
        let probes = Probes::new(config);
        let shared = Shared {
            listening: listening.clone(),
            admission,
            tls_files: TlsFiles::load(config)?,
            pins: AllPins::load(config)?,
        };
        let declared = config.clone();
        let worker_probes = probes.clone();
        let worker_exporters = exporters.clone();
        let engine = Engine::start(workers, Limits::default(), move |assembly| {
            assembly::attach(&declared, extras, &shared, assembly)?;
            worker_probes.attach(assembly);
            worker_exporters.attach(assembly);
            if tracing::enabled!(target: tidegate_driver::CALLS, tracing::Level::INFO) {
                assembly.log_calls(CALLS);
            }
            Ok(())
        })
        .inspect_err(|_| exporters.stop())?;
        Ok(Self {
            engine,
            config: config.clone(),
            listening,
            probes,
            exporters,
            workers,
            #[cfg(feature = "broker")]
            brokers,
        })
    }

    /// Listen address of a binding.
    pub(crate) fn address(&self, binding: &str) -> Option<SocketAddr> {
        self.listening.address(binding)
    }

    /// Prints the listen addresses and the connection state of each broker.
    ///
    /// With `stdio · server`, standard output carries MCP, so the lines are logged instead.
    pub(crate) async fn announce(&self) {
        let on_stdio =
            self.config.bindings.iter().any(|binding| {
                (binding.r#type.as_str(), binding.kind.as_str()) == ("stdio", "server")
            });
        let print = |line: String| {
            if on_stdio {
                tracing::info!("{line}");
            } else {
                print_line(line);
            }
        };
        let workers = if self.workers == 1 {
            "worker"
        } else {
            "workers"
        };
        print(format!(
            "tidegate {} · {} · {} {workers}",
            env!("CARGO_PKG_VERSION"),
            self.config.name,
            self.workers
        ));
        let width = self
            .config
            .bindings
            .iter()
            .map(|binding| binding.name.len())
            .max();
        let width = width.unwrap_or_default();
        let mut clients = Vec::new();
        for binding in &self.config.bindings {
            let state = match (binding.r#type.as_str(), binding.kind.as_str()) {
                ("http", "server") => {
                    let listening = self.listening.of(&binding.name);
                    for url in listening
                        .iter()
                        .flat_map(tidegate_binding_http::Listening::urls)
                    {
                        print(format!("  {:width$}  listening   {url}", binding.name));
                    }
                    None
                }
                ("admin", "server") => self
                    .address(&binding.name)
                    .map(|address| format!("listening   http://{address}/metrics")),
                ("stdio", "server") => Some("listening   standard input".to_owned()),
                ("mqtt", "client") => {
                    clients.push(binding);
                    None
                }
                #[cfg(feature = "broker")]
                ("mqtt", "broker") => self.broker(&binding.name),
                _ => None,
            };
            if let Some(state) = state {
                print(format!("  {:width$}  {state}", binding.name));
            }
        }
        // Brokers come last: CONNACK may take a while.
        for binding in clients {
            let state = self.broker_state(binding).await;
            print(format!("  {:width$}  broker      {state}", binding.name));
        }
    }

    /// Connection state of an `mqtt · client`. A failure does not stop the gateway: requests connect when
    /// they need to.
    async fn broker_state(&self, client: &tidegate_config::Binding) -> String {
        match self.probes.answer(&client.name).await {
            Some(Answer::Accepted) => match passwords::peer(&self.config, client) {
                Some(peer) => format!("{} connected", peer.remote()),
                None => "connected".to_owned(),
            },
            Some(Answer::Refused(reason)) => format!("NOT connected: {reason}"),
            None => "NOT connected: no response yet".to_owned(),
        }
    }

    #[cfg(feature = "broker")]
    fn broker(&self, name: &str) -> Option<String> {
        let (_, broker) = self.brokers.iter().find(|(broker, _)| broker == name)?;
        Some(format!(
            "broker      mqtt://{} (embedded)",
            broker.local_addr()
        ))
    }

    /// Runs until `work` returns the reason to stop, or until a signal, the end of standard input, or the
    /// end of a worker. Then stops in order.
    pub(crate) async fn run(
        self,
        signals: &mut Signals,
        work: impl AsyncFnOnce(&Self) -> Result<&'static str, Failure>,
    ) -> Result<Stopped, Failure> {
        let why = tokio::select! {
            signal = signals.next() => Ok(signal.name()),
            () = self.engine.stop_requested() => Ok("end of standard input"),
            _ = self.engine.worker_ended() => Ok("worker ended"),
            done = work(&self) => done,
        };
        let stopped = self.stop(why.as_ref().map_or("failure", |why| why), signals);
        let stopped = stopped.await;
        why.map(|_| stopped)
    }

    /// Stops in order: requests in progress may finish within `shutdownTimeout`; another signal stops
    /// immediately.
    pub(crate) async fn stop(self, why: &str, signals: &mut Signals) -> Stopped {
        let within_ms = self.config.shutdown_timeout;
        let counters = timeout(COUNTERS_TIMEOUT, self.engine.counters()).await;
        let counters = counters.unwrap_or_default();
        let streams: usize = counters.iter().map(|worker| worker.streams).sum();
        let exchanges: usize = counters.iter().map(|worker| worker.exchanges).sum();
        tracing::info!(why, within_ms, streams, exchanges, "stopping");
        let cut = self.engine.cut();
        let mut shutdown = pin!(self.engine.shutdown(Duration::from_millis(within_ms)));
        let (report, second_signal) = tokio::select! {
            report = &mut shutdown => (report, None),
            signal = signals.next_immediate() => {
                cut.now();
                (shutdown.await, Some(signal))
            }
        };
        let stopped = Stopped {
            report,
            second_signal,
        };
        self.exporters.stop();
        stopped.log();
        stopped
    }
}

/// The outcome of a stop.
#[derive(Debug)]
pub(crate) struct Stopped {
    report: ShutdownReport,
    second_signal: Option<Signal>,
}

impl Stopped {
    fn log(&self) {
        let ShutdownReport {
            streams_cut,
            workers_hung,
            ref measures,
            ..
        } = self.report;
        // Totals since the start; counters that are 0 are omitted.
        tracing::info!("counters: {measures}");
        if workers_hung > 0 {
            tracing::error!(
                workers_hung,
                "workers did not stop; the process exits without them"
            );
        }
        if let Some(signal) = self.second_signal {
            let signal = signal.name();
            tracing::warn!(
                signal,
                streams_cut,
                "stopped immediately by a second signal; open streams were aborted"
            );
        } else if streams_cut > 0 {
            tracing::warn!(
                streams_cut,
                "stopped; streams still open after the shutdown timeout were aborted"
            );
        } else {
            tracing::info!(streams_cut, "stopped");
        }
    }

    /// 0 after an orderly stop, even if streams were aborted at the timeout; 128 plus the signal number
    /// after a second signal; 1 if a worker failed or did not stop.
    pub(crate) fn code(&self) -> ExitCode {
        if let Some(signal) = self.second_signal {
            ExitCode::from(128 + signal.number())
        } else if self.report.workers_hung > 0 || self.report.worker_ended.is_some() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

#[cfg(feature = "broker")]
fn start_brokers(config: &Config) -> Result<Vec<(String, tidegate_broker::Broker)>, Failure> {
    let registry = registry();
    let mut brokers = Vec::new();
    for binding in &config.bindings {
        let kind = registry.find(&binding.r#type, &binding.kind);
        if let Some(Factory::Broker(start)) = kind.map(Descriptor::factory) {
            brokers.push((binding.name.clone(), start(binding)?));
        }
    }
    Ok(brokers)
}

#[cfg(test)]
mod tests;
