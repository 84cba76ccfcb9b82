//! The queue: what must outlive a crash of each request, and what waits until it is on the disk.
//!
//! | step of a request | before it |
//! |---|---|
//! | it is acknowledged to the broker | the request is stored |
//! | a tool is called | that its execution has begun is stored |
//! | its answer is published | the answer is stored |
//!
//! Records of a request are removed when its answer is delivered and the request is not remembered any more.
//! The records are bounded by `maxSize`: a further request is refused. Answers of requests that were accepted
//! are stored in any case.

mod clock;
pub(crate) mod record;
mod store;

use std::collections::BTreeMap;

use bytes::Bytes;
use tidegate_engine::{BindingId, Context, Duration, Meter, StreamId};
use tidegate_streams::Frame;

pub(crate) use clock::Clock;
pub(crate) use record::Record;
use store::{Event, Store};
pub(crate) use store::{OVERDUE, REOPEN, STORE};

use crate::answering::REMEMBER_MAX;

/// Bytes that a record counts beside its content.
const OVERHEAD: u64 = 64;

/// The number of a request in the queue: later ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(u64);

#[cfg(test)]
impl Id {
    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }
}

/// The records that a request can have, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Request,
    Begun,
    Answer,
    Delivered,
}

impl Part {
    const ALL: [Self; 4] = [Self::Request, Self::Begun, Self::Answer, Self::Delivered];

    const fn key(self, id: Id) -> u64 {
        id.0 << 2 | self as u64
    }
}

/// What is known of a stored request.
#[derive(Debug, Default)]
struct Kept {
    /// The size of each of its records.
    sizes: [u64; Part::ALL.len()],
    /// It is executed, as the exchange of this index.
    exchange: Option<usize>,
    /// The number of the last write of the request.
    accepted: u64,
    /// The number of the write of its answer.
    answered: Option<u64>,
    /// Its answer needs not be published again.
    delivered: bool,
    /// It is recognised when it comes again.
    remembered: bool,
}

/// What waits for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The broker, for the acknowledgement of a request.
    Acknowledgement(Id),
    /// The call of a tool.
    Call(Id),
    /// A publication, by its index, with an answer.
    Answer(usize),
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The messages of the request of an exchange can be acknowledged.
    Acknowledge(Id, usize),
    /// The tools of an exchange can be called.
    Call(Id, usize),
    /// A publication can begin.
    Publish(usize),
}

/// What has happened to the queue.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The records of the file were read: by request.
    Loaded(BTreeMap<Id, Loaded>),
    Stored(Vec<Due>),
    /// It cannot be written; why, if that was not reported yet. Answers do not wait for it.
    Failed(Option<String>, Vec<Due>),
}

/// The records of a request.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) request: Option<Box<record::Request>>,
    pub(crate) begun: bool,
    pub(crate) answer: Option<Box<record::Answered>>,
    pub(crate) delivered: bool,
    /// Why a record cannot be read.
    pub(crate) unreadable: Option<String>,
}

impl Loaded {
    /// A time at which, or after which, it was written: when the request was received, or the earliest at which
    /// it can have been answered.
    fn written_after(&self) -> Option<u64> {
        let received = self.request.as_ref().map(|it| it.received);
        let known = self.answer.as_ref().and_then(|it| it.known.as_ref());
        let answered = known.map(|it| it.until.saturating_sub(REMEMBER_MAX.as_millis()));
        received.max(answered)
    }
}

/// How far the clock is behind that with which the records of a file were written.
pub(crate) fn set_back(loaded: &BTreeMap<Id, Loaded>, clock: Clock) -> Duration {
    let written = loaded.values().filter_map(Loaded::written_after).max();
    let now = clock.millis(clock.now());
    Duration::from_millis(written.unwrap_or(0).saturating_sub(now))
}

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `maxSize` is reached.
    Full,
    /// It alone exceeds `maxSize`.
    TooLarge,
    /// The file cannot be written.
    Failed,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    store: Store,
    loading: Option<BTreeMap<Id, Loaded>>,
    next: u64,
    kept: BTreeMap<Id, Kept>,
    /// The size of all records.
    bytes: u64,
    /// By the number of the write, in order.
    waits: BTreeMap<(u64, u64), Waits>,
    /// Number of all that has ever waited.
    waited: u64,
    /// The last write that is durable.
    durable: u64,
    /// It was reported that `maxSize` is reached.
    full: bool,
}

impl Queue {
    pub(crate) const fn new(exit: BindingId) -> Self {
        Self {
            store: Store::new(exit),
            loading: Some(BTreeMap::new()),
            next: 0,
            kept: BTreeMap::new(),
            bytes: 0,
            waits: BTreeMap::new(),
            waited: 0,
            durable: 0,
            full: false,
        }
    }

    pub(crate) fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mqtt_mcp.queue.requests", self.kept.len());
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        meter.gauge("mqtt_mcp.queue.bytes", bytes);
    }

    /// Opens the file, at the start and after a failure.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) -> Option<Happened> {
        let event = self.store.open(cx)?;
        self.happened(event)
    }

    /// A frame of the store stream.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<Happened> {
        let event = self.store.on_frame(cx, stream, frame)?;
        self.happened(event)
    }

    /// The disk has not answered in time.
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Happened> {
        let event = self.store.overdue(cx)?;
        self.happened(event)
    }

    /// A handler panicked while it worked for the stream.
    pub(crate) fn faulted(&mut self, cx: &mut Context<'_>) -> Option<Happened> {
        let event = self.store.faulted(cx)?;
        self.happened(event)
    }

    fn happened(&mut self, event: Event) -> Option<Happened> {
        match event {
            Event::Record(key, content) => {
                self.load(key, &content);
                None
            }
            Event::Loaded => self.loading.take().map(Happened::Loaded),
            Event::Stored(number) => {
                self.durable = number;
                let later = self.waits.split_off(&(number.saturating_add(1), 0));
                let stored = std::mem::replace(&mut self.waits, later);
                Some(Happened::Stored(self.due(stored.into_values())))
            }
            Event::Failed(reason) => {
                let reason = self.store.is_new_failure().then_some(reason);
                let (answers, others) = std::mem::take(&mut self.waits)
                    .into_iter()
                    .partition(|(_, it)| matches!(it, Waits::Answer(_)));
                self.waits = others;
                let answers: BTreeMap<(u64, u64), Waits> = answers;
                Some(Happened::Failed(reason, self.due(answers.into_values())))
            }
        }
    }

    fn due(&self, waits: impl Iterator<Item = Waits>) -> Vec<Due> {
        let exchange = |id: Id| Some((id, self.kept.get(&id)?.exchange?));
        let due = waits.filter_map(|it| match it {
            Waits::Acknowledgement(id) => exchange(id).map(|(id, it)| Due::Acknowledge(id, it)),
            Waits::Call(id) => exchange(id).map(|(id, it)| Due::Call(id, it)),
            Waits::Answer(publication) => Some(Due::Publish(publication)),
        });
        due.collect()
    }

    /// A record of the file.
    fn load(&mut self, key: u64, content: &Bytes) {
        let id = Id(key >> 2);
        self.next = self.next.max(id.0 + 1);
        let Some(loaded) = self.loading.as_mut().map(|it| it.entry(id).or_default()) else {
            return;
        };
        match Record::decode(content) {
            Ok(Record::Request(request)) => loaded.request = Some(request),
            Ok(Record::Begun {}) => loaded.begun = true,
            Ok(Record::Answer(answer)) => loaded.answer = Some(answer),
            Ok(Record::Delivered {}) => loaded.delivered = true,
            Err(why) => loaded.unreadable = Some(why),
        }
        if let Some(part) = Part::ALL.get((key & 3) as usize) {
            self.count(id, *part, size(content));
        }
    }

    /// Whether writes become durable now.
    pub(crate) fn is_ready(&self) -> bool {
        self.store.is_ready()
    }

    fn wait_for(&mut self, number: u64, what: Waits) {
        self.waited += 1;
        self.waits.insert((number, self.waited), what);
    }

    /// The number of the write of an answer that is not durable yet.
    pub(crate) fn unstored_answer(&self, id: Id) -> Option<u64> {
        let number = self.kept.get(&id)?.answered?;
        (number > self.durable).then_some(number)
    }

    /// Whether a request with a record of this size is accepted.
    pub(crate) fn accepts(&self, content: &Bytes) -> Result<(), Refusal> {
        if !self.store.is_ready() {
            return Err(Refusal::Failed);
        }
        if size(content) > self.store.max_size {
            return Err(Refusal::TooLarge);
        }
        if self.bytes + size(content) > self.store.max_size {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Whether it is full for the first time since it had room.
    pub(crate) fn is_newly_full(&mut self) -> bool {
        !std::mem::replace(&mut self.full, true)
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stores a request that is executed as an exchange.
    pub(crate) fn accept(&mut self, cx: &mut Context<'_>, exchange: usize, content: Bytes) -> Id {
        self.full = false;
        let id = Id(self.next);
        self.next += 1;
        self.kept.entry(id).or_default().exchange = Some(exchange);
        self.replace(cx, id, content);
        id
    }

    /// Stores a request again, as it came again.
    pub(crate) fn replace(&mut self, cx: &mut Context<'_>, id: Id, content: Bytes) {
        let number = self.put(cx, id, Part::Request, content);
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.accepted = number;
        }
        self.wait_for(number, Waits::Acknowledgement(id));
    }

    /// Whether a request is on the disk as it came last: no write of it is on its way.
    pub(crate) fn is_stored(&self, id: Id) -> bool {
        let kept = self.kept.get(&id);
        self.is_ready() && kept.is_some_and(|it| it.accepted <= self.durable)
    }

    /// A stored request is executed as an exchange.
    pub(crate) fn resume(&mut self, id: Id, exchange: usize) {
        self.kept.entry(id).or_default().exchange = Some(exchange);
    }

    /// Stores that the execution of a request begins.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>, id: Id) {
        let number = self.put(cx, id, Part::Begun, Record::Begun {}.encode());
        self.wait_for(number, Waits::Call(id));
    }

    /// Stores the answer of a request, in place of the request. Returns the number of the write.
    pub(crate) fn answer(&mut self, cx: &mut Context<'_>, id: Id, answer: record::Answered) -> u64 {
        let kept = self.kept.entry(id).or_default();
        kept.exchange = None;
        kept.remembered = answer.known.is_some();
        let content = Record::Answer(Box::new(answer)).encode();
        let number = self.put(cx, id, Part::Answer, content);
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.answered = Some(number);
        }
        self.remove_part(cx, id, Part::Request);
        self.remove_part(cx, id, Part::Begun);
        number
    }

    /// A publication waits until a write is durable. Returns whether it must wait.
    pub(crate) fn wait(&mut self, number: u64, publication: usize) -> bool {
        if self.store.is_ready() {
            self.wait_for(number, Waits::Answer(publication));
        }
        self.store.is_ready()
    }

    /// What was stored about a request whose answer is restored.
    pub(crate) fn restored(&mut self, id: Id, remembered: bool) {
        self.kept.entry(id).or_default().remembered = remembered;
    }

    /// The answer of a request needs not be published again.
    pub(crate) fn delivered(&mut self, cx: &mut Context<'_>, id: Id) {
        let Some(kept) = self.kept.get_mut(&id) else {
            return;
        };
        if kept.remembered {
            if !std::mem::replace(&mut kept.delivered, true) {
                self.put(cx, id, Part::Delivered, Record::Delivered {}.encode());
            }
        } else {
            self.remove(cx, id);
        }
    }

    /// The answer of a restored request was delivered before.
    pub(crate) fn was_delivered(&mut self, id: Id) {
        self.kept.entry(id).or_default().delivered = true;
    }

    /// The answer of a request is not remembered any more, the request is. If the answer was delivered, it makes
    /// room.
    pub(crate) fn lighten(&mut self, cx: &mut Context<'_>, id: Id, known: record::Answered) {
        if self.kept.get(&id).is_some_and(|it| it.delivered) {
            let content = Record::Answer(Box::new(known)).encode();
            self.put(cx, id, Part::Answer, content);
        }
    }

    /// A request is not remembered any more.
    pub(crate) fn forgotten(&mut self, cx: &mut Context<'_>, id: Id) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.remembered = false;
            if kept.delivered {
                self.remove(cx, id);
            }
        }
    }

    /// Removes all records of a request.
    pub(crate) fn remove(&mut self, cx: &mut Context<'_>, id: Id) {
        for part in Part::ALL {
            self.remove_part(cx, id, part);
        }
        self.kept.remove(&id);
    }

    /// Ends the stream, after the writes.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        self.store.stop(cx);
    }

    fn put(&mut self, cx: &mut Context<'_>, id: Id, part: Part, content: Bytes) -> u64 {
        self.count(id, part, size(&content));
        self.store.write(cx, part.key(id), Some(content))
    }

    fn remove_part(&mut self, cx: &mut Context<'_>, id: Id, part: Part) {
        if self.count(id, part, 0) > 0 {
            self.store.write(cx, part.key(id), None);
        }
    }

    /// Sets the size of a record; returns what it was.
    fn count(&mut self, id: Id, part: Part, size: u64) -> u64 {
        let kept = self.kept.entry(id).or_default();
        let Some(place) = kept.sizes.get_mut(part as usize) else {
            return 0;
        };
        let before = std::mem::replace(place, size);
        self.bytes = (self.bytes + size).saturating_sub(before);
        before
    }
}

/// For fuzzing: whether a record that can be read is written as one that is read the same; true for bytes that
/// are not a record.
pub fn record_is_read_as_written(bytes: &[u8]) -> bool {
    let record = Record::decode(bytes);
    record.map_or(true, |it| Record::decode(&it.encode()) == Ok(it))
}

/// The size of a record.
const fn size(content: &Bytes) -> u64 {
    content.len() as u64 + OVERHEAD
}
