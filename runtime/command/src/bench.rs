//! `tidegate bench`: runs the load driver with the settings of the command line.

use std::path::Path;
use std::time::Duration;

use tidegate_load::{
    BrokerAddress, Floor, LoadError, Nagle, Peer, Settings, Upstream, read_targets, run_floor,
    run_upstream,
};

use crate::arguments::{self, Bench, BenchFloor, BenchUpstream};
use crate::console::print_line;
use crate::failure::Failure;
use crate::signals::Signals;

/// Runs the benchmark until it is done or interrupted by a signal; processes it started end with it.
pub(crate) fn run(bench: Bench) -> Result<(), Failure> {
    let settings = settings(bench)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut print = |text: &str| print_line(text);
        tokio::select! {
            outcome = tidegate_load::run(&settings, &mut print) => Ok::<_, Failure>(Some(outcome?)),
            signal = signals.next() => {
                print_line(format!("{signal}: benchmark interrupted"));
                Ok(None)
            }
        }
    })?;
    match outcome {
        Some(outcome) if outcome.is_failure() => Err(Failure::Calls {
            errors: outcome.errors,
            calls: outcome.calls,
        }),
        Some(_) => Ok(()),
        None => Err(Failure::Arguments("benchmark interrupted".to_owned())),
    }
}

/// Runs the floor and prints its listen address.
pub(crate) fn floor(floor: BenchFloor) -> Result<(), Failure> {
    let payload = floor.payload_file.as_deref();
    let payload = payload.map(|file| read(file, |file| std::fs::read(file)));
    let payload = payload.transpose()?.unwrap_or_default();
    let floor = Floor {
        listen: floor.listen,
        broker: BrokerAddress {
            address: floor.broker,
            trust: floor.trust,
        },
        operation: floor.operation,
        qos: floor.qos,
        topic: floor.topic,
        payload: payload.into(),
        upstream: floor.upstream,
        quickack: floor.quickack,
    };
    Ok(run_floor(&floor, |address| {
        print_line(address.to_string());
    })?)
}

/// Runs the upstream and prints its listen address.
pub(crate) fn upstream(upstream: &BenchUpstream) -> Result<(), Failure> {
    let payload = upstream.payload_file.as_deref();
    let payload = payload.map(|file| read(file, |file| std::fs::read_to_string(file)));
    let upstream = Upstream {
        listen: upstream.listen,
        payload: payload.transpose()?.unwrap_or_default(),
        tools: upstream.tools,
    };
    Ok(run_upstream(&upstream, |address| {
        print_line(address.to_string());
    })?)
}

fn settings(bench: Bench) -> Result<Settings, Failure> {
    let seconds = |value: f64| {
        Duration::try_from_secs_f64(value).map_err(|_| {
            Failure::Arguments(format!("invalid duration {value}; use a number of seconds"))
        })
    };
    let arguments = bench.arguments.as_deref().map(serde_json::from_str);
    let arguments = arguments
        .transpose()
        .map_err(|error| Failure::Arguments(format!("--arguments is not valid JSON: {error}")))?;
    Ok(Settings {
        operations: bench.operation,
        qos: bench.qos,
        concurrency: bench.concurrency,
        payload: bench.payload,
        rate: bench.rate,
        rounds: bench.rounds,
        duration: seconds(bench.duration)?,
        warm_up: seconds(bench.warm_up)?,
        broker: bench.broker,
        tls: bench.tls,
        trust: bench.trust,
        nagle: match bench.nagle {
            arguments::Nagle::On => vec![Nagle::On],
            arguments::Nagle::Off => vec![Nagle::Off],
            arguments::Nagle::Both => vec![Nagle::On, Nagle::Off],
        },
        workers: bench.workers,
        endpoint: bench.endpoint,
        tool: bench.tool,
        arguments,
        peers: bench
            .targets
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), peers)?,
        floor: !bench.no_floor,
        output: bench.output,
        verbose: bench.verbose,
    })
}

fn peers(file: &Path) -> Result<Vec<Peer>, Failure> {
    let text = read(file, |file| std::fs::read_to_string(file))?;
    read_targets(&text)
        .map_err(|error| LoadError::Settings(error).into())
        .map_err(|failure: Failure| Failure::Arguments(format!("{}: {failure}", file.display())))
}

fn read<T>(file: &Path, read: impl FnOnce(&Path) -> std::io::Result<T>) -> Result<T, Failure> {
    read(file).map_err(|error| Failure::Unreadable {
        file: file.to_owned(),
        error,
    })
}
