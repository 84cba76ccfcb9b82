//! The store stream: records are read once, and writes are sent and confirmed.
//!
//! A write is kept until it is confirmed. If the stream fails, it is opened again a second later, and the
//! writes that were not confirmed are sent again, in order. All records are read then, so each further
//! attempt waits twice as long, up to a minute, until a write is confirmed.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tidegate_engine::{
    BindingId, CallContext, Context, Duration, PendingData, StreamId, TimerId, Token,
};
use tidegate_streams::store::{StoreBegin, StoreRecord, StoreReset};
use tidegate_streams::{
    AbortEx, BeginEx, Data, DataEx, DataFlags, FlushEx, Frame, Pooled, ResetEx,
};

/// The token of its stream.
pub(crate) const STORE: Token = Token(u32::MAX - 1);
/// The kind of its timer.
pub(crate) const REOPEN: u32 = 8;

/// The kind of the timer of a disk that does not answer.
pub(crate) const OVERDUE: u32 = 10;
/// Time in which a write must be confirmed.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);
/// Time before a failed stream is opened again, after the first failure.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// The same after many failures.
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(60);

/// What the stream says.
#[derive(Debug)]
pub(crate) enum Event {
    /// A record of the file.
    Record(u64, Bytes),
    /// All records were read.
    Loaded,
    /// The writes up to a number are durable.
    Stored(u64),
    /// It failed; why. It is opened again.
    Failed(String),
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Store {
    exit: BindingId,
    stream: Option<StreamId>,
    phase: Phase,
    /// The records were read, now or on an earlier stream.
    loaded: bool,
    /// How many bytes of records may be kept.
    pub(crate) max_size: u64,
    /// The number of the last write.
    number: u64,
    unconfirmed: VecDeque<Write>,
    pending: PendingData,
    /// The record that is being received.
    record: Option<(u64, BytesMut)>,
    reopen: Option<TimerId>,
    /// When the disk must have answered.
    overdue: Option<TimerId>,
    /// The failure was reported, and no write was confirmed since.
    reported: bool,
    /// Number of failures since a write was confirmed.
    failures: u32,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is not open, or its records are being read.
    Reading,
    /// It takes writes.
    Ready,
    /// Our half has ended.
    Ended,
}

/// A write that is not confirmed.
#[derive(Debug, Clone)]
struct Write {
    number: u64,
    key: u64,
    content: Option<Bytes>,
}

impl Store {
    pub(crate) const fn new(exit: BindingId) -> Self {
        Self {
            exit,
            stream: None,
            phase: Phase::Reading,
            loaded: false,
            max_size: 0,
            number: 0,
            unconfirmed: VecDeque::new(),
            pending: PendingData::new(),
            record: None,
            reopen: None,
            overdue: None,
            reported: false,
            failures: 0,
        }
    }

    /// Whether writes become durable now.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Opens the stream.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        self.reopen = None;
        if self.stream.is_some() || cx.stopping() {
            return None;
        }
        let begin = StoreBegin::default();
        match cx.open_for(CallContext::default(), self.exit, begin, STORE) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.phase = Phase::Reading;
                None
            }
            Err(error) => Some(self.failed(cx, error.to_string())),
        }
    }

    /// Puts a record, or removes it. Returns the number of the write.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, key: u64, content: Option<Bytes>) -> u64 {
        self.number += 1;
        let write = Write {
            number: self.number,
            key,
            content,
        };
        if self.is_ready() {
            self.send(cx, &write);
        }
        self.unconfirmed.push_back(write);
        self.watch(cx);
        self.number
    }

    fn send(&mut self, cx: &mut Context<'_>, write: &Write) {
        let Some(stream) = self.stream else {
            return;
        };
        let record = StoreRecord {
            key: write.key,
            number: write.number,
            removed: write.content.is_none(),
        };
        let data = Data {
            flags: DataFlags::WHOLE,
            payload: write.content.clone().unwrap_or_default(),
            extension: Some(Pooled::new(record.into())),
        };
        self.pending.send(cx, stream, data);
    }

    /// A frame of the stream.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<Event> {
        if self.stream != Some(stream) {
            return None;
        }
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Store(begin) = begin.into_inner() {
                    self.max_size = begin.max_size;
                }
                None
            }
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                let (key, content) = self.receive(data)?;
                // What an earlier stream has read is older than what is known now.
                (!self.loaded).then_some(Event::Record(key, content))
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Store(stored) if stored.number == 0 => self.begin(cx),
                FlushEx::Store(stored) => Some(self.stored(cx, stored.number)),
                _ => None,
            },
            Frame::Window(_) => {
                self.pending.flush(cx, stream);
                None
            }
            Frame::End(_) => {
                cx.end(stream, Frame::end());
                self.over(cx, None)
            }
            Frame::Reset(reset) => {
                cx.terminate(stream, None, None);
                let reset = reset.and_then(|it| match *it {
                    ResetEx::Store(reset) => Some(reset),
                    _ => None,
                });
                self.over(cx, reset)
            }
            Frame::Abort(abort) => {
                cx.terminate(stream, None, None);
                let reset = abort.and_then(|it| match *it {
                    AbortEx::Store(reset) => Some(reset),
                    _ => None,
                });
                self.over(cx, reset)
            }
            Frame::Challenge(_) => None,
        }
    }

    /// Takes a part of a record; returns the record that it completes.
    fn receive(&mut self, mut part: Data) -> Option<(u64, Bytes)> {
        if part.flags.is_init() {
            let key = match part.extension.take().map(Pooled::into_inner) {
                Some(DataEx::Store(record)) => record.key,
                _ => 0,
            };
            if part.flags.is_fin() {
                self.record = None;
                return Some((key, part.payload));
            }
            self.record = Some((key, BytesMut::new()));
        }
        let (_, content) = self.record.as_mut()?;
        content.extend_from_slice(&part.payload);
        if !part.flags.is_fin() {
            return None;
        }
        let (key, content) = self.record.take()?;
        Some((key, content.freeze()))
    }

    /// All records were read: writes may follow.
    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        if self.phase == Phase::Reading {
            self.phase = Phase::Ready;
        }
        self.watch(cx);
        if self.is_ready() {
            let unconfirmed = std::mem::take(&mut self.unconfirmed);
            for write in &unconfirmed {
                self.send(cx, write);
            }
            self.unconfirmed = unconfirmed;
        }
        let is_first = !std::mem::replace(&mut self.loaded, true);
        is_first.then_some(Event::Loaded)
    }

    fn stored(&mut self, cx: &mut Context<'_>, number: u64) -> Event {
        self.reported = false;
        self.failures = 0;
        self.unwatch(cx);
        while self
            .unconfirmed
            .front()
            .is_some_and(|it| it.number <= number)
        {
            self.unconfirmed.pop_front();
        }
        self.watch(cx);
        Event::Stored(number)
    }

    /// A write that is not confirmed must be before long.
    fn watch(&mut self, cx: &mut Context<'_>) {
        if self.overdue.is_none() && self.is_ready() && !self.unconfirmed.is_empty() {
            let why = "a disk that does not answer";
            self.overdue = Some(cx.timer(OVERDUE_AFTER, STORE, OVERDUE, why));
        }
    }

    fn unwatch(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.overdue.take() {
            cx.cancel(timer);
        }
    }

    /// The disk has not answered: nothing waits for it any more, until it does.
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        self.overdue = None;
        let stream = self.stream.filter(|_| self.is_ready())?;
        cx.terminate(stream, None, None);
        let reason = "the disk has not answered for 5 s".into();
        self.over(cx, Some(StoreReset { reason }))
    }

    /// The stream is over.
    fn over(&mut self, cx: &mut Context<'_>, reset: Option<StoreReset>) -> Option<Event> {
        self.unwatch(cx);
        let phase = std::mem::replace(&mut self.phase, Phase::Reading);
        self.stream = None;
        self.record = None;
        self.pending.clear();
        if phase == Phase::Ended {
            return None;
        }
        let reason = reset.map(|reset| reset.reason.to_string());
        let reason = reason.filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| "an internal error in tidegate".to_owned());
        Some(self.failed(cx, reason))
    }

    fn failed(&mut self, cx: &mut Context<'_>, reason: String) -> Event {
        if !cx.stopping() {
            let why = "the next attempt to open the queue";
            let after = REOPEN_AFTER.doubled(self.failures, REOPEN_AFTER_MAX);
            self.reopen = Some(cx.timer(after, STORE, REOPEN, why));
            self.failures = self.failures.saturating_add(1);
        }
        Event::Failed(reason)
    }

    /// Whether a failure is the first one since a write was confirmed.
    pub(crate) fn is_new_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.reported, true)
    }

    /// A handler panicked while it worked for the stream, which the engine has ended.
    pub(crate) fn faulted(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        self.over(cx, None)
    }

    /// Ends the stream, after the writes.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.reopen.take() {
            cx.cancel(timer);
        }
        if let Some(stream) = self.stream
            && self.pending.is_empty()
            && self.phase != Phase::Ended
        {
            self.phase = Phase::Ended;
            cx.end(stream, Frame::end());
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::testing::Rig;
    use tidegate_streams::store::StoreStored;

    use super::*;
    use crate::{MqttMcp, Options};

    /// Takes what was written to the file of a binding. It is stored, or the file fails.
    fn play(rig: &mut Rig, file: BindingId, is_usable: bool) {
        for output in rig.outputs(file) {
            let stream = output.at.stream;
            if !matches!(output.frame, Frame::Begin(_)) {
                continue;
            }
            if is_usable {
                rig.turn(file, |cx| {
                    cx.send(stream, Frame::begin(StoreBegin { max_size: 100_000 }));
                    cx.send(stream, Frame::flush(StoreStored { number: 0 }));
                    cx.send(stream, Frame::flush(StoreStored { number: 1 }));
                });
            }
            let reason = "No space left on device".into();
            let reset = StoreReset { reason }.into();
            rig.turn(file, |cx| cx.terminate(stream, Some(reset), None));
        }
    }

    /// The failures that were reported.
    fn reported(rig: &mut Rig) -> Vec<String> {
        let events = std::iter::from_fn(|| rig.worker.poll_event());
        let messages = events.map(|event| event.message);
        messages
            .filter(|it| it.contains("cannot be written"))
            .collect()
    }

    #[test]
    fn a_file_that_stays_unusable_is_reported_once() {
        let mut rig = Rig::new();
        let [mqtt, mcp, file] = [(); 3].map(|()| rig.edge(1 << 16));
        let routes = Vec::new();
        rig.attach(MqttMcp::new(
            &Options::default(),
            routes,
            mqtt,
            mcp,
            Some(file),
        ));
        rig.worker.start();
        rig.turn(mqtt, |_| {});
        let expected = "the queue cannot be written: No space left on device";
        for _ in 0..3 {
            play(&mut rig, file, false);
            rig.advance(REOPEN_AFTER_MAX);
        }
        assert_eq!(reported(&mut rig), [expected]);
        // It can be written again, and fails again.
        play(&mut rig, file, true);
        rig.advance(REOPEN_AFTER_MAX);
        play(&mut rig, file, false);
        assert_eq!(reported(&mut rig), [expected]);
    }

    #[test]
    fn attempts_are_made_at_least_once_a_minute() {
        let seconds =
            |failures| REOPEN_AFTER.doubled(failures, REOPEN_AFTER_MAX).as_millis() / 1_000;
        let first: Vec<u64> = (0..8).map(seconds).collect();
        assert_eq!(first, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(seconds(63), 60);
        assert_eq!(seconds(u32::MAX), 60);
    }
}
