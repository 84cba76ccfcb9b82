//! The longest turn of the worker and the memory for hostile bodies of 4 MB; see `tests/memory.rs`.
//! `cargo bench --bench bodies` prints one line for each.
#![allow(clippy::print_stdout, reason = "it is for people to read")]

use std::time::Duration;

use allocation_counter::measure;
use tidegate_benches::{Harness, HarnessOptions, bodies};

const SIZE: usize = 4 * 1024 * 1024;
const ROUNDS: usize = 15;

fn main() {
    // As a test, run each once.
    let (size, rounds) = if std::env::args().any(|argument| argument == "--bench") {
        (SIZE, ROUNDS)
    } else {
        (SIZE / 64, 1)
    };
    println!("{:>10} {:>10} {:>8}  body", "fastest", "slowest", "held");
    for part in [64 * 1024, 100] {
        println!("in parts of {part} bytes:");
        for body in bodies(size) {
            let mut harness = Harness::new(&HarnessOptions::default());
            let session = harness.session();
            let mut times: Vec<Duration> = (0..rounds)
                .map(|_| harness.body(&body, part, &session))
                .collect();
            times.sort_unstable();
            let held = measure(|| {
                harness.body(&body, part, &session);
            });
            let percent = 100 + 100 * held.bytes_max / body.text.len().max(1) as u64;
            let millis = |time: Option<&Duration>| time.map_or(0.0, |it| it.as_secs_f64() * 1e3);
            println!(
                "{:>7.2} ms {:>7.2} ms {percent:>7} %  {}",
                millis(times.first()),
                millis(times.last()),
                body.name
            );
        }
    }
}
