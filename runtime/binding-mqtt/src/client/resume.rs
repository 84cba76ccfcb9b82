//! How a connection continues its session, or ends it: see `session`.

use std::collections::BTreeSet;

use bytes::Bytes;
use tidegate_engine::Context;
use tidegate_engine::Duration;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::connection::{Connection, Env, Pending, Phase, Shared};
use super::events::{SessionEnded, SessionResumed};
use super::failure::Failure;
use super::granted::Granted;
use super::packets;
use super::session::{Packet, Replacement};
use super::suspects::Purpose;
use crate::codec::{Parts, ReasonCode, Version};

impl Connection {
    /// The session expiry for CONNECT. A counted subscription and connections in quarantine have
    /// sessions that end with them. With MQTT 3.1.1, the broker never removes a session: only the
    /// shared connection with a configured client identifier has one.
    pub(super) fn session_expiry(&self, shared: &Shared) -> Option<u32> {
        if let Some(held) = &self.held {
            return held.session_expiry(self.packets.version);
        }
        let lasting = matches!(self.purpose, Purpose::All | Purpose::Filters);
        let expiry = u32::try_from(shared.options.session_expiry.get()).unwrap_or(u32::MAX);
        let removed = self.packets.version == Version::V5
            || (shared.options.client_id.is_some() && self.client_id == shared.own);
        (lasting && removed && self.counted.is_none() && expiry > 0).then_some(expiry)
    }

    /// Whether CONNECT must not start clean, although no session is resumed: in MQTT 3.1.1, a session
    /// that starts clean ends with the connection (3.1.2.4).
    pub(super) fn begins_lasting(&self, shared: &Shared) -> bool {
        self.packets.version == Version::V311
            && self.session.replacement != Replacement::Ending
            && self.session_expiry(shared).is_some()
    }

    /// MQTT 3.1.1: the broker has a session that an earlier connection left there. Returns whether it
    /// is being replaced: a clean connection ends it, and the next one begins another.
    pub(super) fn replace_session(&mut self, env: &mut Env<'_, '_>, present: bool) -> bool {
        if self.continues_session(env.shared) {
            return false;
        }
        match self.session.replacement {
            Replacement::Ending => {
                self.session.replacement = Replacement::Ended;
                self.connect_again(env, Some(ReasonCode::SUCCESS))
            }
            Replacement::None
                if present && self.session.lost().is_none() && self.begins_lasting(env.shared) =>
            {
                self.session.replacement = Replacement::Ending;
                self.connect_again(env, None)
            }
            // A broker that still has a session would be asked again and again.
            Replacement::None | Replacement::Ended => false,
        }
    }

    /// How long the broker keeps the session after the connection.
    pub(super) fn kept(&self, shared: &Shared, granted: &Granted) -> Option<Duration> {
        let asked = self.session_expiry(shared)?;
        let expiry = granted.session_expiry.unwrap_or(asked);
        (expiry > 0).then(|| Duration::from_secs(expiry.into()))
    }

    /// Keeps a message that is sent now.
    pub(super) fn keep(
        &mut self,
        cx: &Context<'_>,
        header: &Bytes,
        payload: &Parts,
        lifetime: Option<Duration>,
    ) {
        let packet = Packet {
            header: header.clone(),
            payload: payload.clone(),
            expires: lifetime.map(|it| cx.now() + it),
        };
        let sent = self.sent(cx);
        self.session.unacknowledged.push(sent, packet);
    }

    /// The connection was lost or could not be opened. Returns whether the session can be resumed.
    pub(super) fn interrupt_session(
        &mut self,
        env: &mut Env<'_, '_>,
        failure: &Failure,
        was_ready: bool,
    ) -> bool {
        let now = env.cx.now();
        if env.cx.stopping() || failure.code == ReasonCode::SESSION_TAKEN_OVER {
            self.session.discard();
        }
        if was_ready {
            self.session.interrupted(now);
            for key in &self.streams {
                if let Some((_, subscriber)) = env.streams.subscriber(*key)
                    && subscriber.accepted
                {
                    subscriber.interrupted.get_or_insert(now);
                }
            }
        }
        let keeps = self.session.is_resumable(now);
        if keeps {
            // Messages of QoS 0 are not part of the session.
            for (_, origin) in std::mem::take(&mut self.unwritten) {
                if env
                    .streams
                    .get(origin.key)
                    .is_some_and(|it| it.id == origin.id)
                {
                    self.fail(env, origin.key, failure, MqttDelivery::Possible);
                }
            }
        }
        keeps
    }

    /// The session that CONNECT would have resumed has ended: messages in flight are unconfirmed.
    pub(super) fn end_session(&mut self, env: &mut Env<'_, '_>, why: &'static str) {
        if self.session.lost().is_some() {
            env.shared.counts.sessions_ended += 1;
            env.cx.event(&SessionEnded {
                client: self.client_id.clone(),
                why: why.into(),
                messages: u64::try_from(self.session.in_flight).unwrap_or(u64::MAX),
            });
            let reason = format!(
                "{} did not acknowledge the message before the connection was lost, and the \
                 session {why}.",
                self.broker()
            );
            let failure = Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason);
            for key in self.stream_keys() {
                let written = env
                    .streams
                    .publication(key)
                    .is_some_and(|(_, it)| it.delivery() == MqttDelivery::Possible);
                if written {
                    self.fail(env, key, &failure, MqttDelivery::Possible);
                }
            }
        }
        self.forget_session(env);
    }

    /// Forgets the session: accepted subscriptions must be requested again.
    pub(super) fn forget_session(&mut self, env: &mut Env<'_, '_>) {
        for key in &self.streams {
            if let Some((_, subscriber)) = env.streams.subscriber(*key)
                && subscriber.accepted
            {
                subscriber.clear_answers();
            }
        }
        let replacement = match self.phase {
            Phase::Connecting => self.session.replacement,
            _ => Replacement::None,
        };
        let ended = std::mem::take(&mut self.session);
        self.session.replacement = replacement;
        if self.continues_session(env.shared) {
            // The broker may still have it: what it sends again was received before.
            self.session.received = ended.received;
            self.session.acknowledged = ended.acknowledged;
        }
    }

    /// The broker resumed the session.
    pub(super) fn resume(&mut self, env: &mut Env<'_, '_>, lost: Duration) {
        let mut filters = self.requeue(env);
        self.session.repeats();
        env.shared.counts.sessions_resumed += 1;
        env.cx.event(&SessionResumed {
            client: self.client_id.clone(),
            seconds: lost.as_millis() / 1_000,
            messages: u64::try_from(self.session.again.len()).unwrap_or(u64::MAX),
        });
        filters.extend(self.resume_subscriptions(env));
        for filter in filters {
            if !self.session.subscriptions.has(&filter) {
                self.send_unsubscribe(env, filter);
            }
        }
    }

    /// Queues everything that must be sent again. Returns the filters to unsubscribe from.
    fn requeue(&mut self, env: &mut Env<'_, '_>) -> Vec<bytestring::ByteString> {
        let session = &mut self.session;
        let mut filters = std::mem::take(&mut session.unsubscribe);
        // What was not sent again on the last connection follows what was.
        let mut left = std::mem::take(&mut session.again);
        let queued: BTreeSet<u16> = left.ids().collect();
        for id in session.ids.in_order() {
            if queued.contains(&id) {
                continue;
            }
            let sent = session.ids.sent(id).unwrap_or_default();
            match session.ids.get_mut(id) {
                Some(Pending::PubAck(sending) | Pending::PubRec(sending)) => {
                    sending.again = true;
                    let packet = session.unacknowledged.take(sent);
                    session.again.push_back(id, packet);
                }
                Some(Pending::PubComp(sending)) => {
                    sending.again = true;
                    session.again.push_back(id, None);
                }
                Some(Pending::SubAck { .. }) => {
                    session.ids.release_unsent(id);
                }
                Some(Pending::UnsubAck { filter }) => {
                    filters.push((**filter).clone());
                    session.ids.release_unsent(id);
                }
                None => {}
            }
        }
        while let Some((id, packet)) = left.pop_front() {
            session.again.push_back(id, packet);
        }
        session.ids.restart(env.cx.now());
        filters
    }

    /// Requests again the subscriptions that the session does not cover: those without an answer, and
    /// those of `QoS` 0, whose messages the broker does not keep and whose retained messages must be
    /// replayed. The other filters of their streams stay: messages that the broker has kept for them
    /// follow CONNACK. Returns the filters to unsubscribe from: those that are requested later, which the broker may
    /// have granted.
    fn resume_subscriptions(&mut self, env: &mut Env<'_, '_>) -> Vec<bytestring::ByteString> {
        let mut unsubscribed = Vec::new();
        for key in &self.streams {
            let Some((_, subscriber)) = env.streams.subscriber(*key) else {
                continue;
            };
            if subscriber.is_kept() {
                subscriber.interrupted = None;
            }
            if subscriber.accepted {
                let subscriptions = &mut self.session.subscriptions;
                let removed = subscriptions.remove_stream(*key, subscriber.unkept());
                subscriber.clear_unkept();
                // SUBSCRIBE replaces the subscription, so UNSUBSCRIBE is not needed before.
                let is_replaced = |filter: &str| {
                    let mut requests = subscriber.pending_requests();
                    requests.any(|(_, it)| it.filter.as_str() == filter)
                };
                let later = removed.into_iter().filter(|it| !is_replaced(it));
                unsubscribed.extend(later);
            }
        }
        self.session.subscriptions.forget_unanswered();
        unsubscribed
    }

    /// Sends again what the resumed session requires, as far as the broker's limits and the credit
    /// allow.
    pub(super) fn send_again(&mut self, env: &mut Env<'_, '_>) {
        while self.phase == Phase::Ready
            && let Some(bytes) = self.bytes
            && let Some(is_publish) = self.session.again.next_is_publish()
            && self.outbound.is_clear(env.cx, bytes)
        {
            let in_flight = self.session.in_flight - self.session.again.len();
            if is_publish && in_flight >= self.granted.receive_maximum {
                return;
            }
            match self.session.again.pop_front() {
                Some((id, Some(packet))) => self.publish_again(env, id, packet),
                Some((id, None)) => self.release_again(env, id),
                None => return,
            }
        }
    }

    fn publish_again(&mut self, env: &mut Env<'_, '_>, id: u16, packet: Packet) {
        let limit = self.granted.packet_size.unwrap_or(usize::MAX);
        if packet.len() > limit {
            let size = packet.len();
            let why =
                format!("the broker now accepts packets of {limit} bytes; the message has {size}");
            return self.give_up(env, id, ReasonCode::PACKET_TOO_LARGE, &why);
        }
        if packet.expires.is_some_and(|at| at <= env.cx.now()) {
            let why = "the message has expired since";
            return self.give_up(env, id, ReasonCode::UNSPECIFIED_ERROR, why);
        }
        let within = Duration::from_secs(env.shared.options.resend_within.get());
        if self
            .session
            .ids
            .get_mut(id)
            .is_some_and(|pending| match pending {
                Pending::PubAck(sending) => sending.is_late(env.cx.now(), within),
                _ => false,
            })
        {
            let why = "it is too late to send it again (resendWithin)";
            return self.give_up(env, id, ReasonCode::UNSPECIFIED_ERROR, why);
        }
        let left = packet.expires.map(|at| {
            let left = at.since(env.cx.now()).as_micros().div_ceil(1_000_000);
            u32::try_from(left).unwrap_or(u32::MAX)
        });
        let sent = self.sent(env.cx);
        self.session.ids.sent_again(id, sent);
        let header = packets::duplicate(&mut self.packets, &packet.header, left);
        let parts = packet.payload.clone();
        self.session.unacknowledged.push(sent, packet);
        self.watch(env.cx, env.shared);
        env.shared.counts.sent += 1;
        self.send(env.cx, std::iter::once(header).chain(parts));
    }

    fn release_again(&mut self, env: &mut Env<'_, '_>, id: u16) {
        let sent = self.sent(env.cx);
        self.session.ids.sent_again(id, sent);
        self.watch(env.cx, env.shared);
        let pubrel = packets::pubrel(&mut self.packets, id, ReasonCode::SUCCESS);
        self.send(env.cx, [pubrel]);
    }

    /// The message cannot be sent again.
    fn give_up(&mut self, env: &mut Env<'_, '_>, id: u16, code: ReasonCode, why: &str) {
        let origin = match self.session.ids.get_mut(id) {
            Some(Pending::PubAck(sending)) => {
                let origin = sending.origin;
                self.session.ids.release_unsent(id);
                self.session.in_flight -= 1;
                origin
            }
            Some(pending @ Pending::PubRec(_)) => {
                let Pending::PubRec(sending) = *pending else {
                    return;
                };
                // The broker may have received it: without PUBREL, it would take the next message with this
                // identifier for this one.
                *pending = Pending::PubComp(sending);
                self.release_again(env, id);
                sending.origin
            }
            _ => return,
        };
        if env
            .streams
            .get(origin.key)
            .is_some_and(|it| it.id == origin.id)
        {
            let reason = format!(
                "{} did not acknowledge the message before the connection was lost, and {why}.",
                self.broker()
            );
            let failure = Failure::new(code, reason);
            self.fail(env, origin.key, &failure, MqttDelivery::Possible);
        }
    }
}
