//! The process runs out of file descriptors and recovers.

use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::client::Client;
use crate::process::{Config, Process, free_port};

/// The number of open descriptors of a process.
fn descriptors(process: &Process) -> u64 {
    let path = format!("/proc/{}/fd", process.pid().as_raw_nonzero());
    std::fs::read_dir(path).expect("a process").count() as u64
}

#[test]
fn descriptor_exhaustion_is_logged_when_it_begins_and_ends() {
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
    // The broker is unreachable now: callers get an error, but no second exhaustion is logged.
    // (The first calls may still get the error of the connection attempt at the start.)
    let mut text = std::iter::repeat_with(|| client.publish());
    let exhausted = |text: &String| text.contains("no free file descriptor");
    assert!(text.any(|text| exhausted(&text)));
    for text in text.take(3) {
        assert!(exhausted(&text), "{text}");
    }
    drop(fillers);
    // Waiting connections are accepted, and so is the next one.
    let mut other = Client::connect(address).expect("it listens");
    assert_eq!(other.tools()[0]["name"], "publish");
    let text = process.errors().with("file descriptors");
    assert!(text.contains("available again"), "{text}");
    assert!(text.contains("failed_attempts="), "{text}");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let rest = process.errors().rest();
    let again = rest.iter().any(|line| line.contains("descriptor"));
    assert!(!again, "{rest:?}");
}
