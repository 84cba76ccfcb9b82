//! `get_device_status`: from the cache at once, or after asking the device or waiting for it.

use tidegate_engine::Duration;
use tidegate_streams::Identity;

use crate::entry::Entry;
use crate::params::Arguments;
use crate::reading::Shown;
use crate::registry::{Cached, DeviceId, Registry};
use crate::result::Answer;
use crate::view::{Now, StatusView, duration};

/// The arguments of `get_device_status`.
#[derive(Debug)]
pub(crate) struct StatusArguments {
    pub(crate) device: String,
    pub(crate) max_age: Option<Duration>,
}

/// Longest `maxAge`, in milliseconds: 31 days.
const MAX_AGE: u64 = 2_678_400_000;

impl StatusArguments {
    pub(crate) fn read(mut arguments: Arguments) -> Result<Self, String> {
        let device = arguments.required("device", "the id of a device; list_devices has them")?;
        let max_age = arguments.whole("maxAge", 0, MAX_AGE)?;
        arguments.finish("device and maxAge")?;
        Ok(Self {
            device,
            max_age: max_age.map(Duration::from_millis),
        })
    }
}

/// A call that waits for a value.
#[derive(Debug)]
pub(crate) struct StatusWait {
    pub(crate) device: DeviceId,
    max_age: Option<Duration>,
    /// How long it waits.
    within: Duration,
    /// The device was asked; otherwise the call only waits.
    asked: bool,
    /// The broker was reached.
    pub(crate) reached: bool,
    /// The time is over, and the exit was given a moment to say why it did not answer.
    overdue: bool,
}

/// Why there is no value, or no fresh one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    Offline,
    Unreachable(String),
    /// No message within this time.
    Silent(Duration, bool),
    Stopping,
    NoStatus,
}

/// Whether a cached value answers the call. How old a retained value is, nobody knows.
pub(crate) fn is_fresh(cached: &Cached, max_age: Option<Duration>, now: Now) -> bool {
    max_age.is_none_or(|max| !cached.retained && now.time.since(cached.received) <= max)
}

/// Whether the cache has a status of a device.
pub(crate) fn is_known(registry: &Registry, entry: &Entry) -> bool {
    let property = entry.model.device.properties.first();
    let cached = property.zip(registry.property(entry, 0));
    cached.is_some_and(|(property, cached)| {
        !property.may_be_absent() || Shown::of(property, &cached.payload).is_some()
    })
}

impl StatusWait {
    pub(crate) const fn new(
        device: DeviceId,
        max_age: Option<Duration>,
        within: Duration,
        asked: bool,
    ) -> Self {
        Self {
            device,
            max_age,
            within,
            asked,
            reached: false,
            overdue: false,
        }
    }

    /// Whether a message that was received now answers the call.
    pub(crate) const fn is_answered_by(&self, retained: bool) -> bool {
        !retained || self.max_age.is_none()
    }

    /// Whether the time was over before; it is from now on.
    pub(crate) const fn is_overdue(&mut self) -> bool {
        std::mem::replace(&mut self.overdue, true)
    }

    /// The answer after the wait.
    pub(crate) fn expired(&self) -> Problem {
        if self.reached {
            Problem::Silent(self.within, self.asked)
        } else {
            let within = duration(self.within);
            Problem::Unreachable(format!("it did not answer within {within}"))
        }
    }
}

/// The answer with what is in the cache; `problem` is why it is not what was asked for.
pub(crate) fn answer(
    registry: &Registry,
    entry: &Entry,
    caller: Option<&Identity>,
    now: Now,
    problem: Option<&Problem>,
) -> Answer {
    let Some(problem) = problem else {
        return Answer::structured(&StatusView::new(registry, entry, caller, now, None));
    };
    let cached = is_known(registry, entry);
    let word = match problem {
        Problem::Offline => "offline",
        Problem::Unreachable(_) => "brokerUnreachable",
        Problem::Silent(..) if entry.seen.is_some() => "silent",
        Problem::Silent(..) => "neverSeen",
        Problem::Stopping => "stopping",
        Problem::NoStatus => "noStatus",
    };
    let why = sentence(registry, entry, now, problem);
    let view = StatusView::new(registry, entry, caller, now, Some((word, why)));
    if cached || *problem == Problem::NoStatus {
        Answer::structured(&view)
    } else {
        Answer::failed(&view)
    }
}

fn sentence(registry: &Registry, entry: &Entry, now: Now, problem: &Problem) -> String {
    let id = &entry.id;
    let have = if is_known(registry, entry) {
        "The value is the last one that was received, and older than 'maxAge' or of unknown age."
    } else {
        "No value of it is known."
    };
    match problem {
        Problem::Offline => {
            format!("'{id}' is offline, as its availability topic says. {have}")
        }
        Problem::Unreachable(why) => {
            format!("The broker is unreachable: {why}. {have} Retry when the broker is back.")
        }
        Problem::Silent(within, asked) => {
            let within = duration(*within);
            let asked = if *asked {
                format!("'{id}' was asked and did not answer within {within}.")
            } else {
                format!("'{id}' published nothing within {within}.")
            };
            let seen = match entry.seen {
                Some(seen) => {
                    format!(
                        "Its last message came {} ago.",
                        duration(now.time.since(seen))
                    )
                }
                None => "It was never seen by this gateway.".to_owned(),
            };
            format!("{asked} {seen} {have}")
        }
        Problem::Stopping => format!("The gateway is stopping. {have}"),
        Problem::NoStatus => format!(
            "Devices of the type '{}' publish no status.",
            entry.model.device.kind
        ),
    }
}
