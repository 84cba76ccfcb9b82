//! The binding: which request starts which work, and which frame goes to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_json::Parts;
use tidegate_streams::mcp::{
    McpBeginEx, McpReset, McpResetKind, McpResourcesList, McpResourcesRead, McpResourcesSubscribe,
    McpResourcesTemplatesList, McpToolsCall, McpToolsList,
};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::mqtt::{MqttReset, MqttSession};
use tidegate_streams::shown;
use tidegate_streams::{AbortEx, BeginEx, Frame, Pooled, ResetEx, Role};

use crate::arguments::{Refusal, publication, reception};
use crate::call::{Call, Params, Tool};
use crate::exchange::Exchange;
use crate::operation::{Counts, Operation};
use crate::options::Options;
use crate::publish::Publish;
use crate::read::Read;
use crate::receive::Receive;
use crate::result::{Answer, Failure};
use crate::settings::Settings;
use crate::subscribe::Subscribe;
use crate::work::{Step, Work};
use crate::{session, subscribe, tools, uri};

/// `mcp_mqtt · proxy`.
pub struct McpMqtt {
    exit: BindingId,
    settings: Settings,
    exchanges: Slab<Exchange>,
    /// The exchange of each session, by its identity.
    sessions: BTreeMap<ByteString, usize>,
    counts: Counts,
    /// Requests that were refused at once.
    refused: u64,
}

/// What a BEGIN asks for, once it is known to make sense.
enum Request {
    Lifecycle,
    List(Pooled<BeginEx>, Bytes),
    Call(Call),
    Read { uri: ByteString, topic: TopicFilter },
    Subscribe { uri: ByteString, filter: ByteString },
}

impl Request {
    const fn operation(&self) -> Operation {
        match self {
            Self::Lifecycle => Operation::Session,
            Self::List(..) => Operation::List,
            Self::Call(call) => match call.tool {
                Tool::Publish => Operation::Publish,
                Tool::Receive => Operation::Receive,
            },
            Self::Read { .. } => Operation::Read,
            Self::Subscribe { .. } => Operation::Subscribe,
        }
    }
}

impl McpMqtt {
    /// A binding that opens its mqtt streams towards `exit`.
    pub fn new(options: &Options, exit: BindingId) -> Self {
        Self {
            exit,
            settings: Settings::new(options),
            exchanges: Slab::new(),
            sessions: BTreeMap::new(),
            counts: Counts::default(),
            refused: 0,
        }
    }

    fn request(&self, begin: McpBeginEx) -> Result<Request, McpReset> {
        let settings = &self.settings;
        let lists = &settings.lists;
        Ok(match begin {
            McpBeginEx::Lifecycle(_) if self.sessions.len() >= settings.sessions_max => {
                return Err(McpReset::new(
                    McpResetKind::Unavailable,
                    format!(
                        "There are {} sessions already, the limit; end one first.",
                        settings.sessions_max
                    ),
                ));
            }
            McpBeginEx::Lifecycle(_) => Request::Lifecycle,
            McpBeginEx::ToolsList(_) => {
                Request::List(reply(McpToolsList::default()), lists.tools.clone())
            }
            McpBeginEx::ResourcesList(_) => {
                Request::List(reply(McpResourcesList::default()), lists.resources.clone())
            }
            McpBeginEx::ResourcesTemplatesList(_) => Request::List(
                reply(McpResourcesTemplatesList::default()),
                lists.templates.clone(),
            ),
            McpBeginEx::ToolsCall(call) => match Tool::named(&call.name) {
                Some(tool) => Request::Call(Call::new(tool, call, settings.params_bound)?),
                None => {
                    return Err(not_found(format!(
                        "There is no tool '{}'; the tools are '{}' and '{}'.",
                        shown(&call.name),
                        tools::PUBLISH,
                        tools::RECEIVE
                    )));
                }
            },
            McpBeginEx::ResourcesRead(read) => Request::Read {
                topic: uri::topic_to_read(&settings.subscribe, &settings.limits, &read.uri)?,
                uri: read.uri,
            },
            McpBeginEx::ResourcesSubscribe(subscribe) => Request::Subscribe {
                filter: uri::filter_to_watch(
                    &settings.subscribe,
                    &settings.limits,
                    &subscribe.uri,
                )?,
                uri: subscribe.uri,
            },
            McpBeginEx::PromptsList(_) | McpBeginEx::PromptsGet(_) => {
                return Err(not_found("There are no prompts here."));
            }
            McpBeginEx::CompletionComplete(_) => {
                return Err(not_found("There is nothing to complete here."));
            }
        })
    }

    /// Starts the work that a request asks for.
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
        let (begin, work) = match request {
            Request::Lifecycle => {
                let identity = cx.mint_identity();
                self.sessions.insert(identity.clone(), index);
                let begin = reply(session::begin(identity.clone()));
                (begin, Work::Session(identity))
            }
            Request::List(begin, list) => {
                answer = Some(Answer::ok(Parts::from(list)));
                (begin, Work::Answered)
            }
            Request::Call(call) => (reply(McpToolsCall::default()), Work::Call(call)),
            Request::Read { uri, topic } => {
                let shared = topic.is_shared();
                let limit = u32::from(shared);
                open = Some(subscribe::begin(session.clone(), topic.text(), limit));
                within = Some(self.settings.read_timeout);
                (
                    reply(McpResourcesRead::default()),
                    Work::Read(Read::new(uri, topic.text(), shared, bound)),
                )
            }
            Request::Subscribe { uri, filter } => {
                open = Some(subscribe::begin(session.clone(), filter, 0));
                (
                    reply(McpResourcesSubscribe::default()),
                    Work::Subscribe(Subscribe::new(uri)),
                )
            }
        };
        let mut exchange = Exchange::accept(cx, stream, token, begin, operation, work);
        exchange.client_id = session;
        if let Some(within) = within {
            exchange.wait(cx, within, "the first message of a read");
        }
        match (&exchange.work, answer) {
            (_, Some(answer)) => exchange.answer(cx, answer),
            (Work::Session(_), None) => exchange.begin_reply(cx),
            _ => {}
        }
        self.exchanges.insert(exchange);
        if let Some(begin) = open {
            self.open(cx, index, begin);
        }
        index
    }

    /// Opens the session's stream beside its first operation, so that the connection lasts as long
    /// as the session. One that failed is opened anew with the next operation.
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
            // Without it the operation fails by itself or the connection lasts a little shorter.
            let _ = session.open(cx, self.exit, begin);
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
            && let Err(error) = exchange.open(cx, self.exit, begin)
        {
            let step = exchange.work.failed(&Failure::new(error.to_string()));
            exchange.apply(cx, step);
        }
    }

    /// The params of a call are complete.
    fn call(&mut self, cx: &mut Context<'_>, index: usize, params: Params) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let Work::Call(call) = &mut exchange.work else {
            return;
        };
        let settings = &self.settings;
        let refusal = match call.tool {
            Tool::Publish => {
                match publication(params, &call.header, &settings.publish, &settings.limits) {
                    Ok(publication) => {
                        let begin = publication.begin(exchange.client_id.clone());
                        exchange.work = Work::Publish(Publish::new(publication, settings.expiry));
                        return self.open(cx, index, begin);
                    }
                    Err(refusal) => refusal,
                }
            }
            Tool::Receive => {
                match reception(params, &call.header, &settings.subscribe, &settings.limits) {
                    Ok(reception) => {
                        let begin = reception.begin(exchange.client_id.clone());
                        exchange.wait(cx, reception.timeout, "the messages to receive");
                        let receive = Receive::new(reception, settings.result_bound);
                        exchange.work = Work::Receive(Box::new(receive));
                        return self.open(cx, index, begin);
                    }
                    Err(refusal) => refusal,
                }
            }
        };
        exchange.apply(
            cx,
            match refusal {
                Refusal::Tool(sentence) => Step::Answer(Answer::tool_error(&sentence)),
                Refusal::Reset(reset) => Step::Refuse(reset),
            },
        );
    }

    fn on_caller(&mut self, cx: &mut Context<'_>, stream: StreamId, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                // What an operation needs of its params, beside a call, is in its BEGIN.
                if let Work::Call(call) = &mut exchange.work {
                    match call.add(data) {
                        Ok(Some(params)) => self.call(cx, index, params),
                        Ok(None) => {}
                        Err(reset) => exchange.refuse(cx, reset),
                    }
                }
            }
            Frame::End(_) => {
                exchange.caller_ended();
                match &mut exchange.work {
                    Work::Call(call) => {
                        let params = call.take();
                        self.call(cx, index, params);
                    }
                    // What has come is the answer.
                    Work::Receive(receive) => {
                        let step = receive.enough();
                        exchange.apply(cx, step);
                    }
                    Work::Subscribe(_) => exchange.leave(cx),
                    Work::Session(identity) => {
                        self.sessions.remove(identity);
                        exchange.leave(cx);
                    }
                    Work::Publish(_) | Work::Read(_) | Work::Leaving | Work::Answered => {}
                }
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                if let Work::Session(identity) = &exchange.work {
                    self.sessions.remove(identity);
                }
                exchange.cancel(cx);
            }
            Frame::Window(_) => exchange.flush_reply(cx),
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    fn on_mqtt(&mut self, cx: &mut Context<'_>, stream: StreamId, index: usize, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let step = match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(begin) => exchange.work.begun(&begin),
                _ => Step::Wait,
            },
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                exchange.work.data(data)
            }
            Frame::End(_) => {
                let step = exchange.work.ended();
                exchange.mqtt_ended(cx);
                step
            }
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| reason(*reset));
                exchange.mqtt_failed(cx, reset)
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Mqtt(reset) => Some(reset),
                    _ => None,
                });
                exchange.mqtt_failed(cx, reset)
            }
            Frame::Window(_) => {
                exchange.flush_publish(cx);
                Step::Wait
            }
            Frame::Flush(_) | Frame::Challenge(_) => Step::Wait,
        };
        exchange.apply(cx, step);
    }

    /// Counts how an exchange has come out, and forgets it when its streams are over.
    fn settle(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let Some(outcome) = exchange.take_outcome() {
            self.counts.add(exchange.operation, outcome);
        }
        if exchange.is_over(cx) {
            self.exchanges.remove(index);
        }
    }
}

/// A reply BEGIN.
fn reply(begin: impl Into<BeginEx>) -> Pooled<BeginEx> {
    Pooled::new(begin.into())
}

fn not_found(message: impl Into<ByteString>) -> McpReset {
    McpReset::new(McpResetKind::NotFound, message)
}

fn reason(reset: ResetEx) -> Option<MqttReset> {
    match reset {
        ResetEx::Mqtt(reset) => Some(reset),
        _ => None,
    }
}

/// What is refused while the engine stops.
fn stopping() -> McpReset {
    let why = "tidegate is about to stop; try again later.";
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
        // A stream of another protocol is not accepted, which resets it.
        let BeginEx::Mcp(begin) = begin else {
            return;
        };
        let session = match &begin {
            McpBeginEx::Lifecycle(_) => None,
            begin => begin.session_id().cloned(),
        };
        let request = if cx.stopping() {
            Err(stopping())
        } else {
            self.request(begin)
        };
        match request {
            Ok(request) => {
                let index = self.start(cx, stream, request, session);
                self.settle(cx, index);
            }
            Err(reset) => {
                self.refused += 1;
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
            exchange.overdue(cx);
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
                match &exchange.work {
                    Work::Subscribe(subscribe) if !subscribe.confirmed => {
                        exchange.refuse(cx, stopping());
                    }
                    Work::Session(_) | Work::Subscribe(_) => exchange.leave(cx),
                    _ => {
                        let step = exchange.work.stopping();
                        exchange.apply(cx, step);
                    }
                }
            }
            self.settle(cx, index);
        }
        self.sessions.clear();
    }
}
