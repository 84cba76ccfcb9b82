//! Messages of routes with a condition: which of them are requests, and what becomes of the others.

use tidegate_engine::Context;

use crate::exchange::Phase;
use crate::failure::Failure;
use crate::proxy::MqttMcp;
use crate::publication::Of;
use crate::request::{Envelope, Fingerprint, RECEIPTS_MAX};

impl MqttMcp {
    /// Whether a message of a route with a condition meets it.
    pub(crate) fn is_request(
        &mut self,
        cx: &Context<'_>,
        envelope: &mut Envelope,
    ) -> Result<bool, Failure> {
        let Some(route) = self.routes.get(envelope.route) else {
            return Ok(false);
        };
        let Some(trigger) = &route.trigger else {
            return Ok(true);
        };
        let (topic, variables) = (&envelope.topic, &envelope.variables);
        let triggers = &mut self.triggers;
        let request = triggers.is_request(envelope.route, trigger, topic, variables, cx.now())?;
        envelope.trigger = request;
        Ok(request.is_some())
    }

    /// Whether a message of a route with a condition is a request that is being executed.
    pub(crate) fn is_running(&self, envelope: &Envelope, fingerprint: &Fingerprint) -> bool {
        let route = self.routes.get(envelope.route);
        let key = fingerprint.key.as_ref();
        let key = key.filter(|_| route.is_some_and(|route| route.trigger.is_some()));
        let index = key.and_then(|key| self.remembered.running(key));
        let exchange = index.and_then(|index| self.exchanges.get(index));
        exchange.is_some_and(|it| it.content == fingerprint.content)
    }

    /// A message is not a request. The broker sends what is not acknowledged again when the subscription is lost, so
    /// one that says the same as the last request of its topic may be that request: it is acknowledged with it. As it
    /// may be another message as well, nothing else of it is taken over.
    pub(crate) fn ignore(
        &mut self,
        cx: &mut Context<'_>,
        envelope: Envelope,
        fingerprint: &Fingerprint,
    ) {
        self.counts.ignored += 1;
        let last = self.triggers.last(envelope.route, &envelope.topic);
        let queue = self.queue.as_ref();
        let exchange = last.and_then(|(request, index)| {
            let exchange = self.exchanges.get_mut(index)?;
            let is_it = exchange.envelope.trigger == Some(request)
                && exchange.key == fingerprint.key
                && exchange.content == fingerprint.content;
            is_it.then_some((index, exchange))
        });
        match exchange {
            // The broker keeps it for the next gateway.
            Some(_) if self.has_left && self.subscription.keeps() => {}
            Some((index, exchange)) if exchange.phase == Phase::Answering => {
                let publication = exchange.publication;
                self.acknowledge_with_answer(cx, index, publication, envelope);
            }
            Some((_, exchange)) if !exchange.is_stored(queue) => {
                exchange.envelope.acknowledge_too(envelope.receipts);
            }
            // What the queue has needs no broker.
            Some(_) | None => self.subscription.acknowledge(cx, &envelope.receipts),
        }
    }

    /// The answer of an exchange is on its way: a message is acknowledged with it, unless the queue has it.
    fn acknowledge_with_answer(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        publication: Option<usize>,
        envelope: Envelope,
    ) {
        let publication = publication.and_then(|it| self.publications.get_mut(it));
        let publication = publication.filter(|it| it.of == Of::Exchange(index));
        match publication.filter(|it| it.held || it.stored.is_none()) {
            Some(publication) if publication.receipts.len() < RECEIPTS_MAX => {
                publication.receipts.extend(envelope.receipts);
            }
            _ => self.subscription.acknowledge(cx, &envelope.receipts),
        }
    }
}
