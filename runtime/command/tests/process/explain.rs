//! `tidegate explain`: which rule permits or refuses, and exit codes.

use crate::process::{Config, Process};

const OPERATOR: [&str; 6] = [
    "--identity",
    "olga",
    "--guard",
    "staff",
    "--roles",
    "operator",
];

/// The exit code and the lines of standard output.
fn explain(config: &Config, more: &[&str]) -> (Option<i32>, Vec<String>) {
    Process::run(&[&["explain", "--config", config.path()], more].concat())
}

fn config() -> Config {
    Config::new(
        "name: explained
guards:
  staff:
    type: apikey
    options:
      keys: [ { hash: \"$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4\", id: k3u8xq2m, identity: alice, roles: [ operator ] } ]
bindings:
  http0: { type: http, kind: server, options: { listen: 127.0.0.1:0 }, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_proxy0 }
  mcp_proxy0:
    type: mcp
    kind: proxy
    routes:
      - { when: [{ toolkit: plant, tool: publish }], guarded: { staff: [operator] }, exit: mcp_mqtt0 }
      - { when: [{ toolkit: plant, tool: receive }], exit: mcp_mqtt0 }
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options:
      subscribe: [ status/# ]
      publish: [ { pattern: commands/#, guarded: { staff: [operator] } } ]
    exit: mqtt_client0
  mqtt_client0:
    type: mqtt
    kind: client
    routes:
      - { when: [{ publish: [ commands/lamp/# ], subscribe: [ '#' ] }], exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: localhost } }
",
    )
}

#[test]
fn a_tool_is_followed_through_the_bindings() {
    let config = config();
    let (code, lines) = explain(&config, &[&OPERATOR[..], &["plant__publish"]].concat());
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(
        lines,
        [
            "identity 'olga' of guard 'staff', roles operator, tool 'plant__publish'",
            "",
            "call of plant__publish: permitted",
            "  mcp_proxy0  permitted by routes.0: 'publish' of mcp_mqtt0",
            "  mcp_mqtt0   permitted for some topics",
        ]
    );
    let (code, lines) = explain(&config, &["--anonymous", "plant__publish"]);
    assert_eq!(code, Some(1), "{lines:#?}");
    assert_eq!(
        lines[3],
        "  mcp_proxy0  refused: routes.0 is guarded: { staff: [operator] }"
    );
}

#[test]
fn a_topic_is_followed_with_each_tool() {
    let config = config();
    let (code, lines) = explain(&config, &[&OPERATOR[..], &["commands/lamp/set"]].concat());
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(lines[2], "call of plant__publish: permitted");
    assert_eq!(
        lines[4],
        "  mcp_mqtt0     permitted by publish.0 (commands/#)"
    );
    assert_eq!(lines[5], "  mqtt_client0  permitted by routes.0");
    let (code, lines) = explain(&config, &[&OPERATOR[..], &["commands/door/set"]].concat());
    assert_eq!(code, Some(1), "{lines:#?}");
    assert_eq!(lines[5], "  mqtt_client0  refused: no route leads there");
    let (_, lines) = explain(&config, &["--anonymous", "commands/+/set"]);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("mcp_proxy0  refused"))
    );
}

#[test]
fn with_compatibility_a_topic_is_explained_by_the_tools_of_the_other_names() {
    let config = Config::new(
        "name: explained
bindings:
  stdio0: { type: stdio, kind: server, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options: { compatibility: mcpmqtt, topics: [ { pattern: status/#, permissions: [ read ] } ] }
    exit: mqtt_client0
  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: localhost } }
",
    );
    let (code, lines) = explain(&config, &["--anonymous", "status/lamp"]);
    assert_eq!(code, Some(0), "{lines:#?}");
    let rule = "topics.0 (status/#)";
    assert!(lines.iter().any(|line| line.contains(rule)), "{lines:#?}");
    for (tool, code) in [("mqtt_read", 0), ("mqtt_publish", 1), ("read", 1)] {
        let (found, lines) = explain(&config, &["--anonymous", tool]);
        assert_eq!(found, Some(code), "{tool}: {lines:#?}");
    }
}

#[test]
fn with_compatibility_routes_are_asked_for_the_names_of_the_tools() {
    let config = Config::new(
        "name: explained
bindings:
  stdio0: { type: stdio, kind: server, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_proxy0 }
  mcp_proxy0:
    type: mcp
    kind: proxy
    routes: [ { when: [ { tool: mqtt_publish }, { tool: mqtt_subscribe } ], exit: mcp_mqtt0 } ]
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options: { compatibility: mcpmqtt, topics: [ { pattern: '#', permissions: [ read, write ] } ] }
    exit: mqtt_client0
  mqtt_client0:
    type: mqtt
    kind: client
    routes:
      - { when: [ { publish: [ commands/# ], subscribe: [ status/# ] } ], exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: localhost } }
",
    );
    // Each topic is permitted for one of both, by the proxy, by mcp_mqtt, and by mqtt · client.
    for (topic, permitted, refused) in [
        ("commands/lamp", "mqtt_publish", "mqtt_subscribe"),
        ("status/lamp", "mqtt_subscribe", "mqtt_publish"),
    ] {
        let (code, lines) = explain(&config, &["--anonymous", topic]);
        assert_eq!(code, Some(0), "{lines:#?}");
        for (tool, verdict) in [(permitted, "permitted"), (refused, "refused")] {
            let line = format!("call of {tool}: {verdict}");
            assert!(lines.contains(&line), "{line}: {lines:#?}");
        }
    }
}
