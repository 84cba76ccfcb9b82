//! `list_devices`: the devices that a caller sees, sorted by id, in pages.
//!
//! A page without a filter takes the same time however many devices there are: it begins at its cursor, and the total
//! is counted elsewhere. A filter looks at a bounded number of devices.

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_streams::Identity;

use crate::entry::Entry;
use crate::params::Arguments;
use crate::registry::Registry;
use crate::result::Answer;
use crate::view::{DeviceView, Now};

/// Default and maximum number of devices of a page.
const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 200;
/// Most devices that a page with a filter looks at. A page may have fewer devices than `limit` then, and others follow.
const SCANNED_MAX: usize = 10_000;
/// Most bytes of payloads that are read for a page.
const READ_MAX: usize = 256 * 1024;
/// Most bytes of a page's devices. They are in the result twice, once escaped: that stays below 16 KiB.
const PAGE_MAX: usize = 16 * 1024 - 512;

/// The arguments of `list_devices`.
#[derive(Debug, Default)]
pub(crate) struct ListArguments {
    location: Option<String>,
    kind: Option<String>,
    /// In lower case.
    query: Option<String>,
    online: Option<bool>,
    limit: usize,
    cursor: Option<String>,
}

impl ListArguments {
    pub(crate) fn read(mut arguments: Arguments) -> Result<Self, String> {
        let read = Self {
            location: arguments.text("location")?,
            kind: arguments.text("type")?,
            query: arguments.text("query")?.map(|query| query.to_lowercase()),
            online: arguments.boolean("online")?,
            limit: usize::try_from(arguments.whole("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT))
                .unwrap_or(usize::MAX),
            cursor: arguments.text("cursor")?,
        };
        arguments.finish("location, type, query, online, limit and cursor")?;
        Ok(read)
    }

    /// Whether devices are left out.
    const fn is_filtered(&self) -> bool {
        self.location.is_some()
            || self.kind.is_some()
            || self.query.is_some()
            || self.online.is_some()
    }

    fn selects(&self, registry: &Registry, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == given)
        };
        is(&self.location, entry.location.as_deref())
            && is(&self.kind, Some(&entry.model.device.kind))
            && self
                .query
                .as_deref()
                .is_none_or(|query| mentions(entry, query))
            && self
                .online
                .is_none_or(|online| registry.online(entry) == Some(online))
    }
}

/// Whether one of the texts about a device contains `query`, which is in lower case.
fn mentions(entry: &Entry, query: &str) -> bool {
    let contains = |text: &str| {
        let ascii = text.is_ascii() && query.is_ascii();
        if ascii {
            // No text is copied, for thousands of devices.
            text.as_bytes()
                .windows(query.len().max(1))
                .any(|window| window.eq_ignore_ascii_case(query.as_bytes()))
                || query.is_empty()
        } else {
            text.to_lowercase().contains(query)
        }
    };
    contains(&entry.id)
        || contains(&entry.model.device.kind)
        || entry.location.as_deref().is_some_and(contains)
        || entry.name().is_some_and(|name| contains(name.as_str()))
        || entry.description().is_some_and(|it| contains(it.as_str()))
        || entry
            .labels()
            .iter()
            .any(|(_, label)| contains(label.as_str()))
}

/// A page of devices.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    devices: Vec<Box<RawValue>>,
    /// All devices that match, of all pages; absent if there are too many to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Bytes of the devices in the result.
    #[serde(skip)]
    used: usize,
    /// Bytes of payloads that were read.
    #[serde(skip)]
    read: usize,
}

impl Page {
    /// Adds a device; `false`: the page is full.
    fn add(&mut self, json: Box<RawValue>, read: usize, limit: usize) -> bool {
        self.used += written_twice(json.get());
        self.read += read;
        let full = self.devices.len() >= limit || self.used > PAGE_MAX || self.read > READ_MAX;
        if full && !self.devices.is_empty() {
            return false;
        }
        self.devices.push(json);
        true
    }
}

/// The page that the arguments ask for.
pub(crate) fn answer(
    registry: &Registry,
    caller: Option<&Identity>,
    arguments: &ListArguments,
    now: Now,
) -> Answer {
    let mut page = Page {
        total: total(registry, caller, arguments),
        ..Page::default()
    };
    let after = arguments.cursor.as_deref();
    let mut last = None;
    for (looked_at, (_, entry)) in registry.sorted(caller, after).enumerate() {
        if arguments.is_filtered() {
            if looked_at >= SCANNED_MAX {
                page.next_cursor = last.map(ToString::to_string);
                break;
            }
            if !arguments.selects(registry, entry) {
                last = Some(&entry.id);
                continue;
            }
        }
        let read = registry.property(entry, 0).map_or(0, |it| it.payload.len());
        let mut view = DeviceView::new(registry, entry, caller, now);
        let mut json = serde_json::value::to_raw_value(&view);
        if json
            .as_ref()
            .is_ok_and(|json| written_twice(json.get()) > PAGE_MAX)
        {
            view.shorten();
            json = serde_json::value::to_raw_value(&view);
        }
        if let Ok(json) = json
            && !page.add(json, read, arguments.limit)
        {
            page.next_cursor = last.map(ToString::to_string);
            break;
        }
        last = Some(&entry.id);
    }
    Answer::structured(&page)
}

/// The number of devices of all pages.
fn total(
    registry: &Registry,
    caller: Option<&Identity>,
    arguments: &ListArguments,
) -> Option<usize> {
    if !arguments.is_filtered() {
        return Some(registry.seen_by(caller));
    }
    (registry.len() <= SCANNED_MAX).then(|| {
        let devices = registry.sorted(caller, None);
        let selected = devices.filter(|(_, entry)| arguments.selects(registry, entry));
        selected.count()
    })
}

/// The size of a JSON text that is written as it is, and as the content of a string.
fn written_twice(json: &str) -> usize {
    let escaped = json
        .bytes()
        .filter(|byte| matches!(byte, b'"' | b'\\'))
        .count();
    2 * (json.len() + 1) + escaped
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::{Value, json};
    use tidegate_device::{Command, Device, Format, Payload, Property, Source, Text};
    use tidegate_engine::{Time, WallTime};

    use super::*;
    use crate::model::{Model, Models, Rule};
    use crate::options::Options;
    use crate::registry::Received;
    use crate::view::StatusView;

    /// Many devices without values.
    fn many(count: usize) -> Registry {
        let devices: serde_json::Map<String, Value> = (0..count)
            .map(|number| (format!("d-{number:05}"), json!({ "type": "thing" })))
            .collect();
        let options: Options = serde_json::from_value(json!({
            "address": "{device}/{action}",
            "types": { "thing": { "status": { "action": "s" } } },
            "devices": devices,
        }))
        .expect("valid options");
        Registry::new(&options, &Models::new(&options).0)
    }

    fn page(registry: &Registry, arguments: Value) -> Value {
        let arguments = ListArguments::read(Arguments::of(arguments)).expect("valid arguments");
        let now = Now {
            time: Time::START,
            wall: WallTime::default(),
        };
        let page = answer(registry, None, &arguments, now).json;
        let page: Value = serde_json::from_slice(&page).expect("JSON");
        page["structuredContent"].clone()
    }

    #[test]
    fn a_page_stays_below_16_kib_whatever_a_device_says_of_itself() {
        let long = Text::new(&"\u{1d11e}".repeat(256));
        let quotes = Text::new(&"\"".repeat(256));
        let texts = [long, quotes];
        // The name of a command that a person approves is in two lists.
        for (text, approval) in texts.iter().flat_map(|it| [(it, false), (it, true)]) {
            let command = |number: usize| Command {
                name: format!("{}{number}", "n".repeat(512)),
                description: None,
                arguments: std::sync::Arc::default(),
                topic: "t".to_owned(),
                payload: Payload::Arguments,
                qos: 0,
                retain: false,
                expiry: None,
                confirm: None,
            };
            let device = Device {
                id: "x".repeat(128),
                name: Some(text.clone()),
                description: Some(text.clone()),
                kind: text.to_string(),
                location: Some(text.clone()),
                labels: (0..8)
                    .map(|it| (it.to_string().into(), text.clone()))
                    .collect(),
                source: Source::Homie,
                properties: vec![Property {
                    name: "p".to_owned(),
                    description: None,
                    topic: "p".to_owned(),
                    format: Format::Text,
                    value: None,
                    unit: Some(text.clone()),
                    minimum: None,
                    maximum: None,
                    stale_after: None,
                    request: None,
                }],
                availability: None,
                commands: (0..40).map(command).collect(),
            };
            let rules = device.commands.iter().map(|_| {
                Rc::new(Rule {
                    approval,
                    ..Rule::of_arguments()
                })
            });
            let model = Model {
                guarded: None,
                rules: rules.collect(),
                devices: std::cell::Cell::default(),
                device,
            };
            let mut registry = many(2);
            assert!(registry.declare(Rc::new(model), &|_| false));
            let message = Received {
                topic: "p",
                payload: text.as_str().as_bytes(),
                retained: false,
            };
            let models = Models::new(&Options::default()).0;
            registry.record(&models, message, Time::START, &|_| false);
            let first = page(&registry, json!({ "cursor": "d-99999" }));
            assert_eq!(
                first["devices"][0]["commands"].as_array().map(Vec::len),
                Some(if approval { 2 } else { 4 })
            );
            if approval {
                let device = &first["devices"][0];
                assert_eq!(device["needApproval"], device["commands"]);
            }
            let arguments = ListArguments::read(Arguments::of(json!({ "cursor": "d-99999" })));
            let now = Now {
                time: Time::START,
                wall: WallTime::default(),
            };
            let json = answer(&registry, None, &arguments.expect("valid"), now).json;
            assert!(json.len() < 16 * 1024, "{}", json.len());
            // Its status is bounded as well: not all of its commands are described.
            let (_, entry) = registry.find(None, &"x".repeat(128)).expect("declared");
            let status = StatusView::new(&registry, entry, None, now, None);
            let status = serde_json::to_value(&status).expect("JSON");
            assert_eq!(status["commands"].as_array().map(Vec::len), Some(32));
            assert_eq!(status["leftOut"], 8);
        }
    }

    #[test]
    fn a_filter_looks_at_a_bounded_number_of_devices() {
        let registry = many(SCANNED_MAX + 5);
        let first = page(&registry, json!({ "query": "d-10003" }));
        assert_eq!(first, json!({ "devices": [], "nextCursor": "d-09999" }));
        let second = page(
            &registry,
            json!({ "query": "d-10003", "cursor": "d-09999" }),
        );
        assert_eq!(second["devices"][0]["id"], "d-10003");
        assert_eq!(second["nextCursor"], Value::Null);
        let all = page(&registry, json!({ "limit": 1 }));
        assert_eq!(all["total"], SCANNED_MAX + 5);
        let few = many(SCANNED_MAX);
        let found = page(&few, json!({ "query": "d-0000", "limit": 3 }));
        assert_eq!(
            (&found["total"], &found["nextCursor"]),
            (&json!(10), &json!("d-00002"))
        );
    }

    #[test]
    fn the_payloads_that_a_page_reads_are_bounded() {
        let options: Options = serde_json::from_value(json!({
            "address": "{device}/{action}",
            "types": { "thing": { "status": { "action": "s" } } },
            "seen": ["#"],
        }))
        .expect("valid options");
        let (models, _) = Models::new(&options);
        let mut registry = Registry::new(&options, &models);
        let large = format!("[{}]", "1,".repeat(30_000) + "1");
        for number in 0..10 {
            let message = Received {
                topic: &format!("d-{number}/s"),
                payload: large.as_bytes(),
                retained: false,
            };
            registry.record(&models, message, Time::START, &|_| false);
        }
        let first = page(&registry, json!({}));
        let devices = first["devices"].as_array().map(Vec::len);
        assert_eq!(devices, Some(READ_MAX / large.len()));
        assert_eq!(first["total"], 10);
    }

    #[test]
    fn the_pages_have_each_device_once_and_stay_below_16_kib() {
        let text = "\"\\\u{1}".repeat(85);
        let labels = json!({ "a": text, "b": text, "c": text });
        let device = |number: u32| {
            let device =
                json!({ "type": "thing", "name": text, "description": text, "labels": labels });
            (format!("d-{number:03}"), device)
        };
        let devices: serde_json::Map<String, Value> = (0..120).map(device).collect();
        let options: Options = serde_json::from_value(json!({
            "address": "{device}/{action}",
            "types": { "thing": { "status": { "action": "s", "format": "text" } } },
            "devices": devices,
        }))
        .expect("valid options");
        let (models, _) = Models::new(&options);
        let mut registry = Registry::new(&options, &models);
        for number in 0..120 {
            let message = Received {
                topic: &format!("d-{number:03}/s"),
                payload: text.as_bytes(),
                retained: false,
            };
            registry.record(&models, message, Time::START, &|_| false);
        }
        let now = Now {
            time: Time::START,
            wall: WallTime::default(),
        };
        let mut seen = Vec::new();
        let mut cursor = json!(null);
        loop {
            let arguments = Arguments::of(json!({ "limit": 200, "cursor": cursor }));
            let arguments = ListArguments::read(arguments).expect("valid arguments");
            let page = answer(&registry, None, &arguments, now).json;
            assert!(page.len() < 16 * 1024, "{}", page.len());
            let page: Value = serde_json::from_slice(&page).expect("JSON");
            let content = &page["structuredContent"];
            assert_eq!(content["total"], 120);
            let ids = content["devices"].as_array().expect("a list").iter();
            seen.extend(ids.map(|it| it["id"].as_str().expect("an id").to_owned()));
            cursor = content["nextCursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let expected: Vec<String> = (0..120).map(|number| format!("d-{number:03}")).collect();
        assert_eq!(seen, expected);
    }
}
