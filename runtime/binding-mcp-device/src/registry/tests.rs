//! What is recorded, and what is removed at the limits.

use serde_json::{Value, json};
use tidegate_device::{AvailabilityTopic, Template};
use tidegate_engine::{Duration, Time};

use super::*;

struct Setup {
    models: Models,
    registry: Registry,
    now: Time,
}

fn setup(options: Value) -> Setup {
    let options: Options = serde_json::from_value(options).expect("valid options");
    let (models, _) = Models::new(&options);
    Setup {
        registry: Registry::new(&options, &models),
        models,
        now: Time::START,
    }
}

/// Devices `a/state` that are seen, at most three.
fn seen() -> Setup {
    setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "status": { "action": "state", "format": "text" } } },
        "seen": ["#"],
        "maxDevices": 3,
        "maxCacheBytes": 1024,
        "maxValueBytes": 1024,
    }))
}

impl Setup {
    fn record(&mut self, topic: &str, payload: &str) -> Recorded {
        self.record_awaited(topic, payload, &|_| false)
    }

    fn record_awaited(
        &mut self,
        topic: &str,
        payload: &str,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) -> Recorded {
        self.receive(topic, payload, false, is_awaited)
    }

    fn receive(
        &mut self,
        topic: &str,
        payload: &str,
        retained: bool,
        is_awaited: &dyn Fn(DeviceId) -> bool,
    ) -> Recorded {
        self.now = self.now + Duration::from_secs(1);
        let message = Received {
            topic,
            payload: payload.as_bytes(),
            retained,
        };
        self.registry
            .record(&self.models, message, self.now, is_awaited)
    }

    fn ids(&self) -> Vec<&str> {
        self.registry
            .sorted(None, None)
            .map(|(_, entry)| &*entry.id)
            .collect()
    }

    /// The sum of the cached bytes, counted one by one.
    fn counted_bytes(&self) -> usize {
        let slots = self.registry.slots.iter();
        slots.map(|(_, slot)| slot.bytes()).sum()
    }
}

#[test]
fn a_message_of_a_known_topic_replaces_its_value() {
    let mut setup = seen();
    assert!(setup.record("a/state", "1").changed);
    let again = setup.record("a/state", "22");
    assert_eq!(again.users[..], [(0, Part::Property(0))]);
    assert!(!again.changed);
    let value = setup.registry.value("a/state").expect("cached");
    assert_eq!((&*value.payload, value.received), (&b"22"[..], setup.now));
    assert_eq!(setup.registry.bytes(), 2);
}

#[test]
fn a_value_that_the_broker_sends_again_does_not_become_younger() {
    let mut setup = seen();
    setup.record("a/state", "1");
    let live = setup.now;
    let again = setup.receive("a/state", "1", true, &|_| false);
    assert_eq!(again.users[..], [(0, Part::Property(0))]);
    let value = setup.registry.value("a/state").expect("cached");
    assert_eq!((value.received, value.retained), (live, false));
    let (_, entry) = setup.registry.find(None, "a").expect("seen");
    assert_eq!(entry.seen, Some(live));
    setup.receive("a/state", "2", true, &|_| false);
    let value = setup.registry.value("a/state").expect("cached");
    assert_eq!((value.received, value.retained), (setup.now, true));
    setup.record("a/state", "2");
    let value = setup.registry.value("a/state").expect("cached");
    assert_eq!((value.received, value.retained), (setup.now, false));
}

#[test]
fn the_device_that_was_silent_for_longest_is_removed_first() {
    let mut setup = seen();
    for topic in ["a/state", "b/state", "c/state", "a/state", "d/state"] {
        setup.record(topic, "x");
    }
    assert_eq!(setup.ids(), ["a", "c", "d"]);
    assert_eq!(setup.registry.counts.removed, 1);
    assert_eq!(setup.registry.value("b/state"), None);
    assert_eq!(setup.registry.bytes(), setup.counted_bytes());
    assert_eq!(setup.registry.topics.len(), 3);
}

#[test]
fn an_awaited_device_is_kept_and_without_room_none_is_added() {
    let mut setup = seen();
    for topic in ["a/state", "b/state", "c/state"] {
        setup.record(topic, "x");
    }
    setup.record_awaited("d/state", "x", &|device| device == 0);
    assert_eq!(setup.ids(), ["a", "c", "d"]);
    let refused = setup.record_awaited("e/state", "x", &|_| true);
    assert!(refused.users.is_empty() && !refused.changed);
    assert_eq!(setup.registry.counts.refused, 1);
    assert_eq!(setup.ids(), ["a", "c", "d"]);
}

#[test]
fn devices_of_the_config_stay() {
    let mut setup = setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "status": { "action": "state" } } },
        "devices": { "a": { "type": "thing" }, "b": { "type": "thing" } },
        "seen": ["#"],
        "maxDevices": 1,
    }));
    assert!(setup.record("c/state", "1").users.is_empty());
    assert_eq!(setup.ids(), ["a", "b"]);
}

#[test]
fn the_bytes_of_values_are_bounded() {
    let mut setup = seen();
    setup.record("a/state", &"x".repeat(600));
    setup.record("b/state", &"x".repeat(600));
    assert_eq!(setup.ids(), ["b"]);
    setup.record("b/state", &"x".repeat(1_024));
    assert_eq!(setup.registry.bytes(), 1_024);
    let large = setup.record("b/state", &"x".repeat(1_025));
    assert_eq!(large.users.len(), 1, "it is a sign of life");
    assert_eq!(
        setup.registry.value("b/state"),
        None,
        "the value before is outdated"
    );
    assert_eq!(
        (setup.registry.bytes(), setup.registry.counts.dropped),
        (0, 1)
    );
}

#[test]
fn what_belongs_to_no_device_is_ignored() {
    let mut setup = setup(json!({
        "address": "plant/{type}/{device}/{action}",
        "types": { "thing": { "status": { "action": "state" } } },
        "seen": ["plant/thing/a/+"],
    }));
    for topic in [
        "plant/thing/b/state",
        "plant/thing/a/other",
        "plant/robot/a/state",
        "plant/thing/a",
        "",
    ] {
        assert!(setup.record(topic, "1").users.is_empty(), "{topic}");
    }
    assert_eq!(
        (setup.registry.counts.ignored, setup.registry.len()),
        (5, 0)
    );
    assert!(setup.record("plant/thing/a/state", "1").changed);
}

#[test]
fn an_id_at_another_address_is_taken() {
    let mut setup = setup(json!({
        "types": { "thing": { "status": { "action": "state" } } },
        "seen": ["#"],
    }));
    setup.record("hall/thing/a/state", "1");
    assert!(setup.record("yard/thing/a/state", "2").users.is_empty());
    assert_eq!(setup.registry.counts.ignored, 1);
}

#[test]
fn topics_of_interlocks_are_kept_within_a_limit() {
    let mut setup = setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "commands": { "go": { "interlocks": [
            { "topic": "door/{device}", "equals": 1, "reason": "r" },
        ] } } } },
        "devices": { "x": { "type": "thing" } },
        "maxDevices": 2,
    }));
    for topic in ["door/x", "door/y", "door/z"] {
        setup.record(topic, "1");
    }
    assert!(setup.registry.value("door/x").is_some() && setup.registry.value("door/y").is_some());
    assert_eq!(setup.registry.value("door/z"), None);
}

#[test]
fn the_devices_that_a_caller_sees_are_counted() {
    let mut setup = setup(json!({
        "address": "{type}/{device}/{action}",
        "types": {
            "camera": { "status": { "action": "s" }, "guarded": { "staff": ["security"] } },
            "door": { "status": { "action": "s" } },
            "gate": { "status": { "action": "s" }, "guarded": { "staff": [] } },
        },
        "devices": { "a": { "type": "camera" } },
        "seen": ["#"],
        "maxDevices": 4,
    }));
    let of = |roles: &[&str]| Identity {
        guard: "staff".into(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        ..Identity::default()
    };
    let callers = [None, Some(of(&[])), Some(of(&["security"]))];
    let mut counts = |topics: &[&str]| {
        for topic in topics {
            setup.record(topic, "1");
        }
        let registry = &setup.registry;
        callers.each_ref().map(|caller| {
            let counted = registry.seen_by(caller.as_ref());
            assert_eq!(counted, registry.sorted(caller.as_ref(), None).count());
            counted
        })
    };
    assert_eq!(counts(&["door/b/s", "gate/c/s", "door/d/s"]), [2, 3, 4]);
    assert_eq!(counts(&["gate/e/s"]), [1, 3, 4]);
}

#[test]
fn whether_a_device_is_online_is_found_out_again_after_a_message() {
    let mut setup = setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "online": { "action": "online" } } },
        "devices": { "a": { "type": "thing" } },
        "maxValueBytes": 16,
    }));
    for (payload, expected) in [
        ("online", Some(true)),
        ("offline", Some(false)),
        ("online", Some(true)),
        ("x", None),
        ("offline", Some(false)),
        ("a text that is too long", None),
    ] {
        setup.record("a/online", payload);
        let (_, entry) = setup.registry.find(None, "a").expect("a device");
        for _ in 0..2 {
            assert_eq!(setup.registry.online(entry), expected, "{payload}");
        }
    }
}

#[test]
fn devices_that_share_an_availability_topic_read_it_in_their_own_ways() {
    let mut setup = seen();
    let shared = |id: &str, value: Option<&str>, online: &str| {
        let mut device = setup.models.types["thing"].device.clone();
        (device.id, device.source) = (id.to_owned(), Source::HomeAssistant);
        device.properties.clear();
        device.availability = Some(Availability {
            mode: AvailabilityMode::Latest,
            topics: vec![AvailabilityTopic {
                topic: "bridge".to_owned(),
                value: value.map(|it| Template::home_assistant(it).expect("a template")),
                online: online.to_owned(),
                offline: "0".to_owned(),
            }],
        });
        Rc::new(Model {
            device,
            guarded: None,
            rules: Vec::new(),
            devices: std::cell::Cell::default(),
        })
    };
    for model in [
        shared("a", Some("{{ value_json.s }}"), "1"),
        shared("b", Some("{{ value_json.s }}"), "1"),
        shared("c", Some("{{ value_json.s }}"), "2"),
    ] {
        assert!(setup.registry.declare(model, &|_| false));
    }
    for (payload, expected) in [
        (r#"{"s":1}"#, [Some(true), Some(true), None]),
        (r#"{"s":2}"#, [None, None, Some(true)]),
        (r#"{"s":0}"#, [Some(false); 3]),
        (r#"{"s":10}"#, [None; 3]),
    ] {
        setup.record("bridge", payload);
        let online = ["a", "b", "c"].map(|id| {
            let (_, entry) = setup.registry.find(None, id).expect("declared");
            setup.registry.online(entry)
        });
        assert_eq!(online, expected, "{payload}");
    }
}

#[test]
fn of_many_devices_the_nearest_ids_stand_beside_the_wanted_one() {
    let devices: serde_json::Map<String, Value> = (0..5_000)
        .map(|number| (format!("d-{number:05}"), json!({ "type": "thing" })))
        .collect();
    let setup = setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "status": { "action": "state" } } },
        "devices": devices,
    }));
    let nearest = |id: &str| setup.registry.nearest(None, id);
    assert_eq!(nearest("d-02500x")[0], "d-02500");
    assert_eq!(nearest("D-02500")[0], "d-02500");
    let beyond = nearest("e");
    assert!(
        beyond.len() == 3 && beyond.iter().all(|id| &**id >= "d-04500"),
        "only ids beside it are compared: {beyond:?}"
    );
}

#[test]
fn the_nearest_ids_come_first() {
    let mut setup = setup(json!({
        "address": "{device}/{action}",
        "types": { "thing": { "status": { "action": "state" } } },
        "seen": ["#"],
    }));
    for id in ["lamp-1", "lamp-2", "Lamp-11", "oven", "door"] {
        setup.record(&format!("{id}/state"), "1");
    }
    assert_eq!(
        setup.registry.nearest(None, "LAMP1")[..2],
        ["lamp-1", "Lamp-11"]
    );
    assert_eq!(setup.registry.nearest(None, &"x".repeat(10_000)).len(), 3);
}

#[test]
fn a_declared_device_has_its_own_topics() {
    let mut setup = seen();
    let mut device = setup.models.types["thing"].device.clone();
    device.id = "ha-1".to_owned();
    device.source = Source::HomeAssistant;
    device.properties[0].topic = "ha/{device}/x".to_owned();
    let model = Rc::new(Model {
        device,
        guarded: None,
        rules: Vec::new(),
        devices: std::cell::Cell::default(),
    });
    assert!(setup.registry.declare(Rc::clone(&model), &|_| false));
    assert!(
        !setup.registry.declare(model, &|_| false),
        "the id is taken"
    );
    assert_eq!(setup.record("ha/{device}/x", "1").users.len(), 1);
    let device = setup.registry.declared("ha-1").expect("declared");
    setup.registry.remove(device);
    assert_eq!(
        (setup.registry.bytes(), setup.registry.topics.len()),
        (0, 0)
    );
}

#[test]
fn any_sequence_of_messages_keeps_the_limits() {
    let mut setup = seen();
    let mut state = 1_u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let topic = format!("{}/state", (state >> 16) % 7);
        let length = (state >> 8) as usize % 700;
        let awaited = (state >> 24) % 3;
        setup.record_awaited(&topic, &"x".repeat(length), &|device| device == awaited);
        assert!(setup.registry.len() <= 3 && setup.registry.bytes() <= 1_024);
        assert_eq!(setup.registry.bytes(), setup.counted_bytes());
        assert_eq!(setup.registry.ids.len(), setup.registry.len());
    }
}
