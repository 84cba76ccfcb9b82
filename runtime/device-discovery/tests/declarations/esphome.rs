//! `ESPHome`, `esphome/components/mqtt` (<https://github.com/esphome/esphome>).

use serde_json::{Value, json};

use crate::{Case, check, sent};

/// A payload with what `ESPHome` adds to each.
fn with_device(mut payload: Value) -> Value {
    payload["dev"] = json!({
        "ids": "84f3eb123456", "name": "Livingroom", "sw": "2025.1.0", "mdl": "esp01_1m", "mf": "Espressif",
        "sa": "Living Room", "cns": [["mac", "84f3eb123456"]],
    });
    payload["avty_t"] = json!("livingroom/status");
    payload["uniq_id"] = json!("ESPx");
    payload
}

fn case(topic: &'static str, kind: &'static str, payload: Value) -> Case {
    Case {
        source: topic,
        topic,
        payload: with_device(payload),
        id: "84f3eb123456",
        kind,
        readings: Vec::new(),
        commands: Vec::new(),
        online: Some(("livingroom/status", "online", "offline")),
    }
}

#[test]
fn values() {
    check(vec![
        Case {
            readings: vec![("uptime", "1234.0", json!(1234.0))],
            ..case(
                "homeassistant/sensor/livingroom/uptime/config",
                "sensor",
                json!({
                    "name": "Uptime", "stat_t": "livingroom/sensor/uptime/state", "unit_of_meas": "s",
                    "stat_cla": "measurement", "exp_aft": 120,
                }),
            )
        },
        Case {
            readings: vec![("relay", "ON", json!(true))],
            commands: vec![
                sent(
                    "relay_turn_on",
                    json!({}),
                    "livingroom/switch/relay/command",
                    "ON",
                    "ON",
                ),
                sent(
                    "relay_turn_off",
                    json!({}),
                    "livingroom/switch/relay/command",
                    "OFF",
                    "OFF",
                ),
            ],
            ..case(
                "homeassistant/switch/livingroom/relay/config",
                "switch",
                json!({
                    "name": "Relay", "stat_t": "livingroom/switch/relay/state",
                    "cmd_t": "livingroom/switch/relay/command",
                }),
            )
        },
        Case {
            readings: vec![("level", "2.5", json!(2.5))],
            commands: vec![sent(
                "level_set",
                json!({ "value": 2.5 }),
                "livingroom/number/level/command",
                "2.5",
                "2.50",
            )],
            ..case(
                "homeassistant/number/livingroom/level/config",
                "number",
                json!({
                    "name": "Level", "min": 0, "max": 10, "step": 0.5, "mode": "slider",
                    "stat_t": "livingroom/number/level/state", "cmd_t": "livingroom/number/level/command",
                }),
            )
        },
        Case {
            readings: vec![("mode", "Eco", json!("Eco"))],
            commands: vec![sent(
                "mode_select",
                json!({ "option": "Eco" }),
                "livingroom/select/mode/command",
                "Eco",
                "Eco",
            )],
            ..case(
                "homeassistant/select/livingroom/mode/config",
                "select",
                json!({
                    "name": "Mode", "options": ["Eco", "Boost"], "stat_t": "livingroom/select/mode/state",
                    "cmd_t": "livingroom/select/mode/command",
                }),
            )
        },
    ]);
}

#[test]
fn lights() {
    let on =
        r#"{"state":"ON","color_mode":"rgbw","brightness":120,"color":{"r":1,"g":2,"b":3,"w":4}}"#;
    let topic = "livingroom/light/lamp/command";
    check(vec![Case {
        readings: vec![("lamp", on, serde_json::from_str(on).unwrap())],
        commands: vec![
            sent(
                "lamp_turn_on",
                json!({ "brightness": 120, "color": { "r": 1, "g": 2, "b": 3, "w": 4 }, "flash": "long" }),
                topic,
                r#"{"state":"ON","brightness":120,"color":{"b":3,"g":2,"r":1,"w":4},"flash":10}"#,
                on,
            ),
            sent(
                "lamp_turn_off",
                json!({}),
                topic,
                r#"{"state":"OFF"}"#,
                r#"{"state":"OFF"}"#,
            ),
        ],
        ..case(
            "homeassistant/light/livingroom/lamp/config",
            "light",
            json!({
                "schema": "json", "clrm": true, "supported_color_modes": ["rgbw"], "brightness": true, "name": "Lamp",
                "stat_t": "livingroom/light/lamp/state", "cmd_t": topic, "effect": true, "fx_list": ["Pulse", "None"],
            }),
        )
    }]);
}

#[test]
fn fans() {
    let command = "livingroom/fan/fan/command";
    check(vec![Case {
        readings: vec![
            ("fan", "ON", json!(true)),
            ("fan_speed", "2", json!(2)),
            ("fan_oscillation", "oscillate_off", json!(false)),
            ("fan_direction", "reverse", json!("reverse")),
        ],
        commands: vec![
            sent("fan_turn_on", json!({}), command, "ON", "ON"),
            sent("fan_turn_off", json!({}), command, "OFF", "OFF"),
            sent(
                "fan_set_speed",
                json!({ "speed": 2 }),
                "l/speed/command",
                "2",
                "2",
            ),
            sent(
                "fan_start_oscillation",
                json!({}),
                "l/osc/command",
                "oscillate_on",
                "oscillate_on",
            ),
            sent(
                "fan_stop_oscillation",
                json!({}),
                "l/osc/command",
                "oscillate_off",
                "oscillate_off",
            ),
            sent(
                "fan_set_direction",
                json!({ "direction": "forward" }),
                "l/dir/command",
                "forward",
                "forward",
            ),
        ],
        ..case(
            "homeassistant/fan/livingroom/fan/config",
            "fan",
            json!({
                "name": "Fan", "stat_t": "livingroom/fan/fan/state", "cmd_t": command,
                "pct_cmd_t": "l/speed/command", "pct_stat_t": "l/speed/state", "spd_rng_max": 3,
                "osc_cmd_t": "l/osc/command", "osc_stat_t": "l/osc/state",
                "dir_cmd_t": "l/dir/command", "dir_stat_t": "l/dir/state",
            }),
        )
    }]);
}

#[test]
fn covers() {
    check(vec![Case {
        readings: vec![
            ("blind_position", "55", json!(55)),
            ("blind_tilt", "5", json!(5)),
        ],
        commands: vec![
            sent("blind_open", json!({}), "l/blind/command", "OPEN", "100"),
            sent("blind_close", json!({}), "l/blind/command", "CLOSE", "0"),
            sent("blind_stop", json!({}), "l/blind/command", "STOP", ""),
            sent(
                "blind_set_position",
                json!({ "position": 55 }),
                "l/position/command",
                "55",
                "55",
            ),
            sent(
                "blind_set_tilt",
                json!({ "tilt": 5 }),
                "l/tilt/command",
                "5",
                "5",
            ),
        ],
        ..case(
            "homeassistant/cover/livingroom/blind/config",
            "cover",
            json!({
                "name": "Blind", "cmd_t": "l/blind/command", "pos_t": "l/position/state",
                "set_pos_t": "l/position/command", "tilt_status_t": "l/tilt/state", "tilt_cmd_t": "l/tilt/command",
            }),
        )
    }]);
}

#[test]
fn climates() {
    check(vec![Case {
        readings: vec![
            ("heating_mode", "heat", json!("heat")),
            ("heating_temperature_low", "18.5", json!(18.5)),
            ("heating_temperature_high", "25", json!(25)),
            ("heating_current_temperature", "20.1", json!(20.1)),
            ("heating_action", "idle", json!("idle")),
        ],
        commands: vec![
            sent(
                "heating_set_mode",
                json!({ "mode": "off" }),
                "l/mode/command",
                "off",
                "off",
            ),
            sent(
                "heating_set_temperature_low",
                json!({ "temperature_low": 18.5 }),
                "l/low/command",
                "18.5",
                "18.5",
            ),
            sent(
                "heating_set_temperature_high",
                json!({ "temperature_high": 25.0 }),
                "l/high/command",
                "25",
                "25.0",
            ),
        ],
        ..case(
            "homeassistant/climate/livingroom/heating/config",
            "climate",
            json!({
                "name": "Heating", "curr_temp_t": "l/current/state", "mode_cmd_t": "l/mode/command",
                "mode_stat_t": "l/mode/state", "modes": ["off", "heat"], "temp_lo_cmd_t": "l/low/command",
                "temp_lo_stat_t": "l/low/state", "temp_hi_cmd_t": "l/high/command", "temp_hi_stat_t": "l/high/state",
                "min_temp": 10, "max_temp": 30, "temp_step": 0.5, "act_t": "l/action/state",
            }),
        )
    }]);
}
