//! How devices and their values are shown to callers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use tidegate_device::{Command, Property, Text};
use tidegate_engine::{Context, Duration, Time, WallTime};
use tidegate_streams::Identity;

use crate::entry::Entry;
use crate::model::Rule;
use crate::reading::Shown;
use crate::registry::{Cached, Registry};

/// Most bytes of a status in a list of devices.
const SUMMARY_MAX: usize = 256;
/// Most commands of a device in a list.
pub(crate) const COMMANDS_MAX: usize = 32;
/// Most names of commands, of a few hundred bytes each, of a device in a list that would be too long.
const COMMANDS_OF_A_LONG_ONE: usize = 4;
/// Most bytes of the further readings of a status, and of its commands.
const PART_MAX: usize = 64 * 1024;

/// The time of the current turn, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) time: Time,
    pub(crate) wall: WallTime,
}

impl Now {
    pub(crate) fn of(cx: &Context<'_>) -> Self {
        Self {
            time: cx.now(),
            wall: cx.wall_clock(),
        }
    }

    /// A time in the past, on the wall clock.
    pub(crate) fn stamp(&self, time: Time) -> String {
        (self.wall - self.time.since(time)).to_string()
    }
}

/// A value as a caller sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValueView {
    /// The value; if it is invalid, the payload as text.
    status: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    received_at: String,
    age_ms: u64,
    stale: bool,
    retained: bool,
    #[serde(skip_serializing_if = "is_false")]
    invalid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde needs"
)]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde needs"
)]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Whether a value is stale.
pub(crate) fn is_stale(property: &Property, cached: &Cached, now: Time) -> bool {
    property.stale_after.is_some_and(|after| {
        let age = now.since(cached.received).as_millis();
        u128::from(age) > after.as_millis()
    })
}

impl ValueView {
    /// `None` if the message says nothing about the property.
    pub(crate) fn new(property: &Property, cached: &Cached, now: Now) -> Option<Self> {
        let Shown { value, invalid } = Shown::of(property, &cached.payload)?;
        Some(Self {
            status: value,
            unit: property.unit.as_ref().map(ToString::to_string),
            received_at: now.stamp(cached.received),
            age_ms: now.time.since(cached.received).as_millis(),
            stale: is_stale(property, cached, now.time),
            retained: cached.retained,
            invalid: invalid.is_some(),
            reason: invalid,
        })
    }

    /// The value with what is known of its age, for a person.
    pub(crate) fn described(&self) -> String {
        let mut described = self.text();
        if self.retained {
            described.push_str(", stored by the broker: its age is unknown");
        } else {
            let age = duration(Duration::from_millis(self.age_ms));
            // Writing to a string does not fail.
            let _ = write!(described, ", received {age} ago");
        }
        if self.stale {
            described.push_str(", stale");
        }
        if let Some(reason) = &self.reason {
            let _ = write!(described, ", invalid: {}", tidegate_streams::shown(reason));
        }
        described
    }

    /// The value as a sentence needs it.
    pub(crate) fn text(&self) -> String {
        let value = self.status.to_string();
        let value = tidegate_streams::shown(&value);
        match &self.unit {
            Some(unit) => format!("{value} {unit}"),
            None => value.into_owned(),
        }
    }
}

/// A device in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceView<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    stale: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
    commands: Vec<&'a str>,
    /// Those of `commands` that a person has to approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    need_approval: Vec<&'a str>,
    /// How the device declared itself: its texts are its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    declared_by: Option<&'static str>,
}

impl<'a> DeviceView<'a> {
    pub(crate) fn new(
        registry: &Registry,
        entry: &'a Entry,
        caller: Option<&'a Identity>,
        now: Now,
    ) -> Self {
        let device = &entry.model.device;
        let property = device.properties.first();
        let cached = registry.property(entry, 0);
        let labels = entry.labels().iter();
        let commands = || entry.model.commands(caller).take(COMMANDS_MAX);
        let need_approval = commands().filter(|(_, _, rule)| rule.approval);
        Self {
            id: &entry.id,
            name: entry.name().map(Text::as_str),
            description: entry.description().map(Text::as_str),
            r#type: &device.kind,
            location: entry.location.as_deref(),
            online: registry.online(entry),
            last_seen: entry.seen.map(|seen| now.stamp(seen)),
            status: property
                .zip(cached)
                .and_then(|(property, cached)| summary(property, cached)),
            unit: property.and_then(|it| it.unit.as_ref()).map(Text::as_str),
            stale: property
                .zip(cached)
                .is_some_and(|(property, cached)| is_stale(property, cached, now.time)),
            labels: labels.map(|(name, text)| (name, text.as_str())).collect(),
            commands: commands().map(|(_, command, _)| &*command.name).collect(),
            need_approval: need_approval.map(|it| &*it.1.name).collect(),
            declared_by: entry.declared_by(),
        }
    }
}

impl DeviceView<'_> {
    /// Leaves out what makes it long: a device that declared itself may have many texts.
    pub(crate) fn shorten(&mut self) {
        self.description = None;
        self.labels.clear();
        self.commands.truncate(COMMANDS_OF_A_LONG_ONE);
        loop {
            let commands = &self.commands;
            self.need_approval.retain(|name| commands.contains(name));
            // A name that is in both lists counts twice.
            if commands.len() + self.need_approval.len() <= COMMANDS_OF_A_LONG_ONE {
                break;
            }
            self.commands.pop();
        }
    }
}

/// A value for a list.
fn summary(property: &Property, cached: &Cached) -> Option<Value> {
    Some(compact(Shown::of(property, &cached.payload)?.value))
}

/// A value of bounded size: a large one is cut.
pub(crate) fn compact(value: Value) -> Value {
    let text = match &value {
        Value::Number(_) | Value::Bool(_) | Value::Null => return value,
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if text.len() <= SUMMARY_MAX {
        return value;
    }
    let cut: String = text.chars().take(SUMMARY_MAX / 4).collect();
    Value::String(format!("{cut}…"))
}

/// A command of a device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CommandView<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    arguments: &'a Value,
    /// A person has to approve it.
    #[serde(skip_serializing_if = "is_false")]
    needs_approval: bool,
}

impl<'a> CommandView<'a> {
    fn new(command: &'a Command, rule: &Rule) -> Self {
        Self {
            name: &command.name,
            description: command.description.as_ref().map(Text::as_str),
            arguments: &command.arguments,
            needs_approval: rule.approval,
        }
    }
}

/// The status of a device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView<'a> {
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    #[serde(flatten)]
    value: Option<ValueView>,
    /// The properties behind the first one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    readings: BTreeMap<&'a str, ValueView>,
    /// The commands of a device that declared itself, which no tool describes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<CommandView<'a>>,
    /// Number of readings and commands that are left out.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    declared_by: Option<&'static str>,
    /// Why this is not what was asked for, for programs and in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl<'a> StatusView<'a> {
    pub(crate) fn new(
        registry: &Registry,
        entry: &'a Entry,
        caller: Option<&'a Identity>,
        now: Now,
        problem: Option<(&'static str, String)>,
    ) -> Self {
        let (problem, message) = problem.unzip();
        let device = &entry.model.device;
        let view = |index: usize, property: &Property| {
            let cached = registry.property(entry, index)?;
            ValueView::new(property, cached, now)
        };
        let others = device.properties.iter().enumerate().skip(1);
        let others = others.filter_map(|(index, it)| Some((&*it.name, view(index, it)?)));
        let commands: &mut dyn Iterator<Item = _> = if entry.is_declared() {
            &mut entry.model.commands(caller)
        } else {
            &mut std::iter::empty()
        };
        let commands = commands.map(|(_, command, rule)| CommandView::new(command, rule));
        let (readings, readings_left_out) = within(others, usize::MAX);
        let (commands, commands_left_out) = within(commands, COMMANDS_MAX);
        Self {
            device: &entry.id,
            name: entry.name().map(Text::as_str),
            r#type: &device.kind,
            location: entry.location.as_deref(),
            online: registry.online(entry),
            value: device.properties.first().and_then(|it| view(0, it)),
            readings: readings.into_iter().collect(),
            commands,
            left_out: readings_left_out + commands_left_out,
            declared_by: entry.declared_by(),
            problem,
            message,
        }
    }
}

/// The first items, at most `count` of them and [`PART_MAX`] bytes of JSON, and how many are left out.
fn within<T: Serialize>(items: impl Iterator<Item = T>, count: usize) -> (Vec<T>, usize) {
    let (mut kept, mut left_out, mut bytes) = (Vec::new(), 0, 0);
    for item in items {
        if bytes <= PART_MAX {
            bytes += serde_json::to_vec(&item).map_or(0, |json| json.len());
        }
        if bytes <= PART_MAX && kept.len() < count {
            kept.push(item);
        } else {
            left_out += 1;
        }
    }
    (kept, left_out)
}

/// A duration for a sentence: `250 ms`, `12 s`, `3 min`, `2 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..10_000 => format!("{millis} ms"),
        10_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}
