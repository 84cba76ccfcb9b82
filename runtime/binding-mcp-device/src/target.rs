//! Which command a call means, and whether it may be sent: the caller, the arguments, the device and the rules decide.

use std::rc::Rc;

use bytestring::ByteString;
use serde_json::Value;
use tidegate_device::Command;
use tidegate_engine::Context;
use tidegate_streams::mcp::McpReset;
use tidegate_streams::{Identity, shown};

use crate::commands::{CommandCall, Refusal};
use crate::control::ControlArguments;
use crate::model::{Model, Rule};
use crate::params::Arguments;
use crate::proxy::McpDevice;
use crate::registry::{DeviceId, Registry};
use crate::report::Report;
use crate::rules::check_step;
use crate::tools;
use crate::typed;
use crate::view::{COMMANDS_MAX, Now, duration};

/// A command and the device it is for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) device: DeviceId,
    pub(crate) id: ByteString,
    model: Rc<Model>,
    /// Index of the command.
    command: usize,
}

impl Target {
    pub(crate) fn parts(&self) -> Option<(&Command, &Rule)> {
        let command = self.model.device.commands.get(self.command)?;
        Some((command, self.model.rules.get(self.command)?))
    }

    /// Whether it is what the caller would find now: the device may have been removed, or have declared itself anew.
    pub(crate) fn is_current(&self, registry: &Registry, caller: Option<&Identity>) -> bool {
        let Some((command, _)) = self.parts() else {
            return false;
        };
        registry
            .find(caller, &self.id)
            .is_some_and(|(device, entry)| {
                device == self.device
                    && Rc::ptr_eq(&entry.model, &self.model)
                    && entry.model.command(caller, &command.name).is_some()
            })
    }
}

impl McpDevice {
    /// Finds the device and its command.
    pub(crate) fn target(
        &mut self,
        index: usize,
        caller: Option<&Identity>,
        tool: &str,
        arguments: Arguments,
    ) -> Result<(ControlArguments, Target), Refusal> {
        let typed =
            typed::find(&self.models, caller, tool).filter(|_| tool != tools::CONTROL_DEVICE);
        let (kind, fixed) = match &typed {
            None => (None, None),
            Some(typed) => (
                Some(typed.model.device.kind.clone()),
                typed.command.map(|it| it.name.clone()),
            ),
        };
        let arguments = ControlArguments::read(arguments, fixed.is_none())?;
        let (device, entry) = self.device(caller, &arguments.device)?;
        let (id, model) = (entry.id.clone(), Rc::clone(&entry.model));
        if let Some(kind) = kind
            && kind != model.device.kind
        {
            return Err(Refusal::Tool(format!(
                "'{id}' is of the type '{}'; this tool commands devices of the type '{kind}'.",
                model.device.kind
            )));
        }
        let name = fixed.or(arguments.command.clone()).unwrap_or_default();
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.about.device = id.clone();
            exchange.about.command = (&*shown(&name)).into();
        }
        if let Some((command, ..)) = model.command(caller, &name) {
            let target = Target {
                device,
                id,
                model,
                command,
            };
            return Ok((arguments, target));
        }
        Err(self.no_command(index, caller, &id, &model, &name))
    }

    /// The refusal of a command that does not exist for the caller.
    fn no_command(
        &mut self,
        index: usize,
        caller: Option<&Identity>,
        id: &str,
        model: &Model,
        name: &str,
    ) -> Refusal {
        let guarded = model.device.commands.iter().zip(&model.rules);
        let guarded = guarded.filter(|(command, _)| command.name == name);
        let guarded = guarded.flat_map(|(_, rule)| &rule.guarded);
        let guarded = guarded.map(|it| &**it).find(|it| !it.permits(caller));
        if let Some(guarded) = guarded {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.about.rule = "guarded";
            }
            if let Some(scopes) = caller.and_then(|caller| guarded.step_up(caller)) {
                return Refusal::Reset(McpReset::insufficient_scope(scopes));
            }
        }
        let mut own: Vec<String> = model
            .commands(caller)
            .take(COMMANDS_MAX + 1)
            .map(|(_, command, _)| format!("'{}'", shown(&command.name)))
            .collect();
        if let Some(further) = own.get_mut(COMMANDS_MAX) {
            "…".clone_into(further);
        }
        Refusal::Tool(if own.is_empty() {
            format!("'{id}' has no commands.")
        } else {
            format!(
                "Unknown command '{}' of '{id}'; commands: {}.",
                shown(name),
                own.join(", ")
            )
        })
    }

    /// Checks arguments, availability, limits and interlocks. Returns why the command is refused.
    pub(crate) fn check(
        &mut self,
        cx: &Context<'_>,
        index: usize,
        call: &CommandCall,
    ) -> Option<Report> {
        let (target, arguments) = (&call.target, &call.arguments.arguments);
        let (command, rule) = target.parts()?;
        let now = Now::of(cx);
        let (decided, report) = 'refused: {
            let value = Value::Object(arguments.clone());
            let violations = rule.violations(command, &value);
            if !violations.is_empty() {
                let report = Report::invalid(&target.id, command, violations);
                break 'refused ("schema", report);
            }
            let refuse = |why: &str| Report::not_sent(&target.id, &command.name, why);
            let entry = self.registry.get(target.device)?;
            if self.registry.online(entry) == Some(false) && !command.retain {
                let why = "the device is offline, as its availability topic says.";
                break 'refused ("online", refuse(why));
            }
            if let Some(left) = self.intervals.left(&target.id, &command.name, now.time) {
                let interval = rule.interval.map(duration).unwrap_or_default();
                let why = format!(
                    "the last one was sent less than {interval} ago; wait {}.",
                    duration(left)
                );
                break 'refused ("limits.interval", refuse(&why));
            }
            if let Err(why) = check_step(command, rule, &self.registry, entry, arguments, now) {
                break 'refused ("limits.step", refuse(&why));
            }
            for interlock in &rule.interlocks {
                if let Err(why) = interlock.check(&self.registry, entry, now) {
                    break 'refused ("interlocks", refuse(&why));
                }
            }
            return None;
        };
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.about.rule = decided;
        }
        Some(report)
    }
}
