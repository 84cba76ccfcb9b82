//! Signals that end the process, in order or at once.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::client::Client;
use crate::process::{Config, Process, SilentBroker, TIDEGATE, free_port};

/// A gateway with a call under way that nothing will end.
fn with_a_call_under_way() -> (Process, Client, SilentBroker, Config) {
    let broker = SilentBroker::new();
    let config = Config::http(0, broker.port());
    let arguments = ["start", "--config", config.path()];
    let process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let address = process.address();
    let mut client = Client::connect(address).expect("it listens");
    client.send_publish();
    // Whoever asks behind it is answered behind it: it is under way.
    let mut other = Client::connect(address).expect("it listens");
    assert_eq!(other.tools()[0]["name"], "publish");
    (process, client, broker, config)
}

/// The first signal begins a stop in order, and the second one ends it with this exit code.
fn second_signal(first: Signal, second: Signal, code: i32) {
    let (mut process, _client, broker, _config) = with_a_call_under_way();
    let _connection = broker.called();
    process.signal(first);
    process.errors().with("stopping");
    process.signal(second);
    let told = process.errors().with("stopped at once");
    assert!(told.contains("streams_cut="), "{told}");
    assert_eq!(process.ended(), Some(code));
}

#[test]
fn a_second_sigterm_stops_at_once() {
    second_signal(Signal::TERM, Signal::TERM, 128 + 15);
}

#[test]
fn a_second_sigint_stops_at_once() {
    second_signal(Signal::INT, Signal::INT, 128 + 2);
}

#[test]
fn a_stop_after_sighup_is_cut_short_as_any_other() {
    second_signal(Signal::HUP, Signal::TERM, 128 + 15);
}

/// A terminal that goes away may send it more than once.
#[test]
fn sighup_never_cuts_a_stop_short() {
    let (mut process, mut client, broker, _config) = with_a_call_under_way();
    let connection = broker.called();
    process.signal(Signal::TERM);
    process.errors().with("stopping");
    process.signal(Signal::HUP);
    // The call comes to its end, and the stop with it.
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

/// As `nohup` starts it.
#[test]
fn a_sighup_that_was_ignored_stays_so() {
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
fn a_demo_stops_in_the_middle_of_its_tour() {
    let arguments = ["demo", "--port", "0"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    process.output().with("server/discover");
    process.signal(Signal::TERM);
    process.errors().with("stopping why=\"SIGTERM\"");
    assert_eq!(process.ended(), Some(0));
    let rest = process.output().rest();
    assert!(
        !rest.iter().any(|line| line.contains("stay up")),
        "{rest:?}"
    );
}
