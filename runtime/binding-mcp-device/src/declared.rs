//! Devices that declare themselves: which of their topics are allowed, and how they are lowered.
//!
//! What a device declares is untrusted. Its properties and commands are left out unless their topics are
//! allowed, and its texts are shown as its own.

use std::cell::Cell;
use std::rc::Rc;

use bytestring::ByteString;
use tidegate_device::{Availability, Device, Property};
use tidegate_device_discovery::{Announcements, Change, Fault, Limits, Sources};
use tidegate_options::{Guarded, TopicPattern};
use tidegate_streams::mqtt::topic::TopicPatterns;

use crate::declared_rules::DeclaredRules;
use crate::model::Model;
use crate::options::DeclaredOptions;
use crate::schema::Schema;

/// The devices that announce themselves.
#[derive(Debug)]
pub(crate) struct Declared {
    announcements: Announcements,
    subscribe: TopicPatterns,
    publish: TopicPatterns,
    guarded: Option<Rc<Guarded>>,
    /// The rules of the config for commands.
    pub(crate) rules: DeclaredRules,
    /// Announcements that were taken.
    pub(crate) taken: u64,
    /// Announcements, and components of some, that were not taken.
    pub(crate) refused: u64,
}

/// A device as it is used.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) model: Rc<Model>,
    /// Commands, and why `confirm` of the config does not fit them.
    pub(crate) faults: Vec<(String, String)>,
}

fn patterns(list: &[TopicPattern]) -> TopicPatterns {
    let mut patterns = TopicPatterns::default();
    for filter in list.iter().filter_map(TopicPattern::filter) {
        patterns.insert(filter);
    }
    patterns
}

impl Declared {
    /// Listens to the announcements of the options. The error is a sentence.
    pub(crate) fn new(options: &DeclaredOptions, max_entities: usize) -> Result<Self, String> {
        let sources = Sources {
            home_assistant: options.home_assistant.clone(),
            homie: options.homie.clone(),
        };
        let limits = Limits {
            entities: max_entities,
            ..Limits::default()
        };
        let announcements = Announcements::new(&sources, limits)
            .map_err(|error| format!("declared: invalid prefix or domain: {error}"))?;
        let lists = options.subscribe.iter().chain(&options.publish);
        if let Some(pattern) = lists.into_iter().find(|it| it.filter().is_none()) {
            return Err(format!(
                "declared: '{}' depends on the caller; devices are the same for all callers",
                tidegate_streams::shown(pattern.text())
            ));
        }
        Ok(Self {
            announcements,
            subscribe: patterns(&options.subscribe),
            publish: patterns(&options.publish),
            guarded: options.guarded.clone().map(Rc::new),
            rules: DeclaredRules::new(&options.commands)?,
            taken: 0,
            refused: 0,
        })
    }

    /// The topic filters of announcements.
    pub(crate) fn filters(&self) -> Vec<ByteString> {
        let filters = self.announcements.filters().into_iter();
        filters.map(ByteString::from).collect()
    }

    /// Takes a message; `None` if it is no announcement.
    pub(crate) fn take(&mut self, topic: &str, payload: &[u8]) -> Option<Result<Change, Fault>> {
        match self.announcements.take(topic, payload) {
            Err(Fault::NotAnAnnouncement) => None,
            Err(fault) => {
                self.refused += 1;
                Some(Err(fault))
            }
            Ok(change) => {
                self.taken += 1;
                self.refused += u64::try_from(change.refused.len()).unwrap_or(u64::MAX);
                Some(Ok(change))
            }
        }
    }

    /// The model of a device, with what is allowed of it, and what of the rules of the config does not fit it.
    pub(crate) fn lower(&mut self, mut device: Device) -> Lowered {
        let (subscribe, publish) = (&self.subscribe, &self.publish);
        let readable = |topic: &str| subscribe.allows_topic(topic);
        let writable = |topic: &str| publish.allows_topic(topic);
        let before = device.properties.len() + device.commands.len();
        let properties = device.properties.into_iter();
        let properties = properties.filter(|it| readable(&it.topic));
        device.properties = properties
            .map(|property| Property {
                request: property.request.filter(|it| writable(&it.topic)),
                ..property
            })
            .collect();
        device.availability = device.availability.and_then(|availability| {
            let topics = availability.topics.into_iter();
            let topics: Vec<_> = topics.filter(|it| readable(&it.topic)).collect();
            (!topics.is_empty()).then_some(Availability {
                mode: availability.mode,
                topics,
            })
        });
        let (mut commands, mut rules, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for mut command in std::mem::take(&mut device.commands) {
            if !writable(&command.topic) || Schema::new(&command.arguments).is_err() {
                continue;
            }
            let (rule, confirmed) = self.rules.apply(&device, &mut command);
            if let Err(why) = confirmed {
                faults.push((command.name.clone(), why));
            }
            rules.push(rule);
            commands.push(command);
        }
        // Ten thousand devices are kept.
        commands.shrink_to_fit();
        rules.shrink_to_fit();
        device.properties.shrink_to_fit();
        device.commands = commands;
        let left_out = before - device.properties.len() - device.commands.len();
        self.refused += u64::try_from(left_out).unwrap_or(u64::MAX);
        let model = Rc::new(Model {
            device,
            guarded: self.guarded.clone(),
            rules,
            devices: Cell::new(0),
        });
        Lowered { model, faults }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_allowed_is_left_out() {
        let options: DeclaredOptions = serde_json::from_value(json!({
            "homeAssistant": "homeassistant",
            "subscribe": ["lamps/#"],
            "publish": ["lamps/+/set"],
        }))
        .expect("valid options");
        let mut declared = Declared::new(&options, 100).expect("valid options");
        let announcement = |topics: &str, own: &str| {
            let payload = format!(
                r#"{{"name":"Lamp","unique_id":"{own}","stat_t":"{topics}/state","cmd_t":"{topics}/set"}}"#
            );
            (format!("homeassistant/switch/{own}/config"), payload)
        };
        let mut lower = |topics: &str, own: &str| {
            let (topic, payload) = announcement(topics, own);
            let change = declared
                .take(&topic, payload.as_bytes())
                .expect("an announcement");
            let device = change.expect("valid").declared.remove(0);
            let model = declared.lower(device).model;
            let device = &model.device;
            (
                device.properties.len(),
                device.commands.len(),
                model.rules.len(),
            )
        };
        assert_eq!(lower("lamps/1", "a"), (1, 2, 2));
        assert_eq!(lower("lamps/1/x", "b"), (1, 0, 0));
        assert_eq!(lower("locks/1", "c"), (0, 0, 0));
        assert!(declared.take("lamps/1/state", b"ON").is_none());
        assert!(
            declared
                .take("homeassistant/switch/d/config", b"{")
                .is_some_and(|it| it.is_err())
        );
        assert_eq!((declared.taken, declared.refused), (3, 6));
    }
}
