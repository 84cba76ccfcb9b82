//! The binding: messages become requests, requests calls, and results answers.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;
use tidegate_engine::{
    At, Binding, BindingId, CallContext, Context, Duration, Meter, StreamId, TimerId, Token,
};
use tidegate_options::{ActionRoute, Bounded};
use tidegate_streams::mqtt::{MqttMessage, MqttSubscribeFlags};
use tidegate_streams::{BeginEx, Frame};

use crate::action::With;
use crate::aio::Clock;
use crate::answering::EXTRA_MAX;
use crate::call::{Call, ToolResult};
use crate::crowd::Crowd;
use crate::events::{Counts, StepCompleted, StepEnd};
use crate::exchange::{Caller, EndedCall, Exchange, PROGRESS, Phase, STEP};
use crate::failure::{Failure, Reason};
use crate::lanes::{Entry, Lanes, Limits};
use crate::options::{Condition, Options};
use crate::publication::{PUBLISH, Publication, Published};
use crate::queue::{Due, Id, OVERDUE, Queue, REOPEN, STORE};
use crate::rate::Rate;
use crate::raw::discovery::{ASK, Discovery, TELL};
use crate::raw::listen::{CONFIRM, END};
use crate::raw::listens::Listens;
use crate::remembered::{Known, Remembered};
use crate::request::{Envelope, Fingerprint, Reader};
use crate::route::Routes;
use crate::stopping::{DUE, waiting_timer};
use crate::subscription::{RETRY, Receipt, SUBSCRIPTION, Subscription};
use crate::triggers::Triggers;

/// The kind of the timer of the next request that the rate lets begin.
const BEGIN: u32 = 9;

/// What is constant while the binding runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) max_payload: usize,
    pub(crate) max_result: usize,
    pub(crate) remember: Duration,
}

/// The binding `mqtt_mcp · proxy`.
#[derive(Debug)]
pub struct MqttMcp {
    pub(crate) mqtt: BindingId,
    pub(crate) mcp: BindingId,
    pub(crate) settings: Settings,
    pub(crate) routes: Routes,
    pub(crate) subscription: Subscription,
    /// What outlives the process, if the config has a queue.
    pub(crate) queue: Option<Queue>,
    pub(crate) lanes: Lanes,
    rate: Rate,
    /// The next request that the rate lets begin.
    pub(crate) beginning: Option<TimerId>,
    pub(crate) remembered: Remembered,
    pub(crate) triggers: Triggers,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) publications: Slab<Publication>,
    /// The `subscriptions/listen` of raw routes.
    pub(crate) listens: Listens,
    /// What devices are told of the server, if they are.
    pub(crate) discovery: Option<Discovery>,
    /// Publications that no exchange waits for.
    pub(crate) extra: Crowd,
    /// Those of failures of requests that waited.
    pub(crate) waited: Crowd,
    /// The shutdown has left a request to the next gateway.
    pub(crate) has_left: bool,
    /// The messages of requests that the shutdown has left in the queue: they are acknowledged once these are
    /// stored.
    pub(crate) left: BTreeMap<Id, Vec<Receipt>>,
    /// What waited for the disk, and can be done now.
    pub(crate) due: VecDeque<Due>,
    pub(crate) counts: Counts,
    /// The clock of commands of Azure `IoT` Operations.
    pub(crate) clock: Clock,
    /// Publications of progress.
    pub(crate) progress: usize,
}

/// What a token is of, in its lower bits.
const KINDS: usize = 2;
const EXCHANGE: usize = 0;
const PUBLICATION: usize = 1;
const LISTEN: usize = 2;
const DISCOVERY: usize = 3;

pub(crate) const fn exchange_token(index: usize) -> Token {
    Token::from_index(index << KINDS | EXCHANGE)
}

pub(crate) const fn publication_token(index: usize) -> Token {
    Token::from_index(index << KINDS | PUBLICATION)
}

pub(crate) const fn listen_token(index: usize) -> Token {
    Token::from_index(index << KINDS | LISTEN)
}

pub(crate) const fn discovery_token() -> Token {
    Token::from_index(DISCOVERY)
}

impl MqttMcp {
    /// Creates a binding that takes requests from `mqtt`, and calls tools on `mcp`. What must outlive the
    /// process is kept by `queue`, if there is one.
    pub fn new(
        options: &Options,
        routes: Vec<ActionRoute<Condition, With>>,
        mqtt: BindingId,
        mcp: BindingId,
        queue: Option<BindingId>,
    ) -> Self {
        let routes = Routes::new(routes, options);
        let discovery = options.discover.as_ref();
        let discovery = discovery.map(|it| Discovery::new(it, routes.raw()));
        let max_payload = options.max_payload.size();
        let filters = routes.filters.clone();
        let limits = Limits {
            concurrency: options.concurrency.size(),
            per_device: options.per_device.size(),
            waiting: options.max_waiting.size(),
            waiting_per_device: options.max_waiting_per_device.size(),
            waiting_bytes: options.max_waiting_bytes.size(),
        };
        Self {
            mqtt,
            mcp,
            subscription: Subscription::new(
                mqtt,
                options.terms(queue.is_some()),
                filters,
                max_payload,
            ),
            settings: Settings {
                max_payload,
                max_result: options.max_result.size(),
                remember: Duration::from_millis(options.remember.get()),
            },
            routes,
            queue: queue.map(Queue::new),
            lanes: Lanes::new(limits),
            rate: Rate::new(options.rate.map(Bounded::get)),
            beginning: None,
            remembered: Remembered::new(
                options.max_remembered.size(),
                options.max_remembered_bytes.size(),
            ),
            triggers: Triggers::default(),
            exchanges: Slab::new(),
            publications: Slab::new(),
            listens: Listens::new(options),
            discovery,
            extra: Crowd::of_at_most(EXTRA_MAX),
            // One may wait that a restart has restored, whatever the limit is now.
            waited: Crowd::of_at_most(options.max_waiting.size().max(1)),
            has_left: false,
            left: BTreeMap::new(),
            due: VecDeque::new(),
            counts: Counts::default(),
            clock: Clock::default(),
            progress: 0,
        }
    }

    /// A message of the subscription.
    fn on_message(&mut self, cx: &mut Context<'_>, message: MqttMessage) {
        let receipt = self.subscription.receipt(message.data.number);
        // A retained message was published before, perhaps long ago: nobody waits for its answer.
        if message.data.flags.contains(MqttSubscribeFlags::RETAIN) {
            self.counts.ignored += 1;
            return self.subscription.acknowledge(cx, receipt.as_slice());
        }
        let reader = Reader {
            routes: &self.routes,
            max_payload: self.settings.max_payload,
            now: cx.now(),
            keeps: self.queue.is_some(),
        };
        let Some((mut envelope, read)) = reader.read(message) else {
            self.counts.ignored += 1;
            return self.subscription.acknowledge(cx, receipt.as_slice());
        };
        envelope.receipts.extend(receipt);
        let context = CallContext {
            trace: cx.mint_trace(),
            identity: envelope.identity.clone(),
            deadline: None,
        };
        cx.work_with(context);
        let read = match read {
            // Its condition was met when it came first: what other messages said since then does not count.
            Ok(fingerprint) if self.is_running(&envelope, &fingerprint) => Ok((true, fingerprint)),
            read => read.and_then(|it| Ok((self.is_request(cx, &mut envelope)?, it))),
        };
        match read {
            Ok((false, fingerprint)) => self.ignore(cx, envelope, &fingerprint),
            Ok((true, fingerprint)) if envelope.rpc.is_some() => {
                self.on_rpc(cx, envelope, fingerprint);
            }
            Ok((true, fingerprint)) => self.on_request(cx, envelope, fingerprint),
            Err(failure) => self.refuse(cx, &envelope, &failure),
        }
    }

    pub(crate) fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        mut envelope: Envelope,
        fingerprint: Fingerprint,
    ) {
        let now = cx.now();
        // What is known of a request holds also while new ones are refused.
        let known = fingerprint.key.as_ref().map_or(Known::New, |key| {
            self.remembered.find(key, &fingerprint.content, now)
        });
        match known {
            // The broker keeps it for the next gateway.
            Known::New if self.leaves(cx, &envelope) => {}
            // Its acknowledgement would have to wait for that of a message that is left.
            _ if self.has_left && self.is_kept(&envelope) => {}
            Known::New => match self.may_begin(cx, &mut envelope) {
                Err(failure) => self.refuse_rpc(cx, &envelope, fingerprint, &failure),
                Ok(()) => self.admit(cx, envelope, fingerprint),
            },
            Known::Running(index) => {
                self.counts.repeated += 1;
                if let Some(exchange) = self.exchanges.get_mut(index) {
                    exchange.envelope.adopt(envelope);
                }
                self.store_again(cx, index);
            }
            Known::Answered(answer) => {
                let key = fingerprint.key.as_ref();
                let stored = key.and_then(|key| self.remembered.stored(key));
                self.repeat(cx, &envelope, answer, stored);
            }
            Known::Evicted(executed) => {
                let failure = Failure::answer_forgotten(executed);
                self.refuse(cx, &envelope, &failure);
            }
            Known::Other => {
                self.refuse(cx, &envelope, &Failure::correlation_reused());
            }
        }
    }

    /// Runs a request, or makes it wait.
    fn admit(&mut self, cx: &mut Context<'_>, mut envelope: Envelope, fingerprint: Fingerprint) {
        let record = match self.record(cx, &mut envelope) {
            Ok(record) => record,
            Err(failure) => return self.refuse_rpc(cx, &envelope, fingerprint, &failure),
        };
        let index = self.exchanges.vacant_key();
        let device = envelope.device.clone();
        let may_run = self.rate.wait(cx.now()).is_none();
        let entry = self.lanes.enter(&device, index, fingerprint.size, may_run);
        if let Entry::Full(option) = entry {
            let message = format!("Too many requests wait ({option}); retry later.");
            let failure = Failure::rejected(Reason::Busy, message);
            return self.refuse_rpc(cx, &envelope, fingerprint, &failure);
        }
        let key = fingerprint.key;
        if let Some(key) = &key {
            self.remembered
                .begin(key.clone(), fingerprint.content, index);
        }
        let steps = self.routes.get(envelope.route);
        let steps = steps.map_or(0, |route| route.steps.len());
        let left = envelope.deadline.since(cx.now());
        let context = cx.call().clone();
        let mut exchange = Exchange::new(envelope, key, context, steps);
        exchange.content = fingerprint.content;
        if let (Some(queue), Some(record)) = (&mut self.queue, record) {
            exchange.stored = Some(queue.accept(cx, index, record));
        }
        exchange.timer = Some(waiting_timer(cx, index, left));
        self.triggers.runs(&exchange.envelope, index);
        self.exchanges.insert(exchange);
        if entry == Entry::Run {
            self.run(cx, index);
        }
    }

    /// A request may run now.
    pub(crate) fn run(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let Some(timer) = exchange.timer.take() {
            cx.cancel(timer);
        }
        let left = exchange.envelope.deadline.since(cx.now()) + exchange.envelope.grace();
        let reason = "the exit's reason after the deadline of a request";
        exchange.timer = Some(cx.timer(left, exchange_token(index), DUE, reason));
        self.rate.begin(cx.now());
        self.store_begin(cx, index);
    }

    /// Calls what can be called, and answers the request when all is done.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>, index: usize) {
        if self.is_raw(index) {
            return self.run_raw(cx, index);
        }
        let Some((exchange, caller)) = self.running(index) else {
            return;
        };
        match exchange.advance(cx, caller) {
            Ok(false) => {}
            Ok(true) => self.succeed(cx, index),
            Err(failure) => self.fail(cx, index, &failure, None),
        }
    }

    /// A request whose tools run, and what it needs to call them.
    pub(crate) fn running(&mut self, index: usize) -> Option<(&mut Exchange, Caller<'_>)> {
        let exchange = self.exchanges.get_mut(index)?;
        let caller = Caller {
            route: self.routes.get(exchange.envelope.route)?,
            exit: self.mcp,
            token: exchange_token(index),
            max_result: self.settings.max_result,
        };
        Some((exchange, caller))
    }

    /// A frame of a call.
    fn on_call(&mut self, cx: &mut Context<'_>, index: usize, stream: StreamId, frame: Frame) {
        if self.is_asking(index) {
            return self.on_listing(cx, index, stream, frame);
        }
        if self.is_raw(index) {
            return self.on_raw(cx, index, stream, frame);
        }
        if let Frame::Flush(flush) = frame {
            return self.on_flush(cx, index, stream, *flush);
        }
        if let Some((exchange, caller)) = self.running(index)
            && let Some(ended) = exchange.on_frame(cx, caller, stream, frame)
        {
            self.call_ended(cx, index, ended);
        }
    }

    /// The timer of a step is due.
    fn on_step_timer(&mut self, cx: &mut Context<'_>, index: usize, kind: u32) {
        let Some((exchange, caller)) = self.running(index) else {
            return;
        };
        cx.work_with(exchange.context.clone());
        match exchange.on_step_timer(cx, caller, kind) {
            Some(ended) => self.call_ended(cx, index, ended),
            None => self.advance(cx, index),
        }
    }

    fn call_ended(&mut self, cx: &mut Context<'_>, index: usize, ended: EndedCall) {
        let Some(exchange) = self.exchanges.get(index) else {
            return;
        };
        let end = StepEnd::of(ended.failure.as_ref());
        let counts = &mut self.counts;
        Self::call_completed(cx, counts, exchange, &ended.name, &ended.call, end);
        cx.work_with(exchange.context.clone());
        match ended.failure.filter(|_| ended.is_fatal) {
            Some(failure) => {
                let result = ended.result.map(ToolResult::into_json);
                self.fail(cx, index, &failure, result.as_ref());
            }
            None => self.advance(cx, index),
        }
    }

    /// Counts a call that has ended, and emits its event.
    pub(crate) fn call_completed(
        cx: &mut Context<'_>,
        counts: &mut Counts,
        exchange: &Exchange,
        step: &str,
        call: &Call,
        end: StepEnd,
    ) {
        let duration = cx.now().since(call.begun);
        counts.step(end.outcome, duration);
        cx.work_with(call.context.clone());
        cx.event_with(|_| StepCompleted {
            tool: call.tool.clone(),
            topic: exchange.envelope.topic.clone(),
            device: exchange.envelope.device.clone(),
            step: step.into(),
            request: format!("{:016x}", exchange.context.trace).into(),
            outcome: end.word.into(),
            duration: duration.as_millis(),
            duration_micros: duration.as_micros(),
        });
    }
}

impl MqttMcp {
    /// Runs the requests for which there is room now, and ends the subscription once a shutdown has
    /// nothing left to do.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while self.rate.wait(cx.now()).is_none()
            && let Some(index) = self.lanes.next()
        {
            if let Some(exchange) = self.exchanges.get(index) {
                cx.work_with(exchange.context.clone());
            }
            self.run(cx, index);
        }
        if self.beginning.is_none()
            && self.lanes.has_next()
            && let Some(wait) = self.rate.wait(cx.now())
        {
            let reason = "the next request that 'rate' lets begin";
            self.beginning = Some(cx.timer(wait, SUBSCRIPTION, BEGIN, reason));
        }
        self.work_off(cx);
        self.forget_stored(cx);
        let is_done = self.exchanges.is_empty() && self.publications.is_empty();
        if cx.stopping() && is_done && self.left.is_empty() {
            if self.withdraw_announcement(cx) {
                return;
            }
            self.subscription.stop(cx);
            if let Some(queue) = &mut self.queue {
                queue.stop(cx);
            }
        }
    }
}

/// The index in a token, and what it is of.
const fn parts_of(token: Token) -> (usize, usize) {
    let index = token.index();
    (index >> KINDS, index & ((1 << KINDS) - 1))
}

impl Binding for MqttMcp {
    fn exchanges(&self) -> usize {
        self.exchanges.len() + self.publications.len() + self.listens.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        self.report_to(meter);
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        // A request must be executed once, so only one worker subscribes.
        if cx.worker() == 0 {
            self.routes.warn(cx);
            self.begin(cx);
            self.begin_announcing(cx);
        }
    }

    /// Clients do not connect here; the engine resets the stream.
    fn on_begin(&mut self, _: &mut Context<'_>, _: StreamId, _: BeginEx) {}

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        if at.token == SUBSCRIPTION {
            if let Some(message) = self.subscription.on_frame(cx, at.stream, frame) {
                self.on_message(cx, message);
            }
        } else if at.token == STORE {
            self.on_store(cx, at.stream, frame);
        } else {
            let (index, kind) = parts_of(at.token);
            match kind {
                EXCHANGE => self.on_call(cx, index, at.stream, frame),
                PUBLICATION => self.on_publication(cx, index, at.stream, frame),
                LISTEN => self.on_listen_frame(cx, index, at.stream, frame),
                _ => self.on_announcing_frame(cx, at.stream, frame),
            }
        }
        self.settle(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        let (index, _) = parts_of(token);
        match kind {
            RETRY => self.subscription.open(cx),
            REOPEN => self.begin(cx),
            OVERDUE => self.on_overdue(cx),
            BEGIN => self.beginning = None,
            PUBLISH => self.on_publication_timer(cx, index),
            DUE => self.on_due(cx, index),
            CONFIRM => self.listen_unconfirmed(cx, index),
            END => self.listen_due(cx, index),
            ASK => self.ask_capabilities(cx),
            TELL => self.announce(cx),
            PROGRESS.. => self.on_progress_timer(cx, index, kind),
            STEP.. => self.on_step_timer(cx, index, kind),
            _ => {}
        }
        self.settle(cx);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        let (index, of) = parts_of(token);
        if token == SUBSCRIPTION {
            self.subscription.faulted(cx);
        } else if token == STORE {
            self.on_store_fault(cx);
        } else if of == LISTEN {
            self.end_listen(cx, index);
        } else if of == DISCOVERY {
            self.announcing_faulted(cx);
        } else if of == PUBLICATION {
            let reason = "an internal error in tidegate".to_owned();
            self.published(cx, index, Published::Lost(reason));
        } else if self
            .exchanges
            .get(index)
            .is_some_and(|it| it.phase != Phase::Answering)
        {
            // An answer on its way is its publication's matter.
            let failure = Failure {
                reason: Reason::Internal,
                ..Failure::lost("An internal error in tidegate; see its log.")
            };
            self.fail(cx, index, &failure, None);
        }
        self.settle(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        self.stop(cx);
        self.settle(cx);
    }
}
