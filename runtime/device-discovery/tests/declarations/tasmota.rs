//! Tasmota, `xdrv_12_home_assistant.ino` (<https://github.com/arendst/Tasmota>).

use serde_json::{Value, json};

use crate::{Case, check, sent};

/// A payload with what Tasmota adds to each.
fn with_device(mut payload: Value) -> Value {
    payload["uniq_id"] = json!("6D2A41_RL_1");
    payload["dev"] = json!({
        "ids": ["6D2A41"], "name": "Tasmota", "mdl": "Sonoff Basic", "sw": "9.5.0(tasmota)", "mf": "Tasmota",
    });
    payload["avty_t"] = json!("tele/tasmota/LWT");
    payload["pl_avail"] = json!("Online");
    payload["pl_not_avail"] = json!("Offline");
    payload
}

fn case(topic: &'static str, kind: &'static str, payload: Value) -> Case {
    Case {
        source: topic,
        topic,
        payload: with_device(payload),
        id: "6D2A41",
        kind,
        readings: Vec::new(),
        commands: Vec::new(),
        online: Some(("tele/tasmota/LWT", "Online", "Offline")),
    }
}

#[test]
fn relays() {
    check(vec![Case {
        readings: vec![("relay_1", r#"{"POWER":"ON"}"#, json!(true))],
        commands: vec![
            sent(
                "relay_1_turn_on",
                json!({}),
                "cmnd/tasmota/POWER",
                "ON",
                r#"{"POWER":"ON"}"#,
            ),
            sent(
                "relay_1_turn_off",
                json!({}),
                "cmnd/tasmota/POWER",
                "OFF",
                r#"{"POWER":"OFF"}"#,
            ),
        ],
        ..case(
            "homeassistant/switch/6D2A41_RL_1/config",
            "switch",
            json!({
                "name": "Tasmota Relay 1", "stat_t": "stat/tasmota/RESULT", "cmd_t": "cmnd/tasmota/POWER",
                "pl_off": "OFF", "pl_on": "ON", "val_tpl": "{{value_json.POWER}}",
            }),
        )
    }]);
}

#[test]
fn lights() {
    let ct = r#"{"CT":300}"#;
    check(vec![Case {
        readings: vec![
            ("led", r#"{"POWER":"ON"}"#, json!(true)),
            ("led_brightness", r#"{"Dimmer":40}"#, json!(40)),
            ("led_color_temp", ct, json!(300)),
            ("led_hs", r#"{"HSBColor":"120,80,40"}"#, json!("120,80")),
            ("led_effect", r#"{"Scheme":2}"#, json!("2")),
            ("led_color_mode", r#"{"White":10}"#, json!("color_temp")),
        ],
        commands: vec![
            sent(
                "led_turn_on",
                json!({}),
                "cmnd/led/POWER",
                "ON",
                r#"{"POWER":"ON"}"#,
            ),
            sent(
                "led_turn_off",
                json!({}),
                "cmnd/led/POWER",
                "OFF",
                r#"{"POWER":"OFF"}"#,
            ),
            sent(
                "led_set_brightness",
                json!({ "brightness": 40 }),
                "cmnd/led/Dimmer",
                "40",
                r#"{"Dimmer":40}"#,
            ),
            sent(
                "led_set_color_temp",
                json!({ "color_temp": 300 }),
                "cmnd/led/CT",
                "300",
                ct,
            ),
            sent(
                "led_set_hs",
                json!({ "hue": 120, "sat": 80.0 }),
                "cmnd/led/HSBColor",
                "120,80",
                "",
            ),
            sent(
                "led_set_effect",
                json!({ "effect": "2" }),
                "cmnd/led/Scheme",
                "2",
                r#"{"Scheme":2}"#,
            ),
            sent(
                "led_set_white",
                json!({ "white": 55 }),
                "cmnd/led/White",
                "55",
                "",
            ),
        ],
        ..case(
            "homeassistant/light/6D2A41_LI_1/config",
            "light",
            json!({
                "name": "Led", "stat_t": "stat/led/RESULT", "cmd_t": "cmnd/led/POWER", "pl_off": "OFF", "pl_on": "ON",
                "stat_val_tpl": "{{value_json.POWER}}", "bri_cmd_t": "cmnd/led/Dimmer", "bri_stat_t": "stat/led/RESULT",
                "bri_scl": 100, "on_cmd_type": "last", "bri_val_tpl": "{{value_json.Dimmer}}",
                "hs_cmd_t": "cmnd/led/HSBColor", "hs_stat_t": "stat/led/RESULT",
                "hs_val_tpl": "{{value_json.HSBColor.split(',')[0:2]|join(',')}}",
                "clr_temp_cmd_t": "cmnd/led/CT", "clr_temp_stat_t": "stat/led/RESULT",
                "clr_temp_val_tpl": "{{value_json.CT}}", "clrm_stat_t": "stat/led/RESULT",
                "clrm_val_tpl": "{%if value_json.White%}color_temp{%else%}hs{%endif %}",
                "whit_cmd_t": "cmnd/led/White", "whit_scl": 100,
                "fx_cmd_t": "cmnd/led/Scheme", "fx_stat_t": "stat/led/RESULT", "fx_val_tpl": "{{value_json.Scheme}}",
                "fx_list": ["0", "1", "2", "3", "4"],
            }),
        )
    }]);
}

#[test]
fn a_light_that_is_turned_on_by_its_brightness() {
    check(vec![Case {
        readings: vec![("led_brightness", r#"{"Dimmer":40}"#, json!(40))],
        commands: vec![
            sent("led_turn_on", json!({}), "cmnd/led/Dimmer", "100", ""),
            sent("led_turn_off", json!({}), "cmnd/led/POWER", "OFF", ""),
            sent(
                "led_set_brightness",
                json!({ "brightness": 1 }),
                "cmnd/led/Dimmer",
                "1",
                r#"{"Dimmer":1}"#,
            ),
        ],
        ..case(
            "homeassistant/light/6D2A41_LI_2/config",
            "light",
            json!({
                "name": "Led", "cmd_t": "cmnd/led/POWER", "bri_cmd_t": "cmnd/led/Dimmer", "bri_stat_t": "stat/led/RESULT",
                "bri_scl": 100, "on_cmd_type": "brightness", "bri_val_tpl": "{{value_json.Dimmer}}",
            }),
        )
    }]);
}

#[test]
fn shutters_and_sensors() {
    check(vec![
        Case {
            readings: vec![("shutter_1_position", "40", json!(40))],
            commands: vec![
                sent(
                    "shutter_1_open",
                    json!({}),
                    "cmnd/blind/Backlog",
                    "ShutterOpen1",
                    "100",
                ),
                sent(
                    "shutter_1_close",
                    json!({}),
                    "cmnd/blind/Backlog",
                    "ShutterClose1",
                    "0",
                ),
                sent(
                    "shutter_1_stop",
                    json!({}),
                    "cmnd/blind/Backlog",
                    "ShutterStop1",
                    "",
                ),
                sent(
                    "shutter_1_set_position",
                    json!({ "position": 40 }),
                    "cmnd/blind/ShutterPosition1",
                    "40",
                    "40",
                ),
            ],
            ..case(
                "homeassistant/cover/6D2A41_SHT_1/config",
                "cover",
                json!({
                    "name": "Shutter 1", "cmd_t": "cmnd/blind/Backlog", "pl_open": "ShutterOpen1",
                    "pl_cls": "ShutterClose1", "pl_stop": "ShutterStop1", "opt": false, "ret": false, "qos": 1,
                    "pos_t": "stat/blind/SHUTTER1", "pos_clsd": 0, "pos_open": 100,
                    "set_pos_t": "cmnd/blind/ShutterPosition1",
                }),
            )
        },
        Case {
            readings: vec![(
                "am2301_temperature",
                r#"{"AM2301":{"Temperature":22.1}}"#,
                json!(22.1),
            )],
            ..case(
                "homeassistant/sensor/6D2A41_AM2301_Temperature/config",
                "sensor",
                json!({
                    "name": "Tasmota AM2301 Temperature", "stat_t": "tele/tasmota/SENSOR", "unit_of_meas": "°C",
                    "dev_cla": "temperature", "frc_upd": true,
                    "val_tpl": "{{value_json['AM2301']['Temperature']}}",
                }),
            )
        },
        Case {
            readings: vec![("switch_1", r#"{"Switch1":"ON"}"#, json!(true))],
            ..case(
                "homeassistant/binary_sensor/6D2A41_SW_1/config",
                "binary_sensor",
                json!({
                    "name": "Tasmota Switch 1", "stat_t": "stat/tasmota/SWITCH1", "frc_upd": true, "pl_on": "ON",
                    "pl_off": "OFF", "val_tpl": "{{value_json.Switch1}}",
                }),
            )
        },
    ]);
}
