//! Any bytes as announcements of devices: nothing panics, the limits hold, and all topics of a device are valid. What a
//! device declares is used: its templates read any payload, and its commands write one. What a message is said not to
//! mention is not read from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_device::{Mentions, Reading};
use tidegate_device_discovery::{Announcements, Limits, Sources};
use tidegate_streams::mqtt::topic::check_name;

const TOPICS: [&str; 16] = [
    "homeassistant/switch/a/config",
    "homeassistant/light/a/config",
    "homeassistant/lock/a/config",
    "homeassistant/cover/a/config",
    "homeassistant/fan/a/config",
    "homeassistant/climate/a/config",
    "homeassistant/number/a/config",
    "homeassistant/select/a/config",
    "homeassistant/button/a/config",
    "homeassistant/sensor/a/config",
    "homeassistant/binary_sensor/n/a/config",
    "homeassistant/text/a/config",
    "homeassistant/device/a/config",
    "homie/5/a/$description",
    "homie/5/a/$state",
    "homie/5/b/$description",
];

fuzz_target!(|announced: Vec<(u8, Vec<u8>)>| {
    let sources = Sources {
        home_assistant: Some("homeassistant".to_owned()),
        homie: Some("homie".to_owned()),
    };
    let limits = Limits { entities: 20, entities_of_a_device: 10, bytes: 100_000, payload: 4_096 };
    let mut announcements = Announcements::new(&sources, limits).unwrap();
    for (topic, payload) in &announced {
        let topic = TOPICS[usize::from(*topic) % TOPICS.len()];
        let Ok(change) = announcements.take(topic, payload) else {
            continue;
        };
        for device in &change.declared {
            assert!(device.properties.len() <= 1_000, "{}", device.properties.len());
            for topic in device.topics_read().into_iter().chain(device.topics_written()) {
                assert!(check_name(topic).is_ok(), "{topic}");
            }
            for property in &device.properties {
                let read = property.read(payload);
                let mentioned = Mentions::of(payload).property(property);
                assert!(mentioned || read == Ok(Reading::Absent), "{property:?} {read:?}");
            }
            for topic in device.availability.iter().flat_map(|it| &it.topics) {
                let _ = topic.read(payload);
            }
            for command in &device.commands {
                let _ = command.message(&serde_json::Map::new());
            }
        }
    }
});
