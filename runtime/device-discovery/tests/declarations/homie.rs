//! Homie 5 (<https://homieiot.github.io/specification/>): the examples of the convention, and each datatype.

use serde_json::{Value, json};
use tidegate_device::{Availability, Device, Source, Text};

use crate::{announcements, check_commands, check_readings, refuses, sent};

fn described(id: &str, description: &Value) -> Device {
    let mut announcements = announcements();
    let payload = description.to_string();
    let change = announcements.take(&format!("homie/5/{id}/$description"), payload.as_bytes());
    assert!(change.unwrap().is_empty());
    let mut change = announcements
        .take(&format!("homie/5/{id}/$state"), b"ready")
        .unwrap();
    change.declared.pop().unwrap()
}

/// A description with one property `n/p`.
fn property(property: &Value) -> Device {
    let nodes = json!({ "n": { "properties": { "p": property } } });
    described(
        "d",
        &json!({ "homie": "5.0", "version": 1, "nodes": nodes }),
    )
}

#[test]
fn the_supercar() {
    let device = described(
        "super-car",
        &json!({
            "homie": "5.0", "name": "Supercar", "version": 7,
            "nodes": {
                "engine": {
                    "name": "Car engine",
                    "properties": {
                        "speed": { "datatype": "integer" },
                        "temperature": {
                            "name": "Engine temperature", "unit": "°C", "datatype": "float", "format": "-20:120"
                        },
                    },
                },
                "lights": {
                    "properties": { "power": { "datatype": "boolean", "format": "off,on", "settable": true } },
                },
            },
        }),
    );
    let source = "super-car";
    assert_eq!(device.source, Source::Homie);
    assert_eq!(
        (device.id.as_str(), &device.name),
        ("super-car", &Some(Text::new("Supercar")))
    );
    check_readings(
        source,
        &device,
        &[
            ("engine_speed", "80", json!(80)),
            ("engine_temperature", "21.5", json!(21.5)),
            ("lights_power", "true", json!(true)),
            ("lights_power_target", "true", json!(true)),
        ],
    );
    let set = "homie/5/super-car/lights/power/set";
    check_commands(
        source,
        &device,
        &[
            sent(
                "lights_power_set",
                json!({ "value": true }),
                set,
                "true",
                "true",
            ),
            sent(
                "lights_power_set",
                json!({ "value": false }),
                set,
                "false",
                "false",
            ),
        ],
    );
    let (command, temperature) = (&device.commands[0], &device.properties[1]);
    assert_eq!((command.qos, command.retain), (2, false));
    let confirm = command.confirm.as_ref().unwrap();
    assert_eq!(confirm.accepted_by.as_deref(), Some("lights_power_target"));
    assert_eq!(
        device.properties[3].topic,
        "homie/5/super-car/lights/power/$target"
    );
    assert_eq!(
        (temperature.minimum, temperature.maximum),
        (Some(-20.0), Some(120.0))
    );
    assert_eq!(temperature.unit, Some(Text::new("°C")));
}

#[test]
fn each_datatype_is_written_and_read() {
    for (datatype, format, value, payload) in [
        ("integer", Some("0:100"), json!(7), "7"),
        (
            "integer",
            None,
            json!(-9_007_199_254_740_991_i64),
            "-9007199254740991",
        ),
        ("float", Some("0:1:0.1"), json!(0.5), "0.5"),
        ("float", Some(":10"), json!(-3.0), "-3"),
        ("boolean", None, json!(true), "true"),
        ("string", None, json!("hello"), "hello"),
        ("string", None, json!(""), "\0"),
        ("enum", Some("low,mid, high"), json!(" high"), " high"),
        (
            "color",
            Some("rgb,hsv"),
            json!("hsv,300,50,75"),
            "hsv,300,50,75",
        ),
        (
            "color",
            Some("xyz"),
            json!("xyz,0.25,0.34"),
            "xyz,0.25,0.34",
        ),
        (
            "datetime",
            None,
            json!("2026-11-29T20:00:00Z"),
            "2026-11-29T20:00:00Z",
        ),
        ("duration", None, json!("PT12H5M46S"), "PT12H5M46S"),
        ("json", None, json!({ "a": [1] }), "{\"a\":[1]}"),
    ] {
        let mut declared = json!({ "datatype": datatype, "settable": true });
        if let Some(format) = format {
            declared["format"] = json!(format);
        }
        let device = property(&declared);
        check_commands(
            datatype,
            &device,
            &[sent(
                "n_p_set",
                json!({ "value": value }),
                "homie/5/d/n/p/set",
                payload,
                payload,
            )],
        );
    }
}

#[test]
fn values_outside_the_format_are_refused() {
    for (datatype, format, value) in [
        ("integer", Some("0:100"), json!(101)),
        ("integer", None, json!(1.5)),
        ("float", Some("0:"), json!(-1)),
        ("boolean", None, json!("true")),
        ("enum", Some("low,high"), json!("mid")),
        ("color", Some("rgb"), json!("hsv,1,2,3")),
        ("color", Some("rgb"), json!("rgb,1,2")),
        ("duration", None, json!("5 minutes")),
        ("json", None, json!(7)),
        (
            "json",
            Some(r#"{"type":"object","required":["a"]}"#),
            json!({}),
        ),
    ] {
        let mut declared = json!({ "datatype": datatype, "settable": true });
        if let Some(format) = format {
            declared["format"] = json!(format);
        }
        refuses(&property(&declared), "n_p_set", &json!({ "value": value }));
    }
}

#[test]
fn a_property_that_is_not_retained_is_set_with_qos_0() {
    let device = property(
        &json!({ "datatype": "enum", "format": "brew", "settable": true, "retained": false }),
    );
    assert_eq!(device.commands[0].qos, 0);
    let device = property(&json!({ "datatype": "enum", "format": "ring", "retained": false }));
    assert!(device.commands.is_empty());
}

/// Whether a device is online with this state of its own and this one of its root.
fn is_online(availability: &Availability, own: &str, root: &str) -> bool {
    availability.topics.iter().all(|it| {
        let state = if it.topic == "homie/5/bridge/$state" {
            root
        } else {
            own
        };
        it.read(state.as_bytes()) == Some(true)
    })
}

#[test]
fn a_child_is_lost_with_its_root() {
    let child = described(
        "light1",
        &json!({ "homie": "5.0", "version": 1, "root": "bridge", "parent": "dualrelay" }),
    );
    let availability = child.availability.unwrap();
    assert!(is_online(&availability, "ready", "ready"));
    assert!(is_online(&availability, "ready", "sleeping"));
    assert!(!is_online(&availability, "ready", "lost"));
    for state in ["init", "disconnected", "sleeping", "lost"] {
        assert!(!is_online(&availability, state, "ready"), "{state}");
    }
    assert_eq!(child.labels.get("parent"), Some(&Text::new("dualrelay")));
    let root = described("bridge", &json!({ "homie": "5.0", "version": 1 }));
    assert_eq!(root.availability.map(|it| it.topics.len()), Some(1));
}
