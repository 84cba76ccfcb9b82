//! Any config that mcpMQTT accepts is imported, and the result is valid.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A cheap hash of a key.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$IVQS/07EKrozrUqw0q/ncQ";

#[allow(
    clippy::unnecessary_wraps,
    reason = "it is used where hashing may fail"
)]
fn cheap(_: &str) -> Result<String, String> {
    Ok(HASH.to_owned())
}

fn import(config: &Value) -> Imported {
    mcpmqtt("config.json", &config.to_string(), None, &cheap).expect("imported")
}

fn read(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).expect("YAML")
}

/// The example of mcpMQTT's README, with a key.
fn readme() -> Value {
    json!({
        "mqtt": { "host": "localhost", "port": 1883, "username": null, "password": null, "keepalive": 60 },
        "topics": [
            {
                "pattern": "sensors/+/temperature",
                "permissions": ["read"],
                "description": "Temperature sensor data from any location."
            },
            { "pattern": "actuators/#", "permissions": ["write"], "description": "All actuators" },
            { "pattern": "status/system", "permissions": ["read", "write"] },
        ],
        "logging": { "level": "DEBUG", "logfile": "/var/log/mcpmqtt/server.log" },
        "remote_server": {
            "api_key_kdf": {
                "algorithm": "argon2id",
                "salt": "AAECAwQFBgcICQoLDA0ODw==",
                "time_cost": 3,
                "memory_cost": 65_536,
                "parallelism": 1,
                "hash_len": 32,
                "hash": "MePZA3SaP9IV2cnaQpI22fGKYa1aKiyOdftXth3xsE4="
            },
            "uds": "/var/run/mcpmqtt.sock",
            "host": "0.0.0.0",
            "port": null
        }
    })
}

#[test]
fn the_example_of_its_readme_is_imported() {
    let imported = import(&readme());
    let options = " --log-level debug --log-file /var/log/mcpmqtt/server.log";
    assert_eq!(imported.options, options);
    let yaml = read(&imported.yaml);
    let http = &yaml["bindings"]["http0"]["options"];
    assert_eq!(http["listen"], "unix:/var/run/mcpmqtt.sock");
    assert_eq!(
        (&http["unix"]["mode"], &http["path"]),
        (&json!("0666"), &json!("/mcp/mcp"))
    );
    assert_eq!(http["status"], "/status");
    let key = &yaml["guards"]["remote"]["options"]["keys"][0];
    assert_eq!(key["api_key_kdf"], readme()["remote_server"]["api_key_kdf"]);
    let topics = &yaml["bindings"]["mcp_mqtt0"]["options"]["topics"];
    let mut expected = readme()["topics"].clone();
    assert_eq!(topics, &expected.take());
    assert_eq!(yaml["bindings"]["mqtt_client0"]["options"]["keepAlive"], 60);
    assert_eq!(yaml["bindings"]["tcp_client0"]["options"]["port"], 1883);
    // It is looser in mcpMQTT.
    let warned = "\"sensors/+/temperature\": mcpMQTT also allowed to subscribe to \"sensors/#\"";
    let parent = "\"actuators/#\" also allows \"actuators\"";
    assert!(
        matches!(&imported.warnings[..], [one, other] if one.starts_with(warned) && other.starts_with(parent)),
        "{:?}",
        imported.warnings
    );
    for comment in ["QoS 1 or 2 succeeds", "MQTT 5", "/mcp/mcp", "\"0660\""] {
        assert!(imported.yaml.contains(comment), "{comment}");
    }
}

#[test]
fn lax_values_unknown_keys_and_absent_parts_are_accepted() {
    let config = json!({
        "mqtt": { "port": "1884", "keepalive": 70_000, "tls": true, "username": "only" },
        "future": {},
    });
    let imported = import(&config);
    let yaml = read(&imported.yaml);
    assert_eq!(yaml["bindings"]["stdio0"]["type"], "stdio");
    assert_eq!(
        yaml["bindings"]["tcp_client0"]["options"],
        json!({"host": "localhost", "port": 1884})
    );
    assert_eq!(
        yaml["bindings"]["mqtt_client0"]["options"],
        json!({"keepAlive": 65_535})
    );
    assert_eq!(
        yaml["bindings"]["mcp_mqtt0"]["options"]["topics"],
        json!([])
    );
    let warnings = imported.warnings.join("\n");
    for warning in [
        "\"future\", \"mqtt.tls\"",
        "70000",
        "only together",
        "nothing is allowed",
    ] {
        assert!(warnings.contains(warning), "{warning} in {warnings}");
    }
}

#[test]
fn a_pattern_never_allows_more_than_it_says() {
    let topic = |pattern: &str| json!({"pattern": pattern, "permissions": ["read", "write"]});
    let imported = |pattern: &str| import(&json!({"topics": [topic(pattern)]}));
    let options = |it: &Imported| read(&it.yaml)["bindings"]["mcp_mqtt0"]["options"].clone();
    // A level in braces is a name in 'topics', and would match any level.
    let braces = options(&imported("a/{b}"));
    assert_eq!(braces["topics"], json!([]));
    assert_eq!(
        (&braces["subscribe"], &braces["publish"]),
        (&json!(["a/{b}"]), &json!(["a/{b}"]))
    );
    for (pattern, why) in [
        ("$share/g/a/+", "of a shared subscription"),
        ("a/${guarded['remote'].identity}", "would be an expression"),
        ("a/\u{7}", "U+0007"),
        ("a/\u{ffff}", "U+FFFF"),
    ] {
        let imported = imported(pattern);
        let expected = json!({"compatibility": "mcpmqtt", "topics": []});
        assert_eq!(options(&imported), expected, "{pattern}");
        assert!(
            imported.warnings[0].contains(why),
            "{:?}",
            imported.warnings
        );
    }
    for (pattern, why) in [
        ("a.b/c", "regular expression"),
        ("#", "'$SYS/…'"),
        ("a/b/#", "\"a/b/#\" also allows \"a/b\""),
        ("plus/+", "subscribe to \"plus/#\""),
        ("+/x", "subscribe to \"#\""),
    ] {
        let imported = imported(pattern);
        assert_eq!(options(&imported)["topics"][0]["pattern"], pattern);
        assert!(
            imported.warnings[0].contains(why),
            "{:?}",
            imported.warnings
        );
    }
    let long = vec!["level"; 200].join("/");
    assert_eq!(options(&imported(&long))["maxTopicLevels"], 200);
}

#[test]
fn the_entry_is_that_of_the_transport() {
    let remote = |more: Value| {
        let mut remote = json!({"api_key": "key-0000"});
        remote
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("one").clone());
        json!({"remote_server": remote})
    };
    let listen = |config: &Value| {
        read(&import(config).yaml)["bindings"]["http0"]["options"]["listen"].clone()
    };
    assert_eq!(listen(&remote(json!({}))), "unix:/var/run/mcpmqtt.sock");
    assert_eq!(listen(&remote(json!({"port": "8080"}))), "0.0.0.0:8080");
    assert_eq!(
        listen(&remote(json!({"port": 8080, "host": ""}))),
        "0.0.0.0:8080"
    );
    assert_eq!(
        listen(&remote(json!({"port": 8080, "host": "::1"}))),
        "[::1]:8080"
    );
    assert_eq!(
        listen(&remote(json!({"port": 8080, "host": "plant.example"}))),
        "127.0.0.1:8080"
    );
    assert_eq!(
        listen(&remote(json!({"uds": "x".repeat(300)}))),
        "unix:/var/run/mcpmqtt.sock"
    );
    let text = import(&remote(json!({}))).yaml;
    assert!(text.contains(HASH) && !text.contains("key-0000"), "{text}");
    let text = remote(json!({})).to_string();
    let stdio = mcpmqtt("c", &text, Some(true), &cheap).expect("imported");
    assert!(read(&stdio.yaml)["guards"].is_null());
    let error = mcpmqtt("c", "{}", Some(false), &cheap).expect_err("no remote_server");
    assert!(error.to_string().contains("--transport stdio"), "{error}");
}

#[test]
fn a_hash_beyond_the_bounds_leaves_a_guard_that_accepts_nobody() {
    let mut config = readme();
    for (key, value) in [
        ("memory_cost", json!(10_000_000)),
        ("time_cost", json!("99999999999999999999")),
        ("hash_len", json!(16)),
    ] {
        config["remote_server"]["api_key_kdf"][key] = value;
        let imported = import(&config);
        let yaml = read(&imported.yaml);
        assert_eq!(yaml["guards"]["remote"]["options"]["keys"], json!([]));
        let warned = imported
            .warnings
            .iter()
            .any(|it| it.contains("tidegate genkey"));
        assert!(warned, "{key}");
        config = readme();
    }
}

#[test]
fn invalid_json_has_a_line_and_a_column() {
    let error = mcpmqtt("config.json", "{\n  \"mqtt\": }", None, &cheap).expect_err("no JSON");
    assert_eq!(
        error.to_string(),
        "config.json:2:11: invalid JSON: expected value"
    );
    let error = mcpmqtt("config.json", "", None, &cheap).expect_err("no JSON");
    assert!(
        error
            .to_string()
            .starts_with("config.json:1:1: invalid JSON"),
        "{error}"
    );
}

#[test]
fn a_password_stays_what_it_is() {
    for password in ["geheim \"1\"", "${{env.HOME}}", "\u{85}\u{2028}ß"] {
        let config = json!({"mqtt": {"username": "u", "password": password}});
        let imported = import(&config);
        let config = load(&imported.yaml).expect("valid");
        let client = config.bindings.iter().find(|it| it.name == "mqtt_client0");
        let options: tidegate_binding_mqtt::client::Options =
            client.expect("a client").options().expect("options");
        let given = options.password.expect("a password");
        let bytes = given.bytes().expect("not a file");
        assert_eq!(bytes.as_ref(), password.as_bytes());
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z+#/${}.\\[\"' :\\n-]{0,12}"]
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("+".to_owned()),
        "[^+#/\\x00\\n\\r]{0,6}",
        "[a-c{}$.]{0,3}"
    ]
}

/// A pattern that mcpMQTT accepts.
fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(level(), 1..6), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("#".to_owned());
        }
        let pattern = levels.join("/");
        if pattern.is_empty() {
            "a".to_owned()
        } else {
            pattern
        }
    })
}

fn number(range: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Value> {
    (range, 0..3_u8).prop_map(|(number, form)| match form {
        0 => json!(number),
        1 => json!(number.to_string()),
        _ => json!(f64::from(number)),
    })
}

prop_compose! {
    fn topic()(
        pattern in pattern(),
        permissions in prop::sample::select(vec![vec!["read"], vec!["write"], vec!["write", "read", "read"]]),
        description in prop::option::of(text()),
    ) -> Value {
        json!({"pattern": pattern, "permissions": permissions, "description": description})
    }
}

prop_compose! {
    fn remote()(
        kdf in any::<bool>(),
        key in "[^\\x00]{1,20}",
        salt in prop::collection::vec(any::<u8>(), 0..70),
        hash in prop::collection::vec(any::<u8>(), 0..70),
        costs in (number(1..=20), number(8..=300_000), number(1..=20), number(16..=70)),
        uds in "[^\\x00]{1,20}|/run/x.sock",
        host in prop::option::of(text()),
        port in prop::option::of(number(1..=65_535)),
    ) -> Value {
        use base64::Engine as _;
        let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let (time_cost, memory_cost, parallelism, hash_len) = costs;
        let mut remote = json!({"uds": uds, "host": host, "port": port, "api_key": key});
        if kdf {
            remote["api_key_kdf"] = json!({
                "salt": base64(&salt), "hash": base64(&hash), "time_cost": time_cost,
                "memory_cost": memory_cost, "parallelism": parallelism, "hash_len": hash_len,
            });
        }
        remote
    }
}

#[test]
fn a_path_with_a_separator_of_lines_does_not_end_its_comment() {
    for separator in ["\n", "\u{85}", "\u{2028}", "\u{2029}"] {
        let file = format!("a{separator}b: c");
        let config = json!({ "mqtt": {}, "logging": { "level": "ERROR", "logfile": file } });
        let imported = mcpmqtt("config.json", &config.to_string(), None, &cheap);
        assert!(imported.is_ok(), "{separator:?}");
    }
}

proptest! {
    #[test]
    fn any_accepted_config_is_imported_as_a_valid_one(
        host in text(),
        port in number(1..=65_535),
        username in prop::option::of(text()),
        password in prop::option::of(text()),
        keepalive in number(1..=100_000),
        topics in prop::collection::vec(topic(), 0..4),
        file in prop::option::of(text()),
        unknown in text(),
        remote in prop::option::of(remote()),
        name in text(),
    ) {
        let config = json!({
            "mqtt": {
                "host": host, "port": port, "username": username, "password": password, "keepalive": keepalive,
            },
            "topics": topics,
            "logging": {"level": "ERROR", "logfile": file},
            "remote_server": remote,
            format!("x{unknown}"): unknown,
        });
        let imported = mcpmqtt(&name, &config.to_string(), None, &cheap);
        prop_assert!(imported.is_ok(), "{}", imported.expect_err("refused"));
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}\",:a-z0-9 ]{0,60}") {
        let _ = mcpmqtt("config.json", &text, None, &cheap);
    }
}
