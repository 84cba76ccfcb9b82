//! A small MQTT 5 client, for the machines of the tour: connects, subscribes and publishes over a real
//! socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tidegate_binding_mqtt::codec::{
    self, Ack, Connect, Decoder, Packet, Publish, REMAINING_LENGTH_MAX, Subscribe, SubscribeFilter,
    Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest time for CONNACK and SUBACK.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the broker keeps the session without a connection, in seconds.
const SESSION_EXPIRY: u32 = 3_600;
const READ_SIZE: usize = 4 << 10;

/// A machine of the tour lost its broker.
#[derive(Debug, Error)]
pub(crate) enum MqttError {
    /// The socket failed.
    #[error("the connection to the embedded broker failed: {0}")]
    Connection(#[from] io::Error),
    /// The broker closed the connection.
    #[error("the embedded broker closed the connection")]
    Closed,
    /// No answer in time.
    #[error("the embedded broker did not answer within {ANSWER_TIMEOUT:?}")]
    Silent,
    /// A packet cannot be read.
    #[error("invalid packet from the embedded broker: {0}")]
    Invalid(#[from] codec::DecodeError),
    /// A packet cannot be written.
    #[error("cannot encode a packet: {0}")]
    Unsayable(#[from] codec::EncodeError),
    /// Another packet was expected.
    #[error("the embedded broker refused {0}")]
    Refused(&'static str),
}

/// What a received packet says.
#[derive(Debug)]
pub(super) enum Received {
    Message {
        topic: String,
        text: String,
    },
    /// A message of this packet identifier has arrived at the broker.
    Acknowledged(u16),
}

/// A connection to the broker.
#[derive(Debug)]
pub(super) struct Mqtt {
    socket: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    out: BytesMut,
    last_id: u16,
}

impl Mqtt {
    /// Connects with a session, and subscribes at `QoS` 1.
    pub(super) async fn connect(
        broker: SocketAddr,
        client_id: &'static str,
        filters: &[String],
    ) -> Result<Self, MqttError> {
        let socket = TcpStream::connect(broker).await?;
        socket.set_nodelay(true)?;
        let mut mqtt = Self {
            socket,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
            input: BytesMut::new(),
            out: BytesMut::new(),
            last_id: 0,
        };
        let mut connect = Connect {
            version: Version::V5,
            client_id: client_id.into(),
            ..Connect::default()
        };
        connect.properties.session_expiry = Some(SESSION_EXPIRY);
        mqtt.send(&Packet::Connect(Box::new(connect))).await?;
        match mqtt.answer().await? {
            Packet::Connack(connack) if connack.reason.0 < 0x80 => {}
            _ => return Err(MqttError::Refused("the connection")),
        }
        let filters = filters.iter().map(|filter| SubscribeFilter {
            filter: filter.as_str().into(),
            qos: 1,
            ..SubscribeFilter::default()
        });
        let subscribe = Subscribe {
            packet_id: mqtt.next_id(),
            filters: filters.collect(),
            ..Subscribe::default()
        };
        mqtt.send(&Packet::Subscribe(subscribe)).await?;
        match mqtt.answer().await? {
            Packet::Suback(suback) if suback.reasons.iter().all(|it| it.0 < 0x80) => Ok(mqtt),
            _ => Err(MqttError::Refused("the subscription")),
        }
    }

    const fn next_id(&mut self) -> u16 {
        self.last_id = if self.last_id == u16::MAX {
            1
        } else {
            self.last_id + 1
        };
        self.last_id
    }

    /// Publishes at `QoS` 1, and returns the packet identifier.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        text: &str,
        correlation: Option<String>,
        expiry: Option<u32>,
    ) -> Result<u16, MqttError> {
        let mut publish = Publish {
            qos: 1,
            topic: topic.into(),
            packet_id: self.next_id(),
            payload: vec![Bytes::copy_from_slice(text.as_bytes())].into(),
            ..Publish::default()
        };
        publish.properties.correlation = correlation.map(Bytes::from);
        publish.properties.message_expiry = expiry;
        publish.properties.payload_format = Some(1);
        let id = publish.packet_id;
        self.send(&Packet::Publish(publish)).await?;
        Ok(id)
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), MqttError> {
        self.out.clear();
        codec::encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut self.out)?;
        Ok(self.socket.write_all(&self.out).await?)
    }

    async fn answer(&mut self) -> Result<Packet, MqttError> {
        timeout(ANSWER_TIMEOUT, self.packet())
            .await
            .map_err(|_| MqttError::Silent)?
    }

    async fn packet(&mut self) -> Result<Packet, MqttError> {
        loop {
            if let Some(packet) = self.decoder.next()? {
                return Ok(packet);
            }
            self.input.reserve(READ_SIZE);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(MqttError::Closed);
            }
            self.decoder.push(self.input.split().freeze());
        }
    }

    /// The next packet that is a message or an acknowledgement. Waiting for it can be given up and begun
    /// again; the caller acknowledges a message with [`Self::take`].
    pub(super) async fn next(&mut self) -> Result<Packet, MqttError> {
        loop {
            let packet = self.packet().await?;
            if matches!(packet, Packet::Publish(_) | Packet::Puback(_)) {
                return Ok(packet);
            }
        }
    }

    /// What a packet of [`Self::next`] says; a message is acknowledged.
    pub(super) async fn take(&mut self, packet: Packet) -> Result<Option<Received>, MqttError> {
        match packet {
            Packet::Publish(publish) => {
                if publish.qos == 1 {
                    let ack = Ack {
                        packet_id: publish.packet_id,
                        ..Ack::default()
                    };
                    self.send(&Packet::Puback(ack)).await?;
                }
                Ok(Some(Received::Message {
                    topic: publish.topic.to_string(),
                    text: text_of(&publish),
                }))
            }
            Packet::Puback(ack) => Ok(Some(Received::Acknowledged(ack.packet_id))),
            _ => Ok(None),
        }
    }
}

/// The payload of a message as text.
pub(super) fn text_of(publish: &Publish) -> String {
    String::from_utf8_lossy(&publish.payload.concat()).into_owned()
}
