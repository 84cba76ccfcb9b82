//! Entities of one device become the device.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_device::{Device, Source, Text};

use super::entity::Entity;
use super::identity::Identity;
use crate::names::slug;

/// The device of these entities.
///
/// Its first property is that of its most important entity. The names of an entity's properties and commands begin with
/// the name of the entity; entities of the same name have the name of their object too. Availability is declared for each
/// entity and is the same for all of them in practice; that of the first one which declares it counts.
pub(super) fn assemble(id: String, identity: Identity, mut entities: Vec<&Entity>) -> Device {
    entities.sort_by(|one, other| {
        let order = |it: &Entity| (it.is_secondary, it.component);
        order(one)
            .cmp(&order(other))
            .then_with(|| one.name.cmp(&other.name))
            .then_with(|| one.object.cmp(&other.object))
    });
    let bases = bases(identity.name.as_ref(), &entities);
    let mut names = Names::default();
    let (mut properties, mut commands) = (Vec::new(), Vec::new());
    for (entity, base) in entities.iter().zip(bases) {
        let prefix = &names.claim(base, entity);
        for property in &entity.properties {
            let mut property = property.clone();
            property.name = joined(prefix, &property.name);
            property.description.clone_from(&entity.title);
            properties.push(property);
        }
        for command in &entity.commands {
            let mut command = command.clone();
            command.name = joined(prefix, &command.name);
            if let (Some(title), Some(does)) = (&entity.title, &command.description) {
                command.description = Some(Text::new(&format!("{title}: {does}")));
            }
            if let Some(confirm) = &mut command.confirm {
                confirm.property = joined(prefix, &confirm.property);
            }
            commands.push(command);
        }
    }
    properties.shrink_to_fit();
    commands.shrink_to_fit();
    let first = entities.first();
    Device {
        id,
        name: identity
            .name
            .clone()
            .or_else(|| first.and_then(|it| it.title.clone())),
        description: description(&identity),
        kind: first.map_or("device", |it| it.component.word()).to_owned(),
        location: identity.location,
        labels: identity
            .labels
            .into_iter()
            .map(|(name, text)| (name.into(), text))
            .collect(),
        source: Source::HomeAssistant,
        properties,
        availability: entities.iter().find_map(|it| it.availability.clone()),
        commands,
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if name.is_empty() {
        prefix.to_owned()
    } else {
        format!("{prefix}_{name}")
    }
}

/// Manufacturer and model.
fn description(identity: &Identity) -> Option<Text> {
    let parts: Vec<&str> = ["manufacturer", "model"]
        .iter()
        .filter_map(|name| identity.labels.get(name).map(Text::as_str))
        .collect();
    (!parts.is_empty()).then(|| Text::new(&parts.join(" ")))
}

/// What the names of each entity begin with: its name, and that of its object if others have the same name.
fn bases(device: Option<&Text>, entities: &[&Entity]) -> Vec<String> {
    let device = device
        .map(|name| slug(name.as_str()))
        .filter(|it| !it.is_empty());
    let short: Vec<&str> = entities
        .iter()
        .map(|entity| match &device {
            Some(device) => without(&entity.name, device),
            None => entity.name.as_str(),
        })
        .collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &short {
        *uses.entry(name).or_default() += 1;
    }
    let with_object = |(entity, name): (&&Entity, &&str)| {
        let is_enough = uses.get(name) == Some(&1) || entity.object.is_empty();
        if is_enough || entity.object == **name {
            (*name).to_owned()
        } else {
            format!("{name}_{}", entity.object)
        }
    };
    entities.iter().zip(&short).map(with_object).collect()
}

/// A name without that of its device in front: many devices repeat it in the name of each entity.
fn without<'a>(name: &'a str, device: &str) -> &'a str {
    name.strip_prefix(device)
        .and_then(|rest| rest.strip_prefix('_'))
        .unwrap_or(name)
}

/// Names that properties and commands of a device have.
#[derive(Default)]
struct Names {
    properties: BTreeSet<String>,
    commands: BTreeSet<String>,
    /// How many entities have begun their names with each base.
    uses: BTreeMap<String, usize>,
}

impl Names {
    /// Takes a prefix for the names of `entity`: `base`, or `base_2` and so on.
    fn claim(&mut self, base: String, entity: &Entity) -> String {
        let mut count = self.uses.get(&base).copied().unwrap_or(0);
        let prefix = loop {
            count += 1;
            let prefix = match count {
                1 => base.clone(),
                count => format!("{base}_{count}"),
            };
            if self.is_free(&prefix, entity) {
                break prefix;
            }
        };
        self.uses.insert(base, count);
        let named = |name: &String| joined(&prefix, name);
        self.properties
            .extend(entity.properties.iter().map(|it| named(&it.name)));
        self.commands
            .extend(entity.commands.iter().map(|it| named(&it.name)));
        prefix
    }

    fn is_free(&self, prefix: &str, entity: &Entity) -> bool {
        let is_free = |names: &BTreeSet<String>, name: &str| !names.contains(&joined(prefix, name));
        entity
            .properties
            .iter()
            .all(|it| is_free(&self.properties, &it.name))
            && entity
                .commands
                .iter()
                .all(|it| is_free(&self.commands, &it.name))
    }
}
