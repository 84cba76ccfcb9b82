//! Devices that declare themselves: announcements in, [`Device`](tidegate_device::Device)s out.
//!
//! [`Announcements`] takes messages of Home Assistant's discovery and of Homie 5, and says which devices came, changed
//! and went. It opens no stream and reads no clock; the caller subscribes to [`Announcements::filters`], and decides
//! which topics of a device are allowed (`Device::topics_read`, `Device::topics_written`).
//!
//! Guarantees:
//! - the same announcements give the same devices, with the same ids and names, in whatever order they came;
//! - what is kept is bounded ([`Limits`]); what exceeds a limit is refused, and what is known stays;
//! - nothing in an announcement can panic, run for long, or name a topic with a wildcard;
//! - all texts that people see are bounded and visible ([`Text`](tidegate_device::Text)).
#![forbid(unsafe_code)]

mod announcements;
mod change;
mod fault;
mod footprint;
mod home_assistant;
mod homie;
mod limits;
mod names;
mod schema;

pub use announcements::{Announcements, Sources};
pub use change::Change;
pub use fault::Fault;
pub use limits::Limits;
