//! The model: what a device is called, what it tells about itself, and what it can be told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::labels::Labels;
use crate::template::Template;
use crate::text::Text;

/// A device with its concrete topics.
#[derive(Debug, Clone)]
pub struct Device {
    /// Unique among the devices of a binding; what a caller names it by.
    pub id: String,
    /// What people call it.
    pub name: Option<Text>,
    /// What it is for.
    pub description: Option<Text>,
    /// Its type, such as `light`.
    pub kind: String,
    /// Where it is.
    pub location: Option<Text>,
    /// Further facts, by name.
    pub labels: Labels,
    /// Where the declaration comes from, and therefore how far its texts are trusted.
    pub source: Source,
    /// What it tells about itself. The first one is its status.
    pub properties: Vec<Property>,
    /// How to tell whether it is online; `None`: it does not tell.
    pub availability: Option<Availability>,
    /// What it can be told.
    pub commands: Vec<Command>,
}

impl Device {
    /// The topics from which it is read: of its properties and its availability.
    pub fn topics_read(&self) -> BTreeSet<&str> {
        let properties = self.properties.iter().map(|it| it.topic.as_str());
        let availability = self.availability.iter().flat_map(|it| &it.topics);
        properties
            .chain(availability.map(|it| it.topic.as_str()))
            .collect()
    }

    /// The topics to which it is written: of its commands, and of requests for its properties.
    pub fn topics_written(&self) -> BTreeSet<&str> {
        let commands = self.commands.iter().map(|it| it.topic.as_str());
        let requests = self.properties.iter().filter_map(|it| it.request.as_ref());
        commands
            .chain(requests.map(|it| it.topic.as_str()))
            .collect()
    }
}

/// Where the declaration of a device comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The config names the device.
    Config,
    /// A message was seen on a topic of the address template.
    Seen,
    /// The device announced itself by Home Assistant's discovery.
    HomeAssistant,
    /// The device announced itself by Homie 5.
    Homie,
}

/// A value that the device publishes.
#[derive(Debug, Clone)]
pub struct Property {
    /// Unique in the device, such as `state` or `brightness`.
    pub name: String,
    /// What it means.
    pub description: Option<Text>,
    /// The topic of its messages.
    pub topic: String,
    /// How the payload is read, after `value`.
    pub format: Format,
    /// Extracts the value from a payload; `None`: the payload is the value.
    pub value: Option<Template>,
    /// The unit, such as `°C`.
    pub unit: Option<Text>,
    /// The smallest valid number.
    pub minimum: Option<f64>,
    /// The largest valid number.
    pub maximum: Option<f64>,
    /// After this time without a message the value is stale.
    pub stale_after: Option<Duration>,
    /// Makes the device publish the value.
    pub request: Option<Box<Request>>,
}

/// How the text of a value is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// A JSON text.
    Json,
    /// A decimal number.
    Number,
    /// Any UTF-8 text.
    Text,
    /// One of two texts.
    Boolean {
        /// The text for true, such as `ON`.
        on: String,
        /// The text for false, such as `OFF`.
        off: String,
    },
    /// One of several texts.
    Choice(Vec<String>),
}

/// A message that makes a device publish a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
}

/// The topics that tell whether a device is online.
#[derive(Debug, Clone)]
pub struct Availability {
    /// How several topics are combined.
    pub mode: AvailabilityMode,
    /// The topics; at least one.
    pub topics: Vec<AvailabilityTopic>,
}

/// How several availability topics are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvailabilityMode {
    /// Online if all of them say so.
    All,
    /// Online if one of them says so.
    Any,
    /// What the last message said.
    Latest,
}

/// One topic with its two payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailabilityTopic {
    /// The topic.
    pub topic: String,
    /// Extracts the text from the payload; `None`: the payload is the text.
    pub value: Option<Template>,
    /// The text that means online.
    pub online: String,
    /// The text that means offline.
    pub offline: String,
}

/// Something a device can be told: one message.
#[derive(Debug, Clone)]
pub struct Command {
    /// Unique in the device, such as `turn_on` or `set_temperature`.
    pub name: String,
    /// What it does.
    pub description: Option<Text>,
    /// JSON Schema of the arguments, of type `object`.
    ///
    /// Shared, because commands are cloned with their device, and many have the same arguments or none.
    pub arguments: Arc<Value>,
    /// The topic it is published to.
    pub topic: String,
    /// What is published.
    pub payload: Payload,
    /// Quality of service, 0 to 2.
    pub qos: u8,
    /// Whether the broker keeps the message.
    pub retain: bool,
    /// Message Expiry Interval (MQTT 5.0, 3.3.2.3.3).
    pub expiry: Option<Duration>,
    /// The state that confirms it; `None`: nothing does.
    pub confirm: Option<Confirm>,
}

/// The payload of a command.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Always the same text, such as `ON`.
    Fixed(String),
    /// The arguments as one JSON object.
    Arguments,
    /// The value of one argument as text, a number or a boolean as JSON writes it.
    Argument(String),
    /// Rendered from the arguments.
    Template(Template),
}

/// The state that a device takes when it has obeyed a command.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// The property, by name.
    pub property: String,
    /// The value it then has.
    pub expected: Expected,
    /// How long it may take.
    pub within: Duration,
    /// The property, by name, that repeats the value as soon as the device has accepted it, and before it has
    /// reached it; `None`: no property does.
    pub accepted_by: Option<String>,
}

/// The value that confirms a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// This value.
    Value(Value),
    /// The value of an argument, by name.
    Argument(String),
    /// An object of which these members have the values of the arguments of the same name.
    Arguments,
    /// An object that has these members, and the values of those arguments that were given.
    Object {
        /// Members with fixed values, such as `"state": "ON"`.
        members: Map<String, Value>,
        /// Arguments, by name, which the members of the same name repeat.
        arguments: Vec<String>,
    },
}
