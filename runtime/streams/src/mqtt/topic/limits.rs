//! Limits on the levels and bytes of a topic, below those of MQTT.

use super::{TOPIC_LENGTH_MAX, TopicError};

/// Limits on topic names and filters. MQTT limits only the length. Brokers close the connection for
/// topics with very many levels, each at its own number (mosquitto: over 200 slashes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// Maximum number of levels; `$share` and the share name count.
    pub levels: usize,
    /// Maximum length in bytes of UTF-8.
    pub length: usize,
}

impl Default for TopicLimits {
    /// The limits of MQTT.
    fn default() -> Self {
        Self {
            levels: usize::MAX,
            length: TOPIC_LENGTH_MAX,
        }
    }
}

impl TopicLimits {
    /// Checks a valid name or filter against the limits.
    pub fn check(&self, text: &str) -> Result<(), TopicError> {
        let length = text.len();
        if length > self.length {
            let limit = self.length;
            return Err(TopicError::OverLength { length, limit });
        }
        // A text this short cannot have too many levels.
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
