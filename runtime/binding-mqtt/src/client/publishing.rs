//! How a connection publishes (MQTT 5.0, 4.3): what goes out, and which answer makes it safe.

use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{BeginEx, Data, Frame};

use super::connection::{Connection, Origin, Pending, Phase, Work};
use super::events::Published;
use super::failure::{Failure, told_with};
use super::packets;
use super::streams::{Kind, Stream};
use super::suspects::Purpose;
use super::waiting::Queued;
use crate::codec::{Ack, EncodeError, ReasonCode};

impl Connection {
    /// A publish stream brings a part of a message.
    pub(super) fn on_part(&mut self, w: &mut Work<'_, '_>, key: usize, data: Data) {
        let limit = w.shared.options.max_message_size.size();
        let Some((id, publication)) = w.streams.publication(key) else {
            return;
        };
        let before = publication.gathered();
        let taken = publication.take(data, limit);
        self.gathered = self.gathered - before + publication.gathered();
        match taken {
            Ok(Some((number, message))) => {
                self.waiting.push(key, number, message);
                if self.phase == Phase::Down {
                    self.wake(w, key);
                }
            }
            Ok(None) => {
                if let Some(window) = publication.more_room() {
                    w.cx.send(id, Frame::Window(window));
                }
            }
            Err(failure) => {
                let delivery = publication.delivery();
                return self.fail(w, key, &failure, delivery);
            }
        }
        self.bound(w, key);
    }

    /// What waits has a limit; the stream that passes it is refused.
    fn bound(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let limit = w.shared.options.max_pending.size();
        if self.gathered + self.waiting.bytes() + self.outbound.len() <= limit {
            return;
        }
        let Some((_, publication)) = w.streams.publication(key) else {
            return;
        };
        let delivery = publication.delivery();
        let reason = format!(
            "{} takes messages slower than they are published: {limit} bytes already wait \
             (maxPending).",
            self.broker()
        );
        self.fail(
            w,
            key,
            &Failure::new(ReasonCode::QUOTA_EXCEEDED, reason),
            delivery,
        );
    }

    /// The caller publishes nothing more.
    pub(super) fn on_publish_end(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let Some((_, publication)) = w.streams.publication(key) else {
            return;
        };
        let before = publication.gathered();
        let ended = publication.end();
        let delivery = publication.delivery();
        self.gathered -= before;
        match ended {
            Ok(()) => self.finish(w, key),
            Err(failure) => self.fail(w, key, &failure, delivery),
        }
    }

    /// Ends the reply once all is safe.
    fn finish(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let Some((id, publication)) = w.streams.publication(key) else {
            return;
        };
        if publication.is_done() {
            let reply: BeginEx = publication.reply().into();
            w.cx.send(id, Frame::begin(reply));
            w.cx.send(id, Frame::end());
            if w.cx.hears::<Published>() {
                let event = Published {
                    topic: publication.topic().clone(),
                    qos: publication.qos(),
                    client: self.client_id.clone(),
                };
                w.cx.work_for(id);
                w.cx.event(&event);
            }
            w.shared.counts.published();
            self.leave(w, key, None);
        } else if w.cx.stopping() && publication.is_idle() {
            self.fail(w, key, &shutting_down(), MqttDelivery::None);
        }
    }

    /// Writes what may be written.
    pub(super) fn pump(&mut self, w: &mut Work<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(bytes) = self.bytes
            && self.outbound.is_clear(w.cx, bytes)
            && !self.is_trying()
        {
            let open = self.in_flight < self.granted.receive_maximum && !self.ids.is_exhausted();
            let Some(queued) = self.waiting.next(open) else {
                return;
            };
            self.publish(w, queued);
        }
    }

    fn publish(&mut self, w: &mut Work<'_, '_>, queued: Queued) {
        let Queued {
            stream: key,
            number,
            message,
            ..
        } = queued;
        let Some((id, publication)) = w.streams.publication(key) else {
            return;
        };
        let delivery = publication.delivery();
        if let Some(failure) = self.granted.refuse_message(&message, || self.broker()) {
            return self.fail(w, key, &failure, delivery);
        }
        let origin = Origin { key, id, number };
        let packet_id = match message.qos {
            0 => None,
            1 => self.expect(w.cx, w.shared, Pending::PubAck(origin)),
            _ => self.expect(w.cx, w.shared, Pending::PubRec(origin)),
        };
        let limit = self.granted.packet_size;
        match packets::publish(
            w.shared,
            &mut self.packets,
            message,
            packet_id.unwrap_or(0),
            limit,
        ) {
            Ok((header, payload)) => {
                publication.written(number);
                w.shared.counts.sent += 1;
                let quarantine = self.purpose == Purpose::Quarantine;
                let suspect = (quarantine || packet_id.is_none())
                    .then(|| self.namer.message(publication.topic()));
                let end = self.send(w.cx, std::iter::once(header).chain(payload));
                if packet_id.is_some() {
                    self.in_flight += 1;
                }
                match suspect {
                    Some(suspect) if quarantine => {
                        self.try_message(w, suspect, packet_id.is_none().then_some(origin));
                    }
                    Some(suspect) => {
                        self.recent.push(suspect, w.cx.now(), end);
                        self.unwritten.push_back((end, origin));
                        self.on_written(w);
                    }
                    None => {}
                }
            }
            Err(error) => {
                if let Some(packet_id) = packet_id {
                    self.ids.take_back(packet_id);
                }
                let code = match error {
                    EncodeError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
                    _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                };
                let reason = format!("The message cannot be sent to the broker: {error}.");
                self.fail(w, key, &Failure::new(code, reason), delivery);
            }
        }
    }

    /// More has been written: what of `QoS` 0 is complete is done.
    pub(super) fn on_written(&mut self, w: &mut Work<'_, '_>) {
        let written = self.outbound.written();
        while let Some((end, origin)) = self.unwritten.front().copied()
            && end <= written
        {
            self.unwritten.pop_front();
            self.safe(w, origin);
        }
    }

    /// A message is as safe as its `QoS` promises.
    pub(super) fn safe(&mut self, w: &mut Work<'_, '_>, origin: Origin) {
        let Some((id, publication)) = w.streams.publication(origin.key) else {
            return;
        };
        if id != origin.id {
            return;
        }
        let windows = publication.safe(origin.number);
        if !publication.is_done() {
            for window in windows {
                w.cx.send(id, Frame::Window(window));
            }
        }
        self.finish(w, origin.key);
    }

    /// The broker has refused a message.
    fn refused(&mut self, w: &mut Work<'_, '_>, origin: Origin, ack: &Ack, delivery: MqttDelivery) {
        let stream = w.streams.get(origin.key);
        if stream.is_none_or(|stream| stream.id != origin.id) {
            return;
        }
        let why = told_with(ack.reason, ack.properties.reason_string.as_deref());
        let reason = format!("{} refused the message: {why}.", self.broker());
        self.fail(w, origin.key, &Failure::new(ack.reason, reason), delivery);
    }

    /// What others of a stream's messages may have become, when one is refused.
    fn delivery_beside(w: &mut Work<'_, '_>, origin: Origin) -> MqttDelivery {
        match w.streams.get_mut(origin.key) {
            Some(Stream {
                id,
                kind: Kind::Publish(publication),
                ..
            }) if *id == origin.id => publication.delivery_beside(origin.number),
            _ => MqttDelivery::None,
        }
    }

    /// PUBACK
    pub(super) fn on_puback(&mut self, w: &mut Work<'_, '_>, ack: &Ack) {
        match self.ids.get_mut(ack.packet_id) {
            Some(Pending::PubAck(origin)) => {
                let origin = *origin;
                self.over(w, ack.packet_id);
                if ack.reason.is_error() {
                    let delivery = Self::delivery_beside(w, origin);
                    self.refused(w, origin, ack, delivery);
                } else {
                    self.safe(w, origin);
                }
            }
            _ => self.broken(
                w,
                ReasonCode::PROTOCOL_ERROR,
                "a PUBACK for no message of QoS 1",
            ),
        }
    }

    /// PUBREC
    pub(super) fn on_pubrec(&mut self, w: &mut Work<'_, '_>, ack: &Ack) {
        let packet_id = ack.packet_id;
        match self.ids.get_mut(packet_id) {
            Some(pending @ Pending::PubRec(_)) => {
                let Pending::PubRec(origin) = *pending else {
                    return;
                };
                if ack.reason.is_error() {
                    self.over(w, packet_id);
                    let delivery = Self::delivery_beside(w, origin);
                    return self.refused(w, origin, ack, delivery);
                }
                *pending = Pending::PubComp(origin);
                self.ids.renew(packet_id, self.sent(w.cx));
                self.release(w, packet_id, ReasonCode::SUCCESS);
            }
            // A repetition: the answer is the same.
            Some(Pending::PubComp(_)) if !ack.reason.is_error() => {
                self.release(w, packet_id, ReasonCode::SUCCESS);
            }
            None => self.release(w, packet_id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
            Some(_) => {
                self.broken(
                    w,
                    ReasonCode::PROTOCOL_ERROR,
                    "a PUBREC for no message of QoS 2",
                );
            }
        }
    }

    fn release(&mut self, w: &mut Work<'_, '_>, packet_id: u16, reason: ReasonCode) {
        let pubrel = packets::pubrel(w.shared, &mut self.packets, packet_id, reason);
        self.send(w.cx, [pubrel]);
    }

    /// PUBCOMP
    pub(super) fn on_pubcomp(&mut self, w: &mut Work<'_, '_>, ack: &Ack) {
        match self.ids.get_mut(ack.packet_id) {
            Some(Pending::PubComp(origin)) => {
                let origin = *origin;
                self.over(w, ack.packet_id);
                if ack.reason.is_error() {
                    // The broker had taken it with PUBREC, and now knows nothing of it.
                    self.refused(w, origin, ack, MqttDelivery::Possible);
                } else {
                    self.safe(w, origin);
                }
            }
            // The answer to a PUBREL for a message that was not known.
            None => {}
            Some(_) => {
                self.broken(
                    w,
                    ReasonCode::PROTOCOL_ERROR,
                    "a PUBCOMP for no released message",
                );
            }
        }
    }

    fn over(&mut self, w: &mut Work<'_, '_>, packet_id: u16) {
        self.acquit(w);
        self.ids.release(packet_id);
        self.in_flight -= 1;
    }
}

/// The engine is about to stop.
pub(super) fn shutting_down() -> Failure {
    let reason = "tidegate is shutting down.";
    Failure::new(ReasonCode::SERVER_SHUTTING_DOWN, reason)
}
