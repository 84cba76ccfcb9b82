//! The mqtt streams of the binding, on all connections.

use std::num::{NonZeroU16, NonZeroU32};

use slab::Slab;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::topic::TopicFilter;
use tidegate_engine::streams::mqtt::{
    MqttSubscribe, MqttSubscribeData, MqttSubscribeFlags, MqttTopicFilter,
};
use tidegate_engine::{Context, StreamId, Time, TimerId};

use super::failure::Failure;
use super::held::Terms;
use super::inbound::Deliveries;
use super::limits::Limits;
use super::publications::Publication;
use super::subscriptions::{FilterRequest, Recipient};
use crate::codec::ReasonCode;

mod again;
mod beginning;

/// Maximum number of filters of a stream.
const FILTERS: usize = 1_000;

/// An mqtt stream. It is removed when both halves have ended.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// The key of its connection.
    pub(super) connection: usize,
    pub(super) kind: Kind,
    pub(super) opened: Time,
    /// The deadline, until the stream is done or accepted.
    pub(super) deadline: Option<TimerId>,
}

impl Stream {
    /// Cancels the deadline: the stream is done or accepted.
    pub(super) fn clear_deadline(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.deadline.take() {
            cx.cancel(timer);
        }
    }
}

/// The kind of a stream and its state.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "publications come and go, one for each call: a box for each would cost more"
)]
pub(super) enum Kind {
    Session(Session),
    Publish(Publication),
    /// Boxed: much larger than the others.
    Subscribe(Box<Subscriber>),
}

impl Kind {
    /// Whether it is an accepted session or a granted subscription.
    pub(super) const fn is_accepted(&self) -> bool {
        match self {
            Self::Session(session) => session.accepted,
            Self::Subscribe(subscriber) => subscriber.accepted,
            Self::Publish(_) => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) accepted: bool,
}

/// All streams, by the keys in their tokens.
#[derive(Debug, Default)]
pub(super) struct Streams(Slab<Stream>);

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that the next stream will have.
    pub(super) fn vacant_key(&self) -> usize {
        self.0.vacant_key()
    }

    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        self.0.insert(stream)
    }

    pub(super) fn get(&self, key: usize) -> Option<&Stream> {
        self.0.get(key)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Stream> {
        self.0.get_mut(key)
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Stream> {
        self.0.try_remove(key)
    }

    pub(super) fn publication(&mut self, key: usize) -> Option<(StreamId, &mut Publication)> {
        match self.0.get_mut(key)? {
            Stream {
                id,
                kind: Kind::Publish(publication),
                ..
            } => Some((*id, publication)),
            _ => None,
        }
    }

    pub(super) fn subscriber(&mut self, key: usize) -> Option<(StreamId, &mut Subscriber)> {
        match self.0.get_mut(key)? {
            Stream {
                id,
                kind: Kind::Subscribe(subscriber),
                ..
            } => Some((*id, subscriber)),
            _ => None,
        }
    }
}

/// A topic filter that a stream requests.
#[derive(Debug)]
pub(super) struct RequestedFilter {
    /// As the caller sent it.
    original: MqttTopicFilter,
    pub(super) request: FilterRequest,
    /// Index of another filter of the same stream that is subscribed to instead.
    covered_by: Option<usize>,
    /// The broker's answer.
    code: Option<ReasonCode>,
    /// The broker refused it when the stream was accepted: the stream does without it.
    given_up: bool,
    /// The refusal that the caller knows, while it is requested again.
    refused: Option<ReasonCode>,
    /// Not 0 if it was granted after a refusal: of several such filters, the one that was granted first has the
    /// smallest number.
    late: usize,
    /// The reply BEGIN was sent before the answer, and stated the requested `QoS`.
    assumed: bool,
}

impl RequestedFilter {
    /// Whether the broker keeps its messages in a session without a connection, or it needs none.
    fn is_kept(&self) -> bool {
        self.covered_by.is_some() || self.code.is_some_and(|code| code != ReasonCode::SUCCESS)
    }

    fn is_refused(&self) -> bool {
        self.code.is_some_and(ReasonCode::is_error)
    }
}

/// A subscribe stream.
#[derive(Debug)]
pub(super) struct Subscriber {
    filters: Vec<RequestedFilter>,
    /// Maximum number of messages of the whole subscription.
    limit: Option<NonZeroU16>,
    /// The caller acknowledges the messages.
    terms: Option<Terms>,
    /// The reply BEGIN was sent.
    pub(super) begun: bool,
    /// The reply BEGIN was sent, and the broker has answered for all filters.
    pub(super) accepted: bool,
    /// When the connection was lost, until the subscription is restored.
    pub(super) interrupted: Option<Time>,
    /// The limit is reached.
    pub(super) complete: bool,
    pub(super) deliveries: Deliveries,
}

impl Subscriber {
    /// Refuses filters that exceed the limits, and lowers the `QoS` of the others.
    pub(super) fn restrict(&mut self, limits: &Limits) -> Result<(), Failure> {
        for asked in &mut self.filters {
            limits.check_filter(&asked.request.filter)?;
            asked.request.qos = limits.subscription_qos(asked.request.qos);
        }
        Ok(())
    }

    /// Checks the request of a caller. A limit is capped at `limit_max`.
    pub(super) fn new(begin: MqttSubscribe, limit_max: NonZeroU16) -> Result<Self, Failure> {
        let count = begin.filters.len();
        if count == 0 || count > FILTERS {
            let reason =
                format!("Invalid subscription: it has {count} topic filters; use 1 to {FILTERS}.");
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        let floor = begin.qos;
        let asked = begin.filters.into_iter().map(|filter| ask(filter, floor));
        let asked: Vec<RequestedFilter> = asked.collect::<Result<_, _>>()?;
        let limit = NonZeroU32::new(begin.limit)
            .map(|limit| NonZeroU16::try_from(limit).map_or(limit_max, |it| it.min(limit_max)));
        if limit.is_some() {
            check_limited(&asked)?;
        }
        let terms = Terms::new(begin.receive_maximum, begin.session_expiry, limit)?;
        Ok(Self {
            filters: asked,
            limit,
            terms,
            begun: false,
            accepted: false,
            interrupted: None,
            complete: false,
            deliveries: Deliveries::default(),
        })
    }

    /// Maximum number of messages of the whole subscription, if it has a limit.
    pub(super) const fn limit(&self) -> Option<NonZeroU16> {
        self.limit
    }

    /// Set if the caller acknowledges the messages.
    pub(super) const fn terms(&self) -> Option<Terms> {
        self.terms
    }

    /// The filters that still need an answer of the broker, with their indexes.
    pub(super) fn pending_requests(&self) -> impl Iterator<Item = (usize, &FilterRequest)> {
        self.filters
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.covered_by.is_none() && asked.code.is_none())
            .map(|(index, asked)| (index, &asked.request))
    }

    /// Calls `join` for each filter that still needs an answer, with its index, and stores
    /// immediate answers.
    pub(super) fn ask(
        &mut self,
        mut join: impl FnMut(usize, &FilterRequest) -> Option<ReasonCode>,
    ) {
        for (index, asked) in self.filters.iter_mut().enumerate() {
            if asked.covered_by.is_none() && asked.code.is_none() {
                asked.code = join(index, &asked.request);
            }
        }
    }

    /// All filters, with their indexes.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &FilterRequest)> {
        let asked = self.filters.iter().enumerate();
        asked.map(|(index, asked)| (index, &asked.request))
    }

    /// Replaces filters by others of the stream that cover them, if their messages could not be
    /// told apart otherwise, or have the identifiers of an earlier process. An error if filters still overlap.
    pub(super) fn cover(&mut self, identifiers: bool) -> Result<(), Failure> {
        for index in 0..self.filters.len() {
            let by = self.coverer(index, identifiers);
            let Some(asked) = self.filters.get_mut(index) else {
                continue;
            };
            asked.covered_by = by;
            let (qos, retained) = (asked.request.qos, asked.request.retained);
            if let Some(other) = by.and_then(|by| self.filters.get_mut(by)) {
                other.request.qos = other.request.qos.max(qos);
                other.request.retained |= retained;
            }
        }
        if identifiers {
            return Ok(());
        }
        let mut kept = self
            .filters
            .iter()
            .filter(|asked| asked.covered_by.is_none());
        while let Some(one) = kept.next() {
            let filter = &one.request.filter;
            if let Some(other) = kept.clone().find(|it| filter.overlaps(&it.request.filter)) {
                let reason = format!(
                    "The topic filters '{filter}' and '{}' overlap, which needs subscription identifiers, and \
                     the broker does not support them; use a separate subscription for each.",
                    other.request.filter
                );
                return Err(Failure::new(
                    ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                    reason,
                ));
            }
        }
        Ok(())
    }

    /// The index of the filter that replaces the one at `index`: an equal one before it, or one
    /// that covers it.
    fn coverer(&self, index: usize, identifiers: bool) -> Option<usize> {
        let this = &self.filters.get(index)?.request.filter;
        self.filters.iter().enumerate().position(|(at, other)| {
            let filter = &other.request.filter;
            if at == index || other.covered_by.is_some() {
                return false;
            }
            if filter == this {
                return at < index;
            }
            let one_copy = self.terms.is_some() && this.share_name() == filter.share_name();
            let plain = !identifiers && !this.is_shared() && !filter.is_shared();
            (one_copy || plain) && filter.covers(this)
        })
    }

    /// The broker answered for one filter.
    pub(super) fn answer(&mut self, index: usize, code: ReasonCode) {
        if let Some(asked) = self.filters.get_mut(index) {
            asked.code = Some(code);
        }
    }

    /// Whether the broker has answered for all filters.
    pub(super) fn is_answered(&self) -> bool {
        self.pending_requests().next().is_none()
    }

    /// Why the stream is reset after all answers: no filter was granted or, if it was accepted
    /// before, one of its granted filters is refused now.
    pub(super) fn refusal(&self) -> Option<(ReasonCode, &TopicFilter)> {
        let refused = |asked: &&RequestedFilter| asked.is_refused() && !asked.given_up;
        let mut asked = self.filters.iter().filter(|it| it.covered_by.is_none());
        let first = asked.clone().find(refused)?;
        let fails = self.accepted || asked.all(|it| refused(&it));
        fails.then(|| {
            (
                first.code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR),
                &first.request.filter,
            )
        })
    }

    /// The broker has answered for all filters, and granted at least one.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
        let latest = self.filters.iter().map(|asked| asked.late).max();
        for asked in &mut self.filters {
            let is_refused = asked.is_refused();
            if asked.given_up && !is_refused {
                asked.late = latest.unwrap_or(0) + 1;
            }
            asked.given_up = is_refused;
        }
    }

    /// Whether the broker keeps the messages for it while there is no connection, in a session that
    /// is kept: those of `QoS` 1 and 2. It goes on without filters that were refused.
    pub(super) fn is_kept(&self) -> bool {
        let mut needed = self.filters.iter().filter(|asked| !asked.given_up);
        self.accepted && needed.all(RequestedFilter::is_kept)
    }

    /// The filters whose messages the broker does not keep, with their indexes.
    pub(super) fn unkept(&self) -> impl Iterator<Item = (usize, &FilterRequest)> {
        let asked = self.filters.iter().enumerate();
        asked
            .filter(|(_, asked)| !asked.is_kept())
            .map(|(index, asked)| (index, &asked.request))
    }

    /// The session is resumed: filters whose messages the broker does not keep must be requested again. Refused ones
    /// that had been requested again are requested later: the broker may have closed the connection because of it.
    pub(super) fn clear_unkept(&mut self) {
        for asked in self.filters.iter_mut().filter(|asked| !asked.is_kept()) {
            asked.code = asked.refused.filter(|_| asked.given_up);
        }
    }

    /// The connection was lost: granted filters must be requested again. Refused ones stay refused, unless the
    /// caller acknowledges the messages: its subscription lasts.
    pub(super) fn clear_answers(&mut self) {
        if self.accepted && self.terms.is_some() {
            self.remember_refusals();
        } else if self.accepted {
            self.filters.retain(|asked| !asked.is_refused());
        }
        for asked in &mut self.filters {
            asked.code = None;
            asked.covered_by = None;
            asked.late = 0;
        }
    }

    /// Whether this stream takes a message that arrived for the filters at `recipients`. Brokers
    /// send one copy per matching subscription, or one copy for all; the stream must get the
    /// message once. Among matching filters, the copy for the one with the highest rank counts, and
    /// of several with the same rank, that for the last one: the choice must only be deterministic.
    /// The copy of a shared subscription always counts. A retained message is taken only for filters
    /// that request retained messages.
    pub(super) fn takes(&self, recipients: &[Recipient], topic: &str, retain: bool) -> bool {
        if self.filters.len() == 1 {
            return true;
        }
        let mut named = recipients
            .iter()
            .filter_map(|recipient| self.filters.get(recipient.index));
        if named.any(|asked| asked.request.filter.is_shared()) {
            return true;
        }
        let matching = self.filters.iter().enumerate().filter(|(_, asked)| {
            asked.covered_by.is_none()
                && asked.code.is_none_or(|code| !code.is_error())
                && !asked.request.filter.is_shared()
                && (!retain || asked.request.retained || asked.request.as_published)
                && asked.request.filter.matches(topic)
        });
        let chosen = matching.max_by_key(|(_, asked)| asked.rank());
        chosen.is_some_and(|(chosen, _)| names(recipients, chosen))
    }

    /// Adapts a message to this stream: the subscription identifiers of its filters and the `QoS`.
    /// Brokers that send one copy per subscription name only one of the matching filters in
    /// `recipients`.
    pub(super) fn address(&self, message: &mut MqttSubscribeData, recipients: &[Recipient]) {
        let shared = |asked: &RequestedFilter| asked.request.filter.is_shared();
        let mut named = recipients
            .iter()
            .filter_map(|recipient| self.filters.get(recipient.index));
        let by_share = named.any(shared);
        let replayed = message.flags.contains(MqttSubscribeFlags::RETAIN);
        let mut qos = None;
        for (index, asked) in self.filters.iter().enumerate() {
            let wanted = !replayed || asked.request.retained || asked.request.as_published;
            let for_it = if by_share {
                names(recipients, index)
            } else {
                wanted && !shared(asked) && asked.request.filter.matches(&message.topic)
            };
            if for_it {
                qos = qos.max(Some(asked.original.qos));
                if asked.original.subscription_id != 0 {
                    message
                        .subscription_ids
                        .push(asked.original.subscription_id);
                }
            }
        }
        message.qos = message.qos.min(qos.unwrap_or(message.qos));
        if message.qos == 0 {
            message.packet_id = 0;
        }
    }

    /// Ends the reply, or aborts it if a message was sent in part and the rest will not follow.
    pub(super) fn close(&self, cx: &mut Context<'_>, id: StreamId) {
        if self.deliveries.is_within_a_message() {
            cx.abort(id, None);
        } else {
            cx.end(id, Frame::end());
        }
    }

    /// Sends as much as the credit allows, once the reply has begun. Ends the reply after the
    /// last message of a limit.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, id: StreamId) {
        if self.begun {
            self.deliveries.flush(cx, id);
            if self.complete && self.deliveries.is_empty() {
                cx.end(id, Frame::end());
            }
        }
    }
}

/// Checks a subscription with a limit.
fn check_limited(asked: &[RequestedFilter]) -> Result<(), Failure> {
    let [asked] = asked else {
        let count = asked.len();
        let reason = format!(
            "Invalid subscription: a limit requires exactly one topic filter, not {count}."
        );
        let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        return Err(Failure::new(code, reason));
    };
    match asked.request.qos {
        0 | 1 => Ok(()),
        qos => Err(Failure::new(
            ReasonCode::QOS_NOT_SUPPORTED,
            format!("Invalid subscription: a limit requires QoS 0 or 1, not {qos}."),
        )),
    }
}

fn names(recipients: &[Recipient], index: usize) -> bool {
    recipients.iter().any(|recipient| recipient.index == index)
}

fn ask(mut original: MqttTopicFilter, floor: u8) -> Result<RequestedFilter, Failure> {
    original.qos = original.qos.max(floor);
    let refused = |code: ReasonCode, reason: String| Err(Failure::new(code, reason));
    let filter = match TopicFilter::parse(original.pattern.clone()) {
        Ok(filter) => filter,
        Err(error) => {
            let shown: String = original.pattern.chars().take(200).collect();
            let reason = format!("Invalid topic filter '{shown}': {error}.");
            return refused(ReasonCode::TOPIC_FILTER_INVALID, reason);
        }
    };
    if original.qos > 2 {
        let reason = format!("Invalid QoS {}; use 0, 1 or 2.", original.qos);
        return refused(ReasonCode::QOS_NOT_SUPPORTED, reason);
    }
    let flags = original.flags;
    let no_local = flags.contains(MqttSubscribeFlags::NO_LOCAL);
    if no_local && filter.is_shared() {
        let reason = format!(
            "Invalid topic filter '{filter}': 'no local' is not allowed for a shared subscription."
        );
        return refused(ReasonCode::PROTOCOL_ERROR, reason);
    }
    let request = FilterRequest {
        qos: original.qos,
        retained: flags == MqttSubscribeFlags::NONE
            || flags.contains(MqttSubscribeFlags::SEND_RETAINED),
        no_local,
        as_published: flags.contains(MqttSubscribeFlags::RETAIN_AS_PUBLISHED),
        filter,
    };
    Ok(RequestedFilter {
        original,
        request,
        covered_by: None,
        code: None,
        given_up: false,
        refused: None,
        late: 0,
        assumed: false,
    })
}
