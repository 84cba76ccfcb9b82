//! How a connection ends, by accident or in order, and what that means to its streams.

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_engine::streams::bytes_stream::BytesReset;
use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{Frame, ResetEx};

use super::connection::{Connection, Phase, Shared, Work};
use super::events::StreamReset;
use super::failure::Failure;
use super::packets;
use super::publishing::shutting_down;
use super::streams::{Kind, Session};
use super::suspects::Purpose;
use crate::codec::ReasonCode;

impl Connection {
    /// The broker does what it must not: it is told, and the connection given up.
    pub(super) fn broken(&mut self, w: &mut Work<'_, '_>, code: ReasonCode, what: &str) {
        let reason = format!("{} broke the protocol: {what}.", self.broker());
        self.lost(w, &Failure::new(code, reason), Some(code));
    }

    /// The byte stream is over; `told` is why, where its other end told it.
    pub(super) fn gone(&mut self, w: &mut Work<'_, '_>, told: BytesReset) {
        if !told.remote.is_empty() {
            self.learn(w.shared, told.remote);
        }
        let broker = self.broker();
        let why = told.reason;
        let reason = match self.phase {
            Phase::Closing => return self.drop_bytes(w, None),
            Phase::Connecting if why.is_empty() => {
                return self.unanswered(w, "closed the connection before CONNACK");
            }
            Phase::Connecting if told.connected => {
                return self.unanswered(w, &format!("went away before CONNACK ({why})"));
            }
            Phase::Connecting => format!("{broker} cannot be reached: {why}."),
            _ if why.is_empty() => format!("{broker} closed the connection."),
            _ => format!("{broker} went away: {why}."),
        };
        self.accuse(w, None);
        self.lost(
            w,
            &Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason),
            None,
        );
    }

    /// The peer is there, and did this instead of CONNACK.
    pub(super) fn unanswered(&mut self, w: &mut Work<'_, '_>, what: &str) {
        let reason = format!(
            "{} {what}: check that this is not its port for TLS, and that it supports MQTT 5.",
            self.broker()
        );
        let failure = Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason);
        self.lost(w, &failure, None);
    }

    /// The connection is gone or is given up. `farewell` is what the broker is told, if it can be.
    pub(super) fn lost(
        &mut self,
        w: &mut Work<'_, '_>,
        failure: &Failure,
        farewell: Option<ReasonCode>,
    ) {
        let was_ready = self.phase == Phase::Ready;
        self.drop_bytes(w, farewell.filter(|_| was_ready));
        self.phase = Phase::Down;
        let at_once = self.account(w, failure, was_ready);
        let restores = self.counted.is_none() && !w.cx.stopping();
        for key in self.stream_keys() {
            let goes_on = at_once && !(self.purpose == Purpose::All && self.is_suspect(w, key));
            if let Some(delivery) = lost_with(w, key, was_ready, goes_on, restores) {
                self.fail(w, key, failure, delivery);
            }
        }
        self.start_anew(w.shared);
        if self.is_needed(w.streams) {
            self.reopen(w);
        }
    }

    /// The exit has told which broker it leads to.
    pub(super) fn learn(&mut self, shared: &mut Shared, remote: ByteString) {
        if shared.link.remote != remote {
            shared.link.remote = remote.clone();
        }
        self.remote = remote;
    }

    pub(super) fn drop_bytes(&mut self, w: &mut Work<'_, '_>, farewell: Option<ReasonCode>) {
        self.clear_phase_timer(w.cx);
        self.set_keep_alive_timer(w.cx, None);
        self.clear_overdue_timer(w.cx);
        let Some(bytes) = self.bytes else {
            return;
        };
        if let Some(code) = farewell
            && self.outbound.is_clear(w.cx, bytes)
        {
            let disconnect = packets::disconnect(w.shared, &mut self.packets, code);
            self.outbound.push(w.cx, bytes, [disconnect]);
            self.outbound.end(w.cx, bytes);
        }
        self.bytes = None;
        w.cx.terminate(bytes, None, None);
    }

    /// Refuses or gives up a stream, with a reason.
    pub(super) fn fail(
        &mut self,
        w: &mut Work<'_, '_>,
        key: usize,
        failure: &Failure,
        delivery: MqttDelivery,
    ) {
        if w.streams.publication(key).is_some() {
            w.shared.counts.unpublished(delivery);
        }
        if w.cx.hears::<StreamReset>()
            && let Some(stream) = w.streams.get(key)
        {
            w.cx.work_for(stream.id);
            w.cx.event(&StreamReset {
                client: self.client_id.clone(),
                code: failure.code.0,
                reason: failure.reason.clone(),
                delivery,
            });
        }
        self.leave(w, key, Some(failure.reset(delivery)));
    }

    /// Is done with a stream: nothing of it stays, and what is left open of it is ended.
    pub(super) fn leave(&mut self, w: &mut Work<'_, '_>, key: usize, reset: Option<ResetEx>) {
        if !self.streams.remove(&key) {
            return;
        }
        let Some(mut stream) = w.streams.remove(key) else {
            return;
        };
        stream.clear_deadline(w.cx);
        self.remember_stream(w.cx.now(), &stream.kind);
        match &stream.kind {
            Kind::Session(_) => self.sessions -= 1,
            Kind::Publish(publication) => {
                self.gathered -= publication.gathered();
                if publication.is_outstanding() {
                    self.waiting.remove(key);
                }
            }
            Kind::Subscribe(subscriber) => self.unsubscribe(w, key, subscriber),
        }
        w.cx.terminate(stream.id, reset, None);
    }

    /// The engine is about to stop: what is under way may finish, all else ends.
    pub(super) fn shut_down(&mut self, w: &mut Work<'_, '_>) {
        for key in self.stream_keys() {
            let Some(stream) = w.streams.get(key) else {
                continue;
            };
            match &stream.kind {
                Kind::Publish(publication) if publication.is_outstanding() => {
                    w.hasten(key);
                }
                Kind::Session(Session { accepted: true }) => {
                    w.cx.end(stream.id, Frame::end());
                    self.leave(w, key, None);
                }
                // Its caller knows what it waits for, and for how long.
                Kind::Subscribe(subscriber)
                    if subscriber.accepted && self.phase == Phase::Ready => {}
                _ => self.fail(w, key, &shutting_down(), MqttDelivery::None),
            }
        }
    }

    /// Says goodbye and waits for the peer's END.
    pub(super) fn close(&mut self, w: &mut Work<'_, '_>) {
        let Some(bytes) = self.bytes else {
            return;
        };
        self.set_keep_alive_timer(w.cx, None);
        self.clear_overdue_timer(w.cx);
        self.phase = Phase::Closing;
        let disconnect = packets::disconnect(w.shared, &mut self.packets, ReasonCode::SUCCESS);
        self.send(w.cx, [disconnect]);
        self.outbound.end(w.cx, bytes);
        let patience = Duration::from_millis(w.shared.options.connect_timeout.get());
        self.set_phase_timer(w.cx, patience, "the broker's end of a closed connection");
    }

    /// Gives everything up at once: a handler panicked over this connection.
    pub(super) fn abandon(&mut self, w: &mut Work<'_, '_>) {
        let reason = "A fault inside tidegate ended this connection; its log tells more.";
        let failure = Failure::new(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, reason);
        for key in self.stream_keys() {
            let Some(mut stream) = w.streams.remove(key) else {
                continue;
            };
            stream.clear_deadline(w.cx);
            let delivery = match &stream.kind {
                Kind::Publish(publication) => publication.delivery(),
                Kind::Session(_) | Kind::Subscribe(_) => MqttDelivery::None,
            };
            w.cx.terminate(stream.id, Some(failure.reset(delivery)), None);
        }
        self.streams.clear();
        self.give_up_attempt(w);
        self.drop_bytes(w, None);
    }
}

/// Whether a stream is given up with its connection, and what became of its message then.
fn lost_with(
    w: &mut Work<'_, '_>,
    key: usize,
    was_ready: bool,
    goes_on: bool,
    restores: bool,
) -> Option<MqttDelivery> {
    match &mut w.streams.get_mut(key)?.kind {
        Kind::Session(session) if session.accepted => None,
        // While the engine stops, no connection is made again; nor is one that counts its messages.
        Kind::Subscribe(subscriber) if subscriber.accepted && restores => {
            subscriber.forget_answers();
            None
        }
        Kind::Publish(publication) if was_ready && !publication.is_outstanding() => None,
        Kind::Publish(publication) => match publication.delivery() {
            // Nothing of it was written: it goes out on the next connection.
            MqttDelivery::None if goes_on && restores => None,
            delivery => Some(delivery),
        },
        Kind::Session(_) | Kind::Subscribe(_) => Some(MqttDelivery::None),
    }
}
