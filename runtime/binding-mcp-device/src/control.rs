//! `control_device`: what a command waits for after it was sent, and how it is answered.

use bytestring::ByteString;
use serde_json::{Map, Value};
use tidegate_device::{Command, Comparison, Expected, Property};
use tidegate_engine::{Duration, Time};

use crate::entry::Entry;
use crate::operation::Outcome;
use crate::params::Arguments;
use crate::reading::Shown;
use crate::registry::{DeviceId, Registry};
use crate::report::Report;
use crate::requests::RequestKey;
use crate::result::Answer;
use crate::view::{Now, ValueView, duration};

/// Longest `timeout`, in milliseconds. In practice the caller's deadline is shorter.
const TIMEOUT_MAX: u64 = 3_600_000;
/// Most bytes of a `requestId`.
const REQUEST_ID_MAX: usize = 128;
/// Largest answer that is kept for repeated calls, in bytes; of a larger one, the values are left out.
const KEPT_MAX: usize = 4 * 1024;

/// The arguments of a tool that sends commands.
#[derive(Debug)]
pub(crate) struct ControlArguments {
    pub(crate) device: String,
    /// `None` if the tool has one command.
    pub(crate) command: Option<String>,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) request: Option<String>,
}

impl ControlArguments {
    /// Reads the arguments; `named`: the command is one of them.
    pub(crate) fn read(mut arguments: Arguments, named: bool) -> Result<Self, String> {
        let device = arguments.required("device", "the id of a device; list_devices has them")?;
        let command = if named {
            Some(arguments.required("command", "one of the commands of the device")?)
        } else {
            None
        };
        let read = Self {
            device,
            command,
            arguments: arguments.object("arguments")?,
            timeout: arguments
                .whole("timeout", 1, TIMEOUT_MAX)?
                .map(Duration::from_millis),
            request: arguments.text("requestId")?,
        };
        if let Some(id) = &read.request
            && !(1..=REQUEST_ID_MAX).contains(&id.len())
        {
            return Err(format!(
                "'requestId' has {} bytes; use 1 to {REQUEST_ID_MAX}.",
                id.len()
            ));
        }
        let command = if named { "command, " } else { "" };
        arguments.finish(&format!(
            "device, {command}arguments, timeout and requestId"
        ))?;
        Ok(read)
    }
}

/// The state that a command waits for.
#[derive(Debug)]
struct Awaited {
    /// Index of the property.
    property: usize,
    /// Index of the property that repeats the value as soon as the device has accepted it.
    target: Option<usize>,
    expected: Expected,
    arguments: Map<String, Value>,
}

/// The advice for a command of which it is not known whether it was obeyed.
const CHECK: &str = "check with get_device_status before you send it again";

/// A command that was sent.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) device: DeviceId,
    id: ByteString,
    command: String,
    qos: u8,
    awaited: Option<Awaited>,
    before: Option<ValueView>,
    /// The value before is the one that the command asks for.
    was_met: bool,
    started: Time,
    /// Whether the caller asks for progress.
    pub(crate) progress: bool,
    pub(crate) request: Option<RequestKey>,
    delivery: Delivery,
    /// What the last state that was received after the command says about it.
    said: Option<Said>,
    /// The target that the device published last after the command is the value that was asked for.
    accepted: bool,
    patience: Patience,
}

/// What is known of the delivery of a command.
#[derive(Debug)]
enum Delivery {
    InFlight,
    Acknowledged,
    /// Why there is no acknowledgement, of a command that may have been delivered.
    Lost(String),
}

/// What a state says about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// What was asked for.
    AsAsked,
    Otherwise,
    /// It does not have what the command sets.
    Nothing,
    /// It is not in the declared format.
    Invalid,
}

/// For how long a command is still waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until the state confirms it, or the time is over.
    State,
    /// The time is over: for what the exit says about the delivery.
    Overdue,
    /// The engine is shutting down: for the acknowledgement.
    Stopping,
}

/// What a command is sent with.
pub(crate) struct Sending<'a> {
    pub(crate) device: DeviceId,
    pub(crate) entry: &'a Entry,
    pub(crate) command: &'a Command,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) progress: bool,
    pub(crate) request: Option<RequestKey>,
}

impl Control {
    pub(crate) fn new(sending: Sending<'_>, registry: &Registry, now: Now) -> Self {
        let Sending { entry, command, .. } = sending;
        let confirm = command.confirm.as_ref();
        let found = confirm.and_then(|it| Some((entry.model.property(&it.property)?, it)));
        let shown = found.map_or(0, |((index, _), _)| index);
        let before = registry.property(entry, shown);
        let property = entry.model.device.properties.get(shown);
        let before = property.zip(before);
        Self {
            device: sending.device,
            id: entry.id.clone(),
            command: command.name.clone(),
            qos: command.qos,
            was_met: before
                .zip(confirm)
                .is_some_and(|((property, cached), confirm)| {
                    let shown = Shown::of(property, &cached.payload);
                    shown.is_some_and(|it| {
                        it.invalid.is_none()
                            && confirm.expected.is_met(&it.value, &sending.arguments)
                    })
                }),
            before: before.and_then(|(property, cached)| ValueView::new(property, cached, now)),
            awaited: found.map(|((property, _), confirm)| Awaited {
                property,
                target: confirm.accepted_by.as_deref().and_then(|name| {
                    let (index, _) = entry.model.property(name)?;
                    Some(index)
                }),
                expected: confirm.expected.clone(),
                arguments: sending.arguments,
            }),
            started: now.time,
            progress: sending.progress,
            request: sending.request,
            delivery: Delivery::InFlight,
            said: None,
            accepted: false,
            patience: Patience::State,
        }
    }

    /// Whether nothing more is waited for, once it is known what became of the delivery.
    pub(crate) fn is_done(&self) -> bool {
        self.awaited.is_none() || self.patience != Patience::State
    }

    /// Whether it waits for a property: the one that confirms it, or the one that says that it was accepted.
    pub(crate) fn awaits(&self, property: usize) -> bool {
        let awaited = self.awaited.as_ref();
        awaited.is_some_and(|it| it.property == property || it.target == Some(property))
    }

    /// Takes a live value of a property by its index. Returns whether it confirms the command.
    pub(crate) fn on_value(&mut self, index: usize, property: &Property, payload: &[u8]) -> bool {
        let Some(awaited) = &self.awaited else {
            return false;
        };
        let Some(shown) = Shown::of(property, payload) else {
            return false;
        };
        let compare = || awaited.expected.compare(&shown.value, &awaited.arguments);
        let said = match shown.invalid {
            Some(_) => Said::Invalid,
            None => match compare() {
                Comparison::Met => Said::AsAsked,
                Comparison::Contradicted => Said::Otherwise,
                Comparison::Silent => Said::Nothing,
            },
        };
        if awaited.property == index {
            self.said = Some(said);
            return said == Said::AsAsked;
        }
        // Another target replaces it: somebody else has sent a command.
        self.accepted = said == Said::AsAsked;
        false
    }

    /// The broker acknowledged the command.
    pub(crate) fn acknowledge(&mut self) {
        self.delivery = Delivery::Acknowledged;
    }

    /// The publication failed after it may have been delivered.
    pub(crate) fn lose(&mut self, why: String) {
        self.delivery = Delivery::Lost(why);
    }

    /// Whether the broker may still acknowledge the command.
    pub(crate) const fn is_in_flight(&self) -> bool {
        matches!(self.delivery, Delivery::InFlight)
    }

    /// The time is over. Returns whether it was over before.
    pub(crate) fn expire(&mut self) -> bool {
        std::mem::replace(&mut self.patience, Patience::Overdue) == Patience::Overdue
    }

    /// The engine is shutting down.
    pub(crate) const fn stop(&mut self) {
        self.patience = Patience::Stopping;
    }

    /// The state that was received after the command.
    fn after(&self, registry: &Registry, now: Now) -> Option<ValueView> {
        let awaited = self.awaited.as_ref().filter(|_| self.said.is_some())?;
        let entry = registry.get(self.device)?;
        let property = entry.model.device.properties.get(awaited.property)?;
        let cached = registry.property(entry, awaited.property)?;
        ValueView::new(property, cached, now)
    }

    fn report(
        &self,
        outcome: &'static str,
        message: String,
        after: Option<ValueView>,
        now: Now,
    ) -> Report {
        let mut report = Report::new(outcome, &self.id, &self.command, message);
        report.before.clone_from(&self.before);
        report.after = after;
        report.accepted = self.accepted;
        report.duration_ms = Some(now.time.since(self.started).as_millis());
        report
    }

    /// The state confirms the command.
    pub(crate) fn confirmed(&self, registry: &Registry, now: Now) -> Answer {
        let after = self.after(registry, now);
        let took = duration(now.time.since(self.started));
        let state = after.as_ref().map_or_else(String::new, ValueView::text);
        let message = format!(
            "'{}' confirmed '{}' after {took}: its state is {state}.",
            self.id, self.command
        );
        let report = self.report("confirmed", message, after, now);
        report.answer(Outcome::Confirmed, false)
    }

    /// Nothing of the command reached the broker.
    pub(crate) fn not_sent(&self, why: &str) -> Answer {
        Report::not_sent(&self.id, &self.command, &format!("{why}.")).refusal()
    }

    /// What became of the delivery, in sentences.
    fn sent(&self, took: &str) -> String {
        let (id, command) = (&self.id, &self.command);
        match &self.delivery {
            Delivery::Lost(why) => format!(
                "'{command}' was sent to '{id}', but not acknowledged: {why}. It may have been delivered."
            ),
            Delivery::Acknowledged if self.qos > 0 => {
                format!("The broker acknowledged '{command}'.")
            }
            Delivery::Acknowledged => {
                format!("'{command}' was sent; QoS 0 has no acknowledgement.")
            }
            Delivery::InFlight => format!(
                "'{command}' was sent to '{id}', but the broker did not acknowledge it within {took}. It \
                 may have been delivered."
            ),
        }
    }

    /// What the call is answered when nothing more is waited for.
    pub(crate) fn finished(&self, registry: &Registry, now: Now) -> Answer {
        let id = &self.id;
        let took = duration(now.time.since(self.started));
        let after = self.after(registry, now);
        let sent = self.sent(&took);
        if self.accepted && self.said != Some(Said::Invalid) {
            return self.pending(&sent, &took, after, now);
        }
        match after {
            Some(after) if self.said == Some(Said::Otherwise) => {
                let message = format!(
                    "{sent} But '{id}' says otherwise after {took}: its state is {}. Do not assume that it \
                     obeyed; {CHECK}.",
                    after.text()
                );
                let report = self.report("contradicted", message, Some(after), now);
                report.answer(Outcome::Contradicted, true)
            }
            Some(after) => {
                let which = if self.said == Some(Said::Nothing) {
                    "does not tell what it did"
                } else {
                    "is not valid"
                };
                let message = format!(
                    "{sent} '{id}' published a state that {which}: {}. It may have obeyed; {CHECK}.",
                    after.text()
                );
                let report = self.report("unconfirmed", message, Some(after), now);
                report.answer(Outcome::Unconfirmed, true)
            }
            None if self.awaited.is_none() => {
                let acknowledged = matches!(self.delivery, Delivery::Acknowledged);
                let message = format!(
                    "{sent} No state is declared that confirms it; get_device_status may show its effect."
                );
                let report = self.report("unconfirmed", message, None, now);
                report.answer(Outcome::Unconfirmed, !acknowledged)
            }
            None => {
                let already = if self.was_met {
                    " Its state was already the requested one before, so it may have had nothing to \
                     publish."
                } else {
                    ""
                };
                let stopping = if self.patience == Patience::Stopping {
                    " The gateway is stopping and did not wait longer."
                } else {
                    ""
                };
                let message = format!(
                    "{sent} '{id}' published no state within {took}.{already}{stopping} It may still obey; \
                     {CHECK}."
                );
                let report = self.report("unconfirmed", message, None, now);
                report.answer(Outcome::Unconfirmed, true)
            }
        }
    }

    /// The device has accepted the command, and not reached the state yet: a state on the way contradicts nothing.
    fn pending(&self, sent: &str, took: &str, after: Option<ValueView>, now: Now) -> Answer {
        let state = after.as_ref().map_or_else(String::new, |after| {
            format!(": its state is {}", after.text())
        });
        let message = format!(
            "{sent} '{}' accepted it, and has not reached it within {took}{state}. It may still reach it; \
             get_device_status shows whether it did.",
            self.id
        );
        let report = self.report("unconfirmed", message, after, now);
        report.answer(Outcome::Unconfirmed, false)
    }

    /// What a repeated call is answered: the same, without values if it is large.
    pub(crate) fn kept(&self, answer: &Answer) -> Answer {
        if answer.json.len() <= KEPT_MAX {
            return answer.clone();
        }
        let word = match answer.outcome {
            Outcome::Confirmed => "confirmed",
            Outcome::Contradicted => "contradicted",
            _ => "unconfirmed",
        };
        let message = format!(
            "'{}' was sent to '{}' by an earlier call with this requestId; get_device_status shows the \
             state.",
            self.command, self.id
        );
        let report = Report::new(word, &self.id, &self.command, message);
        report.answer(answer.outcome, answer.outcome != Outcome::Confirmed)
    }

    /// What a repeated call is answered after the first one was cancelled.
    pub(crate) fn cancelled(&self) -> Answer {
        let message = format!(
            "'{}' was sent to '{}' by an earlier call with this requestId, which was cancelled. It may \
             have been obeyed; check with get_device_status before you send it again.",
            self.command, self.id
        );
        let report = Report::new("unconfirmed", &self.id, &self.command, message);
        report.answer(Outcome::Unconfirmed, true)
    }

    /// The device and the command, for progress.
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.id, &self.command)
    }
}
