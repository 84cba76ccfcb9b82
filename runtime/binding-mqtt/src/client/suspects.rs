//! What was under way on a connection that the broker has closed: see `quarantine`.
//!
//! A message of `QoS` 0 is done as soon as it is written, and a caller may leave before the broker
//! answers. What such left behind is kept for a moment ([`MOMENT`]), unless the broker has meanwhile
//! answered what was sent behind it.

use std::collections::VecDeque;

use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::{Duration, Time};

use super::connection::{Connection, Origin, Phase, Work};
use super::quarantine::{Cause, Suspect};
use super::streams::{Kind, Streams, Subscriber};
use crate::codec::ReasonCode;

/// For how long the broker may take to close the connection over a message.
const MOMENT: Duration = Duration::from_secs(5);
/// How many messages are remembered for that long.
const REMEMBERED: usize = 64;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The streams of its client.
    All,
    /// Filters that cannot be on another one.
    Filters,
    /// Publications of its client that are in quarantine, one at a time.
    Quarantine,
    /// One subscription alone: it is in quarantine, or its messages are counted.
    Trial,
}

/// What nobody waits for any more, and the broker may still close the connection over.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Left>);

#[derive(Debug)]
struct Left {
    suspect: Suspect,
    at: Time,
    /// Behind it, in the byte stream.
    end: u64,
}

impl Recent {
    /// Something was handed to the byte stream, which it leaves at the position `end`.
    pub(super) fn push(&mut self, suspect: Suspect, at: Time, end: u64) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Left { suspect, at, end });
    }

    /// What is behind this position, and no older than a moment.
    fn unread(&self, now: Time, read: u64) -> impl Iterator<Item = Suspect> {
        let unread = move |left: &&Left| left.end > read && now.since(left.at) <= MOMENT;
        self.0.iter().filter(unread).map(|left| left.suspect)
    }
}

impl Connection {
    /// A stream leaves while the broker may still answer what was sent for it.
    pub(super) fn remember_stream(&mut self, now: Time, kind: &Kind) {
        if self.phase != Phase::Ready {
            return;
        }
        let end = self.outbound.queued();
        match kind {
            Kind::Publish(publication) if publication.delivery() == MqttDelivery::Possible => {
                let suspect = self.namer.message(publication.topic());
                self.recent.push(suspect, now, end);
            }
            Kind::Subscribe(subscriber) if !subscriber.accepted => {
                for suspect in self.filters_of(subscriber) {
                    self.recent.push(suspect, now, end);
                }
            }
            _ => {}
        }
    }

    fn filters_of(&self, subscriber: &Subscriber) -> Vec<Suspect> {
        let filters = subscriber.wishes().take(REMEMBERED);
        filters
            .map(|(_, wish)| self.namer.filter(wish.filter.as_str()))
            .collect()
    }

    /// The broker has closed the connection, with a reason code if it gave one: what was under way is
    /// remembered.
    pub(super) fn accuse(&mut self, w: &mut Work<'_, '_>, code: Option<ReasonCode>) {
        let alone = matches!(self.purpose, Purpose::Quarantine | Purpose::Trial);
        let cause = match code.map_or(Some(Cause::Unknown), cause_of) {
            _ if self.phase != Phase::Ready => return,
            // There is nothing else that it could have been.
            Some(Cause::Unknown) if alone => Cause::Alone,
            Some(cause) => cause,
            None => return,
        };
        let suspects = self.under_way(w.cx.now(), w.streams);
        let quarantine = &mut w.shared.quarantine;
        quarantine.accuse(w.cx.now(), &self.namer, &suspects, cause);
    }

    fn under_way(&self, now: Time, streams: &Streams) -> Vec<Suspect> {
        if self.purpose == Purpose::Quarantine {
            return self.trial.into_iter().collect();
        }
        let mut suspects: Vec<Suspect> = Vec::new();
        for key in &self.streams {
            match streams.get(*key).map(|stream| &stream.kind) {
                Some(Kind::Publish(publication))
                    if publication.delivery() == MqttDelivery::Possible =>
                {
                    suspects.push(self.namer.message(publication.topic()));
                }
                Some(Kind::Subscribe(subscriber)) if !subscriber.accepted => {
                    suspects.extend(self.filters_of(subscriber));
                }
                _ => {}
            }
        }
        suspects.extend(self.recent.unread(now, self.ids.read_up_to()));
        suspects.sort_unstable();
        suspects.dedup();
        suspects.truncate(REMEMBERED);
        suspects
    }

    /// Whether a publication or a subscription is to go over a connection of its own.
    pub(super) fn is_suspect(&self, w: &mut Work<'_, '_>, key: usize) -> bool {
        let quarantine = &mut w.shared.quarantine;
        if quarantine.is_empty(w.cx.now()) {
            return false;
        }
        let mut holds = |name: &str, suspect| quarantine.holds(w.cx, &self.namer, suspect, name);
        match w.streams.get(key).map(|stream| &stream.kind) {
            Some(Kind::Publish(publication)) => {
                let topic = publication.topic();
                holds(topic, self.namer.message(topic))
            }
            Some(Kind::Subscribe(subscriber)) if !subscriber.accepted => {
                let mut wishes = subscriber.wishes().map(|(_, wish)| wish.filter.as_str());
                wishes.any(|filter| holds(filter, self.namer.filter(filter)))
            }
            _ => false,
        }
    }

    /// In quarantine a message goes out when the one before it is done.
    pub(super) const fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// A message goes out in quarantine. That of `QoS` 0 is done when the broker has answered the
    /// PINGREQ behind it.
    pub(super) fn try_message(
        &mut self,
        w: &mut Work<'_, '_>,
        suspect: Suspect,
        plain: Option<Origin>,
    ) {
        self.trial = Some(suspect);
        self.tried = plain;
        if plain.is_some() {
            self.ping(w);
        }
    }

    /// The broker has answered in quarantine, whatever it said.
    pub(super) fn acquit(&mut self, w: &mut Work<'_, '_>) {
        if let Some(suspect) = self.trial.take() {
            w.shared.quarantine.acquit(suspect);
        }
    }

    /// The broker has answered a subscription in quarantine.
    pub(super) fn acquit_filters(&self, w: &mut Work<'_, '_>) {
        if self.purpose != Purpose::Trial {
            return;
        }
        for key in &self.streams {
            if let Some((_, subscriber)) = w.streams.subscriber(*key) {
                for (_, wish) in subscriber.all() {
                    let suspect = self.namer.filter(wish.filter.as_str());
                    w.shared.quarantine.acquit(suspect);
                }
            }
        }
    }
}

/// What a reason code of DISCONNECT tells (MQTT 5.0, 3.14.2.1); nothing where it has to do with no
/// packet.
const fn cause_of(code: ReasonCode) -> Option<Cause> {
    match code {
        ReasonCode::MALFORMED_PACKET
        | ReasonCode::PROTOCOL_ERROR
        | ReasonCode::NOT_AUTHORIZED
        | ReasonCode::TOPIC_FILTER_INVALID
        | ReasonCode::TOPIC_NAME_INVALID
        | ReasonCode::PACKET_TOO_LARGE
        | ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::PAYLOAD_FORMAT_INVALID
        | ReasonCode::RETAIN_NOT_SUPPORTED
        | ReasonCode::QOS_NOT_SUPPORTED
        | ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        | ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        | ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Some(Cause::Packet),
        ReasonCode::SUCCESS
        | ReasonCode::UNSPECIFIED_ERROR
        | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR => Some(Cause::Unknown),
        _ => None,
    }
}
