//! Examples of Home Assistant's documentation (<https://www.home-assistant.io/integrations/mqtt/> and the pages of its
//! components), and what it says about defaults.

use serde_json::{Value, json};
use tidegate_device::{AvailabilityMode, Source, Text};

use crate::{Case, announcements, check, declared, refuses, sent};

fn case(topic: &'static str, id: &'static str, kind: &'static str, payload: Value) -> Case {
    Case {
        source: topic,
        topic,
        payload,
        id,
        kind,
        readings: Vec::new(),
        commands: Vec::new(),
        online: None,
    }
}

#[test]
fn examples_of_mqtt_discovery() {
    check(vec![
        Case {
            readings: vec![("motion", "ON", json!(true))],
            ..case(
                "homeassistant/binary_sensor/garden/config",
                "01ad",
                "binary_sensor",
                json!({
                    "name": null, "device_class": "motion",
                    "state_topic": "homeassistant/binary_sensor/garden/state", "unique_id": "motion01ad",
                    "device": { "identifiers": ["01ad"], "name": "Garden" },
                }),
            )
        },
        Case {
            readings: vec![("switch", "ON", json!(true))],
            commands: vec![
                sent(
                    "switch_turn_on",
                    json!({}),
                    "homeassistant/switch/irrigation/set",
                    "ON",
                    "ON",
                ),
                sent(
                    "switch_turn_off",
                    json!({}),
                    "homeassistant/switch/irrigation/set",
                    "OFF",
                    "OFF",
                ),
            ],
            ..case(
                "homeassistant/switch/irrigation/config",
                "01ad",
                "switch",
                json!({
                    "name": null, "command_topic": "homeassistant/switch/irrigation/set",
                    "state_topic": "homeassistant/switch/irrigation/state", "unique_id": "irr01ad",
                    "device": { "identifiers": ["01ad"], "name": "Garden" },
                }),
            )
        },
        // With a base topic and abbreviations.
        Case {
            readings: vec![("kitchen", r#"{"state":"OFF"}"#, json!({ "state": "OFF" }))],
            commands: vec![
                sent(
                    "kitchen_turn_on",
                    json!({ "brightness": 255 }),
                    "homeassistant/light/kitchen/set",
                    r#"{"state":"ON","brightness":255}"#,
                    r#"{"state":"ON","brightness":255}"#,
                ),
                sent(
                    "kitchen_turn_off",
                    json!({}),
                    "homeassistant/light/kitchen/set",
                    r#"{"state":"OFF"}"#,
                    r#"{"state":"OFF"}"#,
                ),
            ],
            ..case(
                "homeassistant/light/kitchen/config",
                "kitchen_light",
                "light",
                json!({
                    "~": "homeassistant/light/kitchen", "name": "Kitchen", "uniq_id": "kitchen_light",
                    "cmd_t": "~/set", "stat_t": "~/state", "schema": "json", "brightness": true,
                }),
            )
        },
    ]);
}

#[test]
fn the_example_of_a_whole_device() {
    let payload = json!({
        "dev": {
            "ids": "ea334450945afc", "name": "Kitchen", "mf": "Bla electronics", "mdl": "xya", "sw": "1.0",
            "sn": "ea334450945afc", "hw": "1.0rev2", "sa": "Kitchen",
        },
        "o": { "name": "bla2mqtt", "sw": "2.1", "url": "https://bla2mqtt.example.com/support" },
        "cmps": {
            "some_unique_component_id1": {
                "p": "sensor", "device_class": "temperature", "unit_of_measurement": "°C",
                "value_template": "{{ value_json.temperature }}", "unique_id": "temp01ae_t",
            },
            "some_unique_id2": {
                "p": "sensor", "device_class": "humidity", "unit_of_measurement": "%",
                "value_template": "{{ value_json.humidity }}", "unique_id": "temp01ae_h",
            },
        },
        "state_topic": "sensorBedroom/state", "qos": 2,
    });
    let source = "homeassistant/device/0AFFD2/config";
    let device = declared(source, source, &payload);
    assert_eq!(device.source, Source::HomeAssistant);
    assert_eq!(device.name, Some(Text::new("Kitchen")));
    assert_eq!(device.description, Some(Text::new("Bla electronics xya")));
    assert_eq!(device.location, Some(Text::new("Kitchen")));
    assert_eq!(device.labels.get("sw_version"), Some(&Text::new("1.0")));
    assert_eq!(
        device.topics_read().into_iter().collect::<Vec<_>>(),
        ["sensorBedroom/state"]
    );
    assert!(device.topics_written().is_empty());
    let message = r#"{"temperature":21.5,"humidity":40}"#;
    check(vec![Case {
        readings: vec![
            ("humidity", message, json!(40)),
            ("temperature", message, json!(21.5)),
        ],
        ..case(source, "ea334450945afc", "sensor", payload)
    }]);
}

#[test]
fn defaults_of_the_components() {
    check(vec![
        Case {
            commands: vec![sent("button_press", json!({}), "b/set", "PRESS", "")],
            ..case(
                "homeassistant/button/b/config",
                "button_b",
                "button",
                json!({ "cmd_t": "b/set" }),
            )
        },
        Case {
            readings: vec![("lock", "JAMMED", json!("JAMMED"))],
            commands: vec![
                sent("lock_lock", json!({}), "l/set", "LOCK", "LOCKED"),
                sent("lock_unlock", json!({}), "l/set", "UNLOCK", "UNLOCKED"),
                sent("lock_open", json!({}), "l/set", "OPEN", ""),
            ],
            ..case(
                "homeassistant/lock/l/config",
                "lock_l",
                "lock",
                json!({ "cmd_t": "l/set", "stat_t": "l", "pl_open": "OPEN" }),
            )
        },
        Case {
            readings: vec![("cover", "opening", json!("opening"))],
            commands: vec![
                sent("cover_open", json!({}), "c/set", "OPEN", "open"),
                sent("cover_close", json!({}), "c/set", "CLOSE", "closed"),
            ],
            ..case(
                "homeassistant/cover/c/config",
                "cover_c",
                "cover",
                json!({ "cmd_t": "c/set", "stat_t": "c", "pl_stop": null }),
            )
        },
        Case {
            readings: vec![("text", "hello", json!("hello"))],
            commands: vec![sent(
                "text_set",
                json!({ "value": "hello" }),
                "t/set",
                "hello",
                "hello",
            )],
            ..case(
                "homeassistant/text/t/config",
                "text_t",
                "text",
                json!({ "cmd_t": "t/set", "stat_t": "t", "max": 20 }),
            )
        },
        // A password is set and not told.
        Case {
            commands: vec![sent("text_set", json!({ "value": "x" }), "t/set", "x", "")],
            ..case(
                "homeassistant/text/p/config",
                "text_p",
                "text",
                json!({ "cmd_t": "t/set", "stat_t": "t", "mode": "password" }),
            )
        },
        Case {
            readings: vec![("number", "50", json!(50))],
            commands: vec![sent(
                "number_set",
                json!({ "value": 50.0 }),
                "n/set",
                "50",
                "50.0",
            )],
            ..case(
                "homeassistant/number/n/config",
                "number_n",
                "number",
                json!({ "cmd_t": "n/set", "stat_t": "n" }),
            )
        },
        // A range of positions of its own, and a template for it.
        Case {
            commands: vec![sent(
                "cover_set_position",
                json!({ "position": 128 }),
                "c/pos",
                "50 of 128 in 0..255",
                "",
            )],
            ..case(
                "homeassistant/cover/r/config",
                "cover_r",
                "cover",
                json!({
                    "set_pos_t": "c/pos", "pos_open": 255,
                    "set_pos_tpl": "{{ position }} of {{ value }} in {{ position_closed }}..{{ position_open }}",
                }),
            )
        },
    ]);
}

#[test]
fn a_light_with_templates() {
    let state = "on,120,250,255-0-128";
    check(vec![Case {
        readings: vec![
            ("rgb_light", state, json!(true)),
            ("rgb_light_brightness", state, json!(120)),
            ("rgb_light_red", state, json!(255)),
            ("rgb_light_green", state, json!(0)),
            ("rgb_light_blue", state, json!(128)),
        ],
        commands: vec![
            sent("rgb_light_turn_on", json!({}), "rgb/set", "on,,--", state),
            sent(
                "rgb_light_turn_on",
                json!({ "brightness": 120, "red": 255, "green": 0, "blue": 128 }),
                "rgb/set",
                "on,120,255-0-128",
                state,
            ),
            sent("rgb_light_turn_off", json!({}), "rgb/set", "off", "off,,,"),
        ],
        ..case(
            "homeassistant/light/rgb/config",
            "light_rgb",
            "light",
            json!({
                "schema": "template", "name": "RGB light", "cmd_t": "rgb/set", "stat_t": "rgb/status",
                "cmd_on_tpl": "on,{{ brightness|d }},{{ red|d }}-{{ green|d }}-{{ blue|d }}", "cmd_off_tpl": "off",
                "stat_tpl": "{{ value.split(',')[0] }}", "bri_tpl": "{{ value.split(',')[1] }}",
                "r_tpl": "{{ value.split(',')[3].split('-')[0] }}",
                "g_tpl": "{{ value.split(',')[3].split('-')[1] }}",
                "b_tpl": "{{ value.split(',')[3].split('-')[2] }}",
            }),
        )
    }]);
}

#[test]
fn a_payload_cannot_leave_its_place_in_a_template() {
    let on = r#"{"a": "%} {{ b }} \\ '"}"#;
    check(vec![Case {
        commands: vec![
            sent("switch_turn_on", json!({}), "s/set", on, ""),
            sent("switch_turn_off", json!({}), "s/set", "OFF", ""),
        ],
        ..case(
            "homeassistant/switch/s/config",
            "switch_s",
            "switch",
            json!({ "cmd_t": "s/set", "pl_on": on, "cmd_tpl": " {{ value }} " }),
        )
    }]);
}

#[test]
fn a_lock_with_a_code() {
    check(vec![Case {
        readings: vec![("front_door", "LOCKED", json!("LOCKED"))],
        commands: vec![
            sent(
                "front_door_lock",
                json!({ "code": "1234" }),
                "door/set",
                r#"{ "action": "LOCK", "code":"1234" }"#,
                "LOCKED",
            ),
            sent(
                "front_door_unlock",
                json!({ "code": "1234" }),
                "door/set",
                r#"{ "action": "UNLOCK", "code":"1234" }"#,
                "UNLOCKED",
            ),
        ],
        ..case(
            "homeassistant/lock/door/config",
            "lock_door",
            "lock",
            json!({
                "name": "Front door", "stat_t": "door", "cmd_t": "door/set", "cod_form": "^\\d{4}$",
                "cmd_tpl": "{ \"action\": \"{{ value }}\", \"code\":\"{{ code }}\" }",
            }),
        )
    }]);
}

#[test]
fn nothing_confirms_a_command_of_an_optimistic_entity() {
    for payload in [
        json!({ "cmd_t": "s/set" }),
        json!({ "cmd_t": "s/set", "stat_t": "s", "opt": true }),
    ] {
        let device = declared("optimistic", "homeassistant/switch/s/config", &payload);
        assert!(device.commands.iter().all(|it| it.confirm.is_none()));
    }
}

#[test]
fn arguments_are_bounded() {
    let payload = json!({ "cmd_t": "n/set", "min": 10, "max": 20, "step": 5 });
    let number = declared("number", "homeassistant/number/n/config", &payload);
    for value in [json!(9), json!(21), json!(11), json!("10"), json!(null)] {
        refuses(&number, "number_set", &json!({ "value": value }));
    }
    refuses(&number, "number_set", &json!({}));
    let payload = json!({ "mode_cmd_t": "m/set", "temp_cmd_t": "t/set", "temp_unit": "F" });
    let climate = declared("climate", "homeassistant/climate/c/config", &payload);
    refuses(&climate, "climate_set_mode", &json!({ "mode": "melt" }));
    refuses(
        &climate,
        "climate_set_temperature",
        &json!({ "temperature": 20 }),
    );
    let payload = json!({ "cmd_t": "f/set", "pct_cmd_t": "p/set", "spd_rng_max": 3 });
    let fan = declared("fan", "homeassistant/fan/f/config", &payload);
    refuses(&fan, "fan_set_speed", &json!({ "speed": 4 }));
    refuses(&fan, "fan_set_speed", &json!({ "speed": 1.5 }));
}

#[test]
fn availability_has_a_topic_a_list_a_mode_and_templates() {
    let payload = json!({
        "cmd_t": "s/set", "avty_mode": "any",
        "avty": [
            { "t": "a", "pl_avail": "up", "pl_not_avail": "down" },
            { "t": "b", "val_tpl": "{{ 'online' if value_json.age < 60 else 'offline' }}" },
        ],
    });
    let device = declared("availability", "homeassistant/switch/s/config", &payload);
    let availability = device.availability.unwrap();
    assert_eq!(availability.mode, AvailabilityMode::Any);
    assert_eq!(availability.topics[0].read(b"up"), Some(true));
    assert_eq!(availability.topics[0].read(b"online"), None);
    assert_eq!(availability.topics[1].read(br#"{"age":10}"#), Some(true));
    assert_eq!(availability.topics[1].read(br#"{"age":100}"#), Some(false));
    let payload = json!({ "cmd_t": "s/set", "avty_t": "a", "avty_tpl": "{{ value | lower }}" });
    let device = declared("availability", "homeassistant/switch/s/config", &payload);
    let availability = device.availability.unwrap();
    assert_eq!(availability.mode, AvailabilityMode::Latest);
    assert_eq!(availability.topics[0].read(b"ONLINE"), Some(true));
}

#[test]
fn texts_of_a_device_are_bounded_and_visible() {
    let payload = json!({
        "cmd_t": "s/set", "name": format!("Lamp\u{202e}\n{}", "x".repeat(10_000)),
        "dev": { "ids": "d", "name": "\u{1b}[31mEvil", "mf": "a\u{0}b" },
    });
    let device = declared("texts", "homeassistant/switch/s/config", &payload);
    assert_eq!(device.name, Some(Text::new("[31mEvil")));
    assert_eq!(device.labels.get("manufacturer"), Some(&Text::new("ab")));
    for command in &device.commands {
        assert!(command.name.len() < 128);
        assert!(
            command
                .description
                .as_ref()
                .unwrap()
                .as_str()
                .chars()
                .count()
                <= 256
        );
    }
    let payload = json!({ "cmd_t": "s/set", "pl_on": "on\u{202e}" });
    let fault = announcements().take(
        "homeassistant/switch/s/config",
        payload.to_string().as_bytes(),
    );
    assert!(fault.is_err());
}
