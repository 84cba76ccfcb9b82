//! How long a body of 4 MB that is made to be slow holds a worker at a time, and what it makes the
//! gateway hold; see `tests/memory.rs`. `cargo bench --bench bodies` prints one line for each; the times are those
//! of the release profile and of this machine.
#![allow(clippy::print_stdout, reason = "it is for people to read")]

use std::time::Duration;

use allocation_counter::measure;
use tidegate_benches::{Furniture, House, bodies};

const SIZE: usize = 4 * 1024 * 1024;
const ROUNDS: usize = 15;

fn main() {
    // As a test, each is gone through once.
    let (size, rounds) = if std::env::args().any(|argument| argument == "--bench") {
        (SIZE, ROUNDS)
    } else {
        (SIZE / 64, 1)
    };
    println!("{:>10} {:>10} {:>8}  body", "fastest", "slowest", "held");
    for part in [64 * 1024, 100] {
        println!("in parts of {part} bytes:");
        for body in bodies(size) {
            let mut house = House::new(&Furniture::default());
            let session = house.session();
            let mut times: Vec<Duration> = (0..rounds)
                .map(|_| house.body(&body, part, &session))
                .collect();
            times.sort_unstable();
            let held = measure(|| {
                house.body(&body, part, &session);
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
