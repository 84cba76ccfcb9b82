//! What follows when the queue is read at the start: each request is where it was before the gateway ended.
//!
//! | what the queue has | what becomes of it |
//! |---|---|
//! | a request | it is executed, in the order of receipt |
//! | a request whose execution had begun | it is answered as `unknown`; executed again only if its route is idempotent |
//! | an answer that was not delivered | it is published, with what is left of its expiry |
//! | an answer that was delivered | the request is recognised when it comes again |

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::{CallContext, Context};

use crate::answer::Answer;
use crate::events::{QueueRestored, RequestDropped};
use crate::exchange::{Exchange, Phase};
use crate::failure::{Executed, Failure, Reason};
use crate::proxy::{MqttMcp, expired, waiting_timer};
use crate::queue::record::{Answered, Request};
use crate::queue::{Clock, Id, Loaded};
use crate::remembered::Outcome;
use crate::request::{Content, Envelope, Fingerprint, Key, Reader};

impl MqttMcp {
    /// Continues with what the queue has.
    pub(crate) fn restore(&mut self, cx: &mut Context<'_>, loaded: BTreeMap<Id, Loaded>) {
        let mut restored = QueueRestored::default();
        for (id, it) in loaded {
            cx.work_with(CallContext::default());
            if let Some(why) = it.unreadable {
                dropped(cx, "", &why);
                restored.dropped += 1;
            } else if let Some(answer) = it.answer {
                self.restore_answer(cx, id, &answer, it.delivered, &mut restored);
            } else if let Some(request) = it.request {
                self.restore_request(cx, id, &request, it.begun, &mut restored);
            } else if let Some(queue) = &mut self.queue {
                queue.remove(cx, id);
            }
        }
        if restored != QueueRestored::default() {
            cx.event(&restored);
        }
    }

    fn restore_answer(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        answered: &Answered,
        delivered: bool,
        restored: &mut QueueRestored,
    ) {
        let (clock, now) = (Clock::of(cx), cx.now());
        let device = ByteString::from(answered.device.as_str());
        let answer = answered.message.as_ref();
        let answer = answer.map(|it| Answer::of_kept(it, clock));
        let executed = answered.executed().unwrap_or(Executed::Possibly);
        let mut remembered = false;
        if let Some(known) = &answered.known
            && let Ok(content) = Content::try_from(&known.content.bytes()[..])
        {
            let outcome = Outcome {
                device: device.clone(),
                executed,
                answer: answer.clone(),
                until: clock.time(known.until),
                stored: Some(id),
            };
            if outcome.until > now {
                remembered = true;
                let key = Key::new(&known.topic, &known.correlation.bytes());
                self.remembered.begin(key.clone(), content, 0);
                self.remembered.answered(&key, outcome);
            }
        }
        let publishes = answer.filter(|it| !delivered && it.until > now);
        let Some(queue) = &mut self.queue else { return };
        queue.restored(id, remembered);
        if let Some(answer) = publishes {
            restored.answers += 1;
            self.lanes.occupy(&device);
            let context = CallContext {
                trace: cx.mint_trace(),
                ..CallContext::default()
            };
            cx.work_with(context);
            self.publish_restored(cx, answer, device, id);
        } else if delivered && remembered {
            queue.was_delivered(id);
            restored.remembered += 1;
        } else {
            queue.delivered(cx, id);
        }
    }

    fn restore_request(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        request: &Request,
        begun: bool,
        restored: &mut QueueRestored,
    ) {
        let Some((mut envelope, read)) = self.read_restored(cx, request) else {
            dropped(cx, request.topic(), "no route has requests on its topic");
            restored.dropped += 1;
            if let Some(queue) = &mut self.queue {
                queue.remove(cx, id);
            }
            return;
        };
        let route = self.routes.get(envelope.route);
        let idempotent = route.is_some_and(|it| it.idempotent);
        let steps = route.map_or(0, |route| route.steps.len());
        let context = CallContext {
            trace: cx.mint_trace(),
            identity: envelope.identity.as_ref().map(Arc::clone),
            deadline: None,
        };
        cx.work_with(context.clone());
        envelope.received = Clock::of(cx).time(request.received);
        let device = envelope.device.clone();
        let deadline = envelope.deadline;
        let (fingerprint, failure) = match read {
            Ok(fingerprint) if begun && !idempotent => (Some(fingerprint), Some(interrupted())),
            Ok(fingerprint) if deadline <= cx.now() => (Some(fingerprint), Some(expired())),
            Ok(fingerprint) => (Some(fingerprint), None),
            Err(_) if begun => (None, Some(interrupted())),
            Err(failure) => (None, Some(failure)),
        };
        let index = self.exchanges.vacant_key();
        let size = fingerprint.as_ref().map_or(0, |it| it.size);
        let mut exchange = Exchange::new(envelope, None, context, steps);
        if let Some(fingerprint) = fingerprint {
            exchange.content = fingerprint.content;
            if let Some(key) = &fingerprint.key {
                self.remembered
                    .begin(key.clone(), fingerprint.content, index);
            }
            exchange.key = fingerprint.key;
        }
        exchange.stored = Some(id);
        if failure.is_some() {
            // It has its place until the failure is published, so that answers stay in order.
            exchange.phase = Phase::Running;
            self.lanes.occupy(&device);
        } else {
            self.lanes.restore(&device, index, size);
            let left = deadline.since(cx.now());
            exchange.timer = Some(waiting_timer(cx, index, left));
        }
        self.exchanges.insert(exchange);
        if let Some(queue) = &mut self.queue {
            queue.resume(id, index);
        }
        match failure {
            Some(failure) => {
                restored.unknown += 1;
                self.fail(cx, index, &failure, None);
            }
            None => restored.requests += 1,
        }
    }

    /// Reads a request with the routes of the config as it is now. The time for it begins anew.
    fn read_restored(
        &self,
        cx: &Context<'_>,
        request: &Request,
    ) -> Option<(Envelope, Result<Fingerprint, Failure>)> {
        let reader = Reader {
            routes: &self.routes,
            max_payload: self.settings.max_payload,
            now: cx.now(),
            keeps: false,
        };
        let (mut envelope, read) = reader.read(request.message())?;
        envelope.expires = request.expires.map(|it| Clock::of(cx).time(it));
        if let Some(expires) = envelope.expires {
            envelope.deadline = envelope.deadline.min(expires);
        }
        Some((envelope, read))
    }
}

fn dropped(cx: &mut Context<'_>, topic: &str, why: &str) {
    cx.event(&RequestDropped {
        topic: topic.into(),
        reason: why.into(),
    });
}

/// The failure of a request that was being executed when the gateway ended.
fn interrupted() -> Failure {
    let message =
        "The gateway ended while the request was executed; it is not known how far it came.";
    Failure {
        reason: Reason::Interrupted,
        ..Failure::lost(message)
    }
}
