//! `tidegate demo` as a new user sees it.

use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::Process;

#[test]
fn the_tour_logs_no_warning_and_with_once_prints_no_endpoint() {
    let arguments = ["demo", "--once"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let output = process.output().rest();
    assert_eq!(process.ended(), Some(0), "{output:#?}");
    let errors = process.errors().rest();
    let is_problem = |line: &&String| line.contains("WARN") || line.contains("ERROR");
    assert_eq!(errors.iter().find(is_problem), None, "{errors:#?}");
    for step in 1..=16 {
        let found = output
            .iter()
            .any(|line| line.starts_with(&format!("{step}  ")));
        assert!(found, "step {step}: {output:#?}");
    }
    let outcomes = ["notSent", "confirmed", "contradicted", "unconfirmed"];
    let outcomes = output.iter().filter_map(|line| {
        let (outcome, _) = line.trim_start().split_once(": ")?;
        outcomes.contains(&outcome).then_some(outcome)
    });
    let expected = [
        "notSent",
        "confirmed",
        "confirmed",
        "contradicted",
        "confirmed",
        "confirmed",
        "notSent",
    ];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected, "{output:#?}");
    for absent in ["listening", "mcpServers", "claude mcp add", "curl"] {
        assert!(
            !output.iter().any(|line| line.contains(absent)),
            "{absent}: {output:#?}"
        );
    }
    assert!(
        output.iter().any(|line| line.contains("Tour complete.")),
        "{output:#?}"
    );
}

#[test]
fn the_demo_logs_no_warning_and_prints_client_snippets() {
    let arguments = ["demo", "--port", "0"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let address = process.address();
    let line = process.output().with("claude mcp add");
    assert!(line.contains(&format!("http://{address}/mcp")), "{line}");
    process.output().with("keep running");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let errors = process.errors().rest();
    assert!(
        !errors.iter().any(|line| line.contains("WARN")),
        "{errors:#?}"
    );
}

#[test]
fn a_port_in_use_is_reported_with_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let mut process = Process::start(&["demo", "--port", &port], Stdio::null(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let errors = process.errors().rest();
    let reported = errors.last().expect("a reason");
    let expected = format!("error: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(reported.starts_with(&expected), "{reported}");
    assert!(
        reported.ends_with("choose another port with --port, or --port 0 for a free one"),
        "{reported}"
    );
}
