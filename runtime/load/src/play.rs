//! A run: for each cell, all targets are started and warmed up, and then measured in turns.
//!
//! The order of turns is reversed in each round, so that no target always comes first or after a
//! resource-intensive one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::LoadError;
use crate::broker::{Broker, Description};
use crate::caller::{Caller, Endpoint};
use crate::drive;
use crate::fanout::Fanout;
use crate::gateway;
use crate::measure::{Figures, Tally, histogram};
use crate::mqtt::Mqtt;
use crate::pace::Fine;
use crate::plan::{Cell, FLOOR, OURS, Operation, Settings, UPSTREAM};
use crate::process;
use crate::progress::Progress;
use crate::report::{self, CellReport, TargetReport};
use crate::target::{CellContext, RETAINED, Target};

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Number of calls of tidegate.
    pub calls: u64,
    /// Number of failed calls.
    pub errors: u64,
}

impl Outcome {
    /// Whether more than 1 % failed.
    pub const fn is_failure(&self) -> bool {
        self.errors * 100 > self.calls || self.calls == 0
    }
}

/// Runs all cells. `say` receives the table of each cell when it is done; results are written after each
/// cell, so that they are kept if the run is interrupted.
pub async fn run(settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Outcome, LoadError> {
    settings.check()?;
    let (proxied, cells): (Vec<Cell>, Vec<Cell>) = settings
        .cells()
        .into_iter()
        .partition(|cell| cell.operation.is_proxied());
    // A given broker cannot be reconfigured, so one pass is enough.
    let brokers = match (&settings.broker, cells.is_empty()) {
        (_, true) => &[],
        (Some(_), false) => settings.nagle.get(..1).unwrap_or_default(),
        (None, false) => settings.nagle.as_slice(),
    };
    let mut progress = Progress::new(settings, cells.len() * brokers.len() + proxied.len());
    let mut report = report::Report::new(settings)?;
    say(&report.heading());
    for nagle in brokers {
        let broker = Broker::start(settings, *nagle).await?;
        say(&report::broker_line(&broker.description));
        if settings.endpoint.is_none() {
            // Each cell uses another free port.
            let (address, listen) = (&broker.description.broker, "127.0.0.1:0");
            let is_reverse = |cell: &Cell| cell.operation == Operation::Reverse;
            if !cells.iter().all(is_reverse) {
                let config = gateway::config(settings, address, listen)?;
                tell_config(settings, "gateway.yaml", &config, say)?;
            }
            if cells.iter().any(is_reverse) {
                let config = gateway::reverse_config(settings, address, listen, "bench")?;
                tell_config(settings, "gateway-reverse.yaml", &config, say)?;
            }
        }
        for cell in &cells {
            let done = play(settings, *cell, &broker.description, &mut progress).await?;
            progress.suspend(|| say(&report::table(&done)));
            report.add(done)?;
        }
        broker.stop().await;
    }
    if !proxied.is_empty() && settings.endpoint.is_none() {
        let config = gateway::proxy_config(settings, "127.0.0.1:0", "127.0.0.1:0");
        tell_config(settings, "gateway.yaml", &config, say)?;
    }
    for cell in &proxied {
        let done = play(settings, *cell, &Description::none(), &mut progress).await?;
        progress.suspend(|| say(&report::table(&done)));
        report.add(done)?;
    }
    progress.finish();
    Ok(report.outcome())
}

/// Shows and keeps the config of the gateway.
fn tell_config(
    settings: &Settings,
    name: &str,
    config: &str,
    say: &mut dyn FnMut(&str),
) -> Result<(), LoadError> {
    if settings.verbose {
        say(&format!("gateway:\n{}", config.trim_end()));
    }
    if let Some(folder) = &settings.output {
        gateway::write(folder, name, config)?;
    }
    Ok(())
}

/// A target, its callers, and its results.
struct Player {
    target: Target,
    plays: Plays,
    rounds: usize,
    report: TargetReport,
}

enum Plays {
    Callers(Vec<Caller>),
    Listeners(Box<Fanout>),
}

/// Measures a cell.
async fn play(
    settings: &Settings,
    cell: Cell,
    broker: &Description,
    progress: &mut Progress,
) -> Result<CellReport, LoadError> {
    let payload = payload(cell.payload.0);
    let context = CellContext {
        settings,
        cell,
        broker: &broker.broker,
        nagle: broker.nagle,
        payload: &payload,
        upstream: None,
    };
    progress.cell(&cell);
    if !cell.operation.has_upstream() && cell.operation != Operation::Publish {
        retain(&context).await?;
    }
    let mut failed = Vec::new();
    let (mut players, upstream) = start(&context, progress, &mut failed).await?;
    let mut pace = Fine::new()?;
    for player in &mut players {
        progress.step(&player.report.name);
        player.turn(settings, settings.warm_up, &mut pace).await;
    }
    for round in 0..settings.rounds {
        let mut order: Vec<&mut Player> = players.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for player in order {
            if round < player.rounds {
                progress.step(&player.report.name);
                player.round(settings, &mut pace).await;
            }
        }
    }
    let mut targets = Vec::new();
    for player in players {
        // Close connections first: a stopping server waits for open requests.
        drop(player.plays);
        player.target.stop().await;
        targets.push(player.report);
    }
    if let Some(upstream) = upstream {
        upstream.stop().await;
    }
    Ok(CellReport::new(cell, broker.clone(), targets, failed))
}

/// Starts all targets of a cell, and the upstream that they call, if it is not one of them. A peer that does not
/// start is reported and omitted.
async fn start(
    context: &CellContext<'_>,
    progress: &Progress,
    failed: &mut Vec<(String, String)>,
) -> Result<(Vec<Player>, Option<Target>), LoadError> {
    let CellContext { settings, cell, .. } = *context;
    let mut players = Vec::new();
    let mut context = context.clone();
    let mut upstream = None;
    if cell.operation.has_upstream() {
        progress.starting(UPSTREAM);
        let started = Target::upstream(&context).await?;
        context.upstream = started.authority();
        upstream = Some(started);
    }
    let context = &context;
    progress.starting(OURS);
    let ours = Target::ours(context).await?;
    if cell.operation == Operation::Updates {
        players.push(Player::listening(ours, context).await?);
        if settings.floor {
            progress.starting(FLOOR);
            let floor = Target::floor(context).await?;
            players.push(Player::listening(floor, context).await?);
        }
        return Ok((players, None));
    }
    players.push(Player::calling(ours, cell.concurrency, settings.rounds));
    let measured = upstream.take_if(|_| cell.operation.is_proxied());
    if let Some(upstream) = measured {
        players.push(Player::calling(upstream, cell.concurrency, settings.rounds));
    } else if settings.floor {
        progress.starting(FLOOR);
        let floor = Target::floor(context).await?;
        players.push(Player::calling(floor, cell.concurrency, settings.rounds));
    }
    for peer in &settings.peers {
        if !peer.is_measured_in(&cell) {
            continue;
        }
        progress.starting(&peer.name);
        let rounds = peer.rounds.unwrap_or(settings.rounds).min(settings.rounds);
        match Target::peer(peer, context).await {
            Ok(target) => players.push(Player::calling(target, cell.concurrency, rounds)),
            Err(error) => failed.push((peer.name.clone(), error.to_string())),
        }
    }
    Ok((players, upstream))
}

impl Player {
    fn new(target: Target, plays: Plays, rounds: usize) -> Self {
        Self {
            report: TargetReport::new(&target.name, target.role, target.start, target.idle),
            target,
            plays,
            rounds,
        }
    }

    async fn listening(target: Target, context: &CellContext<'_>) -> Result<Self, LoadError> {
        let CellContext { settings, cell, .. } = *context;
        let Endpoint::Http { url, .. } = &target.endpoint else {
            let why = "updates need an HTTP endpoint".to_owned();
            return Err(LoadError::Target {
                name: target.name,
                why,
            });
        };
        let fanout = Fanout::start(
            &target.name,
            url,
            cell.concurrency,
            context.broker,
            context.payload,
            settings.rate,
        );
        let plays = Plays::Listeners(Box::new(fanout.await?));
        Ok(Self::new(target, plays, settings.rounds))
    }

    fn calling(target: Target, concurrency: usize, rounds: usize) -> Self {
        let callers = (0..concurrency).map(|_| Caller::new(&target.endpoint, &target.call));
        let plays = Plays::Callers(callers.collect());
        Self::new(target, plays, rounds)
    }

    /// One measured turn.
    async fn round(&mut self, settings: &Settings, pace: &mut Fine) {
        let began = SystemTime::now();
        let driver = process::own_usage();
        let server = self.target.usage();
        let tally = self.turn(settings, settings.duration, pace).await;
        let used = |before: Option<process::Usage>, after: Option<process::Usage>| {
            Some(after?.since(before?))
        };
        let server = used(server, self.target.usage());
        let driver = used(driver, process::own_usage());
        let resident = self.target.resident();
        let figures = Figures::of(&tally, server, driver, resident);
        self.report.add(began, settings.duration, figures, tally);
    }

    async fn turn(&mut self, settings: &Settings, duration: Duration, pace: &mut Fine) -> Tally {
        match &mut self.plays {
            Plays::Callers(callers) => {
                let mut taken = std::mem::take(callers);
                for caller in &mut taken {
                    caller.prepare().await;
                }
                let (back, tally) = match settings.rate {
                    Some(rate) => drive::scheduled(taken, rate, duration, pace).await,
                    None => drive::closed(taken, duration).await,
                };
                *callers = back;
                tally
            }
            Plays::Listeners(fanout) => match settings.rate {
                Some(rate) => fanout.scheduled(rate, duration, pace).await,
                None => fanout.closed(duration).await,
            },
        }
    }
}

/// Publishes the retained message that is received and read.
async fn retain(context: &CellContext<'_>) -> Result<(), LoadError> {
    let failed = |error: crate::mqtt::MqttError| {
        LoadError::Broker(context.broker.to_string(), error.to_string())
    };
    let client_id = format!("tidegate-bench-{}", std::process::id());
    let mut mqtt = Mqtt::connect(context.broker, &client_id)
        .await
        .map_err(failed)?;
    let payload = Bytes::copy_from_slice(context.payload.as_bytes());
    mqtt.retain(RETAINED, payload).await.map_err(failed)
}

/// Sample text of `size` bytes, without characters that JSON escapes.
fn payload(size: usize) -> String {
    "temperature 21.5 humidity 48 "
        .chars()
        .cycle()
        .take(size)
        .collect()
}

/// Merges the histograms of several rounds.
pub(crate) fn merged<'a>(rounds: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut sum = histogram();
    for round in rounds {
        // All histograms have the same bounds.
        let _ = sum.add(round);
    }
    sum
}
