//! `list_devices`: the devices that a caller sees, sorted by id, in pages.

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
            .values()
            .any(|label| contains(label.as_str()))
}

/// A page of devices.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    devices: Vec<Box<RawValue>>,
    /// All devices that match, of all pages.
    total: usize,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The page that the arguments ask for.
pub(crate) fn answer(
    registry: &Registry,
    caller: Option<&Identity>,
    arguments: &ListArguments,
    now: Now,
) -> Answer {
    let mut page = Page {
        devices: Vec::new(),
        total: 0,
        next_cursor: None,
    };
    let mut used = 0;
    let mut last = None;
    let after = arguments.cursor.as_deref();
    for (_, entry) in registry.sorted(caller, None) {
        if !arguments.selects(registry, entry) {
            continue;
        }
        page.total += 1;
        let before = after.is_some_and(|after| &*entry.id <= after);
        if before || page.next_cursor.is_some() {
            continue;
        }
        let view = DeviceView::new(registry, entry, caller, now);
        let Ok(json) = serde_json::value::to_raw_value(&view) else {
            continue;
        };
        let size = written_twice(json.get());
        let full = used + size > PAGE_MAX && !page.devices.is_empty();
        if full || page.devices.len() >= arguments.limit {
            page.next_cursor = last.take();
            continue;
        }
        used += size;
        page.devices.push(json);
        last = Some(entry.id.to_string());
    }
    Answer::structured(&page)
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
    use serde_json::{Value, json};
    use tidegate_engine::{Time, WallTime};

    use super::*;
    use crate::model::Models;
    use crate::options::Options;
    use crate::registry::Received;

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
