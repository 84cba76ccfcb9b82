//! Connection attempts: when one may start, the CONNECT it sends, and how its outcome is recorded.

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::accounts::Connections;
use super::aliases::Aliases;
use super::connection::{Connection, Env, Phase, Shared, connection_token};
use super::ending::Loss;
use super::events::{AccountRefused, VersionChosen};
use super::failure::Failure;
use super::granted::Granted;
use super::keep_alive::KeepAlive;
use super::link::{Admission, Attempt};
use super::packets;
use super::streams::{Kind, Streams};
use super::suspects::Purpose;
use super::version::Refusal;
use crate::codec::ReasonCode;

impl Connection {
    /// A stream needs the connection, which is down. The stream is refused at once while attempts
    /// are held off; otherwise it waits for the connection.
    pub(super) fn wake(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let loss = self.still_down(env);
        match env.shared.link.admit(env.cx.now(), self.identity) {
            Admission::Connect(attempt) => self.connect(env, attempt),
            Admission::Queue => self.enqueue(env),
            Admission::HeldOff(_) | Admission::ClientHeldOff(..)
                if self.lost_with(env, key, loss).is_none() =>
            {
                self.reopen(env);
            }
            Admission::HeldOff(why) | Admission::ClientHeldOff(why, _) => {
                let delivery = delivery_of(env.streams, key);
                env.shared.counts.refused += 1;
                env.shared.link.report_refused(env.cx, &why);
                self.fail(env, key, &why, delivery);
            }
        }
    }

    /// Accepted streams need the connection, which is down: opens it as soon as possible.
    pub(super) fn reopen(&mut self, env: &mut Env<'_, '_>) {
        match env.shared.link.admit(env.cx.now(), self.identity) {
            Admission::Connect(attempt) => self.connect(env, attempt),
            Admission::Queue | Admission::HeldOff(_) => self.enqueue(env),
            Admission::ClientHeldOff(_, until) => {
                let left = until.since(env.cx.now());
                self.set_phase_timer(env.cx, left, "the next attempt of this client identifier");
            }
        }
    }

    fn enqueue(&mut self, env: &mut Env<'_, '_>) {
        if !std::mem::replace(&mut self.queued, true) {
            env.shared.link.enqueue(self.key);
        }
    }

    /// It is this connection's turn to connect.
    pub(super) fn on_turn(&mut self, env: &mut Env<'_, '_>) {
        self.queued = false;
        if self.phase == Phase::Down && self.is_needed(env.streams) {
            self.reopen(env);
        }
    }

    /// The attempt that this connection waited for has failed: its streams are refused, except
    /// those that wait for the next attempt (see `lost_with`).
    pub(super) fn attempt_failed(&mut self, env: &mut Env<'_, '_>, why: &Failure) {
        self.queued = false;
        let loss = self.still_down(env);
        for key in self.stream_keys() {
            let accepted = env.streams.get(key).is_some_and(|it| it.kind.is_accepted());
            if !accepted
                && needs(env.streams, key)
                && let Some(delivery) = self.lost_with(env, key, loss)
            {
                self.fail(env, key, why, delivery);
            }
        }
        if self.is_needed(env.streams) {
            self.enqueue(env);
        }
    }

    /// Another attempt failed, or is held off.
    fn still_down(&self, env: &Env<'_, '_>) -> Loss {
        Loss {
            keeps: self.session.is_resumable(env.cx.now()),
            ..Loss::default()
        }
    }

    pub(super) fn is_needed(&self, streams: &Streams) -> bool {
        self.streams.iter().any(|key| needs(streams, *key))
    }

    fn connect(&mut self, env: &mut Env<'_, '_>, attempt: Attempt) {
        let now = env.cx.now();
        let within = Duration::from_secs(env.shared.options.resend_within.get());
        let is_late = self.session.is_late(now, within);
        let resumable = self.session.is_resumable(now) && !is_late;
        let session = resumable.then_some(self.packets.version);
        let version = env.shared.negotiation.current(now, session);
        let resume = session == Some(version);
        if !resume {
            let why = if is_late {
                "had a message of QoS 2 that is too late to be sent again (resendWithin)"
            } else {
                "has expired"
            };
            self.end_session(env, why);
        }
        self.packets.version = version;
        self.reset_state(env.shared);
        self.clear_phase_timer(env.cx);
        self.phase = Phase::Connecting;
        self.attempt = Some(attempt);
        if self.remote.is_empty() {
            self.remote = env.shared.link.remote.clone();
        }
        let credentials = match self.credentials(env) {
            Ok(credentials) => credentials,
            Err(failure) => return self.lost(env, &failure, None),
        };
        let token = connection_token(self.key);
        let account = self.account.as_ref();
        let begin = BytesBegin {
            certificate: account.map_or_else(ByteString::new, |it| it.certificate.clone()),
            endpoints: self.servers(env),
            avoid: env.shared.link.avoid.clone(),
            ..BytesBegin::default()
        };
        // The connection is shared, so the attempt must not inherit the call context of one caller.
        let call = env.cx.call().shared();
        match env.cx.open_for(call, env.shared.exit, begin, token) {
            Ok(bytes) => {
                self.bytes = Some(bytes);
                let timeout = Duration::from_millis(env.shared.options.connect_timeout.get());
                self.set_phase_timer(env.cx, timeout, "the broker's answer to CONNECT");
                let terms = packets::Terms {
                    resume: resume
                        || self.begins_lasting(env.shared)
                        || self.continues_session(env.shared),
                    session_expiry: self.session_expiry(env.shared),
                    receive_maximum: self.receive_maximum(),
                    will: self.purpose == Purpose::All && self.client == env.shared.own,
                };
                let connect = packets::connect(
                    env.shared,
                    &mut self.packets,
                    &self.client_id,
                    terms,
                    credentials,
                );
                self.send(env.cx, [connect]);
            }
            Err(error) => {
                let reason = format!("Cannot open a connection to the broker: {error}.");
                self.lost(env, &Failure::local(reason), None);
            }
        }
    }

    /// The broker may not support the version of CONNECT: connects with another one at once, if that
    /// may help. Returns whether it does.
    pub(super) fn fall_back(&mut self, env: &mut Env<'_, '_>, how: Refusal) -> bool {
        let version = self.packets.version;
        let refused = self.attempt.is_some() && env.shared.negotiation.refused(version, how);
        refused && self.connect_again(env, None)
    }

    /// Replaces the byte stream of an attempt by a new one. `disconnect` is the reason code of the
    /// DISCONNECT, if the broker has accepted the connection.
    pub(super) fn connect_again(
        &mut self,
        env: &mut Env<'_, '_>,
        disconnect: Option<ReasonCode>,
    ) -> bool {
        let Some(attempt) = self.attempt.take() else {
            return false;
        };
        self.close_bytes(env, disconnect);
        self.connect(env, attempt);
        true
    }

    /// The broker accepted the connection, and `resumed` the session or began one.
    pub(super) fn connected(&mut self, env: &mut Env<'_, '_>, granted: Granted, resumed: bool) {
        self.phase = Phase::Ready;
        self.clear_phase_timer(env.cx);
        self.up_since = env.cx.now();
        if let Some(attempt) = self.attempt.take() {
            env.shared.counts.accepted += 1;
            env.shared.link.connected(env.cx, attempt);
        }
        let now = env.cx.now();
        if let Some(why) = env.shared.negotiation.accepted(self.packets.version, now) {
            env.cx.event(&VersionChosen {
                broker: self.remote.clone(),
                why: why.into(),
            });
        }
        if let Some(assigned) = &granted.client_id {
            self.client_id = assigned.clone();
        }
        let interval = env.shared.options.keep_alive.get();
        let interval = u16::try_from(interval).unwrap_or(u16::MAX);
        let interval = granted.keep_alive.unwrap_or(interval);
        let lost = self.session.lost();
        self.session.accepted(self.kept(env.shared, &granted));
        let own = env.shared.options.topic_alias_maximum.get();
        let own = u16::try_from(own).unwrap_or(u16::MAX);
        self.aliases = Aliases::new(granted.aliases.min(own));
        self.granted = granted;
        self.keep_alive = KeepAlive::start(interval, env.cx.now());
        self.set_keep_alive_timer(env.cx, self.keep_alive.first());
        self.note_session(env.cx, resumed, lost.is_some());
        if resumed && let Some(lost) = lost {
            self.resume(env, env.cx.now().since(lost));
        }
        for key in self.stream_keys() {
            self.serve(env, key);
        }
    }

    /// Records that the attempt failed or the connection was lost. Returns whether the connection
    /// may be opened again at once.
    pub(super) fn record_failure(
        &mut self,
        env: &mut Env<'_, '_>,
        failure: &Failure,
        was_ready: bool,
    ) -> bool {
        let options = env.shared.options.reconnect;
        let counts = &mut env.shared.counts;
        if self.attempt.is_some() {
            counts.failed += 1;
        } else {
            counts.lost += 1;
        }
        let of_account = self.attempt.is_some() && self.is_of_account(env.shared, failure);
        if of_account {
            env.cx.event(&AccountRefused {
                identity: self.account.as_ref().map_or_else(
                    || ByteString::from_static("the gateway"),
                    |account| account.subject.clone(),
                ),
                client: self.client_id.clone(),
                reason: failure.reason.clone(),
            });
        }
        let link = &mut env.shared.link;
        let at_once = match self.attempt.take() {
            None => {
                let lasted = env.cx.now().since(self.up_since);
                was_ready && link.lost(env.cx, options, self.identity, lasted, failure)
            }
            Some(attempt) if of_account || failure.concerns_client_id() || failure.is_local => {
                link.refused(env.cx, options, attempt, self.identity, failure);
                false
            }
            Some(attempt) => {
                if self.is_chosen && !failure.denied {
                    link.avoid = self.remote.clone();
                }
                link.failed(env.cx, options, attempt, failure);
                false
            }
        };
        if !of_account {
            link.report_lost(env.cx, failure, self.streams.len());
        }
        at_once
    }

    /// Whether a failure concerns the account of this connection alone: others with the same one would fail
    /// alike, and those of other callers would not.
    fn is_of_account(&self, shared: &Shared, failure: &Failure) -> bool {
        shared.options.connections == Connections::Identity
            && (failure.credentials || (failure.is_local && self.account.is_some()))
    }

    /// Cancels the attempt, or removes it from the queue.
    pub(super) fn cancel_attempt(&mut self, env: &mut Env<'_, '_>) {
        if let Some(attempt) = self.attempt.take() {
            env.shared.link.finish_attempt(attempt);
        }
        if std::mem::take(&mut self.queued) {
            env.shared.link.dequeue(self.key);
        }
    }
}

/// Whether a message of a stream may have reached the broker.
fn delivery_of(streams: &Streams, key: usize) -> MqttDelivery {
    match streams.get(key).map(|stream| &stream.kind) {
        Some(Kind::Publish(publication)) => publication.delivery(),
        _ => MqttDelivery::None,
    }
}

/// Whether a stream needs the connection while it is down.
fn needs(streams: &Streams, key: usize) -> bool {
    streams.get(key).is_some_and(|stream| match &stream.kind {
        Kind::Session(session) => !session.accepted,
        Kind::Publish(publication) => publication.is_outstanding(),
        Kind::Subscribe(_) => true,
    })
}
