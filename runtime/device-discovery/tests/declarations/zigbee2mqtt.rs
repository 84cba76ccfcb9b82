//! zigbee2mqtt 2.x, `lib/extension/homeassistant.ts` and its tests (<https://github.com/Koenkk/zigbee2mqtt>).

use serde_json::{Value, json};

use crate::{Case, check, declared, refuses, sent};

/// A payload with what zigbee2mqtt adds to each: device, origin and availability.
fn with_device(mut payload: Value) -> Value {
    payload["device"] = json!({
        "identifiers": ["zigbee2mqtt_0x0017880104e45553"], "name": "lamp", "model": "A19", "manufacturer": "Sengled",
        "model_id": "E11", "via_device": "zigbee2mqtt_bridge_0x00124b00120144ae",
    });
    payload["origin"] =
        json!({ "name": "Zigbee2MQTT", "sw": "2.0.0", "url": "https://www.zigbee2mqtt.io" });
    payload["availability"] = json!([
        { "topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}" },
        { "topic": "zigbee2mqtt/lamp/availability", "value_template": "{{ value_json.state }}" },
    ]);
    payload["availability_mode"] = json!("all");
    payload["object_id"] = json!("lamp");
    payload["unique_id"] = json!("0x0017880104e45553_lamp_zigbee2mqtt");
    payload
}

fn case(topic: &'static str, kind: &'static str, payload: Value) -> Case {
    Case {
        source: topic,
        topic,
        payload: with_device(payload),
        id: "zigbee2mqtt_0x0017880104e45553",
        kind,
        readings: Vec::new(),
        commands: Vec::new(),
        online: Some((
            "zigbee2mqtt/lamp/availability",
            r#"{"state":"online"}"#,
            r#"{"state":"offline"}"#,
        )),
    }
}

fn color_light() -> Value {
    json!({
        "brightness": true, "brightness_scale": 254, "command_topic": "zigbee2mqtt/lamp/set", "schema": "json",
        "max_mireds": 454, "min_mireds": 250, "name": null, "state_topic": "zigbee2mqtt/lamp",
        "supported_color_modes": ["xy", "color_temp"], "effect": true, "effect_list": ["blink", "okay"],
    })
}

const LAMP: &str = "homeassistant/light/0x0017880104e45553/light/config";
const SET: &str = "zigbee2mqtt/lamp/set";

#[test]
fn lights() {
    let state = r#"{"state":"ON","brightness":120,"color_temp":300,"color":{"x":0.3,"y":0.4},"linkquality":90}"#;
    check(vec![Case {
        readings: vec![("light", state, serde_json::from_str(state).unwrap())],
        commands: vec![
            sent("light_turn_on", json!({}), SET, r#"{"state":"ON"}"#, state),
            sent(
                "light_turn_on",
                json!({ "brightness": 120, "transition": 1.5 }),
                SET,
                r#"{"state":"ON","brightness":120,"transition":1.5}"#,
                state,
            ),
            sent(
                "light_turn_on",
                json!({ "color_temp": 300.0, "effect": "okay", "flash": "short" }),
                SET,
                r#"{"state":"ON","color_temp":300,"effect":"okay","flash":2}"#,
                state,
            ),
            sent(
                "light_turn_on",
                json!({ "color": { "x": 0.3, "y": 0.4 } }),
                SET,
                r#"{"state":"ON","color":{"x":0.3,"y":0.4}}"#,
                state,
            ),
            sent(
                "light_turn_off",
                json!({}),
                SET,
                r#"{"state":"OFF"}"#,
                r#"{"state":"OFF"}"#,
            ),
            sent(
                "light_turn_off",
                json!({ "transition": 2 }),
                SET,
                r#"{"state":"OFF","transition":2}"#,
                r#"{"state":"OFF"}"#,
            ),
        ],
        ..case(LAMP, "light", color_light())
    }]);
}

#[test]
fn arguments_of_a_light_have_its_bounds() {
    let device = declared("light", LAMP, &with_device(color_light()));
    for arguments in [
        json!({ "brightness": 0 }),
        json!({ "brightness": 255 }),
        json!({ "color_temp": 200 }),
        json!({ "color": { "x": 1.1, "y": 0 } }),
        json!({ "color": { "r": 1, "g": 1, "b": 1 } }),
        json!({ "effect": "explode" }),
        json!({ "unknown": 1 }),
    ] {
        refuses(&device, "light_turn_on", &arguments);
    }
}

#[test]
fn a_light_with_another_brightness_is_not_confirmed() {
    let device = declared("light", LAMP, &with_device(color_light()));
    let confirm = device.commands[0].confirm.as_ref().unwrap();
    let arguments = json!({ "brightness": 120 });
    let state = json!({ "state": "ON", "brightness": 20 });
    assert!(
        !confirm
            .expected
            .is_met(&state, arguments.as_object().unwrap())
    );
}

#[test]
fn switches_and_sensors() {
    check(vec![
        Case {
            readings: vec![("switch", r#"{"state":"ON"}"#, json!(true))],
            commands: vec![
                sent("switch_turn_on", json!({}), SET, "ON", r#"{"state":"ON"}"#),
                sent(
                    "switch_turn_off",
                    json!({}),
                    SET,
                    "OFF",
                    r#"{"state":"OFF"}"#,
                ),
            ],
            ..case(
                "homeassistant/switch/0x0017880104e45553/switch/config",
                "switch",
                json!({
                    "name": null, "payload_off": "OFF", "payload_on": "ON", "value_template": "{{ value_json[\"state\"] }}",
                    "command_topic": "zigbee2mqtt/lamp/set", "state_topic": "zigbee2mqtt/lamp",
                }),
            )
        },
        Case {
            readings: vec![("temperature", r#"{"temperature":-0.85}"#, json!(-0.85))],
            ..case(
                "homeassistant/sensor/0x0017880104e45553/temperature/config",
                "sensor",
                json!({
                    "unit_of_measurement": "°C", "device_class": "temperature", "state_class": "measurement",
                    "value_template": "{{ value_json[\"temperature\"] }}", "state_topic": "zigbee2mqtt/lamp",
                }),
            )
        },
        // Booleans of JSON: the template renders them as Python does, and so are the payloads.
        Case {
            readings: vec![("occupancy", r#"{"occupancy":true}"#, json!(true))],
            ..case(
                "homeassistant/binary_sensor/0x0017880104e45553/occupancy/config",
                "binary_sensor",
                json!({
                    "value_template": "{{ value_json[\"occupancy\"] }}", "payload_on": true, "payload_off": false,
                    "device_class": "occupancy", "state_topic": "zigbee2mqtt/lamp",
                }),
            )
        },
        Case {
            readings: vec![(
                "voltage",
                r#"{"voltage":3000,"linkquality":5}"#,
                json!(3000),
            )],
            ..case(
                "homeassistant/sensor/0x0017880104e45553/voltage/config",
                "sensor",
                json!({
                    "unit_of_measurement": "mV", "device_class": "voltage", "entity_category": "diagnostic",
                    "enabled_by_default": false, "value_template": "{{ value_json[\"voltage\"] }}",
                    "state_topic": "zigbee2mqtt/lamp",
                }),
            )
        },
    ]);
}

#[test]
fn covers_and_locks() {
    let position = |it: &str| -> &'static str {
        match it {
            "50" => r#"{"position":50,"state":"OPEN"}"#,
            "0" => r#"{"position":0,"state":"CLOSE"}"#,
            _ => r#"{"position":100,"state":"OPEN"}"#,
        }
    };
    check(vec![
        Case {
            readings: vec![
                ("cover", position("50"), json!("OPEN")),
                ("cover_position", position("50"), json!(50)),
                ("cover_tilt", r#"{"tilt":20}"#, json!(20)),
            ],
            commands: vec![
                sent("cover_open", json!({}), SET, "OPEN", position("100")),
                sent("cover_close", json!({}), SET, "CLOSE", position("0")),
                sent("cover_stop", json!({}), SET, "STOP", ""),
                sent(
                    "cover_set_position",
                    json!({ "position": 50 }),
                    SET,
                    r#"{ "position": 50 }"#,
                    position("50"),
                ),
                sent(
                    "cover_set_tilt",
                    json!({ "tilt": 20 }),
                    "zigbee2mqtt/lamp/set/tilt",
                    "20",
                    r#"{"tilt":20}"#,
                ),
            ],
            ..case(
                "homeassistant/cover/0x0017880104e45553/cover/config",
                "cover",
                json!({
                    "name": null, "command_topic": "zigbee2mqtt/lamp/set", "state_topic": "zigbee2mqtt/lamp",
                    "value_template": "{{ value_json[\"state\"] }}", "state_open": "OPEN", "state_closed": "CLOSE",
                    "state_stopped": "STOP", "position_topic": "zigbee2mqtt/lamp",
                    "position_template": "{{ value_json[\"position\"] }}",
                    "set_position_template": "{ \"position\": {{ position }} }",
                    "set_position_topic": "zigbee2mqtt/lamp/set",
                    "tilt_command_topic": "zigbee2mqtt/lamp/set/tilt", "tilt_status_topic": "zigbee2mqtt/lamp",
                    "tilt_status_template": "{{ value_json[\"tilt\"] }}",
                }),
            )
        },
        Case {
            readings: vec![("lock", r#"{"state":"LOCK"}"#, json!("LOCK"))],
            commands: vec![
                sent("lock_lock", json!({}), SET, "LOCK", r#"{"state":"LOCK"}"#),
                sent(
                    "lock_unlock",
                    json!({}),
                    SET,
                    "UNLOCK",
                    r#"{"state":"UNLOCK"}"#,
                ),
            ],
            ..case(
                "homeassistant/lock/0x0017880104e45553/lock/config",
                "lock",
                json!({
                    "name": null, "command_topic": "zigbee2mqtt/lamp/set", "state_topic": "zigbee2mqtt/lamp",
                    "value_template": "{{ value_json[\"state\"] }}", "state_locked": "LOCK", "state_unlocked": "UNLOCK",
                }),
            )
        },
    ]);
}

#[test]
fn a_cover_with_a_motor_state() {
    let payload = json!({
        "name": null, "command_topic": "zigbee2mqtt/lamp/set", "state_topic": "zigbee2mqtt/lamp",
        "value_template": "{% if \"motor_state\" in value_json and value_json[\"motor_state\"] %} \
                           {{ value_json[\"motor_state\"] }} {% else %} stopped {% endif %}",
        "state_opening": "opening", "state_closing": "closing", "state_stopped": "stopped",
    });
    let device = declared("cover", "homeassistant/cover/a/cover/config", &payload);
    for (message, state) in [
        (r#"{"motor_state":"opening"}"#, "opening"),
        ("{}", "stopped"),
    ] {
        let reading = device.properties[0].read(message.as_bytes()).unwrap();
        assert_eq!(reading, tidegate_device::Reading::Value(json!(state)));
    }
}

#[test]
fn fans() {
    check(vec![Case {
        readings: vec![
            ("fan", r#"{"fan_state":"ON"}"#, json!(true)),
            ("fan_speed", r#"{"fan_mode":"medium"}"#, json!(2)),
            ("fan_preset_mode", r#"{"fan_mode":"auto"}"#, json!("auto")),
        ],
        commands: vec![
            sent(
                "fan_turn_on",
                json!({}),
                "zigbee2mqtt/lamp/set/fan_state",
                "ON",
                r#"{"fan_state":"ON"}"#,
            ),
            sent(
                "fan_turn_off",
                json!({}),
                "zigbee2mqtt/lamp/set/fan_state",
                "OFF",
                r#"{"fan_state":"OFF"}"#,
            ),
            sent(
                "fan_set_speed",
                json!({ "speed": 3 }),
                "zigbee2mqtt/lamp/set/fan_mode",
                "high",
                r#"{"fan_mode":"high"}"#,
            ),
            sent(
                "fan_set_preset_mode",
                json!({ "preset_mode": "auto" }),
                "zigbee2mqtt/lamp/set/fan_mode",
                "auto",
                r#"{"fan_mode":"auto"}"#,
            ),
        ],
        ..case(
            "homeassistant/fan/0x0017880104e45553/fan/config",
            "fan",
            json!({
                "name": null, "state_topic": "zigbee2mqtt/lamp", "command_topic": "zigbee2mqtt/lamp/set/fan_state",
                "state_value_template": "{{ value_json.fan_state }}", "percentage_state_topic": "zigbee2mqtt/lamp",
                "percentage_command_topic": "zigbee2mqtt/lamp/set/fan_mode",
                "percentage_value_template":
                    "{{ {'off':0, 'low':1, 'medium':2, 'high':3}[value_json[\"fan_mode\"]] | default('None') }}",
                "percentage_command_template":
                    "{{ {0:'off', 1:'low', 2:'medium', 3:'high'}[value] | default('') }}",
                "speed_range_min": 1, "speed_range_max": 3, "preset_mode_state_topic": "zigbee2mqtt/lamp",
                "preset_mode_command_topic": "zigbee2mqtt/lamp/set/fan_mode", "preset_modes": ["on", "auto"],
                "preset_mode_value_template":
                    "{{ value_json[\"fan_mode\"] if value_json[\"fan_mode\"] in ['on', 'auto'] else 'None' | default('None') }}",
            }),
        )
    }]);
}

#[test]
fn climate() {
    check(vec![Case {
        readings: vec![
            ("climate_mode", r#"{"system_mode":"heat"}"#, json!("heat")),
            ("climate_preset_mode", r#"{"preset":"eco"}"#, json!("eco")),
            (
                "climate_temperature",
                r#"{"occupied_heating_setpoint":20.5}"#,
                json!(20.5),
            ),
            (
                "climate_current_temperature",
                r#"{"local_temperature":19}"#,
                json!(19),
            ),
            (
                "climate_action",
                r#"{"running_state":"heat"}"#,
                json!("heating"),
            ),
        ],
        commands: vec![
            sent(
                "climate_set_mode",
                json!({ "mode": "off" }),
                "zigbee2mqtt/lamp/set/system_mode",
                "off",
                r#"{"system_mode":"off"}"#,
            ),
            sent(
                "climate_set_preset_mode",
                json!({ "preset_mode": "eco" }),
                "zigbee2mqtt/lamp/set/preset",
                "eco",
                r#"{"preset":"eco"}"#,
            ),
            sent(
                "climate_set_temperature",
                json!({ "temperature": 20.5 }),
                "zigbee2mqtt/lamp/set/occupied_heating_setpoint",
                "20.5",
                r#"{"occupied_heating_setpoint":20.5}"#,
            ),
        ],
        ..case(
            "homeassistant/climate/0x0017880104e45553/climate/config",
            "climate",
            json!({
                "name": null, "temperature_unit": "C", "temp_step": 0.5, "min_temp": "5", "max_temp": "30",
                "current_temperature_topic": "zigbee2mqtt/lamp",
                "current_temperature_template": "{{ value_json[\"local_temperature\"] }}",
                "mode_state_topic": "zigbee2mqtt/lamp", "mode_state_template": "{{ value_json[\"system_mode\"] }}",
                "modes": ["off", "auto", "heat"], "mode_command_topic": "zigbee2mqtt/lamp/set/system_mode",
                "action_topic": "zigbee2mqtt/lamp",
                "action_template": "{% set values = {None:None,'idle':'idle','heat':'heating','cool':'cooling',\
                                    'fan_only':'fan'} %}{{ values[value_json[\"running_state\"]] }}",
                "temperature_command_topic": "zigbee2mqtt/lamp/set/occupied_heating_setpoint",
                "temperature_state_template": "{{ value_json[\"occupied_heating_setpoint\"] }}",
                "temperature_state_topic": "zigbee2mqtt/lamp",
                "preset_modes": ["eco", "comfort"], "preset_mode_command_topic": "zigbee2mqtt/lamp/set/preset",
                "preset_mode_value_template": "{{ value_json[\"preset\"] }}",
                "preset_mode_state_topic": "zigbee2mqtt/lamp",
            }),
        )
    }]);
}

#[test]
fn the_bridge() {
    let restart = json!({
        "name": "Restart", "command_topic": "zigbee2mqtt/bridge/request/restart", "payload_press": "",
        "device_class": "restart", "entity_category": "config",
    });
    let level = json!({
        "name": "Log level", "state_topic": "zigbee2mqtt/bridge/info", "entity_category": "config",
        "value_template": "{{ value_json.log_level | lower }}",
        "command_topic": "zigbee2mqtt/bridge/request/options",
        "command_template": "{\"options\": {\"advanced\": {\"log_level\": \"{{ value }}\" } } }",
        "options": ["error", "warning", "info", "debug"],
    });
    check(vec![
        Case {
            commands: vec![sent(
                "restart_press",
                json!({}),
                "zigbee2mqtt/bridge/request/restart",
                "",
                "",
            )],
            ..case(
                "homeassistant/button/1221/restart/config",
                "button",
                restart,
            )
        },
        Case {
            readings: vec![("log_level", r#"{"log_level":"info"}"#, json!("info"))],
            commands: vec![sent(
                "log_level_select",
                json!({ "option": "debug" }),
                "zigbee2mqtt/bridge/request/options",
                r#"{"options": {"advanced": {"log_level": "debug" } } }"#,
                r#"{"log_level":"DEBUG"}"#,
            )],
            ..case(
                "homeassistant/select/1221/log_level/config",
                "select",
                level,
            )
        },
    ]);
}
