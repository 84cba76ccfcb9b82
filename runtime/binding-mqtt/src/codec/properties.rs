//! Properties (MQTT 5.0, 2.2.2): their identifiers, the packets that allow them, and their
//! encoding.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::error::DecodeFault;
use super::reader::{Reader, is_topic_name, varint_size};

/// A user property: an application-defined name and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProperty {
    /// Its name, which may occur more than once.
    pub key: ByteString,
    /// Its value.
    pub value: ByteString,
}

/// A property in its encoded form.
pub(super) enum Property {
    Byte(u8, u8),
    Two(u8, u16),
    Four(u8, u32),
    Varint(u8, u32),
    Text(u8, ByteString),
    Binary(u8, Bytes),
    User(UserProperty),
}

const USER_PROPERTY: u8 = 0x26;

impl Property {
    fn read(reader: &mut Reader) -> Result<Self, DecodeFault> {
        let id = reader.byte()?;
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Self::Byte(id, reader.byte()?),
            0x13 | 0x21 | 0x22 | 0x23 => Self::Two(id, reader.two()?),
            0x02 | 0x11 | 0x18 | 0x27 => Self::Four(id, reader.four()?),
            0x0B => Self::Varint(id, reader.varint()?),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Self::Text(id, reader.text()?),
            0x09 | 0x16 => Self::Binary(id, reader.binary()?),
            USER_PROPERTY => {
                let key = reader.text()?;
                Self::User(UserProperty {
                    key,
                    value: reader.text()?,
                })
            }
            _ => {
                return Err(DecodeFault::Malformed("unknown property identifier"));
            }
        })
    }

    /// Checks the range of values that apply in every packet.
    fn check(&self) -> Result<(), DecodeFault> {
        let wrong = match self {
            Self::Byte(_, value) if *value > 1 => {
                "a property that must be 0 or 1 has another value"
            }
            Self::Two(0x21, 0) => "a Receive Maximum of 0",
            Self::Two(0x23, 0) => "a Topic Alias of 0",
            Self::Four(0x27, 0) => "a Maximum Packet Size of 0",
            Self::Varint(_, 0) => "a Subscription Identifier of 0",
            Self::Text(0x08, topic) if !is_topic_name(topic) => {
                "Response Topic contains a wildcard"
            }
            _ => return Ok(()),
        };
        Err(DecodeFault::Protocol(wrong))
    }

    fn size(&self) -> usize {
        1 + match self {
            Self::Byte(..) => 1,
            Self::Two(..) => 2,
            Self::Four(..) => 4,
            Self::Varint(_, value) => varint_size(*value as usize),
            Self::Text(_, text) => 2 + text.len(),
            Self::Binary(_, bytes) => 2 + bytes.len(),
            Self::User(user) => 4 + user.key.len() + user.value.len(),
        }
    }

    /// The longest field with a length prefix.
    fn longest_field(&self) -> usize {
        match self {
            Self::Text(_, text) => text.len(),
            Self::Binary(_, bytes) => bytes.len(),
            Self::User(user) => user.key.len().max(user.value.len()),
            _ => 0,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Byte(id, value) => out.extend_from_slice(&[*id, *value]),
            Self::Two(id, value) => {
                out.put_u8(*id);
                out.put_u16(*value);
            }
            Self::Four(id, value) => {
                out.put_u8(*id);
                out.put_u32(*value);
            }
            Self::Varint(id, value) => {
                out.put_u8(*id);
                put_varint(out, *value as usize);
            }
            Self::Text(id, text) => {
                out.put_u8(*id);
                put_field(out, text.as_bytes());
            }
            Self::Binary(id, bytes) => {
                out.put_u8(*id);
                put_field(out, bytes);
            }
            Self::User(user) => {
                out.put_u8(USER_PROPERTY);
                put_field(out, user.key.as_bytes());
                put_field(out, user.value.as_bytes());
            }
        }
    }
}

/// Appends a variable byte integer (1.5.5).
pub(super) fn put_varint(out: &mut impl BufMut, mut value: usize) {
    loop {
        let byte = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        out.put_u8(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return;
        }
    }
}

/// Appends a field with a length prefix (1.5.4, 1.5.6). The caller has checked the length.
pub(super) fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(bytes);
}

/// The properties of one packet.
pub(super) trait Properties: Default {
    /// Adds a property; returns it if it is not allowed here or is a duplicate.
    fn take(&mut self, property: Property) -> Result<(), Refused>;
    /// Calls `give` with every property that is set.
    fn each(&self, give: &mut dyn FnMut(Property));

    /// Reads the property length and the properties (2.2.2.1).
    fn read(reader: &mut Reader) -> Result<Self, DecodeFault> {
        let length = reader.varint()? as usize;
        let mut block = reader.take(length)?;
        let mut properties = Self::default();
        while !block.is_empty() {
            let property = Property::read(&mut block)?;
            property.check()?;
            properties.take(property).map_err(|refused| match refused {
                Refused::Foreign => DecodeFault::Malformed("property not allowed in this packet"),
                Refused::Twice => DecodeFault::Protocol("duplicate property"),
            })?;
        }
        Ok(properties)
    }

    /// Size of the properties without the property length.
    fn size(&self) -> usize {
        let mut size = 0;
        self.each(&mut |property| size += property.size());
        size
    }

    fn longest_field(&self) -> usize {
        let mut longest = 0;
        self.each(&mut |property| longest = longest.max(property.longest_field()));
        longest
    }

    /// Appends the property length and the properties.
    fn write(&self, out: &mut BytesMut) {
        put_varint(out, self.size());
        self.each(&mut |property| property.write(out));
    }
}

/// Why a property was rejected.
pub(super) enum Refused {
    Foreign,
    Twice,
}

/// Declares the properties of a packet: each field with its encoding and identifier.
macro_rules! properties {
    (
        $(#[doc = $doc:literal])+
        $type:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $field_type:ty = $form:ident $id:literal ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $type {
            $( $(#[doc = $field_doc])+ pub $field: Option<$field_type>, )*
            /// User properties, in order.
            pub user: Vec<UserProperty>,
        }

        impl Properties for $type {
            fn take(&mut self, property: Property) -> Result<(), Refused> {
                match property {
                    $( Property::$form($id, value) => match self.$field.replace(value.into_field()) {
                        None => Ok(()),
                        Some(_) => Err(Refused::Twice),
                    }, )*
                    Property::User(user) => {
                        self.user.push(user);
                        Ok(())
                    }
                    _ => Err(Refused::Foreign),
                }
            }

            fn each(&self, give: &mut dyn FnMut(Property)) {
                $( if let Some(value) = &self.$field {
                    give(Property::$form($id, value.as_wire()));
                } )*
                for user in &self.user {
                    give(Property::User(user.clone()));
                }
            }
        }
    };
}

/// Converts between a field and its encoding: a flag is a byte of 0 or 1.
trait Wire<T> {
    fn as_wire(&self) -> T;
}

trait IntoField<T> {
    fn into_field(self) -> T;
}

impl<T: Clone> Wire<T> for T {
    fn as_wire(&self) -> T {
        self.clone()
    }
}

impl<T> IntoField<T> for T {
    fn into_field(self) -> T {
        self
    }
}

impl Wire<u8> for bool {
    fn as_wire(&self) -> u8 {
        u8::from(*self)
    }
}

impl IntoField<bool> for u8 {
    fn into_field(self) -> bool {
        self == 1
    }
}

properties! {
    /// Properties of CONNECT (3.1.2.11).
    ConnectProperties {
        /// Session Expiry Interval, in seconds.
        session_expiry: u32 = Four 0x11,
        /// Maximum number of unacknowledged `QoS` 1 and 2 messages that the client accepts.
        receive_maximum: u16 = Two 0x21,
        /// Largest packet that the client accepts, in bytes.
        maximum_packet_size: u32 = Four 0x27,
        /// Maximum number of topic aliases that the client accepts.
        topic_alias_maximum: u16 = Two 0x22,
        /// Whether response information is requested.
        request_response_information: bool = Byte 0x19,
        /// Whether reason strings are requested.
        request_problem_information: bool = Byte 0x17,
        /// Method of the extended authentication.
        authentication_method: ByteString = Text 0x15,
        /// Data of the extended authentication.
        authentication_data: Bytes = Binary 0x16,
    }
}

properties! {
    /// Properties of the will message (3.1.3.2).
    WillProperties {
        /// Delay before it is published, in seconds.
        delay: u32 = Four 0x18,
        /// 1 for UTF-8 text.
        payload_format: u8 = Byte 0x01,
        /// Message Expiry Interval, in seconds.
        message_expiry: u32 = Four 0x02,
        /// Media type of the payload.
        content_type: ByteString = Text 0x03,
        /// Topic for a response.
        response_topic: ByteString = Text 0x08,
        /// Correlates a response with the message.
        correlation: Bytes = Binary 0x09,
    }
}

properties! {
    /// Properties of CONNACK (3.2.2.3): what the broker grants.
    ConnackProperties {
        /// Session Expiry Interval, in seconds.
        session_expiry: u32 = Four 0x11,
        /// Maximum number of unacknowledged `QoS` 1 and 2 messages that the broker accepts.
        receive_maximum: u16 = Two 0x21,
        /// Maximum `QoS` that the broker supports: 0 or 1; absent: 2.
        maximum_qos: u8 = Byte 0x24,
        /// Whether the broker supports retained messages.
        retain_available: bool = Byte 0x25,
        /// Largest packet that the broker accepts, in bytes.
        maximum_packet_size: u32 = Four 0x27,
        /// The client identifier that the broker chose.
        assigned_client_id: ByteString = Text 0x12,
        /// Maximum number of topic aliases that the broker accepts.
        topic_alias_maximum: u16 = Two 0x22,
        /// The reason in words.
        reason_string: ByteString = Text 0x1F,
        /// Whether wildcards are supported in filters.
        wildcard_subscription_available: bool = Byte 0x28,
        /// Whether subscription identifiers are supported.
        subscription_identifiers_available: bool = Byte 0x29,
        /// Whether shared subscriptions are supported.
        shared_subscription_available: bool = Byte 0x2A,
        /// The keep-alive interval that the client must use, in seconds.
        server_keep_alive: u16 = Two 0x13,
        /// The base of response topics.
        response_information: ByteString = Text 0x1A,
        /// Another broker to use.
        server_reference: ByteString = Text 0x1C,
        /// Method of the extended authentication.
        authentication_method: ByteString = Text 0x15,
        /// Data of the extended authentication.
        authentication_data: Bytes = Binary 0x16,
    }
}

properties! {
    /// Properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    AckProperties {
        /// The reason in words.
        reason_string: ByteString = Text 0x1F,
    }
}

properties! {
    /// Properties of SUBSCRIBE (3.8.2.1).
    SubscribeProperties {
        /// The subscription identifier.
        subscription_id: u32 = Varint 0x0B,
    }
}

properties! {
    /// Properties of UNSUBSCRIBE (3.10.2.1).
    UnsubscribeProperties {}
}

properties! {
    /// Properties of DISCONNECT (3.14.2.2).
    DisconnectProperties {
        /// Session Expiry Interval, in seconds.
        session_expiry: u32 = Four 0x11,
        /// The reason in words.
        reason_string: ByteString = Text 0x1F,
        /// Another broker to use.
        server_reference: ByteString = Text 0x1C,
    }
}

properties! {
    /// Properties of AUTH (3.15.2.2).
    AuthProperties {
        /// The method.
        authentication_method: ByteString = Text 0x15,
        /// Its data.
        authentication_data: Bytes = Binary 0x16,
        /// The reason in words.
        reason_string: ByteString = Text 0x1F,
    }
}

/// Properties of PUBLISH (3.3.2.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PublishProperties {
    /// 1 for UTF-8 text.
    pub payload_format: Option<u8>,
    /// Message Expiry Interval, in seconds.
    pub message_expiry: Option<u32>,
    /// A number that replaces the topic.
    pub topic_alias: Option<u16>,
    /// Topic for a response.
    pub response_topic: Option<ByteString>,
    /// Correlates a response with its request.
    pub correlation: Option<Bytes>,
    /// Identifiers of the matching subscriptions; only from the broker.
    pub subscription_ids: Vec<u32>,
    /// Media type of the payload.
    pub content_type: Option<ByteString>,
    /// User properties, in order.
    pub user: Vec<UserProperty>,
}

impl Properties for PublishProperties {
    fn take(&mut self, property: Property) -> Result<(), Refused> {
        let twice = match property {
            Property::Byte(0x01, format) => self.payload_format.replace(format).is_some(),
            Property::Four(0x02, expiry) => self.message_expiry.replace(expiry).is_some(),
            Property::Two(0x23, alias) => self.topic_alias.replace(alias).is_some(),
            Property::Text(0x08, topic) => self.response_topic.replace(topic).is_some(),
            Property::Binary(0x09, data) => self.correlation.replace(data).is_some(),
            Property::Text(0x03, media) => self.content_type.replace(media).is_some(),
            Property::Varint(0x0B, id) => {
                self.subscription_ids.push(id);
                false
            }
            Property::User(user) => {
                self.user.push(user);
                false
            }
            _ => return Err(Refused::Foreign),
        };
        if twice { Err(Refused::Twice) } else { Ok(()) }
    }

    fn each(&self, give: &mut dyn FnMut(Property)) {
        if let Some(format) = self.payload_format {
            give(Property::Byte(0x01, format));
        }
        if let Some(expiry) = self.message_expiry {
            give(Property::Four(0x02, expiry));
        }
        if let Some(alias) = self.topic_alias {
            give(Property::Two(0x23, alias));
        }
        if let Some(topic) = &self.response_topic {
            give(Property::Text(0x08, topic.clone()));
        }
        if let Some(data) = &self.correlation {
            give(Property::Binary(0x09, data.clone()));
        }
        for id in &self.subscription_ids {
            give(Property::Varint(0x0B, *id));
        }
        if let Some(media) = &self.content_type {
            give(Property::Text(0x03, media.clone()));
        }
        for user in &self.user {
            give(Property::User(user.clone()));
        }
    }
}
