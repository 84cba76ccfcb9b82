//! Explains what the options allow a caller, with the code that decides it.

use tidegate_streams::Identity;

use crate::model::Models;
use crate::options::Options;
use crate::tools;
use crate::typed;

/// What the options decide about a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// The caller may use it: for these types, or for these commands of types, as `light.set`, and for announced
    /// devices, whose commands are not known here.
    Permitted(Vec<String>),
    /// There is nothing that the caller may use it for.
    Refused,
}

/// What announced devices are called.
const ANNOUNCED: &str = "announced devices";

/// The options of an `mcp_device · proxy`.
pub struct Explainer {
    models: Models,
    options: Options,
}

impl Explainer {
    /// Explains these options.
    pub fn new(options: Options) -> Self {
        let (models, _) = Models::new(&options);
        Self { models, options }
    }

    /// Whether a tool is also for devices that announce themselves.
    fn is_of_announced(&self, name: &str) -> bool {
        self.options.declared.is_some() && tools::ALL.contains(&name)
    }

    fn sees_announced(&self, caller: Option<&Identity>) -> bool {
        let declared = self.options.declared.as_ref();
        declared.is_some_and(|it| it.guarded.as_ref().is_none_or(|it| it.permits(caller)))
    }

    /// What is decided about a tool; `None` if there is no such tool for anyone.
    pub fn tool(&self, caller: Option<&Identity>, name: &str) -> Option<Explanation> {
        let types = self.models.types.iter();
        let visible = types.filter(|(_, model)| model.is_visible(caller));
        let mut used: Vec<String> = match name {
            tools::LIST_DEVICES | tools::GET_DEVICE_STATUS => {
                visible.map(|(kind, _)| kind.clone()).collect()
            }
            tools::SUBSCRIBE_SENSOR => {
                let with_reading = visible.filter(|(_, model)| model.reading().is_some());
                with_reading.map(|(kind, _)| kind.clone()).collect()
            }
            name => {
                let all = self.models.types.iter().flat_map(|(kind, model)| {
                    let commands = model.device.commands.iter();
                    commands.map(move |command| (kind, model, &command.name))
                });
                let option = self.options.tools;
                let sent = all.filter(|(kind, _, command)| {
                    typed::tool_of(&self.models, option, kind, command) == name
                });
                let sent: Vec<_> = sent.collect();
                if sent.is_empty() && !self.is_of_announced(name) {
                    return None;
                }
                let permitted = sent.into_iter().filter(|(_, model, command)| {
                    model.is_visible(caller) && model.command(caller, command).is_some()
                });
                permitted
                    .map(|(kind, _, command)| format!("{kind}.{command}"))
                    .collect()
            }
        };
        if self.is_of_announced(name) && self.sees_announced(caller) {
            used.push(ANNOUNCED.to_owned());
        }
        Some(if used.is_empty() {
            Explanation::Refused
        } else {
            Explanation::Permitted(used)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_is_permitted_for_what_it_does_for_the_caller() {
        let options = |tools: &str| {
            let options = json!({
                "tools": tools,
                "types": {
                    "door": { "commands": {
                        "ring": {},
                        "open": { "guarded": { "staff": ["operator"] } },
                    } },
                    "camera": { "status": { "action": "s" }, "guarded": { "staff": [] } },
                },
            });
            Explainer::new(serde_json::from_value(options).expect("valid options"))
        };
        let operator = Identity {
            guard: "staff".into(),
            roles: vec!["operator".into()],
            ..Identity::default()
        };
        let permitted = |list: &[&str]| {
            let list = list.iter().map(|it| (*it).to_owned());
            Some(Explanation::Permitted(list.collect()))
        };
        let generic = options("generic");
        let control = |caller| generic.tool(caller, "control_device");
        assert_eq!(control(None), permitted(&["door.ring"]));
        assert_eq!(
            control(Some(&operator)),
            permitted(&["door.open", "door.ring"])
        );
        assert_eq!(generic.tool(None, "list_devices"), permitted(&["door"]));
        assert_eq!(
            generic.tool(None, "subscribe_sensor"),
            Some(Explanation::Refused)
        );
        assert_eq!(generic.tool(None, "door_open"), None);
        let typed = options("typed");
        assert_eq!(typed.tool(None, "door_open"), Some(Explanation::Refused));
        assert_eq!(
            typed.tool(Some(&operator), "door_open"),
            permitted(&["door.open"])
        );
        assert_eq!(typed.tool(None, "control_device"), None);
    }

    #[test]
    fn tools_are_permitted_for_announced_devices() {
        let options = json!({ "declared": { "homie": "homie", "guarded": { "staff": [] } } });
        let explainer = Explainer::new(serde_json::from_value(options).expect("valid options"));
        let staff = Identity {
            guard: "staff".into(),
            ..Identity::default()
        };
        for tool in tools::ALL {
            assert_eq!(
                explainer.tool(None, tool),
                Some(Explanation::Refused),
                "{tool}"
            );
            let permitted = Explanation::Permitted(vec![ANNOUNCED.to_owned()]);
            assert_eq!(
                explainer.tool(Some(&staff), tool),
                Some(permitted),
                "{tool}"
            );
        }
        assert_eq!(explainer.tool(Some(&staff), "light_set"), None);
    }
}
