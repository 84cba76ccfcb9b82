//! A standard output that is blocked or closed does not affect the command.

use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{
    Config, Process, closed_pipe, connect_once_it_listens, free_port, full_file, full_pipe,
};

fn gateway_with(output: impl Into<Stdio>) {
    let port = free_port();
    let config = Config::http(port, free_port());
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, output.into(), Stdio::piped());
    let mut client = connect_once_it_listens(port);
    assert!(client.publish().contains("connection refused"));
    process.signal(Signal::TERM);
    process.errors().with("stopping");
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_gateway_runs_and_stops_with_a_full_pipe() {
    let (_unread, output) = full_pipe();
    gateway_with(output);
}

#[test]
fn a_gateway_runs_and_stops_with_a_closed_or_full_output() {
    gateway_with(full_file());
    gateway_with(closed_pipe());
}

#[test]
fn a_demo_stops_with_a_full_pipe() {
    let (_unread, output) = full_pipe();
    let port = free_port();
    let arguments = ["demo", "--port", &port.to_string()];
    let mut process = Process::start(&arguments, output.into(), Stdio::piped());
    drop(connect_once_it_listens(port));
    process.signal(Signal::TERM);
    process.errors().with("stopping");
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_closed_pipe_is_no_error_for_other_commands() {
    let config = Config::http(0, free_port());
    let validate = ["validate", "--config", config.path()];
    for arguments in [
        &validate[..],
        &["schema"],
        &["spec", "fields"],
        &["version"],
    ] {
        let mut process = Process::start(arguments, closed_pipe().into(), Stdio::piped());
        assert_eq!(process.ended(), Some(0), "{arguments:?}");
        let text = process.errors().rest();
        assert!(text.is_empty(), "{arguments:?}: {text:?}");
    }
}
