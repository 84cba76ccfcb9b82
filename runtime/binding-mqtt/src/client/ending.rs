//! How connections end, on an error or in order, and what happens to their streams.

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_engine::streams::bytes_stream::BytesReset;
use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::streams::{Frame, ResetEx};

use super::connection::{Connection, Env, Phase, Shared};
use super::events::StreamReset;
use super::failure::Failure;
use super::packets;
use super::publishing::shutting_down;
use super::streams::{Kind, Session};
use super::suspects::Purpose;
use crate::codec::ReasonCode;

impl Connection {
    /// The broker violated the protocol: sends DISCONNECT with `code` and closes the connection.
    pub(super) fn protocol_error(&mut self, env: &mut Env<'_, '_>, code: ReasonCode, what: &str) {
        let reason = format!("{} violated the MQTT protocol: {what}.", self.broker());
        self.lost(env, &Failure::new(code, reason), Some(code));
    }

    /// The byte stream ended; `reset` is the reason that its other end gave, if any.
    pub(super) fn bytes_closed(&mut self, env: &mut Env<'_, '_>, reset: BytesReset) {
        if !reset.remote.is_empty() {
            self.set_remote(env.shared, reset.remote);
        }
        let broker = self.broker();
        let why = reset.reason;
        let reason = match self.phase {
            Phase::Closing => return self.close_bytes(env, None),
            Phase::Connecting if why.is_empty() => {
                return self.unanswered(env, "closed the connection before CONNACK");
            }
            Phase::Connecting if reset.connected => {
                return self.unanswered(
                    env,
                    &format!("dropped the connection before CONNACK ({why})"),
                );
            }
            Phase::Connecting => format!("{broker} cannot be reached: {why}."),
            _ if why.is_empty() => format!("{broker} closed the connection."),
            _ => format!("{broker} dropped the connection: {why}."),
        };
        self.accuse(env, None);
        self.lost(
            env,
            &Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason),
            None,
        );
    }

    /// The peer did `what` instead of sending CONNACK.
    pub(super) fn unanswered(&mut self, env: &mut Env<'_, '_>, what: &str) {
        let reason = format!(
            "{} {what}; check that the port is not a TLS port and that the broker supports MQTT 5.",
            self.broker()
        );
        let failure = Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason);
        self.lost(env, &failure, None);
    }

    /// The connection was lost or is being closed. `disconnect` is the reason code of the DISCONNECT,
    /// which is sent if the byte stream has credit.
    pub(super) fn lost(
        &mut self,
        env: &mut Env<'_, '_>,
        failure: &Failure,
        disconnect: Option<ReasonCode>,
    ) {
        let was_ready = self.phase == Phase::Ready;
        self.close_bytes(env, disconnect.filter(|_| was_ready));
        self.phase = Phase::Down;
        let at_once = self.record_failure(env, failure, was_ready);
        let restores = self.counted.is_none() && !env.cx.stopping();
        for key in self.stream_keys() {
            let reopens = at_once && !(self.purpose == Purpose::All && self.is_suspect(env, key));
            if let Some(delivery) = lost_with(env, key, was_ready, reopens, restores) {
                self.fail(env, key, failure, delivery);
            }
        }
        self.reset_state(env.shared);
        if self.is_needed(env.streams) {
            self.reopen(env);
        }
    }

    /// The exit reported which broker it leads to.
    pub(super) fn set_remote(&mut self, shared: &mut Shared, remote: ByteString) {
        if shared.link.remote != remote {
            shared.link.remote = remote.clone();
        }
        self.remote = remote;
    }

    pub(super) fn close_bytes(&mut self, env: &mut Env<'_, '_>, disconnect: Option<ReasonCode>) {
        self.clear_phase_timer(env.cx);
        self.set_keep_alive_timer(env.cx, None);
        self.clear_overdue_timer(env.cx);
        let Some(bytes) = self.bytes else {
            return;
        };
        if let Some(code) = disconnect
            && self.outbound.is_clear(env.cx, bytes)
        {
            let disconnect = packets::disconnect(env.shared, &mut self.packets, code);
            self.outbound.push(env.cx, bytes, [disconnect]);
            self.outbound.end(env.cx, bytes);
        }
        self.bytes = None;
        env.cx.terminate(bytes, None, None);
    }

    /// Resets a stream with a reason.
    pub(super) fn fail(
        &mut self,
        env: &mut Env<'_, '_>,
        key: usize,
        failure: &Failure,
        delivery: MqttDelivery,
    ) {
        if env.streams.publication(key).is_some() {
            env.shared.counts.unpublished(delivery);
        }
        if let Some(stream) = env.streams.get(key) {
            env.cx.work_for(stream.id);
            env.cx.event_with(|_| StreamReset {
                client: self.client_id.clone(),
                code: failure.code.0,
                reason: failure.reason.clone(),
                delivery,
            });
        }
        self.remove_stream(env, key, Some(failure.reset(delivery)));
    }

    /// Removes a stream, and terminates what is still open of it.
    pub(super) fn remove_stream(
        &mut self,
        env: &mut Env<'_, '_>,
        key: usize,
        reset: Option<ResetEx>,
    ) {
        if !self.streams.remove(&key) {
            return;
        }
        let Some(mut stream) = env.streams.remove(key) else {
            return;
        };
        stream.clear_deadline(env.cx);
        self.remember_stream(env.cx.now(), &stream.kind);
        match &stream.kind {
            Kind::Session(_) => self.sessions -= 1,
            Kind::Publish(publication) => {
                self.gathered -= publication.gathered();
                if publication.is_outstanding() {
                    self.waiting.remove(key);
                }
            }
            Kind::Subscribe(subscriber) => self.unsubscribe(env, key, subscriber),
        }
        env.cx.terminate(stream.id, reset, None);
    }

    /// The engine is shutting down: publications in flight may finish, other streams end.
    pub(super) fn shut_down(&mut self, env: &mut Env<'_, '_>) {
        for key in self.stream_keys() {
            let Some(stream) = env.streams.get(key) else {
                continue;
            };
            match &stream.kind {
                Kind::Publish(publication) if publication.is_outstanding() => {
                    env.cap_deadline(key);
                }
                Kind::Session(Session { accepted: true }) => {
                    env.cx.end(stream.id, Frame::end());
                    self.remove_stream(env, key, None);
                }
                // Its caller decides how long to wait for messages.
                Kind::Subscribe(subscriber)
                    if subscriber.accepted && self.phase == Phase::Ready => {}
                _ => self.fail(env, key, &shutting_down(), MqttDelivery::None),
            }
        }
    }

    /// Sends DISCONNECT and waits for the peer's END.
    pub(super) fn close(&mut self, env: &mut Env<'_, '_>) {
        let Some(bytes) = self.bytes else {
            return;
        };
        self.set_keep_alive_timer(env.cx, None);
        self.clear_overdue_timer(env.cx);
        self.phase = Phase::Closing;
        let disconnect = packets::disconnect(env.shared, &mut self.packets, ReasonCode::SUCCESS);
        self.send(env.cx, [disconnect]);
        self.outbound.end(env.cx, bytes);
        let patience = Duration::from_millis(env.shared.options.connect_timeout.get());
        self.set_phase_timer(env.cx, patience, "the broker's END of a closing connection");
    }

    /// Resets all streams at once, after a handler of this connection panicked.
    pub(super) fn reset_streams(&mut self, env: &mut Env<'_, '_>) {
        let reason = "An internal error in tidegate closed this connection; see its log.";
        let failure = Failure::new(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, reason);
        for key in self.stream_keys() {
            let Some(mut stream) = env.streams.remove(key) else {
                continue;
            };
            stream.clear_deadline(env.cx);
            let delivery = match &stream.kind {
                Kind::Publish(publication) => publication.delivery(),
                Kind::Session(_) | Kind::Subscribe(_) => MqttDelivery::None,
            };
            env.cx
                .terminate(stream.id, Some(failure.reset(delivery)), None);
        }
        self.streams.clear();
        self.cancel_attempt(env);
        self.close_bytes(env, None);
    }
}

/// Whether a stream is reset with its connection; if so, whether its message may have been
/// delivered.
fn lost_with(
    env: &mut Env<'_, '_>,
    key: usize,
    was_ready: bool,
    reopens: bool,
    restores: bool,
) -> Option<MqttDelivery> {
    match &mut env.streams.get_mut(key)?.kind {
        Kind::Session(session) if session.accepted => None,
        // During a shutdown, and for a counted subscription, the connection is not opened again.
        Kind::Subscribe(subscriber) if subscriber.accepted && restores => {
            subscriber.clear_answers();
            None
        }
        Kind::Publish(publication) if was_ready && !publication.is_outstanding() => None,
        Kind::Publish(publication) => match publication.delivery() {
            // Nothing of it was written: it is sent on the next connection.
            MqttDelivery::None if reopens && restores => None,
            delivery => Some(delivery),
        },
        Kind::Session(_) | Kind::Subscribe(_) => Some(MqttDelivery::None),
    }
}
