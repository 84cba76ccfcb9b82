//! Detects what the broker has not sent in time: an acknowledgement, or the rest of a packet.
//!
//! A broker that answers PINGREQ may still lose acknowledgements, and each lost one occupies its
//! receive window until the connection ends. So the connection is closed and opened again if an
//! acknowledgement or the rest of a packet does not arrive within `acknowledgeTimeout`.
//!
//! **Slow links.** The time is extended for large packets: an acknowledgement gets the time that
//! the unread bytes sent before it need at [`SLOWEST`], and a packet the time that it needs at that
//! speed. Acknowledgements that follow such a packet wait for it, and the time does not run while
//! this side pauses reading.
//!
//! Each connection has at most one timer, set by the first pending acknowledgement. When it fires,
//! it is set again for the oldest one, so a call that is answered in time costs no timer.

use tidegate_engine::{Context, Duration, Time, TimerId};

use super::connection::{Connection, Env, OVERDUE_TIMER, Pending, Shared, connection_token};
use super::failure::Failure;
use super::packet_ids::Sent;
use super::packets;
use crate::codec::ReasonCode;

/// Lowest supported speed of a link, in bytes per second.
const SLOWEST: u64 = 16 * 1024;

/// What a connection waits for, besides the packet identifiers in use.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    timer: Option<TimerId>,
    /// Since when a packet is incomplete.
    partial: Option<Time>,
    /// When reading was last found to be paused.
    paused: Time,
    /// Number of unanswered PINGREQs, and when the last one was sent.
    pings: u32,
    pinged: Sent,
}

impl Watchdog {
    /// Resets everything that belongs to a single byte stream, except the timer.
    pub(super) fn reset_state(&mut self) {
        let timer = self.timer.take();
        *self = Self {
            timer,
            ..Self::default()
        };
    }
}

impl Connection {
    /// Allocates the identifier of a packet that the broker must acknowledge; `None` if all are in
    /// use.
    pub(super) fn expect(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        what: Pending,
    ) -> Option<u16> {
        let id = self.session.ids.allocate(what, self.sent(cx))?;
        self.watch(cx, shared);
        Some(id)
    }

    /// The time and stream position of the next packet.
    pub(super) fn sent(&self, cx: &Context<'_>) -> Sent {
        Sent {
            at: cx.now(),
            position: self.outbound.queued(),
        }
    }

    /// Sends PINGREQ, to check that the broker is alive and has read everything before it.
    pub(super) fn ping(&mut self, env: &mut Env<'_, '_>) {
        self.watchdog.pings = self.watchdog.pings.saturating_add(1);
        self.watchdog.pinged = self.sent(env.cx);
        if self.tried.is_some() {
            self.watch(env.cx, env.shared);
        }
        let ping = packets::ping(&mut self.packets);
        self.send(env.cx, [ping]);
    }

    /// PINGRESP
    pub(super) fn on_pong(&mut self, env: &mut Env<'_, '_>) {
        let Some(pings) = self.watchdog.pings.checked_sub(1) else {
            let what = "PINGRESP without PINGREQ";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        };
        self.watchdog.pings = pings;
        if pings > 0 {
            return;
        }
        self.session.ids.read(self.watchdog.pinged.position);
        if let Some(origin) = self.tried.take() {
            self.acquit(env);
            self.safe(env, origin);
        }
    }

    /// All received bytes are decoded, except for an incomplete packet.
    pub(super) fn note_partial(&mut self, env: &mut Env<'_, '_>) {
        if self.decoder.buffered() == 0 {
            self.watchdog.partial = None;
        } else if self.watchdog.partial.is_none() {
            self.watchdog.partial = Some(env.cx.now());
            self.watch(env.cx, env.shared);
        }
    }

    /// A packet is complete; further bytes belong to the next one.
    pub(super) const fn note_whole(&mut self) {
        self.watchdog.partial = None;
    }

    pub(super) fn watch(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        if self.watchdog.timer.is_none() {
            self.set_overdue_timer(cx, patience(shared));
        }
    }

    fn set_overdue_timer(&mut self, cx: &mut Context<'_>, after: Duration) {
        let token = connection_token(self.key);
        let reason = "an acknowledgement or the rest of a packet";
        self.watchdog.timer = Some(cx.timer(after, token, OVERDUE_TIMER, reason));
    }

    pub(super) fn clear_overdue_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.watchdog.timer.take() {
            cx.cancel(timer);
        }
    }

    /// The timer fired.
    pub(super) fn check_overdue(&mut self, env: &mut Env<'_, '_>) {
        self.watchdog.timer = None;
        let now = env.cx.now();
        if self.unread > 0 {
            self.watchdog.paused = now;
        }
        let partial = self.partial_due(env);
        if let Some(due) = partial
            && due <= now
        {
            return self.close_for_partial_packet(env);
        }
        let mut next = partial;
        if let Some((what, sent)) = self.oldest() {
            let due =
                sent.at.max(self.watchdog.paused) + patience(env.shared) + self.crossing(sent);
            // After an incomplete packet, an acknowledgement may be late without being lost.
            let behind = partial.filter(|_| self.watchdog.partial.is_some_and(|since| since < due));
            let due = behind.map_or(due, |partial| due.max(partial));
            if due <= now {
                return self.close_for_missing_acknowledgement(env, what);
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        if let Some(next) = next {
            self.set_overdue_timer(env.cx, next.since(now));
        }
    }

    /// What is pending for the longest time: an acknowledgement or, if a message in quarantine
    /// waits for it, PINGRESP.
    fn oldest(&self) -> Option<(&'static str, Sent)> {
        let acknowledgement = self.session.ids.oldest();
        let pong = self.tried.map(|_| ("PINGRESP", self.watchdog.pinged));
        let acknowledgement = acknowledgement.map(|(what, sent)| (what.packet_name(), sent));
        let pending = acknowledgement.into_iter().chain(pong);
        pending.min_by_key(|(_, sent)| sent.at)
    }

    /// Whether a packet is being received, and fast enough.
    pub(super) fn is_receiving(&self, env: &Env<'_, '_>) -> bool {
        self.partial_due(env).is_some_and(|due| due > env.cx.now())
    }

    /// When the rest of the incomplete packet must have arrived.
    fn partial_due(&self, env: &Env<'_, '_>) -> Option<Time> {
        let since = self.watchdog.partial?.max(self.watchdog.paused);
        let length = self.decoder.buffered() as u64;
        Some(since + patience(env.shared) + at_slowest(length))
    }

    /// Time that the broker may need to read everything up to that packet.
    fn crossing(&self, sent: Sent) -> Duration {
        let read = self.session.ids.read_up_to();
        if sent.position < read {
            return Duration::default();
        }
        at_slowest(self.outbound.queued().saturating_sub(read))
    }

    fn close_for_partial_packet(&mut self, env: &mut Env<'_, '_>) {
        let length = self.decoder.buffered();
        let waited = self
            .watchdog
            .partial
            .map_or(0, |since| env.cx.now().since(since).as_millis());
        let reason = format!(
            "{} sent only {length} bytes of a packet within {waited} ms; the connection was \
             closed.",
            self.broker()
        );
        self.close_overdue(env, reason);
    }

    fn close_for_missing_acknowledgement(&mut self, env: &mut Env<'_, '_>, what: &str) {
        let limit = env.shared.options.acknowledge_timeout.get();
        let reason = format!(
            "{} did not send {what} within {limit} ms (acknowledgeTimeout); the connection was closed.",
            self.broker()
        );
        self.close_overdue(env, reason);
    }

    fn close_overdue(&mut self, env: &mut Env<'_, '_>, reason: String) {
        let code = ReasonCode::UNSPECIFIED_ERROR;
        self.lost(env, &Failure::new(code, reason), Some(code));
    }
}

/// Time for the broker to acknowledge.
fn patience(shared: &Shared) -> Duration {
    Duration::from_millis(shared.options.acknowledge_timeout.get())
}

/// Rounded down to whole seconds, so small packets get no extra time.
const fn at_slowest(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST)
}
