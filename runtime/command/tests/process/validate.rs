//! `tidegate validate`: faults, warnings and exit codes.

use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Config, Process};

/// The exit code, the lines of standard output, and those of standard error.
fn validate(config: &Config, more: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
    let arguments = [&["validate", "--config", config.path()], more].concat();
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let code = process.ended();
    (code, process.output().rest(), process.errors().rest())
}

fn config(options: &str, host: &str) -> Config {
    Config::new(&format!(
        "name: validated
bindings:
  http0: {{ type: http, kind: server, options: {{ listen: 127.0.0.1:0 }}, exit: mcp_server0 }}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, {options}exit: mqtt_client0 }}
  mqtt_client0: {{ type: mqtt, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: {host} }} }}
"
    ))
}

const CLOSED: &str = "options: { subscribe: [ a/+ ], publish: [] }, ";

#[test]
fn a_valid_config_is_valid() {
    let config = config(CLOSED, "localhost");
    let (code, output, errors) = validate(&config, &[]);
    assert_eq!((code, errors.len()), (Some(0), 0), "{errors:?}");
    let expected = format!("{} is valid: 5 bindings", config.path());
    assert_eq!(output, [expected]);
}

#[test]
fn a_bad_schema_of_a_topic_is_reported_with_its_place() {
    let topic = "{ pattern: a, permissions: [ publish ], schema: { type: objekt } }";
    let config = config(
        &format!("options: {{ topics: [ {topic} ] }}, "),
        "localhost",
    );
    let (code, output, errors) = validate(&config, &[]);
    let text = [output, errors].concat().join("\n");
    assert_ne!(code, Some(0), "{text}");
    let place = format!(
        "{}:5:114: bindings.mcp_mqtt0.options.topics.0.schema: ",
        config.path()
    );
    let expected = format!("{place}invalid JSON Schema: /type: \"objekt\" is not valid");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn topics_that_are_left_open_are_a_warning() {
    let config = config("", "localhost");
    let path = config.path().to_owned();
    let (code, output, _) = validate(&config, &[]);
    assert_eq!(code, Some(0));
    let warning = |key: &str| format!("warning: {path}:5:14: bindings.mcp_mqtt0.options.{key}: ");
    assert_eq!(output.len(), 3, "{output:#?}");
    assert!(
        output[0].starts_with(&warning("subscribe")),
        "{}",
        output[0]
    );
    assert!(output[1].starts_with(&warning("publish")), "{}", output[1]);
    assert_eq!(
        output[2],
        format!("{path} is valid: 5 bindings, 2 warnings")
    );
}

#[test]
fn a_missing_variable_is_a_fault_unless_it_may_be_missing() {
    let config = config(CLOSED, "\"${{env.TIDEGATE_TEST_UNSET}}\"");
    let (code, _, errors) = validate(&config, &[]);
    assert_eq!(code, Some(1));
    let expected = "bindings.tcp_client0.options.host: environment variable \
                    TIDEGATE_TEST_UNSET is not set";
    assert!(errors[0].contains(expected), "{errors:?}");
    assert!(errors[0].contains("--allow-missing-env"), "{errors:?}");

    let (code, output, errors) = validate(&config, &["--allow-missing-env"]);
    assert_eq!((code, errors.len()), (Some(0), 0), "{errors:?}");
    assert!(output[0].starts_with("warning: "), "{output:?}");
    assert!(output[0].contains(expected), "{output:?}");
}

#[test]
fn a_url_as_a_host_is_met_with_what_to_write() {
    let config = config(CLOSED, "\"mqtt://broker.example:1884\"");
    let (code, _, errors) = validate(&config, &[]);
    assert_eq!(code, Some(1));
    let expected = format!(
        "{}:7:60: bindings.tcp_client0.options.host: not a host name but a URL; \
         use host: broker.example and port: 1884",
        config.path()
    );
    assert_eq!(errors, [expected]);
}

#[test]
fn a_start_logs_the_warnings_too() {
    let config = config("", "localhost");
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::null(), Stdio::piped());
    for key in ["subscribe", "publish"] {
        let line = process.errors().with(&format!("'{key}' is not set"));
        assert!(
            line.contains(" WARN ") && line.contains(":5:14: "),
            "{line}"
        );
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

fn with_url(url: &str, more: &str) -> Config {
    Config::new(&format!(
        "name: url
bindings:
  http0: {{ type: http, kind: server, options: {{ listen: 127.0.0.1:0 }}, exit: mcp_server0 }}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, {CLOSED}exit: mqtt_client0 }}
  mqtt_client0: {{ type: mqtt, kind: client, options: {{ url: \"{url}\"{more} }} }}
"
    ))
}

#[test]
fn a_url_is_written_out_as_the_bindings_it_stands_for() {
    let config = with_url(
        "wss://gate:secret@broker.example:8084/mqtt",
        ", tls: { trust: ca.crt }",
    );
    let (code, output, errors) = validate(&config, &["--expanded"]);
    assert_eq!((code, errors.len()), (Some(0), 0), "{errors:?}");
    let client = output.iter().position(|line| line == "  mqtt_client0:");
    let expanded = output[client.expect("the client")..].join("\n");
    assert_eq!(
        expanded,
        "  mqtt_client0:
    type: mqtt
    kind: client
    options:
      username: gate
      password: ${{env.MQTT_PASSWORD}}
    exit: mqtt_client0_ws
  mqtt_client0_ws:
    type: ws
    kind: client
    options:
      path: /mqtt
    exit: mqtt_client0_tls
  mqtt_client0_tls:
    type: tls
    kind: client
    options:
      trust: ca.crt
    exit: mqtt_client0_tcp
  mqtt_client0_tcp:
    type: tcp
    kind: client
    options:
      host: broker.example
      port: 8084"
    );
}

#[test]
fn a_bad_url_is_reported_with_its_place_and_without_its_text() {
    let config = with_url("http://gate:secret@broker.example", "");
    let (code, output, errors) = validate(&config, &["--expanded"]);
    let text = [output, errors].concat().join("\n");
    assert_eq!(code, Some(1), "{text}");
    let place = format!("{}:6:", config.path());
    assert!(text.contains(&place), "{text}");
    assert!(
        text.contains("unknown scheme of the URL; use mqtt://HOST:PORT"),
        "{text}"
    );
    let message: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("unknown scheme"))
        .collect();
    assert!(!message.concat().contains("secret"), "{text}");
}

/// Machines on brokers with some options, and with some routes.
fn machines(options: &str, broker: &str, topics: [&str; 2]) -> Config {
    let [first, second] = topics;
    Config::new(&format!(
        "name: machines
bindings:
  machines0:
    type: mqtt_mcp
    kind: proxy
    options: {{ {options} }}
    exits: {{ mqtt: mqtt_client0, mcp: mcp_client0 }}
    routes:
      - {{ when: [ {{ topic: {first} }} ], with: {{ tool: a }} }}
      - {{ when: [ {{ topic: {second} }} ], with: {{ tool: b }} }}
  mqtt_client0: {{ type: mqtt, kind: client, options: {{ url: \"mqtt://localhost\", {broker} }} }}
  mcp_client0: {{ type: mcp, kind: client, options: {{ url: \"http://localhost:8000/mcp\" }} }}
"
    ))
}

#[test]
fn a_subscription_that_its_client_cannot_make_is_a_fault() {
    let overlapping = ["devices/+/call", "+/robot/call"];
    for broker in ["version: 3.1.1", "profile: aws-iot"] {
        let config = machines("", broker, overlapping);
        let (code, _, errors) = validate(&config, &[]);
        assert_eq!(code, Some(1), "{broker}");
        let expected = format!(
            "{}:9:7: bindings.machines0.routes: the subscription to requests fails: The topic filters \
             'devices/+/call' and '+/robot/call' overlap",
            config.path()
        );
        assert!(errors[0].starts_with(&expected), "{errors:?}");
        assert!(errors[0].contains("of 'mqtt_client0'"), "{errors:?}");
    }
    let shared = machines("group: g, sessionExpiry: 0", "version: 3.1.1", ["a", "b"]);
    let (code, _, errors) = validate(&shared, &[]);
    assert_eq!(code, Some(1));
    assert!(errors[0].contains("shared subscriptions"), "{errors:?}");
    for (broker, topics) in [
        ("version: 5", overlapping),
        ("version: auto", overlapping),
        ("version: 3.1.1", ["devices/+/call", "devices/robot/call"]),
    ] {
        let (code, output, errors) = validate(&machines("", broker, topics), &[]);
        assert_eq!((code, output.len()), (Some(0), 1), "{output:?} {errors:?}");
    }
}

#[test]
fn a_group_says_what_becomes_of_the_requests_of_a_lost_gateway() {
    let config = machines("group: planners", "version: 5", ["a", "b"]);
    let (code, output, _) = validate(&config, &[]);
    assert_eq!(code, Some(0));
    let expected = format!(
        "warning: {}:6:23: bindings.machines0.options.group: the session ends with a lost connection",
        config.path()
    );
    assert!(output[0].starts_with(&expected), "{output:?}");
    assert!(output[0].contains("set 'sessionExpiry'"), "{output:?}");
    for expiry in ["0", "300"] {
        let options = format!("group: planners, sessionExpiry: {expiry}");
        let (_, output, _) = validate(&machines(&options, "version: 5", ["a", "b"]), &[]);
        assert_eq!(output.len(), 1, "{output:?}");
    }
}

#[test]
fn a_route_that_can_answer_nowhere_is_a_fault() {
    let config = Config::new(
        "name: unanswerable
bindings:
  machines0:
    type: mqtt_mcp
    kind: proxy
    exits: { mqtt: mqtt_client0, mcp: mcp_client0 }
    routes:
      - { when: [ { topic: a } ], with: { tool: a } }
      - { when: [ { topic: b } ], with: { protocol: aio, tool: b } }
  mqtt_client0: { type: mqtt, kind: client, options: { url: \"mqtt://localhost\" } }
  mcp_client0: { type: mcp, kind: client, options: { url: \"http://localhost:8000/mcp\" } }
",
    );
    let (code, _, errors) = validate(&config, &[]);
    assert_eq!(code, Some(1));
    let expected = format!(
        "{}:9:53: bindings.machines0.routes.1.with.protocol: no request can be answered, so none is executed: \
         'replyTopics' is empty; add 'replyTopics' with the topics that invokers name for answers",
        config.path()
    );
    assert_eq!(errors, [expected]);
}
