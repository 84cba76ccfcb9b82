//! A raw request from its message to its response.

use tidegate_engine::{CallContext, Context, StreamId};
use tidegate_jsonrpc::notification::{is_from, log, progress};
use tidegate_jsonrpc::{Error, Id, Method, code};
use tidegate_streams::Frame;
use tidegate_streams::mcp::McpFlushEx;

use super::call::{Ill, NOTICES_MAX, Outcome, RawCall, Told, tool_failed};
use super::request::{Rpc, Work};
use super::response;
use crate::answer::Answers;
use crate::answering::remembered_until;
use crate::events::{Counts, Publication as Became, StepCompleted, StepEnd};
use crate::exchange::{Exchange, Phase};
use crate::failure::{Executed, Failure, Reason, Status};
use crate::proxy::{MqttMcp, exchange_token};
use crate::publication::{Notice, Publication};
use crate::remembered::Outcome as Remembered;
use crate::request::{Envelope, Fingerprint};

impl MqttMcp {
    /// A JSON-RPC message that is valid and allowed.
    pub(crate) fn on_rpc(
        &mut self,
        cx: &mut Context<'_>,
        envelope: Envelope,
        fingerprint: Fingerprint,
    ) {
        let work = envelope.rpc.as_ref().map(|rpc| &rpc.work);
        match work {
            Some(Work::Cancel(id)) => {
                let id = id.clone();
                self.on_cancel(cx, &envelope, &fingerprint, &id);
            }
            Some(Work::Listen(_)) => self.on_listen(cx, envelope, fingerprint),
            Some(Work::Operation(_) | Work::Discover) => {
                let key = fingerprint.key.as_ref();
                if key.is_some_and(|key| self.listens.has(key)) {
                    return self.refuse(cx, &envelope, &Failure::correlation_reused());
                }
                self.on_request(cx, envelope, fingerprint);
            }
            Some(Work::None | Work::Nothing) | None => {
                self.counts.ignored += 1;
                self.subscription.acknowledge(cx, &envelope.receipts);
            }
        }
    }

    /// `notifications/cancelled`: the device does not wait for a request any more. Topic and correlation have to be
    /// those of the request.
    fn on_cancel(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &Envelope,
        fingerprint: &Fingerprint,
        id: &Id,
    ) {
        self.subscription.acknowledge(cx, &envelope.receipts);
        let Some(key) = &fingerprint.key else { return };
        if let Some(listen) = self.listens.cancel(cx, key, id) {
            // What was not acknowledged yet would hold up all later messages.
            let receipts = &listen.envelope.receipts;
            return self.subscription.acknowledge(cx, receipts);
        }
        let Some(index) = self.remembered.running(key) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let is_it = exchange
            .envelope
            .rpc
            .as_ref()
            .is_some_and(|it| it.id == *id);
        if !is_it || exchange.phase == Phase::Answering {
            return;
        }
        cx.work_with(exchange.context.clone());
        let failure = Failure {
            status: Status::Failed,
            reason: Reason::Cancelled,
            message: "The device has cancelled the request.".to_owned(),
            executed: exchange.executed(),
        };
        if let Some(mut raw) = exchange.raw.take() {
            raw.cancel(cx);
            Self::raw_completed(cx, &mut self.counts, exchange, &raw, StepEnd::CANCELLED);
        }
        self.answer(cx, index, None, Some(&failure));
    }

    /// Whether an exchange is that of a raw request.
    pub(crate) fn is_raw(&self, index: usize) -> bool {
        let exchange = self.exchanges.get(index);
        exchange.is_some_and(|it| it.envelope.rpc.is_some())
    }

    /// A raw request may run now.
    pub(crate) fn run_raw(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if !matches!(exchange.phase, Phase::Waiting | Phase::Storing) {
            return;
        }
        exchange.phase = Phase::Running;
        let Some(rpc) = &exchange.envelope.rpc else {
            return;
        };
        let context = CallContext {
            deadline: Some(exchange.envelope.deadline),
            ..exchange.context.clone()
        };
        let (token, max) = (exchange_token(index), self.settings.max_result);
        let opened = match &rpc.work {
            Work::Operation(operation) => {
                RawCall::open(cx, self.mcp, token, operation, context, max)
            }
            _ => RawCall::discover(cx, self.mcp, token, context),
        };
        match opened {
            Ok(call) => exchange.raw = Some(Box::new(call)),
            Err(error) => {
                let message = format!("Nothing was called: {error}; retry later.");
                let failure = Failure::rejected(Reason::Busy, message);
                self.fail(cx, index, &failure, None);
            }
        }
    }

    /// A frame of the operation of a raw request.
    pub(crate) fn on_raw(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let call = exchange.raw.as_mut().filter(|it| it.is_of(stream));
        match call.and_then(|call| call.on_frame(cx, frame)) {
            None => {}
            Some(Told::Notice(flush)) => self.on_notice(cx, index, &flush),
            Some(Told::Ended(ended)) => self.raw_ended(cx, index, ended),
        }
    }

    fn raw_ended(&mut self, cx: &mut Context<'_>, index: usize, ended: Result<Outcome, Ill>) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let Some(call) = exchange.raw.take() else {
            return;
        };
        let Some(route) = self.routes.get(exchange.envelope.route) else {
            return;
        };
        let (Some(rules), Some(rpc)) = (&route.raw, &mut exchange.envelope.rpc) else {
            return;
        };
        let instructions = self.discovery.as_ref().and_then(|it| it.instructions());
        let read = match ended {
            Ok(Outcome::Capabilities(exit)) => {
                let offered = rules.capabilities(exit);
                Ok((response::discover(&rpc.id, offered, instructions), None))
            }
            Ok(Outcome::Result(result, end)) => {
                let response = response::result(&rpc.id, call.method, &result, &end, rules);
                let response = response.map(|it| (it, tool_failed(&end)));
                response.ok_or_else(|| {
                    let what = "The result is not a JSON object.";
                    (call.failure(Failure::lost(what)), None)
                })
            }
            Err(ill) => Err(ill),
        };
        match read {
            Ok((payload, failure)) => {
                let end = StepEnd::of(failure.as_ref());
                Self::raw_completed(cx, &mut self.counts, exchange, &call, end);
                cx.work_with(exchange.context.clone());
                let answers = Answers {
                    envelope: &exchange.envelope,
                    now: cx.now(),
                    remember: self.settings.remember,
                };
                let answer = answers.response(&route.answer, payload, failure.as_ref());
                self.answer(cx, index, answer, failure.as_ref());
            }
            Err((failure, error)) => {
                rpc.error = error;
                let end = StepEnd::of(Some(&failure));
                Self::raw_completed(cx, &mut self.counts, exchange, &call, end);
                cx.work_with(exchange.context.clone());
                self.fail(cx, index, &failure, None);
            }
        }
    }

    /// The operation tells something before its result.
    fn on_notice(&mut self, cx: &mut Context<'_>, index: usize, flush: &McpFlushEx) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let (Some(rpc), Some(call)) = (&exchange.envelope.rpc, exchange.raw.as_mut()) else {
            return;
        };
        let payload = notification(rpc, flush);
        let payload = payload.filter(|it| it.len() <= self.settings.max_result);
        let Some(payload) = payload else { return };
        if call.notices >= NOTICES_MAX {
            return self.counts.answer(Became::Dropped);
        }
        let Some(route) = self.routes.get(exchange.envelope.route) else {
            return;
        };
        let answers = Answers {
            envelope: &exchange.envelope,
            now: cx.now(),
            remember: self.settings.remember,
        };
        let Some(mut message) = answers.notification(&route.answer, payload) else {
            return;
        };
        // It is of no use after the response.
        message.ends_by(exchange.envelope.deadline);
        call.notices += 1;
        let notice = Notice::Call(index, exchange.context.trace);
        cx.work_with(exchange.context.clone());
        self.publish_notice(cx, message, notice, Vec::new());
    }

    /// Refuses a valid request, and remembers that: it is not executed when it comes again.
    pub(crate) fn refuse_rpc(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &Envelope,
        fingerprint: Fingerprint,
        failure: &Failure,
    ) {
        let answer = self.refused(cx, envelope, failure);
        let Some(key) = fingerprint.key.filter(|_| envelope.rpc.is_some()) else {
            return;
        };
        let now = cx.now();
        let outcome = Remembered {
            device: envelope.device.clone(),
            executed: failure.executed,
            answer,
            until: remembered_until(envelope, now, self.settings.remember),
            stored: None,
            on_its_way: false,
        };
        self.remembered.refused(&key, fingerprint.content, outcome);
    }

    /// A response is larger than the broker takes: an error is published instead. Returns whether it is.
    pub(crate) fn replace_response(
        &mut self,
        cx: &mut Context<'_>,
        publication: &mut Publication,
    ) -> bool {
        let index = publication.exchange();
        let exchange = index.and_then(|index| self.exchanges.get_mut(index));
        let Some(exchange) = exchange else {
            return false;
        };
        let rpc = exchange.envelope.rpc.as_mut();
        let Some(rpc) = rpc.filter(|rpc| !rpc.is_replaced) else {
            return false;
        };
        rpc.is_replaced = true;
        let message = "The response is larger than the broker takes.";
        rpc.error = Some(Error::new(code::INTERNAL_ERROR, message));
        let is_tool = matches!(&rpc.work, Work::Operation(it) if it.method == Method::ToolsCall);
        let executed = if is_tool { Executed::Yes } else { Executed::No };
        let failure = Failure {
            status: Status::Failed,
            reason: Reason::TooLarge,
            message: message.to_owned(),
            executed,
        };
        let Some(route) = self.routes.get(exchange.envelope.route) else {
            return false;
        };
        let (now, remember) = (cx.now(), self.settings.remember);
        let answers = Answers {
            envelope: &exchange.envelope,
            now,
            remember,
        };
        let answer = answers.failed(&route.failure, &failure, None);
        let Some(answer) = answer.filter(|it| it.until > now) else {
            return false;
        };
        let (key, stored) = (exchange.key.clone(), exchange.stored);
        let outcome = key.as_ref().map(|_| Remembered {
            device: exchange.envelope.device.clone(),
            executed,
            answer: Some(answer.clone()),
            until: remembered_until(&exchange.envelope, now, remember),
            stored,
            on_its_way: true,
        });
        let of = index.unwrap_or_default();
        let write = self.store_answer(cx, of, executed, Some(&answer), outcome.as_ref());
        if let (Some(key), Some(outcome)) = (&key, outcome) {
            self.remembered.replace(key, outcome);
        }
        cx.work_with(publication.context.clone());
        let receipts = std::mem::take(&mut publication.receipts);
        self.publish_for(cx, answer, publication.of, receipts, stored.zip(write));
        true
    }

    /// A notice was published, or is given up.
    pub(crate) fn told(&mut self, cx: &mut Context<'_>, notice: Notice, is_lost: bool) {
        match notice {
            Notice::Call(index, trace) => {
                let exchange = self.exchanges.get_mut(index);
                let exchange = exchange.filter(|it| it.context.trace == trace);
                if let Some(call) = exchange.and_then(|it| it.raw.as_mut()) {
                    call.notices = call.notices.saturating_sub(1);
                }
            }
            Notice::Listen(index, trace) => self.listen_told(cx, index, trace),
            Notice::Discovery => self.announced(cx, is_lost),
        }
    }

    /// Counts an operation that has ended, and emits its event.
    pub(crate) fn raw_completed(
        cx: &mut Context<'_>,
        counts: &mut Counts,
        exchange: &Exchange,
        call: &RawCall,
        end: StepEnd,
    ) {
        let duration = cx.now().since(call.begun);
        counts.step(end.outcome, duration);
        cx.work_with(call.context.clone());
        let method = call.method.name();
        cx.event_with(|_| StepCompleted {
            tool: match call.method {
                Method::ToolsCall => call.subject.clone(),
                _ => method.into(),
            },
            topic: exchange.envelope.topic.clone(),
            device: exchange.envelope.device.clone(),
            step: method.into(),
            request: format!("{:016x}", exchange.context.trace).into(),
            outcome: end.word.into(),
            duration: duration.as_millis(),
            duration_micros: duration.as_micros(),
        });
    }
}

/// The notification for a FLUSH of the exit, if the client wants it.
fn notification(rpc: &Rpc, flush: &McpFlushEx) -> Option<bytes::Bytes> {
    match (flush, &rpc.progress, rpc.level) {
        (McpFlushEx::Progress(told), Some(token), _) => Some(progress(token, told)),
        (McpFlushEx::Log(told), _, Some(least)) if is_from(told, least) => Some(log(told)),
        _ => None,
    }
}
