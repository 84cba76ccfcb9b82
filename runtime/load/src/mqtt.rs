//! A minimal MQTT client: stores retained messages, publishes for listeners, and subscribes.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tidegate_binding_mqtt::codec::{
    self, Ack, Connack, Connect, Decoder, Packet, Parts, Publish, REMAINING_LENGTH_MAX, ReasonCode,
    Subscribe, SubscribeFilter, Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::socket::{BrokerAddress, Socket};

/// Longest time for a response of the broker.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const READ_SIZE: usize = 16 << 10;

/// A failed operation.
#[derive(Debug, Error)]
pub(crate) enum MqttError {
    #[error("connection failed: {0}")]
    Connection(#[from] io::Error),
    #[error("connection closed by the broker")]
    Closed,
    #[error("no response from the broker within {RESPONSE_TIMEOUT:?}")]
    Silent,
    #[error("invalid packet from the broker: {0}")]
    InvalidSetting(#[from] codec::DecodeError),
    #[error("cannot encode the packet: {0}")]
    Unsayable(#[from] codec::EncodeError),
    #[error("the broker rejected {what} with reason code {code:#04x}")]
    Refused { what: &'static str, code: u8 },
    #[error("unexpected packet from the broker: {0}")]
    Unexpected(&'static str),
}

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Mqtt {
    pub(crate) socket: Socket,
    decoder: Decoder,
    input: BytesMut,
    out: BytesMut,
    /// Receive Maximum of the broker.
    pub(crate) receive_maximum: u16,
    /// Whether to send TCP acknowledgements immediately: with Nagle's algorithm the broker delays a packet while
    /// the last one is unacknowledged.
    pub(crate) quickack: bool,
}

impl Mqtt {
    /// Connects with a clean session that ends with the connection.
    pub(crate) async fn connect(
        broker: &BrokerAddress,
        client_id: &str,
    ) -> Result<Self, MqttError> {
        let mut mqtt = Self {
            socket: Socket::connect(broker).await?,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
            input: BytesMut::new(),
            out: BytesMut::new(),
            receive_maximum: u16::MAX,
            quickack: false,
        };
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            client_id: client_id.into(),
            ..Connect::default()
        };
        mqtt.send(&Packet::Connect(Box::new(connect))).await?;
        match mqtt.answer().await? {
            Packet::Connack(connack) => {
                accepted("the connection", connack.reason)?;
                let Connack { properties, .. } = *connack;
                mqtt.receive_maximum = properties.receive_maximum.unwrap_or(u16::MAX);
                Ok(mqtt)
            }
            other => Err(MqttError::Unexpected(other.packet_type().word())),
        }
    }

    /// Publishes a retained message; an empty payload removes it.
    pub(crate) async fn retain(&mut self, topic: &str, payload: Bytes) -> Result<(), MqttError> {
        let publish = Publish {
            qos: 1,
            retain: true,
            topic: topic.into(),
            packet_id: 1,
            payload: if payload.is_empty() {
                Parts::new()
            } else {
                vec![payload].into()
            },
            ..Publish::default()
        };
        self.send(&Packet::Publish(publish)).await?;
        match self.answer().await? {
            Packet::Puback(ack) => accepted("the message", ack.reason),
            other => Err(MqttError::Unexpected(other.packet_type().word())),
        }
    }

    /// Publishes at `QoS` 0.
    pub(crate) async fn publish(&mut self, topic: &str, payload: Bytes) -> Result<(), MqttError> {
        let publish = Publish {
            topic: topic.into(),
            payload: if payload.is_empty() {
                Parts::new()
            } else {
                vec![payload].into()
            },
            ..Publish::default()
        };
        self.send(&Packet::Publish(publish)).await
    }

    /// Subscribes at `QoS` 0.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<(), MqttError> {
        self.subscribe_at(filter, 0).await
    }

    /// Publishes at `QoS` 1 with Correlation Data. The packet identifier is made of `number`: one of many before
    /// may be unacknowledged.
    pub(crate) async fn request(
        &mut self,
        topic: &str,
        payload: Bytes,
        correlation: &Bytes,
        number: u64,
    ) -> Result<(), MqttError> {
        let id = number % u64::from(u16::MAX) + 1;
        let mut publish = Publish {
            qos: 1,
            topic: topic.into(),
            packet_id: u16::try_from(id).unwrap_or(1),
            payload: vec![payload].into(),
            ..Publish::default()
        };
        publish.properties.correlation = Some(correlation.clone());
        self.send(&Packet::Publish(publish)).await
    }

    /// Acknowledges a message, if it has to be.
    pub(crate) async fn acknowledge(&mut self, publish: &Publish) -> Result<(), MqttError> {
        if publish.qos == 0 {
            return Ok(());
        }
        let ack = Ack {
            packet_id: publish.packet_id,
            ..Ack::default()
        };
        self.send(&Packet::Puback(ack)).await
    }

    /// Subscribes at a `QoS`.
    pub(crate) async fn subscribe_at(&mut self, filter: &str, qos: u8) -> Result<(), MqttError> {
        let subscribe = Subscribe {
            packet_id: 1,
            filters: vec![SubscribeFilter {
                filter: filter.into(),
                qos,
                ..SubscribeFilter::default()
            }],
            ..Subscribe::default()
        };
        self.send(&Packet::Subscribe(subscribe)).await?;
        match self.answer().await? {
            Packet::Suback(suback) => {
                let reason = suback.reasons.first().copied().unwrap_or_default();
                accepted("the subscription", reason)
            }
            other => Err(MqttError::Unexpected(other.packet_type().word())),
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), MqttError> {
        self.out.clear();
        codec::encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut self.out)?;
        self.socket.write_all(&self.out).await?;
        Ok(self.socket.flush().await?)
    }

    async fn answer(&mut self) -> Result<Packet, MqttError> {
        timeout(RESPONSE_TIMEOUT, self.next())
            .await
            .map_err(|_| MqttError::Silent)?
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> Result<Packet, MqttError> {
        loop {
            if let Some(packet) = self.decoder.next()? {
                return Ok(packet);
            }
            self.input.reserve(READ_SIZE);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(MqttError::Closed);
            }
            if self.quickack {
                self.socket.set_quickack()?;
            }
            self.decoder.push(self.input.split().freeze());
        }
    }
}

fn accepted(what: &'static str, reason: ReasonCode) -> Result<(), MqttError> {
    match reason.0 {
        code @ 0x80.. => Err(MqttError::Refused { what, code }),
        _ => Ok(()),
    }
}
