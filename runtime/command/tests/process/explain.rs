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

/// The example config of the robot, whose customers are for robots with a role.
fn barista() -> Config {
    Config::new(include_str!("../../../../config/barista.yaml"))
}

#[test]
fn a_call_of_a_machine_is_followed_from_its_route() {
    let config = barista();
    let robot = [
        "--guard",
        "mqtt",
        "--identity",
        "robot",
        "--roles",
        "barista",
    ];
    let (code, lines) = explain(
        &config,
        &[&robot[..], &["crm__get_customer_preferences"]].concat(),
    );
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(
        lines,
        [
            "identity 'robot' of guard 'mqtt', roles barista, tool 'crm__get_customer_preferences'",
            "",
            "call of crm__get_customer_preferences by machines: permitted",
            "  robots0     permitted by routes.0.plan.customer, for requests on ai/local/barista/{robot}/recipe-request",
            "  mcp_proxy0  permitted by routes.1: 'get_customer_preferences' of mcp_client1",
        ]
    );
    let (code, lines) = explain(&config, &[&robot[..], &["crm__delete_customer"]].concat());
    assert_eq!(code, Some(1), "{lines:#?}");
    assert_eq!(lines[3], "  robots0  refused: no route calls this tool");
}

/// The guard need not be named: no other one gives identities.
#[test]
fn a_caller_that_no_route_identifies_is_refused() {
    let config = barista();
    let tool = "kitchen__lookup_drink_recipe";
    for caller in [
        &["--anonymous"][..],
        &["--identity", "robot", "--roles", "cleaner"],
    ] {
        let (code, lines) = explain(&config, &[caller, &[tool]].concat());
        assert_eq!(code, Some(1), "{lines:#?}");
        let refused = "  robots0  refused: routes.0.plan.recipe, for requests on \
                       ai/local/barista/{robot}/recipe-request, calls it for identities of guard 'mqtt' with roles barista";
        assert_eq!(lines[3], refused);
    }
}

/// A config with both entries: `kitchen__look` is for machines with a role, and for the staff.
fn both() -> Config {
    Config::new(
        "name: explained
guards:
  staff:
    type: apikey
    options:
      keys: [ { hash: \"$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4\", id: k3u8xq2m, identity: alice, roles: [ operator ] } ]
bindings:
  http0: { type: http, kind: server, options: { listen: 127.0.0.1:0, authorization: { staff: {} } }, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_proxy0 }
  machines0:
    type: mqtt_mcp
    kind: proxy
    exits: { mqtt: mqtt_client0, mcp: mcp_proxy0 }
    routes:
      - when: [ { topic: \"devices/{device}/call\" } ]
        with: { tool: \"{{ payload.tool }}\", allow: [ \"*__publish\" ], identity: { subject: \"{{ topic.device }}\", roles: [ robot ] }, answer: { topic: \"devices/{device}/answer\" } }
  mcp_proxy0:
    type: mcp
    kind: proxy
    routes:
      - { when: [ { toolkit: plant } ], guarded: { mqtt: [ robot ], staff: [ operator ] }, exit: mcp_mqtt0 }
  mcp_mqtt0: { type: mcp_mqtt, kind: proxy, options: { publish: [ { pattern: commands/#, guarded: { mqtt: [ robot ] } }, { pattern: notes/#, guarded: { staff: [] } } ] }, exit: mqtt_client0 }
  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: localhost } }
",
    )
}

#[test]
fn both_entries_of_a_config_are_explained() {
    let config = both();
    let machine = ["--identity", "d1", "--guard", "mqtt", "--roles", "robot"];
    let (code, lines) = explain(&config, &[&machine[..], &["plant__publish"]].concat());
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(
        lines[2..],
        [
            "call of plant__publish by clients: refused",
            "  mcp_server0  refused: only machines have identities of this guard",
            "",
            "call of plant__publish by machines: permitted",
            "  machines0   permitted by routes.0.allow (*__publish), for requests on devices/{device}/call",
            "  mcp_proxy0  permitted by routes.0: 'publish' of mcp_mqtt0",
            "  mcp_mqtt0   permitted for some topics",
        ]
    );
    let (code, lines) = explain(&config, &[&OPERATOR[..], &["plant__publish"]].concat());
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(lines[2], "call of plant__publish by clients: permitted");
    assert_eq!(lines[6], "call of plant__publish by machines: refused");
}

#[test]
fn a_topic_is_followed_from_the_routes_of_machines() {
    let config = both();
    let machine = ["--identity", "d1", "--guard", "mqtt", "--roles", "robot"];
    for (topic, code, verdict) in [
        ("commands/lamp", 0, "permitted by publish.0 (commands/#)"),
        ("notes/1", 1, "refused: no entry for this caller allows it"),
    ] {
        let (found, lines) = explain(&config, &[&machine[..], &[topic]].concat());
        assert_eq!(found, Some(code), "{lines:#?}");
        let decided = format!("  mcp_mqtt0   {verdict}");
        assert!(lines.contains(&decided), "{lines:#?}");
    }
}

/// Identities of several guards are possible, so that the guard must be named.
#[test]
fn the_guard_of_machines_is_one_of_several() {
    let config = both();
    let mut process = Process::start(
        &[
            "explain",
            "--config",
            config.path(),
            "--identity",
            "d1",
            "plant__publish",
        ],
        std::process::Stdio::null(),
        std::process::Stdio::piped(),
    );
    let errors = process.errors().rest();
    assert_eq!(process.ended(), Some(1));
    assert!(
        errors
            .join("\n")
            .contains("choose one with --guard: mqtt, staff"),
        "{errors:#?}"
    );
}
