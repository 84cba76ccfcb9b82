//! `subscribe_sensor`: readings for a while, their series and statistics.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::Serialize;
use serde_json::Value;
use tidegate_engine::{Duration, Time};

use crate::entry::Entry;
use crate::params::Arguments;
use crate::reading::Shown;
use crate::registry::DeviceId;
use crate::result::Answer;
use crate::view::{Now, compact, duration};

/// Most readings of a series.
const SERIES_MAX: usize = 500;
/// Most devices that a call follows.
pub(crate) const DEVICES_MAX: usize = 100;
/// Longest `every`, in milliseconds.
const EVERY_MAX: u64 = 86_400_000;
/// Largest `count`.
const COUNT_MAX: u64 = 1_000_000;

/// The arguments of `subscribe_sensor`.
#[derive(Debug)]
pub(crate) struct SensorArguments {
    pub(crate) device: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) duration: Duration,
    count: Option<u64>,
    min_change: Option<f64>,
    every: Option<Duration>,
}

impl SensorArguments {
    /// Reads the arguments; `longest` is the longest duration.
    pub(crate) fn read(mut arguments: Arguments, longest: Duration) -> Result<Self, String> {
        let longest = longest.as_millis();
        let read = Self {
            device: arguments.text("device")?,
            location: arguments.text("location")?,
            kind: arguments.text("type")?,
            duration: arguments
                .whole("duration", 1, longest)?
                .map(Duration::from_millis)
                .ok_or("'duration' is missing; add how long to collect, in milliseconds.")?,
            count: arguments.whole("count", 1, COUNT_MAX)?,
            min_change: arguments.number("minChange")?,
            every: arguments
                .whole("every", 1, EVERY_MAX)?
                .map(Duration::from_millis),
        };
        arguments.finish("device, location, type, duration, count, minChange and every")?;
        let group = read.location.is_some() || read.kind.is_some();
        if read.device.is_some() == group {
            return Err("Add either 'device', or 'location' or 'type'.".to_owned());
        }
        Ok(read)
    }

    /// Whether a device belongs to the location and type.
    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        let location = entry.location.as_deref();
        self.location
            .as_deref()
            .is_none_or(|it| Some(it) == location)
            && self
                .kind
                .as_deref()
                .is_none_or(|it| it == entry.model.device.kind)
    }
}

/// A device whose readings are collected.
#[derive(Debug)]
struct Followed {
    id: ByteString,
    unit: Option<String>,
    /// Index of the property.
    property: usize,
    /// The last reading that was taken.
    last: Option<(Time, Option<f64>)>,
    statistics: Statistics,
}

/// The figures of a device.
#[derive(Debug, Default)]
struct Statistics {
    count: u64,
    invalid: u64,
    /// Number of readings that are numbers.
    numbers: u64,
    minimum: f64,
    maximum: f64,
    mean: f64,
    last: Option<Value>,
}

impl Statistics {
    fn add(&mut self, value: &Value) {
        self.count += 1;
        self.last = Some(compact(value.clone()));
        let Some(number) = value.as_f64() else {
            return;
        };
        self.numbers += 1;
        if self.numbers == 1 {
            (self.minimum, self.maximum, self.mean) = (number, number, number);
            return;
        }
        self.minimum = self.minimum.min(number);
        self.maximum = self.maximum.max(number);
        #[allow(clippy::cast_precision_loss, reason = "far fewer readings than 2^52")]
        let numbers = self.numbers as f64;
        self.mean += (number - self.mean) / numbers;
    }
}

/// A series of bounded length: beyond it, every second reading is left out, and so on.
#[derive(Debug)]
struct Series<T> {
    kept: Vec<T>,
    /// Of so many readings, one is kept.
    stride: u64,
    added: u64,
}

impl<T> Series<T> {
    const fn new() -> Self {
        Self {
            kept: Vec::new(),
            stride: 1,
            added: 0,
        }
    }

    fn add(&mut self, reading: T) {
        let wanted = self.added.is_multiple_of(self.stride);
        self.added += 1;
        if !wanted {
            return;
        }
        if self.kept.len() == SERIES_MAX {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
            // The reading is at an even place, as there were an even number before it.
        }
        self.kept.push(reading);
    }
}

/// A reading of the series.
#[derive(Debug)]
struct Taken {
    device: DeviceId,
    value: Value,
    at: Time,
}

/// Why the collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Duration,
    Count,
    Cancelled,
    /// The caller's deadline came before the duration was over.
    Timeout,
    /// The device was removed.
    Removed,
    Stopping,
}

impl Ended {
    const fn word(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Count => "count",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Removed => "removed",
            Self::Stopping => "stopping",
        }
    }
}

/// A collection of readings.
#[derive(Debug)]
pub(crate) struct Sensor {
    followed: BTreeMap<DeviceId, Followed>,
    arguments: SensorArguments,
    /// Whether the caller asks for progress.
    progress: bool,
    count: u64,
    series: Series<Taken>,
    started: Time,
    /// The caller's deadline comes before the duration is over.
    pub(crate) cut: bool,
}

/// A reading that was taken.
#[derive(Debug)]
pub(crate) struct Step {
    /// Progress for the caller: the number of readings, the number wanted, and the reading.
    pub(crate) progress: Option<(String, Option<String>, String)>,
    /// Enough readings were taken.
    pub(crate) enough: bool,
}

impl Sensor {
    pub(crate) fn new(arguments: SensorArguments, progress: bool, now: Time) -> Self {
        Self {
            followed: BTreeMap::new(),
            arguments,
            progress,
            count: 0,
            series: Series::new(),
            started: now,
            cut: false,
        }
    }

    /// Adds a device that has a reading.
    pub(crate) fn follow(&mut self, device: DeviceId, entry: &Entry) {
        if let Some((property, about)) = entry.model.reading() {
            let followed = Followed {
                id: entry.id.clone(),
                unit: about.unit.as_ref().map(ToString::to_string),
                property,
                last: None,
                statistics: Statistics::default(),
            };
            self.followed.insert(device, followed);
        }
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.followed.keys().copied()
    }

    /// Takes a live value; `None` if it is not a reading, or left out.
    pub(crate) fn on_value(
        &mut self,
        device: DeviceId,
        property: usize,
        entry: &Entry,
        payload: &[u8],
        now: Time,
    ) -> Option<Step> {
        let followed = self.followed.get_mut(&device)?;
        if followed.property != property {
            return None;
        }
        let about = entry.model.device.properties.get(property)?;
        let Shown { value, invalid } = Shown::of(about, payload)?;
        if invalid.is_some() {
            followed.statistics.invalid += 1;
            return None;
        }
        let number = value.as_f64();
        if let Some((at, last)) = followed.last {
            let early = self
                .arguments
                .every
                .is_some_and(|every| now.since(at) < every);
            let change = number.zip(last).map(|(now, last)| (now - last).abs());
            let small = self.arguments.min_change;
            let small = small
                .zip(change)
                .is_some_and(|(least, change)| change < least);
            if early || small {
                return None;
            }
        }
        followed.last = Some((now, number));
        followed.statistics.add(&value);
        self.count += 1;
        let text = match &followed.unit {
            Some(unit) => format!("{}: {} {unit}", followed.id, compact(value.clone())),
            None => format!("{}: {}", followed.id, compact(value.clone())),
        };
        self.series.add(Taken {
            device,
            value: compact(value),
            at: now,
        });
        let wanted = self.arguments.count;
        let progress = || {
            (
                self.count.to_string(),
                wanted.map(|it| it.to_string()),
                text,
            )
        };
        Some(Step {
            progress: self.progress.then(progress),
            enough: wanted.is_some_and(|wanted| self.count >= wanted),
        })
    }

    /// The result.
    pub(crate) fn answer(&self, ended: Ended, now: Now) -> Answer {
        let series = self.series.kept.iter().filter_map(|taken| {
            Some(ReadingView {
                device: &self.followed.get(&taken.device)?.id,
                value: &taken.value,
                received_at: now.stamp(taken.at),
            })
        });
        let after = duration(now.time.since(self.started));
        let message = match ended {
            Ended::Timeout => Some(format!(
                "The caller's own timeout ended the collection after {after}. Use a shorter 'duration', or \
                 subscribe to the resource device://ID."
            )),
            Ended::Removed => Some(format!(
                "The device announced that it is removed, or has changed, after {after}."
            )),
            Ended::Stopping => Some(format!(
                "The gateway is stopping; it collected for {after}."
            )),
            _ if self.count == 0 && self.followed.values().any(|it| it.statistics.invalid > 0) => {
                Some(format!(
                    "No valid reading was received within {after}; get_device_status shows what is \
                     invalid."
                ))
            }
            _ if self.count == 0 => Some(format!(
                "No reading was received within {after}; get_device_status shows when the device was last \
                 seen."
            )),
            _ => None,
        };
        Answer::structured(&SensorView {
            ended: ended.word(),
            count: self.count,
            series: series.collect(),
            every_nth: Some(self.series.stride).filter(|stride| *stride > 1),
            statistics: self.followed.values().map(StatisticsView::new).collect(),
            message,
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SensorView<'a> {
    ended: &'static str,
    count: u64,
    series: Vec<ReadingView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every_nth: Option<u64>,
    statistics: Vec<StatisticsView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadingView<'a> {
    device: &'a str,
    value: &'a Value,
    received_at: String,
}

#[derive(Debug, Serialize)]
struct StatisticsView<'a> {
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    invalid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'a Value>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde needs"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> StatisticsView<'a> {
    fn new(followed: &'a Followed) -> Self {
        let figures = &followed.statistics;
        let number = |figure: f64| (figures.numbers > 0).then_some(figure);
        Self {
            device: &followed.id,
            unit: followed.unit.as_deref(),
            count: figures.count,
            invalid: figures.invalid,
            minimum: number(figures.minimum),
            maximum: number(figures.maximum),
            mean: number(figures.mean),
            last: figures.last.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_series_is_thinned_evenly() {
        let mut series = Series::new();
        for number in 0..500 {
            series.add(number);
        }
        assert_eq!((series.kept.len(), series.stride), (500, 1));
        for number in 500..10_000 {
            series.add(number);
        }
        assert!(series.kept.len() <= SERIES_MAX && series.kept.len() > SERIES_MAX / 2);
        let stride = usize::try_from(series.stride).expect("small");
        let even = series
            .kept
            .iter()
            .enumerate()
            .all(|(index, it)| *it == index * stride);
        assert!(even, "{:?}", series.kept);
    }

    #[test]
    fn statistics_are_those_of_all_numbers() {
        let mut statistics = Statistics::default();
        for value in [json!(4), json!(1), json!("x"), json!(7)] {
            statistics.add(&value);
        }
        let Statistics {
            count,
            minimum,
            maximum,
            mean,
            ..
        } = statistics;
        assert_eq!((count, minimum, maximum, mean), (4, 1.0, 7.0, 4.0));
    }

    #[test]
    fn a_device_or_a_group_is_named() {
        let read = |value: Value| {
            SensorArguments::read(Arguments::of(value), Duration::from_secs(60)).map(|_| ())
        };
        let either = Err("Add either 'device', or 'location' or 'type'.".to_owned());
        assert_eq!(read(json!({ "duration": 1 })), either);
        assert_eq!(
            read(json!({ "duration": 1, "device": "a", "type": "b" })),
            either
        );
        assert_eq!(
            read(json!({ "duration": 1, "location": "a", "type": "b" })),
            Ok(())
        );
        let long = read(json!({ "duration": 60_001, "device": "a" })).expect_err("too long");
        assert_eq!(
            long,
            "'duration' is 60001; use a whole number from 1 to 60000."
        );
        assert!(
            read(json!({ "device": "a" })).is_err_and(|it| it.contains("'duration' is missing"))
        );
    }
}
