//! A running gateway: workers, broker, endpoints, and the way to its end.

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

use crate::assembly::{self, Extras};
use crate::console::say;
#[cfg(feature = "broker")]
use crate::factory::Factory;
use crate::factory::Listening;
use crate::failure::Failure;
use crate::passwords;
use crate::probe::{Answer, Probes};
#[cfg(feature = "broker")]
use crate::registry::registry;
use crate::signals::{Signal, Signals};

/// How long a stop waits for the figures of workers that may hang.
const FIGURES: Duration = Duration::from_millis(500);

/// The events that tell of a call: what a client asked for, and what it came to at the broker.
const CALLS: &[&str] = &[
    tidegate_binding_mcp::server::events::CallCompleted::WORD,
    tidegate_binding_mcp_mqtt::CallCompleted::WORD,
];

/// A running gateway.
pub(crate) struct Gateway {
    engine: Engine,
    config: Config,
    listening: Listening,
    probes: Probes,
    workers: u16,
    #[cfg(feature = "broker")]
    brokers: Vec<(String, tidegate_broker::Broker)>,
}

impl Gateway {
    /// Starts everything that a config declares.
    pub(crate) fn start(config: &Config, extras: Extras) -> Result<Self, Failure> {
        for warning in &config.warnings {
            tracing::warn!("{}", warning.with_help());
        }
        for warning in passwords::unprotected(config) {
            tracing::warn!("{warning}");
        }
        #[cfg(feature = "broker")]
        let brokers = start_brokers(config)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = config
            .workers
            .unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX));
        let listening = Listening::default();
        let probes = Probes::new(config);
        let (shared, declared) = (listening.clone(), config.clone());
        let asking = probes.clone();
        let engine = Engine::start(workers, Limits::default(), move |assembly| {
            assembly::attach(&declared, extras, &shared, assembly)?;
            asking.attach(assembly);
            if tracing::enabled!(target: tidegate_driver::CALLS, tracing::Level::INFO) {
                assembly.log_calls(CALLS);
            }
            Ok(())
        })?;
        Ok(Self {
            engine,
            config: config.clone(),
            listening,
            probes,
            workers,
            #[cfg(feature = "broker")]
            brokers,
        })
    }

    /// Where a binding listens.
    pub(crate) fn address(&self, binding: &str) -> Option<SocketAddr> {
        self.listening.address(binding)
    }

    /// Tells where it listens, and which brokers accept it.
    ///
    /// With standard input as an entry, standard output belongs to MCP and the log tells instead.
    pub(crate) async fn announce(&self) {
        let on_stdio = self
            .config
            .bindings
            .iter()
            .any(|binding| binding.r#type == "stdio");
        let tell = |line: String| {
            if on_stdio {
                tracing::info!("{line}");
            } else {
                say(line);
            }
        };
        let workers = if self.workers == 1 {
            "worker"
        } else {
            "workers"
        };
        tell(format!(
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
                ("http", "server") => self.http_endpoint(binding),
                ("stdio", "server") => Some("listening   on standard input".to_owned()),
                ("mqtt", "client") => {
                    clients.push(binding);
                    None
                }
                #[cfg(feature = "broker")]
                ("mqtt", "broker") => self.broker(&binding.name),
                _ => None,
            };
            if let Some(state) = state {
                tell(format!("  {:width$}  {state}", binding.name));
            }
        }
        // Behind what is known at once: a broker may take its time.
        for binding in clients {
            let state = self.accepted_by(binding).await;
            tell(format!("  {:width$}  broker      {state}", binding.name));
        }
    }

    /// Whether the broker of an `mqtt · client` accepts it. A request connects when it needs to, so one
    /// that does not is no failure.
    async fn accepted_by(&self, client: &tidegate_config::Binding) -> String {
        match self.probes.answer(&client.name).await {
            Some(Answer::Accepted) => match passwords::peer(&self.config, client) {
                Some(peer) => format!("{} connected", peer.remote()),
                None => "connected".to_owned(),
            },
            Some(Answer::Refused(reason)) => format!("NOT connected: {reason}"),
            None => "NOT connected: no answer yet".to_owned(),
        }
    }

    fn http_endpoint(&self, binding: &tidegate_config::Binding) -> Option<String> {
        let address = self.address(&binding.name)?;
        let options: tidegate_binding_http::Options = binding.options().ok()?;
        Some(format!("listening   http://{address}{}", options.path))
    }

    #[cfg(feature = "broker")]
    fn broker(&self, name: &str) -> Option<String> {
        let (_, broker) = self.brokers.iter().find(|(broker, _)| broker == name)?;
        Some(format!(
            "broker      mqtt://{} (embedded)",
            broker.local_addr()
        ))
    }

    /// Runs until `work` is done, which tells why that is the end; or until a signal, the end of
    /// standard input, or the end of a worker. Then it stops in order.
    pub(crate) async fn run(
        self,
        signals: &mut Signals,
        work: impl AsyncFnOnce(&Self) -> Result<&'static str, Failure>,
    ) -> Result<Stopped, Failure> {
        let why = tokio::select! {
            signal = signals.next() => Ok(signal.name()),
            () = self.engine.stop_requested() => Ok("end of input"),
            _ = self.engine.worker_ended() => Ok("a worker has ended"),
            done = work(&self) => done,
        };
        let stopped = self.stop(why.as_ref().map_or("failure", |why| why), signals);
        let stopped = stopped.await;
        why.map(|_| stopped)
    }

    /// Stops in order: what is under way may come to its end within `shutdownTimeout`; another
    /// signal cuts it short.
    pub(crate) async fn stop(self, why: &str, signals: &mut Signals) -> Stopped {
        let within_ms = self.config.shutdown_timeout;
        let counters = timeout(FIGURES, self.engine.counters()).await;
        let counters = counters.unwrap_or_default();
        let streams: usize = counters.iter().map(|worker| worker.streams).sum();
        let exchanges: usize = counters.iter().map(|worker| worker.exchanges).sum();
        tracing::info!(why, within_ms, streams, exchanges, "stopping");
        let cut = self.engine.cut();
        let mut shutdown = pin!(self.engine.shutdown(Duration::from_millis(within_ms)));
        let (report, cut_by) = tokio::select! {
            report = &mut shutdown => (report, None),
            signal = signals.next_that_cuts() => {
                cut.now();
                (shutdown.await, Some(signal))
            }
        };
        let stopped = Stopped { report, cut_by };
        stopped.log();
        stopped
    }
}

/// How a gateway has stopped.
#[derive(Debug)]
pub(crate) struct Stopped {
    report: ShutdownReport,
    cut_by: Option<Signal>,
}

impl Stopped {
    fn log(&self) {
        let ShutdownReport {
            streams_cut,
            workers_hung,
            ref measures,
            ..
        } = self.report;
        // All since the start, each once; what is 0 is left out.
        tracing::info!("counters: {measures}");
        if workers_hung > 0 {
            tracing::error!(
                workers_hung,
                "workers do not come back and are left behind; the process exits"
            );
        }
        if let Some(signal) = self.cut_by {
            let signal = signal.name();
            tracing::warn!(
                signal,
                streams_cut,
                "stopped at once; what was under way is cut off"
            );
        } else if streams_cut > 0 {
            tracing::warn!(
                streams_cut,
                "stopped; what had not come to its end in time was cut off"
            );
        } else {
            tracing::info!(streams_cut, "stopped");
        }
    }

    /// 0 where the stop was asked for and in order, also where it cut something off; 128 and the
    /// signal's number where a second signal cut it short; 1 where a worker failed or hung.
    pub(crate) fn code(&self) -> ExitCode {
        if let Some(signal) = self.cut_by {
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
