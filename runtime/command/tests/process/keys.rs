//! A key from `tidegate genkey` to the identity of a call.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::process::{Config, Process, TIDEGATE, free_port};

/// `stdio · server` whose client has a key of the guard `staff`.
fn config() -> Config {
    let broker = free_port();
    Config::new(&format!(
        "name: keys
workers: 1
bindings:
  stdio0:
    type: stdio
    kind: server
    options: {{ authorization: {{ staff: {{ credentials: \"${{{{env.TIDEGATE_KEY}}}}\" }} }} }}
    exit: mcp_server0
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, options: {{ subscribe: [], publish: [ \"#\" ] }}, exit: mqtt_client0 }}
  mqtt_client0: {{ type: mqtt, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker} }} }}
# The guards come last.
guards:
  staff:
    type: apikey
    options: {{ keys: [] }}
"
    ))
}

/// Adds a key of alice to the guard `staff` of a config.
pub(crate) fn genkey(config: &Config, more: &[&str]) -> String {
    let arguments = [
        "genkey",
        "--identity",
        "alice",
        "--config",
        config.path(),
        "--guard",
        "staff",
    ];
    let arguments = [&arguments, more].concat();
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    assert_eq!(process.ended(), Some(0), "{:?}", process.errors().rest());
    let [key] = process.output().rest().try_into().expect("the key alone");
    key
}

/// Starts a gateway with this key in its environment.
pub(crate) fn start(config: &Config, key: &str) -> Process {
    let mut command = Command::new(TIDEGATE);
    let arguments = ["start", "--config", config.path(), "--log-calls"];
    command.args(arguments).env("TIDEGATE_KEY", key);
    Process::spawn(command, Stdio::piped(), Stdio::piped())
}

/// Publishes by a call of `tool`; returns the answer.
pub(crate) fn publish(process: &mut Process, tool: &str, topic: &str) -> Value {
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": { "topic": topic, "payload": "on", "qos": 1 },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let input = process.input.as_mut().expect("standard input is open");
    input
        .write_all(format!("{call}\n").as_bytes())
        .expect("it is read");
    let answer = process.output().next().expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}

#[test]
fn a_generated_key_gives_its_identity_to_calls() {
    let config = config();
    let key = genkey(&config, &["--roles", "operator"]);
    let mut process = start(&config, &key);
    publish(&mut process, "publish", "a/b");
    let line = process.errors().with("tools/call 'publish'");
    assert!(line.contains("alice"), "{line}");
    drop(process.input.take());
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_key_that_is_not_accepted_fails_the_start_and_is_not_shown() {
    let config = config();
    let expired = genkey(&config, &["--expires", "2020-01-01"]);
    let wrong = "a-key-that-nobody-has";
    for (key, why) in [
        (expired.as_str(), "expired credential"),
        (wrong, "unknown key"),
    ] {
        let mut process = start(&config, key);
        assert_eq!(process.ended(), Some(1));
        let errors = process.errors().rest().join("\n");
        let expected = format!(
            "error: binding 'stdio0': guard 'staff' does not accept the credentials of its \
             authorization: {why}"
        );
        assert!(errors.contains(&expected), "{errors}");
        assert!(!errors.contains(key), "{errors}");
    }
}
