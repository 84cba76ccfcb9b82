//! Lowers a type of the config to its model, and says what is wrong with it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_device::{
    Availability, AvailabilityMode, AvailabilityTopic, Command, Confirm, Device, Expected, Format,
    Labels, Payload, Property, Request, Source, Template, Text,
};
use tidegate_engine::Duration;
use tidegate_streams::mqtt::topic::check_name;
use tidegate_streams::shown;

use crate::address::{self, Address};
use crate::model::{Interlock, Model, READING, Rule, STATUS, check_level};
use crate::options::{
    CommandOptions, FormatOption, InterlockOptions, LimitOptions, MatchOptions, PropertyOptions,
    TypeOptions,
};
use crate::schema::Schema;

/// Lowers one type.
pub(crate) struct Lowering<'a> {
    pub(crate) address: &'a Address,
    pub(crate) name: &'a str,
}

impl Lowering<'_> {
    /// The model of the type. The error is a sentence that says where it is.
    pub(crate) fn model(&self, options: &TypeOptions) -> Result<Model, String> {
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
            rules.push(Rc::new(rule(command, &lowered).map_err(fault)?));
            commands.push(lowered);
        }
        Ok(Model {
            device: Device {
                id: String::new(),
                name: None,
                description: options.description.as_deref().map(Text::new),
                kind: self.name.to_owned(),
                location: None,
                labels: Labels::default(),
                source: Source::Config,
                properties,
                availability,
                commands,
            },
            guarded: options.guarded.clone().map(Rc::new),
            rules,
            devices: Cell::new(0),
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
                Some(get) => Some(Box::new(Request {
                    topic: self.topic(&get.action)?,
                    payload: get.payload.clone(),
                })),
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
            arguments: Arc::new(arguments(options.arguments.as_ref())?),
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
        let expected = match expected(confirm.r#match.as_ref())? {
            Some(Expected::Argument(name)) if !is_declared(&name) => {
                return Err(format!(
                    "'match' names the argument '{name}', which is not declared"
                ));
            }
            Some(expected) => expected,
            None if declared.is_none_or(Map::is_empty) => {
                return Err(
                    "'confirm' compares the state with the arguments, and there are none; add \
                     match: { equals: VALUE }"
                        .to_owned(),
                );
            }
            None => Expected::Arguments,
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

/// The state that `match` describes; `None` if it describes none.
pub(crate) fn expected(options: Option<&MatchOptions>) -> Result<Option<Expected>, String> {
    let matched = options.cloned().unwrap_or_default();
    match (matched.argument, matched.equals) {
        (Some(_), Some(_)) => Err("'match' has both 'argument' and 'equals'; use one".to_owned()),
        (Some(name), None) => Ok(Some(Expected::Argument(name))),
        (None, Some(value)) => Ok(Some(Expected::Value(value))),
        (None, None) => Ok(None),
    }
}

/// The arguments that a schema declares.
pub(crate) fn declared(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn rule(options: &CommandOptions, command: &Command) -> Result<Rule, String> {
    for name in options.limits.step.keys() {
        if declared(&command.arguments).is_none_or(|it| !it.contains_key(name)) {
            return Err(format!(
                "limits.step names the argument '{name}', which is not declared"
            ));
        }
    }
    let interlocks = options.interlocks.iter().map(interlock);
    let interval = options.limits.interval;
    Ok(Rule {
        schema: Some(Box::new(Schema::new(&command.arguments)?)),
        interval: interval.map(|it| Duration::from_millis(it.get())),
        step: steps(&options.limits)?,
        interlocks: interlocks.collect::<Result<_, _>>()?,
        guarded: options.guarded.clone().map(Rc::new).into_iter().collect(),
        approval: options.approval.is_some(),
    })
}

/// The largest change, by argument.
pub(crate) fn steps(options: &LimitOptions) -> Result<BTreeMap<String, f64>, String> {
    for (name, most) in &options.step {
        if !(*most > 0.0 && most.is_finite()) {
            return Err(format!("limits.step of '{name}' must be above 0"));
        }
    }
    Ok(options.step.clone())
}

pub(crate) fn interlock(options: &InterlockOptions) -> Result<Rc<Interlock>, String> {
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
    Ok(Rc::new(Interlock {
        topic: options.topic.clone(),
        equals: options.equals.clone(),
        minimum: options.minimum,
        maximum: options.maximum,
        stale_after: options
            .stale_after
            .map(|it| Duration::from_millis(it.get())),
        reason: Text::new(&options.reason).as_str().to_owned(),
    }))
}
