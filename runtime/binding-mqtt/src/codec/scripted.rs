//! Packets by name and field, as scripts and traces write them.
//!
//! The payload of a PUBLISH is not a field: it follows the fields, as in a DATA frame.

use std::fmt::Write as _;

use bytes::Bytes;
use tidegate_engine::streams::{
    Field, FieldDoc, FieldError, Scripted, Value, extension, record_field,
};

use super::Version;
use super::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, RetainHandling, Suback,
    Subscribe, SubscribeFilter, Unsuback, Unsubscribe, Will,
};
use super::properties::UserProperty;
use super::reason::ReasonCode;

impl Field for ReasonCode {
    fn to_value(&self) -> Value {
        Value::Integer(self.0.into())
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        u8::from_value(value).map(Self)
    }
}

impl Field for Version {
    fn to_value(&self) -> Value {
        Value::Text(self.word().into())
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        let known = [Self::V5, Self::V311];
        let known = known.into_iter().find(|it| it.to_value() == *value);
        known.ok_or_else(|| FieldError::Mismatch {
            given: value.to_string(),
            wanted: "\"5\" or \"3.1.1\"",
        })
    }
}

extension! {
    /// The will of a CONNECT, in its record form.
    pub struct WillText "will" {
        /// The topic.
        topic "topic": bytestring::ByteString = bytestring::ByteString::new(),
        /// The payload.
        payload "payload": Bytes = Bytes::new(),
        /// The `QoS`.
        qos "qos": u8 = 0,
        /// Whether it is retained.
        retain "retain": bool = false,
        /// Seconds after the loss.
        delay "delay": Option<u32> = None,
    }
}
record_field!(WillText);

impl Field for Will {
    fn to_value(&self) -> Value {
        WillText {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            delay: self.properties.delay,
        }
        .to_value()
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        let text = WillText::from_value(value)?;
        let mut will = Self {
            topic: text.topic,
            payload: text.payload,
            qos: text.qos,
            retain: text.retain,
            ..Self::default()
        };
        will.properties.delay = text.delay;
        Ok(will)
    }
}

impl Field for RetainHandling {
    fn to_value(&self) -> Value {
        Value::Integer(*self as i64)
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        match value {
            Value::Integer(0) => Ok(Self::Send),
            Value::Integer(1) => Ok(Self::SendIfNew),
            Value::Integer(2) => Ok(Self::DoNotSend),
            _ => Err(FieldError::Mismatch {
                given: value.to_string(),
                wanted: "number from 0 to 2",
            }),
        }
    }
}

extension! {
    /// A user property, in its record form.
    pub struct PropertyText "property" {
        /// Its name.
        key "key": bytestring::ByteString = bytestring::ByteString::new(),
        /// Its value.
        value "value": bytestring::ByteString = bytestring::ByteString::new(),
    }
}
record_field!(PropertyText);

impl Field for UserProperty {
    fn to_value(&self) -> Value {
        let (key, value) = (self.key.clone(), self.value.clone());
        PropertyText { key, value }.to_value()
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        let PropertyText { key, value } = PropertyText::from_value(value)?;
        Ok(Self { key, value })
    }
}

extension! {
    /// One filter of a SUBSCRIBE, in its record form.
    pub struct FilterText "filter" {
        /// The topic filter.
        filter "filter": bytestring::ByteString = bytestring::ByteString::new(),
        /// The maximum `QoS` of messages.
        qos "qos": u8 = 0,
        /// Not the client's own messages.
        no_local "noLocal": bool = false,
        /// The retain flag as published.
        retain_as_published "retainAsPublished": bool = false,
        /// When retained messages are sent.
        retain_handling "retainHandling": RetainHandling = RetainHandling::Send,
    }
}
record_field!(FilterText);

impl Field for SubscribeFilter {
    fn to_value(&self) -> Value {
        FilterText {
            filter: self.filter.clone(),
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
        }
        .to_value()
    }

    fn from_value(value: &Value) -> Result<Self, FieldError> {
        let text = FilterText::from_value(value)?;
        Ok(Self {
            filter: text.filter,
            qos: text.qos,
            no_local: text.no_local,
            retain_as_published: text.retain_as_published,
            retain_handling: text.retain_handling,
        })
    }
}

/// Declares the fields of each packet once; its listing and its setter are generated from that.
macro_rules! packets {
    ($( $variant:ident($packet:ident) { $( $name:literal => $($place:ident).+ ),* $(,)? } )*) => {
        fn all(packet: &Packet) -> Vec<(&'static str, Value)> {
            match packet {
                $( Packet::$variant($packet) => {
                    vec![ $( ($name, Field::to_value(&$($place).+)) ),* ]
                } )*
                Packet::Pingreq | Packet::Pingresp => vec![],
            }
        }

        /// The names are those of the specification, so they need no description.
        fn known(packet: &Packet) -> &'static [FieldDoc] {
            match packet {
                $( Packet::$variant(_) => &[ $( FieldDoc { name: $name, doc: "" } ),* ], )*
                Packet::Pingreq | Packet::Pingresp => &[],
            }
        }

        fn set(packet: &mut Packet, name: &str, value: &Value) -> Result<(), FieldError> {
            match packet {
                $( Packet::$variant($packet) => match name {
                    $( $name => $($place).+ = Field::from_value(value)?, )*
                    _ => return Err(FieldError::Unknown {
                        name: name.to_owned(),
                        known: <[&str]>::join(&[$($name),*], ", "),
                    }),
                } )*
                Packet::Pingreq | Packet::Pingresp => {
                    return Err(FieldError::Unknown {
                        name: name.to_owned(),
                        known: "none".to_owned(),
                    });
                }
            }
            Ok(())
        }
    };
}

packets! {
    Connect(p) {
        "version" => p.version,
        "clientId" => p.client_id,
        "cleanStart" => p.clean_start,
        "keepAlive" => p.keep_alive,
        "username" => p.username,
        "password" => p.password,
        "will" => p.will,
        "sessionExpiry" => p.properties.session_expiry,
        "receiveMaximum" => p.properties.receive_maximum,
        "maximumPacketSize" => p.properties.maximum_packet_size,
        "topicAliasMaximum" => p.properties.topic_alias_maximum,
        "requestResponseInformation" => p.properties.request_response_information,
        "requestProblemInformation" => p.properties.request_problem_information,
        "authenticationMethod" => p.properties.authentication_method,
        "authenticationData" => p.properties.authentication_data,
        "user" => p.properties.user,
    }
    Connack(p) {
        "sessionPresent" => p.session_present,
        "reason" => p.reason,
        "sessionExpiry" => p.properties.session_expiry,
        "receiveMaximum" => p.properties.receive_maximum,
        "maximumQos" => p.properties.maximum_qos,
        "retainAvailable" => p.properties.retain_available,
        "maximumPacketSize" => p.properties.maximum_packet_size,
        "assignedClientId" => p.properties.assigned_client_id,
        "topicAliasMaximum" => p.properties.topic_alias_maximum,
        "reasonString" => p.properties.reason_string,
        "wildcardSubscriptionAvailable" => p.properties.wildcard_subscription_available,
        "subscriptionIdentifiersAvailable" => p.properties.subscription_identifiers_available,
        "sharedSubscriptionAvailable" => p.properties.shared_subscription_available,
        "serverKeepAlive" => p.properties.server_keep_alive,
        "responseInformation" => p.properties.response_information,
        "serverReference" => p.properties.server_reference,
        "authenticationMethod" => p.properties.authentication_method,
        "authenticationData" => p.properties.authentication_data,
        "user" => p.properties.user,
    }
    Publish(p) {
        "dup" => p.dup,
        "qos" => p.qos,
        "retain" => p.retain,
        "id" => p.packet_id,
        "topic" => p.topic,
        "payloadFormat" => p.properties.payload_format,
        "messageExpiry" => p.properties.message_expiry,
        "topicAlias" => p.properties.topic_alias,
        "responseTopic" => p.properties.response_topic,
        "correlation" => p.properties.correlation,
        "subscriptionIds" => p.properties.subscription_ids,
        "contentType" => p.properties.content_type,
        "user" => p.properties.user,
    }
    Puback(p) {
        "id" => p.packet_id, "reason" => p.reason,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Pubrec(p) {
        "id" => p.packet_id, "reason" => p.reason,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Pubrel(p) {
        "id" => p.packet_id, "reason" => p.reason,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Pubcomp(p) {
        "id" => p.packet_id, "reason" => p.reason,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Subscribe(p) {
        "id" => p.packet_id,
        "subscriptionId" => p.properties.subscription_id,
        "filters" => p.filters,
        "user" => p.properties.user,
    }
    Suback(p) {
        "id" => p.packet_id, "reasons" => p.reasons,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Unsubscribe(p) {
        "id" => p.packet_id, "filters" => p.filters, "user" => p.properties.user,
    }
    Unsuback(p) {
        "id" => p.packet_id, "reasons" => p.reasons,
        "reasonString" => p.properties.reason_string, "user" => p.properties.user,
    }
    Disconnect(p) {
        "reason" => p.reason,
        "sessionExpiry" => p.properties.session_expiry,
        "reasonString" => p.properties.reason_string,
        "serverReference" => p.properties.server_reference,
        "user" => p.properties.user,
    }
    Auth(p) {
        "reason" => p.reason,
        "authenticationMethod" => p.properties.authentication_method,
        "authenticationData" => p.properties.authentication_data,
        "reasonString" => p.properties.reason_string,
        "user" => p.properties.user,
    }
}

/// The names of all packets, in the order of their types (MQTT 5.0, 2.1.2).
const WORDS: [&str; 15] = [
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// The fields of every packet, for the reference of scenarios.
pub fn packet_reference() -> String {
    let mut out = String::new();
    for packet in WORDS.iter().filter_map(|word| Packet::blank(word)) {
        let _ = write!(out, "\n## {}\n\n", packet.word());
        if packet.known().is_empty() {
            out.push_str("No fields.\n");
            continue;
        }
        out.push_str("| field | default |\n|---|---|\n");
        for FieldDoc { name, .. } in packet.known() {
            let default = packet.value(name).map(|value| value.to_string());
            let _ = writeln!(out, "| `{name}` | `{}` |", default.unwrap_or_default());
        }
    }
    out
}

impl Packet {
    /// A packet with default values; `None` for an unknown name.
    pub fn blank(word: &str) -> Option<Self> {
        Some(match word {
            "CONNECT" => Self::Connect(Box::<Connect>::default()),
            "CONNACK" => Self::Connack(Box::<Connack>::default()),
            "PUBLISH" => Self::Publish(Publish::default()),
            "PUBACK" => Self::Puback(Ack::default()),
            "PUBREC" => Self::Pubrec(Ack::default()),
            "PUBREL" => Self::Pubrel(Ack::default()),
            "PUBCOMP" => Self::Pubcomp(Ack::default()),
            "SUBSCRIBE" => Self::Subscribe(Subscribe::default()),
            "SUBACK" => Self::Suback(Suback::default()),
            "UNSUBSCRIBE" => Self::Unsubscribe(Unsubscribe::default()),
            "UNSUBACK" => Self::Unsuback(Unsuback::default()),
            "PINGREQ" => Self::Pingreq,
            "PINGRESP" => Self::Pingresp,
            "DISCONNECT" => Self::Disconnect(Box::<Disconnect>::default()),
            "AUTH" => Self::Auth(Box::<Auth>::default()),
            _ => return None,
        })
    }

    /// The payload of a PUBLISH, contiguous.
    pub fn payload(&self) -> Option<Bytes> {
        match self {
            Self::Publish(publish) => Some(publish.payload.concat().into()),
            _ => None,
        }
    }
}

impl Scripted for Packet {
    fn word(&self) -> &'static str {
        PacketType::word(self.packet_type())
    }

    fn known(&self) -> &'static [FieldDoc] {
        known(self)
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let blank = Self::blank(self.word());
        let default = |name| blank.as_ref().and_then(|blank| blank.value(name));
        let mut fields = all(self);
        fields.retain(|(name, value)| default(name).as_ref() != Some(value));
        fields
    }

    fn value(&self, name: &str) -> Option<Value> {
        let found = all(self).into_iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError> {
        set(self, name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_has_a_blank_of_its_word_without_fields_to_tell() {
        for word in WORDS {
            let packet = Packet::blank(word).expect(word);
            assert_eq!(packet.word(), word);
            assert_eq!(packet.fields(), []);
        }
    }

    #[test]
    fn a_field_is_set_by_name_and_listed_if_it_differs() {
        let mut packet = Packet::blank("SUBSCRIBE").expect("a packet");
        let filter = Value::Record(vec![("filter".to_owned(), Value::Text("a/+".into()))]);
        let filters = Value::List(vec![filter]);
        packet.set("filters", &filters).expect("a field");
        assert_eq!(packet.fields(), [("filters", filters)]);
        assert!(packet.set("topic", &Value::Integer(1)).is_err());
    }
}
