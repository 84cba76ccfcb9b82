//! What follows when the outcome of a request is known: its answer is made, remembered, counted and
//! published.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::{Context, Duration, StreamId, Time};
use tidegate_streams::{Frame, shown};

use crate::answer::{Answer, Answers};
use crate::events::{
    AnswerLost, Counts, Progress as ProgressOutcome, Publication as Outcome, RequestCompleted,
    StepEnd,
};
use crate::exchange::Phase;
use crate::failure::{Executed, Failure, Reason, Status};
use crate::proxy::{MqttMcp, publication_token};
use crate::publication::{Notice, Of, Publication, Published};
use crate::queue::Id;
use crate::remembered;
use crate::request::{Envelope, correlation_text};
use crate::subscription::Receipt;
use crate::triggers::Triggers;

/// Most refusals and repeated answers on their way. A further one is not sent. Failures of requests that waited
/// have a limit of their own, `maxWaiting`: a crowd of refusals does not make them be lost.
pub(crate) const EXTRA_MAX: usize = 1_000;
/// Most messages about progress on their way. A further one is not sent.
const PROGRESS_MAX: usize = 1_000;
/// Longest time for which a request is remembered, also if its message expires later: a day.
pub(crate) const REMEMBER_MAX: Duration = Duration::from_secs(86_400);

/// How a request ended, for its event and the meters.
pub(crate) struct Completion<'a> {
    pub(crate) status: Status,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) answer: Option<&'a ByteString>,
}

impl MqttMcp {
    /// All tools succeeded.
    pub(crate) fn succeed(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get(index) else {
            return;
        };
        let Some(route) = self.routes.get(exchange.envelope.route) else {
            return;
        };
        let answers = Answers {
            envelope: &exchange.envelope,
            now: cx.now(),
            remember: self.settings.remember,
        };
        let results = exchange.results(route);
        match answers.done(&route.answer, exchange.variables(), &results) {
            Ok(answer) => self.answer(cx, index, answer, None),
            Err(failure) => self.fail(cx, index, &failure, None),
        }
    }

    /// A request failed.
    pub(crate) fn fail(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        failure: &Failure,
        result: Option<&Bytes>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let failure = match &exchange.raw {
            Some(raw) => raw.failure(failure.clone()),
            None => failure.clone().after(exchange.executed()),
        };
        let cancelled = exchange.cancel_calls(cx);
        let raw = exchange.raw.take();
        let Some(route) = self.routes.get(exchange.envelope.route) else {
            return;
        };
        exchange.envelope.variables = exchange.variables().clone();
        let end = match failure.reason {
            Reason::TimedOut => StepEnd::of(Some(&failure)),
            _ => StepEnd::CANCELLED,
        };
        for (step, call) in &cancelled {
            let step = route.steps.get(*step).map_or("", |step| &*step.name);
            Self::call_completed(cx, &mut self.counts, exchange, step, call, end);
        }
        if let Some(mut raw) = raw {
            raw.cancel(cx);
            Self::raw_completed(cx, &mut self.counts, exchange, &raw, end);
        }
        let answers = Answers {
            envelope: &exchange.envelope,
            now: cx.now(),
            remember: self.settings.remember,
        };
        let answer = answers.failed(&route.failure, &failure, result);
        self.answer(cx, index, answer, Some(&failure));
    }

    /// The answer of a request is known.
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        answer: Option<Answer>,
        failure: Option<&Failure>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let Some(timer) = exchange.timer.take() {
            cx.cancel(timer);
        }
        cx.work_with(exchange.context.clone());
        let now = cx.now();
        if failure.is_some_and(Failure::may_be_repeated) {
            withdraw(&mut self.triggers, &exchange.envelope);
        }
        let executed = failure.map_or(Executed::Yes, |it| it.executed);
        let mut outcome = None;
        if let Some(key) = &exchange.key {
            // A device that speaks MCP is told the same each time (specs/mcp-over-mqtt5.md, 5).
            if executed == Executed::No && exchange.envelope.rpc.is_none() {
                self.remembered.forget(key);
            } else {
                let until = remembered_until(&exchange.envelope, now, self.settings.remember);
                outcome = Some(remembered::Outcome {
                    device: exchange.envelope.device.clone(),
                    executed,
                    answer: answer.clone(),
                    until,
                    stored: exchange.stored,
                    on_its_way: answer.as_ref().is_some_and(|it| it.until > now),
                });
            }
        }
        // After the expiry of the request nobody waits for its answer.
        let answer = answer.filter(|it| it.until > now);
        let write = self.store_answer(cx, index, executed, answer.as_ref(), outcome.as_ref());
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let (Some(key), Some(outcome)) = (&exchange.key, outcome) {
            self.remembered.answered(key, outcome);
        }
        let completion = Completion {
            status: failure.map_or(Status::Done, |it| it.status),
            failure,
            answer: answer.as_ref().map(Answer::topic),
        };
        let waited = exchange.phase == Phase::Waiting;
        if waited {
            self.lanes.cancel(&exchange.envelope.device, index);
        }
        exchange.phase = Phase::Answering;
        Self::completed(cx, &mut self.counts, &exchange.envelope, &completion);
        let stored = exchange.stored.zip(write);
        match answer {
            Some(answer) if !waited => {
                let receipts = std::mem::take(&mut exchange.envelope.receipts);
                self.publish_for(cx, answer, Of::Exchange(index), receipts, stored);
            }
            // A request that is not answered, or never ran, is done with.
            answer => {
                let exchange = self.exchanges.remove(index);
                if !waited {
                    self.lanes.leave(&exchange.envelope.device);
                }
                let of = Of::Waited;
                self.publish_extra(cx, of, answer, exchange.envelope.receipts, stored);
            }
        }
    }

    /// Refuses a message before it becomes a request.
    pub(crate) fn refuse(&mut self, cx: &mut Context<'_>, envelope: &Envelope, failure: &Failure) {
        let _ = self.refused(cx, envelope, failure);
    }

    /// Refuses a message before it becomes a request. Returns the answer.
    pub(crate) fn refused(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &Envelope,
        failure: &Failure,
    ) -> Option<Answer> {
        let route = self.routes.get(envelope.route)?;
        let now = cx.now();
        let answers = Answers {
            envelope,
            now,
            remember: self.settings.remember,
        };
        let answer = answers.failed(&route.failure, failure, None);
        let answer = answer.filter(|it| it.until > now);
        if failure.may_be_repeated() {
            withdraw(&mut self.triggers, envelope);
        }
        let completion = Completion {
            status: failure.status,
            failure: Some(failure),
            answer: answer.as_ref().map(Answer::topic),
        };
        Self::completed(cx, &mut self.counts, envelope, &completion);
        self.publish_extra(
            cx,
            Of::Nothing,
            answer.clone(),
            envelope.receipts.clone(),
            None,
        );
        answer
    }

    /// Answers a request that came again as before.
    pub(crate) fn repeat(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &Envelope,
        answer: Option<Answer>,
        stored: Option<Id>,
    ) {
        self.counts.repeated += 1;
        let now = cx.now();
        let answer = answer.map(|mut answer| {
            answer.again(envelope, now, self.settings.remember);
            answer
        });
        let answer = answer.filter(|it| it.until > now);
        cx.event_with(|_| RequestCompleted {
            outcome: "repeated".into(),
            decision: "allowed".into(),
            answer: answer
                .as_ref()
                .map_or_else(ByteString::new, |it| it.topic().clone()),
            ..about(envelope)
        });
        // What is told must hold after a crash too.
        let queue = self.queue.as_ref();
        let unstored = queue.zip(stored).and_then(|(queue, id)| {
            let number = queue.unstored_answer(id)?;
            Some((id, number))
        });
        self.publish_extra(cx, Of::Nothing, answer, envelope.receipts.clone(), unstored);
    }

    /// Counts a request that ended, and emits its event.
    pub(crate) fn completed(
        cx: &mut Context<'_>,
        counts: &mut Counts,
        envelope: &Envelope,
        completion: &Completion<'_>,
    ) {
        let duration = cx.now().since(envelope.received);
        counts.request(completion.status, duration);
        cx.event_with(|_| {
            let failure = completion.failure;
            let executed = failure.map_or(Executed::Yes, |it| it.executed);
            let refused = completion.status == Status::Rejected;
            RequestCompleted {
                decision: if refused { "refused" } else { "allowed" }.into(),
                outcome: completion.status.word().into(),
                reason: failure.map_or("", |it| it.reason.word()).into(),
                message: failure.map_or("", |it| &it.message).into(),
                executed: executed.word().into(),
                answer: completion.answer.cloned().unwrap_or_default(),
                duration: duration.as_millis(),
                duration_micros: duration.as_micros(),
                ..about(envelope)
            }
        });
    }

    /// Publishes an answer that no running request waits for. Without one, or if too many wait, the
    /// messages are acknowledged at once. One that is stored is always published: `queue` bounds them.
    pub(crate) fn publish_extra(
        &mut self,
        cx: &mut Context<'_>,
        of: Of,
        answer: Option<Answer>,
        receipts: Vec<Receipt>,
        stored: Option<(Id, u64)>,
    ) {
        let Some(answer) = answer else {
            return self.subscription.acknowledge(cx, &receipts);
        };
        let crowd = match of {
            Of::Waited => &mut self.waited,
            _ => &mut self.extra,
        };
        if crowd.is_full() && stored.is_none() {
            self.counts.answer(Outcome::Dropped);
            // A device chooses how often this happens.
            if crowd.is_newly_full() {
                let reason = format!(
                    "{} others that no running request waits for are on their way; further ones are only counted",
                    crowd.max()
                );
                cx.event(&AnswerLost {
                    topic: answer.topic().clone(),
                    reason: reason.into(),
                });
            }
            return self.subscription.acknowledge(cx, &receipts);
        }
        crowd.enter();
        self.publish_for(cx, answer, of, receipts, stored);
    }

    /// Publishes a message about the progress of a request, unless too many wait.
    pub(crate) fn publish_progress(&mut self, cx: &mut Context<'_>, message: Answer) {
        if self.progress >= PROGRESS_MAX {
            return self.counts.progress(ProgressOutcome::Dropped);
        }
        self.progress += 1;
        self.publish_for(cx, message, Of::Nothing, Vec::new(), None);
    }

    /// Publishes a message that is not an answer.
    pub(crate) fn publish_notice(
        &mut self,
        cx: &mut Context<'_>,
        answer: Answer,
        notice: Notice,
        receipts: Vec<Receipt>,
    ) {
        self.publish_for(cx, answer, Of::Notice(notice), receipts, None);
    }

    /// Publishes a message. One that is stored, as the write of this number, waits for the disk.
    pub(crate) fn publish_for(
        &mut self,
        cx: &mut Context<'_>,
        mut answer: Answer,
        of: Of,
        receipts: Vec<Receipt>,
        stored: Option<(Id, u64)>,
    ) {
        answer.stamp(&mut self.clock, cx);
        let entry = self.publications.vacant_entry();
        let index = entry.key();
        let token = publication_token(index);
        // A broker that refuses each message must not hold a place for as long as a device chooses.
        let end = answer.until.min(cx.now() + self.settings.remember);
        let context = cx.call().clone();
        let mut publication = Publication::new(answer, end, token, of, receipts, context);
        if let (Some((id, number)), Some(queue)) = (stored, &mut self.queue) {
            publication.stored = Some(id);
            publication.held = queue.wait(number, index);
        }
        if let Of::Exchange(exchange) = of
            && let Some(exchange) = self.exchanges.get_mut(exchange)
        {
            exchange.publication = Some(index);
        }
        let publication = entry.insert(publication);
        if publication.held {
            return;
        }
        if let Some(published) = publication.open(cx, self.mqtt) {
            self.published(cx, index, published);
        }
    }

    /// An answer is stored: its request needs no broker any more to be kept, and it is published.
    pub(crate) fn publish_held(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(publication) = self.publications.get_mut(index) else {
            return;
        };
        if !std::mem::take(&mut publication.held) {
            return;
        }
        let receipts = std::mem::take(&mut publication.receipts);
        self.subscription.acknowledge(cx, &receipts);
        cx.work_with(publication.context.clone());
        if let Some(published) = publication.open(cx, self.mqtt) {
            self.published(cx, index, published);
        }
    }

    /// Publishes an answer of the queue, in the place that its device had before the gateway ended, or without one.
    pub(crate) fn publish_restored(
        &mut self,
        cx: &mut Context<'_>,
        answer: Answer,
        device: Option<ByteString>,
        id: Id,
    ) {
        if device.is_none() {
            self.extra.enter();
        }
        let entry = self.publications.vacant_entry();
        let index = entry.key();
        let end = answer.until.min(cx.now() + self.settings.remember);
        let token = publication_token(index);
        let context = cx.call().clone();
        let of = Of::Nothing;
        let mut publication = Publication::new(answer, end, token, of, Vec::new(), context);
        publication.stored = Some(id);
        publication.place = device;
        let publication = entry.insert(publication);
        if let Some(published) = publication.open(cx, self.mqtt) {
            self.published(cx, index, published);
        }
    }

    /// A frame of a publish stream.
    pub(crate) fn on_publication(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(publication) = self.publications.get_mut(index) else {
            return;
        };
        let failures = publication.failures;
        let published = publication.on_frame(cx, stream, frame);
        if publication.failures > failures {
            self.counts.answer(Outcome::Retried);
        }
        if let Some(published) = published {
            self.published(cx, index, published);
        }
    }

    pub(crate) fn on_publication_timer(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(publication) = self.publications.get_mut(index) else {
            return;
        };
        cx.work_with(publication.context.clone());
        if let Some(published) = publication.on_timer(cx, self.mqtt) {
            self.published(cx, index, published);
        }
    }

    /// A publication ended.
    pub(crate) fn published(&mut self, cx: &mut Context<'_>, index: usize, published: Published) {
        let Some(mut publication) = self.publications.try_remove(index) else {
            return;
        };
        publication.close(cx);
        if publication.is_too_large && self.replace_response(cx, &mut publication) {
            return;
        }
        let is_progress = publication.answer().is_progress();
        let is_lost = matches!(published, Published::Lost(_));
        let now = cx.now();
        let mut is_kept = false;
        let mut again = None;
        if let (Some(id), Some(queue)) = (publication.stored, &mut self.queue) {
            // The next gateway publishes it; or this one goes on, without a place for it.
            let is_late = publication.is_late(now);
            is_kept = is_lost && publication.answer().until > now && (cx.stopping() || is_late);
            again = (is_kept && !cx.stopping()).then_some(id);
            if !is_kept {
                queue.delivered(cx, id);
                self.remembered.delivered(id);
            }
        }
        match published {
            _ if is_kept => {}
            Published::Acknowledged if is_progress => {
                self.counts.progress(ProgressOutcome::Published);
            }
            Published::Lost(_) if is_progress => self.counts.progress(ProgressOutcome::Dropped),
            Published::Acknowledged => self.counts.answer(Outcome::Published),
            Published::Lost(reason) => {
                self.counts.answer(Outcome::Lost);
                cx.work_with(publication.context.clone());
                cx.event(&AnswerLost {
                    topic: publication.answer().topic().clone(),
                    reason: reason.into(),
                });
            }
        }
        self.subscription.acknowledge(cx, &publication.receipts);
        match publication.of {
            Of::Notice(notice) => return self.told(cx, notice, is_lost),
            Of::Waited => self.waited.leave(),
            Of::Nothing if is_progress => self.progress = self.progress.saturating_sub(1),
            Of::Nothing if publication.place.is_some() => {
                if let Some(device) = &publication.place {
                    self.lanes.leave(device);
                }
            }
            Of::Nothing => self.extra.leave(),
            Of::Exchange(index) => {
                if let Some(exchange) = self.exchanges.try_remove(index) {
                    self.lanes.leave(&exchange.envelope.device);
                }
            }
        }
        if let Some(id) = again {
            cx.work_with(publication.context.clone());
            self.publish_restored(cx, publication.answer().clone(), None, id);
        }
    }
}

/// Until when a request is remembered: the device may ask again after the expiry of its message.
pub(crate) fn remembered_until(envelope: &Envelope, now: Time, remember: Duration) -> Time {
    let least = now + remember;
    let until = envelope.expires.map_or(least, |it| it.max(least));
    until.min(now + REMEMBER_MAX)
}

/// The condition of a request is not used up.
fn withdraw(triggers: &mut Triggers, envelope: &Envelope) {
    if let Some(request) = envelope.trigger {
        triggers.withdraw(envelope.route, &envelope.topic, request);
    }
}

/// What an event says about any request.
fn about(envelope: &Envelope) -> RequestCompleted {
    let correlation = match (&envelope.correlation, &envelope.id) {
        (Some(data), _) => correlation_text(data),
        (None, Some(id)) => id.to_string().into(),
        (None, None) => Cow::default(),
    };
    RequestCompleted {
        topic: envelope.topic.clone(),
        device: envelope.device.clone(),
        correlation: shown(&correlation).as_ref().into(),
        ..RequestCompleted::default()
    }
}
