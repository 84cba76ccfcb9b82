//! The types of devices, lowered from the options: what all devices of a type share.
//!
//! A [`Model`] is a device of [`tidegate_device`] as a prototype, with the compiled rules of its
//! commands beside it. The topics of a type of the config contain the placeholders of location and
//! device, and are filled for a device when they are needed, so that ten thousand devices share one
//! model. A device that declares itself has a model of its own, with its topics.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytestring::ByteString;
use serde_json::Value;
use tidegate_device::{Command, Device, Property};
use tidegate_engine::Duration;
use tidegate_options::Guarded;
use tidegate_streams::mqtt::topic::{TopicError, TopicFilter, check_name};
use tidegate_streams::{Identity, shown};

use crate::address::{self, Address};
use crate::declared::Declared;
use crate::lowering::Lowering;
use crate::options::Options;
use crate::schema::{Schema, Violation};
use crate::typed;

/// Name of the property of `status`.
pub(crate) const STATUS: &str = "status";
/// Name of the property of `reading`.
pub(crate) const READING: &str = "reading";

/// All types of the config.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) address: Address,
    /// By the name of the type.
    pub(crate) types: BTreeMap<String, Rc<Model>>,
    /// The topic filters of interlocks.
    pub(crate) interlocks: Vec<TopicFilter>,
    /// The topic filters of everything that is cached, those of interlocks included.
    pub(crate) filters: Vec<ByteString>,
}

/// What the devices of a type share.
#[derive(Debug)]
pub(crate) struct Model {
    /// Its id is empty, unless the model belongs to one device.
    pub(crate) device: Device,
    /// Who sees the devices. Shared by devices that declared themselves.
    pub(crate) guarded: Option<Rc<Guarded>>,
    /// The rules of the commands of `device`, in the same order.
    ///
    /// Shared: nearly all commands of devices that declare themselves have the same rule, of their arguments.
    pub(crate) rules: Vec<Rc<Rule>>,
    /// Number of the devices of the registry that have this model.
    pub(crate) devices: Cell<usize>,
}

/// The rules of a command.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `None`: it is compiled when a command comes. Ten thousand devices that declare themselves have a schema each.
    pub(crate) schema: Option<Box<Schema>>,
    pub(crate) interval: Option<Duration>,
    /// Largest change, by argument.
    pub(crate) step: BTreeMap<String, f64>,
    pub(crate) interlocks: Vec<Rc<Interlock>>,
    /// Who may use the command: whoever all of them permit.
    pub(crate) guarded: Vec<Rc<Guarded>>,
    /// Whether a person has to approve each command.
    pub(crate) approval: bool,
}

/// A condition on the last value of another topic.
#[derive(Debug)]
pub(crate) struct Interlock {
    pub(crate) topic: String,
    pub(crate) equals: Option<Value>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) stale_after: Option<Duration>,
    pub(crate) reason: String,
}

impl Models {
    /// Lowers the options. What is wrong is left out, and listed in sentences that say where it is.
    pub(crate) fn new(options: &Options) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let mut models = Self {
            address: options.address.clone(),
            types: BTreeMap::new(),
            interlocks: Vec::new(),
            filters: Vec::new(),
        };
        for (name, kind) in &options.types {
            let lowering = Lowering {
                address: &options.address,
                name,
            };
            match lowering.model(kind) {
                Ok(model) => {
                    models.types.insert(name.clone(), Rc::new(model));
                }
                Err(fault) => faults.push(format!("type '{}': {fault}", shown(name))),
            }
        }
        let declared = match options.declared.as_ref().map(|it| Declared::new(it, 0)) {
            None => None,
            Some(Ok(declared)) => Some(declared),
            Some(Err(fault)) => {
                faults.push(fault);
                None
            }
        };
        let of_declared = declared.iter().flat_map(|it| it.rules.filters());
        models.collect_filters(of_declared.collect(), &mut faults);
        if !options.seen.is_empty() && !options.address.has_type() && options.types.len() > 1 {
            faults.push(
                "'seen' cannot tell the types apart: the address has no {type}; add it, or declare \
                 one type"
                    .to_owned(),
            );
        }
        faults.extend(device_faults(options));
        faults.extend(typed::faults(&models, options.tools));
        if let Some(pattern) = options.seen.iter().find(|it| it.filter().is_none()) {
            faults.push(format!(
                "seen: '{}' depends on the caller; devices are the same for all callers",
                shown(pattern.text())
            ));
        }
        (models, faults)
    }

    /// The type of a topic.
    pub(crate) fn of_topic(&self, parts: &address::Parts<'_>) -> Option<&Rc<Model>> {
        match parts.kind {
            Some(kind) => self.types.get(kind),
            None => self.types.values().next(),
        }
    }

    /// `interlocks` are the filters of rules that do not belong to a type.
    fn collect_filters(&mut self, mut interlocks: BTreeSet<String>, faults: &mut Vec<String>) {
        let mut filters = BTreeSet::new();
        for model in self.types.values() {
            let topics = model.device.properties.iter().map(|it| &it.topic);
            let availability = model.device.availability.iter();
            let availability = availability.flat_map(|it| it.topics.iter().map(|it| &it.topic));
            filters.extend(topics.chain(availability).map(|it| address::filter(it)));
            let rules = model.rules.iter().flat_map(|rule| &rule.interlocks);
            interlocks.extend(rules.map(|it| address::filter(&it.topic)));
        }
        let mut parse = |text: &str| match TopicFilter::parse(text) {
            Ok(filter) if !filter.is_shared() => Some(filter),
            Ok(_) => {
                faults.push(format!("'{}' is a shared subscription", shown(text)));
                None
            }
            Err(error) => {
                faults.push(format!("invalid topic '{}': {error}", shown(text)));
                None
            }
        };
        self.interlocks = interlocks.iter().filter_map(|text| parse(text)).collect();
        filters.extend(interlocks);
        let filters = filters.iter().filter_map(|text| parse(text));
        self.filters = filters.map(|filter| filter.text()).collect();
    }
}

fn device_faults(options: &Options) -> Vec<String> {
    let mut faults = Vec::new();
    for (id, device) in &options.devices {
        let mut fault = |why: String| faults.push(format!("device '{}': {why}", shown(id)));
        if let Err(why) = check_id(id) {
            fault(why);
        }
        if !options.types.contains_key(&device.r#type) {
            let types: Vec<&str> = options.types.keys().map(String::as_str).collect();
            fault(format!(
                "unknown type '{}'; types: {}",
                shown(&device.r#type),
                types.join(", ")
            ));
        }
        match (&device.location, options.address.has_location()) {
            (None, true) => fault("it has no location; add it, the address needs it".to_owned()),
            (Some(location), _) => {
                if let Err(why) = check_level(location) {
                    fault(format!("invalid location '{}': {why}", shown(location)));
                }
            }
            (None, false) => {}
        }
    }
    faults
}

/// Checks the id of a device: one level of a topic that can be shown. The error is a phrase.
pub(crate) fn check_id(id: &str) -> Result<(), String> {
    const LENGTH_MAX: usize = 128;
    if id.len() > LENGTH_MAX {
        return Err(format!("an id has at most {LENGTH_MAX} bytes"));
    }
    check_level(id)?;
    if id.chars().any(tidegate_streams::is_deceptive) {
        return Err("it contains a character that cannot be shown".to_owned());
    }
    Ok(())
}

/// Checks that a text is one level of a topic. The error is a phrase.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    if level.contains('/') {
        return Err("it contains '/', which separates the levels of a topic".to_owned());
    }
    if level.contains(['{', '}']) {
        return Err("it contains a brace, which marks a placeholder".to_owned());
    }
    check_name(level).map_err(|error| match error {
        TopicError::WildcardInName(wildcard) => {
            format!("it contains '{wildcard}', which is a wildcard of topic filters")
        }
        TopicError::Character(_) => "it contains a control character".to_owned(),
        error => error.to_string(),
    })
}

impl Rule {
    /// The rule of a command of which only the arguments are checked, against the schema of the command.
    pub(crate) const fn of_arguments() -> Self {
        Self {
            schema: None,
            interval: None,
            step: BTreeMap::new(),
            interlocks: Vec::new(),
            guarded: Vec::new(),
            approval: false,
        }
    }

    /// What is wrong with the arguments of a command.
    pub(crate) fn violations(&self, command: &Command, arguments: &Value) -> Vec<Violation> {
        match &self.schema {
            Some(schema) => schema.violations(arguments),
            // It was compiled when the device was declared.
            None => match Schema::new(&command.arguments) {
                Ok(schema) => schema.violations(arguments),
                Err(why) => vec![Violation::of_schema(why)],
            },
        }
    }

    fn permits(&self, caller: Option<&Identity>) -> bool {
        self.guarded.iter().all(|guarded| guarded.permits(caller))
    }
}

impl Model {
    /// Whether a caller sees the devices.
    pub(crate) fn is_visible(&self, caller: Option<&Identity>) -> bool {
        let guarded = self.guarded.as_ref();
        guarded.is_none_or(|guarded| guarded.permits(caller))
    }

    /// The commands that a caller may use, by index.
    pub(crate) fn commands<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> impl Iterator<Item = (usize, &'a Command, &'a Rule)> {
        let commands = self.device.commands.iter().zip(&self.rules).enumerate();
        let commands = commands.map(|(index, (command, rule))| (index, command, &**rule));
        commands.filter(move |(_, _, rule)| rule.permits(caller))
    }

    /// A command that a caller may use.
    pub(crate) fn command<'a>(
        &'a self,
        caller: Option<&'a Identity>,
        name: &str,
    ) -> Option<(usize, &'a Command, &'a Rule)> {
        self.commands(caller)
            .find(|(_, command, _)| command.name == name)
    }

    /// Whether a caller may use any command.
    pub(crate) fn may_be_commanded(&self, caller: Option<&Identity>) -> bool {
        self.commands(caller).next().is_some()
    }

    /// Whether anything depends on who the caller is.
    pub(crate) fn depends_on_caller(&self) -> bool {
        self.guarded.is_some() || self.rules.iter().any(|rule| !rule.guarded.is_empty())
    }

    /// A property by name, with its index.
    pub(crate) fn property(&self, name: &str) -> Option<(usize, &Property)> {
        let mut properties = self.device.properties.iter().enumerate();
        properties.find(|(_, property)| property.name == name)
    }

    /// The property that `subscribe_sensor` follows: the reading, or else the status.
    pub(crate) fn reading(&self) -> Option<(usize, &Property)> {
        let status = || self.device.properties.first().map(|it| (0, it));
        self.property(READING).or_else(status)
    }
}

#[cfg(test)]
mod tests;
