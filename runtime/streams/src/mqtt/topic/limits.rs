//! How many levels and bytes a topic may have, below what MQTT allows.

use super::{TOPIC_LENGTH_MAX, TopicError};

/// Limits on topic names and filters. MQTT limits only their length; brokers close the connection for
/// topics with very many levels, at a number of their own (mosquitto: over 200 slashes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// How many levels, of a shared subscription with `$share` and the share name.
    pub levels: usize,
    /// How many bytes of UTF-8.
    pub length: usize,
}

impl Default for TopicLimits {
    /// What MQTT allows.
    fn default() -> Self {
        Self {
            levels: usize::MAX,
            length: TOPIC_LENGTH_MAX,
        }
    }
}

impl TopicLimits {
    /// Checks a legal name or filter.
    pub fn check(&self, text: &str) -> Result<(), TopicError> {
        let length = text.len();
        if length > self.length {
            let limit = self.length;
            return Err(TopicError::OverLength { length, limit });
        }
        // So short a text cannot have too many.
        if length < self.levels {
            return Ok(());
        }
        let limit = self.levels;
        match text.bytes().filter(|byte| *byte == b'/').count() + 1 {
            levels if levels > limit => Err(TopicError::OverLevels { levels, limit }),
            _ => Ok(()),
        }
    }
}
