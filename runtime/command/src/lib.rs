//! The `tidegate` command: a gateway between AI agents (MCP) and machines (MQTT).
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the command runs in real time")]

mod arguments;
mod assembly;
mod audit;
mod background_writer;
#[cfg(feature = "bench")]
mod bench;
mod broker_profile;
mod broker_url;
#[cfg(test)]
mod capabilities;
mod certificates;
mod client;
mod console;
#[cfg(feature = "broker")]
mod demo;
mod explain;
mod exporters;
pub mod factory;
mod failure;
mod gateway;
mod genkey;
mod guards;
pub mod import;
mod log_file;
mod log_levels;
mod logging;
mod machines;
mod password_files;
mod passwords;
mod pin_edge;
mod pin_files;
mod pins;
mod probe;
pub mod registry;
mod server_url;
mod signals;
mod spec;
pub mod tls_files;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{
    Arguments, Audit as AuditCommand, Command, ConfigFile, Import as ImportCommand, Logging,
    Pins as PinsCommand,
};
use assembly::Extras;
use console::{FlushAtEnd, print_line};
use factory::Factory;
use failure::Failure;
use gateway::Gateway;
use signals::Signals;
use tidegate_config::{MissingVariables, Registry};

/// Parses the command line of this process and runs the command.
pub fn main() -> ExitCode {
    main_with(registry::registry)
}

/// Like [`main`], where `start` runs bindings of the kinds in `registry`. For programs that test the
/// gateway with bindings of their own.
pub fn main_with(registry: fn() -> Registry<Factory>) -> ExitCode {
    let arguments = Arguments::parse();
    let _flush = FlushAtEnd;
    match run(arguments.command, registry) {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, registry: fn() -> Registry<Factory>) -> Result<ExitCode, Failure> {
    match command {
        Command::Start { config, logging } => return start(&config, &logging, registry),
        Command::Validate {
            config,
            allow_missing_env,
            expanded,
        } => validate(&config, allow_missing_env, expanded)?,
        Command::Genkey(arguments) => genkey::run(&arguments)?,
        Command::Explain(asked) => return explain::run(&asked),
        Command::Import {
            command: ImportCommand::Mcpmqtt(arguments),
        } => return import::run(&arguments),
        Command::Schema { markdown: true } => {
            print_line(tidegate_config::reference(&registry::registry()).trim_end());
        }
        Command::Schema { markdown: false } => {
            let schema = tidegate_config::schema(&registry::registry());
            print_line(serde_json::to_string_pretty(&schema)?);
        }
        #[cfg(feature = "broker")]
        Command::Demo(demo) => return demo::run(&demo),
        #[cfg(feature = "bench")]
        Command::Bench(bench) => bench::run(*bench)?,
        #[cfg(feature = "bench")]
        Command::BenchFloor(floor) => bench::floor(floor)?,
        #[cfg(feature = "bench")]
        Command::BenchUpstream(upstream) => bench::upstream(&upstream)?,
        Command::Audit {
            command: AuditCommand::Verify(verify),
        } => return audit::verify(&verify),
        Command::Pins {
            command: PinsCommand::List(arguments),
        } => return pins::list(&arguments),
        Command::Pins {
            command: PinsCommand::Accept(arguments),
        } => return pins::accept(&arguments),
        Command::Spec { command } => spec::run(command)?,
        Command::Version => print_line(concat!("tidegate ", env!("CARGO_PKG_VERSION"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(config: &ConfigFile) -> Result<tidegate_config::Config, Failure> {
    read_with(config, &registry::registry())
}

fn read_with(
    config: &ConfigFile,
    registry: &Registry<Factory>,
) -> Result<tidegate_config::Config, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    Ok(tidegate_config::read(&config.path, registry, &environment)?)
}

fn validate(config: &ConfigFile, allow_missing_env: bool, expanded: bool) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let missing = if allow_missing_env {
        MissingVariables::Allowed
    } else {
        MissingVariables::Refused
    };
    let registry = registry::registry();
    let valid = tidegate_config::validate(&config.path, &registry, &environment, missing)?;
    // The files that guards name are part of the config; without a variable their paths may be unknown.
    if missing == MissingVariables::Refused {
        guards::make(&read(config)?)?;
    }
    if expanded {
        let yaml = tidegate_config::expanded(&config.path, &registry, &environment, missing)?;
        print_line(yaml.trim_end());
        return Ok(());
    }
    for warning in &valid.warnings {
        print_line(format!("warning: {}", warning.with_help()));
    }
    let (file, bindings) = (config.path.display(), valid.bindings);
    print_line(match valid.warnings.len() {
        0 => format!("{file} is valid: {bindings} bindings"),
        1 => format!("{file} is valid: {bindings} bindings, 1 warning"),
        warnings => format!("{file} is valid: {bindings} bindings, {warnings} warnings"),
    });
    Ok(())
}

fn start(
    config: &ConfigFile,
    logging: &Logging,
    registry: fn() -> Registry<Factory>,
) -> Result<ExitCode, Failure> {
    logging::start(logging)?;
    let config = read_with(config, &registry())?;
    let extras = Extras {
        registry,
        ..Extras::default()
    };
    serve(&config, extras, async |gateway| {
        gateway.announce().await;
        std::future::pending().await
    })
}

/// Runs a gateway and `work` until the gateway has stopped.
fn serve(
    config: &tidegate_config::Config,
    extras: Extras,
    work: impl AsyncFnOnce(&Gateway) -> Result<&'static str, Failure>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stopped = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let gateway = Gateway::start(config, extras).await?;
        gateway.run(&mut signals, work).await
    });
    // A DNS lookup cannot be cancelled, so do not wait for it.
    runtime.shutdown_background();
    stopped.map(|stopped| stopped.code())
}
