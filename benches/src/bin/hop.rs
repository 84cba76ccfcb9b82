//! The hop of a frame, for `scripts/cost`: a frame is sent by one binding and handled by the next.
//!
//! `hop N` makes N hops, so that the difference of two runs is the cost of hops only; `hop --time` prints
//! the time of one hop in nanoseconds, in the fastest of many rounds.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures time, and its output is the figure"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_benches::Chain;

/// Number of relays, so that the edges at both ends cost about 1 %.
const RELAYS: usize = 99;

const ROUNDS: usize = 300;
/// Length of a round, about 0.5 ms, so that some rounds are not interrupted.
const PASSES: usize = 100;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    match argument
        .as_deref()
        .map(|text| (text, text.parse::<usize>()))
    {
        Some(("--time", _)) => time(),
        Some((_, Ok(hops))) => count(hops),
        _ => {
            println!("usage: hop NUMBER | hop --time");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Makes this many hops, rounded up to complete passes.
fn count(hops: usize) {
    let mut chain = Chain::new(RELAYS);
    let payload = Bytes::from_static(b"payload");
    for _ in 0..hops.div_ceil(chain.hops()) {
        chain.pass(&payload);
    }
}

fn time() {
    let mut chain = Chain::new(RELAYS);
    let payload = Bytes::from_static(b"payload");
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..PASSES {
            chain.pass(&payload);
        }
        fastest = fastest.min(start.elapsed());
    }
    let hops = u32::try_from(PASSES * chain.hops()).unwrap_or(u32::MAX);
    println!("{:.2}", fastest.as_secs_f64() * 1e9 / f64::from(hops));
}
