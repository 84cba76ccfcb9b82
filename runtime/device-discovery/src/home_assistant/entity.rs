//! Entities: what one config, or one component of a device, declares.

use serde_json::{Map, Value};
use tidegate_device::{Availability, Command, Property, Text};

use super::abbreviations::expand;
use super::availability::availability;
use super::components::{self, Component};
use super::config::Config;
use super::identity::Identity;
use super::topic::Announced;
use crate::fault::Fault;
use crate::footprint;
use crate::names::slug;

/// Most faults that are reported of one announcement.
const REFUSED_MAX: usize = 16;

/// What one entity tells and can be told.
#[derive(Debug, Clone)]
pub(super) struct Entity {
    pub(super) component: Component,
    /// What it is called within its device.
    pub(super) name: String,
    /// What tells it from entities of the same name.
    pub(super) object: String,
    /// What people call it.
    pub(super) title: Option<Text>,
    /// It is about the device itself: a setting or a diagnosis.
    pub(super) is_secondary: bool,
    pub(super) availability: Option<Availability>,
    /// Properties with their names within the entity.
    pub(super) properties: Vec<Property>,
    /// Commands with their names within the entity.
    pub(super) commands: Vec<Command>,
}

impl Entity {
    fn read(component: Component, config: &Config<'_>, object: &str) -> Result<Self, Fault> {
        let draft = components::draft(component, config)?;
        let (mut properties, mut commands) = (draft.properties, draft.commands);
        // Tens of thousands of entities are kept.
        properties.shrink_to_fit();
        commands.shrink_to_fit();
        let title = config.shown("name");
        let class = config.shown("device_class");
        let name = [title.as_ref(), class.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| slug(text.as_str()))
            .find(|it| !it.is_empty());
        Ok(Self {
            component,
            name: name.unwrap_or_else(|| component.word().to_owned()),
            object: slug(object),
            title,
            is_secondary: config.has("entity_category"),
            availability: availability(config)?,
            properties,
            commands,
        })
    }

    pub(super) fn footprint(&self) -> usize {
        self.name.len()
            + self.object.len()
            + footprint::of_text(self.title.as_ref())
            + self
                .availability
                .as_ref()
                .map_or(0, footprint::of_availability)
            + self
                .properties
                .iter()
                .map(footprint::of_property)
                .sum::<usize>()
            + self
                .commands
                .iter()
                .map(footprint::of_command)
                .sum::<usize>()
    }
}

/// What one announcement declares.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    pub(super) identity: Identity,
    pub(super) entities: Vec<Entity>,
    pub(super) refused: Vec<Fault>,
}

impl Announcement {
    /// Reads a payload. At most `limit` components of a device are taken.
    pub(super) fn read(
        announced: Announced<'_>,
        payload: &[u8],
        limit: usize,
    ) -> Result<Self, Fault> {
        let members: Map<String, Value> =
            serde_json::from_slice(payload).map_err(|error| Fault::not_json(&error))?;
        if announced.component == "device" {
            Self::of_device(expand(members), limit)
        } else {
            Self::of_entity(announced, members)
        }
    }

    fn of_entity(announced: Announced<'_>, members: Map<String, Value>) -> Result<Self, Fault> {
        let component = component(announced.component)?;
        let config = Config::new(members, None)?;
        let object = match announced.node {
            Some(node) => format!("{node}_{}", announced.object),
            None => announced.object.to_owned(),
        };
        let declared = match config.get("device") {
            Some(block) => Identity::read(block)?,
            None => None,
        };
        let identity = if let Some(identity) = declared {
            identity
        } else {
            let id = config
                .optional_payload("unique_id")?
                .filter(|it| !it.is_empty());
            Identity::alone(id.unwrap_or_else(|| format!("{}_{object}", component.word())))
        };
        let entity = Entity::read(component, &config, announced.object)?;
        Ok(Self {
            identity,
            entities: vec![entity],
            refused: Vec::new(),
        })
    }

    fn of_device(mut members: Map<String, Value>, limit: usize) -> Result<Self, Fault> {
        let block = members
            .get("device")
            .ok_or(Fault::Missing { key: "device" })?;
        let identity = Identity::read(block)?;
        let identity = identity.ok_or(Fault::Missing { key: "identifiers" })?;
        let components = match members.remove("components") {
            Some(Value::Object(components)) => components,
            Some(_) => return Err(Fault::invalid("components", "must be an object")),
            None => return Err(Fault::Missing { key: "components" }),
        };
        if components.len() > limit {
            return Err(Fault::Full {
                what: "components of a device",
                limit,
            });
        }
        let (mut entities, mut refused) = (Vec::new(), Vec::new());
        for (id, config) in components {
            match of_component(&id, config, &members) {
                Ok(entity) => entities.extend(entity),
                Err(fault) if refused.len() < REFUSED_MAX => refused.push(Fault::Component {
                    component: Text::new(&id),
                    fault: Box::new(fault),
                }),
                Err(_) => {}
            }
        }
        Ok(Self {
            identity,
            entities,
            refused,
        })
    }
}

/// One component of a device; `None`: it is removed, because nothing but its type is left.
fn of_component(
    id: &str,
    config: Value,
    device: &Map<String, Value>,
) -> Result<Option<Entity>, Fault> {
    let Value::Object(members) = config else {
        return Err(Fault::invalid("components", "must be objects"));
    };
    if members.len() < 2 {
        return Ok(None);
    }
    let config = Config::new(members, Some(device))?;
    let platform = config.optional_payload("platform")?;
    let component = component(&platform.ok_or(Fault::Missing { key: "platform" })?)?;
    Entity::read(component, &config, id).map(Some)
}

fn component(word: &str) -> Result<Component, Fault> {
    Component::parse(word).ok_or_else(|| Fault::Unsupported {
        component: Text::new(word),
    })
}
