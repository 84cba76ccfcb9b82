//! `admin · server` of a real gateway: state and metrics.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Config, Process, TIMEOUT, free_port};

/// Status and body of a GET.
fn get(mut socket: impl std::io::Read + std::io::Write, path: &str, host: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it is open");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

fn get_at(address: SocketAddr, path: &str) -> (u16, String) {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("it is open");
    get(socket, path, &address.to_string())
}

/// The printed address of the admin listener, which is printed after the endpoint's.
fn admin_address(process: &Process) -> SocketAddr {
    let line = process.output().with("/metrics");
    let (_, address) = line.split_once("http://").expect("a URL");
    address
        .trim_end_matches("/metrics")
        .parse()
        .expect("an address")
}

#[test]
fn calls_are_found_in_the_metrics_of_all_workers() {
    let config = Config::with_broker(
        "  admin0: { type: admin, kind: server, options: { listen: 127.0.0.1:0 } }\n",
    );
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let mut client = process.connect();
    let admin = admin_address(&process);
    process.output().with("connected");
    assert_eq!(get_at(admin, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(get_at(admin, "/readyz"), (200, "ok\n".to_owned()));
    client.publish();
    client.publish_to("b", "refused");
    let (status, page) = get_at(admin, "/metrics");
    assert_eq!(status, 200);
    for expected in [
        "# TYPE mcp_server_operation_duration_seconds histogram",
        "mcp_server_operation_duration_seconds_count{binding=\"mcp_server0\",mcp_method_name=\"tools/call\",outcome=\"ok\"} 1",
        "mcp_server_calls_total{binding=\"mcp_server0\",outcome=\"tool_error\"} 1",
        "mcp_mqtt_operations_total{binding=\"mcp_mqtt0\",operation=\"publish\",outcome=\"ok\"} 1",
        "mqtt_client_publications_total{binding=\"mqtt_client0\",outcome=\"done\"} 1",
        "engine_worker_up{worker=\"0\"} 1",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    // What each metric means is known; the name stands in for what has no meaning.
    let without_help = page.lines().find(|line| {
        line.strip_prefix("# HELP ")
            .is_some_and(|line| !line.ends_with('.'))
    });
    assert_eq!(without_help, None);
    assert_eq!(get_at(admin, "/").0, 404);
    let socket = TcpStream::connect(admin).expect("it listens");
    assert_eq!(get(socket, "/metrics", "rebinding.example").0, 403);
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_required_broker_that_is_down_makes_the_gateway_unready() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("admin-{}", std::process::id()));
    let config = Config::new(&format!(
        "name: process
workers: 2
bindings:
  mqtt_client0:
    type: mqtt
    kind: client
    options: {{ required: true }}
    exit: tcp_client0
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {} }} }}
  http0:
    {{ type: http, kind: server, options: {{ listen: 127.0.0.1:0 }}, exit: mcp_server0 }}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ subscribe: [ \"#\" ], publish: [ \"#\" ] }}, exit: mqtt_client0 }}
  admin0: {{ type: admin, kind: server, options: {{ listen: \"unix:{}\" }} }}
",
        free_port(),
        path.display()
    ));
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    process.output().with("NOT connected");
    let get = |what: &str| {
        get(
            UnixStream::connect(&path).expect("it listens"),
            what,
            "localhost",
        )
    };
    assert_eq!(get("/livez"), (200, "ok\n".to_owned()));
    let problem = "required broker of 'mqtt_client0' is not connected\n";
    assert_eq!(get("/readyz"), (503, problem.to_owned()));
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    // The socket of a process that has ended is replaced.
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    process.output().with("NOT connected");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
    let _ = std::fs::remove_file(&path);
}

#[test]
fn an_address_that_others_reach_must_be_meant() {
    let config = Config::with_broker(
        "  admin0: { type: admin, kind: server, options: { listen: 0.0.0.0:0 } }\n",
    );
    let arguments = ["validate", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let errors = process.errors().rest().join("\n");
    assert!(errors.contains("unguarded: true"), "{errors}");
}
