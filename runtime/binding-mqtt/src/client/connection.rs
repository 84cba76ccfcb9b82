//! One connection to the broker: how it is made, shared by its streams, lost and closed.
//!
//! A connection is *down* until a stream needs it and its turn has come (see `link`), *connecting* until
//! CONNACK, *ready* until it is lost or closed, and *closing* while DISCONNECT is on its way out. What
//! happens to its streams:
//!
//! | | connecting fails | a ready one is lost |
//! |---|---|---|
//! | session, not accepted | RESET | – |
//! | session, accepted | stays | stays |
//! | publish, no message begun | RESET, delivery *none* | stays |
//! | publish, nothing written | RESET, delivery *none* | stays if the connection is opened again at once, else RESET, delivery *none* |
//! | publish, written and not safe | – | RESET, delivery *possible* |
//! | subscribe, not accepted | RESET | RESET |
//! | subscribe, accepted | stays, another attempt follows | stays, another attempt follows |

use std::collections::{BTreeSet, VecDeque};

use bytestring::ByteString;
use tidegate_engine::streams::{BeginEx, Frame};
use tidegate_engine::{BindingId, Context, Duration, StreamId, Time, TimerId, Token};

use super::counted::Counted;
use super::failure::Failure;
use super::granted::Granted;
use super::keep_alive::{KeepAlive, Pulse};
use super::link::{Attempt, ClientHash, Link};
use super::meters::Counts;
use super::options::Options;
use super::outbound::Outbound;
use super::overdue::Owed;
use super::packet_ids::PacketIds;
use super::packets;
use super::peer::Answer;
use super::quarantine::{Namer, Quarantine, Suspect};
use super::streams::{Kind, Streams};
use super::subscriptions::Subscriptions;
use super::suspects::{Purpose, Recent};
use super::waiting::Waiting;
use crate::codec::{Decoder, ReasonCode, Version};

/// The kinds of a connection's timers.
pub(super) const PHASE_TIMER: u32 = 1;
pub(super) const KEEP_ALIVE_TIMER: u32 = 2;
pub(super) const OVERDUE_TIMER: u32 = 3;
/// The timer of a stream.
pub(super) const DEADLINE_TIMER: u32 = 4;

/// What the binding lends to its connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) version: Version,
    pub(super) exit: BindingId,
    pub(super) counts: Counts,
    pub(super) link: Link,
    pub(super) quarantine: Quarantine,
}

/// What a connection works with, beside itself.
pub(super) struct Work<'a, 'e> {
    pub(super) cx: &'a mut Context<'e>,
    pub(super) streams: &'a mut Streams,
    pub(super) shared: &'a mut Shared,
}

impl Work<'_, '_> {
    /// The engine stops: a stream is to be answered by then, if its own deadline is not earlier.
    pub(super) fn hasten(&mut self, key: usize) {
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
            let reason = "the stop of the gateway";
            let token = stream_token(key);
            stream.deadline = Some(self.cx.timer(left, token, DEADLINE_TIMER, reason));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is no byte stream. With the phase timer set, it fires when the next attempt is due.
    Down,
    /// CONNECT is on its way; the phase timer ends the attempt.
    Connecting,
    /// CONNACK has come; with the phase timer set there are no streams.
    Ready,
    /// DISCONNECT is on its way; the phase timer ends the wait for the peer's END.
    Closing,
}

/// A message, and whose it is. The stream's own name keeps a later stream with the same key apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) key: usize,
    pub(super) id: StreamId,
    pub(super) number: u64,
}

/// What a packet identifier is in use for: which packet is awaited.
#[derive(Debug)]
pub(super) enum Pending {
    PubAck(Origin),
    PubRec(Origin),
    PubComp(Origin),
    SubAck { identifier: u32 },
    UnsubAck,
}

impl Pending {
    /// The packet, by name.
    pub(super) const fn awaited(&self) -> &'static str {
        match self {
            Self::PubAck(_) => "PUBACK",
            Self::PubRec(_) => "PUBREC",
            Self::PubComp(_) => "PUBCOMP",
            Self::SubAck { .. } => "SUBACK",
            Self::UnsubAck => "UNSUBACK",
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: usize,
    /// The client identifier by which streams name it.
    pub(super) client: ByteString,
    /// The client identifier that the broker is told.
    pub(super) client_id: ByteString,
    pub(super) purpose: Purpose,
    pub(super) phase: Phase,
    pub(super) bytes: Option<StreamId>,
    /// The broker as `host:port`, or what to say as long as that is not known.
    pub(super) remote: ByteString,
    pub(super) decoder: Decoder,
    /// How the broker answered CONNECT.
    pub(super) answer: Answer,
    /// Bytes received and not acknowledged to the byte stream.
    pub(super) unread: usize,
    pub(super) outbound: Outbound,
    pub(super) packets: packets::Buffer,
    pub(super) ids: PacketIds<Pending>,
    /// Publications of `QoS` 1 and 2 that are not over.
    pub(super) in_flight: usize,
    /// Publications of `QoS` 0, with the position behind each.
    pub(super) unwritten: VecDeque<(u64, Origin)>,
    pub(super) waiting: Waiting,
    /// Bytes of unfinished messages.
    pub(super) gathered: usize,
    pub(super) subscriptions: Subscriptions,
    /// The messages of the only stream, if that has a limit.
    pub(super) counted: Option<Counted>,
    /// Streams whose filters need another connection.
    pub(super) moving: Vec<usize>,
    /// Messages of `QoS` 2 that were received and not released.
    pub(super) received: BTreeSet<u16>,
    pub(super) granted: Granted,
    pub(super) keep_alive: KeepAlive,
    pub(super) owed: Owed,
    /// The client identifier, as the link knows it.
    pub(super) identity: ClientHash,
    /// The attempt to connect that is under way.
    pub(super) attempt: Option<Attempt>,
    /// It waits for its turn to connect.
    pub(super) in_line: bool,
    /// When the broker accepted it.
    pub(super) up_since: Time,
    /// Names what belongs to its client.
    pub(super) namer: Namer,
    /// What it may still be closed over, beside what its streams wait for.
    pub(super) recent: Recent,
    /// In quarantine: the message that is under way, and whose it is where it has no acknowledgement.
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
            client_id,
            phase: Phase::Down,
            bytes: None,
            remote: shared.link.remote.clone(),
            decoder: packets::decoder(shared),
            answer: Answer::default(),
            unread: 0,
            outbound: Outbound::default(),
            packets: packets::Buffer::default(),
            ids: PacketIds::default(),
            in_flight: 0,
            unwritten: VecDeque::new(),
            waiting: Waiting::default(),
            gathered: 0,
            subscriptions: Subscriptions::default(),
            counted: None,
            moving: Vec::new(),
            received: BTreeSet::new(),
            granted: Granted::default(),
            keep_alive: KeepAlive::default(),
            owed: Owed::default(),
            identity,
            attempt: None,
            in_line: false,
            up_since: Time::START,
            streams: BTreeSet::new(),
            sessions: 0,
            had_session: false,
            phase_timer: None,
            keep_alive_timer: None,
        }
    }

    /// A stream of the connection was accepted or moved here: it is served now, or makes the
    /// connection be made.
    pub(super) fn add(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let Some(stream) = w.streams.get_mut(key) else {
            return;
        };
        stream.connection = self.key;
        self.streams.insert(key);
        if matches!(stream.kind, Kind::Session(_)) {
            self.sessions += 1;
            self.had_session = true;
        }
        match self.phase {
            Phase::Ready => {
                self.clear_phase_timer(w.cx);
                self.serve(w, key);
            }
            Phase::Down => self.wake(w, key),
            Phase::Connecting | Phase::Closing => {}
        }
    }

    /// The connection is ready, and so is this stream to be served.
    pub(super) fn serve(&mut self, w: &mut Work<'_, '_>, key: usize) {
        match w.streams.get(key).map(|stream| &stream.kind) {
            Some(Kind::Session(session)) if !session.accepted => self.accept_session(w, key),
            Some(Kind::Subscribe(_)) => self.place(w, key),
            _ => {}
        }
    }

    fn accept_session(&mut self, w: &mut Work<'_, '_>, key: usize) {
        let Some(stream) = w.streams.get_mut(key) else {
            return;
        };
        if let Kind::Session(session) = &mut stream.kind {
            session.accepted = true;
            stream.clear_deadline(w.cx);
            let begin: BeginEx = self.granted.session(self.client_id.clone()).into();
            w.cx.send(stream.id, Frame::begin(begin));
        }
    }

    /// Forgets all that belongs to one byte stream.
    pub(super) fn start_anew(&mut self, shared: &Shared) {
        self.decoder = packets::decoder(shared);
        self.answer = Answer::default();
        self.unread = 0;
        self.outbound = Outbound::default();
        self.ids = PacketIds::default();
        self.in_flight = 0;
        self.unwritten.clear();
        self.subscriptions = Subscriptions::default();
        self.received.clear();
        self.granted = Granted::default();
        self.owed.start_anew();
        self.recent = Recent::default();
        self.trial = None;
        self.tried = None;
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

    /// Hands packets to the byte stream; the position behind them.
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

    /// There is credit on the byte stream.
    pub(super) fn on_window(&mut self, w: &mut Work<'_, '_>, bytes: StreamId) {
        self.outbound.flush(w.cx, bytes);
        if self.phase == Phase::Closing {
            self.outbound.end(w.cx, bytes);
        } else {
            self.keep_alive.sent(w.cx.now());
            self.on_written(w);
        }
    }

    /// A timer has fired.
    pub(super) fn on_timer(&mut self, w: &mut Work<'_, '_>, kind: u32) {
        match kind {
            KEEP_ALIVE_TIMER => {
                self.keep_alive_timer = None;
                self.pulse(w);
            }
            OVERDUE_TIMER => self.look_for_overdue(w),
            _ => {
                self.phase_timer = None;
                self.phase_over(w);
            }
        }
    }

    fn pulse(&mut self, w: &mut Work<'_, '_>) {
        // A large packet on its way is no silence either.
        let excused = self.unread > 0 || self.is_receiving(w);
        let next = match self.keep_alive.pulse(w.cx.now(), excused) {
            Pulse::Wait(next) => next,
            Pulse::Ask(next) => {
                self.ping(w);
                next
            }
            Pulse::Dead => {
                let reason = format!("{} does not answer any more.", self.broker());
                let failure = Failure::new(ReasonCode::KEEP_ALIVE_TIMEOUT, reason);
                // *Keep Alive timeout* is for the broker alone to say (3.14.2.1).
                return self.lost(w, &failure, Some(ReasonCode::UNSPECIFIED_ERROR));
            }
        };
        self.set_keep_alive_timer(w.cx, Some(next));
    }

    fn phase_over(&mut self, w: &mut Work<'_, '_>) {
        match self.phase {
            Phase::Down => self.go(w),
            Phase::Connecting => {
                let within = w.shared.options.connect_timeout.get();
                let what = format!("did not answer CONNECT within {within} ms");
                self.unanswered(w, &what);
            }
            Phase::Ready => self.close(w),
            Phase::Closing => self.drop_bytes(w, None),
        }
    }

    /// Brings the connection to rest after whatever happened: reads, writes and closes what is due.
    /// Whether it is still there.
    pub(super) fn settle(&mut self, w: &mut Work<'_, '_>) -> bool {
        if self.phase == Phase::Ready {
            self.read(w);
        }
        if self.phase == Phase::Ready {
            self.subscribe(w);
            self.pump(w);
        }
        let lasting = matches!(self.purpose, Purpose::All | Purpose::Quarantine);
        let unwanted = !lasting || w.cx.stopping() || self.had_session;
        let empty = self.streams.is_empty() && self.moving.is_empty();
        match self.phase {
            Phase::Ready if empty && unwanted => {
                self.clear_phase_timer(w.cx);
                self.close(w);
                true
            }
            Phase::Ready if empty => {
                if self.phase_timer.is_none() {
                    let idle = Duration::from_millis(w.shared.options.idle_timeout.get());
                    self.set_phase_timer(w.cx, idle, "the end of an idle connection");
                }
                true
            }
            Phase::Connecting if empty && unwanted => {
                self.drop_bytes(w, None);
                false
            }
            Phase::Down if empty => {
                self.clear_phase_timer(w.cx);
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
