//! What follows when the queue is read at the start: each request is where it was before the gateway ended.
//!
//! | what the queue has | what becomes of it |
//! |---|---|
//! | a request | it is executed, in the order of receipt |
//! | a request whose execution had begun | it is answered as `unknown`; executed again only if its route, or the list of its server, says that all its tools are idempotent |
//! | an answer that was not delivered | it is published, with what is left of its expiry |
//! | an answer that was delivered | the request is recognised when it comes again |

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::{CallContext, Context, Duration, StreamId};
use tidegate_jsonrpc::Method;
use tidegate_streams::Frame;

use crate::annotated::Listing;
use crate::answer::Answer;
use crate::answering::REMEMBER_MAX;
use crate::deadline::deadline;
use crate::events::{QueueClock, QueueRestored, RequestDropped};
use crate::exchange::{Exchange, Phase};
use crate::failure::{Executed, Failure, Reason};
use crate::proxy::{MqttMcp, exchange_token};
use crate::queue::record::{Answered, Request};
use crate::queue::{Clock, Id, Loaded, set_back};
use crate::raw::request::Work;
use crate::refusals::expired;
use crate::remembered::Outcome;
use crate::request::{Content, Envelope, Fingerprint, Key, Reader};
use crate::stopping::waiting_timer;

/// Longest time in which a server says whether its tools may be executed again.
const ASK_MAX: Duration = Duration::from_secs(5);

/// What becomes of a request.
enum Fate {
    Run,
    /// It is executed again only if its server says that this does no harm.
    Ask,
    Fail(Failure),
}

impl MqttMcp {
    /// Continues with what the queue has.
    pub(crate) fn restore(&mut self, cx: &mut Context<'_>, loaded: BTreeMap<Id, Loaded>) {
        let seconds = set_back(&loaded, Clock::of(cx)).as_millis() / 1_000;
        if seconds > 0 {
            cx.event(&QueueClock { seconds });
        }
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
        let is_published = !delivered && answer.as_ref().is_some_and(|it| it.until > now);
        let mut remembered = false;
        if let Some(known) = &answered.known
            && let Ok(content) = Content::try_from(&known.content.bytes()[..])
        {
            let outcome = Outcome {
                device: device.clone(),
                executed,
                answer: answer.clone(),
                until: clock.time(known.until).min(now + REMEMBER_MAX),
                stored: Some(id),
                on_its_way: is_published,
            };
            if outcome.until > now {
                remembered = true;
                let caller = known.caller.as_deref().unwrap_or(&answered.device);
                let (topic, correlation) = (&*known.topic, known.correlation.bytes());
                let key = Key::new(topic.into(), correlation, caller.into());
                self.remembered.begin(key.clone(), content, 0);
                self.remembered.answered(&key, outcome);
                if known.evicted {
                    self.remembered.was_lightened(&key);
                }
            }
        }
        let publishes = answer.filter(|_| is_published);
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
            self.publish_restored(cx, answer, Some(device), id);
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
        let fate = match &read {
            Ok(_) if begun && !self.is_idempotent(&envelope) => match envelope.rpc {
                None => Fate::Ask,
                // The device speaks MCP itself, and knows best what to do.
                Some(_) => Fate::Fail(interrupted()),
            },
            Err(_) if begun => Fate::Fail(interrupted()),
            Ok(_) if envelope.deadline <= cx.now() => Fate::Fail(expired()),
            Ok(_) => Fate::Run,
            Err(failure) => Fate::Fail(failure.clone()),
        };
        let context = CallContext {
            trace: cx.mint_trace(),
            identity: envelope.identity.as_ref().map(Arc::clone),
            deadline: None,
        };
        cx.work_with(context.clone());
        envelope.received = Clock::of(cx).time(request.received);
        // Its condition was met when it came: the next message is not the first one.
        let _ = self.is_request(cx, &mut envelope);
        let steps = self.routes.get(envelope.route);
        let steps = steps.map_or(0, |route| route.steps.len());
        let index = self.exchanges.vacant_key();
        let mut exchange = Exchange::new(envelope, None, context, steps);
        exchange.stored = Some(id);
        let mut size = 0;
        if let Ok(fingerprint) = read {
            size = fingerprint.size;
            exchange.content = fingerprint.content;
            if let Some(key) = &fingerprint.key {
                self.remembered
                    .begin(key.clone(), fingerprint.content, index);
            }
            exchange.key = fingerprint.key;
        }
        self.triggers.runs(&exchange.envelope, index);
        self.exchanges.insert(exchange);
        if let Some(queue) = &mut self.queue {
            queue.resume(id, index);
        }
        match fate {
            Fate::Run => {
                restored.requests += 1;
                self.wait_again(cx, index, size);
            }
            Fate::Ask => {
                restored.unknown += 1;
                self.ask_again(cx, index);
            }
            Fate::Fail(failure) => {
                restored.unknown += 1;
                self.occupy(index);
                self.fail(cx, index, &failure, None);
            }
        }
    }

    /// Whether nothing that a request does does harm twice.
    fn is_idempotent(&self, envelope: &Envelope) -> bool {
        if let Some(rpc) = &envelope.rpc {
            return match &rpc.work {
                Work::Operation(operation) => operation.method != Method::ToolsCall,
                _ => true,
            };
        }
        let route = self.routes.get(envelope.route);
        route.is_some_and(|route| route.idempotent)
    }

    /// A request that had not begun waits for its place.
    fn wait_again(&mut self, cx: &mut Context<'_>, index: usize, size: usize) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            self.lanes.restore(&exchange.envelope.device, index, size);
            let left = exchange.envelope.deadline.since(cx.now());
            exchange.timer = Some(waiting_timer(cx, index, left));
        }
    }

    /// A request has its place until its answer is published, so that answers stay in order.
    fn occupy(&mut self, index: usize) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            self.lanes.occupy(&exchange.envelope.device);
            exchange.phase = Phase::Running;
        }
    }

    /// Asks the server of a request that had begun whether its tools may be executed again.
    fn ask_again(&mut self, cx: &mut Context<'_>, index: usize) {
        self.occupy(index);
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        // Half of the time for the request is left for it, or for an answer in time.
        let left = exchange.envelope.deadline.since(cx.now());
        let half = Duration::from_micros(left.as_micros() / 2);
        let end = cx.now() + half.min(ASK_MAX);
        let context = CallContext {
            deadline: Some(end),
            ..exchange.context.clone()
        };
        let listing = Listing::open(cx, self.mcp, exchange_token(index), context);
        let Some(listing) = listing else {
            return self.fail(cx, index, &interrupted(), None);
        };
        exchange.listing = Some(Box::new(listing));
        exchange.phase = Phase::Asking;
        exchange.timer = Some(waiting_timer(cx, index, end.since(cx.now())));
    }

    pub(crate) fn is_asking(&self, index: usize) -> bool {
        let exchange = self.exchanges.get(index);
        exchange.is_some_and(|it| it.phase == Phase::Asking)
    }

    /// A frame of the list of tools.
    pub(crate) fn on_listing(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let listing = exchange.listing.as_mut();
        let Some(listing) = listing.filter(|it| it.is_of(stream)) else {
            return;
        };
        let Some(tools) = listing.on_frame(cx, frame) else {
            return;
        };
        exchange.listing = None;
        cx.work_with(exchange.context.clone());
        let route = self.routes.get(exchange.envelope.route);
        if route.is_some_and(|route| exchange.calls_only(route, &tools)) {
            self.run(cx, index);
        } else {
            self.fail(cx, index, &interrupted(), None);
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
        let mut message = request.message();
        if request.expires.is_some() {
            // A command must have an expiry; which one is set below.
            message.data.expiry_interval = u32::MAX.into();
        }
        let (mut envelope, read) = reader.read(message)?;
        // A clock that was set back does not make it live longer than it was to.
        envelope.expires = request.expires.map(|it| {
            let whole = Duration::from_millis(it.saturating_sub(request.received));
            Clock::of(cx).time(it).min(cx.now() + whole)
        });
        if let Some(expires) = envelope.expires {
            envelope.deadline = deadline(cx.now(), Some(expires), envelope.deadline);
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
pub(crate) fn interrupted() -> Failure {
    let message =
        "The gateway ended while the request was executed; it is not known how far it came.";
    Failure {
        reason: Reason::Interrupted,
        ..Failure::lost(message)
    }
}

#[cfg(test)]
mod tests;
