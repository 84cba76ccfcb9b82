//! Requests that end without a result: their time is over, or the gateway stops.

use tidegate_engine::{Context, Duration, TimerId};

use crate::exchange::Phase;
use crate::failure::{Executed, Failure, Reason};
use crate::proxy::{MqttMcp, exchange_token};
use crate::queue::Queue;
use crate::refusals::stopping;
use crate::request::Envelope;
use crate::restore::interrupted;
use crate::subscription::Receipt;

/// The kind of the timer of exchanges.
pub(crate) const DUE: u32 = 2;
/// Time before the end of a shutdown that is left to publish the failures of what still runs.
const TO_ANSWER: Duration = Duration::from_millis(1_000);

impl MqttMcp {
    /// Whether the broker keeps a request that is not acknowledged, so that the next gateway answers it.
    pub(crate) fn is_kept(&self, envelope: &Envelope) -> bool {
        self.subscription.keeps() && !envelope.receipts.is_empty()
    }

    /// The last message that this gateway answers. Acknowledgements have the order of receipt: those of all
    /// before it can be sent only if these are answered too.
    fn last_answered(&self) -> Option<Receipt> {
        let answered = self.exchanges.iter().map(|(_, it)| it);
        let answered = answered.filter(|it| it.phase != Phase::Waiting);
        let answered = answered.flat_map(|it| &it.envelope.receipts);
        let published = self.publications.iter().flat_map(|(_, it)| &it.receipts);
        answered.chain(published).max().copied()
    }

    /// Whether the shutdown leaves a new message to the next gateway.
    pub(crate) fn leaves(&mut self, cx: &Context<'_>, envelope: &Envelope) -> bool {
        let leaves = cx.stopping() && envelope.deadline > cx.now() && self.is_kept(envelope);
        self.has_left |= leaves;
        leaves
    }

    /// Leaves a waiting request to the next gateway, without an answer.
    fn leave(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.try_remove(index) else {
            return;
        };
        if let Some(timer) = exchange.timer {
            cx.cancel(timer);
        }
        if let Some(key) = &exchange.key {
            self.remembered.forget(key);
        }
        self.lanes.cancel(&exchange.envelope.device, index);
        match exchange.stored {
            Some(id) => self.leave_stored(cx, id, exchange.envelope.receipts),
            None => self.has_left = true,
        }
    }

    /// The deadline of a request has passed.
    pub(crate) fn on_due(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        exchange.timer = None;
        cx.work_with(exchange.context.clone());
        let is_ready = self.queue.as_ref().is_none_or(Queue::is_ready);
        let failure = match exchange.phase {
            Phase::Waiting | Phase::Storing if exchange.stored.is_some() && !is_ready => {
                // If the gateway ends before it can write that, the next one executes the request.
                Failure::timed_out("The queue of the gateway could not be written in time.")
            }
            Phase::Waiting => Failure {
                executed: Executed::No,
                ..Failure::timed_out("The request waited for others until its deadline.")
            },
            Phase::Asking => interrupted(),
            Phase::Storing if cx.stopping() => stopping(),
            Phase::Storing => Failure {
                executed: Executed::No,
                ..Failure::timed_out("The request was not stored before its deadline.")
            },
            _ if cx.stopping() && exchange.envelope.deadline > cx.now() => Failure {
                reason: Reason::Stopping,
                ..Failure::lost("The gateway stopped before there was a result.")
            },
            _ => Failure::timed_out("There was no result before the deadline of the request."),
        };
        self.fail(cx, index, &failure, None);
    }

    /// A shutdown: what waits is left to the next gateway or refused, and what runs gets as much time as there is.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {
        self.end_listens(cx);
        if let Some(timer) = self.beginning.take() {
            cx.cancel(timer);
        }
        let last = self.last_answered();
        let indexes: Vec<usize> = self.exchanges.iter().map(|(index, _)| index).collect();
        for index in indexes {
            let is_kept = self.exchanges.get(index);
            let is_kept = is_kept.is_some_and(|it| {
                let comes_after = |receipt: &Receipt| last.is_none_or(|last| *receipt > last);
                it.stored.is_some()
                    || self.is_kept(&it.envelope) && it.envelope.receipts.iter().all(comes_after)
            });
            let Some(exchange) = self.exchanges.get_mut(index) else {
                continue;
            };
            cx.work_with(exchange.context.clone());
            match (exchange.phase, cx.stop_deadline()) {
                (Phase::Asking, _) => self.fail(cx, index, &interrupted(), None),
                (Phase::Waiting, _) if is_kept => self.leave(cx, index),
                (Phase::Waiting, _) => self.fail(cx, index, &stopping(), None),
                (Phase::Storing | Phase::Running, Some(end))
                    if end < exchange.envelope.deadline =>
                {
                    if let Some(timer) = exchange.timer.take() {
                        cx.cancel(timer);
                    }
                    let reason = "the end of the shutdown";
                    let left = end.since(cx.now() + TO_ANSWER);
                    exchange.timer = Some(cx.timer(left, exchange_token(index), DUE, reason));
                }
                _ => {}
            }
        }
    }
}

/// The timer of a request that waits for others.
pub(crate) fn waiting_timer(cx: &mut Context<'_>, index: usize, left: Duration) -> TimerId {
    let reason = "the deadline of a waiting request";
    cx.timer(left, exchange_token(index), DUE, reason)
}
