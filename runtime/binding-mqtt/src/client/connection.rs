//! A connection to the broker: its state, shared by its streams.
//!
//! A connection is *down* until a stream needs it and the link admits an attempt (see `link`),
//! *connecting* until CONNACK, *ready* until it is lost or closed, and *closing* while DISCONNECT is
//! being sent. What happens to its streams:
//!
//! | | connecting fails | a ready connection is lost |
//! |---|---|---|
//! | session, not accepted | RESET | – |
//! | session, accepted | stays | stays |
//! | publish, no complete message | as without a connection: RESET, delivery *none*, or stays with an offline queue | stays |
//! | publish, nothing written | waits in the offline queue, or RESET, delivery *none* | stays if the connection is opened again at once, or in the offline queue, else RESET, delivery *none* |
//! | publish, written and not acknowledged | stays until the session has ended | stays if the session can be resumed, else RESET, delivery *possible* |
//! | subscribe, not accepted | RESET | RESET |
//! | subscribe, accepted | stays, another attempt follows | stays, another attempt follows |

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::streams::{BeginEx, Frame};
use tidegate_engine::{BindingId, Context, Duration, StreamId, Time, TimerId, Token};

use super::accounts::{Account, Connections};
use super::aliases::Aliases;
use super::authentication::Exchange;
use super::counted::Counted;
use super::credentials::ReadPassword;
use super::failure::Failure;
use super::granted::Granted;
use super::held::Held;
use super::keep_alive::{KeepAlive, Pulse};
use super::limits::Rate;
use super::link::{Attempt, ClientHash, Link};
use super::meters::Counts;
use super::options::Options;
use super::outbound::Outbound;
use super::overdue::Watchdog;
use super::packets;
use super::peer::Answer;
use super::quarantine::{Namer, Quarantine, Suspect};
use super::redirect::Course;
use super::session::SessionState;
use super::streams::{Kind, Streams};
use super::suspects::{Purpose, Recent};
use super::version::Negotiation;
use super::waiting::Waiting;
use crate::codec::{Decoder, ReasonCode};

/// The kinds of timers of a connection.
pub(super) const PHASE_TIMER: u32 = 1;
pub(super) const KEEP_ALIVE_TIMER: u32 = 2;
pub(super) const OVERDUE_TIMER: u32 = 3;
pub(super) const REFUSED_TIMER: u32 = 5;
/// The kind of the deadline timer of a stream.
pub(super) const DEADLINE_TIMER: u32 = 4;

/// The state that all connections of the binding share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    /// The version of further connections.
    pub(super) negotiation: Negotiation,
    /// Reads the files of passwords.
    pub(super) files: Option<Box<dyn ReadPassword>>,
    /// The client identifier of streams that do not set one.
    pub(super) own: ByteString,
    pub(super) exit: BindingId,
    pub(super) counts: Counts,
    pub(super) link: Link,
    pub(super) quarantine: Quarantine,
    /// Size of the messages that are pending on all connections, in bytes.
    pub(super) pending: usize,
}

/// What a connection needs to handle an event, besides itself.
pub(super) struct Env<'a, 'e> {
    pub(super) cx: &'a mut Context<'e>,
    pub(super) streams: &'a mut Streams,
    pub(super) shared: &'a mut Shared,
}

impl Env<'_, '_> {
    /// The engine is shutting down: limits the deadline of a stream to the end of the shutdown.
    pub(super) fn cap_deadline(&mut self, key: usize) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let own = self.cx.call_of(stream.id).and_then(|call| call.deadline);
        let Some(stop) = self.cx.stop_deadline() else {
            return;
        };
        if own.is_none_or(|own| stop < own) {
            stream.clear_deadline(self.cx);
            let left = stop.since(self.cx.now());
            let reason = "the end of the shutdown";
            let token = stream_token(key);
            stream.deadline = Some(self.cx.timer(left, token, DEADLINE_TIMER, reason));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No byte stream. If the phase timer is set, it fires when the next attempt is due.
    Down,
    /// CONNECT was sent; the phase timer ends the attempt.
    Connecting,
    /// CONNACK was received. If the phase timer is set, the connection is idle.
    Ready,
    /// DISCONNECT was sent; the phase timer limits the wait for the peer's END.
    Closing,
}

/// A message of a publish stream. `id` distinguishes the stream from a later one with the same key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) key: usize,
    pub(super) id: StreamId,
    pub(super) number: u64,
}

/// A message under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) origin: Origin,
    /// The packet is sent again, after the session was resumed: the broker may have had the first one.
    pub(super) again: bool,
    /// When it was sent first.
    pub(super) since: Time,
}

impl Sending {
    /// A message that is sent for the first time.
    pub(super) const fn first(origin: Origin, now: Time) -> Self {
        Self {
            origin,
            again: false,
            since: now,
        }
    }

    /// Whether it is too late to send it again.
    pub(super) fn is_late(&self, now: Time, within: Duration) -> bool {
        now.since(self.since) >= within
    }
}

/// The packet that a packet identifier waits for.
#[derive(Debug)]
pub(super) enum Pending {
    PubAck(Sending),
    PubRec(Sending),
    PubComp(Sending),
    SubAck {
        identifier: u32,
    },
    /// Boxed, so that it does not make the others larger.
    UnsubAck {
        filter: Box<ByteString>,
    },
}

impl Pending {
    /// The name of the packet.
    pub(super) const fn packet_name(&self) -> &'static str {
        match self {
            Self::PubAck(_) => "PUBACK",
            Self::PubRec(_) => "PUBREC",
            Self::PubComp(_) => "PUBCOMP",
            Self::SubAck { .. } => "SUBACK",
            Self::UnsubAck { .. } => "UNSUBACK",
        }
    }
}

/// A connection to the broker. The binding removes it when it is down and has no streams.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the connection"
)]
pub(super) struct Connection {
    pub(super) key: usize,
    /// The client identifier that the streams use, or the key of their caller (see `accounts`).
    pub(super) client: ByteString,
    /// The client identifier for CONNECT, before the broker may have assigned another.
    pub(super) name: ByteString,
    /// What it presents instead of the credentials of the options.
    pub(super) account: Option<Arc<Account>>,
    /// The client identifier that is sent to the broker.
    pub(super) client_id: ByteString,
    pub(super) purpose: Purpose,
    pub(super) phase: Phase,
    pub(super) bytes: Option<StreamId>,
    /// The broker as `host:port`; empty while it is unknown.
    pub(super) remote: ByteString,
    /// The peer is one of several.
    pub(super) is_chosen: bool,
    /// TLS encrypts the byte stream.
    pub(super) is_secure: bool,
    /// Where it goes.
    pub(super) course: Course,
    pub(super) decoder: Decoder,
    /// The first bytes of the answer to CONNECT.
    pub(super) answer: Answer,
    /// Bytes received and not acknowledged to the byte stream.
    pub(super) unread: usize,
    pub(super) outbound: Outbound,
    pub(super) packets: packets::Buffer,
    /// What outlives the byte stream.
    pub(super) session: SessionState,
    /// Outgoing `QoS` 0 messages that are not written yet, with the stream position of their ends.
    pub(super) unwritten: VecDeque<(u64, Origin)>,
    pub(super) waiting: Waiting,
    /// Size of incomplete messages from publish streams, in bytes.
    pub(super) gathered: usize,
    /// Its part of `Shared::pending`.
    pub(super) counted_pending: usize,
    /// Set if the connection belongs to a subscription with a limit.
    pub(super) counted: Option<Counted>,
    /// Set if the connection belongs to a subscription whose caller acknowledges the messages.
    pub(super) held: Option<Box<Held>>,
    /// Streams that must move to another connection because of their filters.
    pub(super) moving: Vec<usize>,
    pub(super) granted: Granted,
    pub(super) aliases: Aliases,
    /// Of the messages that are sent; a new connection goes on with it.
    pub(super) rate: Rate,
    pub(super) keep_alive: KeepAlive,
    pub(super) watchdog: Watchdog,
    /// The hash of the client identifier that the link uses.
    pub(super) identity: ClientHash,
    /// The enhanced authentication, until CONNACK.
    pub(super) exchange: Option<Box<dyn Exchange>>,
    /// The current connection attempt.
    pub(super) attempt: Option<Attempt>,
    /// The connection is in the queue of the link.
    pub(super) queued: bool,
    /// When the broker accepted it.
    pub(super) up_since: Time,
    /// Hashes the topics and filters of its client for the quarantine.
    pub(super) namer: Namer,
    /// Recent packets over which the broker may still close the connection, although no stream
    /// waits for them.
    pub(super) recent: Recent,
    /// In quarantine: the message that is in flight, and its origin if it is of `QoS` 0, which has
    /// no acknowledgement.
    pub(super) trial: Option<Suspect>,
    pub(super) tried: Option<Origin>,
    pub(super) streams: BTreeSet<usize>,
    pub(super) sessions: usize,
    pub(super) had_session: bool,
    phase_timer: Option<TimerId>,
    keep_alive_timer: Option<TimerId>,
}

impl Connection {
    pub(super) fn new(
        key: usize,
        client: ByteString,
        client_id: ByteString,
        purpose: Purpose,
        shared: &Shared,
    ) -> Self {
        let identity = ClientHash::of(&client_id);
        Self {
            key,
            purpose,
            namer: Namer::new(&client),
            recent: Recent::default(),
            trial: None,
            tried: None,
            client,
            name: client_id.clone(),
            client_id,
            account: None,
            phase: Phase::Down,
            bytes: None,
            remote: shared.link.remote.clone(),
            is_chosen: false,
            is_secure: false,
            course: Course::default(),
            decoder: packets::Buffer::default().decoder(shared),
            answer: Answer::default(),
            unread: 0,
            outbound: Outbound::default(),
            packets: packets::Buffer::default(),
            session: SessionState::default(),
            unwritten: VecDeque::new(),
            waiting: Waiting::default(),
            gathered: 0,
            counted_pending: 0,
            counted: None,
            held: None,
            moving: Vec::new(),
            granted: Granted::default(),
            aliases: Aliases::default(),
            rate: Rate::default(),
            keep_alive: KeepAlive::default(),
            watchdog: Watchdog::default(),
            identity,
            exchange: None,
            attempt: None,
            queued: false,
            up_since: Time::START,
            streams: BTreeSet::new(),
            sessions: 0,
            had_session: false,
            phase_timer: None,
            keep_alive_timer: None,
        }
    }

    /// Adds a new or moved stream. It is served at once if the connection is ready; otherwise the
    /// connection is opened.
    pub(super) fn add(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some(stream) = env.streams.get_mut(key) else {
            return;
        };
        stream.connection = self.key;
        self.streams.insert(key);
        if matches!(stream.kind, Kind::Session(_)) {
            self.sessions += 1;
            // Otherwise, it does not end with a session.
            self.had_session |= env.shared.options.connections == Connections::Session;
        }
        match self.phase {
            Phase::Ready => {
                self.clear_phase_timer(env.cx);
                self.serve(env, key);
            }
            Phase::Down => self.wake(env, key),
            Phase::Connecting | Phase::Closing => {}
        }
    }

    /// Serves a stream; the connection is ready.
    pub(super) fn serve(&mut self, env: &mut Env<'_, '_>, key: usize) {
        match env.streams.get(key).map(|stream| &stream.kind) {
            Some(Kind::Session(session)) if !session.accepted => self.accept_session(env, key),
            Some(Kind::Subscribe(_)) => self.place(env, key),
            _ => {}
        }
    }

    fn accept_session(&mut self, env: &mut Env<'_, '_>, key: usize) {
        let Some(stream) = env.streams.get_mut(key) else {
            return;
        };
        if let Kind::Session(session) = &mut stream.kind {
            session.accepted = true;
            stream.clear_deadline(env.cx);
            let begin: BeginEx = self.granted.session(self.client_id.clone()).into();
            env.cx.send(stream.id, Frame::begin(begin));
        }
    }

    /// Resets everything that belongs to a single byte stream; the session stays (see `session`).
    pub(super) fn reset_state(&mut self, shared: &Shared) {
        self.decoder = self.packets.decoder(shared);
        if self.held.is_some() {
            self.decoder.pass_over();
        }
        self.answer = Answer::default();
        self.unread = 0;
        self.outbound = Outbound::default();
        self.unwritten.clear();
        self.granted = Granted::default();
        self.aliases = Aliases::default();
        self.exchange = None;
        self.watchdog.reset_state();
        self.recent = Recent::default();
        self.trial = None;
        self.tried = None;
        if let Some(held) = &mut self.held {
            held.interrupted();
        }
    }

    pub(super) fn stream_keys(&self) -> Vec<usize> {
        self.streams.iter().copied().collect()
    }

    /// The broker, as the subject of a sentence.
    pub(super) fn broker(&self) -> String {
        match &*self.remote {
            "" => "The broker".to_owned(),
            remote => format!("The broker {remote}"),
        }
    }

    /// Sends packets to the byte stream. Returns the stream position of their end.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        parts: impl IntoIterator<Item = bytes::Bytes>,
    ) -> u64 {
        let Some(bytes) = self.bytes else {
            return self.outbound.written();
        };
        self.keep_alive.sent(cx.now());
        self.outbound.push(cx, bytes, parts)
    }

    /// The byte stream has new credit.
    pub(super) fn on_window(&mut self, env: &mut Env<'_, '_>, bytes: StreamId) {
        self.outbound.flush(env.cx, bytes);
        if self.phase == Phase::Closing {
            self.outbound.end(env.cx, bytes);
        } else {
            self.keep_alive.sent(env.cx.now());
            self.on_written(env);
        }
    }

    /// A timer fired.
    pub(super) fn on_timer(&mut self, env: &mut Env<'_, '_>, kind: u32) {
        match kind {
            KEEP_ALIVE_TIMER => {
                self.keep_alive_timer = None;
                self.pulse(env);
            }
            OVERDUE_TIMER => self.check_overdue(env),
            REFUSED_TIMER => self.ask_refused(env),
            _ => {
                self.phase_timer = None;
                self.phase_timer_fired(env);
            }
        }
    }

    fn pulse(&mut self, env: &mut Env<'_, '_>) {
        // While a large packet is being received, the broker is not silent.
        let excused = self.unread > 0 || self.is_receiving(env);
        let next = match self.keep_alive.pulse(env.cx.now(), excused) {
            Pulse::Wait(next) => next,
            Pulse::Ask(next) => {
                self.ping(env);
                next
            }
            Pulse::Dead => {
                let reason = format!(
                    "{} stopped responding: no answer to PINGREQ (keepAlive).",
                    self.broker()
                );
                let failure = Failure::new(ReasonCode::KEEP_ALIVE_TIMEOUT, reason);
                // Only a broker may send *Keep Alive timeout* (3.14.2.1).
                return self.lost(env, &failure, Some(ReasonCode::UNSPECIFIED_ERROR));
            }
        };
        self.set_keep_alive_timer(env.cx, Some(next));
    }

    fn phase_timer_fired(&mut self, env: &mut Env<'_, '_>) {
        match self.phase {
            Phase::Down => self.on_turn(env),
            Phase::Connecting => {
                let within = env.shared.options.connect_timeout.get();
                let what = format!("did not answer CONNECT within {within} ms");
                self.unanswered(env, &what);
            }
            Phase::Ready => self.close(env),
            Phase::Closing => self.close_bytes(env, None),
        }
    }

    /// Brings the connection up to date after an event: reads, writes, and closes it if it is due.
    /// Returns whether the connection still exists.
    pub(super) fn settle(&mut self, env: &mut Env<'_, '_>) -> bool {
        if self.phase == Phase::Ready {
            self.read(env);
        }
        if self.phase == Phase::Ready {
            self.subscribe(env);
            self.send_again(env);
            self.publish_waiting(env);
        }
        self.count_pending(env.shared);
        let lasting = matches!(self.purpose, Purpose::All | Purpose::Quarantine);
        let unwanted = !lasting || env.cx.stopping() || self.had_session;
        let empty = self.streams.is_empty() && self.moving.is_empty();
        match self.phase {
            Phase::Ready if empty && unwanted => {
                self.clear_phase_timer(env.cx);
                self.close(env);
                true
            }
            Phase::Ready if empty => {
                if self.phase_timer.is_none() {
                    let idle = Duration::from_millis(env.shared.options.idle_timeout.get());
                    self.set_phase_timer(env.cx, idle, "the end of an idle connection");
                }
                true
            }
            Phase::Connecting if empty && unwanted => {
                self.close_bytes(env, None);
                false
            }
            Phase::Down if empty => {
                self.clear_phase_timer(env.cx);
                false
            }
            Phase::Closing => self.bytes.is_some(),
            Phase::Down | Phase::Connecting | Phase::Ready => true,
        }
    }

    pub(super) fn set_phase_timer(
        &mut self,
        cx: &mut Context<'_>,
        after: Duration,
        reason: &'static str,
    ) {
        self.clear_phase_timer(cx);
        let timer = cx.timer(after, connection_token(self.key), PHASE_TIMER, reason);
        self.phase_timer = Some(timer);
    }

    pub(super) fn clear_phase_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.phase_timer.take() {
            cx.cancel(timer);
        }
    }

    pub(super) fn set_keep_alive_timer(&mut self, cx: &mut Context<'_>, after: Option<Duration>) {
        if let Some(timer) = self.keep_alive_timer.take() {
            cx.cancel(timer);
        }
        self.keep_alive_timer = after.map(|after| {
            let token = connection_token(self.key);
            cx.timer(after, token, KEEP_ALIVE_TIMER, "keep-alive")
        });
    }
}

/// The token of a connection's byte stream and timers.
pub(super) const fn connection_token(key: usize) -> Token {
    Token::from_index(key << 1)
}

/// The token of an mqtt stream.
pub(super) const fn stream_token(key: usize) -> Token {
    Token::from_index((key << 1) | 1)
}
