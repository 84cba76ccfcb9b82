//! The gateway as a child process of an MCP client (`stdio · server`).

use std::io::Write as _;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{Config, Process, full_pipe};

fn send(process: &mut Process, message: &Value) {
    let input = process.input.as_mut().expect("standard input is open");
    writeln!(input, "{message}").expect("it is read");
}

fn publish() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "publish",
            "arguments": { "topic": "a/b", "payload": "on" },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
}

/// Part of the event that is logged when the answer is sent to the client.
const ANSWERED: &str = "tools/call 'publish'";

#[test]
fn a_client_need_not_read_standard_error() {
    let (_unread, errors) = full_pipe();
    let config = Config::stdio(600_000);
    let arguments = ["start", "--config", config.path(), "--log-level", "debug"];
    let mut process = Process::start(&arguments, Stdio::piped(), errors.into());
    for _ in 0..3 {
        send(&mut process, &publish());
        let answer = process.output().next().expect("an answer");
        assert!(answer.contains("connection refused"), "{answer}");
    }
    // A client stops the gateway by closing its standard input.
    drop(process.input.take());
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_client_that_does_not_read_delays_a_stop_until_the_timeout() {
    let (_unread, output) = full_pipe();
    let config = Config::stdio(100);
    let arguments = ["start", "--config", config.path(), "--log-level", "debug"];
    let mut process = Process::start(&arguments, output.into(), Stdio::piped());
    process.errors().with("listening");
    send(&mut process, &publish());
    process.errors().with(ANSWERED);
    process.signal(Signal::TERM);
    process
        .errors()
        .with("stopping why=\"SIGTERM\" within_ms=100");
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait_for_a_client_that_does_not_read() {
    let (_unread, output) = full_pipe();
    let config = Config::stdio(600_000);
    let arguments = ["start", "--config", config.path(), "--log-level", "debug"];
    let mut process = Process::start(&arguments, output.into(), Stdio::piped());
    process.errors().with("listening");
    // The answer waits for the client to read.
    send(&mut process, &publish());
    process.errors().with(ANSWERED);
    process.signal(Signal::TERM);
    process.errors().with("stopping");
    process.signal(Signal::TERM);
    process.errors().with("stopped immediately");
    assert_eq!(process.ended(), Some(128 + 15));
}
