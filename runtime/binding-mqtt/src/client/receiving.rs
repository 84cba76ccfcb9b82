//! How a connection receives: decodes packets from the broker and dispatches them.
//!
//! A message is acknowledged as soon as it is in the queues of its subscribers, and so in the order of
//! arrival (MQTT 5.0, 4.6). A full queue ends its subscription, unless the subscriber is the only
//! stream of the connection: then reading pauses, the credit of the byte stream runs out, and the
//! broker waits. Messages of a subscription with a limit are acknowledged later (see `counted`).
//!
//! Messages may arrive before the broker has answered for all filters of a stream (MQTT 5.0, 3.8.4), and
//! retained ones in any number; the answers come behind them, so that reading cannot pause. They
//! wait for the reply BEGIN, which states the answers. When the queue is half full, the reply
//! begins without them, and they follow in a FLUSH.

use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{Data, Frame};

use super::connection::{Connection, Env, Phase};
use super::events::{SessionTakenOver, SlowConsumer};
use super::failure::{Failure, Scope, describe_reason};
use super::granted::Granted;
use super::packets;
use super::redelivery::content;
use super::redirect::Reference;
use super::streams::Kind;
use super::version::Refusal;
use crate::codec::{Connack, Disconnect, Packet, Publish, ReasonCode, Version};

impl Connection {
    /// The byte stream delivered data.
    pub(super) fn on_bytes(&mut self, env: &mut Env<'_, '_>, data: Data) {
        self.unread += data.payload.len();
        let connecting = self.phase == Phase::Connecting;
        if connecting {
            self.answer.push(&data.payload);
        }
        self.decoder.push(data.payload);
        // Answers to CONNECT are decoded at once; later packets when the connection settles.
        if connecting {
            self.read(env);
        }
    }

    /// Handles complete packets, unless reading is paused.
    pub(super) fn read(&mut self, env: &mut Env<'_, '_>) {
        while self.unread > 0 && !self.is_reading_paused(env) {
            match self.decoder.next() {
                // An incomplete packet does not count as an answer: see `overdue`.
                Ok(Some(packet)) => {
                    self.keep_alive.received(env.cx.now());
                    self.note_whole();
                    self.on_packet(env, packet);
                }
                Ok(None) => {
                    self.note_partial(env);
                    let Some(bytes) = self.bytes else { return };
                    env.cx.acknowledge(bytes, self.unread);
                    self.unread = 0;
                }
                Err(error) => {
                    if let Some(passed) = self.decoder.passed_over() {
                        self.keep_alive.received(env.cx.now());
                        self.note_whole();
                        self.pass_over(env, &passed, &error);
                        continue;
                    }
                    let connecting = self.phase == Phase::Connecting;
                    let asked = self.packets.version == Version::V5;
                    if connecting
                        && asked
                        && self.answer.is_version_311()
                        && self.fall_back(env, Refusal::Stated)
                    {
                        return;
                    }
                    let foreign = match self.phase {
                        Phase::Connecting => {
                            self.answer.failure(&self.broker(), self.packets.version)
                        }
                        _ => None,
                    };
                    match foreign {
                        Some(failure) => self.lost(env, &failure, None),
                        None => self.protocol_error(env, error.reason_code(), &error.to_string()),
                    }
                }
            }
        }
    }

    /// Whether reading is paused: until the broker reads, or until the only subscriber reads.
    fn is_reading_paused(&self, env: &Env<'_, '_>) -> bool {
        if self.outbound.len() > env.shared.options.max_pending.size() {
            return true;
        }
        self.streams.len() == self.sessions + 1 && {
            let full = |key: &usize| match env.streams.get(*key).map(|stream| &stream.kind) {
                Some(Kind::Subscribe(subscriber)) => {
                    let (messages, bytes) = bounds(env);
                    subscriber.begun && subscriber.deliveries.is_full(messages, bytes)
                }
                _ => false,
            };
            self.streams.iter().any(full)
        }
    }

    fn on_packet(&mut self, env: &mut Env<'_, '_>, packet: Packet) {
        match (self.phase, packet) {
            (Phase::Connecting, Packet::Connack(connack)) => self.on_connack(env, &connack),
            (Phase::Connecting, Packet::Auth(auth)) => self.on_auth(env, &auth),
            (Phase::Ready, Packet::Publish(mut publish)) => self.on_publish(env, &mut publish),
            (Phase::Ready, Packet::Puback(ack)) => self.on_puback(env, &ack),
            (Phase::Ready, Packet::Pubrec(ack)) => self.on_pubrec(env, &ack),
            (Phase::Ready, Packet::Pubcomp(ack)) => self.on_pubcomp(env, &ack),
            (Phase::Ready, Packet::Pubrel(ack)) => {
                if let Some(held) = &mut self.held {
                    held.released(ack.packet_id);
                }
                let reason = if self.session.received.remove(&ack.packet_id) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                };
                let pubcomp = packets::pubcomp(&mut self.packets, ack.packet_id, reason);
                self.send(env.cx, [pubcomp]);
            }
            (Phase::Ready, Packet::Suback(suback)) => {
                self.acquit_filters(env);
                self.on_suback(env, &suback);
            }
            (Phase::Ready, Packet::Unsuback(unsuback)) => self.on_unsuback(env, unsuback.packet_id),
            (Phase::Ready, Packet::Pingresp) => self.on_pong(env),
            (Phase::Ready, Packet::Disconnect(disconnect)) => self.on_disconnect(env, &disconnect),
            (phase, packet) => {
                let word = packet.packet_type().word();
                let what = match phase {
                    Phase::Ready => format!("unexpected {word}"),
                    _ => format!("{word} before CONNACK"),
                };
                self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, &what);
            }
        }
    }

    fn on_connack(&mut self, env: &mut Env<'_, '_>, connack: &Connack) {
        if connack.reason.is_error() {
            if connack.reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
                && self.fall_back(env, Refusal::Stated)
            {
                return;
            }
            let reason_string = connack.properties.reason_string.as_deref();
            let caller = self.account.as_ref().map(|account| &*account.subject);
            let mut failure =
                Failure::refused(&self.broker(), caller, connack.reason, reason_string);
            let reference = connack.properties.server_reference.as_deref();
            match self.refer(env, connack.reason, reference) {
                Reference::Followed if self.connect_again(env, None) => return,
                Reference::Followed => {}
                Reference::Told(told) => {
                    failure.reason = format!("{}{told}", failure.reason).into();
                }
            }
            return self.lost(env, &failure, None);
        }
        if !self.is_authenticated(env, connack) {
            return;
        }
        let resumed = connack.session_present;
        let asked = self.session.lost().is_some();
        if self.replace_session(env, resumed) {
            return;
        }
        if resumed && !asked && !self.continues_session(env.shared) {
            let what = "CONNACK with session present after a clean start";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        }
        if asked && !resumed {
            self.end_session(env, "was lost by the broker");
        }
        let mut granted = Granted::new(self.packets.version, &connack.properties);
        env.shared.options.limits.restrict(&mut granted);
        self.connected(env, granted, resumed);
    }

    fn on_disconnect(&mut self, env: &mut Env<'_, '_>, disconnect: &Disconnect) {
        if disconnect.reason == ReasonCode::DISCONNECT_WITH_WILL {
            // Only a client may send it (3.14.2.1).
            let what = "DISCONNECT with a reason code of clients (0x04)";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        }
        let code = match disconnect.reason {
            reason if reason.is_error() => reason,
            _ => ReasonCode::SERVER_UNAVAILABLE,
        };
        let of_message = self.accuse(env, Some(disconnect.reason));
        let reason_string = disconnect.properties.reason_string.as_deref();
        let reason = match (disconnect.reason, reason_string) {
            // In DISCONNECT, code 0 means normal disconnection (3.14.2.1).
            (ReasonCode::SUCCESS, None) => format!("{} closed the connection.", self.broker()),
            (reason, reason_string) => {
                let why = describe_reason(reason, reason_string);
                let reference = disconnect.properties.server_reference.as_deref();
                let told = match self.refer(env, reason, reference) {
                    Reference::Followed => String::new(),
                    Reference::Told(told) => told,
                };
                format!("{} closed the connection: {why}.{told}", self.broker())
            }
        };
        let leaves = matches!(
            code,
            ReasonCode::SERVER_BUSY
                | ReasonCode::SERVER_SHUTTING_DOWN
                | ReasonCode::USE_ANOTHER_SERVER
                | ReasonCode::SERVER_MOVED
        );
        if leaves && self.is_chosen {
            env.shared.link.avoid = self.remote.clone();
        }
        let mut failure = Failure::new(code, reason);
        if of_message {
            failure.scope = Scope::Message;
        }
        if code == ReasonCode::SESSION_TAKEN_OVER {
            // Coming back soon would only make the two clients close each other's connections.
            failure.denied = true;
            env.cx.event(&SessionTakenOver {
                client: self.client_id.clone(),
                broker: self.remote.clone(),
            });
        }
        self.lost(env, &failure, None);
    }

    fn on_publish(&mut self, env: &mut Env<'_, '_>, publish: &mut Publish) {
        let packet_id = publish.packet_id;
        if publish.properties.topic_alias.is_some() {
            let most = env.shared.options.topic_alias_maximum.get();
            let most = u16::try_from(most).unwrap_or(u16::MAX);
            if let Err(what) = self.aliases.resolve(publish, most) {
                return self.protocol_error(env, ReasonCode::TOPIC_ALIAS_INVALID, what);
            }
        }
        let publish = &*publish;
        if self.counted.is_some() {
            return self.on_counted(env, publish);
        }
        if self.held.is_some() && publish.qos > 0 {
            return self.on_held(env, publish);
        }
        let repeated = publish.qos == 2 && self.session.received.contains(&packet_id);
        if publish.qos == 2 && !repeated {
            // More than Receive Maximum are tolerated: mosquitto 2.0 exceeds it. Packet identifiers
            // bound them.
            self.session.received.insert(packet_id);
        }
        let repeated = repeated || (publish.qos == 1 && self.session.acknowledged.take(publish));
        if !repeated {
            env.shared.counts.consumed += 1;
            self.deliver(env, publish, 0);
        }
        match publish.qos {
            0 => {}
            1 => {
                let puback = packets::puback(&mut self.packets, packet_id);
                let end = self.send(env.cx, [puback]);
                if self.session.is_kept() {
                    let limit = env.shared.options.receive_maximum.size();
                    let read = self.session.ids.read_up_to();
                    let content = content(publish);
                    self.session
                        .acknowledged
                        .push(packet_id, content, end, read, limit);
                }
            }
            _ => {
                let pubrec = packets::pubrec(&mut self.packets, packet_id);
                self.send(env.cx, [pubrec]);
            }
        }
    }

    /// Delivers a message to each matching stream, with the number that its caller acknowledges.
    /// Returns whether there was one.
    pub(super) fn deliver(
        &mut self,
        env: &mut Env<'_, '_>,
        publish: &Publish,
        number: u64,
    ) -> bool {
        let identifiers = &publish.properties.subscription_ids;
        let mut recipients =
            self.session
                .subscriptions
                .route(identifiers, &publish.topic, publish.retain);
        let is_known = !recipients.is_empty();
        if !is_known && self.held.is_some() {
            recipients = self.held_recipients(env.streams, &publish.topic);
        }
        if recipients.is_empty() {
            return false;
        }
        let mut delivered = false;
        let mut message = packets::message(publish);
        message.number = number;
        let (messages, bytes) = bounds(env);
        let alone = self.streams.len() == self.sessions + 1;
        for recipients in recipients.chunk_by(|one, next| one.stream == next.stream) {
            let Some(key) = recipients.first().map(|recipient| recipient.stream) else {
                continue;
            };
            let Some((id, subscriber)) = env.streams.subscriber(key) else {
                continue;
            };
            if is_known && !subscriber.takes(recipients, &publish.topic, publish.retain) {
                continue;
            }
            if subscriber.deliveries.is_full(messages, bytes) && !(alone && subscriber.begun) {
                self.drop_slow(env, key, messages, bytes);
                continue;
            }
            let mut own = message.clone();
            subscriber.address(&mut own, recipients);
            subscriber.deliveries.push(own, &publish.payload);
            if subscriber.must_begin(messages, bytes) {
                let mut reply = subscriber.begin(Some(self.client_id.clone()));
                self.state_terms(&mut reply);
                env.cx.send(id, Frame::begin(reply));
            }
            subscriber.flush(env.cx, id);
            delivered = true;
        }
        delivered
    }

    /// Ends a subscription that does not read its messages, so that the others can continue.
    fn drop_slow(&mut self, env: &mut Env<'_, '_>, key: usize, messages: usize, bytes: usize) {
        env.shared.counts.slow_consumers += 1;
        env.cx.event(&SlowConsumer {
            client: self.client_id.clone(),
        });
        let reason = format!(
            "Slow consumer: the subscription was ended because {messages} messages or {bytes} bytes \
             were waiting for it (queueMessages, queueBytes)."
        );
        let failure = Failure::new(ReasonCode::QUOTA_EXCEEDED, reason);
        self.fail(env, key, &failure, MqttDelivery::None);
    }
}

/// The maximum number of messages and bytes queued for one subscriber.
fn bounds(env: &Env<'_, '_>) -> (usize, usize) {
    let options = &env.shared.options;
    (options.queue_messages.size(), options.queue_bytes.size())
}
