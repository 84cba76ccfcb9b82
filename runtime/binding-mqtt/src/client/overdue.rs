//! What the broker owes for too long: an acknowledgement, or the rest of a packet.
//!
//! A broker that answers PINGREQ may still lose acknowledgements, and each that is lost keeps a place of
//! its receive window for as long as the connection lasts. So the connection is closed when one does not
//! come within `acknowledgeTimeout`, and opened again. Nor is a packet life that never becomes whole.
//!
//! **Slow is not dead.** What needs time to cross a slow link gets it: an acknowledgement as much more as
//! what was sent and is not known to have been read takes at [`SLOWEST`], and a packet may take so long
//! that it comes at that speed. Acknowledgements that stand in line behind such a packet wait for it,
//! and none is awaited while this side does not read.
//!
//! There is one timer for each connection, set by the first that is watchdog. It looks for the oldest when it
//! fires, and is set anew for that one: a call that is answered in time costs no timer.

use tidegate_engine::{Context, Duration, Time, TimerId};

use super::connection::{Connection, Env, OVERDUE_TIMER, Pending, Shared, connection_token};
use super::failure::Failure;
use super::packet_ids::Sent;
use super::packets;
use crate::codec::ReasonCode;

/// Bytes a second: the slowest link over which large packets are still waited for.
const SLOWEST: u64 = 16 * 1024;

/// What a connection is owed beside what its packet identifiers tell.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    timer: Option<TimerId>,
    /// Since when a packet has come in part.
    partial: Option<Time>,
    /// When it was last found that this side did not read.
    paused: Time,
    /// PINGREQs that are not answered, and the last of them.
    pings: u32,
    pinged: Sent,
}

impl Watchdog {
    /// What belongs to one byte stream is forgotten with it.
    pub(super) fn reset_state(&mut self) {
        let timer = self.timer.take();
        *self = Self {
            timer,
            ..Self::default()
        };
    }
}

impl Connection {
    /// A packet is about to be sent that the broker has to acknowledge: its identifier, if there is
    /// one left.
    pub(super) fn expect(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        what: Pending,
    ) -> Option<u16> {
        let id = self.ids.allocate(what, self.sent(cx))?;
        self.watch(cx, shared);
        Some(id)
    }

    /// Where and when the next packet is sent.
    pub(super) fn sent(&self, cx: &Context<'_>) -> Sent {
        Sent {
            at: cx.now(),
            position: self.outbound.queued(),
        }
    }

    /// Asks the broker whether it is there, and has read what it was sent.
    pub(super) fn ping(&mut self, env: &mut Env<'_, '_>) {
        self.watchdog.pings = self.watchdog.pings.saturating_add(1);
        self.watchdog.pinged = self.sent(env.cx);
        if self.tried.is_some() {
            self.watch(env.cx, env.shared);
        }
        let ping = packets::ping(env.shared, &mut self.packets);
        self.send(env.cx, [ping]);
    }

    /// PINGRESP
    pub(super) fn on_pong(&mut self, env: &mut Env<'_, '_>) {
        self.watchdog.pings = self.watchdog.pings.saturating_sub(1);
        if self.watchdog.pings > 0 {
            return;
        }
        self.ids.read(self.watchdog.pinged.position);
        if let Some(origin) = self.tried.take() {
            self.acquit(env);
            self.safe(env, origin);
        }
    }

    /// All that was read so far is taken apart, into whole packets or a part of one.
    pub(super) fn note_partial(&mut self, env: &mut Env<'_, '_>) {
        if self.decoder.buffered() == 0 {
            self.watchdog.partial = None;
        } else if self.watchdog.partial.is_none() {
            self.watchdog.partial = Some(env.cx.now());
            self.watch(env.cx, env.shared);
        }
    }

    /// A packet is whole; what follows belongs to the next.
    pub(super) const fn note_whole(&mut self) {
        self.watchdog.partial = None;
    }

    fn watch(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        if self.watchdog.timer.is_none() {
            self.set_overdue_timer(cx, patience(shared));
        }
    }

    fn set_overdue_timer(&mut self, cx: &mut Context<'_>, after: Duration) {
        let token = connection_token(self.key);
        let reason = "what the broker owes";
        self.watchdog.timer = Some(cx.timer(after, token, OVERDUE_TIMER, reason));
    }

    pub(super) fn clear_overdue_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.watchdog.timer.take() {
            cx.cancel(timer);
        }
    }

    /// The timer has fired.
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
            // Behind a packet that was already coming it may be late without the broker's doing.
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

    /// What the broker has owed for the longest time: an acknowledgement or, where a message in
    /// quarantine waits for it, PINGRESP.
    fn oldest(&self) -> Option<(&'static str, Sent)> {
        let acknowledgement = self.ids.oldest();
        let pong = self.tried.map(|_| ("PINGRESP", self.watchdog.pinged));
        let acknowledgement = acknowledgement.map(|(what, sent)| (what.awaited(), sent));
        let pending = acknowledgement.into_iter().chain(pong);
        pending.min_by_key(|(_, sent)| sent.at)
    }

    /// Whether a packet has come in part, and not too slowly.
    pub(super) fn is_receiving(&self, env: &Env<'_, '_>) -> bool {
        self.partial_due(env).is_some_and(|due| due > env.cx.now())
    }

    /// By when more of a packet must have come that has come in part.
    fn partial_due(&self, env: &Env<'_, '_>) -> Option<Time> {
        let since = self.watchdog.partial?.max(self.watchdog.paused);
        let length = self.decoder.buffered() as u64;
        Some(since + patience(env.shared) + at_slowest(length))
    }

    /// How long it may take until the broker has read a packet that was sent then.
    fn crossing(&self, sent: Sent) -> Duration {
        let read = self.ids.read_up_to();
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

/// How long the broker may take to acknowledge.
fn patience(shared: &Shared) -> Duration {
    Duration::from_millis(shared.options.acknowledge_timeout.get())
}

/// In whole seconds: what is small takes no time.
const fn at_slowest(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST)
}
