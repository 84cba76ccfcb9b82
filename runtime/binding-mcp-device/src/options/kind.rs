//! The options of a type of devices.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_options::{Bounded, Guarded, Required};

/// A type of devices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TypeOptions {
    /// What devices of this type are.
    pub description: Option<String>,
    /// The state that they publish, which commands change.
    pub status: Option<PropertyOptions>,
    /// The value that they measure.
    pub reading: Option<PropertyOptions>,
    /// How to tell whether they are online; absent: they do not tell.
    pub online: Option<OnlineOptions>,
    /// What they can be told, by name.
    pub commands: BTreeMap<String, CommandOptions>,
    /// Who sees them; absent: everybody.
    pub guarded: Option<Guarded>,
}

/// A value that devices publish.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PropertyOptions {
    /// The level `{action}` of its topic.
    pub action: String,
    /// What it means.
    pub description: Option<String>,
    /// How its payload is read.
    #[serde(default)]
    pub format: FormatOption,
    /// Jinja template that extracts the value from the payload (`value`, and `value_json` if it is
    /// JSON); absent: the payload is the value.
    pub value: Option<String>,
    /// With format `boolean`: the text for true; `on` by default.
    pub on: Option<String>,
    /// With format `boolean`: the text for false; `off` by default.
    pub off: Option<String>,
    /// The unit, such as `°C`.
    pub unit: Option<String>,
    /// The smallest valid number.
    pub minimum: Option<f64>,
    /// The largest valid number.
    pub maximum: Option<f64>,
    /// After this time without a message the value is stale, in milliseconds.
    pub stale_after: Option<Bounded<1, 2_678_400_000>>,
    /// The message that makes a device publish the value.
    pub get: Option<RequestOptions>,
}

/// A message that makes a device publish a value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestOptions {
    /// The level `{action}` of its topic.
    pub action: String,
    /// Its payload; empty by default.
    #[serde(default)]
    pub payload: String,
}

/// How a payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FormatOption {
    /// JSON.
    #[default]
    Json,
    /// A decimal number.
    Number,
    /// Text.
    Text,
    /// One of two texts: `on` and `off`.
    Boolean,
}

/// How to tell whether a device is online.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OnlineOptions {
    /// The level `{action}` of the topic.
    pub action: String,
    /// The payload that means online; `online` by default.
    #[serde(default = "online")]
    pub online: String,
    /// The payload that means offline; `offline` by default.
    #[serde(default = "offline")]
    pub offline: String,
}

fn online() -> String {
    "online".to_owned()
}

fn offline() -> String {
    "offline".to_owned()
}

/// Something that devices can be told.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CommandOptions {
    /// What it does.
    pub description: Option<String>,
    /// The level `{action}` of its topic; the name of the command by default.
    pub action: Option<String>,
    /// JSON Schema of the arguments, of type `object`. Absent: there are none.
    pub arguments: Option<Value>,
    /// Jinja template of the payload, with the arguments as variables. Absent: the arguments as JSON.
    pub payload: Option<String>,
    /// Quality of service; 1 by default.
    pub qos: Option<Bounded<0, 2>>,
    /// Whether the broker keeps the message.
    pub retain: bool,
    /// Time after which the broker drops a message that the device has not taken, in seconds. It does
    /// not apply to a retained message.
    pub expiry: Option<Bounded<1, 4_294_967_295>>,
    /// The state that confirms the command.
    pub confirm: Option<ConfirmOptions>,
    /// Limits on what the command may do.
    pub limits: LimitOptions,
    /// Conditions on other topics, all of which must hold.
    pub interlocks: Vec<InterlockOptions>,
    /// Who may use it; absent: everybody.
    pub guarded: Option<Guarded>,
    /// `required`: a person has to approve each command before it is sent. The client asks its user (MCP
    /// elicitation), who sees device, arguments, message and present state; a client that cannot ask is refused.
    pub approval: Option<Required>,
}

/// The state that confirms a command.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConfirmOptions {
    /// The level `{action}` of the topic of the state; that of `status` by default.
    pub action: Option<String>,
    /// The state that confirms: `{ equals: VALUE }` is this value, `{ argument: NAME }` the value of an
    /// argument. Absent: an object that has the arguments as members.
    pub r#match: Option<MatchOptions>,
    /// How long the device may take, in milliseconds.
    #[serde(default = "within")]
    pub within: Bounded<1, 3_600_000>,
}

const fn within() -> Bounded<1, 3_600_000> {
    Bounded::of(5_000)
}

/// The state that confirms a command; one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MatchOptions {
    /// The name of an argument, whose value the state must have.
    pub argument: Option<String>,
    /// The value that the state must have.
    pub equals: Option<Value>,
}

/// Limits on a command.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LimitOptions {
    /// Shortest time between two of these commands to a device, in milliseconds.
    pub interval: Option<Bounded<1, 86_400_000>>,
    /// Largest change against the present state, by argument: the state itself if it is a number, or
    /// its member of the same name. Without a fresh state the command is refused.
    pub step: BTreeMap<String, f64>,
}

/// A condition on another topic.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InterlockOptions {
    /// The topic; `{location}` and `{device}` stand for those of the device.
    pub topic: String,
    /// The payload must be this value, as JSON or text.
    pub equals: Option<Value>,
    /// The payload must be a number of at least this.
    pub minimum: Option<f64>,
    /// The payload must be a number of at most this.
    pub maximum: Option<f64>,
    /// After this time without a message, the condition does not hold, in milliseconds.
    pub stale_after: Option<Bounded<1, 2_678_400_000>>,
    /// Why the command is refused otherwise.
    pub reason: String,
}
