//! How much announcements may make the gateway keep.

/// Limits of one way of announcing; what exceeds them is refused with [`Fault`](crate::Fault), and what is known stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entities (Home Assistant) or properties (Homie) of all devices together.
    pub entities: usize,
    /// Most of them in one device.
    pub entities_of_a_device: usize,
    /// Most bytes of texts, topics, templates and schemas of all devices together.
    pub bytes: usize,
    /// Most bytes of one payload.
    pub payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entities: 20_000,
            entities_of_a_device: 512,
            bytes: 32 << 20,
            payload: 256 << 10,
        }
    }
}

/// Most bytes of a topic that a device declares.
pub(crate) const TOPIC_MAX: usize = 1024;
/// Most texts of a list, such as the options of a select.
pub(crate) const LIST_MAX: usize = 256;
/// Most bytes of a payload that a device declares.
pub(crate) const PAYLOAD_MAX: usize = 1024;
/// Most availability topics of an entity.
pub(crate) const AVAILABILITY_MAX: usize = 16;
/// Most bytes of one text of a list, and of the name of an argument or a property.
pub(crate) const NAME_MAX: usize = 256;
