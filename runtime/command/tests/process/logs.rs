//! The logging options and the content of the log.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;
use crate::process::{Config, Process, connect_once_it_listens, free_port};

#[test]
fn an_unknown_log_level_is_rejected() {
    let config = Config::http(0, free_port());
    for (levels, text) in [
        ("verbose", "unknown log level 'verbose'"),
        (
            "info,tidegate_bindings=debug",
            "unknown module 'tidegate_bindings'",
        ),
    ] {
        let arguments = ["start", "--config", config.path(), "--log-level", levels];
        let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
        assert_eq!(process.ended(), Some(2));
        let errors = process.errors().rest().join("\n");
        assert!(errors.contains(text), "{errors}");
    }
}

#[test]
fn a_level_in_capitals_is_accepted() {
    let config = Config::http(0, free_port());
    let arguments = ["start", "--config", config.path(), "--log-level", "DEBUG"];
    let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
    process.errors().with(" DEBUG ");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn with_json_all_output_is_json_on_standard_error() {
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
fn a_stop_logs_the_counters() {
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

#[test]
fn log_calls_logs_each_call_with_its_trace() {
    let trace_of = |line: &str| {
        let (_, behind) = line.split_once("trace=").expect("a trace");
        behind.split(' ').next().expect("a trace").to_owned()
    };
    let config = Config::http(0, free_port());
    let start = ["start", "--config", config.path()];
    // At any other log level.
    let arguments = [&start[..], &["--log-calls", "--log-level", "error"]].concat();
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    let mut traces = Vec::new();
    for _ in 0..2 {
        assert!(client.publish().contains("connection refused"));
        let inner = process.errors().with("binding.mcp_mqtt.call.completed");
        assert!(
            inner.contains("INFO tidegate::call: publish 'a/b': not_sent"),
            "{inner}"
        );
        let outer = process.errors().with("binding.mcp.call.completed");
        assert!(
            outer.contains("tools/call 'publish': tool_error"),
            "{outer}"
        );
        assert_eq!(trace_of(&inner), trace_of(&outer));
        traces.push(trace_of(&outer));
    }
    assert_ne!(traces.first(), traces.last());
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));

    let mut process = Process::start(&start, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    assert!(client.publish().contains("connection refused"));
    process.signal(Signal::TERM);
    let rest = process.errors().rest();
    assert!(
        rest.iter()
            .any(|line| line.contains("binding.mqtt.connection.lost"))
    );
    // At the stop, the number of events is logged all the same.
    let mut events = rest.iter().filter(|line| !line.contains("counters: "));
    assert!(
        !events.any(|line| line.contains("call.completed")),
        "{rest:?}"
    );
    assert_eq!(process.ended(), Some(0));

    // At debug, every event of the call is logged.
    let arguments = [&start[..], &["--log-level", "debug"]].concat();
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    assert!(client.publish().contains("connection refused"));
    let opened = process.errors().with("binding.http.request.opened");
    let inner = process.errors().with("binding.mcp_mqtt.call.completed");
    assert!(inner.contains("DEBUG tidegate::event: "), "{inner}");
    assert_eq!(trace_of(&opened), trace_of(&inner));
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_text_of_a_client_cannot_break_a_line_or_colour_it() {
    for form in ["text", "json"] {
        let config = Config::http(0, free_port());
        let start = ["start", "--config", config.path(), "--log-calls"];
        let arguments = [&start[..], &["--log", form]].concat();
        let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
        let address = if form == "text" {
            process.address()
        } else {
            let line = process.errors().with("listening   http://");
            let (_, address) = line.split_once("http://").expect("a URL");
            let end = address.find("/mcp").expect("a path");
            address[..end].parse().expect("an address")
        };
        let mut client = Client::connect(address).expect("it listens");
        client.publish_to("a/\u{202e}\u{2028}b", "on");
        let line = process.errors().with("binding.mcp_mqtt.call.completed");
        assert!(
            line.contains("u{202e}") && line.contains("u{2028}b"),
            "{line}"
        );
        assert!(!line.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{line}");
        process.signal(Signal::TERM);
        assert_eq!(process.ended(), Some(0));
    }
}

#[test]
fn a_log_file_has_the_lines_instead_of_standard_error() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("new/gate.log");
    let path = path.to_str().expect("a path of text");
    let config = Config::http(0, free_port());
    for round in 1..=2 {
        let arguments = ["start", "--config", config.path(), "--log-file", path];
        let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
        assert!(process.connect().publish().contains("connection refused"));
        process.signal(Signal::TERM);
        assert_eq!(process.ended(), Some(0));
        assert_eq!(process.errors().rest(), Vec::<String>::new());
        let text = std::fs::read_to_string(path).expect("a file");
        // It is continued, and nothing is coloured.
        assert_eq!(
            text.matches("broker connection failed").count(),
            round,
            "{text}"
        );
        assert_eq!(text.matches(": stopped").count(), round, "{text}");
        assert!(!text.contains('\u{1b}') && text.ends_with('\n'), "{text}");
    }
}

#[test]
fn a_log_file_on_a_full_disk_does_not_affect_calls_and_is_noticed_once() {
    let config = Config::http(0, free_port());
    let start = ["start", "--config", config.path(), "--log-level", "debug"];
    let arguments = [&start[..], &["--log-file", "/dev/full"]].concat();
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    for _ in 0..3 {
        assert!(client.publish().contains("connection refused"));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let errors = process.errors().rest();
    assert!(
        matches!(errors.as_slice(), [line] if line.starts_with("cannot write log file /dev/full: ")),
        "{errors:?}"
    );
}

#[test]
fn a_log_file_that_cannot_be_opened_fails_the_start() {
    let config = Config::http(0, free_port());
    let below = format!("{}/gate.log", config.path());
    let arguments = ["start", "--config", config.path(), "--log-file", &below];
    let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let errors = process.errors().rest();
    let expected = format!("error: cannot open log file {below}: ");
    assert!(
        matches!(errors.as_slice(), [line] if line.starts_with(&expected)),
        "{errors:?}"
    );
    // A size without a file has no effect, so it is refused.
    let arguments = ["start", "--config", config.path(), "--log-file-size", "1"];
    let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
    assert_eq!(process.ended(), Some(2));
}
