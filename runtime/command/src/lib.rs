//! The `tidegate` command: a gateway between AI agents (MCP) and machines (MQTT).
#![forbid(unsafe_code)]

mod arguments;
mod assembly;
#[cfg(feature = "bench")]
mod bench;
mod bindings;
mod client;
mod console;
#[cfg(feature = "broker")]
mod demo;
mod failure;
mod gateway;
pub mod house;
mod logging;
mod registry;
mod signals;
mod spec;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command, ConfigFile, Logging};
use console::say;
use failure::Failure;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Start { config, logging } => start(&config, &logging),
        Command::Validate { config } => validate(&config),
        Command::Schema => {
            let schema = tidegate_config::schema(&registry::registry());
            say(serde_json::to_string_pretty(&schema)?);
            Ok(())
        }
        #[cfg(feature = "broker")]
        Command::Demo {
            once,
            port,
            logging,
        } => demo::run(once, port, &logging),
        #[cfg(feature = "bench")]
        Command::Bench(bench) => bench::run(*bench),
        #[cfg(feature = "bench")]
        Command::BenchFloor(floor) => bench::floor(floor),
        Command::Spec { command } => spec::run(command),
        Command::Version => {
            say(concat!("tidegate ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    }
}

fn read(config: &ConfigFile) -> Result<tidegate_config::Config, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    Ok(tidegate_config::read(
        &config.path,
        &registry::registry(),
        &environment,
    )?)
}

fn validate(config: &ConfigFile) -> Result<(), Failure> {
    let read = read(config)?;
    for warning in &read.warnings {
        say(format!("warning: {warning}"));
    }
    say(format!(
        "{} is in order: {} bindings",
        config.path.display(),
        read.bindings.len()
    ));
    Ok(())
}

fn start(config: &ConfigFile, logging: &Logging) -> Result<(), Failure> {
    logging::start(logging)?;
    let config = read(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let gateway = gateway::Gateway::start(&config, assembly::Extras::default())?;
        gateway.announce().await;
        gateway.run_until_stopped().await;
        Ok(())
    })
}
