//! `$description`: the JSON document of a device.

use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_device::{
    Availability, AvailabilityMode, AvailabilityTopic, Command, Confirm, Device, Expected, Labels,
    Property, Source, Template, Text,
};

use super::datatype::Datatype;
use crate::fault::Fault;
use crate::limits::NAME_MAX;
use crate::schema::{Argument, of_command};

/// How long a command may take until the state confirms it.
const WITHIN: Duration = Duration::from_secs(10);
/// Most faults that are reported of one description.
const REFUSED_MAX: usize = 16;

/// A device, and the properties of it that are not taken.
pub(super) struct Described {
    pub(super) device: Device,
    pub(super) refused: Vec<Fault>,
}

/// Reads a description. At most `limit` properties are taken.
pub(super) fn read(
    domain: &str,
    id: &str,
    payload: &[u8],
    limit: usize,
) -> Result<Described, Fault> {
    let document: Map<String, Value> =
        serde_json::from_slice(payload).map_err(|error| Fault::not_json(&error))?;
    match document.get("homie") {
        Some(Value::String(version)) if version == "5" || version.starts_with("5.") => {}
        Some(_) => return Err(Fault::invalid("homie", "must be version 5")),
        None => return Err(Fault::Missing { key: "homie" }),
    }
    let base = format!("{domain}/5/{id}");
    let mut reader = Reader {
        base: &base,
        limit,
        described: Parts::default(),
    };
    let nodes = objects(&document, "nodes")?;
    for (node, value) in nodes.into_iter().flatten() {
        reader.node(node, value)?;
    }
    let Parts {
        mut properties,
        mut commands,
        refused,
    } = reader.described;
    // Tens of thousands of them are kept.
    properties.shrink_to_fit();
    commands.shrink_to_fit();
    let kind =
        text(&document, "type")?.map_or_else(|| "device".to_owned(), |it| it.as_str().to_owned());
    let device = Device {
        id: id.to_owned(),
        name: text(&document, "name")?.or_else(|| Some(Text::new(id))),
        description: None,
        kind,
        location: None,
        labels: labels(&document)?,
        source: Source::Homie,
        properties,
        availability: Some(availability(domain, id, &document)?),
        commands,
    };
    Ok(Described { device, refused })
}

/// Whether `text` is an id of a device, a node or a property: `a` to `z`, digits and hyphens.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_MAX
        && text
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

#[derive(Default)]
struct Parts {
    properties: Vec<Property>,
    commands: Vec<Command>,
    refused: Vec<Fault>,
}

/// Collects the properties of all nodes.
struct Reader<'a> {
    base: &'a str,
    limit: usize,
    described: Parts,
}

impl Reader<'_> {
    fn node(&mut self, node: &str, value: &Value) -> Result<(), Fault> {
        let properties = match value {
            Value::Object(members) if is_id(node) => objects(members, "properties"),
            _ => Err(Fault::invalid("nodes", "must be objects with valid ids")),
        };
        let properties = match properties {
            Ok(properties) => properties,
            Err(fault) => {
                self.refuse(node, fault);
                return Ok(());
            }
        };
        for (id, property) in properties.into_iter().flatten() {
            if self.described.properties.len() >= self.limit {
                return Err(Fault::Full {
                    what: "properties of a device",
                    limit: self.limit,
                });
            }
            if let Err(fault) = self.property(node, id, property) {
                self.refuse(&format!("{node}/{id}"), fault);
            }
        }
        Ok(())
    }

    /// An object with an illegal value is ignored, and the others are kept ("Forward compatibility").
    fn refuse(&mut self, what: &str, fault: Fault) {
        if self.described.refused.len() < REFUSED_MAX {
            self.described.refused.push(Fault::Component {
                component: Text::new(what),
                fault: Box::new(fault),
            });
        }
    }

    fn property(&mut self, node: &str, id: &str, value: &Value) -> Result<(), Fault> {
        let Value::Object(members) = value else {
            return Err(Fault::invalid("properties", "must be objects"));
        };
        if !is_id(id) {
            return Err(Fault::invalid("properties", "must have valid ids"));
        }
        let datatype = string(members, "datatype")?.ok_or(Fault::Missing { key: "datatype" })?;
        let datatype = Datatype::read(datatype, string(members, "format")?)?;
        let name = format!("{node}_{id}");
        let topic = format!("{}/{node}/{id}", self.base);
        let description = text(members, "name")?;
        let unit = text(members, "unit")?;
        let property = Property {
            name: name.clone(),
            description: description.clone(),
            topic: topic.clone(),
            format: datatype.format,
            value: datatype.value,
            unit,
            minimum: datatype.minimum,
            maximum: datatype.maximum,
            stale_after: None,
            request: None,
        };
        if flag(members, "settable", false)? {
            let target = format!("{name}_target");
            self.described.commands.push(Command {
                name: format!("{name}_set"),
                description: description.map(|it| Text::new(&format!("{it}: sets it."))),
                arguments: of_command(vec![Argument::required("value", datatype.schema)]),
                topic: format!("{topic}/set"),
                payload: datatype.payload,
                qos: if flag(members, "retained", true)? {
                    2
                } else {
                    0
                },
                retain: false,
                expiry: None,
                confirm: Some(Confirm {
                    property: name,
                    expected: Expected::Argument("value".to_owned()),
                    within: WITHIN,
                    accepted_by: Some(target.clone()),
                }),
            });
            let target = Property {
                name: target,
                topic: format!("{topic}/$target"),
                ..property.clone()
            };
            self.described.properties.push(property);
            self.described.properties.push(target);
        } else {
            flag(members, "retained", true)?;
            self.described.properties.push(property);
        }
        Ok(())
    }
}

/// A device is online while it is ready, and its root is not lost: the last will of a connection names the root alone.
fn availability(
    domain: &str,
    id: &str,
    document: &Map<String, Value>,
) -> Result<Availability, Fault> {
    let mut topics = vec![state_topic(domain, id, "value == 'ready'")?];
    if let Some(root) = string(document, "root")? {
        if !is_id(root) {
            return Err(Fault::invalid("root", "must be the id of a device"));
        }
        if root != id {
            topics.push(state_topic(domain, root, "value != 'lost'")?);
        }
    }
    Ok(Availability {
        mode: AvailabilityMode::All,
        topics,
    })
}

fn state_topic(domain: &str, id: &str, is_online: &str) -> Result<AvailabilityTopic, Fault> {
    let template = format!("{{{{ 'online' if {is_online} else 'offline' }}}}");
    Ok(AvailabilityTopic {
        topic: format!("{domain}/5/{id}/$state"),
        value: Some(
            Template::new(&template).map_err(|_| Fault::invalid("$state", "cannot be read"))?,
        ),
        online: "online".to_owned(),
        offline: "offline".to_owned(),
    })
}

/// The devices above it, and the version of the document.
fn labels(document: &Map<String, Value>) -> Result<Labels, Fault> {
    let labels = ["root", "parent"].into_iter().filter_map(|key| {
        let text = text(document, key).transpose()?;
        Some(text.map(|text| (key.into(), text)))
    });
    labels.collect()
}

fn objects<'a>(
    members: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<&'a Map<String, Value>>, Fault> {
    match members.get(key) {
        None => Ok(None),
        Some(Value::Object(objects)) => Ok(Some(objects)),
        Some(_) => Err(Fault::invalid(key, "must be an object")),
    }
}

fn string<'a>(
    members: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<&'a str>, Fault> {
    match members.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::invalid(key, "must be a text")),
    }
}

fn text(members: &Map<String, Value>, key: &'static str) -> Result<Option<Text>, Fault> {
    let text = string(members, key)?.map(Text::new);
    Ok(text.filter(|text| !text.as_str().is_empty()))
}

fn flag(members: &Map<String, Value>, key: &'static str, default: bool) -> Result<bool, Fault> {
    match members.get(key) {
        None => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Fault::invalid(key, "must be true or false")),
    }
}
