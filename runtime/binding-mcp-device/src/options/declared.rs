//! The options of devices that announce themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{Bounded, Glob, GuardReference, Guarded, Required, TopicPattern};

use super::kind::{InterlockOptions, LimitOptions, MatchOptions};

/// Devices that announce themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DeclaredOptions {
    /// The prefix of Home Assistant's discovery, usually `homeassistant`. Absent: not listened to.
    pub home_assistant: Option<String>,
    /// The domain of Homie 5, usually `homie`. Absent: not listened to.
    pub homie: Option<String>,
    /// Topic filters that announced devices may be read from. Properties on other topics are left out.
    pub subscribe: Vec<TopicPattern>,
    /// Topic filters that announced devices may be commanded by. Commands on other topics are left out.
    pub publish: Vec<TopicPattern>,
    /// Who sees them; absent: everybody.
    pub guarded: Option<Guarded>,
    /// Rules for their commands. All that match a command apply to it: a further one never weakens another.
    #[schemars(extend("examples" = [[{ "device": "pump-*", "limits": { "interval": 5000 } }]]))]
    pub commands: Vec<DeclaredCommandOptions>,
}

/// Rules for commands that announced devices declare.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DeclaredCommandOptions {
    /// Topic filter: the commands that are published to a topic that matches. Absent: to any topic. It is the only
    /// condition that a device cannot escape by another name.
    pub topic: Option<TopicPattern>,
    /// Glob: the commands of devices with these ids. Absent: of all.
    pub device: Option<Glob>,
    /// Glob: the commands of devices of these types, such as `light`. Absent: of all.
    pub r#type: Option<Glob>,
    /// Glob: the commands with these names, which begin with their entity, as in `pump_*`. Absent: all.
    pub command: Option<Glob>,
    /// Who may use them; absent: everybody.
    pub guarded: Option<Guarded>,
    /// `required`: a person has to approve each of them before it is sent. The client asks its user (MCP
    /// elicitation), who sees device, arguments, message and present state; a client that cannot ask is refused.
    pub approval: Option<Required>,
    /// Limits on what they may do. A step applies to commands that have the argument.
    pub limits: LimitOptions,
    /// Conditions on other topics, all of which must hold. `{device}` stands for the id of the device.
    pub interlocks: Vec<InterlockOptions>,
    /// The state that confirms them; what is absent is as the device declares it. The first one that matches applies.
    pub confirm: Option<DeclaredConfirmOptions>,
}

/// The state that confirms a command of a device that announced itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DeclaredConfirmOptions {
    /// The name of a property of the device.
    pub property: Option<String>,
    /// The state that confirms: `{ equals: VALUE }` is this value, `{ argument: NAME }` the value of an argument.
    pub r#match: Option<MatchOptions>,
    /// How long the device may take, in milliseconds.
    pub within: Option<Bounded<1, 3_600_000>>,
}

impl DeclaredOptions {
    /// The guards of all devices and of their commands.
    pub(super) fn guards(&self) -> Vec<GuardReference> {
        let mut references = Vec::new();
        if let Some(guarded) = &self.guarded {
            references.extend(guarded.references(&["declared", "guarded"]));
        }
        for (index, rule) in self.commands.iter().enumerate() {
            if let Some(guarded) = &rule.guarded {
                let index = index.to_string();
                let path = ["declared", "commands", &*index, "guarded"];
                references.extend(guarded.references(&path));
            }
        }
        references
    }
}
