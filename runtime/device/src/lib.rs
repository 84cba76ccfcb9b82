//! Devices as the gateway knows them, wherever their declaration comes from: the config, topics that
//! were seen, or an announcement of the device itself.
//!
//! A [`Device`] has [`Property`]s, which messages on topics set, and [`Command`]s, each of which
//! publishes one message. The crate reads and writes their payloads; it opens no stream, reads no clock
//! and has no state.
//!
//! Guarantees:
//! - text that a device declared about itself is bounded and free of control characters ([`Text`]);
//! - a template ends: it runs with bounded fuel, and its output is bounded ([`Template`]).
#![forbid(unsafe_code)]

mod device;
mod labels;
mod mention;
mod message;
mod reading;
mod template;
mod text;

pub use device::{
    Availability, AvailabilityMode, AvailabilityTopic, Command, Confirm, Device, Expected, Format,
    Payload, Property, Request, Source,
};
pub use labels::Labels;
pub use mention::Mentions;
pub use message::MessageError;
pub use reading::{Comparison, Reading, ReadingError};
pub use template::{Template, TemplateError};
pub use text::Text;
