//! How a connection is made: when its turn comes, what it asks for, and what the broker answers.

use tidegate_engine::Duration;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::connection::{Connection, Phase, Work, connection_token};
use super::counted::Counted;
use super::failure::Failure;
use super::granted::Granted;
use super::keep_alive::KeepAlive;
use super::link::{Admission, Attempt};
use super::packets;
use super::streams::{Kind, Streams};

impl Connection {
    /// A stream needs the connection, which is down. It is refused at once while attempts are held
    /// off, and otherwise waits for the connection.
    pub(super) fn wake(&mut self, w: &mut Work<'_, '_>, key: usize) {
        match w.shared.link.admit(w.cx.now(), self.identity) {
            Admission::Go(attempt) => self.connect(w, attempt),
            Admission::Wait => self.line_up(w),
            Admission::Held(why) | Admission::Kept(why, _) => {
                w.shared.counts.refused += 1;
                w.shared.link.tell_refused(w.cx, &why);
                self.fail(w, key, &why, MqttDelivery::None);
            }
        }
    }

    /// Streams that survive need the connection, which is down: it is made as soon as may be.
    pub(super) fn reopen(&mut self, w: &mut Work<'_, '_>) {
        match w.shared.link.admit(w.cx.now(), self.identity) {
            Admission::Go(attempt) => self.connect(w, attempt),
            Admission::Wait | Admission::Held(_) => self.line_up(w),
            Admission::Kept(_, until) => {
                let left = until.since(w.cx.now());
                self.set_phase_timer(w.cx, left, "the next attempt of this client identifier");
            }
        }
    }

    fn line_up(&mut self, w: &mut Work<'_, '_>) {
        if !std::mem::replace(&mut self.in_line, true) {
            w.shared.link.line_up(self.key);
        }
    }

    /// Its turn has come.
    pub(super) fn go(&mut self, w: &mut Work<'_, '_>) {
        self.in_line = false;
        if self.phase == Phase::Down && self.is_needed(w.streams) {
            self.reopen(w);
        }
    }

    /// An attempt of another connection has failed, for which this one waited: its streams are told,
    /// and accepted subscriptions wait for the next.
    pub(super) fn put_off(&mut self, w: &mut Work<'_, '_>, why: &Failure) {
        self.in_line = false;
        for key in self.stream_keys() {
            let accepted = w.streams.get(key).is_some_and(|it| it.kind.is_accepted());
            if !accepted && needs(w.streams, key) {
                self.fail(w, key, why, MqttDelivery::None);
            }
        }
        if self.is_needed(w.streams) {
            self.line_up(w);
        }
    }

    pub(super) fn is_needed(&self, streams: &Streams) -> bool {
        self.streams.iter().any(|key| needs(streams, *key))
    }

    fn connect(&mut self, w: &mut Work<'_, '_>, attempt: Attempt) {
        self.start_anew(w.shared);
        self.clear_phase_timer(w.cx);
        self.phase = Phase::Connecting;
        self.attempt = Some(attempt);
        if self.remote.is_empty() {
            self.remote = w.shared.link.remote.clone();
        }
        let token = connection_token(self.key);
        // Whoever wakes it, the connection is all callers'.
        let call = w.cx.call().shared();
        match w
            .cx
            .open_for(call, w.shared.exit, BytesBegin::default(), token)
        {
            Ok(bytes) => {
                self.bytes = Some(bytes);
                let timeout = Duration::from_millis(w.shared.options.connect_timeout.get());
                self.set_phase_timer(w.cx, timeout, "the broker's answer to CONNECT");
                let counted = self.counted.as_ref().map(Counted::limit);
                let connect =
                    packets::connect(w.shared, &mut self.packets, &self.client_id, counted);
                self.send(w.cx, [connect]);
            }
            Err(error) => {
                let reason = format!("No connection to the broker can be opened: {error}.");
                self.lost(w, &Failure::our_own(reason), None);
            }
        }
    }

    /// The broker has accepted the connection.
    pub(super) fn connected(&mut self, w: &mut Work<'_, '_>, granted: Granted) {
        self.phase = Phase::Ready;
        self.clear_phase_timer(w.cx);
        self.up_since = w.cx.now();
        if let Some(attempt) = self.attempt.take() {
            w.shared.counts.accepted += 1;
            w.shared.link.connected(w.cx, attempt);
        }
        if let Some(assigned) = &granted.client_id {
            self.client_id = assigned.clone();
        }
        let interval = w.shared.options.keep_alive.get();
        let interval = u16::try_from(interval).unwrap_or(u16::MAX);
        let interval = granted.keep_alive.unwrap_or(interval);
        self.granted = granted;
        self.keep_alive = KeepAlive::start(interval, w.cx.now());
        self.set_keep_alive_timer(w.cx, self.keep_alive.first());
        for key in self.stream_keys() {
            self.serve(w, key);
        }
    }

    /// The attempt failed, or the connection is lost, as far as it concerns further attempts. Whether
    /// the connection may be opened again at once.
    pub(super) fn account(
        &mut self,
        w: &mut Work<'_, '_>,
        failure: &Failure,
        was_ready: bool,
    ) -> bool {
        let options = w.shared.options.reconnect;
        let counts = &mut w.shared.counts;
        if self.attempt.is_some() {
            counts.failed += 1;
        } else {
            counts.lost += 1;
        }
        let link = &mut w.shared.link;
        let at_once = match self.attempt.take() {
            None => {
                let lasted = w.cx.now().since(self.up_since);
                was_ready && link.lost(w.cx, options, self.identity, lasted, failure)
            }
            Some(attempt) if failure.is_of_its_identifier() || failure.ours => {
                link.refused(w.cx, options, attempt, self.identity, failure);
                false
            }
            Some(attempt) => {
                link.failed(w.cx, options, attempt, failure);
                false
            }
        };
        link.tell_lost(w.cx, failure, self.streams.len());
        at_once
    }

    /// Nobody waits for the attempt any more, or for its turn.
    pub(super) fn give_up_attempt(&mut self, w: &mut Work<'_, '_>) {
        if let Some(attempt) = self.attempt.take() {
            w.shared.link.dropped(attempt);
        }
        if std::mem::take(&mut self.in_line) {
            w.shared.link.step_out(self.key);
        }
    }
}

/// Whether a stream needs a connection that is down.
fn needs(streams: &Streams, key: usize) -> bool {
    streams.get(key).is_some_and(|stream| match &stream.kind {
        Kind::Session(session) => !session.accepted,
        Kind::Publish(publication) => publication.is_outstanding(),
        Kind::Subscribe(_) => true,
    })
}
