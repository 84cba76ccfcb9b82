//! Grouping, limits and hostile payloads. What real devices declare is in `tests/`.

use serde_json::{Value, json};

use super::*;

fn home() -> HomeAssistant {
    HomeAssistant::new("homeassistant", Limits::default())
}

fn topic(component: &str, object: &str) -> String {
    format!("homeassistant/{component}/{object}/config")
}

fn take(home: &mut HomeAssistant, object: &str, payload: &Value) -> Result<Change, Fault> {
    home.take(&topic("sensor", object), payload.to_string().as_bytes())
}

/// A sensor of the device with these identifiers.
fn sensor(name: &str, identifiers: &[&str]) -> Value {
    json!({ "name": name, "stat_t": format!("s/{name}"), "dev": { "ids": identifiers } })
}

fn ids(change: &Change) -> Vec<&str> {
    change.declared.iter().map(|it| it.id.as_str()).collect()
}

fn properties(device: &Device) -> Vec<&str> {
    device
        .properties
        .iter()
        .map(|it| it.name.as_str())
        .collect()
}

#[test]
fn entities_with_a_common_identifier_are_one_device() -> Result<(), Fault> {
    let mut home = home();
    let change = take(&mut home, "a", &sensor("One", &["x"]))?;
    assert_eq!(ids(&change), ["x"]);
    let change = take(&mut home, "b", &sensor("Two", &["x"]))?;
    assert_eq!(ids(&change), ["x"]);
    assert_eq!(properties(&change.declared[0]), ["one", "two"]);
    let change = home.take(&topic("sensor", "a"), b"")?;
    assert_eq!(properties(&change.declared[0]), ["two"]);
    let change = home.take(&topic("sensor", "b"), b"")?;
    assert_eq!(
        (change.removed, change.declared.len()),
        (vec!["x".to_owned()], 0)
    );
    assert_eq!((home.entities, home.bytes), (0, 0));
    assert!(home.groups.is_empty() && home.groups_by_key.is_empty() && home.ids.is_empty());
    Ok(())
}

#[test]
fn a_connection_joins_devices_and_its_removal_parts_them() -> Result<(), Fault> {
    let mut home = home();
    let _ = take(&mut home, "a", &sensor("One", &["x"]))?;
    let _ = take(&mut home, "b", &sensor("Two", &["y"]))?;
    let change = take(&mut home, "c", &sensor("Three", &["x", "y"]))?;
    assert_eq!(
        (ids(&change), &change.removed),
        (vec!["x"], &vec!["y".to_owned()])
    );
    assert_eq!(properties(&change.declared[0]), ["one", "three", "two"]);
    let change = home.take(&topic("sensor", "c"), b"")?;
    assert_eq!((ids(&change), change.removed.len()), (vec!["x", "y"], 0));
    Ok(())
}

#[test]
fn an_entity_that_moves_to_another_device_leaves_the_first() -> Result<(), Fault> {
    let mut home = home();
    let _ = take(&mut home, "a", &sensor("One", &["x"]))?;
    let change = take(&mut home, "a", &sensor("One", &["y"]))?;
    assert_eq!(
        (ids(&change), &change.removed),
        (vec!["y"], &vec!["x".to_owned()])
    );
    Ok(())
}

#[test]
fn an_announcement_that_is_repeated_changes_nothing() -> Result<(), Fault> {
    let mut home = home();
    let _ = take(&mut home, "a", &sensor("One", &["x"]))?;
    let change = take(&mut home, "a", &sensor("One", &["x"]))?;
    assert!(change.is_empty());
    let change = home.take(&topic("sensor", "unknown"), b"")?;
    assert!(change.is_empty());
    Ok(())
}

#[test]
fn names_in_a_device_are_unique_and_without_the_name_of_the_device() -> Result<(), Fault> {
    let mut home = home();
    let with_device = |name: &str| {
        let mut sensor = sensor(name, &["x"]);
        sensor["dev"]["name"] = json!("Boiler Room");
        sensor
    };
    let _ = take(&mut home, "a", &with_device("Boiler Room Temperature"))?;
    let _ = take(&mut home, "b", &with_device("Temperature"))?;
    let _ = take(&mut home, "c", &with_device("Temperature c"))?;
    let change = take(&mut home, "d", &with_device("Boiler Room"))?;
    let device = &change.declared[0];
    let names = [
        "boiler_room",
        "temperature_a",
        "temperature_b",
        "temperature_c",
    ];
    let mut found = properties(device);
    found.sort_unstable();
    assert_eq!(found, names);
    assert_eq!(
        device.name.as_ref().map(tidegate_device::Text::as_str),
        Some("Boiler Room")
    );
    Ok(())
}

#[test]
fn a_fault_keeps_what_was_known() -> Result<(), Fault> {
    let mut home = home();
    let _ = take(&mut home, "a", &sensor("One", &["x"]))?;
    for (payload, expected) in [
        (json!({}), "'state_topic' is missing"),
        (json!({ "stat_t": 7 }), "'state_topic' must be a text"),
        (
            json!({ "stat_t": "a/#" }),
            "invalid topic 'a/#' in 'state_topic': the wildcard '#' is only allowed in a topic filter; name one \
             concrete topic",
        ),
        (
            json!({ "~": "+", "stat_t": "a/~" }),
            "invalid topic 'a/+' in 'state_topic': the wildcard '+' is only allowed in a topic filter; name one \
             concrete topic",
        ),
        (
            json!({ "~": "x".repeat(2000), "stat_t": "~" }),
            "the topic in '~' has 2000 bytes and at most 1024 are allowed",
        ),
        (json!({ "stat_t": "a", "qos": 3 }), "'qos' is out of range"),
        (
            json!({ "stat_t": "a", "dev": [] }),
            "'device' must be an object",
        ),
        (
            json!({ "stat_t": "a", "dev": { "cns": ["mac"] } }),
            "'connections' must be a list of pairs",
        ),
        (
            json!({ "stat_t": "a", "val_tpl": "{{ now() }}" }),
            "'value_template' cannot be used: invalid template: 'now' is not available here",
        ),
        (
            json!({ "stat_t": "a", "avty": [{ "t": "b" }], "avty_mode": "most" }),
            "'availability_mode' must be 'all', 'any' or 'latest'",
        ),
        (json!({ "stat_t": "a", "avty": [{}] }), "'topic' is missing"),
        (
            json!({ "stat_t": "a", "e": "latin-1" }),
            "'encoding' must be utf-8",
        ),
    ] {
        let fault = take(&mut home, "a", &payload);
        assert_eq!(
            fault.map_err(|it| it.to_string()).err().as_deref(),
            Some(expected)
        );
    }
    assert_eq!(home.entities, 1);
    Ok(())
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let mut home = home();
    for payload in [
        &b"{"[..],
        b"[]",
        b"7",
        b"\xff",
        b"null",
        &b"[".repeat(10_000),
    ] {
        let fault = home.take(&topic("sensor", "a"), payload);
        assert!(matches!(fault, Err(Fault::NotJson { .. })), "{fault:?}");
    }
    let large = vec![b' '; 1 << 20];
    let fault = home.take(&topic("sensor", "a"), &large);
    assert_eq!(
        fault.err(),
        Some(Fault::TooLarge {
            length: 1 << 20,
            limit: 256 << 10
        })
    );
    let fault = home.take(&topic("camera", "a"), b"{}");
    assert!(matches!(fault, Err(Fault::Unsupported { .. })));
    let fault = home.take("homeassistant/status", b"online");
    assert_eq!(fault.err(), Some(Fault::NotAnAnnouncement));
}

#[test]
fn entities_are_limited_in_all_in_a_device_and_in_bytes() -> Result<(), Fault> {
    let full = |change: Result<Change, Fault>| match change {
        Err(Fault::Full { what, limit }) => Some((what, limit)),
        _ => None,
    };
    let limits = Limits {
        entities: 3,
        entities_of_a_device: 2,
        ..Limits::default()
    };
    let mut home = HomeAssistant::new("homeassistant", limits);
    let _ = take(&mut home, "a", &sensor("a", &["x"]))?;
    let _ = take(&mut home, "b", &sensor("b", &["x"]))?;
    let third = take(&mut home, "c", &sensor("c", &["x"]));
    assert_eq!(full(third), Some(("entities of a device", 2)));
    // One that is replaced does not count twice.
    let _ = take(&mut home, "a", &sensor("changed", &["x"]))?;
    let _ = take(&mut home, "c", &sensor("c", &["y"]))?;
    let bridge = take(&mut home, "c", &sensor("c", &["x", "y"]));
    assert_eq!(full(bridge), Some(("entities of a device", 2)));
    let fourth = take(&mut home, "d", &sensor("d", &["z"]));
    assert_eq!(full(fourth), Some(("entities", 3)));
    let _ = home.take(&topic("sensor", "a"), b"")?;
    let _ = take(&mut home, "d", &sensor("d", &["z"]))?;

    let mut home = HomeAssistant::new(
        "homeassistant",
        Limits {
            bytes: 1_000,
            ..Limits::default()
        },
    );
    let _ = take(&mut home, "a", &sensor("a", &["x"]))?;
    let long = json!({ "stat_t": "s", "val_tpl": "x".repeat(800), "dev": { "ids": "y" } });
    assert_eq!(full(take(&mut home, "b", &long)), Some(("bytes", 1_000)));
    assert_eq!(home.entities, 1);
    Ok(())
}

#[test]
fn a_hundred_thousand_announcements_keep_the_limits() {
    let limits = Limits {
        entities: 200,
        bytes: 100_000,
        ..Limits::default()
    };
    let mut home = HomeAssistant::new("homeassistant", limits);
    let loops =
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}";
    let payload = json!({ "stat_t": "s", "val_tpl": loops }).to_string();
    for number in 0..100_000 {
        let _ = home.take(&topic("sensor", &number.to_string()), payload.as_bytes());
        assert!(home.entities <= 200 && home.bytes <= 100_000);
    }
    assert_eq!(home.entities, 200);
}

#[test]
fn a_device_announces_its_components_together() -> Result<(), Fault> {
    let mut home = home();
    let topic = topic("device", "d");
    let payload = json!({
        "dev": { "ids": "d" }, "o": { "name": "test" }, "stat_t": "d/state", "qos": 2, "~": "d",
        "cmps": {
            "t": { "p": "sensor", "dev_cla": "temperature", "val_tpl": "{{ value_json.t }}" },
            "s": { "p": "switch", "cmd_t": "~/set" },
            "gone": { "p": "sensor" },
            "bad": { "p": "light" , "name": "x" },
            "camera": { "p": "camera", "t": "x" },
            "none": { "stat_t": "x", "name": "x" }
        }
    });
    let change = home.take(&topic, payload.to_string().as_bytes())?;
    let device = &change.declared[0];
    assert_eq!((device.id.as_str(), device.kind.as_str()), ("d", "switch"));
    assert_eq!(properties(device), ["switch", "temperature"]);
    assert!(device.properties.iter().all(|it| it.topic == "d/state"));
    assert!(
        device
            .commands
            .iter()
            .all(|it| it.topic == "d/set" && it.qos == 2)
    );
    let refused: Vec<String> = change.refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "component 'bad': 'command_topic' is missing",
            "component 'camera': components of type 'camera' are not supported",
            "component 'none': 'platform' is missing",
        ]
    );
    let payload = json!({ "dev": { "ids": "d" }, "cmps": { "s": { "p": "switch" } } });
    let change = home.take(&topic, payload.to_string().as_bytes())?;
    assert_eq!(change.removed, ["d"]);
    let payload = json!({ "dev": {}, "cmps": {} });
    let fault = home.take(&topic, payload.to_string().as_bytes());
    assert_eq!(fault.err(), Some(Fault::Missing { key: "identifiers" }));
    Ok(())
}

#[test]
fn of_a_device_with_one_announcement_its_payload_is_kept() -> Result<(), Fault> {
    let mut home = home();
    let is_read = |home: &HomeAssistant, object: &str| {
        let known = home.known.get(&*topic("sensor", object));
        known.map(|it| it.described().is_some())
    };
    let _ = take(&mut home, "a", &sensor("One", &["x"]))?;
    assert_eq!(is_read(&home, "a"), Some(false));
    let bytes = home.bytes;
    let _ = take(&mut home, "a", &sensor("Two", &["x"]))?;
    assert_eq!((is_read(&home, "a"), home.bytes), (Some(false), bytes));
    // It is read again when another one of the same device comes.
    let change = take(&mut home, "b", &sensor("Three", &["x"]))?;
    assert_eq!(properties(&change.declared[0]), ["three", "two"]);
    assert_eq!(
        (is_read(&home, "a"), is_read(&home, "b")),
        (Some(true), Some(true))
    );
    let change = take(&mut home, "b", &sensor("Three", &["y"]))?;
    assert_eq!(ids(&change), ["x", "y"]);
    assert_eq!(
        (is_read(&home, "a"), is_read(&home, "b")),
        (Some(true), Some(false))
    );
    assert_eq!(home.entities, 2);
    Ok(())
}
