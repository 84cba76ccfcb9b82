//! What the binding does with its queue: requests, executions and answers are stored before they are
//! acknowledged, begun and published.

use bytes::Bytes;
use tidegate_engine::{Context, StreamId};
use tidegate_streams::Frame;

use crate::answer::Answer;
use crate::events::{QueueFailed, QueueFull};
use crate::exchange::{Exchange, Phase};
use crate::failure::{Executed, Failure, Reason};
use crate::proxy::MqttMcp;
use crate::queue::record::{Answered, Known, Octets, Request};
use crate::queue::{Clock, Due, Happened, Id, Record, Refusal};
use crate::remembered::{Light, Outcome};
use crate::request::{Envelope, Key};
use crate::subscription::Receipt;

impl MqttMcp {
    /// Opens the queue; without one, subscribes at once. A request must be recognised when it comes again,
    /// so none is taken before the queue is read.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        match &mut self.queue {
            Some(queue) => {
                let happened = queue.open(cx);
                self.on_queue(cx, happened);
            }
            None => self.subscription.open(cx),
        }
    }

    /// A frame of the store stream.
    pub(crate) fn on_store(&mut self, cx: &mut Context<'_>, stream: StreamId, frame: Frame) {
        if let Some(queue) = &mut self.queue {
            let happened = queue.on_frame(cx, stream, frame);
            self.on_queue(cx, happened);
        }
    }

    /// The disk has not answered in time.
    pub(crate) fn on_overdue(&mut self, cx: &mut Context<'_>) {
        if let Some(queue) = &mut self.queue {
            let happened = queue.overdue(cx);
            self.on_queue(cx, happened);
        }
    }

    /// A handler panicked while it worked for the store stream.
    pub(crate) fn on_store_fault(&mut self, cx: &mut Context<'_>) {
        if let Some(queue) = &mut self.queue {
            let happened = queue.faulted(cx);
            self.on_queue(cx, happened);
        }
    }

    fn on_queue(&mut self, cx: &mut Context<'_>, happened: Option<Happened>) {
        match happened {
            Some(Happened::Loaded(loaded)) => {
                self.restore(cx, loaded);
                self.subscription.open(cx);
            }
            Some(Happened::Stored(due)) => self.on_stored(cx, due),
            Some(Happened::Failed(reason, due)) => {
                if let Some(reason) = reason {
                    let reason = reason.into();
                    cx.event(&QueueFailed { reason });
                }
                // The broker keeps what could not be stored.
                self.left.clear();
                self.on_stored(cx, due);
            }
            None => {}
        }
    }

    /// Does what waited for the disk.
    fn on_stored(&mut self, cx: &mut Context<'_>, due: Vec<Due>) {
        self.due.extend(due);
        self.work_off(cx);
    }

    /// Does what is due; after a fault in one of them, the others.
    pub(crate) fn work_off(&mut self, cx: &mut Context<'_>) {
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Acknowledge(id, index) => {
                    let is_crowded = self.lanes.is_crowded();
                    let exchange = self.exchanges.get_mut(index);
                    let exchange = exchange.filter(|it| it.stored == Some(id));
                    if is_crowded
                        && exchange
                            .as_ref()
                            .is_some_and(|it| it.phase == Phase::Waiting)
                    {
                        // The broker holds further ones back until it has left the line.
                        continue;
                    }
                    let receipts = match exchange {
                        Some(exchange) => std::mem::take(&mut exchange.envelope.receipts),
                        None => self.left.remove(&id).unwrap_or_default(),
                    };
                    self.subscription.acknowledge(cx, &receipts);
                }
                Due::Call(id, index) => {
                    let exchange = self.exchanges.get_mut(index);
                    let is_its =
                        |it: &&mut Exchange| it.stored == Some(id) && it.phase == Phase::Storing;
                    if let Some(exchange) = exchange.filter(is_its) {
                        let receipts = std::mem::take(&mut exchange.envelope.receipts);
                        self.subscription.acknowledge(cx, &receipts);
                        cx.work_with(exchange.context.clone());
                        self.advance(cx, index);
                    }
                }
                Due::Publish(index) => self.publish_held(cx, index),
            }
        }
    }

    /// The record of a request that comes now, if there is a queue; or why it is refused.
    pub(crate) fn record(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &mut Envelope,
    ) -> Result<Option<Bytes>, Failure> {
        let content = request_record(cx, envelope);
        // What has expired makes room.
        self.remembered.expire(cx.now());
        self.forget_stored(cx);
        let Some(content) = content else {
            return Ok(None);
        };
        // Answers of the device with the most of them make room too.
        while self.is_full_for(&content) && self.remembered.lighten() {
            self.forget_stored(cx);
        }
        let Some(queue) = &mut self.queue else {
            return Ok(None);
        };
        match queue.accepts(&content) {
            Ok(()) => Ok(Some(content)),
            Err(Refusal::Failed) => {
                let message = "The queue of the gateway cannot be written; retry later.";
                Err(Failure::rejected(Reason::Unavailable, message))
            }
            Err(Refusal::TooLarge) => {
                let message =
                    "The request does not fit into the queue (queue.maxSize); send a smaller one.";
                Err(Failure::rejected(Reason::TooLarge, message))
            }
            Err(Refusal::Full) => {
                if queue.is_newly_full() {
                    let bytes = queue.bytes();
                    cx.event(&QueueFull { bytes });
                }
                let message = "The queue of the gateway is full (queue.maxSize); retry later.";
                Err(Failure::rejected(Reason::Busy, message))
            }
        }
    }

    fn is_full_for(&self, content: &Bytes) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.accepts(content) == Err(Refusal::Full))
    }

    /// A running request came again: it is stored as it came last, and its messages are acknowledged then.
    pub(crate) fn store_again(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let Some(id) = exchange.stored else { return };
        let content = request_record(cx, &mut exchange.envelope);
        // While a write of it is on its way, its messages are acknowledged with that one.
        if let (Some(queue), Some(content)) = (&mut self.queue, content)
            && queue.is_stored(id)
        {
            queue.replace(cx, id, content);
        }
    }

    /// A request has its place: with a queue, its tools are called once that is stored.
    pub(crate) fn store_begin(&mut self, cx: &mut Context<'_>, index: usize) {
        let exchange = self.exchanges.get_mut(index);
        match (exchange, &mut self.queue) {
            (Some(exchange), Some(queue)) => {
                let Some(id) = exchange.stored else { return };
                exchange.phase = Phase::Storing;
                queue.begin(cx, id);
            }
            _ => self.advance(cx, index),
        }
    }

    /// A request stays in the queue for the next gateway. Its messages are acknowledged once it is stored.
    pub(crate) fn leave_stored(&mut self, cx: &mut Context<'_>, id: Id, receipts: Vec<Receipt>) {
        let Some(queue) = self.queue.as_ref().filter(|_| !receipts.is_empty()) else {
            return;
        };
        if queue.is_stored(id) {
            self.subscription.acknowledge(cx, &receipts);
        } else if queue.is_ready() {
            self.left.insert(id, receipts);
        }
    }

    /// Stores the outcome of a request. Returns the number of the write that its publication waits for.
    pub(crate) fn store_answer(
        &mut self,
        cx: &mut Context<'_>,
        exchange: usize,
        executed: Executed,
        answer: Option<&Answer>,
        outcome: Option<&Outcome>,
    ) -> Option<u64> {
        let exchange = self.exchanges.get(exchange)?;
        let (queue, id) = (self.queue.as_mut()?, exchange.stored?);
        let clock = Clock::of(cx);
        let known = exchange.key.as_ref().zip(outcome);
        let known = known.map(|(key, outcome)| Known {
            topic: key.topic().to_owned(),
            caller: caller(key, &outcome.device),
            correlation: Octets::of(key.correlation()),
            content: Octets::of(&exchange.content),
            until: clock.millis(outcome.until),
            evicted: false,
        });
        if known.is_none() && answer.is_none() {
            queue.remove(cx, id);
            return None;
        }
        let device = &exchange.envelope.device;
        // One that comes again gets the same answer, also if it is too late for this one.
        let message = answer.or_else(|| outcome?.answer.as_ref());
        let message = message.map(|it| it.kept(clock));
        let answered = Answered::new(device, executed, known, message);
        let number = queue.answer(cx, id, answered);
        if answer.is_none() {
            queue.delivered(cx, id);
        }
        Some(number)
    }

    /// Removes what the queue keeps of requests that are not remembered any more.
    pub(crate) fn forget_stored(&mut self, cx: &mut Context<'_>) {
        let lightened = std::mem::take(&mut self.remembered.lightened);
        let forgotten = std::mem::take(&mut self.remembered.forgotten);
        if let Some(queue) = &mut self.queue {
            for light in lightened {
                let known = known_of(&light, Clock::of(cx));
                queue.lighten(cx, light.id, known);
            }
            for id in forgotten {
                queue.forgotten(cx, id);
            }
        }
    }
}

/// The record of an answered request whose answer was forgotten.
fn known_of(light: &Light, clock: Clock) -> Answered {
    let known = Known {
        topic: light.key.topic().to_owned(),
        caller: caller(&light.key, &light.device),
        correlation: Octets::of(light.key.correlation()),
        content: Octets::of(&light.content),
        until: clock.millis(light.until),
        evicted: true,
    };
    Answered::new(&light.device, light.executed, Some(known), None)
}

/// Whose correlation it is, if that is not the device.
fn caller(key: &Key, device: &str) -> Option<String> {
    (key.caller() != device).then(|| key.caller().to_owned())
}

/// The record of a request, from its message.
fn request_record(cx: &Context<'_>, envelope: &mut Envelope) -> Option<Bytes> {
    let message = envelope.message.take()?;
    let (received, expires) = (envelope.received, envelope.expires);
    let request = Request::of(&message, received, expires, Clock::of(cx));
    Some(Record::Request(Box::new(request)).encode())
}
