//! `subscriptions/listen` from its message to its end.

use bytes::Bytes;
use tidegate_engine::{CallContext, Context, StreamId};
use tidegate_jsonrpc::notification::ended;
use tidegate_jsonrpc::{Id, response};
use tidegate_streams::Frame;

use super::listen::{Listen, Next};
use super::listens::Known;
use super::request::Work;
use crate::answer::{Answer, Answers};
use crate::answering::Completion;
use crate::failure::{Failure, Reason, Status};
use crate::proxy::MqttMcp;
use crate::publication::{Notice, Of};
use crate::refusals::not_now;
use crate::remembered;
use crate::request::{Envelope, Fingerprint};

impl MqttMcp {
    /// `subscriptions/listen`: begins it, or renews it.
    pub(crate) fn on_listen(
        &mut self,
        cx: &mut Context<'_>,
        mut envelope: Envelope,
        fingerprint: Fingerprint,
    ) {
        let now = cx.now();
        if let Some(key) = &fingerprint.key {
            let other = self.remembered.find(key, &fingerprint.content, now);
            match self.listens.find(key, &fingerprint.content) {
                Known::Renewed(index) => return self.renew_listen(cx, index, envelope),
                Known::New if other == remembered::Known::New => {}
                Known::New | Known::Other => {
                    return self.refuse(cx, &envelope, &Failure::correlation_reused());
                }
            }
        }
        if self.leaves(cx, &envelope) {
            return;
        }
        if let Some(failure) = not_now(cx, &envelope) {
            return self.refuse(cx, &envelope, &failure);
        }
        let rpc = envelope.rpc.as_mut();
        let work = rpc.map(|rpc| std::mem::replace(&mut rpc.work, Work::None));
        let Some(Work::Listen(wanted)) = work else {
            return;
        };
        if let Some(limit) = self.listens.full(&envelope.device, &wanted) {
            let message = format!("Too many listens ({limit}); end one first.");
            let failure = Failure::rejected(Reason::Busy, message);
            return self.refuse(cx, &envelope, &failure);
        }
        let Some(route) = self.routes.get(envelope.route) else {
            return;
        };
        let call = CallContext {
            deadline: Some(envelope.deadline.min(now + route.timeout)),
            ..cx.call().clone()
        };
        let (exit, listens) = (self.mcp, &mut self.listens);
        let index = listens.begin(cx, exit, envelope, fingerprint, *wanted, call);
        if self
            .listens
            .get_mut(index)
            .is_some_and(|it| it.is_settled())
        {
            self.acknowledge_listen(cx, index);
        }
    }

    fn renew_listen(&mut self, cx: &mut Context<'_>, index: usize, again: Envelope) {
        self.counts.repeated += 1;
        let Some(listen) = self.listens.get_mut(index) else {
            return;
        };
        listen.renew(cx, index, again);
        self.tell_listen(cx, index);
    }

    /// A frame of one of the streams of a listen.
    pub(crate) fn on_listen_frame(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(listen) = self.listens.get_mut(index) else {
            return;
        };
        match listen.on_frame(cx, stream, frame) {
            Next::Nothing => {}
            Next::Acknowledge => self.acknowledge_listen(cx, index),
            Next::Tell => self.tell_listen(cx, index),
            Next::End => self.end_listen(cx, index),
        }
    }

    /// Not all was confirmed in time.
    pub(crate) fn listen_unconfirmed(&mut self, cx: &mut Context<'_>, index: usize) {
        if let Some(listen) = self.listens.get_mut(index) {
            listen.timer_over();
            cx.work_with(listen.context.clone());
            listen.give_up(cx);
            self.acknowledge_listen(cx, index);
        }
    }

    /// All is confirmed or refused: the device is told what the listen tells.
    fn acknowledge_listen(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(listen) = self.listens.get_mut(index) else {
            return;
        };
        let payload = listen.acknowledge(cx, index);
        let receipts = std::mem::take(&mut listen.envelope.receipts);
        let Some(message) = self.listen_message(cx, index, payload) else {
            self.subscription.acknowledge(cx, &receipts);
            self.listens.remove(cx, index);
            return;
        };
        let Some(listen) = self.listens.get_mut(index) else {
            return;
        };
        let completion = Completion {
            status: Status::Done,
            failure: None,
            answer: Some(message.topic()),
        };
        Self::completed(cx, &mut self.counts, &listen.envelope, &completion);
        let notice = Notice::Listen(index, listen.context.trace);
        self.publish_notice(cx, message, notice, receipts);
    }

    /// A notification of a listen.
    fn listen_message(&mut self, cx: &Context<'_>, index: usize, payload: Bytes) -> Option<Answer> {
        let envelope = &self.listens.get_mut(index)?.envelope;
        let route = self.routes.get(envelope.route)?;
        let answers = Answers {
            envelope,
            now: cx.now(),
            remember: self.settings.remember,
        };
        let message = answers.notification(&route.answer, payload);
        message.filter(|it| it.until > cx.now())
    }

    /// Tells the next change.
    fn tell_listen(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(listen) = self.listens.get_mut(index) else {
            return;
        };
        let (trace, next) = (listen.context.trace, listen.next());
        cx.work_with(listen.context.clone());
        let Some(payload) = next else { return };
        // Those of repetitions that came meanwhile.
        let receipts = std::mem::take(&mut listen.envelope.receipts);
        match self.listen_message(cx, index, payload) {
            Some(message) => {
                self.publish_notice(cx, message, Notice::Listen(index, trace), receipts);
            }
            None => self.subscription.acknowledge(cx, &receipts),
        }
    }

    /// A message of a listen was published, or is given up.
    pub(crate) fn listen_told(&mut self, cx: &mut Context<'_>, index: usize, trace: u64) {
        let listen = self.listens.get_mut(index);
        let Some(listen) = listen.filter(|it| it.context.trace == trace) else {
            return;
        };
        listen.told();
        if listen.is_empty() {
            // There is nothing that it could be told of.
            self.end_listen(cx, index);
        } else {
            self.tell_listen(cx, index);
        }
    }

    /// The time of a listen is over.
    pub(crate) fn listen_due(&mut self, cx: &mut Context<'_>, index: usize) {
        if let Some(listen) = self.listens.get_mut(index) {
            listen.timer_over();
            cx.work_with(listen.context.clone());
            self.end_listen(cx, index);
        }
    }

    /// Ends a listen with its response, unless it has expired.
    pub(crate) fn end_listen(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(listen) = self.listens.remove(cx, index) else {
            return;
        };
        cx.work_with(listen.context.clone());
        let Some(route) = self.routes.get(listen.envelope.route) else {
            return;
        };
        let answers = Answers {
            envelope: &listen.envelope,
            now: cx.now(),
            remember: self.settings.remember,
        };
        let answer = answers.response(&route.answer, last(&listen), None);
        let answer = answer.filter(|it| it.until > cx.now());
        self.publish_extra(cx, Of::Nothing, answer, listen.envelope.receipts, None);
    }

    /// The gateway stops: all listens end.
    pub(crate) fn end_listens(&mut self, cx: &mut Context<'_>) {
        for index in self.listens.indexes() {
            self.end_listen(cx, index);
        }
    }
}

/// The response with which a listen ends.
fn last(listen: &Listen) -> Bytes {
    let rpc = listen.envelope.rpc.as_ref();
    let id = rpc.map_or_else(Id::null, |rpc| rpc.id.clone());
    response(&id, &ended(&id))
}
