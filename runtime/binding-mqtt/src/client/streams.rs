//! The mqtt streams of the binding, whichever connection they are on.

use std::num::{NonZeroU16, NonZeroU32};

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::topic::TopicFilter;
use tidegate_engine::streams::mqtt::{
    MqttSubscribe, MqttSubscribeData, MqttSubscribeFlags, MqttTopicFilter,
};
use tidegate_engine::{Context, StreamId, Time, TimerId};

use super::failure::Failure;
use super::inbound::Deliveries;
use super::publications::Publication;
use super::subscriptions::{Place, Wish};
use crate::codec::ReasonCode;

/// How many filters one stream may have.
const FILTERS: usize = 1_000;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// The key of its connection.
    pub(super) connection: usize,
    pub(super) kind: Kind,
    pub(super) opened: Time,
    /// Its deadline, until it is done or accepted.
    pub(super) deadline: Option<TimerId>,
}

impl Stream {
    /// It is done or accepted: its deadline means nothing any more.
    pub(super) fn clear_deadline(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.deadline.take() {
            cx.cancel(timer);
        }
    }
}

/// What a stream is for.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "publications come and go, one for each call: a box for each would cost more"
)]
pub(super) enum Kind {
    Session(Session),
    Publish(Publication),
    Subscribe(Subscriber),
}

impl Kind {
    /// Whether it is a session or a subscription that the broker has granted.
    pub(super) const fn is_accepted(&self) -> bool {
        match self {
            Self::Session(session) => session.accepted,
            Self::Subscribe(subscriber) => subscriber.accepted,
            Self::Publish(_) => false,
        }
    }
}

/// A session stream.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) accepted: bool,
}

/// All streams, by the keys that their tokens bear.
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

/// One filter of a stream.
#[derive(Debug)]
pub(super) struct Asked {
    /// As the caller asked.
    request: MqttTopicFilter,
    pub(super) wish: Wish,
    /// Another filter of the same stream stands for this one.
    covered_by: Option<usize>,
    /// What the broker said.
    code: Option<ReasonCode>,
}

/// A subscribe stream.
#[derive(Debug)]
pub(super) struct Subscriber {
    asked: Vec<Asked>,
    /// How many messages it takes in all.
    limit: Option<NonZeroU16>,
    /// The reply BEGIN was sent.
    pub(super) accepted: bool,
    /// All messages of the limit are there.
    pub(super) complete: bool,
    pub(super) deliveries: Deliveries,
}

impl Subscriber {
    /// Reads what a caller asks for. A limit is never above `limit_max`.
    pub(super) fn new(begin: MqttSubscribe, limit_max: NonZeroU16) -> Result<Self, Failure> {
        let count = begin.filters.len();
        if count == 0 || count > FILTERS {
            let reason = format!("A subscription has 1 to {FILTERS} topic filters, not {count}.");
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        let floor = begin.qos;
        let asked = begin.filters.into_iter().map(|filter| ask(filter, floor));
        let asked: Vec<Asked> = asked.collect::<Result<_, _>>()?;
        let limit = NonZeroU32::new(begin.limit)
            .map(|limit| NonZeroU16::try_from(limit).map_or(limit_max, |it| it.min(limit_max)));
        if limit.is_some() {
            check_limited(&asked)?;
        }
        Ok(Self {
            asked,
            limit,
            accepted: false,
            complete: false,
            deliveries: Deliveries::default(),
        })
    }

    /// How many messages it takes in all, if it says.
    pub(super) const fn limit(&self) -> Option<NonZeroU16> {
        self.limit
    }

    /// The filters that are to be asked for, with their indexes.
    pub(super) fn wishes(&self) -> impl Iterator<Item = (usize, &Wish)> {
        self.asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| asked.covered_by.is_none() && asked.code.is_none())
            .map(|(index, asked)| (index, &asked.wish))
    }

    /// Asks for each filter that is to be asked for, with its index, and notes what is answered at
    /// once.
    pub(super) fn ask(&mut self, mut join: impl FnMut(usize, &Wish) -> Option<ReasonCode>) {
        for (index, asked) in self.asked.iter_mut().enumerate() {
            if asked.covered_by.is_none() && asked.code.is_none() {
                asked.code = join(index, &asked.wish);
            }
        }
    }

    /// Every filter that may have been asked for, with its index.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Wish)> {
        let asked = self.asked.iter().enumerate();
        asked.map(|(index, asked)| (index, &asked.wish))
    }

    /// Lets filters stand for those that they cover, as far as messages could not be told apart
    /// otherwise; an error where some still overlap.
    pub(super) fn cover(&mut self, identifiers: bool) -> Result<(), Failure> {
        for index in 0..self.asked.len() {
            let by = self.coverer(index, identifiers);
            let Some(asked) = self.asked.get_mut(index) else {
                continue;
            };
            asked.covered_by = by;
            let (qos, retained) = (asked.wish.qos, asked.wish.retained);
            if let Some(other) = by.and_then(|by| self.asked.get_mut(by)) {
                other.wish.qos = other.wish.qos.max(qos);
                other.wish.retained |= retained;
            }
        }
        if identifiers {
            return Ok(());
        }
        let mut kept = self.asked.iter().filter(|asked| asked.covered_by.is_none());
        while let Some(one) = kept.next() {
            let filter = &one.wish.filter;
            if let Some(other) = kept.clone().find(|it| filter.overlaps(&it.wish.filter)) {
                let reason = format!(
                    "The broker grants no subscription identifiers, so the filters '{filter}' and \
                     '{}' cannot be in one subscription; subscribe to them apart.",
                    other.wish.filter
                );
                return Err(Failure::new(
                    ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                    reason,
                ));
            }
        }
        Ok(())
    }

    /// Which filter stands for the one at `index`: an equal one before it, or one that covers it.
    fn coverer(&self, index: usize, identifiers: bool) -> Option<usize> {
        let this = &self.asked.get(index)?.wish.filter;
        self.asked.iter().enumerate().position(|(at, other)| {
            let filter = &other.wish.filter;
            if at == index || other.covered_by.is_some() {
                return false;
            }
            if filter == this {
                return at < index;
            }
            !identifiers && !this.is_shared() && !filter.is_shared() && filter.covers(this)
        })
    }

    /// The broker has answered for one filter.
    pub(super) fn answer(&mut self, index: usize, code: ReasonCode) {
        if let Some(asked) = self.asked.get_mut(index) {
            asked.code = Some(code);
        }
    }

    /// Whether the broker has answered for all.
    pub(super) fn is_answered(&self) -> bool {
        self.wishes().next().is_none()
    }

    /// Why the stream is refused, when all is answered: no filter was granted or, of a stream that
    /// was accepted before, not all of those that it had.
    pub(super) fn refusal(&self) -> Option<(ReasonCode, &TopicFilter)> {
        let refused = |asked: &&Asked| asked.code.is_some_and(ReasonCode::is_error);
        let mut asked = self.asked.iter().filter(|it| it.covered_by.is_none());
        let first = asked.clone().find(refused)?;
        let fails = self.accepted || asked.all(|it| refused(&it));
        fails.then(|| {
            (
                first.code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR),
                &first.wish.filter,
            )
        })
    }

    /// The connection is lost: what was granted is to be asked for again. What was refused before
    /// stays so.
    pub(super) fn forget_answers(&mut self) {
        let refused = |asked: &Asked| asked.code.is_some_and(ReasonCode::is_error);
        if self.accepted {
            self.asked.retain(|asked| !refused(asked));
        }
        for asked in &mut self.asked {
            asked.code = None;
            asked.covered_by = None;
        }
    }

    /// The reply's BEGIN: what was asked for, with the broker's reason codes.
    pub(super) fn reply(&self, client_id: Option<ByteString>) -> MqttSubscribe {
        let filter = |asked: &Asked| {
            let mut by = asked;
            while let Some(other) = by.covered_by.and_then(|by| self.asked.get(by)) {
                by = other;
            }
            let code = by.code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR);
            let granted = code.0.min(asked.request.qos);
            MqttTopicFilter {
                reason_code: if code.is_error() { code.0 } else { granted },
                ..asked.request.clone()
            }
        };
        MqttSubscribe {
            client_id,
            qos: self
                .asked
                .iter()
                .map(|it| it.request.qos)
                .max()
                .unwrap_or(0),
            limit: self.limit.map_or(0, |limit| u32::from(limit.get())),
            filters: self.asked.iter().map(filter).collect(),
        }
    }

    /// Whether a message that came for the filters at `places` is for this stream, so that it gets
    /// it once: brokers send one copy for each subscription that matches, or one copy for all. Among
    /// the filters that match, the copy for the one with the highest `QoS` counts; a shared
    /// subscription's always does.
    /// A retained message comes only for filters that want such.
    pub(super) fn takes(&self, places: &[Place], topic: &str, retain: bool) -> bool {
        if self.asked.len() == 1 {
            return true;
        }
        let mut named = places
            .iter()
            .filter_map(|place| self.asked.get(place.index));
        if named.any(|asked| asked.wish.filter.is_shared()) {
            return true;
        }
        let matching = self.asked.iter().enumerate().filter(|(_, asked)| {
            asked.covered_by.is_none()
                && asked.code.is_none_or(|code| !code.is_error())
                && !asked.wish.filter.is_shared()
                && (!retain || asked.wish.retained || asked.wish.as_published)
                && asked.wish.filter.matches(topic)
        });
        // Of several with the same QoS, the last one: any will do, as long as it is always the same.
        let chosen = matching.max_by_key(|(_, asked)| asked.wish.qos);
        chosen.is_some_and(|(chosen, _)| names(places, chosen))
    }

    /// Writes what the message is to this stream: for which of its filters, and up to which `QoS`. It
    /// came for the filters at `places`; brokers that send one copy for each subscription name but
    /// one of those that it is for.
    pub(super) fn address(&self, message: &mut MqttSubscribeData, places: &[Place]) {
        let shared = |asked: &Asked| asked.wish.filter.is_shared();
        let mut named = places
            .iter()
            .filter_map(|place| self.asked.get(place.index));
        let by_share = named.any(shared);
        let replayed = message.flags.contains(MqttSubscribeFlags::RETAIN);
        let mut qos = None;
        for (index, asked) in self.asked.iter().enumerate() {
            let wanted = !replayed || asked.wish.retained || asked.wish.as_published;
            let for_it = if by_share {
                names(places, index)
            } else {
                wanted && !shared(asked) && asked.wish.filter.matches(&message.topic)
            };
            if for_it {
                qos = qos.max(Some(asked.request.qos));
                if asked.request.subscription_id != 0 {
                    message.subscription_ids.push(asked.request.subscription_id);
                }
            }
        }
        message.qos = message.qos.min(qos.unwrap_or(message.qos));
        if message.qos == 0 {
            message.packet_id = 0;
        }
    }

    /// Closes the reply: out of order where a message has been sent in part and its rest will not
    /// follow.
    pub(super) fn close(&self, cx: &mut Context<'_>, id: StreamId) {
        if self.deliveries.is_within_a_message() {
            cx.abort(id, None);
        } else {
            cx.end(id, Frame::end());
        }
    }

    /// Sends what the credit allows, once the stream is accepted, and ends the reply behind the last
    /// message of a limit.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, id: StreamId) {
        if self.accepted {
            self.deliveries.flush(cx, id);
            if self.complete && self.deliveries.is_empty() {
                cx.end(id, Frame::end());
            }
        }
    }
}

/// What a subscription with a limit may ask for.
fn check_limited(asked: &[Asked]) -> Result<(), Failure> {
    let [asked] = asked else {
        let count = asked.len();
        let reason = format!("A subscription with a limit has one topic filter, not {count}.");
        let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        return Err(Failure::new(code, reason));
    };
    match asked.wish.qos {
        0 | 1 => Ok(()),
        qos => Err(Failure::new(
            ReasonCode::QOS_NOT_SUPPORTED,
            format!("A subscription with a limit has QoS 0 or 1, not {qos}."),
        )),
    }
}

fn names(places: &[Place], index: usize) -> bool {
    places.iter().any(|place| place.index == index)
}

fn ask(mut request: MqttTopicFilter, floor: u8) -> Result<Asked, Failure> {
    request.qos = request.qos.max(floor);
    let refused = |code: ReasonCode, reason: String| Err(Failure::new(code, reason));
    let filter = match TopicFilter::parse(request.pattern.clone()) {
        Ok(filter) => filter,
        Err(error) => {
            let shown: String = request.pattern.chars().take(200).collect();
            let reason = format!("'{shown}' is no topic filter: {error}.");
            return refused(ReasonCode::TOPIC_FILTER_INVALID, reason);
        }
    };
    if request.qos > 2 {
        let reason = format!("There is no QoS {}; ask for 0, 1 or 2.", request.qos);
        return refused(ReasonCode::QOS_NOT_SUPPORTED, reason);
    }
    let flags = request.flags;
    let no_local = flags.contains(MqttSubscribeFlags::NO_LOCAL);
    if no_local && filter.is_shared() {
        let reason = format!("'{filter}' is a shared subscription, which cannot be 'no local'.");
        return refused(ReasonCode::PROTOCOL_ERROR, reason);
    }
    let wish = Wish {
        qos: request.qos,
        retained: flags == MqttSubscribeFlags::NONE
            || flags.contains(MqttSubscribeFlags::SEND_RETAINED),
        no_local,
        as_published: flags.contains(MqttSubscribeFlags::RETAIN_AS_PUBLISHED),
        filter,
    };
    Ok(Asked {
        request,
        wish,
        covered_by: None,
        code: None,
    })
}
