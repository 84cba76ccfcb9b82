//! The process runs out of file descriptors, and gets them back.

use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::client::Client;
use crate::process::{Config, Process, free_port};

/// How many descriptors a process has.
fn descriptors(process: &Process) -> u64 {
    let path = format!("/proc/{}/fd", process.pid().as_raw_nonzero());
    std::fs::read_dir(path).expect("a process").count() as u64
}

#[test]
fn exhaustion_is_logged_when_it_begins_and_when_it_is_over() {
    let config = Config::http(0, free_port());
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let address = process.address();
    let mut client = Client::connect(address).expect("it listens");
    assert_eq!(client.tools()[0]["name"], "publish");

    let limit = Some(descriptors(&process) + 2);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    prlimit(Some(process.pid()), Resource::Nofile, limit).expect("a lower limit");
    let fillers: Vec<TcpStream> = (0..6)
        .map(|_| TcpStream::connect(address).expect("the kernel takes it"))
        .collect();
    process.errors().with("file descriptors exhausted");
    // The broker cannot be reached now, and that is told, but not logged as another exhaustion.
    // (The first calls may still hear of the attempt at the start.)
    let mut told = std::iter::repeat_with(|| client.publish());
    let exhausted = |told: &String| told.contains("no file descriptor is left");
    assert!(told.any(|told| exhausted(&told)));
    for told in told.take(3) {
        assert!(exhausted(&told), "{told}");
    }
    drop(fillers);
    // Those that waited are accepted, and so is the next.
    let mut other = Client::connect(address).expect("it listens");
    assert_eq!(other.tools()[0]["name"], "publish");
    let told = process.errors().with("file descriptors");
    assert!(told.contains("available again"), "{told}");
    assert!(told.contains("failed_attempts="), "{told}");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let rest = process.errors().rest();
    let again = rest.iter().any(|line| line.contains("descriptor"));
    assert!(!again, "{rest:?}");
}
