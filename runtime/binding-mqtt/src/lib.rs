//! MQTT: the wire codec, and `mqtt · client`, which speaks it over a byte stream.
#![forbid(unsafe_code)]

pub mod client;
pub mod codec;
