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
use super::version::Refusal;
use crate::codec::ReasonCode;

/// A connection that was lost or could not be opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loss {
    /// The broker had accepted it.
    pub(super) was_ready: bool,
    /// It may be opened again at once.
    pub(super) at_once: bool,
    /// Its session can be resumed.
    pub(super) keeps: bool,
}

impl Connection {
    /// The broker violated the protocol: sends DISCONNECT with `code` and closes the connection.
    pub(super) fn protocol_error(&mut self, env: &mut Env<'_, '_>, code: ReasonCode, what: &str) {
        // What the two sides know of the session may differ.
        self.session.discard();
        let reason = format!("{} violated the MQTT protocol: {what}.", self.broker());
        self.lost(env, &Failure::new(code, reason), Some(code));
    }

    /// The byte stream ended; `reset` is the reason that its other end gave, if any.
    pub(super) fn bytes_closed(&mut self, env: &mut Env<'_, '_>, reset: BytesReset) {
        if !reset.remote.is_empty() {
            self.set_chosen(env.shared, reset.remote);
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
        let mut failure = Failure::new(ReasonCode::SERVER_UNAVAILABLE, reason);
        failure.denied = reset.certificate;
        failure.credentials = reset.certificate;
        self.lost(env, &failure, None);
    }

    /// The peer did `what` instead of sending CONNACK.
    pub(super) fn unanswered(&mut self, env: &mut Env<'_, '_>, what: &str) {
        if self.fall_back(env, Refusal::Silent) {
            return;
        }
        let hint = if self.is_secure {
            "check that the port is an MQTT port"
        } else {
            "check that the port is an MQTT port without TLS"
        };
        let reason = format!("{} {what}; {hint}.", self.broker());
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
        // A refusal of who connects says nothing about the server.
        let of_client = failure.credentials || failure.is_local || failure.concerns_client_id();
        if !of_client && self.return_to_configured(env) {
            return;
        }
        self.end_row(env.cx.now());
        let was_ready = self.phase == Phase::Ready;
        self.close_bytes(env, disconnect.filter(|_| was_ready));
        self.phase = Phase::Down;
        let at_once = self.record_failure(env, failure, was_ready);
        let keeps = self.interrupt_session(env, failure, was_ready);
        let loss = Loss {
            was_ready,
            at_once,
            keeps,
        };
        for key in self.stream_keys() {
            if let Some(delivery) = self.lost_with(env, key, loss) {
                self.fail(env, key, failure, delivery);
            }
        }
        if !keeps {
            self.forget_session(env);
        }
        self.reset_state(env.shared);
        if self.is_needed(env.streams) {
            self.reopen(env);
        }
    }

    /// Whether a stream is reset with the connection; if so, whether its message may have been
    /// delivered.
    pub(super) fn lost_with(
        &self,
        env: &mut Env<'_, '_>,
        key: usize,
        loss: Loss,
    ) -> Option<MqttDelivery> {
        // During a shutdown, and for a counted subscription, the connection is not opened again.
        let restores = self.counted.is_none() && !env.cx.stopping();
        let suspect = self.purpose == Purpose::All && self.is_suspect(env, key);
        match &env.streams.get(key)?.kind {
            Kind::Session(session) if session.accepted => None,
            Kind::Subscribe(subscriber) if subscriber.accepted && restores => None,
            Kind::Publish(publication) if loss.was_ready && !publication.is_outstanding() => None,
            Kind::Publish(publication) => match publication.delivery() {
                // Nothing of it was written: it is sent on the next connection.
                MqttDelivery::None
                    if restores && !suspect && (loss.at_once || self.may_queue(env.shared)) =>
                {
                    None
                }
                // It is sent again when the session is resumed.
                MqttDelivery::Possible if restores && loss.keeps => None,
                delivery => Some(delivery),
            },
            Kind::Session(_) | Kind::Subscribe(_) => Some(MqttDelivery::None),
        }
    }

    /// Whether the messages that are not sent yet may wait for the broker (`offlineQueue`).
    fn may_queue(&self, shared: &Shared) -> bool {
        let limit = shared.options.offline_queue.size();
        limit > 0 && self.waiting.len() <= limit
    }

    /// The exit reported which broker it leads to.
    pub(super) fn set_remote(&mut self, shared: &mut Shared, remote: ByteString) {
        if shared.link.remote != remote {
            shared.link.remote = remote.clone();
        }
        self.remote = remote;
    }

    /// The connection is open, or was lost: the exit names the peer that it chose.
    pub(super) fn set_chosen(&mut self, shared: &mut Shared, remote: ByteString) {
        self.is_chosen |= !self.remote.is_empty() && self.remote != remote;
        self.set_remote(shared, remote);
    }

    pub(super) fn close_bytes(&mut self, env: &mut Env<'_, '_>, disconnect: Option<ReasonCode>) {
        self.clear_phase_timer(env.cx);
        self.set_keep_alive_timer(env.cx, None);
        self.clear_overdue_timer(env.cx);
        self.clear_repetitions(env.cx);
        let Some(bytes) = self.bytes else {
            return;
        };
        if let Some(code) = disconnect
            && self.outbound.is_clear(env.cx, bytes)
        {
            let disconnect = packets::disconnect(&mut self.packets, code);
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
        self.clear_repetitions(env.cx);
        self.phase = Phase::Closing;
        let kept = self.session.is_kept() && !self.leaves_session();
        let disconnect = packets::disconnect_finally(&mut self.packets, kept);
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
