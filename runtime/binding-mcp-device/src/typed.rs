//! `tools: typed`: a tool for each command of each type, such as `light_set`.
//!
//! A model sees the schema of a command then, and chooses among fewer devices. More than 40 tools confuse
//! it, so beyond that there is one tool for each type, and beyond that one for all. What is offered
//! depends on the config alone, not on the caller, so that a tool has one meaning.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_device::Command;
use tidegate_options::OptionWarning;
use tidegate_streams::Identity;

use crate::model::{Model, Models, Rule};
use crate::options::{Options, ToolsOption};
use crate::tools;

/// Most tools of a list.
const TOOLS_MAX: usize = 40;
/// The tools beside those for commands.
const OTHER_TOOLS: usize = 3;
/// Most values of an `enum` in a schema.
pub(crate) const ENUM_MAX: usize = 100;

/// What a result says, for the descriptions of tools.
pub(crate) const OUTCOMES: &str = "Outcomes: `confirmed` by the device's state; `contradicted`, which then says what the device says instead; `unconfirmed`: sent, but no state followed in time, so check with get_device_status before sending it again; `notSent`: nothing happened. A call repeated with the same `requestId` within a minute is not run twice.";

/// How commands are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// `light_set`
    Command,
    /// `light_control`, with the command as an argument.
    Type,
    /// `control_device`
    All,
}

fn grouping_of(types: usize, commands: usize) -> Grouping {
    if commands + OTHER_TOOLS <= TOOLS_MAX {
        Grouping::Command
    } else if types + OTHER_TOOLS <= TOOLS_MAX {
        Grouping::Type
    } else {
        Grouping::All
    }
}

/// How the commands of the types are offered.
pub(crate) fn grouping(models: &Models) -> Grouping {
    let commands = models.types.values().map(|it| it.device.commands.len());
    grouping_of(models.types.len(), commands.sum())
}

/// The name of the tool that sends a command.
pub(crate) fn tool_of(models: &Models, option: ToolsOption, kind: &str, command: &str) -> String {
    match (option, grouping(models)) {
        (ToolsOption::Generic, _) | (ToolsOption::Typed, Grouping::All) => {
            tools::CONTROL_DEVICE.to_owned()
        }
        (ToolsOption::Typed, Grouping::Type) => format!("{kind}_control"),
        (ToolsOption::Typed, Grouping::Command) => format!("{kind}_{command}"),
    }
}

/// Names of tools that clients would refuse, or that two commands share.
pub(crate) fn faults(models: &Models, option: ToolsOption) -> Vec<String> {
    /// Longest name of a tool that every client accepts.
    const LENGTH_MAX: usize = 64;
    let mut faults = Vec::new();
    if option == ToolsOption::Generic {
        return faults;
    }
    let mut used = BTreeMap::new();
    for (kind, model) in &models.types {
        for command in &model.device.commands {
            let tool = tool_of(models, option, kind, &command.name);
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            if !tool.bytes().all(plain) || tool.len() > LENGTH_MAX {
                faults.push(format!(
                    "'{}' is no name of a tool; use letters, digits, '_', '-' and '.', {LENGTH_MAX} at most, \
                     or tools: generic",
                    tidegate_streams::shown(&tool)
                ));
            }
            if tools::ALL.contains(&&*tool) && grouping(models) != Grouping::All {
                faults.push(format!(
                    "'{tool}' is the name of another tool; rename the command"
                ));
            }
            let other = used.insert(tool.clone(), kind);
            let joined = grouping(models) != Grouping::Command;
            if other.is_some_and(|other| !joined || other != kind) && tool != tools::CONTROL_DEVICE
            {
                faults.push(format!("two commands make a tool '{tool}'; rename one"));
            }
        }
    }
    faults
}

/// The warning about too many tools.
pub(crate) fn warning(options: &Options) -> Option<OptionWarning> {
    let commands: usize = options.types.values().map(|it| it.commands.len()).sum();
    let grouping = grouping_of(options.types.len(), commands);
    let (ToolsOption::Typed, Grouping::Type | Grouping::All) = (options.tools, grouping) else {
        return None;
    };
    let instead = if grouping == Grouping::Type {
        "one tool for each type is offered"
    } else {
        "the tool 'control_device' is offered"
    };
    Some(OptionWarning {
        key: "tools",
        message: format!(
            "{commands} typed tools would make more than {TOOLS_MAX} tools, so {instead}"
        ),
        help: "declare fewer commands, or use tools: generic".to_owned(),
    })
}

/// What a typed tool does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypedTool<'a> {
    pub(crate) model: &'a Model,
    /// The command; an argument names it if there is one tool for the type.
    pub(crate) command: Option<&'a Command>,
}

/// The typed tool with a name, if the caller may use it.
pub(crate) fn find<'a>(
    models: &'a Models,
    caller: Option<&'a Identity>,
    name: &str,
) -> Option<TypedTool<'a>> {
    let visible = |kind: &str| models.types.get(kind).filter(|it| it.is_visible(caller));
    match grouping(models) {
        Grouping::Command => name.match_indices('_').find_map(|(at, _)| {
            let (kind, command) = (name.get(..at)?, name.get(at + 1..)?);
            let model = visible(kind)?;
            let (_, command, _) = model.command(caller, command)?;
            Some(TypedTool {
                model,
                command: Some(command),
            })
        }),
        Grouping::Type => {
            let model = visible(name.strip_suffix("_control")?)?;
            model.commands(caller).next()?;
            Some(TypedTool {
                model,
                command: None,
            })
        }
        Grouping::All => None,
    }
}

/// The tools for commands that a caller may use.
pub(crate) fn list(
    models: &Models,
    caller: Option<&Identity>,
    ids: &dyn Fn(&Model) -> Vec<String>,
) -> Vec<Value> {
    let visible = models.types.iter().filter(|(_, it)| it.is_visible(caller));
    let grouping = grouping(models);
    let mut list = Vec::new();
    if grouping == Grouping::All {
        list.extend(tools::control_device(models, false, caller));
        return list;
    }
    for (kind, model) in visible {
        let commands = model
            .commands(caller)
            .map(|(_, command, rule)| (command, rule));
        let commands: Vec<(&Command, &Rule)> = commands.collect();
        if commands.is_empty() {
            continue;
        }
        let device = device_property(kind, &ids(model));
        if grouping == Grouping::Type {
            list.push(of_type(kind, model, &commands, &device));
            continue;
        }
        for (command, rule) in commands {
            list.push(of_command(kind, model, (command, rule), &device));
        }
    }
    list
}

fn device_property(kind: &str, ids: &[String]) -> Value {
    let description = format!("Id of a device of the type '{kind}'");
    let few = !ids.is_empty() && ids.len() <= ENUM_MAX;
    let property = json!({ "type": "string", "description": description });
    tools::with(property, "enum", few.then(|| json!(ids)))
}

fn of_command(
    kind: &str,
    model: &Model,
    (command, rule): (&Command, &Rule),
    device: &Value,
) -> Value {
    let what = command
        .description
        .as_ref()
        .or(model.device.description.as_ref());
    let what = what.map_or(String::new(), |it| format!("{it}. "));
    let description = format!(
        "{what}Sends '{}' to a device of the type '{kind}'. {}{OUTCOMES}",
        command.name,
        if rule.approval {
            "A person is asked to approve each call; without approval the outcome is `notSent`. "
        } else {
            ""
        }
    );
    let properties = json!({ "device": device, "arguments": &*command.arguments });
    let needs = command.arguments.get("required").and_then(Value::as_array);
    let needs = needs.is_some_and(|it| !it.is_empty());
    let required: &[&str] = if needs {
        &["device", "arguments"]
    } else {
        &["device"]
    };
    let name = format!("{kind}_{}", command.name);
    tool(
        &name,
        &name.replace('_', " "),
        &description,
        properties,
        required,
    )
}

fn of_type(kind: &str, model: &Model, commands: &[(&Command, &Rule)], device: &Value) -> Value {
    let names: Vec<&str> = commands.iter().map(|(it, _)| &*it.name).collect();
    let described = commands.iter().map(|(it, rule)| described(model, it, rule));
    let described: String = described.collect();
    let description = format!(
        "Send a command to a device of the type '{kind}'. {OUTCOMES}\nCommands:{described}"
    );
    let properties = json!({
        "device": device,
        "command": { "type": "string", "enum": names },
        "arguments": { "type": "object", "description": "Arguments of the command", "default": {} },
    });
    let name = format!("{kind}_control");
    tool(
        &name,
        &format!("Control a {kind}"),
        &description,
        properties,
        &["device", "command"],
    )
}

/// A tool that sends commands: with `timeout` and `requestId`.
pub(crate) fn tool(
    name: &str,
    title: &str,
    description: &str,
    properties: Value,
    required: &[&str],
) -> Value {
    let timeout = json!({
        "type": "integer", "minimum": 1, "description": "How long to wait for the device's state, in milliseconds",
    });
    let request = json!({
        "type": "string", "maxLength": 128, "description": "Your own id of this call: repeating the call with it within a minute does not run it twice",
    });
    let properties = tools::with(properties, "timeout", Some(timeout));
    let properties = tools::with(properties, "requestId", Some(request));
    let value = json!({ "type": "object", "description": "The device's state" });
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "outcome": { "type": "string", "enum": ["confirmed", "contradicted", "unconfirmed", "notSent"] },
                "device": { "type": "string" },
                "command": { "type": "string" },
                "message": { "type": "string" },
                "before": value,
                "after": value,
                "accepted": { "type": "boolean", "description": "The device says that it accepted the command, and is on the way" },
                "durationMs": { "type": "integer" },
            },
            "required": ["outcome", "device", "command", "message"],
        },
        "annotations": { "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": true },
    })
}

/// A command on one line of a description: name, arguments, whether a person approves it, and what it does.
pub(crate) fn described(model: &Model, command: &Command, rule: &Rule) -> String {
    let arguments = match command.arguments.get("properties") {
        Some(properties) => properties.to_string(),
        None => "{}".to_owned(),
    };
    let what = command.description.as_ref();
    let what = what.map_or(String::new(), |it| format!(": {it}"));
    let approval = if rule.approval {
        " (a person is asked to approve it)"
    } else {
        ""
    };
    format!(
        "\n{}.{} {arguments}{approval}{what}",
        model.device.kind, command.name
    )
}
