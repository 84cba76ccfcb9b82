//! Properties of all announcements: order does not matter, and nothing panics.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_streams::mqtt::topic::check_name;

use crate::announcements;

/// Announcements of a few devices with entities of equal and different names.
fn announced() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (object, name, identifiers) in [
        ("a", "Temperature", json!({ "ids": ["x"], "name": "X" })),
        ("b", "Temperature", json!({ "ids": ["x"] })),
        ("c", "Temperature b", json!({ "ids": ["x", "y"] })),
        (
            "d",
            "Power",
            json!({ "ids": ["y"], "cns": [["mac", "1"]], "name": "Y" }),
        ),
        ("e", "Power", json!({ "cns": [["mac", "1"]] })),
        ("f", "Power", json!({ "ids": ["z z"] })),
        ("g", "Power", json!({ "ids": ["z_z"] })),
        ("h", "Alone", Value::Null),
    ] {
        let payload = json!({ "name": name, "stat_t": format!("s/{object}"), "dev": identifiers });
        all.push((format!("homeassistant/sensor/{object}/config"), payload));
    }
    all
}

/// Ids of devices, with the names and topics of their properties.
type Devices = BTreeMap<String, Vec<(String, String)>>;

fn devices(announced: &[(String, Value)]) -> Devices {
    let mut announcements = announcements();
    let mut devices = Devices::new();
    for (topic, payload) in announced {
        let change = announcements
            .take(topic, payload.to_string().as_bytes())
            .unwrap();
        for id in change.removed {
            assert!(
                devices.remove(&id).is_some(),
                "{id} is removed and was not there"
            );
        }
        for device in change.declared {
            let properties = device.properties.into_iter().map(|it| (it.name, it.topic));
            devices.insert(device.id, properties.collect());
        }
    }
    devices
}

/// Values that a member of a config may have, sensible or not.
fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-300_i64..300).prop_map(Value::from),
        "[a-z/~+# ]{0,8}".prop_map(Value::from),
        Just(json!("{{ value_json.a | round(1) }}")),
        Just(json!("{{ value")),
        Just(json!(["a", "b", 1, true])),
        Just(json!([{ "t": "a/b", "val_tpl": "{{ value }}" }])),
        Just(json!({ "ids": ["x"], "cns": [["mac", "y"]], "name": "X" })),
        Just(
            json!({ "a": { "p": "switch", "cmd_t": "~/a" }, "b": { "p": "sensor", "val_tpl": "x" } })
        ),
    ]
}

/// A name of a member, abbreviated or not.
fn key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "~",
        "name",
        "cmd_t",
        "stat_t",
        "val_tpl",
        "cmd_tpl",
        "dev",
        "o",
        "cmps",
        "avty",
        "avty_t",
        "avty_tpl",
        "avty_mode",
        "qos",
        "ret",
        "opt",
        "exp_aft",
        "e",
        "uniq_id",
        "pl_on",
        "pl_off",
        "stat_on",
        "min",
        "max",
        "step",
        "ops",
        "schema",
        "bri_cmd_t",
        "bri_stat_t",
        "bri_scl",
        "clr_temp_cmd_t",
        "min_mirs",
        "max_mirs",
        "rgb_cmd_t",
        "rgb_cmd_tpl",
        "fx_list",
        "fx_cmd_t",
        "on_cmd_type",
        "sup_clrm",
        "brightness",
        "effect",
        "cmd_on_tpl",
        "cmd_off_tpl",
        "stat_tpl",
        "pos_t",
        "set_pos_t",
        "set_pos_tpl",
        "pos_open",
        "pos_clsd",
        "tilt_cmd_t",
        "tilt_min",
        "tilt_max",
        "pl_stop",
        "pct_cmd_t",
        "spd_rng_min",
        "spd_rng_max",
        "pr_modes",
        "pr_mode_cmd_t",
        "mode_cmd_t",
        "modes",
        "temp_cmd_t",
        "min_temp",
        "max_temp",
        "temp_step",
        "temp_unit",
        "dev_cla",
        "unit_of_meas",
        "stat_cla",
        "ent_cat",
        "p",
        "mode",
    ])
}

proptest! {
    #[test]
    fn devices_do_not_depend_on_the_order_of_announcements(
        shuffled in Just(announced()).prop_shuffle(),
        removed in 0_usize..9,
    ) {
        prop_assert_eq!(devices(&shuffled), devices(&announced()));
        // One that has gone again leaves no trace.
        let mut gone = shuffled.clone();
        let mut rest = announced();
        if let Some((topic, _)) = shuffled.get(removed) {
            rest.retain(|(other, _)| other != topic);
            let mut announcements = announcements();
            let mut devices_left = Devices::new();
            gone.push((topic.clone(), Value::Null));
            for (topic, payload) in &gone {
                let text = if payload.is_null() { String::new() } else { payload.to_string() };
                let change = announcements.take(topic, text.as_bytes()).unwrap();
                for id in change.removed {
                    devices_left.remove(&id);
                }
                for device in change.declared {
                    let properties = device.properties.into_iter().map(|it| (it.name, it.topic));
                    devices_left.insert(device.id, properties.collect());
                }
            }
            prop_assert_eq!(devices_left, devices(&rest));
        }
    }

    #[test]
    fn any_config_is_a_device_with_valid_topics_or_a_fault(
        component in proptest::sample::select(vec![
            "switch", "light", "lock", "cover", "fan", "climate", "number", "select", "button", "sensor",
            "binary_sensor", "text", "device",
        ]),
        members in proptest::collection::btree_map(key(), member(), 0..24),
    ) {
        let payload = json!(members).to_string();
        let topic = format!("homeassistant/{component}/o/config");
        if let Ok(change) = announcements().take(&topic, payload.as_bytes()) {
            for device in &change.declared {
                for topic in device.topics_read().into_iter().chain(device.topics_written()) {
                    prop_assert!(check_name(topic).is_ok(), "{}", topic);
                }
                for command in &device.commands {
                    prop_assert!(jsonschema::meta::is_valid(&command.arguments), "{}", command.arguments);
                    if let Some(confirm) = &command.confirm {
                        let mut names = device.properties.iter().map(|it| &it.name);
                        prop_assert!(names.any(|it| *it == confirm.property));
                    }
                }
                for property in &device.properties {
                    let _ = property.read(b"{\"a\": 1}");
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut announcements = announcements();
        for topic in [
            "homeassistant/light/o/config", "homeassistant/device/o/config", "homie/5/d/$description",
            "homie/5/d/$state",
        ] {
            let _ = announcements.take(topic, &payload);
        }
    }
}
