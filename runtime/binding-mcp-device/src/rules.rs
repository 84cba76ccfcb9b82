//! The rules that a command is checked against before anything is sent: limits and interlocks.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde_json::{Map, Value};
use tidegate_device::{Command, Expected};
use tidegate_engine::{Duration, Time};

use crate::entry::Entry;
use crate::model::{Interlock, Rule};
use crate::reading::Shown;
use crate::registry::Registry;
use crate::view::{Now, duration, is_stale};

/// When commands were sent, for `limits.interval`.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    /// When the next command may be sent, by device and command.
    next: BTreeMap<(ByteString, String), Time>,
    /// The number of entries at which those of the past are removed.
    sweep_at: usize,
}

impl Intervals {
    /// The time that is left until a command may be sent.
    pub(crate) fn left(&self, device: &ByteString, command: &str, now: Time) -> Option<Duration> {
        let next = self.next.get(&(device.clone(), command.to_owned()))?;
        Some(next.since(now)).filter(|left| *left > Duration::ZERO)
    }

    /// A command is sent.
    pub(crate) fn sent(
        &mut self,
        device: &ByteString,
        command: &str,
        interval: Duration,
        now: Time,
    ) {
        /// Fewer entries are not worth a pass.
        const SWEEP_MIN: usize = 1_024;
        if self.next.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.next.retain(|_, next| *next > now);
            self.sweep_at = 2 * self.next.len();
        }
        let key = (device.clone(), command.to_owned());
        self.next.insert(key, now + interval);
    }

    /// A command was not sent after all.
    pub(crate) fn not_sent(&mut self, device: &ByteString, command: &str) {
        self.next.remove(&(device.clone(), command.to_owned()));
    }
}

/// Checks the largest change against the present state. The error is a sentence.
pub(crate) fn check_step(
    command: &Command,
    rule: &Rule,
    registry: &Registry,
    entry: &Entry,
    arguments: &Map<String, Value>,
    now: Now,
) -> Result<(), String> {
    for (name, most) in &rule.step {
        let Some(wanted) = arguments.get(name).and_then(Value::as_f64) else {
            continue;
        };
        let unknown = |why: &str| {
            format!(
                "'{name}' may change by {most} at most, and {why}. Call get_device_status first."
            )
        };
        let index = present(command, entry);
        let property = entry.model.device.properties.get(index);
        let cached = registry.property(entry, index);
        let Some((property, cached)) = property.zip(cached) else {
            return Err(unknown("the present state is not known"));
        };
        if is_stale(property, cached, now.time) {
            return Err(unknown("the present state is stale"));
        }
        let Some(reading) = Shown::of(property, &cached.payload) else {
            return Err(unknown("the present state is not known"));
        };
        let present = match &reading.value {
            Value::Object(members) => members.get(name).and_then(Value::as_f64),
            value => value.as_f64(),
        };
        let Some(present) = present.filter(|_| reading.invalid.is_none()) else {
            return Err(unknown("the present state has no such number"));
        };
        let change = (wanted - present).abs();
        if change > *most {
            return Err(format!(
                "the present '{name}' is {present}, and one command may change it by {most} at most, not \
                 by {change}. Use {} to {}.",
                present - most,
                present + most
            ));
        }
    }
    Ok(())
}

/// Index of the property that a step is compared with: the status, or for a device that declared itself, which has
/// many, the property that confirms the command.
fn present(command: &Command, entry: &Entry) -> usize {
    let confirm = command.confirm.as_ref().filter(|_| entry.is_declared());
    let property = confirm.and_then(|it| entry.model.property(&it.property));
    property.map_or(0, |(index, _)| index)
}

impl Interlock {
    /// Checks the last value of the topic. The error is a sentence.
    pub(crate) fn check(&self, registry: &Registry, entry: &Entry, now: Now) -> Result<(), String> {
        let topic = entry.filled(&self.topic);
        let refused = |is: &str| {
            Err(format!(
                "{}: '{topic}' must be {}, and {is}.",
                self.reason.trim_end_matches('.'),
                self.required()
            ))
        };
        let Some(cached) = registry.value(&topic) else {
            return refused("has no known value");
        };
        let age = now.time.since(cached.received);
        if self.stale_after.is_some_and(|after| age > after) {
            return refused(&format!("its value is {} old", duration(age)));
        }
        let text = String::from_utf8_lossy(&cached.payload);
        let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text));
        if self.holds(&value, &text) {
            Ok(())
        } else {
            refused(&format!(
                "is {}",
                tidegate_streams::shown(&value.to_string())
            ))
        }
    }

    fn holds(&self, value: &Value, text: &str) -> bool {
        if let Some(expected) = &self.equals {
            let same = Expected::Value(expected.clone()).is_met(value, &Map::new());
            return same || expected.as_str() == Some(text);
        }
        let Some(number) = value.as_f64() else {
            return false;
        };
        self.minimum.is_none_or(|it| number >= it) && self.maximum.is_none_or(|it| number <= it)
    }

    fn required(&self) -> String {
        match (&self.equals, self.minimum, self.maximum) {
            (Some(expected), ..) => expected.to_string(),
            (None, Some(minimum), Some(maximum)) => format!("from {minimum} to {maximum}"),
            (None, Some(minimum), None) => format!("at least {minimum}"),
            (None, None, maximum) => format!("at most {}", maximum.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::START + Duration::from_secs(seconds)
    }

    #[test]
    fn an_interval_runs_from_the_last_command_of_the_device() {
        let mut intervals = Intervals::default();
        let lamp = ByteString::from("lamp");
        intervals.sent(&lamp, "set", Duration::from_secs(10), at(0));
        let left = intervals.left(&lamp, "set", at(4));
        assert_eq!(left, Some(Duration::from_secs(6)));
        assert_eq!(intervals.left(&lamp, "set", at(10)), None);
        assert_eq!(intervals.left(&lamp, "get", at(4)), None);
        assert_eq!(intervals.left(&"other".into(), "set", at(4)), None);
        intervals.not_sent(&lamp, "set");
        assert_eq!(intervals.left(&lamp, "set", at(4)), None);
    }

    #[test]
    fn intervals_of_the_past_are_removed() {
        let mut intervals = Intervals::default();
        for number in 0..5_000_u64 {
            let device = format!("d{number}").into();
            intervals.sent(&device, "set", Duration::from_secs(1), at(number));
        }
        assert!(intervals.next.len() <= 1_024, "{}", intervals.next.len());
    }

    #[test]
    fn a_condition_is_equality_or_bounds() {
        let interlock = |equals: Option<Value>, minimum, maximum| Interlock {
            topic: "t".to_owned(),
            equals,
            minimum,
            maximum,
            stale_after: None,
            reason: "r".to_owned(),
        };
        let holds = |interlock: &Interlock, text: &str| {
            let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            interlock.holds(&value, text)
        };
        let closed = interlock(Some(json!("closed")), None, None);
        assert!(holds(&closed, "closed") && holds(&closed, "\"closed\""));
        assert!(!holds(&closed, "open"));
        let number = interlock(Some(json!("1")), None, None);
        assert!(
            holds(&number, "1"),
            "a text in the config may be what looks like a number"
        );
        let range = interlock(None, Some(1.0), Some(2.0));
        assert!(holds(&range, "1") && holds(&range, "2.0"));
        assert!(!holds(&range, "0.9") && !holds(&range, "2.1") && !holds(&range, "x"));
        assert_eq!(range.required(), "from 1 to 2");
        assert_eq!(closed.required(), "\"closed\"");
    }
}
