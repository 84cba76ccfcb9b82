//! The options of `mcp_device · proxy`.
//!
//! Deserializing rejects invalid values, so a binding can be created from any [`Options`]: the model is
//! lowered once to find its faults.

mod declared;
mod kind;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, GuardReference, OptionWarning, TopicPattern};
use tidegate_streams::shown;

use crate::address::Address;
use crate::model::Models;
use crate::typed;

pub use declared::{DeclaredCommandOptions, DeclaredConfirmOptions, DeclaredOptions};
pub use kind::{
    CommandOptions, ConfirmOptions, FormatOption, InterlockOptions, LimitOptions, MatchOptions,
    OnlineOptions, PropertyOptions, RequestOptions, TypeOptions,
};

/// The options of `mcp_device · proxy`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    default,
    remote = "Self"
)]
pub struct Options {
    /// How the topics of devices are built: levels `{location}`, `{type}`, `{device}`, `{action}` and
    /// literal text. A trailing `#` instead of `{action}` stands for actions of several levels.
    #[schemars(extend("examples" = ["plant/{location}/{type}/{device}/{action}"]))]
    pub address: Address,
    /// The types of devices, by the level `{type}` of their topics: what devices of the type tell, and
    /// what they can be told.
    #[schemars(extend("examples" = [{ "light": { "status": { "action": "state" } } }]))]
    pub types: BTreeMap<String, TypeOptions>,
    /// The devices that are known from the start, by the level `{device}` of their topics.
    #[schemars(extend("examples" = [{ "lamp-1": { "type": "light", "location": "hall" } }]))]
    pub devices: BTreeMap<String, DeviceOptions>,
    /// Topic filters: a device that publishes to a topic of a type which one of them matches is added
    /// to the devices. Absent: only the devices of the config.
    #[schemars(extend("examples" = [["plant/#"]]))]
    pub seen: Vec<TopicPattern>,
    /// Devices that announce themselves, by Home Assistant's discovery or Homie 5. Absent: none.
    #[schemars(extend("examples" = [{ "homeAssistant": "homeassistant", "subscribe": ["zigbee2mqtt/#"], "publish": ["zigbee2mqtt/+/set"] }]))]
    pub declared: Option<DeclaredOptions>,
    /// The tools for commands: `generic` offers `control_device`, `typed` a tool for each command of
    /// each type. More than 40 tools are joined: one for each type, or one for all.
    pub tools: ToolsOption,
    /// Time that `get_device_status` waits for a value, in milliseconds, if the cache has none.
    pub status_timeout: Bounded<1, 3_600_000>,
    /// Longest `duration` of `subscribe_sensor`, in milliseconds. A call also ends in time to be
    /// answered within the timeout of its caller.
    pub max_sensor_duration: Bounded<1, 86_400_000>,
    /// Maximum number of devices. When a further one is seen, the one that was silent for longest is
    /// removed. All devices of the config are kept.
    pub max_devices: Bounded<1, 1_000_000>,
    /// Maximum size of all cached values, in bytes. Beyond it, the devices that were silent for longest
    /// are removed, or the value is not cached if only devices of the config are left.
    pub max_cache_bytes: Bounded<1_024, 1_073_741_824>,
    /// Largest value that is cached, in bytes. A larger one makes the value of its topic unknown, and is
    /// counted.
    pub max_value_bytes: Bounded<16, 1_048_576>,
    /// Largest `params` of a call, in bytes. Larger ones are refused.
    pub max_params: Bounded<1_024, 16_777_216>,
    /// Maximum number of MCP sessions of a worker. Further sessions are refused.
    pub max_sessions: Bounded<1, 1_000_000>,
    /// Maximum number of calls with a `requestId` that are remembered, each for a minute. Further calls
    /// with a `requestId` are refused.
    pub max_requests: Bounded<1, 1_000_000>,
    /// Maximum number of commands that wait for the approval of a person. Further commands that require it are
    /// refused.
    pub max_approvals: Bounded<1, 100_000>,
}

/// A device of the config.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeviceOptions {
    /// Its type: a key of `types`.
    pub r#type: String,
    /// The level `{location}` of its topics; required if the address has one.
    pub location: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Further facts, by name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How commands are offered as tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ToolsOption {
    /// One tool `control_device` for all commands.
    #[default]
    Generic,
    /// A tool for each command of each type.
    Typed,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: Address::default(),
            types: BTreeMap::new(),
            devices: BTreeMap::new(),
            seen: Vec::new(),
            declared: None,
            tools: ToolsOption::default(),
            status_timeout: Bounded::of(5_000),
            max_sensor_duration: Bounded::of(3_600_000),
            max_devices: Bounded::of(10_000),
            max_cache_bytes: Bounded::of(16 << 20),
            max_value_bytes: Bounded::of(64 << 10),
            max_params: Bounded::of(64 << 10),
            max_sessions: Bounded::of(10_000),
            max_requests: Bounded::of(4_096),
            max_approvals: Bounded::of(1_000),
        }
    }
}

/// Most faults that are listed at once.
const FAULTS_NAMED: usize = 10;

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let options = Self::deserialize(deserializer)?;
        let (_, mut faults) = Models::new(&options);
        if faults.is_empty() {
            return Ok(options);
        }
        faults.truncate(FAULTS_NAMED);
        Err(de::Error::custom(faults.join("; ")))
    }
}

/// Most commands that a warning names.
const COMMANDS_NAMED: usize = 5;

impl Options {
    /// The warning about commands that no state can confirm, although their type has one.
    fn unconfirmed(&self) -> Option<OptionWarning> {
        let types = self.types.iter().filter(|(_, it)| it.status.is_some());
        let commands = types.flat_map(|(kind, options)| {
            let commands = options.commands.iter();
            let unconfirmed = commands.filter(|(_, command)| command.confirm.is_none());
            unconfirmed.map(move |(name, _)| (kind, name))
        });
        let commands: Vec<_> = commands.collect();
        if commands.is_empty() {
            return None;
        }
        let named = commands.iter().take(COMMANDS_NAMED);
        let named: Vec<String> = named
            .map(|(kind, command)| format!("'{}' of '{}'", shown(command), shown(kind)))
            .collect();
        let more = match commands.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(OptionWarning {
            key: "types",
            message: format!(
                "no state confirms {}{more}: without 'confirm' the outcome is always 'unconfirmed'",
                named.join(", ")
            ),
            help: "add the state that a device takes when it has obeyed, e.g. confirm: { match: { equals: VALUE } }; \
                   confirm: {} stands for an object that has the arguments as members"
                .to_owned(),
        })
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        let mut warnings = Vec::new();
        let declares = self.declared.as_ref();
        let silent = |it: &DeclaredOptions| it.home_assistant.is_none() && it.homie.is_none();
        if declares.is_some_and(|it| silent(it) || it.subscribe.is_empty()) {
            warnings.push(OptionWarning {
                key: "declared",
                message:
                    "'declared' has no announcements or no topics to read, so no device has a value"
                        .to_owned(),
                help:
                    "set homeAssistant or homie, and subscribe, e.g. subscribe: [ zigbee2mqtt/# ]"
                        .to_owned(),
            });
        }
        if self.types.is_empty() && declares.is_none() {
            warnings.push(OptionWarning {
                key: "types",
                message: "'types' is empty, so there can be no devices".to_owned(),
                help: "declare a type, e.g. types: { light: { status: { action: state } } }"
                    .to_owned(),
            });
        } else if self.devices.is_empty() && self.seen.is_empty() && declares.is_none() {
            warnings.push(OptionWarning {
                key: "devices",
                message: "'devices' and 'seen' are empty, so there can be no devices".to_owned(),
                help: "name the devices, or add the devices seen on topics, e.g. seen: [ plant/# ]"
                    .to_owned(),
            });
        }
        warnings.extend(typed::warning(self));
        warnings.extend(self.unconfirmed());
        warnings
    }

    fn guards(&self) -> Vec<GuardReference> {
        let mut references = Vec::new();
        if let Some(declared) = &self.declared {
            references.extend(declared.guards());
        }
        for (kind, options) in &self.types {
            if let Some(guarded) = &options.guarded {
                references.extend(guarded.references(&["types", kind, "guarded"]));
            }
            for (name, command) in &options.commands {
                if let Some(guarded) = &command.guarded {
                    let path = ["types", kind, "commands", name, "guarded"];
                    references.extend(guarded.references(&path));
                }
            }
        }
        references
    }
}

#[cfg(test)]
mod tests;
