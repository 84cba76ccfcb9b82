//! What comes from the broker: packets out of bytes, and each to where it belongs.
//!
//! Acknowledgements go out as soon as a message is in the queues of those it is for, and so in the
//! order of arrival (MQTT 5.0, 4.6). A queue that is full ends its stream, except where the stream
//! has the connection to itself: then reading stops, credit on the byte stream runs out, and the
//! broker waits. What a stream with a limit gets is acknowledged later (see `counted`).

use tidegate_engine::streams::Data;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::connection::{Connection, Phase, Work};
use super::events::SlowConsumer;
use super::failure::{Failure, told_with};
use super::granted::Granted;
use super::packets;
use super::streams::Kind;
use crate::codec::{Connack, Disconnect, Packet, Publish, ReasonCode};

impl Connection {
    /// Bytes have come.
    pub(super) fn on_bytes(&mut self, w: &mut Work<'_, '_>, data: Data) {
        self.unread += data.payload.len();
        let connecting = self.phase == Phase::Connecting;
        if connecting {
            self.answer.push(&data.payload);
        }
        self.decoder.push(data.payload);
        // What came before CONNACK is read at once; the rest when the connection settles.
        if connecting {
            self.read(w);
        }
    }

    /// Reads the packets that are whole, unless nobody can take what they bring.
    pub(super) fn read(&mut self, w: &mut Work<'_, '_>) {
        while self.unread > 0 && !self.is_deaf(w) {
            match self.decoder.next() {
                // What has come in part shows nothing yet: see `overdue`.
                Ok(Some(packet)) => {
                    self.keep_alive.received(w.cx.now());
                    self.note_whole();
                    self.on_packet(w, packet);
                }
                Ok(None) => {
                    self.note_partial(w);
                    let Some(bytes) = self.bytes else { return };
                    w.cx.acknowledge(bytes, self.unread);
                    self.unread = 0;
                }
                Err(error) => {
                    let foreign = match self.phase {
                        Phase::Connecting => self.answer.failure(&self.broker()),
                        _ => None,
                    };
                    match foreign {
                        Some(failure) => self.lost(w, &failure, None),
                        None => self.broken(w, error.reason_code(), &error.to_string()),
                    }
                }
            }
        }
    }

    /// Whether reading must wait: for the broker to read, or for the one stream there is.
    fn is_deaf(&self, w: &Work<'_, '_>) -> bool {
        if self.outbound.len() > w.shared.options.max_pending.size() {
            return true;
        }
        self.streams.len() == self.sessions + 1 && {
            let full = |key: &usize| match w.streams.get(*key).map(|stream| &stream.kind) {
                Some(Kind::Subscribe(subscriber)) => {
                    let (messages, bytes) = bounds(w);
                    subscriber.accepted && subscriber.deliveries.is_full(messages, bytes)
                }
                _ => false,
            };
            self.streams.iter().any(full)
        }
    }

    fn on_packet(&mut self, w: &mut Work<'_, '_>, packet: Packet) {
        match (self.phase, packet) {
            (Phase::Connecting, Packet::Connack(connack)) => self.on_connack(w, &connack),
            (Phase::Ready, Packet::Publish(publish)) => self.on_publish(w, &publish),
            (Phase::Ready, Packet::Puback(ack)) => self.on_puback(w, &ack),
            (Phase::Ready, Packet::Pubrec(ack)) => self.on_pubrec(w, &ack),
            (Phase::Ready, Packet::Pubcomp(ack)) => self.on_pubcomp(w, &ack),
            (Phase::Ready, Packet::Pubrel(ack)) => {
                let reason = if self.received.remove(&ack.packet_id) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                };
                let pubcomp = packets::pubcomp(w.shared, &mut self.packets, ack.packet_id, reason);
                self.send(w.cx, [pubcomp]);
            }
            (Phase::Ready, Packet::Suback(suback)) => {
                self.acquit_filters(w);
                self.on_suback(w, &suback);
            }
            (Phase::Ready, Packet::Unsuback(unsuback)) => self.on_unsuback(w, unsuback.packet_id),
            (Phase::Ready, Packet::Pingresp) => self.on_pong(w),
            (Phase::Ready, Packet::Disconnect(disconnect)) => self.on_disconnect(w, &disconnect),
            (phase, packet) => {
                let when = match phase {
                    Phase::Ready => "which a broker does not send now",
                    _ => "before CONNACK",
                };
                let what = format!("{} {when}", packet.packet_type().word());
                self.broken(w, ReasonCode::PROTOCOL_ERROR, &what);
            }
        }
    }

    fn on_connack(&mut self, w: &mut Work<'_, '_>, connack: &Connack) {
        if connack.reason.is_error() {
            let told = connack.properties.reason_string.as_deref();
            let failure = Failure::refused(&self.broker(), connack.reason, told);
            return self.lost(w, &failure, None);
        }
        if connack.session_present {
            let what = "a session was resumed where a new one was asked for";
            return self.broken(w, ReasonCode::PROTOCOL_ERROR, what);
        }
        let granted = Granted::new(w.shared.version, &connack.properties);
        self.connected(w, granted);
    }

    fn on_disconnect(&mut self, w: &mut Work<'_, '_>, disconnect: &Disconnect) {
        let code = match disconnect.reason {
            reason if reason.is_error() => reason,
            _ => ReasonCode::SERVER_UNAVAILABLE,
        };
        self.accuse(w, Some(disconnect.reason));
        let told = disconnect.properties.reason_string.as_deref();
        let reason = match (disconnect.reason, told) {
            // Here the code of success is that of a normal disconnection (3.14.2.1).
            (ReasonCode::SUCCESS, None) => format!("{} closed the connection.", self.broker()),
            (reason, told) => {
                let why = told_with(reason, told);
                format!("{} closed the connection: {why}.", self.broker())
            }
        };
        self.lost(w, &Failure::new(code, reason), None);
    }

    fn on_publish(&mut self, w: &mut Work<'_, '_>, publish: &Publish) {
        let packet_id = publish.packet_id;
        if publish.topic.is_empty() || publish.properties.topic_alias.is_some() {
            let what = "a topic alias, of which none was granted";
            return self.broken(w, ReasonCode::TOPIC_ALIAS_INVALID, what);
        }
        if self.counted.is_some() {
            return self.on_counted(w, publish);
        }
        let repeated = publish.qos == 2 && self.received.contains(&packet_id);
        if publish.qos == 2 && !repeated {
            if self.received.len() >= w.shared.options.receive_maximum.size() {
                let what = "more messages of QoS 2 than the receive maximum";
                return self.broken(w, ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, what);
            }
            self.received.insert(packet_id);
        }
        if !repeated {
            w.shared.counts.consumed += 1;
            self.deliver(w, publish);
        }
        match publish.qos {
            0 => {}
            1 => {
                let puback = packets::puback(w.shared, &mut self.packets, packet_id);
                self.send(w.cx, [puback]);
            }
            _ => {
                let pubrec = packets::pubrec(w.shared, &mut self.packets, packet_id);
                self.send(w.cx, [pubrec]);
            }
        }
    }

    /// Hands a message to each stream that it is for; whether there was one.
    pub(super) fn deliver(&mut self, w: &mut Work<'_, '_>, publish: &Publish) -> bool {
        let identifiers = &publish.properties.subscription_ids;
        let places = self
            .subscriptions
            .route(identifiers, &publish.topic, publish.retain);
        if places.is_empty() {
            return false;
        }
        let mut delivered = false;
        let message = packets::message(publish);
        let (messages, bytes) = bounds(w);
        let alone = self.streams.len() == self.sessions + 1;
        for places in places.chunk_by(|one, next| one.stream == next.stream) {
            let Some(key) = places.first().map(|place| place.stream) else {
                continue;
            };
            let Some((id, subscriber)) = w.streams.subscriber(key) else {
                continue;
            };
            if !subscriber.takes(places, &publish.topic, publish.retain) {
                continue;
            }
            if subscriber.deliveries.is_full(messages, bytes) && !(alone && subscriber.accepted) {
                self.drop_slow(w, key, messages, bytes);
                continue;
            }
            let mut own = message.clone();
            subscriber.address(&mut own, places);
            subscriber.deliveries.push(own, &publish.payload);
            subscriber.flush(w.cx, id);
            delivered = true;
        }
        delivered
    }

    /// A stream does not take its messages: it is ended, so that the others go on.
    fn drop_slow(&mut self, w: &mut Work<'_, '_>, key: usize, messages: usize, bytes: usize) {
        w.shared.counts.slow_consumers += 1;
        w.cx.event(&SlowConsumer {
            client: self.client_id.clone(),
        });
        let reason = format!(
            "This subscriber is a slow consumer: more than {messages} messages or {bytes} bytes \
             waited for it (queueMessages, queueBytes)."
        );
        let failure = Failure::new(ReasonCode::QUOTA_EXCEEDED, reason);
        self.fail(w, key, &failure, MqttDelivery::None);
    }
}

/// How many messages and bytes may wait for one subscriber.
fn bounds(w: &Work<'_, '_>) -> (usize, usize) {
    let options = &w.shared.options;
    (options.queue_messages.size(), options.queue_bytes.size())
}
