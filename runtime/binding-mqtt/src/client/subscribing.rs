//! How a connection subscribes (MQTT 5.0, 3.8 to 3.11): where a stream's filters are placed, and
//! how the broker's answers are handled.

use bytestring::ByteString;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::{MqttDelivery, MqttGap, MqttGranted};

use super::connection::{Connection, Env, Pending, Phase};
use super::counted::Counted;
use super::failure::{Failure, describe_reason};
use super::packets;
use super::streams::Subscriber;
use super::subscriptions::{Fit, Order, Recipient};
use super::suspects::Purpose;
use crate::codec::{EncodeError, ReasonCode, Suback};

impl Connection {
    /// Adds a stream to the subscriptions that it requests, moves it to another connection, or
    /// refuses it.
    pub(super) fn place(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let is_own = matches!(self.purpose, Purpose::Trial | Purpose::Held);
        if !is_own && self.is_suspect(env, key) {
            return self.move_away(key);
        }
        let identifiers = self.granted.identifiers;
        let Some((_, subscriber)) = env.streams.subscriber(key) else {
            return;
        };
        if let Err(failure) = subscriber.cover(identifiers) {
            return self.fail(env, key, &failure, MqttDelivery::None);
        }
        let refused = subscriber
            .pending_requests()
            .find_map(|(_, request)| self.granted.refuse_filter(request, || self.broker()));
        if let Some(failure) = refused {
            return self.fail(env, key, &failure, MqttDelivery::None);
        }
        let limits = &env.shared.options.limits;
        let there = self.session.subscriptions.count();
        let added = subscriber
            .pending_requests()
            .filter(|(_, request)| !self.session.subscriptions.has(request.filter.as_str()));
        if let Some(failure) = limits.refuse_subscription(there, added.count()) {
            return self.fail(env, key, &failure, MqttDelivery::None);
        }
        let fits = subscriber
            .pending_requests()
            .map(|(_, request)| self.session.subscriptions.fits(request, identifiers));
        let fit = fits.max().unwrap_or(Fit::Here);
        if fit == Fit::Never {
            let reason = "Another stream of this client has subscribed to this filter without \
                          'no local', so it cannot be set here.";
            let failure = Failure::new(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, reason);
            return self.fail(env, key, &failure, MqttDelivery::None);
        }
        if fit == Fit::Elsewhere && self.held.is_none() {
            return self.move_away(key);
        }
        subscriber.ask(|index, request| {
            let recipient = Recipient { stream: key, index };
            self.session.subscriptions.join(recipient, request)
        });
        self.answered(env, key);
    }

    /// Schedules a stream to be moved to another connection.
    fn move_away(&mut self, key: usize) {
        self.streams.remove(&key);
        self.moving.push(key);
    }

    /// Sends the SUBSCRIBEs that are due.
    pub(super) fn subscribe(&mut self, env: &mut Env<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(order) = self.session.subscriptions.next_order()
        {
            let identifier = order.identifier;
            if let Err(failure) = self.send_subscribe(env, &order) {
                let answer = self
                    .session
                    .subscriptions
                    .answered(identifier, failure.code);
                for (recipient, _) in answer.recipients {
                    let key = recipient.stream;
                    let subscriber = env.streams.subscriber(key);
                    if subscriber.is_some_and(|(_, it)| it.goes_without(recipient.index)) {
                        self.answered(env, key);
                    } else {
                        self.fail(env, key, &failure, MqttDelivery::None);
                    }
                }
                if let Some(filter) = answer.unsubscribe {
                    self.send_unsubscribe(env, filter);
                }
            }
        }
    }

    fn send_subscribe(&mut self, env: &mut Env<'_, '_>, order: &Order) -> Result<(), Failure> {
        let identifier = order.identifier;
        let limit = env.shared.options.max_pending.size();
        let quota = |reason: String| Failure::new(ReasonCode::QUOTA_EXCEEDED, reason);
        if self.outbound.len() > limit {
            let broker = self.broker();
            return Err(quota(format!(
                "{broker} does not read from the connection (maxPending)."
            )));
        }
        let Some(packet_id) = self.expect(env.cx, env.shared, Pending::SubAck { identifier })
        else {
            let broker = self.broker();
            return Err(quota(format!(
                "All packet identifiers are in use: {broker} has not acknowledged 65535 packets."
            )));
        };
        let (identifiers, limit) = (self.granted.identifiers, self.granted.packet_size);
        match packets::subscribe(&mut self.packets, packet_id, order, identifiers, limit) {
            Ok(packet) => {
                self.send(env.cx, [packet]);
                Ok(())
            }
            Err(error) => {
                self.session.ids.release_unsent(packet_id);
                let code = match error {
                    EncodeError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
                    _ => ReasonCode::TOPIC_FILTER_INVALID,
                };
                let reason = format!("The subscription cannot be sent to the broker: {error}.");
                Err(Failure::new(code, reason))
            }
        }
    }

    /// Removes a stream from its subscriptions.
    pub(super) fn unsubscribe(&mut self, env: &mut Env<'_, '_>, key: usize, removed: &Subscriber) {
        let asked =
            self.counted.as_ref().is_some_and(Counted::is_unsubscribed) || self.leaves_session();
        for filter in self.session.subscriptions.remove_stream(key, removed.all()) {
            if !asked {
                self.send_unsubscribe(env, filter);
            }
        }
    }

    pub(super) fn send_unsubscribe(&mut self, env: &mut Env<'_, '_>, filter: ByteString) {
        if self.phase != Phase::Ready {
            if self.session.is_kept() {
                self.session.unsubscribe.push(filter);
            }
            return;
        }
        // Without a free identifier, the subscription lasts until the connection ends; its messages
        // are dropped.
        let pending = Pending::UnsubAck {
            filter: Box::new(filter.clone()),
        };
        if let Some(packet_id) = self.expect(env.cx, env.shared, pending) {
            let packet = packets::unsubscribe(&mut self.packets, packet_id, filter);
            self.send(env.cx, [packet]);
        }
    }

    /// SUBACK
    pub(super) fn on_suback(&mut self, env: &mut Env<'_, '_>, suback: &Suback) {
        let Some(Pending::SubAck { identifier }) = self.session.ids.get_mut(suback.packet_id)
        else {
            return self.protocol_error(
                env,
                ReasonCode::PROTOCOL_ERROR,
                "SUBACK without a matching SUBSCRIBE",
            );
        };
        let identifier = *identifier;
        let [reason] = suback.reasons.as_slice() else {
            let what = "SUBACK with a different number of reason codes than topic filters";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        };
        self.session.ids.release(suback.packet_id);
        let answer = self.session.subscriptions.answered(identifier, *reason);
        for (recipient, code) in answer.recipients {
            if let Some((_, subscriber)) = env.streams.subscriber(recipient.stream) {
                subscriber.answer(recipient.index, code);
            }
            let reason_string = suback.properties.reason_string.as_deref();
            self.answered_with(env, recipient.stream, reason_string);
        }
        if let Some(filter) = answer.unsubscribe {
            self.send_unsubscribe(env, filter);
        }
    }

    /// UNSUBACK
    pub(super) fn on_unsuback(&mut self, env: &mut Env<'_, '_>, packet_id: u16) {
        match self.session.ids.get_mut(packet_id) {
            // The reason code does not matter: no stream uses the subscription, or it ends now.
            Some(Pending::UnsubAck { .. }) => {
                self.session.ids.release(packet_id);
                self.complete(env);
            }
            _ => self.protocol_error(
                env,
                ReasonCode::PROTOCOL_ERROR,
                "UNSUBACK without a matching UNSUBSCRIBE",
            ),
        }
    }

    fn answered(&mut self, env: &mut Env<'_, '_>, key: usize) {
        self.answered_with(env, key, None);
    }

    /// Accepts or refuses a stream once the broker has answered for each of its filters.
    fn answered_with(&mut self, env: &mut Env<'_, '_>, key: usize, reason_string: Option<&str>) {
        let Some((id, subscriber)) = env.streams.subscriber(key) else {
            return;
        };
        if !subscriber.is_answered() {
            return;
        }
        if let Some((code, filter)) = subscriber.refusal() {
            let why = describe_reason(code, reason_string);
            let broker = self.broker();
            let reason = format!("{broker} refused the subscription to '{filter}': {why}.");
            return self.fail(env, key, &Failure::new(code, reason), MqttDelivery::None);
        }
        if subscriber.begun {
            let filters = subscriber.late_answers();
            if !filters.is_empty() {
                env.cx.send(id, Frame::flush(MqttGranted { filters }));
            }
        } else {
            let mut reply = subscriber.begin(Some(self.client_id.clone()));
            self.state_terms(&mut reply);
            env.cx.send(id, Frame::begin(reply));
        }
        subscriber.accept();
        if let Some(since) = subscriber.interrupted.take() {
            let milliseconds = env.cx.now().since(since).as_millis();
            env.shared.counts.gaps += 1;
            env.cx.send(id, Frame::flush(MqttGap { milliseconds }));
        }
        subscriber.flush(env.cx, id);
        if let Some(stream) = env.streams.get_mut(key) {
            stream.clear_deadline(env.cx);
        }
        self.watch_refused(env, key);
        self.complete_if_full(env);
    }
}
