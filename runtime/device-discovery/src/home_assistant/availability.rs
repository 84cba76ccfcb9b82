//! `availability`, `availability_topic`, and what goes with them.

use serde_json::{Map, Value};
use tidegate_device::{Availability, AvailabilityMode, AvailabilityTopic, Template};

use super::config::{Config, template_fault};
use crate::fault::Fault;
use crate::limits::AVAILABILITY_MAX;

/// How an entity tells whether it is available; `None`: it does not tell.
pub(super) fn availability(config: &Config<'_>) -> Result<Option<Availability>, Fault> {
    let mut topics = match config.get("availability") {
        Some(Value::Array(topics)) if topics.len() > AVAILABILITY_MAX => {
            return Err(Fault::invalid("availability", "has more than 16 topics"));
        }
        Some(Value::Array(topics)) => topics
            .iter()
            .map(|it| listed(config, it))
            .collect::<Result<Vec<_>, _>>()?,
        Some(topic) => vec![listed(config, topic)?],
        None => single(config)?.into_iter().collect(),
    };
    if topics.is_empty() {
        return Ok(None);
    }
    let mode = match config.payload("availability_mode", "latest")?.as_str() {
        "all" => AvailabilityMode::All,
        "any" => AvailabilityMode::Any,
        "latest" => AvailabilityMode::Latest,
        _ => {
            return Err(Fault::invalid(
                "availability_mode",
                "must be 'all', 'any' or 'latest'",
            ));
        }
    };
    topics.shrink_to_fit();
    Ok(Some(Availability { mode, topics }))
}

fn single(config: &Config<'_>) -> Result<Option<AvailabilityTopic>, Fault> {
    let Some(topic) = config.topic("availability_topic")? else {
        return Ok(None);
    };
    Ok(Some(AvailabilityTopic {
        topic,
        value: config.template("availability_template")?,
        online: config.payload("payload_available", "online")?,
        offline: config.payload("payload_not_available", "offline")?,
    }))
}

fn listed(config: &Config<'_>, value: &Value) -> Result<AvailabilityTopic, Fault> {
    let Value::Object(members) = value else {
        return Err(Fault::invalid("availability", "must be a list of objects"));
    };
    let topic = members
        .get("topic")
        .ok_or(Fault::Missing { key: "topic" })?;
    let template = match members.get("value_template") {
        None | Some(Value::Null) => None,
        Some(Value::String(source)) => Some(
            Template::home_assistant(source)
                .map_err(|error| template_fault("availability", &error))?,
        ),
        Some(_) => return Err(Fault::invalid("value_template", "must be a template")),
    };
    Ok(AvailabilityTopic {
        topic: config.as_topic("availability", topic)?,
        value: template,
        online: text(members, "payload_available", "online")?,
        offline: text(members, "payload_not_available", "offline")?,
    })
}

fn text(members: &Map<String, Value>, key: &'static str, default: &str) -> Result<String, Fault> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(default.to_owned()),
        Some(value) => super::config::payload(key, value),
    }
}
