//! How a connection subscribes (MQTT 5.0, 3.8 to 3.11): where a stream's filters go, and what the
//! broker's answers mean to it.

use bytestring::ByteString;
use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{BeginEx, Frame};

use super::connection::{Connection, Pending, Phase, Work};
use super::counted::Counted;
use super::failure::{Failure, told_with};
use super::packets;
use super::streams::Subscriber;
use super::subscriptions::{Fit, Order, Place};
use super::suspects::Purpose;
use crate::codec::{EncodeError, ReasonCode, Suback};

impl Connection {
    /// Joins a stream to the subscriptions that it wishes for, sends it to another connection, or
    /// refuses it.
    pub(super) fn place(&mut self, w: &mut Work<'_, '_>, key: usize) {
        if self.purpose != Purpose::Trial && self.is_suspect(w, key) {
            return self.move_away(key);
        }
        let identifiers = self.granted.identifiers;
        let Some((_, subscriber)) = w.streams.subscriber(key) else {
            return;
        };
        if let Err(failure) = subscriber.cover(identifiers) {
            return self.fail(w, key, &failure, MqttDelivery::None);
        }
        let refused = subscriber
            .wishes()
            .find_map(|(_, wish)| self.granted.refuse_filter(&wish.filter, || self.broker()));
        if let Some(failure) = refused {
            return self.fail(w, key, &failure, MqttDelivery::None);
        }
        let fits = subscriber
            .wishes()
            .map(|(_, wish)| self.subscriptions.fits(wish, identifiers));
        let fit = fits.max().unwrap_or(Fit::Here);
        if fit == Fit::Never {
            let reason = "Another stream of this client takes the client's own messages for this \
                          filter, so it cannot be subscribed to without them.";
            let failure = Failure::new(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, reason);
            return self.fail(w, key, &failure, MqttDelivery::None);
        }
        if fit == Fit::Elsewhere {
            return self.move_away(key);
        }
        subscriber.ask(|index, wish| {
            let place = Place { stream: key, index };
            self.subscriptions.join(place, wish)
        });
        self.answered(w, key);
    }

    /// A stream goes to another connection.
    fn move_away(&mut self, key: usize) {
        self.streams.remove(&key);
        self.moving.push(key);
    }

    /// Sends the SUBSCRIBEs that are due.
    pub(super) fn subscribe(&mut self, w: &mut Work<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(order) = self.subscriptions.next_order()
        {
            let identifier = order.identifier;
            if let Err(failure) = self.send_subscribe(w, &order) {
                let answer = self.subscriptions.answered(identifier, failure.code);
                for (place, _) in answer.told {
                    self.fail(w, place.stream, &failure, MqttDelivery::None);
                }
                if let Some(filter) = answer.unsubscribe {
                    self.send_unsubscribe(w, filter);
                }
            }
        }
    }

    fn send_subscribe(&mut self, w: &mut Work<'_, '_>, order: &Order) -> Result<(), Failure> {
        let identifier = order.identifier;
        let limit = w.shared.options.max_pending.size();
        let quota = |reason: String| Failure::new(ReasonCode::QUOTA_EXCEEDED, reason);
        if self.outbound.len() > limit {
            let broker = self.broker();
            return Err(quota(format!("{broker} does not read what it is sent.")));
        }
        let Some(packet_id) = self.expect(w.cx, w.shared, Pending::SubAck { identifier }) else {
            let broker = self.broker();
            return Err(quota(format!(
                "{broker} owes 65535 acknowledgements; no more can be asked of it."
            )));
        };
        let (identifiers, limit) = (self.granted.identifiers, self.granted.packet_size);
        match packets::subscribe(
            w.shared,
            &mut self.packets,
            packet_id,
            order,
            identifiers,
            limit,
        ) {
            Ok(packet) => {
                self.send(w.cx, [packet]);
                Ok(())
            }
            Err(error) => {
                self.ids.take_back(packet_id);
                let code = match error {
                    EncodeError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
                    _ => ReasonCode::TOPIC_FILTER_INVALID,
                };
                let reason = format!("The subscription cannot be sent to the broker: {error}.");
                Err(Failure::new(code, reason))
            }
        }
    }

    /// A stream that is gone leaves its subscriptions.
    pub(super) fn unsubscribe(&mut self, w: &mut Work<'_, '_>, key: usize, gone: &Subscriber) {
        let asked = self.counted.as_ref().is_some_and(Counted::is_unsubscribed);
        for filter in self.subscriptions.leave(key, gone.all()) {
            if !asked {
                self.send_unsubscribe(w, filter);
            }
        }
    }

    pub(super) fn send_unsubscribe(&mut self, w: &mut Work<'_, '_>, filter: ByteString) {
        if self.phase != Phase::Ready {
            return;
        }
        // Without an identifier the subscription lasts until the connection ends; what comes for it
        // finds nobody.
        if let Some(packet_id) = self.expect(w.cx, w.shared, Pending::UnsubAck) {
            let packet = packets::unsubscribe(w.shared, &mut self.packets, packet_id, filter);
            self.send(w.cx, [packet]);
        }
    }

    /// SUBACK
    pub(super) fn on_suback(&mut self, w: &mut Work<'_, '_>, suback: &Suback) {
        let Some(Pending::SubAck { identifier }) = self.ids.get_mut(suback.packet_id) else {
            return self.broken(w, ReasonCode::PROTOCOL_ERROR, "a SUBACK for no SUBSCRIBE");
        };
        let identifier = *identifier;
        let [reason] = suback.reasons.as_slice() else {
            let what = "a SUBACK with another number of reason codes than filters";
            return self.broken(w, ReasonCode::PROTOCOL_ERROR, what);
        };
        self.ids.release(suback.packet_id);
        let answer = self.subscriptions.answered(identifier, *reason);
        for (place, code) in answer.told {
            if let Some((_, subscriber)) = w.streams.subscriber(place.stream) {
                subscriber.answer(place.index, code);
            }
            let told = suback.properties.reason_string.as_deref();
            self.answered_with(w, place.stream, told);
        }
        if let Some(filter) = answer.unsubscribe {
            self.send_unsubscribe(w, filter);
        }
    }

    /// UNSUBACK
    pub(super) fn on_unsuback(&mut self, w: &mut Work<'_, '_>, packet_id: u16) {
        match self.ids.get_mut(packet_id) {
            // Whatever it says: nobody is there any more to whom it would matter, or it is the end.
            Some(Pending::UnsubAck) => {
                self.ids.release(packet_id);
                self.complete(w);
            }
            _ => self.broken(
                w,
                ReasonCode::PROTOCOL_ERROR,
                "an UNSUBACK for no UNSUBSCRIBE",
            ),
        }
    }

    fn answered(&mut self, w: &mut Work<'_, '_>, key: usize) {
        self.answered_with(w, key, None);
    }

    /// Accepts or refuses a stream, once the broker has answered for each of its filters.
    fn answered_with(&mut self, w: &mut Work<'_, '_>, key: usize, told: Option<&str>) {
        let Some((id, subscriber)) = w.streams.subscriber(key) else {
            return;
        };
        if !subscriber.is_answered() {
            return;
        }
        if let Some((code, filter)) = subscriber.refusal() {
            let why = told_with(code, told);
            let broker = self.broker();
            let reason = format!("{broker} refused the subscription to '{filter}': {why}.");
            return self.fail(w, key, &Failure::new(code, reason), MqttDelivery::None);
        }
        if !subscriber.accepted {
            subscriber.accepted = true;
            let reply: BeginEx = subscriber.reply(Some(self.client_id.clone())).into();
            w.cx.send(id, Frame::begin(reply));
        }
        subscriber.flush(w.cx, id);
        if let Some(stream) = w.streams.get_mut(key) {
            stream.clear_deadline(w.cx);
        }
        self.complete_if_full(w);
    }
}
