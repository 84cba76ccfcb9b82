//! How a connection publishes (MQTT 5.0, 4.3): what is sent, and which answer makes a message safe.

use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{BeginEx, Data, Frame};

use super::aliases::Naming;
use super::connection::{Connection, Env, Origin, Pending, Phase, Sending, Shared};
use super::events::Published;
use super::failure::{Failure, describe_reason};
use super::lifetime::expired;
use super::packets;
use super::streams::{Kind, Stream};
use super::suspects::Purpose;
use super::waiting::Queued;
use crate::codec::{Ack, EncodeError, ReasonCode, Version};

/// What a message that waits takes beside its payload, in bytes.
const MESSAGE: usize = 256;

impl Connection {
    /// A publish stream sent a part of a message.
    pub(super) fn on_part(&mut self, env: &mut Env<'_, '_>, key: usize, data: Data) {
        let limit = env.shared.options.max_message_size.size();
        let Some((id, publication)) = env.streams.publication(key) else {
            return;
        };
        let before = publication.gathered();
        let taken = publication.take(data, limit);
        self.gathered = self.gathered - before + publication.gathered();
        match taken {
            Ok(Some((number, message))) => {
                self.waiting.push(key, number, message, env.cx.now());
                if self.phase == Phase::Down {
                    self.wake(env, key);
                }
            }
            Ok(None) => {
                if let Some(window) = publication.more_room() {
                    env.cx.send(id, Frame::Window(window));
                }
            }
            Err(failure) => {
                let delivery = publication.delivery();
                return self.fail(env, key, &failure.of_message(), delivery);
            }
        }
        self.bound(env, key);
    }

    /// Size of the messages that wait to be published or to be sent again, in bytes.
    fn pending(&self) -> usize {
        let kept = if self.session.is_kept() {
            self.session.bytes()
        } else {
            0
        };
        self.gathered + self.waiting.bytes() + self.outbound.len() + kept
    }

    /// Updates the size of what is pending on all connections.
    pub(super) fn count_pending(&mut self, shared: &mut Shared) {
        let pending = self.pending() + self.waiting.len() * MESSAGE;
        shared.pending = shared.pending.saturating_sub(self.counted_pending) + pending;
        self.counted_pending = pending;
    }

    /// Resets the stream if the pending messages exceed a limit.
    fn bound(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let limit = env.shared.options.max_pending.size();
        self.count_pending(env.shared);
        let total = env.shared.options.max_pending_total.size();
        if env.shared.pending > total {
            return self.refuse_pending(env, key, total);
        }
        if self.pending() <= limit {
            return;
        }
        let Some((_, publication)) = env.streams.publication(key) else {
            return;
        };
        let delivery = publication.delivery();
        let reason = format!(
            "{} reads messages slower than they are published: more than {limit} bytes are \
             pending (maxPending).",
            self.broker()
        );
        self.fail(
            env,
            key,
            &Failure::new(ReasonCode::QUOTA_EXCEEDED, reason),
            delivery,
        );
    }

    fn refuse_pending(&mut self, env: &mut Env<'_, '_>, key: usize, total: usize) {
        let Some((_, publication)) = env.streams.publication(key) else {
            return;
        };
        let delivery = publication.delivery();
        let reason = format!(
            "Messages are published faster than the broker takes them: more than {total} bytes are pending \
             on all connections (maxPendingTotal)."
        );
        let failure = Failure::new(ReasonCode::QUOTA_EXCEEDED, reason);
        self.fail(env, key, &failure, delivery);
    }

    /// The caller ended its half.
    pub(super) fn on_publish_end(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some((_, publication)) = env.streams.publication(key) else {
            return;
        };
        let before = publication.gathered();
        let ended = publication.end();
        let delivery = publication.delivery();
        self.gathered -= before;
        match ended {
            Ok(()) => self.finish(env, key),
            Err(failure) => self.fail(env, key, &failure, delivery),
        }
    }

    /// Ends the reply once all messages are safe.
    fn finish(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some((id, publication)) = env.streams.publication(key) else {
            return;
        };
        if publication.is_done() {
            let reply: BeginEx = publication.reply().into();
            env.cx.send(id, Frame::begin(reply));
            env.cx.send(id, publication.reply_end());
            if env.cx.hears::<Published>() {
                let event = Published {
                    topic: publication.topic().clone(),
                    qos: publication.qos(),
                    client: self.client_id.clone(),
                };
                env.cx.work_for(id);
                env.cx.event(&event);
            } else {
                env.cx.count_event::<Published>();
            }
            env.shared.counts.published();
            self.remove_stream(env, key, None);
        } else if env.cx.stopping() && publication.is_idle() {
            self.fail(env, key, &shutting_down(), MqttDelivery::None);
        }
    }

    /// Sends queued messages as far as the broker's limits and the credit allow.
    pub(super) fn publish_waiting(&mut self, env: &mut Env<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(bytes) = self.bytes
            && self.outbound.is_clear(env.cx, bytes)
            && !self.is_trying()
            && self.session.again.is_empty()
        {
            let open = self.session.in_flight < self.granted.receive_maximum
                && !self.session.ids.is_exhausted();
            let Some(queued) = self.waiting.next(open) else {
                return;
            };
            self.publish(env, queued);
        }
    }

    fn publish(&mut self, env: &mut Env<'_, '_>, queued: Queued) {
        let Queued {
            stream: key,
            number,
            mut message,
            since,
            ..
        } = queued;
        let Some((id, publication)) = env.streams.publication(key) else {
            return;
        };
        let delivery = publication.delivery();
        if let Some(failure) = self.granted.refuse_message(&message, || self.broker()) {
            return self.fail(env, key, &failure.of_message(), delivery);
        }
        let limits = &env.shared.options.limits;
        if let Err(failure) = self.rate.take(limits, env.cx.now()) {
            return self.fail(env, key, &failure, delivery);
        }
        let waited = env.cx.now().since(since);
        if !message.age(waited) {
            return self.fail(env, key, &expired(waited), delivery);
        }
        let lifetime = message.lifetime();
        let origin = Origin { key, id, number };
        let sending = Sending::first(origin, env.cx.now());
        let packet_id = match message.qos {
            0 => None,
            1 => self.expect(env.cx, env.shared, Pending::PubAck(sending)),
            _ => self.expect(env.cx, env.shared, Pending::PubRec(sending)),
        };
        let limit = self.granted.packet_size;
        let naming = match packet_id {
            Some(_) if self.session.is_kept() => Naming::Topic,
            _ => self.aliases.name(publication.topic()),
        };
        match packets::publish(
            &mut self.packets,
            message,
            packet_id.unwrap_or(0),
            naming,
            limit,
        ) {
            Ok((header, payload)) => {
                publication.written(number);
                if naming != Naming::Topic {
                    self.aliases.sent(publication.topic(), naming);
                }
                env.shared.counts.sent += 1;
                let quarantine = self.purpose == Purpose::Quarantine;
                let suspect = (quarantine || packet_id.is_none())
                    .then(|| self.namer.message(publication.topic()));
                if packet_id.is_some() && self.session.is_kept() {
                    self.keep(env.cx, &header, &payload, lifetime);
                }
                let end = self.send(env.cx, std::iter::once(header).chain(payload));
                if packet_id.is_some() {
                    self.session.in_flight += 1;
                }
                match suspect {
                    Some(suspect) if quarantine => {
                        self.try_message(env, suspect, packet_id.is_none().then_some(origin));
                    }
                    Some(suspect) => {
                        self.recent.push(suspect, env.cx.now(), end);
                        self.unwritten.push_back((end, origin));
                        self.on_written(env);
                    }
                    None => {}
                }
            }
            Err(error) => {
                if let Some(packet_id) = packet_id {
                    self.session.ids.release_unsent(packet_id);
                }
                let code = match error {
                    EncodeError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
                    _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                };
                let reason = format!("The message cannot be sent to the broker: {error}.");
                let failure = Failure::new(code, reason).of_message();
                self.fail(env, key, &failure, delivery);
            }
        }
    }

    /// More bytes were written: `QoS` 0 messages that are written completely are done.
    pub(super) fn on_written(&mut self, env: &mut Env<'_, '_>) {
        let written = self.outbound.written();
        while let Some((end, origin)) = self.unwritten.front().copied()
            && end <= written
        {
            self.unwritten.pop_front();
            self.safe(env, origin);
        }
    }

    /// A message is acknowledged as its `QoS` requires.
    pub(super) fn safe(&mut self, env: &mut Env<'_, '_>, origin: Origin) {
        let Some((id, publication)) = env.streams.publication(origin.key) else {
            return;
        };
        if id != origin.id {
            return;
        }
        let windows = publication.safe(origin.number);
        if !publication.is_done() {
            for window in windows {
                env.cx.send(id, Frame::Window(window));
            }
        }
        self.finish(env, origin.key);
    }

    /// The broker accepted a message: its reason code may say that nobody subscribes to the topic.
    fn accepted(&self, env: &mut Env<'_, '_>, origin: Origin, ack: &Ack) {
        let has_reason = self.granted.version == Version::V5;
        if (ack.reason != ReasonCode::SUCCESS || !has_reason)
            && let Some((id, publication)) = env.streams.publication(origin.key)
            && id == origin.id
        {
            publication.accepted(ack.reason);
            if !has_reason {
                publication.accepted_without_reason();
            }
        }
    }

    /// The broker refused a message.
    fn refused(
        &mut self,
        env: &mut Env<'_, '_>,
        origin: Origin,
        ack: &Ack,
        delivery: MqttDelivery,
    ) {
        let stream = env.streams.get(origin.key);
        if stream.is_none_or(|stream| stream.id != origin.id) {
            return;
        }
        let why = describe_reason(ack.reason, ack.properties.reason_string.as_deref());
        let reason = format!("{} refused the message: {why}.", self.broker());
        let failure = Failure::new(ack.reason, reason).of_message();
        self.fail(env, origin.key, &failure, delivery);
    }

    /// Whether messages of the stream may have been delivered when one is refused: others, or the refused one,
    /// if it was sent before and the answer was lost.
    fn delivery_beside(env: &mut Env<'_, '_>, refused: Sending) -> MqttDelivery {
        let origin = refused.origin;
        if refused.again {
            return MqttDelivery::Possible;
        }
        match env.streams.get_mut(origin.key) {
            Some(Stream {
                id,
                kind: Kind::Publish(publication),
                ..
            }) if *id == origin.id => publication.delivery_beside(origin.number),
            _ => MqttDelivery::None,
        }
    }

    /// PUBACK
    pub(super) fn on_puback(&mut self, env: &mut Env<'_, '_>, ack: &Ack) {
        match self.session.ids.get_mut(ack.packet_id) {
            Some(Pending::PubAck(sending)) => {
                let sending = *sending;
                let origin = sending.origin;
                self.over(env, ack.packet_id);
                if ack.reason.is_error() {
                    let delivery = Self::delivery_beside(env, sending);
                    self.refused(env, origin, ack, delivery);
                } else {
                    self.accepted(env, origin, ack);
                    self.safe(env, origin);
                }
            }
            _ => self.protocol_error(
                env,
                ReasonCode::PROTOCOL_ERROR,
                "PUBACK without a matching PUBLISH of QoS 1",
            ),
        }
    }

    /// PUBREC
    pub(super) fn on_pubrec(&mut self, env: &mut Env<'_, '_>, ack: &Ack) {
        let packet_id = ack.packet_id;
        match self.session.ids.get_mut(packet_id) {
            Some(pending @ Pending::PubRec(_)) => {
                let Pending::PubRec(sending) = *pending else {
                    return;
                };
                let origin = sending.origin;
                if ack.reason.is_error() {
                    self.over(env, packet_id);
                    let delivery = Self::delivery_beside(env, sending);
                    return self.refused(env, origin, ack, delivery);
                }
                *pending = Pending::PubComp(Sending {
                    again: false,
                    ..sending
                });
                self.session.answered(packet_id);
                self.accepted(env, origin, ack);
                self.session.ids.renew(packet_id, self.sent(env.cx));
                self.release(env, packet_id, ReasonCode::SUCCESS);
            }
            // A duplicate gets the same answer.
            Some(Pending::PubComp(_)) if !ack.reason.is_error() => {
                self.release(env, packet_id, ReasonCode::SUCCESS);
            }
            None => self.release(env, packet_id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
            Some(_) => {
                self.protocol_error(
                    env,
                    ReasonCode::PROTOCOL_ERROR,
                    "PUBREC without a matching PUBLISH of QoS 2",
                );
            }
        }
    }

    fn release(&mut self, env: &mut Env<'_, '_>, packet_id: u16, reason: ReasonCode) {
        let pubrel = packets::pubrel(&mut self.packets, packet_id, reason);
        self.send(env.cx, [pubrel]);
    }

    /// PUBCOMP
    pub(super) fn on_pubcomp(&mut self, env: &mut Env<'_, '_>, ack: &Ack) {
        match self.session.ids.get_mut(ack.packet_id) {
            Some(Pending::PubComp(sending)) => {
                let Sending { origin, again, .. } = *sending;
                self.over(env, ack.packet_id);
                // After a PUBREL that was sent again, it means that the broker had received the
                // first one (3.7.2.1).
                let complete = again && ack.reason == ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                if ack.reason.is_error() && !complete {
                    // The broker had accepted the message with PUBREC, so it may have been
                    // delivered.
                    self.refused(env, origin, ack, MqttDelivery::Possible);
                } else {
                    self.safe(env, origin);
                }
            }
            // Answers a PUBREL for an unknown message.
            None => {}
            Some(_) => {
                self.protocol_error(
                    env,
                    ReasonCode::PROTOCOL_ERROR,
                    "PUBCOMP without a matching PUBREL",
                );
            }
        }
    }

    fn over(&mut self, env: &mut Env<'_, '_>, packet_id: u16) {
        self.acquit(env);
        self.session.answered(packet_id);
        self.session.ids.release(packet_id);
        self.session.in_flight -= 1;
    }
}

/// The failure of streams during a shutdown.
pub(super) fn shutting_down() -> Failure {
    let reason = "The gateway is stopping.";
    Failure::new(ReasonCode::SERVER_SHUTTING_DOWN, reason)
}
