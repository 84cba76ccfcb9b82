//! `tidegate demo`, as somebody sees it who tries it for the first time.

use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::Process;

#[test]
fn a_tour_warns_of_nothing_and_advertises_nothing_that_ends_with_it() {
    let arguments = ["demo", "--once"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let output = process.output().rest();
    assert_eq!(process.ended(), Some(0), "{output:#?}");
    let errors = process.errors().rest();
    let is_trouble = |line: &&String| line.contains("WARN") || line.contains("ERROR");
    assert_eq!(errors.iter().find(is_trouble), None, "{errors:#?}");
    for step in 1..=8 {
        let found = output
            .iter()
            .any(|line| line.starts_with(&format!("{step}  ")));
        assert!(found, "step {step}: {output:#?}");
    }
    for gone in ["listening", "mcpServers", "claude mcp add", "curl"] {
        assert!(
            !output.iter().any(|line| line.contains(gone)),
            "{gone}: {output:#?}"
        );
    }
    assert!(
        output.iter().any(|line| line.contains("The tour is over.")),
        "{output:#?}"
    );
}

#[test]
fn a_demo_that_stays_up_warns_of_nothing_and_says_how_to_use_it() {
    let arguments = ["demo", "--port", "0"];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let address = process.address();
    let line = process.output().with("claude mcp add");
    assert!(line.contains(&format!("http://{address}/mcp")), "{line}");
    process.output().with("stay up");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let errors = process.errors().rest();
    assert!(
        !errors.iter().any(|line| line.contains("WARN")),
        "{errors:#?}"
    );
}

#[test]
fn a_port_that_is_taken_is_met_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let mut process = Process::start(&["demo", "--port", &port], Stdio::null(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let errors = process.errors().rest();
    let told = errors.last().expect("a reason");
    let expected = format!("error: cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(told.starts_with(&expected), "{told}");
    assert!(
        told.ends_with("use another port with --port, or any free one with --port 0"),
        "{told}"
    );
}
