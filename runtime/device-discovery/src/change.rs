//! What an announcement changes.

use tidegate_device::Device;

use crate::fault::Fault;

/// What an announcement changes. First the devices in `removed` go, then those in `declared` come.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Change {
    /// Ids of devices that do not exist any more.
    pub removed: Vec<String>,
    /// New devices, and devices that replace those of the same id.
    pub declared: Vec<Device>,
    /// Components that are not taken, while the others are; at most 16 of them.
    pub refused: Vec<Fault>,
}

impl Change {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.declared.is_empty()
    }
}
