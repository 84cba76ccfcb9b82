//! The binding: creates the exchange of each request and routes frames and messages to it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{
    At, Binding, BindingId, Context, Duration, Meter, MeterKind, StreamId, Time, TimerId, Token,
};
use tidegate_streams::mcp::{
    McpBeginEx, McpFlushEx, McpReset, McpResetKind, McpResourcesListChanged, McpToolsListChanged,
};
use tidegate_streams::mqtt::{MqttBeginEx, MqttReset};
use tidegate_streams::{AbortEx, BeginEx, FlushEx, Frame, ResetEx, Role};

use crate::announcing::RENEW;
use crate::begin::tools_list;
use crate::declared::Declared;
use crate::exchange::{DUE, Exchange};
use crate::feed::{DECLARED, FEED, Feed, RETRY};
use crate::model::Models;
use crate::operation::Counts;
use crate::options::{Options, ToolsOption};
use crate::registry::{DeviceId, Registry};
use crate::requests::Requests;
use crate::result::Failure;
use crate::rules::Intervals;
use crate::sensor::Ended;
use crate::state::State;
use crate::typed;

/// The kind of the timer before the change of a list is announced.
const CHANGED: u32 = 3;
/// Largest announcement that is put together from parts, in bytes.
const ANNOUNCEMENT_MAX: usize = 256 << 10;
/// Changes of lists within this time are announced once.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// What is constant while the binding runs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) tools: ToolsOption,
    pub(crate) status_timeout: Duration,
    pub(crate) max_sensor_duration: Duration,
    pub(crate) params_bound: usize,
    pub(crate) sessions_max: usize,
    pub(crate) approvals_max: usize,
    /// Whether devices may declare themselves.
    pub(crate) declares: bool,
    /// The list of tools, if it is the same for every caller.
    pub(crate) tools_list: Option<Bytes>,
}

/// The binding `mcp_device · proxy`.
pub struct McpDevice {
    pub(crate) exit: BindingId,
    pub(crate) settings: Settings,
    pub(crate) models: Models,
    pub(crate) registry: Registry,
    pub(crate) feed: Feed,
    /// Devices that announce themselves, and the stream that feeds their values.
    pub(crate) declared: Option<Declared>,
    pub(crate) values: Feed,
    /// Set while values are still to be subscribed to again.
    pub(crate) renewal: Option<TimerId>,
    /// When they were subscribed to again for the last time.
    pub(crate) renewed: Option<Time>,
    pub(crate) exchanges: Slab<Exchange>,
    /// Which exchanges wait for messages of a device.
    pub(crate) watchers: BTreeSet<(DeviceId, u32)>,
    /// Index of the exchange of each session, by session identifier.
    pub(crate) sessions: BTreeMap<ByteString, usize>,
    /// Set while a change is still to be announced.
    changed: Option<TimerId>,
    pub(crate) requests: Requests,
    /// Indexes of the exchanges whose command waits for the approval of a person.
    pub(crate) asked: BTreeSet<usize>,
    pub(crate) intervals: Intervals,
    counts: Counts,
    /// Number of requests refused before an exchange was created.
    refused: u64,
}

impl McpDevice {
    /// Creates a binding that opens its mqtt streams to `exit`. It leaves out what deserializing the
    /// options would have refused.
    pub fn new(options: &Options, exit: BindingId) -> Self {
        let (models, _) = Models::new(options);
        let registry = Registry::new(options, &models);
        let max_value = options.max_value_bytes.size();
        let max_entities = options.max_devices.size().saturating_mul(2);
        let declared = options.declared.as_ref();
        let listed = declared.map_or(&[][..], |it| &it.subscribe);
        let listed = listed.iter().map(|pattern| pattern.text().into()).collect();
        let values = Feed::new(DECLARED, exit, listed, max_value);
        let declared = declared.and_then(|it| Declared::new(it, max_entities).ok());
        let mut filters = models.filters.clone();
        filters.extend(declared.iter().flat_map(Declared::filters));
        let feed = Feed::new(FEED, exit, filters, max_value.max(ANNOUNCEMENT_MAX));
        let guarded = models.types.values().any(|it| it.depends_on_caller());
        let mut settings = Settings {
            tools: options.tools,
            status_timeout: Duration::from_millis(options.status_timeout.get()),
            max_sensor_duration: Duration::from_millis(options.max_sensor_duration.get()),
            params_bound: options.max_params.size(),
            sessions_max: options.max_sessions.size(),
            approvals_max: options.max_approvals.size(),
            tools_list: None,
            declares: declared.is_some(),
        };
        if !guarded && options.tools == ToolsOption::Generic {
            settings.tools_list = Some(tools_list(&models, &settings, None, &registry));
        }
        Self {
            exit,
            settings,
            models,
            registry,
            feed,
            declared,
            values,
            renewal: None,
            renewed: None,
            exchanges: Slab::new(),
            watchers: BTreeSet::new(),
            sessions: BTreeMap::new(),
            changed: None,
            requests: Requests::new(options.max_requests.size()),
            asked: BTreeSet::new(),
            intervals: Intervals::default(),
            counts: Counts::default(),
            refused: 0,
        }
    }

    /// A message was received: records it, and passes it to the exchanges that wait for it.
    fn on_message(&mut self, cx: &mut Context<'_>, message: &crate::feed::FeedMessage) {
        self.take_announcement(cx, message);
        let received = crate::registry::Received {
            topic: &message.topic,
            payload: &message.payload,
            retained: message.retained,
        };
        let watchers = &self.watchers;
        let is_awaited = |device: DeviceId| {
            watchers
                .range((device, 0)..=(device, u32::MAX))
                .next()
                .is_some()
        };
        let recorded = self
            .registry
            .record(&self.models, received, cx.now(), &is_awaited);
        if recorded.changed {
            self.announce_change(cx);
        }
        if self.watchers.is_empty() {
            return;
        }
        for (place, (device, part)) in recorded.users.iter().copied().enumerate() {
            let waiting = self.watchers.range((device, 0)..=(device, u32::MAX));
            let waiting: smallvec::SmallVec<[u32; 8]> = waiting.map(|(_, index)| *index).collect();
            for index in waiting {
                let index = index as usize;
                if let Some(exchange) = self.exchanges.get(index) {
                    exchange.work(cx);
                }
                // A message about several values of a device is one update of its resource.
                let before = recorded.users.get(..place).unwrap_or_default();
                let first = || !before.iter().any(|(other, _)| *other == device);
                match self.exchanges.get(index).map(|it| &it.state) {
                    Some(State::Subscribe(_)) if !first() => {}
                    _ => self.on_value(cx, index, device, part, message),
                }
                self.settle(cx, index);
            }
        }
    }

    /// Makes an exchange receive the messages of a device.
    pub(crate) fn watch(&mut self, index: usize, device: DeviceId) {
        if let Some(exchange) = self.exchanges.get_mut(index)
            && let Ok(number) = u32::try_from(index)
            && self.watchers.insert((device, number))
        {
            exchange.watching.push(device);
        }
    }

    /// Announces that devices were added or removed, after further changes.
    pub(crate) fn announce_change(&mut self, cx: &mut Context<'_>) {
        if self.changed.is_none() && !self.sessions.is_empty() && !cx.stopping() {
            let reason = "further changes before a list change is announced";
            self.changed = Some(cx.timer(DEBOUNCE, FEED, CHANGED, reason));
        }
    }

    fn announce(&mut self, cx: &mut Context<'_>) {
        self.changed = None;
        let typed = self.settings.tools == ToolsOption::Typed
            && typed::grouping(&self.models) != typed::Grouping::All;
        let sessions: Vec<usize> = self.sessions.values().copied().collect();
        for index in sessions {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.announce(cx, McpResourcesListChanged::default());
                if typed {
                    exchange.announce(cx, McpToolsListChanged::default());
                }
            }
        }
    }

    fn on_caller(&mut self, cx: &mut Context<'_>, stream: StreamId, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                if let State::Params(call) = &mut exchange.state {
                    match call.add(data) {
                        Ok(true) => self.call(cx, index),
                        Ok(false) => {}
                        Err(reset) => exchange.refuse(cx, reset),
                    }
                }
            }
            Frame::End(_) => {
                exchange.caller_ended();
                match &exchange.state {
                    State::Params(_) => self.call(cx, index),
                    State::Session(identity) => {
                        self.sessions.remove(identity);
                        exchange.close(cx);
                    }
                    State::Subscribe(_) => exchange.close(cx),
                    // The caller wants no more: the result is what was received so far.
                    State::Sensor(_) => self.finish_sensor(cx, index, Ended::Cancelled),
                    // It cannot pass on the answer of a person any more.
                    State::Approval(_) => {
                        self.approval_ended(cx, index, "the call ended before the answer");
                    }
                    State::Status(_)
                    | State::Control(_)
                    | State::Follow(_)
                    | State::Closing
                    | State::Answered => {}
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                if let State::Session(identity) = &exchange.state {
                    self.sessions.remove(identity);
                }
                self.control_cancelled(cx, index);
                if let Some(exchange) = self.exchanges.get_mut(index) {
                    // The repeated calls were answered with contexts of their own.
                    exchange.work(cx);
                    exchange.cancel(cx);
                }
            }
            Frame::Window(_) => exchange.flush_reply(cx),
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(McpFlushEx::Response(response)) = *flush {
                    self.approval_answered(cx, index, response);
                }
            }
            Frame::Begin(_) | Frame::Challenge(_) => {}
        }
    }

    fn on_mqtt(&mut self, cx: &mut Context<'_>, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mqtt(MqttBeginEx::Session(_)) = begin.into_inner() {
                    exchange.end_mqtt(cx);
                    self.broker_reached(index);
                }
            }
            Frame::End(_) => {
                let published = exchange.is_published();
                exchange.mqtt_ended(cx);
                if published {
                    self.acknowledged(cx, index);
                } else {
                    self.broker_failed(cx, index, &Failure::from(None));
                }
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                self.mqtt_failed(cx, index, reset);
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                self.mqtt_failed(cx, index, reset);
            }
            Frame::Window(_) => exchange.flush_publication(cx),
            Frame::Data(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    fn mqtt_failed(&mut self, cx: &mut Context<'_>, index: usize, reset: Option<MqttReset>) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.drop_mqtt(cx);
            self.broker_failed(cx, index, &Failure::from(reset));
        }
    }

    /// Counts the outcome of an exchange, and removes it when its streams have ended.
    pub(crate) fn settle(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let Some(outcome) = exchange.take_outcome() {
            let duration = exchange.age(cx);
            self.counts.add(exchange.operation, outcome, duration);
        }
        let over = exchange.is_over(cx);
        if over || !matches!(exchange.state, State::Approval(_)) {
            self.asked.remove(&index);
        }
        if over || matches!(exchange.state, State::Answered | State::Closing) {
            for device in std::mem::take(&mut exchange.watching) {
                self.watchers
                    .remove(&(device, u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
        if over {
            self.exchanges.remove(index);
        }
    }
}

/// The error for requests during a shutdown.
fn stopping() -> McpReset {
    let why = "The gateway is stopping; retry later.";
    McpReset::new(McpResetKind::Busy, why)
}

impl Binding for McpDevice {
    fn exchanges(&self) -> usize {
        self.exchanges.len() + self.sessions.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp_device.sessions", self.sessions.len());
        meter.gauge("mcp_device.devices", self.registry.len());
        meter.gauge("mcp_device.approvals.pending", self.asked.len());
        meter.gauge("mcp_device.cache.bytes", self.registry.bytes());
        meter.counter("mcp_device.requests.refused", self.refused);
        let counts = &self.registry.counts;
        for (result, count) in [
            ("recorded", counts.recorded),
            ("ignored", counts.ignored),
            ("dropped", counts.dropped),
        ] {
            let labels = [("result", result)];
            meter.record(MeterKind::Counter, "mcp_device.messages", &labels, count);
        }
        if let Some(declared) = &self.declared {
            for (result, count) in [("taken", declared.taken), ("refused", declared.refused)] {
                let labels = [("result", result)];
                meter.record(
                    MeterKind::Counter,
                    "mcp_device.announcements",
                    &labels,
                    count,
                );
            }
        }
        meter.counter("mcp_device.devices.removed", counts.removed);
        meter.counter("mcp_device.devices.refused", counts.refused);
        self.counts.report(meter);
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.feed.open(cx);
        self.values.open(cx);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        // A stream of another protocol is not accepted; the engine resets it.
        let BeginEx::Mcp(begin) = begin else {
            return;
        };
        // Limits and repeated calls are decided in one place: the first worker sends all commands.
        if cx.worker() > 0
            && let McpBeginEx::ToolsCall(call) = &begin
            && self.is_command(cx.identity().map(|it| &**it), &call.name)
            && cx.hand_over(stream, begin.clone().into(), 0)
        {
            return;
        }
        let request = if cx.stopping() {
            Err(stopping())
        } else {
            self.request(cx.identity().map(|it| &**it), &begin)
        };
        match request {
            Ok((operation, state)) => {
                let index = self.start(cx, stream, &begin, operation, state);
                self.settle(cx, index);
            }
            Err(reset) => {
                self.refused += 1;
                cx.terminate(stream, Some(reset.into()), None);
            }
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        if at.token == FEED || at.token == DECLARED {
            let feed = if at.token == FEED {
                &mut self.feed
            } else {
                &mut self.values
            };
            if let Some(message) = feed.on_frame(cx, at.stream, frame) {
                self.on_message(cx, &message);
            }
            return;
        }
        let index = at.token.index();
        match at.role {
            Role::Callee => self.on_caller(cx, at.stream, index, frame),
            Role::Caller => self.on_mqtt(cx, index, frame),
        }
        self.settle(cx, index);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        match kind {
            RETRY if token == FEED => self.feed.open(cx),
            RETRY => self.values.open(cx),
            RENEW => self.renew_values(cx),
            CHANGED => self.announce(cx),
            DUE => {
                let index = token.index();
                if let Some(exchange) = self.exchanges.get_mut(index) {
                    exchange.work(cx);
                    if !exchange.timer_expired(cx) {
                        self.expired(cx, index);
                    }
                }
                self.settle(cx, index);
            }
            _ => {}
        }
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if token == FEED {
            return self.feed.faulted(cx);
        }
        if token == DECLARED {
            return self.values.faulted(cx);
        }
        let index = token.index();
        self.control_cancelled(cx, index);
        self.exchanges.try_remove(index);
        self.asked.remove(&index);
        self.sessions.retain(|_, session| *session != index);
        self.watchers
            .retain(|(_, waiting)| *waiting as usize != index);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        self.feed.stop(cx);
        self.values.stop(cx);
        for timer in [self.changed.take(), self.renewal.take()]
            .into_iter()
            .flatten()
        {
            cx.cancel(timer);
        }
        let indexes: Vec<usize> = self.exchanges.iter().map(|(index, _)| index).collect();
        for index in indexes {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.work(cx);
                match &exchange.state {
                    State::Session(_) | State::Subscribe(_) => exchange.close(cx),
                    _ => self.stopping(cx, index),
                }
            }
            self.settle(cx, index);
        }
        self.sessions.clear();
    }
}
