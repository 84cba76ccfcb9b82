//! A standard error that is blocked, closed or full does not affect the gateway.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;
use crate::process::{
    Config, Lines, Process, closed_pipe, connect_once_it_listens, free_port, full_file, full_pipe,
};

/// Failing calls, which are logged, are answered, and the gateway stops in order.
fn works_with(errors: impl Into<Stdio>) {
    let config = Config::http(0, free_port());
    let arguments = ["start", "--config", config.path(), "--log-level", "debug"];
    let mut process = Process::start(&arguments, Stdio::piped(), errors.into());
    let mut client = process.connect();
    for _ in 0..3 {
        let text = client.publish();
        assert!(text.contains("connection refused"), "{text}");
    }
    assert_eq!(client.tools()[0]["name"], "publish");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_full_disk_does_not_affect_calls() {
    works_with(full_file());
}

#[test]
fn a_closed_pipe_does_not_affect_calls() {
    works_with(closed_pipe());
}

#[test]
fn a_full_pipe_does_not_affect_calls() {
    let (_unread, errors) = full_pipe();
    works_with(errors);
}

/// Sends an invalid request, which closes the connection and logs a line.
fn provoke(client: &mut Client) {
    let written = client.write(b"not HTTP\r\n\r\n");
    written.expect("it is taken");
    match client.read_to_end() {
        Ok(_) => {}
        // The response is lost, but the connection is closed.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is still open: {error}"),
    }
}

#[test]
fn unread_log_lines_are_dropped_and_counted() {
    const PROVOKED: u64 = 4_000;
    let (unread, errors) = full_pipe();
    let port = free_port();
    let config = Config::http(port, free_port());
    let path = config.path();
    let arguments = ["start", "-c", path, "--log", "json", "--log-level", "debug"];
    let mut process = Process::start(&arguments, Stdio::null(), errors.into());
    drop(connect_once_it_listens(port));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..PROVOKED {
        provoke(&mut Client::connect(address).expect("it listens"));
    }
    // The worker has handled the last connection too.
    let mut client = Client::connect(address).expect("it listens");
    assert_eq!(client.tools()[0]["name"], "publish");
    let errors = Lines::of(unread);
    assert!(
        errors
            .next()
            .expect("what filled the pipe")
            .starts_with('.')
    );
    let mut logged = 0;
    let gap: Value = loop {
        let line = errors.next().expect("a report of the gap");
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        if line["fields"]["lines_dropped"].is_u64() {
            break line;
        }
        let message = &line["fields"]["message"];
        logged += u64::from(message == "connection failed");
    };
    let dropped = gap["fields"]["lines_dropped"].as_u64().expect("a count");
    assert!(
        logged > 0 && logged + dropped >= PROVOKED,
        "{logged} lines, then {gap}"
    );
    let message = gap["fields"]["message"].as_str().expect("a message");
    let expected = format!("{dropped} log lines dropped");
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(gap["level"], "WARN");
    // Once the pipe is read again, all further lines arrive.
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let last = errors.rest().pop().expect("a last line");
    let last: Value = serde_json::from_str(&last).expect("a line of JSON");
    assert_eq!(last["fields"]["message"], "stopped");
}

#[test]
fn a_failed_start_exits_even_if_standard_error_is_blocked() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let config = Config::http(port, free_port());
    let (unread, errors) = full_pipe();
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::null(), errors.into());
    assert_eq!(process.ended(), Some(1));
    drop(unread);

    let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let text = process.errors().rest();
    let expected = format!("error: cannot listen on 127.0.0.1:{port}: ");
    assert!(
        matches!(text.as_slice(), [line] if line.starts_with(&expected)),
        "{text:?}"
    );
}
