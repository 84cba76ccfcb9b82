//! What the log tells, and what it refuses.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Config, Process, connect_once_it_listens, free_port};

#[test]
fn a_level_that_is_not_known_is_refused() {
    let config = Config::http(0, free_port());
    for (levels, told) in [
        ("verbose", "unknown level 'verbose'"),
        (
            "info,tidegate_bindings=debug",
            "unknown module 'tidegate_bindings'",
        ),
    ] {
        let arguments = ["start", "--config", config.path(), "--log-level", levels];
        let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
        assert_eq!(process.ended(), Some(2));
        let errors = process.errors().rest().join("\n");
        assert!(errors.contains(told), "{errors}");
    }
}

#[test]
fn with_json_nothing_else_is_written_anywhere() {
    let port = free_port();
    let config = Config::http(port, free_port());
    let arguments = ["start", "--config", config.path(), "--log", "json"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = connect_once_it_listens(port);
    assert_eq!(client.tools()[0]["name"], "publish");
    process.errors().with("NOT connected");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    assert_eq!(process.output().rest(), Vec::<String>::new());
    for line in process.errors().rest() {
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert!(line["target"].is_string(), "{line}");
    }
}

#[test]
fn a_stop_tells_what_was_counted() {
    let config = Config::http(0, free_port());
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    for _ in 0..3 {
        assert_eq!(client.tools()[0]["name"], "publish");
    }
    process.signal(Signal::TERM);
    let line = process.errors().with("counters: ");
    assert!(line.contains("tidegate::gateway: "), "{line}");
    for figure in [
        "engine.frames=",
        "http0/http.server.requests{outcome=opened}=3",
        "http0/http.server.connections.accepted=1",
        "mqtt_client0/mqtt.client.connects{outcome=failed}=",
        "tcp_client0/tcp.client.connects{outcome=failed}=",
    ] {
        assert!(line.contains(figure), "{figure} in {line}");
    }
    assert_eq!(process.ended(), Some(0));
}
