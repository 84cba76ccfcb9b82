//! Serves the fixtures of the MCP conformance suite behind `mcp · server` and `http · server`.
//!
//! `scripts/conformance` runs it. The suite asks for certain tools, prompts and resources; they are a
//! binding of this program, `conformance · server`, which the gateway does not have. Everything in front
//! of it is the gateway's own: what passes here passes in the gateway.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    reason = "a missing member of a JSON value is null, and this program only serves a test suite"
)]

mod content;
mod exchange;
mod input;
mod lists;
mod plan;
mod prompts;
mod resources;
mod server;
mod tools;

use std::process::ExitCode;

use tidegate::factory::Factory;
use tidegate_config::{Descriptor, Protocol, Registry};

use crate::server::{Fixtures, Options};

fn main() -> ExitCode {
    tidegate::main_with(registry)
}

/// The kinds of a gateway, and the fixtures.
fn registry() -> Registry<Factory> {
    let fixtures = Descriptor::of::<Options>("conformance", "server", "Serves the fixtures.")
        .accepts(&[Protocol::Mcp])
        .made_by(Factory::Machine(|declared| {
            let options: Options = declared.options()?;
            Ok(Box::new(Fixtures::new(options)))
        }));
    tidegate::registry::registry().with(fixtures)
}
