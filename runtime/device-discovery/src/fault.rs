//! Why an announcement is not taken.

use thiserror::Error;
use tidegate_device::Text;
use tidegate_streams::mqtt::topic::TopicError;

/// Why an announcement, or a component of it, is not taken.
///
/// The messages complete `the announcement is ignored: …`. What they quote from the wire is a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The topic is none on which devices announce themselves.
    #[error("its topic does not have the form of an announcement")]
    NotAnAnnouncement,
    /// The payload is too long.
    #[error("its payload has {length} bytes and at most {limit} are allowed")]
    TooLarge {
        /// Length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The payload is not a JSON object.
    #[error("its payload is not a JSON object: {reason}")]
    NotJson {
        /// What the parser says.
        reason: Text,
    },
    /// The kind of component is not supported.
    #[error("components of type '{component}' are not supported")]
    Unsupported {
        /// The type, such as `camera`.
        component: Text,
    },
    /// A required member is missing.
    #[error("'{key}' is missing")]
    Missing {
        /// The member.
        key: &'static str,
    },
    /// A member has an invalid value.
    #[error("'{key}' {reason}")]
    Invalid {
        /// The member.
        key: &'static str,
        /// What is wrong with it, as in `must be a text`.
        reason: &'static str,
    },
    /// A topic is invalid.
    #[error("invalid topic '{topic}' in '{key}': {error}")]
    Topic {
        /// The member.
        key: &'static str,
        /// The topic.
        topic: Text,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A topic is longer than those of devices are.
    #[error("the topic in '{key}' has {length} bytes and at most {limit} are allowed")]
    LongTopic {
        /// The member.
        key: &'static str,
        /// Length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A template is invalid.
    #[error("'{key}' {reason}")]
    Template {
        /// The member.
        key: &'static str,
        /// What is wrong with it.
        reason: Text,
    },
    /// A limit is reached.
    #[error("at most {limit} {what} are kept; raise the limit or remove devices")]
    Full {
        /// What is limited, such as `entities`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A component of a device is not taken; the others are.
    #[error("component '{component}': {fault}")]
    Component {
        /// Its id.
        component: Text,
        /// Why.
        fault: Box<Fault>,
    },
}

impl Fault {
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson {
            reason: Text::new(&error.to_string()),
        }
    }

    pub(crate) const fn invalid(key: &'static str, reason: &'static str) -> Self {
        Self::Invalid { key, reason }
    }
}
