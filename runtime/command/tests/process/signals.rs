//! Signals that stop the process, in order or immediately.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::client::Client;
use crate::process::{Config, Process, SilentBroker, TIDEGATE, free_port};

/// A gateway with a call in progress that never completes.
fn with_a_pending_call() -> (Process, Client, SilentBroker, Config) {
    let broker = SilentBroker::new();
    let config = Config::http(0, broker.port());
    let arguments = ["start", "--config", config.path()];
    let process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let address = process.address();
    let mut client = Client::connect(address).expect("it listens");
    client.send_publish();
    // The worker handles requests in order: after this answer the call is in progress.
    let mut other = Client::connect(address).expect("it listens");
    assert_eq!(other.tools()[0]["name"], "publish");
    (process, client, broker, config)
}

/// The first signal begins an orderly stop; the second one ends it with this exit code.
fn second_signal(first: Signal, second: Signal, code: i32) {
    let (mut process, _client, broker, _config) = with_a_pending_call();
    let _connection = broker.called();
    process.signal(first);
    process.errors().with("stopping");
    process.signal(second);
    let text = process.errors().with("stopped immediately");
    assert!(text.contains("streams_cut="), "{text}");
    assert_eq!(process.ended(), Some(code));
}

#[test]
fn a_second_sigterm_stops_immediately() {
    second_signal(Signal::TERM, Signal::TERM, 128 + 15);
}

#[test]
fn a_second_sigint_stops_immediately() {
    second_signal(Signal::INT, Signal::INT, 128 + 2);
}

#[test]
fn a_sigterm_after_sighup_stops_immediately() {
    second_signal(Signal::HUP, Signal::TERM, 128 + 15);
}

/// A closing terminal may send SIGHUP more than once.
#[test]
fn a_second_sighup_does_not_stop_immediately() {
    let (mut process, mut client, broker, _config) = with_a_pending_call();
    let connection = broker.called();
    process.signal(Signal::TERM);
    process.errors().with("stopping");
    process.signal(Signal::HUP);
    // The call ends, and then the gateway stops.
    drop((connection, broker));
    assert!(!client.read_to_end().expect("an answer").is_empty());
    process.errors().with("stopped streams_cut=0");
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn sighup_stops_in_order() {
    let config = Config::http(0, free_port());
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    process.address();
    process.signal(Signal::HUP);
    process.errors().with("stopping why=\"SIGHUP\"");
    process.errors().with("stopped");
    assert_eq!(process.ended(), Some(0));
}

/// As with `nohup`.
#[test]
fn an_ignored_sighup_stays_ignored() {
    let config = Config::http(0, free_port());
    let mut command = Command::new("sh");
    let script = "trap '' HUP; exec \"$0\" start --config \"$1\"";
    command.args(["-c", script, TIDEGATE, config.path()]);
    let mut process = Process::spawn(command, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    process.signal(Signal::HUP);
    assert_eq!(client.tools()[0]["name"], "publish");
    process.signal(Signal::TERM);
    process.errors().with("stopping why=\"SIGTERM\"");
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_signal_stops_the_demo_during_its_tour() {
    let arguments = ["demo", "--port", "0"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    process.output().with("server/discover");
    process.signal(Signal::TERM);
    process.errors().with("stopping why=\"SIGTERM\"");
    assert_eq!(process.ended(), Some(0));
    let rest = process.output().rest();
    assert!(
        !rest.iter().any(|line| line.contains("keep running")),
        "{rest:?}"
    );
}
