//! Topic names and filters (MQTT 5.0, 4.7).
