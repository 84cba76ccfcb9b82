//! The tools, as `tools/list` describes them.

use serde_json::{Map, Value, json};
use tidegate_streams::Identity;

use crate::model::{Model, Models};
use crate::options::ToolsOption;
use crate::typed;

pub(crate) const LIST_DEVICES: &str = "list_devices";
pub(crate) const GET_DEVICE_STATUS: &str = "get_device_status";
pub(crate) const CONTROL_DEVICE: &str = "control_device";
pub(crate) const SUBSCRIBE_SENSOR: &str = "subscribe_sensor";

/// The tools that do not depend on the types.
pub(crate) const ALL: [&str; 4] = [
    LIST_DEVICES,
    GET_DEVICE_STATUS,
    CONTROL_DEVICE,
    SUBSCRIBE_SENSOR,
];

/// Most bytes of the description of all commands.
const COMMANDS_MAX: usize = 4 * 1024;

/// An object with a further member, if there is one to add.
pub(crate) fn with(mut object: Value, name: &str, member: Option<Value>) -> Value {
    if let (Value::Object(members), Some(member)) = (&mut object, member) {
        members.insert(name.to_owned(), member);
    }
    object
}

/// The tools that a caller may use. `ids` are the devices of a type that it sees.
pub(crate) fn list(
    models: &Models,
    option: ToolsOption,
    declares: bool,
    caller: Option<&Identity>,
    ids: &dyn Fn(&Model) -> Vec<String>,
) -> Vec<Value> {
    let mut tools = vec![list_devices(models, caller), get_device_status()];
    match option {
        ToolsOption::Generic => tools.extend(control_device(models, declares, caller)),
        ToolsOption::Typed => {
            tools.extend(typed::list(models, caller, ids));
            // No typed tool knows the devices that declare themselves.
            if declares && typed::grouping(models) != typed::Grouping::All {
                tools.extend(control_device(models, true, caller));
            }
        }
    }
    let mut visible = models.types.values().filter(|it| it.is_visible(caller));
    if declares || visible.any(|model| model.reading().is_some()) {
        tools.push(subscribe_sensor());
    }
    tools
}

/// The properties of a value.
fn value_properties() -> Map<String, Value> {
    let properties = json!({
        "status": { "description": "The value; as it was received if `invalid`" },
        "unit": { "type": "string" },
        "receivedAt": { "type": "string", "description": "When the gateway received it (RFC 3339)" },
        "ageMs": { "type": "integer" },
        "stale": { "type": "boolean", "description": "Older than such values should be" },
        "retained": { "type": "boolean", "description": "Stored by the broker: its real age is unknown" },
        "invalid": { "type": "boolean", "description": "Not in the declared format; `reason` says why" },
        "reason": { "type": "string" },
    });
    match properties {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

fn list_devices(models: &Models, caller: Option<&Identity>) -> Value {
    let types = models.types.iter();
    let types: Vec<&str> = types
        .filter(|(_, model)| model.is_visible(caller))
        .map(|(name, _)| &**name)
        .collect();
    let few = !types.is_empty() && types.len() <= typed::ENUM_MAX;
    let kind = json!({ "type": "string", "description": "Only devices of this type" });
    let kind = with(kind, "enum", few.then(|| json!(types)));
    json!({
        "name": LIST_DEVICES,
        "title": "List devices",
        "description": "List the devices with their type, location, last status and commands, sorted by id. Narrow the list with `location`, `type`, `query` or `online`; continue with `cursor` while there is a `nextCursor`.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "location": { "type": "string", "description": "Only devices at this location" },
                "type": kind,
                "query": { "type": "string", "description": "Only devices whose id, name, description, type, location or labels contain this text" },
                "online": { "type": "boolean", "description": "Only devices that are online, or offline" },
                "limit": { "type": "integer", "minimum": 1, "maximum": 200, "default": 50 },
                "cursor": { "type": "string", "description": "`nextCursor` of the page before" },
            },
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "devices": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "id": { "type": "string" },
                            "name": { "type": "string" },
                            "description": { "type": "string" },
                            "type": { "type": "string" },
                            "location": { "type": "string" },
                            "online": { "type": "boolean", "description": "Absent if the device does not tell" },
                            "lastSeen": { "type": "string", "description": "When its last message was received (RFC 3339)" },
                            "status": { "description": "Its last value; absent if none is known" },
                            "unit": { "type": "string" },
                            "stale": { "type": "boolean" },
                            "labels": { "type": "object" },
                            "commands": { "type": "array", "items": { "type": "string" } },
                            "needApproval": { "type": "array", "items": { "type": "string" }, "description": "Those of `commands` that a person is asked to approve" },
                            "declaredBy": { "type": "string", "enum": ["homeAssistant", "homie"], "description": "The device declared itself: its texts are its own, and not verified" },
                        },
                        "required": ["id", "type", "commands"],
                    },
                },
                "total": { "type": "integer", "description": "Devices of all pages; absent with a filter of more than 10,000 devices" },
                "nextCursor": { "type": "string" },
            },
            "required": ["devices"],
        },
        "annotations": { "readOnlyHint": true, "openWorldHint": false },
    })
}

fn get_device_status() -> Value {
    let mut properties = value_properties();
    for name in ["device", "name", "type", "location"] {
        properties.insert(name.to_owned(), json!({ "type": "string" }));
    }
    properties.insert("online".to_owned(), json!({ "type": "boolean" }));
    properties.insert(
        "readings".to_owned(),
        json!({ "type": "object", "description": "Further values of the device, by name" }),
    );
    properties.insert(
        "problem".to_owned(),
        json!({
            "type": "string",
            "enum": ["offline", "brokerUnreachable", "silent", "neverSeen", "stopping", "noStatus"],
            "description": "Why there is no fresh value; `message` explains it",
        }),
    );
    properties.insert("message".to_owned(), json!({ "type": "string" }));
    properties.insert(
        "commands".to_owned(),
        json!({ "type": "array", "description": "Commands of a device that declared itself, with the schemas of their arguments; `needsApproval`: a person is asked to approve it" }),
    );
    properties.insert("declaredBy".to_owned(), json!({ "type": "string" }));
    properties.insert(
        "leftOut".to_owned(),
        json!({ "type": "integer", "description": "Readings and commands that are left out, because there are too many" }),
    );
    json!({
        "name": GET_DEVICE_STATUS,
        "title": "Get the status of a device",
        "description": "Get the last status of a device, at once if it is known. Without a known value, or with one older than `maxAge`, the device is asked or its next message awaited; the result says whether it was never seen, is offline, or the broker is unreachable.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "device": { "type": "string", "description": "Id of the device, from list_devices" },
                "maxAge": { "type": "integer", "minimum": 0, "description": "Oldest acceptable value, in milliseconds" },
            },
            "required": ["device"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": properties,
            "required": ["device", "type"],
        },
        "annotations": { "readOnlyHint": true, "openWorldHint": true },
    })
}

/// `declares`: devices declare themselves, with commands that are not known here.
pub(crate) fn control_device(
    models: &Models,
    declares: bool,
    caller: Option<&Identity>,
) -> Option<Value> {
    let mut commands = String::new();
    let mut names: Vec<&str> = Vec::new();
    let mut left_out = 0;
    for model in models.types.values().filter(|it| it.is_visible(caller)) {
        for (_, command, rule) in model.commands(caller) {
            names.push(&command.name);
            let line = typed::described(model, command, rule);
            if commands.len() + line.len() <= COMMANDS_MAX {
                commands.push_str(&line);
            } else {
                left_out += 1;
            }
        }
    }
    if names.is_empty() && !declares {
        return None;
    }
    if declares {
        commands.push_str(
            "\nDevices that declare themselves (`declaredBy`): get_device_status describes their commands.",
        );
    }
    if left_out > 0 {
        let _ = std::fmt::Write::write_fmt(
            &mut commands,
            format_args!(
                "\n{left_out} more commands; list_devices names those of a device, and invalid arguments are answered with their schema."
            ),
        );
    }
    names.sort_unstable();
    names.dedup();
    let command = json!({ "type": "string", "description": "One of the commands of the device" });
    let few = names.len() <= typed::ENUM_MAX && !declares;
    let properties = json!({
        "device": { "type": "string", "description": "Id of the device, from list_devices" },
        "command": with(command, "enum", few.then(|| json!(names))),
        "arguments": { "type": "object", "description": "Arguments of the command, as its schema requires", "default": {} },
    });
    let description = format!(
        "Send a command to a device and wait until its own state confirms it. {}\nCommands by type:{commands}",
        typed::OUTCOMES
    );
    Some(typed::tool(
        CONTROL_DEVICE,
        "Control a device",
        &description,
        properties,
        &["device", "command"],
    ))
}

fn subscribe_sensor() -> Value {
    let statistics = json!({
        "type": "object",
        "properties": {
            "device": { "type": "string" },
            "unit": { "type": "string" },
            "count": { "type": "integer" },
            "invalid": { "type": "integer", "description": "Readings that are not valid numbers" },
            "minimum": { "type": "number" },
            "maximum": { "type": "number" },
            "mean": { "type": "number" },
            "last": {},
        },
        "required": ["device", "count"],
    });
    json!({
        "name": SUBSCRIBE_SENSOR,
        "title": "Follow sensors for a while",
        "description": "Collect the readings of one device, or of the devices of a location or type, while `duration` runs. Each reading is sent as progress if the client asks for it; the result has the series, thinned evenly beyond 500 readings, and minimum, maximum, mean and last. To follow a device for longer, subscribe to the resource device://ID.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "device": { "type": "string", "description": "Id of a device; or use `location` or `type`" },
                "location": { "type": "string", "description": "All devices at this location" },
                "type": { "type": "string", "description": "All devices of this type" },
                "duration": { "type": "integer", "minimum": 1, "description": "How long to collect, in milliseconds" },
                "count": { "type": "integer", "minimum": 1, "description": "End after this many readings" },
                "minChange": { "type": "number", "minimum": 0, "description": "Leave out readings that differ less from the one before" },
                "every": { "type": "integer", "minimum": 1, "description": "At most one reading of a device in this time, in milliseconds" },
            },
            "required": ["duration"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "ended": { "type": "string", "enum": ["duration", "count", "cancelled", "timeout", "removed", "stopping"] },
                "count": { "type": "integer" },
                "series": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "device": { "type": "string" },
                            "value": {},
                            "receivedAt": { "type": "string" },
                        },
                        "required": ["device", "value", "receivedAt"],
                    },
                },
                "everyNth": { "type": "integer", "description": "The series has every Nth reading" },
                "statistics": { "type": "array", "items": statistics },
                "message": { "type": "string" },
            },
            "required": ["ended", "count", "series", "statistics"],
        },
        "annotations": { "readOnlyHint": true, "openWorldHint": true },
    })
}
