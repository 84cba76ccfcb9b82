//! The binding: creates the exchange of each request and routes frames to it.

use std::collections::BTreeMap;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_json::Parts;
use tidegate_options::TopicRequest;
use tidegate_streams::mcp::{
    McpBeginEx, McpCompletionComplete, McpFlushEx, McpReset, McpResetKind, McpResourcesRead,
    McpResourcesSubscribe, McpResponse, McpToolsCall,
};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::mqtt::{MqttDataEx, MqttFlushEx, MqttReset, MqttSession, MqttSubscribeFlags};
use tidegate_streams::{AbortEx, BeginEx, Data, DataEx, FlushEx, Frame, ResetEx, Role};

use crate::approve::{self, Approval, Decision};
use crate::call::Params;
use crate::client_id::OwnClientId;
use crate::exchange::Exchange;
use crate::operation::{CallCompleted, Counts};
use crate::options::Options;
use crate::published::Broker;
use crate::read::Read;
use crate::refusal::{INSUFFICIENT_SCOPE, NOT_ALLOWED, Refusal};
use crate::request::{Request, reply};
use crate::result::{Answer, Failure};
use crate::seen::Seen;
use crate::settings::Settings;
use crate::state::{State, Step};
use crate::subscribe::Subscribe;
use crate::taken::Taken;
use crate::tools::{Invocation, Opening, Started};
use crate::{decision, session, subscribe};

/// The binding `mcp_mqtt · proxy`.
pub struct McpMqtt {
    exit: BindingId,
    settings: Settings,
    exchanges: Slab<Exchange>,
    /// Index of the exchange of each session, by session identifier.
    sessions: BTreeMap<ByteString, usize>,
    /// What is known of the broker.
    broker: Broker,
    /// The client identifier of queries without a session.
    own: OwnClientId,
    seen: Seen,
    counts: Counts,
    /// Number of requests refused before an exchange was created.
    refused: u64,
}

impl McpMqtt {
    /// Creates a binding that opens its mqtt streams to `exit`.
    pub fn new(options: &Options, exit: BindingId) -> Self {
        Self {
            exit,
            settings: Settings::new(options),
            exchanges: Slab::new(),
            sessions: BTreeMap::new(),
            broker: Broker::default(),
            own: OwnClientId::default(),
            seen: Seen::default(),
            counts: Counts::default(),
            refused: 0,
        }
    }

    /// Reports that a resource may be read or subscribed to.
    fn report_permitted(&self, cx: &mut Context<'_>, operation: &'static str, request: &Request) {
        let caller = cx.identity().cloned();
        let policy = self.settings.subscribe.of(caller.as_deref());
        if !policy.depends_on_caller() {
            return;
        }
        let filter = match request {
            Request::Read { topic, .. } => topic.clone(),
            Request::Subscribe { filter, .. } => match TopicFilter::parse(filter.clone()) {
                Ok(filter) => filter,
                Err(_) => return,
            },
            Request::Lifecycle | Request::List(..) | Request::Call(_) | Request::Complete(_) => {
                return;
            }
        };
        let request = TopicRequest::Filter(&filter);
        decision::permitted(cx, operation, policy, request);
    }

    /// Creates the exchange of a request.
    fn start(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        request: Request,
        session: Option<ByteString>,
    ) -> usize {
        let index = self.exchanges.vacant_key();
        let token = Token::from_index(index);
        let mut open = None;
        let mut within = None;
        let mut answer = None;
        let bound = self.settings.result_bound;
        let operation = request.operation();
        let (begin, state) = match request {
            Request::Lifecycle => {
                let identity = cx.mint_identity();
                self.sessions.insert(identity.clone(), index);
                let completes = self.settings.completes;
                let begin = reply(session::begin(identity.clone(), completes));
                (begin, State::Session(identity))
            }
            Request::List(begin, list) => {
                let list = Parts::from(list);
                answer = Some(if self.settings.depends_on_caller() {
                    Answer::private(list)
                } else {
                    Answer::ok(list)
                });
                (begin, State::Answered)
            }
            Request::Call(call) => (reply(McpToolsCall::default()), State::Call(call)),
            Request::Complete(call) => (reply(McpCompletionComplete::default()), State::Call(call)),
            Request::Read { uri, topic } => {
                let shared = topic.is_shared();
                let limit = u32::from(shared);
                let flags = MqttSubscribeFlags::NONE;
                open = Some(subscribe::begin(
                    session.clone(),
                    topic.text(),
                    limit,
                    flags,
                ));
                within = Some(self.settings.read_timeout);
                let mut read = Read::new(uri, topic.text(), shared, bound);
                read.audited = Taken::new(cx.audits::<CallCompleted>());
                let begin = reply(McpResourcesRead::default());
                (begin, State::Read(Box::new(read)))
            }
            Request::Subscribe { uri, filter } => {
                let flags = MqttSubscribeFlags::NONE;
                open = Some(subscribe::begin(session.clone(), filter, 0, flags));
                (
                    reply(McpResourcesSubscribe::default()),
                    State::Subscribe(Subscribe::new(uri)),
                )
            }
        };
        let mut exchange =
            Exchange::accept(cx, stream, (token, self.exit), begin, operation, state);
        exchange.client_id = session;
        if let Some(within) = within {
            exchange.wait(cx, within, "the first message of a read");
        }
        match (&exchange.state, answer) {
            (_, Some(answer)) => exchange.answer(cx, answer),
            (State::Session(_), None) => exchange.begin_reply(cx),
            _ => {}
        }
        self.exchanges.insert(exchange);
        if let Some(begin) = open {
            self.open(cx, index, begin);
        }
        index
    }

    /// Opens the session's stream with its first operation, so that the connection stays open as long
    /// as the session. If it failed, the next operation opens it again.
    fn open_session(&mut self, cx: &mut Context<'_>, identity: Option<&ByteString>) {
        let Some((identity, index)) = identity.and_then(|id| self.sessions.get_key_value(id))
        else {
            return;
        };
        if let Some(session) = self.exchanges.get_mut(*index)
            && !session.has_mqtt()
        {
            let begin = MqttSession {
                client_id: identity.clone(),
                ..MqttSession::default()
            };
            // If this fails, the operation reports its own error, or the connection closes earlier.
            let _ = session.open(cx, begin);
        }
    }

    fn client_id(&self, index: usize) -> Option<ByteString> {
        self.exchanges.get(index)?.client_id.clone()
    }

    /// Opens the mqtt stream of an exchange.
    fn open(&mut self, cx: &mut Context<'_>, index: usize, begin: impl Into<BeginEx>) {
        let identity = self.client_id(index);
        self.open_session(cx, identity.as_ref());
        if let Some(exchange) = self.exchanges.get_mut(index)
            && let Err(error) = exchange.open(cx, begin)
        {
            let step = exchange.state.failed(&Failure::new(error.to_string()));
            exchange.apply(cx, step);
        }
    }

    /// The params of a call are complete.
    fn call(&mut self, cx: &mut Context<'_>, index: usize, params: Params) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Call(call) = &mut exchange.state else {
            return;
        };
        let caller = cx.identity().cloned();
        let (tool, can_ask) = (call.handler, call.can_ask);
        let mut invocation = Invocation {
            tool: tool.name,
            header: &call.header,
            settings: &self.settings,
            caller: caller.as_deref(),
            client_id: exchange.client_id.clone(),
            own: &mut self.own,
            seen: &self.seen,
        };
        let step = match (tool.start)(cx, params, &mut invocation) {
            Ok(Started::Stream(opening)) if self.settings.approves => {
                let needed = Approval::needed(&self.settings, caller.as_deref(), opening);
                match needed {
                    Ok(approval) => return self.approve(cx, index, approval, can_ask),
                    Err(opening) => return self.proceed(cx, index, opening),
                }
            }
            Ok(Started::Stream(opening)) => return self.proceed(cx, index, opening),
            Ok(Started::Answered(answer)) => Step::Answer(answer),
            Err(refusal) => {
                let refusal = match refusal {
                    Refusal::NotAllowed(mut refused) => {
                        let (topic, option) = (&refused.topic, refused.option);
                        decision::refused(cx, tool.operation.word(), topic, option, refused.reason);
                        let refusal = std::mem::replace(&mut refused.refusal, Refusal::Unknown);
                        call.refused = Some(refused);
                        refusal
                    }
                    refusal => refusal,
                };
                match refusal {
                    Refusal::Tool(sentence) => Step::Answer(Answer::tool_error(&sentence)),
                    Refusal::Reset(reset) => Step::Refuse(reset),
                    Refusal::Unknown | Refusal::NotAllowed(_) => {
                        Step::Refuse(self.settings.unknown_tool(tool.name, caller.as_deref()))
                    }
                }
            }
        };
        exchange.apply(cx, step);
    }

    /// Opens the mqtt stream of a call.
    fn proceed(&mut self, cx: &mut Context<'_>, index: usize, opening: Opening) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        exchange.client_id = opening.client_id;
        if let Some((within, reason)) = opening.wait {
            exchange.wait(cx, within, reason);
        }
        exchange.state = opening.state;
        self.open(cx, index, opening.begin);
    }

    /// Has a person approve a message: first the present value is read, if the caller may.
    fn approve(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        mut approval: Box<Approval>,
        can_ask: bool,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let refusal = (!can_ask).then(|| approval.cannot_ask());
        if let Some(refusal) = refusal.or_else(|| approval.cannot_show()) {
            return exchange.apply(cx, Step::Answer(refusal));
        }
        let caller = cx.identity().cloned();
        let policy = self.settings.subscribe.of(caller.as_deref());
        if policy.allows_topic(&approval.topic) {
            let present = approval.present(exchange.client_id.clone());
            exchange.wait(cx, approve::PRESENT, "the present value of a topic");
            exchange.state = State::Approval(approval);
            return self.open(cx, index, present);
        }
        let step = approval.without_value();
        exchange.state = State::Approval(approval);
        exchange.apply(cx, step);
    }

    /// The client has answered.
    fn answered(&mut self, cx: &mut Context<'_>, index: usize, response: McpResponse) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Approval(approval) = &mut exchange.state else {
            return;
        };
        let deadline = approve::deadline(cx, &response);
        match approval.answered(cx, response) {
            Decision::Approved(opening) => {
                exchange.resume(deadline);
                self.proceed(cx, index, opening);
            }
            Decision::Refused(answer) => exchange.apply(cx, Step::Answer(answer)),
            Decision::Nothing => {}
        }
    }

    fn on_caller(&mut self, cx: &mut Context<'_>, stream: StreamId, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                // Only a call reads its params; of other operations, the BEGIN has all arguments.
                if let State::Call(call) = &mut exchange.state {
                    match call.add(data) {
                        Ok(Some(params)) => self.call(cx, index, params),
                        Ok(None) => {}
                        Err(reset) => exchange.refuse(cx, reset),
                    }
                }
            }
            Frame::End(_) => {
                exchange.caller_ended();
                match &mut exchange.state {
                    State::Call(call) => {
                        let params = call.take();
                        self.call(cx, index, params);
                    }
                    // The caller wants no more: the result is what was received so far.
                    State::Receive(receive) => {
                        let step = receive.stop();
                        exchange.apply(cx, step);
                    }
                    State::Subscribe(_) => exchange.close(cx),
                    State::Session(identity) => {
                        self.sessions.remove(identity);
                        exchange.close(cx);
                    }
                    State::Query(query) => {
                        let step = query.stop("the caller ended the call");
                        exchange.apply(cx, step);
                    }
                    State::Collect(collect) => {
                        let step = collect.finish();
                        exchange.apply(cx, step);
                    }
                    State::Complete(complete) => {
                        let step = complete.finish();
                        exchange.apply(cx, step);
                    }
                    State::Approval(approval) => {
                        let step = approval.stop();
                        exchange.apply(cx, step);
                    }
                    State::Publish(_) | State::Read(_) | State::Closing | State::Answered => {}
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                if let State::Session(identity) = &exchange.state {
                    self.sessions.remove(identity);
                }
                exchange.cancel(cx);
            }
            Frame::Window(_) => exchange.flush_reply(cx),
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(McpFlushEx::Response(response)) = *flush {
                    self.answered(cx, index, response);
                }
            }
            Frame::Begin(_) | Frame::Challenge(_) => {}
        }
    }

    fn on_mqtt(&mut self, cx: &mut Context<'_>, stream: StreamId, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if exchange.is_request(stream) {
            return self.on_request(cx, index, frame);
        }
        let step = match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(begin) => exchange.state.begun(&begin),
                _ => Step::Wait,
            },
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                if self.settings.observe
                    && let Some(topic) = topic(&data)
                    && self.settings.limits.topics.check(topic).is_ok()
                {
                    self.seen.observe(topic, cx.now());
                }
                exchange.state.data(data, cx.wall_clock())
            }
            Frame::End(end) => {
                let acknowledgement = self.broker.acknowledged(end.as_deref());
                let step = exchange.state.ended(acknowledgement);
                exchange.mqtt_ended(cx);
                step
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| reason(*reset));
                exchange.mqtt_failed(cx, reset)
            }
            Frame::Abort(abort) => exchange.mqtt_failed(cx, aborted(abort)),
            Frame::Window(_) => {
                exchange.flush_publish(cx);
                Step::Wait
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Mqtt(MqttFlushEx::Gap(gap)) => exchange.state.gap(gap.milliseconds),
                _ => Step::Wait,
            },
            Frame::Challenge(_) => Step::Wait,
        };
        exchange.apply(cx, step);
    }

    /// A frame of the publish stream of a query.
    fn on_request(&mut self, cx: &mut Context<'_>, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let step = match frame {
            Frame::End(end) => {
                let acknowledgement = self.broker.acknowledged(end.as_deref());
                exchange.request_ended(cx);
                exchange.state.request_ended(acknowledgement)
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| reason(*reset));
                exchange.request_failed(cx, reset)
            }
            Frame::Abort(abort) => exchange.request_failed(cx, aborted(abort)),
            Frame::Window(_) => {
                exchange.flush_request(cx);
                Step::Wait
            }
            _ => Step::Wait,
        };
        exchange.apply(cx, step);
    }

    /// Counts the outcome of an exchange, and removes it when its streams have ended.
    fn settle(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let Some(outcome) = exchange.take_outcome() {
            let duration = exchange.age(cx);
            self.counts.add(exchange.operation, outcome, duration);
        }
        if exchange.is_over(cx) {
            self.exchanges.remove(index);
        }
    }
}

fn reason(reset: ResetEx) -> Option<MqttReset> {
    match reset {
        ResetEx::Mqtt(reset) => Some(reset),
        _ => None,
    }
}

fn aborted(abort: Option<Box<AbortEx>>) -> Option<MqttReset> {
    match *abort? {
        AbortEx::Mqtt(reset) => Some(reset),
        _ => None,
    }
}

/// The topic of a message that begins with this part.
fn topic(data: &Data) -> Option<&str> {
    match data.extension.as_deref()? {
        DataEx::Mqtt(MqttDataEx::Subscribe(message)) => Some(&message.topic),
        _ => None,
    }
}

/// The error for requests during a shutdown.
fn stopping() -> McpReset {
    let why = "The gateway is stopping; retry later.";
    McpReset::new(McpResetKind::Unavailable, why)
}

impl Binding for McpMqtt {
    fn exchanges(&self) -> usize {
        self.exchanges.len() + self.sessions.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("mcp_mqtt.sessions", self.sessions.len());
        meter.counter("mcp_mqtt.requests.refused", self.refused);
        self.counts.report(meter);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        // A stream of another protocol is not accepted; the engine resets it.
        let BeginEx::Mcp(begin) = begin else {
            return;
        };
        let session = match &begin {
            McpBeginEx::Lifecycle(_) => None,
            begin => begin.session_id().cloned(),
        };
        // Who may use what is decided by the name or URI, except for a call, which has its topic in params.
        let decided = decision::subject(&begin, &self.settings);
        let request = if cx.stopping() {
            Err(stopping())
        } else {
            let caller = cx.identity().map(|it| &**it);
            Request::read(&self.settings, self.sessions.len(), caller, begin)
        };
        match request {
            Ok(request) => {
                if let Some((operation, _)) = decided {
                    self.report_permitted(cx, operation, &request);
                }
                let index = self.start(cx, stream, request, session);
                self.settle(cx, index);
            }
            Err(reset) => {
                self.refused += 1;
                let step_up = reset.kind == McpResetKind::NotAuthorized;
                if let Some((operation, uri)) = decided
                    && (step_up || reset.kind == McpResetKind::NotFound)
                {
                    let reason = if step_up {
                        INSUFFICIENT_SCOPE
                    } else {
                        NOT_ALLOWED
                    };
                    decision::refused(cx, operation, &uri, "subscribe", reason);
                }
                cx.terminate(stream, Some(reset.into()), None);
            }
        }
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let index = at.token.index();
        match at.role {
            Role::Callee => self.on_caller(cx, at.stream, index, frame),
            Role::Caller => self.on_mqtt(cx, at.stream, index, frame),
        }
        self.settle(cx, index);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _kind: u32) {
        if let Some(exchange) = self.exchanges.get_mut(token.index()) {
            exchange.timer_expired(cx);
        }
        self.settle(cx, token.index());
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, token: Token) {
        let index = token.index();
        self.exchanges.try_remove(index);
        self.sessions.retain(|_, session| *session != index);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        let indexes: Vec<usize> = self.exchanges.iter().map(|(index, _)| index).collect();
        for index in indexes {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                match &exchange.state {
                    State::Subscribe(subscribe) if !subscribe.confirmed => {
                        exchange.refuse(cx, stopping());
                    }
                    State::Session(_) | State::Subscribe(_) => exchange.close(cx),
                    _ => {
                        let step = exchange.state.stopping();
                        exchange.apply(cx, step);
                    }
                }
            }
            self.settle(cx, index);
        }
        self.sessions.clear();
    }
}
