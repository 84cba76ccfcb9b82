//! The exit: plays the broker end of one MQTT connection.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use tidegate_binding_mqtt::codec::{
    Ack, Connack, Decoder, Packet, Publish, REMAINING_LENGTH_MAX, ReasonCode, Suback, Subscribe,
    Unsuback, Version, encode,
};
use tidegate_scenarios::{Captures, Pattern, Statement};
use tidegate_streams::mqtt::{MqttPayloadFormat, MqttSubscribeData, MqttTopicFilter};
use tidegate_streams::{Field, Frame, FrameKind, Protocol, Scripted, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Broker {
    listener: TcpListener,
    socket: Option<TcpStream>,
    decoder: Decoder,
    /// Packets that were received and not yet expected by the script.
    read: VecDeque<Packet>,
    exits: BTreeMap<u32, Exit>,
    next_id: u16,
}

/// A stream of the exit.
#[derive(Default)]
struct Exit {
    publishes: bool,
    topic: Option<Pattern>,
    /// The PUBLISH or the SUBSCRIBE.
    packet: Option<Packet>,
}

impl Broker {
    pub(super) fn new(listener: std::net::TcpListener) -> Result<Self, String> {
        listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            listener: TcpListener::from_std(listener).map_err(|error| error.to_string())?,
            socket: None,
            decoder: Decoder::new(Version::V5, REMAINING_LENGTH_MAX),
            read: VecDeque::new(),
            exits: BTreeMap::new(),
            next_id: 0,
        })
    }

    /// The first received packet that the script did not expect.
    pub(super) fn unexpected(&self) -> Option<&'static str> {
        self.read.front().map(Scripted::word)
    }

    pub(super) async fn expect(
        &mut self,
        statement: &Statement,
        captures: &mut Captures,
    ) -> Result<(), String> {
        let publishes = self
            .exits
            .get(&statement.number)
            .is_some_and(|exit| exit.publishes);
        match (statement.verb.as_str(), publishes) {
            ("begin", _) => self.begins(statement, captures).await,
            ("data", true) => self.publishes(statement, captures).await,
            ("end", true) => Ok(()),
            ("end", false) => {
                let wanted = |packet: &Packet| matches!(packet, Packet::Unsubscribe(_));
                let Packet::Unsubscribe(unsubscribe) = self.packet(wanted).await? else {
                    return Ok(());
                };
                self.send(&Packet::Unsuback(Unsuback {
                    packet_id: unsubscribe.packet_id,
                    reasons: vec![ReasonCode::SUCCESS; unsubscribe.filters.len()],
                    ..Unsuback::default()
                }))
                .await
            }
            (verb, _) => Err(format!("'{verb}' is not supported in live scenarios")),
        }
    }

    /// A stream begins. SUBSCRIBE is sent immediately, PUBLISH only with its message.
    async fn begins(
        &mut self,
        statement: &Statement,
        captures: &mut Captures,
    ) -> Result<(), String> {
        let mut exit = Exit {
            publishes: statement
                .words
                .first()
                .is_some_and(|word| word == "publish"),
            ..Exit::default()
        };
        let field = |name: &str| statement.fields.iter().find(|(known, _)| known == name);
        exit.topic = field("topic").map(|(_, pattern)| pattern.clone());
        if !exit.publishes {
            let wanted = |packet: &Packet| matches!(packet, Packet::Subscribe(_));
            let packet = self.packet(wanted).await?;
            if let (Packet::Subscribe(subscribe), Some((_, pattern))) = (&packet, field("filters"))
            {
                let actual = filters(subscribe);
                if !pattern.matches(&actual, captures) {
                    return Err(format!("filters is {actual}"));
                }
            }
            exit.packet = Some(packet);
        }
        self.exits.insert(statement.number, exit);
        Ok(())
    }

    /// Compares the message of a publication.
    async fn publishes(
        &mut self,
        statement: &Statement,
        captures: &mut Captures,
    ) -> Result<(), String> {
        let wanted = |packet: &Packet| matches!(packet, Packet::Publish(_));
        let packet = self.packet(wanted).await?;
        let Packet::Publish(publish) = &packet else {
            return Ok(());
        };
        let topic = Value::Text(publish.topic.clone());
        let exit = self.exits.entry(statement.number).or_default();
        if !exit
            .topic
            .as_ref()
            .is_some_and(|pattern| pattern.matches(&topic, captures))
        {
            return Err(format!("topic is {topic}"));
        }
        // Convert the packet to the DATA of the stream and compare that.
        let data = as_data(publish)?;
        let blank = || Frame::blank(FrameKind::Data, Protocol::Mqtt, "publish");
        if let (Some(mut data), Some(mut blank)) = (data, blank())
            && let (Some(data), Some(blank)) = (data.extension(), blank.extension())
        {
            tidegate_scenarios::fields_agree(&as_on_the_wire(statement), data, blank, captures)
                .map_err(|difference| difference.to_string())?;
        }
        let payload = publish.payload.concat();
        let agrees = statement
            .payload
            .as_ref()
            .map_or(payload.is_empty(), |wanted| {
                wanted.matches(&payload, captures)
            });
        if !agrees {
            return Err(format!("the payload is {:?}", Bytes::from(payload)));
        }
        exit.packet = Some(packet);
        Ok(())
    }

    pub(super) async fn play(
        &mut self,
        statement: &Statement,
        captures: &Captures,
    ) -> Result<(), String> {
        let exit = self.exits.get(&statement.number);
        let exit = exit.ok_or_else(|| format!("{} is not open", statement.conversation()))?;
        let packet = exit.packet.clone();
        match (statement.verb.as_str(), packet) {
            ("begin", Some(Packet::Subscribe(subscribe))) => {
                let reasons = granted(statement, captures)?;
                let packet_id = subscribe.packet_id;
                let suback = Suback {
                    packet_id,
                    reasons,
                    ..Suback::default()
                };
                self.send(&Packet::Suback(suback)).await
            }
            ("data", Some(Packet::Subscribe(subscribe))) => {
                let message = self.message(statement, captures, &subscribe)?;
                self.deliver(message).await
            }
            ("end", Some(Packet::Publish(publish))) => self.acknowledge(&publish).await,
            ("begin" | "end", _) => Ok(()),
            (verb, _) => Err(format!(
                "'{verb}' of the broker is not supported in live scenarios"
            )),
        }
    }

    /// Acknowledges a PUBLISH according to its `QoS`.
    async fn acknowledge(&mut self, publish: &Publish) -> Result<(), String> {
        let ack = Ack {
            packet_id: publish.packet_id,
            ..Ack::default()
        };
        match publish.qos {
            0 => Ok(()),
            1 => self.send(&Packet::Puback(ack)).await,
            _ => {
                self.send(&Packet::Pubrec(ack.clone())).await?;
                self.packet(|packet| matches!(packet, Packet::Pubrel(_)))
                    .await?;
                self.send(&Packet::Pubcomp(ack)).await
            }
        }
    }

    /// Converts the DATA of a stream to a PUBLISH.
    fn message(
        &mut self,
        statement: &Statement,
        captures: &Captures,
        subscribe: &Subscribe,
    ) -> Result<Publish, String> {
        let mut data = MqttSubscribeData::default();
        for (name, pattern) in &statement.fields {
            let value = pattern
                .resolve(captures)
                .map_err(|error| error.to_string())?;
            data.set(name, &value).map_err(|error| error.to_string())?;
        }
        let payload = statement
            .payload
            .as_ref()
            .map(|payload| payload.resolve(captures));
        let payload = payload
            .transpose()
            .map_err(|error| error.to_string())?
            .unwrap_or_default();
        self.next_id += 1;
        let mut publish = Publish {
            qos: data.qos,
            retain: data
                .flags
                .contains(tidegate_streams::mqtt::MqttSubscribeFlags::RETAIN),
            topic: data.topic,
            packet_id: if data.qos > 0 { self.next_id } else { 0 },
            payload: Some(payload)
                .filter(|payload| !payload.is_empty())
                .into_iter()
                .collect(),
            ..Publish::default()
        };
        publish.properties.content_type = data.content_type;
        publish.properties.response_topic = data.response_topic;
        publish.properties.correlation = data.correlation;
        publish.properties.subscription_ids =
            subscribe.properties.subscription_id.into_iter().collect();
        Ok(publish)
    }

    /// Sends a message and waits for its acknowledgements.
    async fn deliver(&mut self, publish: Publish) -> Result<(), String> {
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        self.send(&Packet::Publish(publish)).await?;
        match qos {
            0 => {}
            1 => {
                self.packet(|packet| matches!(packet, Packet::Puback(_)))
                    .await?;
            }
            _ => {
                self.packet(|packet| matches!(packet, Packet::Pubrec(_)))
                    .await?;
                self.send(&Packet::Pubrel(Ack {
                    packet_id,
                    ..Ack::default()
                }))
                .await?;
                self.packet(|packet| matches!(packet, Packet::Pubcomp(_)))
                    .await?;
            }
        }
        Ok(())
    }

    /// The first packet of a kind; others stay queued.
    async fn packet(&mut self, wanted: impl Fn(&Packet) -> bool) -> Result<Packet, String> {
        loop {
            if let Some(index) = self.read.iter().position(&wanted)
                && let Some(packet) = self.read.remove(index)
            {
                return Ok(packet);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), String> {
        let mut buffer = BytesMut::with_capacity(4096);
        let read = self.socket().await?.read_buf(&mut buffer).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("connection closed by the gateway".to_owned());
        }
        self.decoder.push(buffer.freeze());
        while let Some(packet) = self.decoder.next().map_err(|error| error.to_string())? {
            match packet {
                Packet::Connect(_) => {
                    self.send(&Packet::Connack(Box::<Connack>::default()))
                        .await?;
                }
                Packet::Pingreq => self.send(&Packet::Pingresp).await?,
                packet => self.read.push_back(packet),
            }
        }
        Ok(())
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), String> {
        let mut out = BytesMut::new();
        encode(packet, Version::V5, REMAINING_LENGTH_MAX, &mut out)
            .map_err(|error| error.to_string())?;
        let socket = self.socket().await?;
        socket
            .write_all(&out)
            .await
            .map_err(|error| error.to_string())
    }

    /// The connection; accepts it if there is none yet.
    async fn socket(&mut self) -> Result<&mut TcpStream, String> {
        if self.socket.is_none() {
            let (socket, _) = self
                .listener
                .accept()
                .await
                .map_err(|error| error.to_string())?;
            socket
                .set_nodelay(true)
                .map_err(|error| error.to_string())?;
            self.socket = Some(socket);
        }
        self.socket
            .as_mut()
            .ok_or_else(|| "no connection".to_owned())
    }
}

/// Converts the filters of a SUBSCRIBE to those of a BEGIN.
fn filters(subscribe: &Subscribe) -> Value {
    let filter = |filter: &tidegate_binding_mqtt::codec::SubscribeFilter| MqttTopicFilter {
        qos: filter.qos,
        pattern: filter.filter.clone(),
        ..MqttTopicFilter::default()
    };
    subscribe
        .filters
        .iter()
        .map(filter)
        .collect::<Vec<_>>()
        .to_value()
}

/// The reason codes of SUBACK from a reply BEGIN.
fn granted(statement: &Statement, captures: &Captures) -> Result<Vec<ReasonCode>, String> {
    let filters = statement.fields.iter().find(|(name, _)| name == "filters");
    let (_, pattern) = filters.ok_or("a SUBACK needs filters")?;
    let value = pattern
        .resolve(captures)
        .map_err(|error| error.to_string())?;
    let filters = Vec::<MqttTopicFilter>::from_value(&value).map_err(|error| error.to_string())?;
    let reason = |filter: &MqttTopicFilter| match filter.reason_code {
        0 => ReasonCode(filter.qos),
        refused => ReasonCode(refused),
    };
    Ok(filters.iter().map(reason).collect())
}

/// Converts a PUBLISH to the DATA of a stream.
fn as_data(publish: &Publish) -> Result<Option<Frame>, String> {
    let mut frame = Frame::blank(FrameKind::Data, Protocol::Mqtt, "publish");
    let Some(data) = frame.as_mut().and_then(Frame::extension) else {
        return Ok(frame);
    };
    let properties = &publish.properties;
    let format = match properties.payload_format {
        Some(1) => MqttPayloadFormat::Text,
        Some(_) => MqttPayloadFormat::Binary,
        None => MqttPayloadFormat::None,
    };
    let expiry = properties.message_expiry.map_or(-1, i64::from);
    let mut fields = vec![
        ("qos", publish.qos.to_value()),
        ("format", format.to_value()),
        ("expiryInterval", Value::Integer(expiry)),
        ("contentType", properties.content_type.to_value()),
        ("responseTopic", properties.response_topic.to_value()),
        ("correlation", properties.correlation.to_value()),
    ];
    if publish.retain {
        fields.push(("flags", Value::Word("RETAIN".to_owned())));
    }
    for (name, value) in fields {
        data.set(name, &value).map_err(|error| error.to_string())?;
    }
    Ok(frame)
}

/// The fields that are visible on the wire: not the fragmentation, and `BINARY` is the same as no format.
fn as_on_the_wire(statement: &Statement) -> Statement {
    let mut statement = statement.clone();
    let binary = Pattern::Exactly(MqttPayloadFormat::Binary.to_value());
    statement
        .fields
        .retain(|(name, pattern)| name != "deferred" && *pattern != binary);
    statement
}
