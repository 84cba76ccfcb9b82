//! The types of devices, lowered from the options: what all devices of a type share.
//!
//! A [`Model`] is a device of [`tidegate_device`] as a prototype, with the compiled rules of its
//! commands beside it. The topics of a type of the config contain the placeholders of location and
//! device, and are filled for a device when they are needed, so that ten thousand devices share one
//! model. A device that declares itself has a model of its own, with its topics.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytestring::ByteString;
use serde_json::{Map, Value, json};
use tidegate_device::{
    Availability, AvailabilityMode, AvailabilityTopic, Command, Confirm, Device, Expected, Format,
    Payload, Property, Request, Source, Template, Text,
};
use tidegate_engine::Duration;
use tidegate_options::Guarded;
use tidegate_streams::mqtt::topic::{TopicError, TopicFilter, check_name};
use tidegate_streams::{Identity, shown};

use crate::address::{self, Address};
use crate::declared::Declared;
use crate::options::{
    CommandOptions, FormatOption, InterlockOptions, LimitOptions, Options, PropertyOptions,
    TypeOptions,
};
use crate::schema::Schema;
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
    /// Who sees the devices.
    pub(crate) guarded: Option<Guarded>,
    /// The rules of the commands of `device`, in the same order.
    pub(crate) rules: Vec<Rule>,
}

/// The rules of a command.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) schema: Schema,
    pub(crate) interval: Option<Duration>,
    /// Largest change, by argument.
    pub(crate) step: BTreeMap<String, f64>,
    pub(crate) interlocks: Vec<Interlock>,
    pub(crate) guarded: Option<Guarded>,
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
        models.collect_filters(&mut faults);
        if !options.seen.is_empty() && !options.address.has_type() && options.types.len() > 1 {
            faults.push(
                "'seen' cannot tell the types apart: the address has no {type}; add it, or declare \
                 one type"
                    .to_owned(),
            );
        }
        faults.extend(device_faults(options));
        if let Some(declared) = &options.declared
            && let Err(fault) = Declared::new(declared, 0)
        {
            faults.push(fault);
        }
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

    fn collect_filters(&mut self, faults: &mut Vec<String>) {
        let mut filters = BTreeSet::new();
        let mut interlocks = BTreeSet::new();
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
fn check_level(level: &str) -> Result<(), String> {
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

/// Lowers one type.
struct Lowering<'a> {
    address: &'a Address,
    name: &'a str,
}

impl Lowering<'_> {
    fn model(&self, options: &TypeOptions) -> Result<Model, String> {
        check_level(self.name)?;
        let mut properties = Vec::new();
        for (name, property) in [(STATUS, &options.status), (READING, &options.reading)] {
            if let Some(property) = property {
                let lowered = self.property(name, property);
                properties.push(lowered.map_err(|why| format!("{name}: {why}"))?);
            }
        }
        let availability = match &options.online {
            None => None,
            Some(online) => Some(Availability {
                mode: AvailabilityMode::All,
                topics: vec![AvailabilityTopic {
                    topic: self
                        .topic(&online.action)
                        .map_err(|why| format!("online: {why}"))?,
                    value: None,
                    online: online.online.clone(),
                    offline: online.offline.clone(),
                }],
            }),
        };
        let (mut commands, mut rules) = (Vec::new(), Vec::new());
        for (name, command) in &options.commands {
            let fault = |why: String| format!("command '{}': {why}", shown(name));
            let lowered = self.command(name, command, &properties).map_err(fault)?;
            rules.push(rule(command, &lowered).map_err(fault)?);
            commands.push(lowered);
        }
        Ok(Model {
            device: Device {
                id: String::new(),
                name: None,
                description: options.description.as_deref().map(Text::new),
                kind: self.name.to_owned(),
                location: None,
                labels: BTreeMap::new(),
                source: Source::Config,
                properties,
                availability,
                commands,
            },
            guarded: options.guarded.clone(),
            rules,
        })
    }

    /// The topic of an action.
    fn topic(&self, action: &str) -> Result<String, String> {
        let checked = if self.address.has_rest() {
            check_name(action).map_err(|error| error.to_string())
        } else {
            check_level(action)
        };
        checked.map_err(|why| format!("invalid action '{}': {why}", shown(action)))?;
        Ok(self.address.topic(self.name, action))
    }

    fn property(&self, name: &str, options: &PropertyOptions) -> Result<Property, String> {
        let text = |text: &Option<String>, default: &str| {
            text.clone().unwrap_or_else(|| default.to_owned())
        };
        if options.format != FormatOption::Boolean
            && (options.on.is_some() || options.off.is_some())
        {
            return Err("'on' and 'off' need format: boolean".to_owned());
        }
        if let (Some(minimum), Some(maximum)) = (options.minimum, options.maximum)
            && minimum > maximum
        {
            return Err(format!("minimum {minimum} is above maximum {maximum}"));
        }
        Ok(Property {
            name: name.to_owned(),
            description: options.description.as_deref().map(Text::new),
            topic: self.topic(&options.action)?,
            format: match options.format {
                FormatOption::Json => Format::Json,
                FormatOption::Number => Format::Number,
                FormatOption::Text => Format::Text,
                FormatOption::Boolean => Format::Boolean {
                    on: text(&options.on, "on"),
                    off: text(&options.off, "off"),
                },
            },
            value: template(options.value.as_deref())?,
            unit: options.unit.as_deref().map(Text::new),
            minimum: options.minimum,
            maximum: options.maximum,
            stale_after: options
                .stale_after
                .map(|it| std::time::Duration::from_millis(it.get())),
            request: match &options.get {
                None => None,
                Some(get) => Some(Request {
                    topic: self.topic(&get.action)?,
                    payload: get.payload.clone(),
                }),
            },
        })
    }

    fn command(
        &self,
        name: &str,
        options: &CommandOptions,
        properties: &[Property],
    ) -> Result<Command, String> {
        check_name(name).map_err(|error| error.to_string())?;
        let topic = self.topic(options.action.as_deref().unwrap_or(name))?;
        if let Some(property) = properties.iter().find(|it| it.topic == topic) {
            return Err(format!(
                "it is published to the topic of '{}', so that the command itself would look like an \
                 answer; use another action",
                property.name
            ));
        }
        Ok(Command {
            name: name.to_owned(),
            description: options.description.as_deref().map(Text::new),
            arguments: arguments(options.arguments.as_ref())?,
            topic,
            payload: match template(options.payload.as_deref())? {
                Some(template) => Payload::Template(template),
                None => Payload::Arguments,
            },
            qos: options
                .qos
                .map_or(1, |qos| u8::try_from(qos.get()).unwrap_or(1)),
            retain: options.retain,
            expiry: options
                .expiry
                .map(|it| std::time::Duration::from_secs(it.get())),
            confirm: self.confirm(options, properties)?,
        })
    }

    fn confirm(
        &self,
        options: &CommandOptions,
        properties: &[Property],
    ) -> Result<Option<Confirm>, String> {
        let Some(confirm) = &options.confirm else {
            return Ok(None);
        };
        let property = match &confirm.action {
            None => properties.first(),
            Some(action) => {
                let topic = self.topic(action)?;
                properties.iter().find(|it| it.topic == topic)
            }
        };
        let property = property.ok_or(
            "'confirm' needs a state: declare 'status', or name the action of 'status' or 'reading'",
        )?;
        let declared = options.arguments.as_ref().and_then(declared);
        let is_declared = |name: &str| declared.is_some_and(|it| it.contains_key(name));
        let matched = confirm.r#match.clone().unwrap_or_default();
        let expected = match (matched.argument, matched.equals) {
            (Some(_), Some(_)) => {
                return Err("'match' has both 'argument' and 'equals'; use one".to_owned());
            }
            (Some(name), None) if !is_declared(&name) => {
                return Err(format!(
                    "'match' names the argument '{name}', which is not declared"
                ));
            }
            (Some(name), None) => Expected::Argument(name),
            (None, Some(value)) => Expected::Value(value),
            (None, None) if declared.is_none_or(Map::is_empty) => {
                return Err(
                    "'confirm' compares the state with the arguments, and there are none; add \
                     match: { equals: VALUE }"
                        .to_owned(),
                );
            }
            (None, None) => Expected::Arguments,
        };
        Ok(Some(Confirm {
            property: property.name.clone(),
            expected,
            within: std::time::Duration::from_millis(confirm.within.get()),
            accepted_by: None,
        }))
    }
}

fn template(source: Option<&str>) -> Result<Option<Template>, String> {
    let template = source.map(Template::new).transpose();
    template.map_err(|error| error.to_string())
}

/// The schema of the arguments, which is always one of objects.
fn arguments(schema: Option<&Value>) -> Result<Value, String> {
    match schema {
        None => Ok(json!({ "type": "object", "additionalProperties": false })),
        Some(Value::Object(members)) => {
            let mut members = members.clone();
            let kind = members.entry("type").or_insert_with(|| json!("object"));
            if kind != "object" {
                return Err("'arguments' must be a schema of type 'object'".to_owned());
            }
            Ok(Value::Object(members))
        }
        Some(_) => {
            Err("'arguments' must be a JSON Schema, such as { properties: { … } }".to_owned())
        }
    }
}

/// The arguments that a schema declares.
fn declared(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn rule(options: &CommandOptions, command: &Command) -> Result<Rule, String> {
    let LimitOptions { interval, step } = &options.limits;
    for (name, most) in step {
        if declared(&command.arguments).is_none_or(|it| !it.contains_key(name)) {
            return Err(format!(
                "limits.step names the argument '{name}', which is not declared"
            ));
        }
        if !(*most > 0.0 && most.is_finite()) {
            return Err(format!("limits.step of '{name}' must be above 0"));
        }
    }
    let interlocks = options.interlocks.iter().map(interlock);
    Ok(Rule {
        schema: Schema::new(&command.arguments)?,
        interval: interval.map(|it| Duration::from_millis(it.get())),
        step: step.clone(),
        interlocks: interlocks.collect::<Result<_, _>>()?,
        guarded: options.guarded.clone(),
    })
}

fn interlock(options: &InterlockOptions) -> Result<Interlock, String> {
    let fault = |why: String| format!("interlock on '{}': {why}", shown(&options.topic));
    let example = address::filled(&options.topic, "x", "x");
    check_name(&example).map_err(|error| fault(error.to_string()))?;
    if example.contains(['{', '}']) {
        return Err(fault(
            "the placeholders are {location} and {device}, as whole levels".to_owned(),
        ));
    }
    let bounded = options.minimum.is_some() || options.maximum.is_some();
    if options.equals.is_some() == bounded {
        return Err(fault(
            "it needs 'equals', or 'minimum' or 'maximum'".to_owned(),
        ));
    }
    Ok(Interlock {
        topic: options.topic.clone(),
        equals: options.equals.clone(),
        minimum: options.minimum,
        maximum: options.maximum,
        stale_after: options
            .stale_after
            .map(|it| Duration::from_millis(it.get())),
        reason: Text::new(&options.reason).as_str().to_owned(),
    })
}

fn permits(guarded: Option<&Guarded>, caller: Option<&Identity>) -> bool {
    guarded.is_none_or(|guarded| guarded.permits(caller))
}

impl Rule {
    /// The rule of a command of which only the arguments are checked.
    pub(crate) const fn of(schema: Schema) -> Self {
        Self {
            schema,
            interval: None,
            step: BTreeMap::new(),
            interlocks: Vec::new(),
            guarded: None,
        }
    }
}

impl Model {
    /// Whether a caller sees the devices.
    pub(crate) fn is_visible(&self, caller: Option<&Identity>) -> bool {
        permits(self.guarded.as_ref(), caller)
    }

    /// The commands that a caller may use, by index.
    pub(crate) fn commands<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> impl Iterator<Item = (usize, &'a Command, &'a Rule)> {
        let commands = self.device.commands.iter().zip(&self.rules).enumerate();
        let commands = commands.map(|(index, (command, rule))| (index, command, rule));
        commands.filter(move |(_, _, rule)| permits(rule.guarded.as_ref(), caller))
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
        self.guarded.is_some() || self.rules.iter().any(|rule| rule.guarded.is_some())
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
