//! What a person sees of a command before approving it.
//!
//! Each part is one line, and texts are quoted as JSON quotes them, so that no text can look like another part; the
//! payload, which is not quoted, is the last. What the person approves is shown whole: arguments, topic and payload. Texts about the
//! device are bounded. Those of a device that declared itself are its own words, which the question says first.

use serde_json::Value;
use tidegate_device::Command;
use tidegate_streams::mcp::{APPROVAL_TEXT_MAX, approval_payload};
use tidegate_streams::{Visible, shown};

use crate::approve::Approval;
use crate::entry::Entry;
use crate::publication::Message;
use crate::registry::Registry;
use crate::view::{Now, ValueView};

/// The question; `None` if the person would not see all of the command.
pub(crate) fn question(registry: &Registry, approval: &Approval, now: Now) -> Option<String> {
    let Approval { call, message } = approval;
    let (command, _) = call.target.parts()?;
    let entry = registry.get(call.target.device)?;
    let mut lines = vec![format!(
        "Send the command {} to the device {}?",
        quoted(whole(&command.name)?),
        quoted(&entry.id)
    )];
    if let Some(source) = declared_by(entry) {
        lines.push(format!(
            "The device announced itself ({source}). Its id, name, type, location, commands, topics and payloads are what it \
             says of itself, and not verified."
        ));
    }
    lines.push(about(entry));
    lines.push(match &call.arguments.arguments {
        none if none.is_empty() => "Arguments: none".to_owned(),
        given => {
            let given = Value::Object(given.clone()).to_string();
            format!("Arguments: {}", Visible(whole(&given)?))
        }
    });
    let present = present(registry, entry, command, now);
    lines.push(format!("Present state: {present}"));
    let topic = quoted(whole(&message.topic)?);
    lines.push(format!("Topic: {topic} ({})", delivery(message)));
    let (payload, is_whole) = approval_payload(std::iter::once(&message.payload));
    lines.push(format!("Payload: {payload}"));
    is_whole.then(|| lines.join("\n"))
}

/// A text that is not too long to be shown whole.
fn whole(text: &str) -> Option<&str> {
    let is_whole = text.chars().nth(APPROVAL_TEXT_MAX).is_none();
    is_whole.then_some(text)
}

/// A text in quotes, which it cannot end itself.
fn quoted(text: &str) -> String {
    Visible(Value::from(text)).to_string()
}

/// How a device declared itself, for a person.
fn declared_by(entry: &Entry) -> Option<&'static str> {
    entry.declared_by().map(|by| match by {
        "homie" => "Homie",
        _ => "Home Assistant's discovery",
    })
}

/// What is known about the device.
fn about(entry: &Entry) -> String {
    let name = entry.name().map(|name| ("name", name.as_str()));
    let location = entry.location.as_deref().map(|it| ("location", it));
    let kind = Some(("type", &*entry.model.device.kind));
    let parts = [name, kind, location].into_iter().flatten();
    let parts = parts.map(|(what, text)| format!("{what} {}", quoted(&shown(text))));
    let parts: Vec<String> = parts.collect();
    format!("Device: {}", parts.join(", "))
}

fn delivery(message: &Message) -> String {
    let retained = if message.retain { ", retained" } else { "" };
    format!("QoS {}{retained}", message.qos)
}

/// The present value of the state that confirms the command, or else of the status.
fn present(registry: &Registry, entry: &Entry, command: &Command, now: Now) -> String {
    let confirm = command.confirm.as_ref();
    let property = confirm.and_then(|it| entry.model.property(&it.property));
    let index = property.map_or(0, |(index, _)| index);
    let Some(property) = entry.model.device.properties.get(index) else {
        return "unknown; the device publishes none".to_owned();
    };
    let cached = registry.property(entry, index);
    match cached.and_then(|cached| ValueView::new(property, cached, now)) {
        Some(value) => Visible(value.described()).to_string(),
        None => "unknown".to_owned(),
    }
}
