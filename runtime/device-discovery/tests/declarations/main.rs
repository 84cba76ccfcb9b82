//! What real devices declare, and the messages that they then send and expect.
//!
//! Each case names its source. Topics, members and templates are those of the source; the rest of the payloads is made up.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a panic is how a failure is told"
)]

mod esphome;
mod home_assistant;
mod homie;
mod order;
mod tasmota;
mod zigbee2mqtt;

use serde_json::{Map, Value};
use tidegate_device::{Command, Device, Reading};
use tidegate_device_discovery::{Announcements, Limits, Sources};

/// A declaration and what it means.
struct Case {
    /// Where the form of the declaration comes from.
    source: &'static str,
    topic: &'static str,
    payload: Value,
    id: &'static str,
    kind: &'static str,
    /// Property, message on its topic, value.
    readings: Vec<(&'static str, &'static str, Value)>,
    commands: Vec<Sent>,
    /// Topic, payload that means online, payload that means offline.
    online: Option<(&'static str, &'static str, &'static str)>,
}

/// A command, and the message that it must publish.
struct Sent {
    command: &'static str,
    arguments: Value,
    topic: &'static str,
    payload: &'static str,
    /// A message of the device that confirms it; empty: none does.
    confirmed_by: &'static str,
}

/// A command with its message, and the state that confirms it.
fn sent(
    command: &'static str,
    arguments: Value,
    topic: &'static str,
    payload: &'static str,
    confirmed_by: &'static str,
) -> Sent {
    Sent {
        command,
        arguments,
        topic,
        payload,
        confirmed_by,
    }
}

fn announcements() -> Announcements {
    let sources = Sources {
        home_assistant: Some("homeassistant".to_owned()),
        homie: Some("homie".to_owned()),
    };
    Announcements::new(&sources, Limits::default()).expect("valid prefixes")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

/// The one device that an announcement declares.
fn declared(source: &str, topic: &str, payload: &Value) -> Device {
    let change = announcements().take(topic, payload.to_string().as_bytes());
    let mut change = change.unwrap_or_else(|fault| panic!("{source}: {fault}"));
    assert_eq!(change.refused, [], "{source}");
    change
        .declared
        .pop()
        .unwrap_or_else(|| panic!("{source}: no device"))
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let device = declared(case.source, case.topic, &case.payload);
        let source = case.source;
        assert_eq!(
            (device.id.as_str(), device.kind.as_str()),
            (case.id, case.kind),
            "{source}"
        );
        check_readings(source, &device, &case.readings);
        check_commands(source, &device, &case.commands);
        if let Some((topic, online, offline)) = case.online {
            let availability = device.availability.as_ref().expect(source);
            let topic = availability
                .topics
                .iter()
                .find(|it| it.topic == topic)
                .expect(source);
            assert_eq!(topic.read(online.as_bytes()), Some(true), "{source}");
            assert_eq!(topic.read(offline.as_bytes()), Some(false), "{source}");
        } else {
            assert!(
                device.availability.is_none(),
                "{source}: availability is not checked"
            );
        }
    }
}

/// All properties, in their order.
fn check_readings(source: &str, device: &Device, readings: &[(&str, &str, Value)]) {
    let names: Vec<&str> = device
        .properties
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    let expected: Vec<&str> = readings.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected, "{source}");
    for (property, (name, message, value)) in device.properties.iter().zip(readings) {
        let reading = property.read(message.as_bytes());
        assert_eq!(
            reading,
            Ok(Reading::Value(value.clone())),
            "{source}: {name}"
        );
    }
}

/// All commands, each at least once.
fn check_commands(source: &str, device: &Device, sent: &[Sent]) {
    for command in &device.commands {
        let is_checked = sent.iter().any(|it| it.command == command.name);
        assert!(is_checked, "{source}: {} is not checked", command.name);
    }
    for sent in sent {
        let name = sent.command;
        let command = device.commands.iter().find(|it| it.name == name);
        let command = command.unwrap_or_else(|| panic!("{source}: no command {name}"));
        if let Err(error) = jsonschema::validate(&command.arguments, &sent.arguments) {
            panic!("{source}: {name}: {error}");
        }
        let payload = command.message(object(&sent.arguments));
        assert_eq!(payload.as_deref(), Ok(sent.payload), "{source}: {name}");
        assert_eq!(command.topic, sent.topic, "{source}: {name}");
        check_confirmation(source, device, command, sent);
    }
}

fn check_confirmation(source: &str, device: &Device, command: &Command, sent: &Sent) {
    let name = sent.command;
    let Some(confirm) = &command.confirm else {
        assert_eq!(sent.confirmed_by, "", "{source}: {name} is not confirmed");
        return;
    };
    let property = device
        .properties
        .iter()
        .find(|it| it.name == confirm.property);
    let reading = property.expect(source).read(sent.confirmed_by.as_bytes());
    let Ok(Reading::Value(value)) = reading else {
        panic!("{source}: {name}: {reading:?}");
    };
    assert!(
        confirm.expected.is_met(&value, object(&sent.arguments)),
        "{source}: {name}: {value}"
    );
}

/// The command refuses these arguments.
fn refuses(device: &Device, command: &str, arguments: &Value) {
    let command = device
        .commands
        .iter()
        .find(|it| it.name == command)
        .expect("a command");
    assert!(
        !jsonschema::is_valid(&command.arguments, arguments),
        "{arguments} is accepted"
    );
}
