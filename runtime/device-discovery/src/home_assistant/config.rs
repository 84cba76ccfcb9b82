//! The members of one entity's config, read with the types they must have.

use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_device::{Template, TemplateError, Text};
use tidegate_streams::mqtt::topic::check_name;

use super::abbreviations::{expand, with_base};
use crate::fault::Fault;
use crate::limits::{LIST_MAX, NAME_MAX, PAYLOAD_MAX, TOPIC_MAX};

/// Members that the components of a device inherit from it.
const SHARED: [&str; 11] = [
    "~",
    "availability",
    "availability_mode",
    "availability_template",
    "availability_topic",
    "command_topic",
    "encoding",
    "payload_available",
    "payload_not_available",
    "qos",
    "state_topic",
];

/// The config of an entity, without abbreviations.
pub(super) struct Config<'a> {
    members: Map<String, Value>,
    /// The config of its device, if that announces all of its entities together.
    device: Option<&'a Map<String, Value>>,
}

impl<'a> Config<'a> {
    pub(super) fn new(
        members: Map<String, Value>,
        device: Option<&'a Map<String, Value>>,
    ) -> Result<Self, Fault> {
        let config = Self {
            members: expand(members),
            device,
        };
        match config.base()? {
            Some(base) if base.len() > TOPIC_MAX => Err(Fault::LongTopic {
                key: "~",
                length: base.len(),
                limit: TOPIC_MAX,
            }),
            _ => Ok(config),
        }
    }

    /// A member that is there and not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.declared(key).filter(|value| !value.is_null())
    }

    /// A member that is there, even if it is `null`.
    fn declared(&self, key: &str) -> Option<&Value> {
        self.members.get(key).or_else(|| {
            let device = self.device.filter(|_| SHARED.contains(&key))?;
            device.get(key)
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn base(&self) -> Result<Option<&str>, Fault> {
        match self.get("~") {
            Some(Value::String(base)) => Ok(Some(base)),
            Some(_) => Err(Fault::invalid("~", "must be a text")),
            None => Ok(None),
        }
    }

    /// A topic name, with its base.
    pub(super) fn topic(&self, key: &'static str) -> Result<Option<String>, Fault> {
        self.get(key)
            .map(|value| self.as_topic(key, value))
            .transpose()
    }

    pub(super) fn as_topic(&self, key: &'static str, value: &Value) -> Result<String, Fault> {
        let Value::String(topic) = value else {
            return Err(Fault::invalid(key, "must be a text"));
        };
        let topic = match self.base()? {
            Some(base) => with_base(topic, base),
            None => topic.into(),
        };
        checked_topic(key, topic.into_owned())
    }

    pub(super) fn required_topic(&self, key: &'static str) -> Result<String, Fault> {
        self.topic(key)?.ok_or(Fault::Missing { key })
    }

    /// A text for people.
    pub(super) fn shown(&self, key: &str) -> Option<Text> {
        shown(self.get(key)?)
    }

    /// A payload, or `default`. A boolean or a number is a text as Python writes it.
    pub(super) fn payload(&self, key: &'static str, default: &str) -> Result<String, Fault> {
        Ok(self
            .optional_payload(key)?
            .unwrap_or_else(|| default.to_owned()))
    }

    pub(super) fn optional_payload(&self, key: &'static str) -> Result<Option<String>, Fault> {
        self.get(key).map(|value| payload(key, value)).transpose()
    }

    /// A payload, or `default`; `None` if `null` says that there is none.
    pub(super) fn payload_unless_null(
        &self,
        key: &'static str,
        default: &str,
    ) -> Result<Option<String>, Fault> {
        match self.declared(key) {
            Some(Value::Null) => Ok(None),
            _ => self.payload(key, default).map(Some),
        }
    }

    /// A template that reads messages.
    pub(super) fn template(&self, key: &'static str) -> Result<Option<Template>, Fault> {
        self.get(key)
            .map(|value| template(key, "", value))
            .transpose()
    }

    /// The first of several templates that is there.
    pub(super) fn first_template(&self, keys: &[&'static str]) -> Result<Option<Template>, Fault> {
        match keys.iter().find(|key| self.has(key)) {
            Some(key) => self.template(key),
            None => Ok(None),
        }
    }

    /// A template that writes a payload, behind statements that set its variables.
    pub(super) fn command_template(
        &self,
        key: &'static str,
        variables: &str,
    ) -> Result<Option<Template>, Fault> {
        self.get(key)
            .map(|value| template(key, variables, value))
            .transpose()
    }

    pub(super) fn number(&self, key: &'static str) -> Result<Option<f64>, Fault> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number.filter(|it| it.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::invalid(key, "must be a number")),
        }
    }

    pub(super) fn number_or(&self, key: &'static str, default: f64) -> Result<f64, Fault> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// A number between `least` and `most`, both included, without a fraction.
    pub(super) fn integer(
        &self,
        key: &'static str,
        default: i32,
        least: i32,
        most: i32,
    ) -> Result<i32, Fault> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "casts of floating-point numbers saturate, and the range is checked"
        )]
        let integer = self.number(key)?.map_or(default, |number| number as i32);
        if (least..=most).contains(&integer) {
            Ok(integer)
        } else {
            Err(Fault::invalid(key, "is out of range"))
        }
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool, Fault> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" | "enable" => Ok(true),
                "0" | "false" | "no" | "off" | "disable" => Ok(false),
                _ => Err(Fault::invalid(key, "must be true or false")),
            },
            Some(_) => Err(Fault::invalid(key, "must be true or false")),
        }
    }

    /// A list of payloads; one alone is a list too.
    pub(super) fn list(&self, key: &'static str) -> Result<Option<Vec<String>>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() > LIST_MAX => {
                Err(Fault::invalid(key, "has more than 256 entries"))
            }
            Some(Value::Array(items)) => {
                let items: Result<Vec<_>, _> = items.iter().map(|it| payload(key, it)).collect();
                let mut unique = Vec::new();
                for item in items? {
                    if item.len() > NAME_MAX {
                        return Err(Fault::invalid(key, "has an entry of more than 256 bytes"));
                    }
                    if !unique.contains(&item) {
                        unique.push(item);
                    }
                }
                Ok(Some(unique))
            }
            Some(one) => Ok(Some(vec![payload(key, one)?])),
        }
    }

    pub(super) fn qos(&self) -> Result<u8, Fault> {
        Ok(u8::try_from(self.integer("qos", 0, 0, 2)?).unwrap_or_default())
    }

    pub(super) fn seconds(&self, key: &'static str) -> Result<Option<Duration>, Fault> {
        let seconds = self.integer(key, 0, 0, 366 * 86_400)?;
        Ok(u64::try_from(seconds)
            .ok()
            .filter(|it| *it > 0)
            .map(Duration::from_secs))
    }
}

pub(crate) fn checked_topic(key: &'static str, topic: String) -> Result<String, Fault> {
    if topic.len() > TOPIC_MAX {
        return Err(Fault::LongTopic {
            key,
            length: topic.len(),
            limit: TOPIC_MAX,
        });
    }
    match check_name(&topic) {
        Ok(()) => Ok(topic),
        Err(error) => Err(Fault::Topic {
            key,
            topic: Text::new(&topic),
            error,
        }),
    }
}

/// A text for people; what is empty or no text is none.
pub(super) fn shown(value: &Value) -> Option<Text> {
    let text = match value {
        Value::String(text) => Text::new(text),
        Value::Number(number) => Text::new(&number.to_string()),
        _ => return None,
    };
    (!text.as_str().is_empty()).then_some(text)
}

/// A payload as Home Assistant makes a text of it.
pub(super) fn payload(key: &'static str, value: &Value) -> Result<String, Fault> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(Fault::invalid(key, "must be a text")),
    };
    if text.len() > PAYLOAD_MAX {
        return Err(Fault::invalid(key, "has more than 1024 bytes"));
    }
    if !Text::is_visible(&text) {
        return Err(Fault::invalid(key, "contains invisible characters"));
    }
    Ok(text)
}

fn template(key: &'static str, variables: &str, value: &Value) -> Result<Template, Fault> {
    let Value::String(source) = value else {
        return Err(Fault::invalid(key, "must be a template"));
    };
    let result = if variables.is_empty() {
        Template::home_assistant(source)
    } else {
        Template::home_assistant(&format!("{variables}{source}"))
    };
    result.map_err(|error| template_fault(key, &error))
}

pub(super) fn template_fault(key: &'static str, error: &TemplateError) -> Fault {
    Fault::Template {
        key,
        reason: Text::new(&format!("cannot be used: {error}")),
    }
}
