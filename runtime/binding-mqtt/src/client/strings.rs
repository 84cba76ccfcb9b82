//! Validates strings from callers. A broker may close the connection of all streams for a character
//! that MQTT does not allow (MQTT 5.0, 1.5.4), so such a string is refused here, even if the caller
//! should have checked it.

use tidegate_engine::streams::mqtt::MqttPublishData;
use tidegate_engine::streams::mqtt::text::check_characters;
use tidegate_engine::streams::mqtt::topic::check_name;

use super::failure::Failure;
use super::options::{Name, NameError};
use crate::codec::ReasonCode;

/// Maximum number of characters of a text that an error repeats.
const SHOWN: usize = 200;

pub(super) fn check_client_id(client_id: &str) -> Result<(), Failure> {
    let reason = match Name::check(client_id) {
        Ok(()) => return Ok(()),
        Err(NameError::Length) => format!("Invalid clientId: use 1 to {} bytes.", Name::MAX),
        Err(NameError::Character(forbidden)) => {
            format!("Invalid clientId: it contains {forbidden}.")
        }
    };
    Err(Failure::new(
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        reason,
    ))
}

pub(super) fn check_topic(topic: &str) -> Result<(), Failure> {
    check_name(topic).map_err(|error| {
        let shown: String = topic.chars().take(SHOWN).collect();
        let reason = format!("Invalid topic '{shown}': {error}.");
        Failure::new(ReasonCode::TOPIC_NAME_INVALID, reason)
    })
}

pub(super) fn check_properties(message: &MqttPublishData) -> Result<(), Failure> {
    if let Some(topic) = &message.response_topic {
        check_name(topic).map_err(|error| {
            let shown: String = topic.chars().take(SHOWN).collect();
            let reason = format!("Invalid response topic '{shown}': {error}.");
            Failure::new(ReasonCode::TOPIC_NAME_INVALID, reason)
        })?;
    }
    if let Some(content_type) = &message.content_type {
        check_string("content type", content_type)?;
    }
    for property in &message.properties {
        check_string("name of a user property", &property.key)?;
        check_string("value of a user property", &property.value)?;
    }
    Ok(())
}

fn check_string(what: &str, text: &str) -> Result<(), Failure> {
    check_characters(text).map_err(|forbidden| {
        let reason = format!("The {what} contains {forbidden}.");
        Failure::new(ReasonCode::MALFORMED_PACKET, reason)
    })
}
