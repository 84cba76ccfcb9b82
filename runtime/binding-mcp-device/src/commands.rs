//! Commands: checked before anything is sent, sent once, and answered by the state of the device.

use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_streams::mcp::McpReset;
use tidegate_streams::mqtt::MqttDelivery;

use crate::approve::Approval;
use crate::control::{Control, ControlArguments, Sending};
use crate::operation::{CallCompleted, Outcome};
use crate::params::Params;
use crate::proxy::McpDevice;
use crate::publication::{Message, Publication};
use crate::registry::Registry;
use crate::report::Report;
use crate::requests::{Begun, RequestKey, fingerprint};
use crate::result::{Answer, Failure};
use crate::state::State;
use crate::target::Target;
use crate::view::Now;

/// How long a call waits for the acknowledgement of a command that no state confirms.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// The exit has the same deadline as the call, and says why it did not answer a moment later.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// Why a call is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A tool error: a sentence for the model.
    Tool(String),
    /// A protocol error.
    Reset(McpReset),
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self::Tool(sentence)
    }
}

/// The command that a call asks for.
#[derive(Debug)]
pub(crate) struct CommandCall {
    pub(crate) target: Target,
    pub(crate) arguments: ControlArguments,
    /// Whether the caller asks for progress.
    pub(crate) progress: bool,
    pub(crate) request: Option<RequestKey>,
}

impl CommandCall {
    /// The answer if nothing was sent.
    pub(crate) fn not_sent(&self, why: &str) -> Answer {
        let command = self.target.parts().map_or("", |(command, _)| &command.name);
        Report::not_sent(&self.target.id, command, why).refusal()
    }

    /// The message of the command, or why there is none.
    fn message(&self, registry: &Registry) -> Result<Message, String> {
        let removed = || "the device was removed; call list_devices.".to_owned();
        let (command, _) = self.target.parts().ok_or_else(removed)?;
        let entry = registry.get(self.target.device).ok_or_else(removed)?;
        let payload = command.message(&self.arguments.arguments);
        let payload = payload.map_err(|error| format!("{error}."))?;
        let seconds = command.expiry.filter(|_| !command.retain);
        Ok(Message {
            topic: entry.topic(&command.topic).as_ref().into(),
            payload: payload.into(),
            qos: command.qos,
            retain: command.retain,
            expiry: seconds.and_then(|it| u32::try_from(it.as_secs()).ok()),
        })
    }
}

impl McpDevice {
    /// The params of a tool that sends commands are complete. `None`: the call waits.
    pub(crate) fn control(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        tool: &str,
        params: Params,
    ) -> Result<Option<Answer>, Refusal> {
        let caller = cx.identity().cloned();
        let caller = caller.as_deref();
        let (arguments, target) = self.target(index, caller, tool, params.arguments)?;
        let Some((command, _)) = target.parts() else {
            return Ok(None);
        };
        let refuse = |why: &str| Some(Report::not_sent(&target.id, &command.name, why).refusal());
        let key = arguments.request.as_deref().map(|id| {
            let session = self
                .exchanges
                .get(index)
                .and_then(|it| it.session.as_deref());
            RequestKey::new(caller, session, id)
        });
        if let Some(key) = &key {
            let print = fingerprint(&target.id, &command.name, &arguments.arguments);
            match self.requests.begin(key, print, index, cx.now()) {
                Begun::First => {}
                Begun::Joined => {
                    self.follow(cx, index, key.clone());
                    return Ok(None);
                }
                Begun::Repeated(answer) => return Ok(Some(answer)),
                Begun::Other => {
                    let why = "this 'requestId' was used for another call within the last minute; use a \
                               new one.";
                    return Ok(refuse(why));
                }
                Begun::Full => {
                    let limit = self.requests.limit();
                    return Ok(refuse(&format!(
                        "{limit} calls with a 'requestId' were made within the last minute (maxRequests); \
                         retry later."
                    )));
                }
            }
        }
        let call = CommandCall {
            target,
            arguments,
            progress: params.progress,
            request: key.clone(),
        };
        let answer = self.run(cx, index, call, params.can_ask);
        if let (Some(answer), Some(key)) = (&answer, &key) {
            self.forget(cx, key, answer);
        }
        Ok(answer)
    }

    /// Checks a command, and sends it or asks a person to approve it. Returns the answer if it is refused.
    fn run(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        call: CommandCall,
        can_ask: bool,
    ) -> Option<Answer> {
        let (_, rule) = call.target.parts()?;
        let approval = rule.approval;
        if let Some(report) = self.check(cx, index, &call) {
            return Some(report.refusal());
        }
        let message = match call.message(&self.registry) {
            Ok(message) => message,
            Err(why) => return Some(call.not_sent(&why)),
        };
        if approval {
            self.ask(cx, index, Approval { call, message }, can_ask)
        } else {
            self.send(cx, index, call, message)
        }
    }

    /// Publishes the message of a command. Returns the answer if that is not possible.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        call: CommandCall,
        message: Message,
    ) -> Option<Answer> {
        let CommandCall {
            target,
            arguments,
            progress,
            request,
        } = call;
        let (command, rule) = target.parts()?;
        let entry = self.registry.get(target.device)?;
        let exchange = self.exchanges.get_mut(index)?;
        let confirm = command.confirm.as_ref();
        let within = confirm.map_or(ACKNOWLEDGED_WITHIN, |confirm| {
            Duration::from_micros(u64::try_from(confirm.within.as_micros()).unwrap_or(u64::MAX))
        });
        let within = exchange.at_most(cx, arguments.timeout.unwrap_or(within));
        let control = Control::new(
            Sending {
                device: target.device,
                entry,
                command,
                arguments: arguments.arguments,
                progress,
                request,
            },
            &self.registry,
            Now::of(cx),
        );
        exchange.about.topic = message.topic.clone();
        if cx.audits::<CallCompleted>() {
            exchange.about.payload = Some(message.payload.clone());
        }
        // The connection subscribes before it publishes.
        self.feed.ensure(cx);
        self.values.ensure(cx);
        let (begin, deadline) = (message.begin(), cx.now() + within);
        let publication = Publication::new(message);
        if let Err(error) = exchange.open(cx, self.exit, begin, Some(publication), deadline) {
            let why = format!("{error}; retry later.");
            return Some(Report::not_sent(&target.id, &command.name, &why).refusal());
        }
        exchange.state = State::Control(Box::new(control));
        exchange.wait(cx, within, "the device's state");
        if progress {
            let message = format!("'{}' was sent to '{}'.", command.name, target.id);
            exchange.progress(cx, "1".to_owned(), Some("3".to_owned()), message);
        }
        if let Some(interval) = rule.interval {
            self.intervals
                .sent(&target.id, &command.name, interval, cx.now());
        }
        self.watch(index, target.device);
        None
    }

    /// Waits for the answer of the first call with the same `requestId`.
    fn follow(&mut self, cx: &mut Context<'_>, index: usize, key: RequestKey) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.state = State::Follow(key);
            if let Some(deadline) = exchange.deadline {
                let left = deadline.since(cx.now());
                exchange.wait(cx, left, "the answer of the first call with this requestId");
            }
        }
    }

    /// The first call with a `requestId` did not send its command.
    pub(crate) fn forget(&mut self, cx: &mut Context<'_>, key: &RequestKey, answer: &Answer) {
        let followers = self.requests.finish(key, None, cx.now());
        self.answer_followers(cx, key, followers, answer);
    }

    /// Answers the repeated calls. One that was cancelled is not there any more.
    fn answer_followers(
        &mut self,
        cx: &mut Context<'_>,
        key: &RequestKey,
        followers: Vec<usize>,
        answer: &Answer,
    ) {
        for index in followers {
            if let Some(exchange) = self.exchanges.get_mut(index)
                && matches!(&exchange.state, State::Follow(followed) if followed == key)
            {
                exchange.work(cx);
                exchange.answer(cx, answer.clone());
                self.settle(cx, index);
            }
        }
    }

    /// Answers a command, and the repeated calls that wait for it.
    fn answer_control(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        answer: impl FnOnce(&Control, &Self, Now) -> Answer,
    ) {
        let now = Now::of(cx);
        let Some(exchange) = self.exchanges.get(index) else {
            return;
        };
        let State::Control(control) = &exchange.state else {
            return;
        };
        let answer = answer(control, self, now);
        let not_sent = answer.outcome == Outcome::NotSent;
        let kept = (!not_sent).then(|| control.kept(&answer));
        let request = control.request.clone();
        if not_sent {
            let (device, command) = control.names();
            let (device, command) = (ByteString::from(device), command.to_owned());
            self.intervals.not_sent(&device, &command);
        }
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.answer(cx, answer.clone());
        }
        if let Some(key) = request {
            let followers = self.requests.finish(&key, kept, cx.now());
            self.answer_followers(cx, &key, followers, &answer);
        }
    }

    fn finish_control(&mut self, cx: &mut Context<'_>, index: usize) {
        self.answer_control(cx, index, |control, this, now| {
            control.finished(&this.registry, now)
        });
    }

    /// A live value of the device of a command.
    pub(crate) fn on_control_value(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        index_of_property: usize,
        payload: &[u8],
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Control(control) = &mut exchange.state else {
            return;
        };
        let Some(entry) = self.registry.get(control.device) else {
            return;
        };
        let properties = &entry.model.device.properties;
        let Some(property) = properties
            .get(index_of_property)
            .filter(|_| control.awaits(index_of_property))
        else {
            return;
        };
        if control.on_value(index_of_property, property, payload) {
            self.answer_control(cx, index, |control, this, now| {
                control.confirmed(&this.registry, now)
            });
        }
    }

    /// The broker acknowledged a command.
    pub(crate) fn control_acknowledged(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Control(control) = &mut exchange.state else {
            return;
        };
        control.acknowledge();
        if control.is_done() {
            return self.finish_control(cx, index);
        }
        if control.progress {
            let (device, _) = control.names();
            let message = format!("The broker has it; waiting for the state of '{device}'.");
            exchange.progress(cx, "2".to_owned(), Some("3".to_owned()), message);
        }
    }

    /// The publication of a command failed.
    pub(crate) fn control_failed(&mut self, cx: &mut Context<'_>, index: usize, failure: &Failure) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        // `mqtt · client` does not deliver a message of which the stream did not send all parts.
        let published = exchange.is_published();
        let State::Control(control) = &mut exchange.state else {
            return;
        };
        if failure.delivery == MqttDelivery::None || !published {
            let why = failure.why.clone();
            return self.answer_control(cx, index, |control, _, _| control.not_sent(&why));
        }
        control.lose(failure.why.clone());
        // The state may still tell that it was delivered.
        if control.is_done() {
            self.finish_control(cx, index);
        }
    }

    /// The time of a command is over.
    pub(crate) fn control_expired(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let published = exchange.is_published();
        let State::Control(control) = &mut exchange.state else {
            return;
        };
        if control.is_in_flight() && !control.expire() {
            return exchange.wait(cx, GRACE, "the exit's reason");
        }
        if control.is_in_flight() {
            exchange.drop_mqtt(cx);
        }
        if published {
            self.finish_control(cx, index);
        } else {
            let why = "the connection to the broker did not take it in time";
            self.answer_control(cx, index, |control, _, _| control.not_sent(why));
        }
    }

    /// The engine is shutting down: waits for the acknowledgement at most.
    pub(crate) fn control_stopping(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let State::Control(control) = &mut exchange.state {
            control.stop();
            if !control.is_in_flight() {
                self.finish_control(cx, index);
            }
        }
    }

    /// The device of a command was removed.
    pub(crate) fn control_withdrawn(&mut self, cx: &mut Context<'_>, index: usize) {
        self.finish_control(cx, index);
    }

    /// The caller cancelled a command, or its exchange failed: repeated calls are told what is known.
    pub(crate) fn control_cancelled(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get(index) else {
            return;
        };
        match &exchange.state {
            State::Control(control) => {
                if let Some(key) = control.request.clone() {
                    let answer = control.cancelled();
                    let kept = Some(answer.clone());
                    let followers = self.requests.finish(&key, kept, cx.now());
                    self.answer_followers(cx, &key, followers, &answer);
                }
            }
            State::Approval(approval) => {
                if let Some(key) = approval.call.request.clone() {
                    let why = "the call that asked a person for approval was cancelled.";
                    let answer = approval.call.not_sent(why);
                    self.forget(cx, &key, &answer);
                }
            }
            _ => {}
        }
    }
}
