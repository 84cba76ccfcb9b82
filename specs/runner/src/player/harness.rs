//! The harness: the binding between edges that the script plays.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidegate_binding_mqtt::codec::{Decoder, Packet, REMAINING_LENGTH_MAX, Version};
use tidegate_config::{Binding, Config, Declared, Descriptor, Registry};
use tidegate_engine::{BindingId, Duration, Limits, Output, StreamId, Time, WallTime, Worker};
use tidegate_streams::{Frame, FrameKind, Half, Protocol, Role, Severity};

use super::Mode;
use super::call::Carried;
use super::emitted::{Emitted, What};
use crate::captures::Captures;
use crate::event::{Event, line};
use crate::factory::Factory;
use crate::script::Script;

/// Environment variables for configs of scenarios: the broker port, which live scenarios set.
fn environment(name: &str) -> Option<String> {
    (name == "BROKER_PORT").then(|| "1883".to_owned())
}

/// Initial credit of the streams of a side, unless the script sets it.
const CREDIT: u32 = 1 << 20;

/// The wall clock at the start of a scenario: 2026-01-01T00:00:00Z.
const WALL_CLOCK: WallTime = WallTime::from_unix_millis(1_767_225_600_000);

/// Shutdown timeout of `+shutdown`: the default of `shutdownTimeout`.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A neighbour of the binding, played by the script.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) edge: BindingId,
    pub(super) protocol: Protocol,
    /// Whether the script opens streams here.
    pub(super) caller: bool,
    /// Whether the script grants credit here.
    manual: bool,
    /// Whether the bytes are MQTT packets.
    packets: bool,
}

/// A stream with a name in the script.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) stream: StreamId,
    /// The word of its BEGIN, such as `publish`.
    pub(super) word: &'static str,
}

/// A worker with the binding under test and the edges of its sides.
pub(super) struct Harness {
    pub(super) worker: Worker,
    pub(super) now: Time,
    pub(super) sides: Vec<Side>,
    pub(super) conversations: BTreeMap<(usize, u32), Conversation>,
    decoders: BTreeMap<StreamId, Decoder>,
    /// The protocol version of each byte stream, as its CONNECT states it.
    pub(super) versions: BTreeMap<StreamId, Version>,
    pub(super) pending: VecDeque<Emitted>,
    /// The events that no line was about. Nothing is recorded for a script without such lines.
    events: Vec<tidegate_engine::Emitted>,
    records_events: bool,
    pub(super) captures: Captures,
    pub(super) trace: Vec<String>,
    pub(super) seeded: bool,
    /// Number of panics that the script expects.
    faults: u64,
    /// The binding under test.
    pub(super) target: BindingId,
}

impl Harness {
    /// Creates the binding and its sides.
    pub(super) fn new<F: Factory>(
        script: &Script,
        registry: &Registry<F>,
        mode: Mode,
    ) -> Result<Self, String> {
        let path = script.config();
        let config = tidegate_config::read(&path, registry, &environment)
            .map_err(|error| format!("invalid config: {error}"))?;
        let declared = config
            .bindings
            .iter()
            .find(|binding| binding.name == script.binding);
        let declared = declared
            .ok_or_else(|| format!("{} has no binding '{}'", path.display(), script.binding))?;
        let descriptor = registry
            .find(&declared.r#type, &declared.kind)
            .ok_or_else(|| {
                format!(
                    "unknown binding kind '{} · {}'",
                    declared.r#type, declared.kind
                )
            })?;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&script.seed.to_le_bytes());
        let mut worker = Worker::new(0, seed, Limits::default());
        worker.set_wall_clock(Time::START, WALL_CLOCK);
        let seeded = match mode {
            Mode::Seeded(seed) if !script.ordered => {
                worker.reorder(seed);
                true
            }
            _ => false,
        };
        let manual = |name: &str| script.manual.iter().find(|(side, _)| side == name);
        let window = |name: &str| manual(name).map_or(CREDIT, |(_, maximum)| *maximum);
        let mut sides = Vec::new();
        let mut exits = BTreeMap::new();
        for (index, name, protocol) in sides_behind(declared, descriptor, &config) {
            if exits.contains_key(&index) {
                continue;
            }
            let edge = worker.attach_edge(&name, window(&name));
            exits.insert(index, edge);
            let manual = manual(&name).is_some();
            sides.push(Side {
                name,
                edge,
                protocol,
                caller: false,
                manual,
                packets: protocol == Protocol::Bytes
                    && !descriptor.accepted().contains(&Protocol::Bytes),
            });
        }
        let attached = |index| exits.get(&index).copied();
        let binding = descriptor.factory();
        let binding = binding.make(&Declared::new(declared, &attached))?;
        let target = worker.attach(&declared.name, binding);
        for protocol in descriptor.accepted() {
            let name = protocol.word().to_owned();
            let edge = worker.attach_edge(&name, window(&name));
            let manual = manual(&name).is_some();
            sides.push(Side {
                name,
                edge,
                protocol: *protocol,
                caller: true,
                manual,
                packets: false,
            });
        }
        if let Some((side, _)) = script
            .manual
            .iter()
            .find(|(name, _)| !sides.iter().any(|side| side.name == *name))
        {
            return Err(format!("unknown side '{side}'; valid: {}", names(&sides)));
        }
        let mut harness = Self {
            worker,
            now: Time::START,
            sides,
            conversations: BTreeMap::new(),
            decoders: BTreeMap::new(),
            versions: BTreeMap::new(),
            pending: VecDeque::new(),
            events: Vec::new(),
            records_events: script.has_events(),
            captures: Captures::default(),
            trace: Vec::new(),
            seeded,
            faults: script.faults,
            target,
        };
        if harness.records_events {
            harness.worker.listen_from(Severity::Debug);
        }
        harness.worker.start();
        harness.collect();
        Ok(harness)
    }

    /// Bounds the trace: a script may repeat its lines many times, and a failure shows only the last
    /// events.
    pub(super) fn trim_trace(&mut self) {
        if self.trace.len() > 512 {
            self.trace.drain(..256);
        }
    }

    pub(super) fn side(&self, name: &str) -> Result<usize, String> {
        self.sides
            .iter()
            .position(|side| side.name == name)
            .ok_or_else(|| format!("unknown side '{name}'; valid: {}", names(&self.sides)))
    }

    /// Collects the emitted frames, and grants credit for them unless the script does.
    pub(super) fn collect(&mut self) {
        loop {
            while self.records_events
                && let Some(event) = self.worker.poll_event()
            {
                self.events.push(event);
            }
            let mut taken = Vec::new();
            while let Some(output) = self.worker.poll_output() {
                taken.extend(self.take(output));
            }
            if taken.is_empty() && self.worker.is_idle() {
                return;
            }
            for (edge, stream, length) in taken {
                self.worker
                    .turn(self.now, edge, |cx| cx.acknowledge(stream, length));
            }
            self.worker.tick(self.now);
        }
    }

    /// Records a frame; returns the bytes to acknowledge.
    fn take(&mut self, output: Output) -> Option<(BindingId, StreamId, usize)> {
        let Output { edge, at, frame } = output;
        let index = self.sides.iter().position(|side| side.edge == edge)?;
        let side = self.sides.get(index)?;
        if frame.kind() == FrameKind::Window && !side.manual {
            return None;
        }
        let reply = at.role.peer().half(frame.kind()) == Half::Reply;
        let granted = match &frame {
            Frame::Data(data) if !side.manual => Some((edge, at.stream, data.payload.len())),
            _ => None,
        };
        let opens = frame.kind() == FrameKind::Begin && !reply;
        let now = self.now;
        let carried = if opens {
            self.worker.turn(now, edge, |cx| {
                let call = cx.call_of(at.stream);
                call.map(|call| Carried::of(call, now)).unwrap_or_default()
            })
        } else {
            Carried::default()
        };
        let emitted = |what| Emitted {
            side: index,
            stream: at.stream,
            reply,
            carried: carried.clone(),
            what,
        };
        match frame {
            Frame::Data(data) if side.packets => {
                let packets = self.decode(at.stream, data.payload);
                self.pending.extend(packets.into_iter().map(emitted));
            }
            frame => self.pending.push_back(emitted(What::Frame(frame))),
        }
        granted.filter(|(_, _, length)| *length > 0)
    }

    fn decode(&mut self, stream: StreamId, bytes: Bytes) -> Vec<What> {
        let fresh = || Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
        let decoder = self.decoders.entry(stream).or_insert_with(fresh);
        decoder.push(bytes.clone());
        let mut found = Vec::new();
        loop {
            match decoder.next() {
                Ok(Some(packet)) => {
                    if let Packet::Connect(connect) = &packet {
                        decoder.set_version(connect.version);
                        self.versions.insert(stream, connect.version);
                    }
                    found.push(What::Packet(packet));
                }
                Ok(None) => return found,
                Err(error) => {
                    found.push(What::Malformed(bytes, error.to_string()));
                    return found;
                }
            }
        }
    }

    /// Advances the clock and fires the timers that are due.
    pub(super) fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((deadline, reason)) = self
            .worker
            .next_deadline()
            .filter(|(deadline, _)| *deadline <= until)
        {
            self.fire(deadline, reason);
        }
        self.now = until;
        self.worker.tick(until);
        self.collect();
        self.trace.push(format!("# {until}"));
    }

    /// Advances the clock to the next timer.
    pub(super) fn next(&mut self) -> Result<(), String> {
        let (deadline, reason) = self.worker.next_deadline().ok_or("no timer is set")?;
        self.fire(deadline, reason);
        Ok(())
    }

    fn fire(&mut self, deadline: Time, reason: &'static str) {
        self.now = self.now.max(deadline);
        self.trace.push(format!("# {} timer {reason}", self.now));
        self.worker.tick(self.now);
        self.collect();
    }

    pub(super) fn shutdown(&mut self) {
        self.trace.push("+shutdown".to_owned());
        self.worker.shutdown_within(self.now, SHUTDOWN_TIMEOUT);
        self.collect();
    }

    /// Fails unless an event was emitted that no line before was about.
    pub(super) fn has_emitted(&mut self, event: &Event) -> Result<(), String> {
        let captures = &mut self.captures;
        let found = self
            .events
            .iter()
            .position(|it| event.matches(it, captures));
        if let Some(found) = found {
            self.events.remove(found);
            return Ok(());
        }
        let others: Vec<String> = self.events.iter().map(line).collect();
        Err(match &others[..] {
            [] => "there was no event".to_owned(),
            others => format!("there was no such event; others:\n{}", others.join("\n")),
        })
    }

    /// Fails if emitted frames remain: a stimulus is allowed only after all reactions.
    pub(super) fn all_compared(&self) -> Result<(), String> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err("unexpected frame before this line".to_owned())
        }
    }

    pub(super) fn no_violations(&self) -> Result<(), String> {
        let counters = self.worker.counters();
        if counters.violations > 0 {
            return Err(
                "protocol violation: a frame was not allowed in its state, or exceeded the credit"
                    .to_owned(),
            );
        }
        if counters.faults > self.faults {
            return Err("a handler panicked".to_owned());
        }
        Ok(())
    }

    /// Checks that no frame, stream, exchange or timer remains.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.all_compared()?;
        self.no_violations()?;
        let counters = self.worker.counters();
        if counters.faults < self.faults {
            return Err(format!(
                "expected {} panics, got {}",
                self.faults, counters.faults
            ));
        }
        if counters.streams > 0 {
            let open: Vec<String> = self
                .worker
                .streams()
                .map(|(stream, protocol, ..)| self.named(stream, protocol))
                .collect();
            return Err(format!(
                "streams still open at the end: {}",
                open.join(", ")
            ));
        }
        if counters.exchanges > 0 {
            return Err(format!(
                "the binding still has {} exchanges after all streams ended",
                counters.exchanges
            ));
        }
        if let Some((deadline, reason)) = self.worker.next_deadline() {
            return Err(format!(
                "timer still set at the end: {reason} at {deadline}"
            ));
        }
        Ok(())
    }

    fn named(&self, stream: StreamId, protocol: Protocol) -> String {
        let found = self
            .conversations
            .iter()
            .find(|(_, it)| it.stream == stream);
        match found.and_then(|((side, number), _)| Some((self.sides.get(*side)?, number))) {
            Some((side, number)) => format!("{}.{number}", side.name),
            None => format!("an unnamed {} stream", protocol.word()),
        }
    }
}

/// The sides at the exits of the binding: the index of the replaced binding, the name of the side, and
/// the protocol.
fn sides_behind<F>(
    declared: &Binding,
    descriptor: &Descriptor<F>,
    config: &Config,
) -> Vec<(usize, String, Protocol)> {
    let opened: Vec<(&str, Protocol)> = descriptor.opened().collect();
    let exits = declared.exits.iter();
    let of_exits = exits.map(|exit| (exit.binding, exit.protocol));
    // Routes have the protocol of the single exit.
    let of_routes = declared.routes.iter().filter_map(|route| {
        let (_, protocol) = opened.first()?;
        Some((route.exit, *protocol))
    });
    let behind = of_exits.chain(of_routes);
    let named = behind.map(|(index, protocol)| {
        let same = descriptor.accepted().contains(&protocol);
        // If both sides have the same protocol, an exit is named after its binding.
        let name = match (protocol, same) {
            (Protocol::Bytes, false) => "net".to_owned(),
            (_, true) => config
                .bindings
                .get(index)
                .map(|exit| exit.name.clone())
                .unwrap_or_default(),
            (_, false) => protocol.word().to_owned(),
        };
        (index, name, protocol)
    });
    named.collect()
}

fn names(sides: &[Side]) -> String {
    let names: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
    names.join(", ")
}

pub(super) fn word_of(frame: Option<&Frame>) -> &'static str {
    let mut frame = frame.cloned();
    let extension = frame.as_mut().and_then(Frame::extension);
    extension.map_or("", |extension| extension.word())
}

/// Whether a frame that the script sends belongs to the reply half.
pub(super) fn is_on_reply(caller: bool, kind: FrameKind) -> bool {
    let role = if caller { Role::Caller } else { Role::Callee };
    role.half(kind) == Half::Reply
}
