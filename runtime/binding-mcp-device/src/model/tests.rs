//! How types are lowered.

use serde_json::json;

use super::*;

fn models(options: Value) -> Models {
    let options: Options = serde_json::from_value(options).expect("valid options");
    let (models, faults) = Models::new(&options);
    assert!(faults.is_empty(), "{faults:?}");
    models
}

#[test]
fn a_type_becomes_a_prototype_with_templates_of_topics() {
    let models = models(json!({
        "address": "plant/{location}/{type}/{device}/#",
        "types": { "light": {
            "status": { "action": "state/now" },
            "online": { "action": "online" },
            "commands": { "set": {
                "arguments": { "properties": { "on": {} } },
                "confirm": {},
                "interlocks": [{ "topic": "plant/{location}/door", "equals": "closed", "reason": "r" }],
            } },
        } },
    }));
    let model = &models.types["light"];
    let topics: Vec<&str> = model
        .device
        .properties
        .iter()
        .map(|it| &*it.topic)
        .collect();
    assert_eq!(topics, ["plant/{location}/light/{device}/state/now"]);
    let command = &model.device.commands[0];
    assert_eq!(command.topic, "plant/{location}/light/{device}/set");
    assert_eq!((command.qos, command.retain), (1, false));
    assert_eq!(
        command.confirm.as_ref().map(|it| &*it.property),
        Some(STATUS)
    );
    assert_eq!(
        models.filters,
        [
            "plant/+/door",
            "plant/+/light/+/online",
            "plant/+/light/+/state/now"
        ]
    );
    assert_eq!(models.interlocks.len(), 1);
}

#[test]
fn a_command_without_arguments_takes_none() {
    let models = models(json!({ "types": { "siren": { "commands": { "stop": {} } } } }));
    let siren = &models.types["siren"];
    let (rule, command) = (&siren.rules[0], &siren.device.commands[0]);
    assert!(rule.violations(command, &json!({})).is_empty());
    assert!(!rule.violations(command, &json!({ "x": 1 })).is_empty());
}

#[test]
fn what_is_guarded_depends_on_the_caller() {
    let models = models(json!({ "types": { "door": {
        "commands": { "ring": {}, "open": { "guarded": { "staff": ["operator"] } } },
    } } }));
    let operator = Identity {
        guard: "staff".into(),
        roles: vec!["operator".into()],
        ..Identity::default()
    };
    let door = &models.types["door"];
    assert!(door.depends_on_caller() && door.is_visible(None));
    let names = |caller: Option<&Identity>| -> Vec<String> {
        let commands = door.commands(caller);
        commands
            .map(|(_, command, _)| command.name.clone())
            .collect()
    };
    assert_eq!(names(None), ["ring"]);
    assert_eq!(names(Some(&operator)), ["open", "ring"]);
    assert!(door.command(None, "open").is_none());
}

#[test]
fn the_reading_is_followed_or_else_the_status() {
    let models = models(json!({ "types": {
        "both": { "status": { "action": "s" }, "reading": { "action": "r" } },
        "status": { "status": { "action": "s" } },
        "none": {},
    } }));
    let reading = |kind: &str| models.types[kind].reading().map(|(_, it)| it.name.clone());
    assert_eq!(reading("both").as_deref(), Some(READING));
    assert_eq!(reading("status").as_deref(), Some(STATUS));
    assert_eq!(reading("none"), None);
}

#[test]
fn ids_are_one_level_that_can_be_shown() {
    for id in ["a", "lamp-1", "0x00158d", "größe", "a b"] {
        assert_eq!(check_id(id), Ok(()), "{id}");
    }
    for id in [
        "",
        "a/b",
        "a+",
        "#",
        "a\0",
        "a\u{202e}b",
        "{id}",
        &"x".repeat(129),
    ] {
        assert!(check_id(id).is_err(), "{id}");
    }
}
