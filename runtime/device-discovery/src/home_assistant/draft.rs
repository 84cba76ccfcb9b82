//! What an entity tells and can be told, while its config is read.

use std::time::Duration;

use serde_json::Value;
use tidegate_device::{Command, Confirm, Expected, Format, Payload, Property, Template, Text};

use super::config::Config;
use crate::fault::Fault;
use crate::schema::{Argument, of_command};

/// The name of the property that is the state of the entity itself.
pub(super) const STATE: &str = "";

/// Properties and commands of one entity. Their names are those within the entity; [`STATE`] is the entity itself.
pub(super) struct Draft<'a> {
    pub(super) config: &'a Config<'a>,
    /// The device does not tell its state, or it is not to be waited for.
    optimistic: bool,
    qos: u8,
    retain: bool,
    stale_after: Option<Duration>,
    /// How long a command may take until the state confirms it.
    within: Duration,
    pub(super) properties: Vec<Property>,
    pub(super) commands: Vec<Command>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(config: &'a Config<'a>, within: Duration) -> Result<Self, Fault> {
        if let Some(encoding) = config.optional_payload("encoding")?
            && !matches!(
                encoding.to_ascii_lowercase().as_str(),
                "utf-8" | "utf8" | "ascii"
            )
        {
            return Err(Fault::invalid("encoding", "must be utf-8"));
        }
        Ok(Self {
            config,
            optimistic: config.flag("optimistic", false)?,
            qos: config.qos()?,
            retain: config.flag("retain", false)?,
            stale_after: config.seconds("expire_after")?,
            within,
            properties: Vec::new(),
            commands: Vec::new(),
        })
    }

    /// Adds a property, if its topic is declared. The first of `templates` that is declared extracts it.
    pub(super) fn property(
        &mut self,
        name: &str,
        topic: &'static str,
        templates: &[&'static str],
        format: Format,
    ) -> Result<Option<&mut Property>, Fault> {
        let Some(topic) = self.config.topic(topic)? else {
            return Ok(None);
        };
        let value = self.config.first_template(templates)?;
        Ok(Some(self.property_on(name, topic, value, format)))
    }

    /// Adds a property.
    pub(super) fn property_on(
        &mut self,
        name: &str,
        topic: String,
        value: Option<Template>,
        format: Format,
    ) -> &mut Property {
        self.properties.push_mut(Property {
            name: name.to_owned(),
            description: None,
            topic,
            format,
            value,
            unit: None,
            minimum: None,
            maximum: None,
            stale_after: self.stale_after,
            request: None,
        })
    }

    /// Adds a command. It is confirmed by a property, by name, if the entity has it.
    pub(super) fn command(
        &mut self,
        name: &str,
        description: &str,
        topic: &str,
        arguments: Vec<Argument>,
        payload: Payload,
        confirmed_by: impl Into<Option<(&'static str, Expected)>>,
    ) {
        let confirm = confirmed_by
            .into()
            .filter(|(property, _)| self.tells(property))
            .map(|(property, expected)| Confirm {
                property: property.to_owned(),
                expected,
                within: self.within,
                accepted_by: None,
            });
        self.commands.push(Command {
            name: name.to_owned(),
            description: Some(Text::new(description)),
            arguments: of_command(arguments),
            topic: topic.to_owned(),
            payload,
            qos: self.qos,
            retain: self.retain,
            expiry: None,
            confirm,
        });
    }

    fn tells(&self, property: &str) -> bool {
        !self.optimistic && self.properties.iter().any(|it| it.name == property)
    }

    /// A payload that is always `text`, which a template may write differently.
    pub(super) fn fixed(&self, template: &'static str, text: &str) -> Result<Payload, Fault> {
        let variables = format!("{{% set value = {} %}}", Value::from(text));
        let template = self.config.command_template(template, &variables)?;
        Ok(template.map_or_else(|| Payload::Fixed(text.to_owned()), Payload::Template))
    }

    /// The payload of one argument, which a template may write differently; there it is also called `value`.
    pub(super) fn argument(
        &self,
        template: &'static str,
        argument: &'static str,
    ) -> Result<Payload, Fault> {
        let variables = match argument {
            "value" => String::new(),
            argument => format!("{{% set value = {argument} %}}"),
        };
        let template = self.config.command_template(template, &variables)?;
        Ok(template.map_or_else(|| Payload::Argument(argument.to_owned()), Payload::Template))
    }
}
