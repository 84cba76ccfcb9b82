//! The packets that were in flight when the broker closed a connection: see `quarantine`.
//!
//! A `QoS` 0 message is done as soon as it is written, and a caller may cancel before the broker
//! answers. Such packets are remembered for [`MOMENT`], unless the broker has answered a later
//! packet.

use std::collections::VecDeque;

use tidegate_engine::streams::mqtt::MqttDelivery;
use tidegate_engine::{Duration, Time};

use super::connection::{Connection, Env, Origin, Phase};
use super::quarantine::{Cause, Suspect};
use super::streams::{Kind, Streams, Subscriber};
use crate::codec::ReasonCode;

/// Time in which the broker may close the connection because of a message.
const MOMENT: Duration = Duration::from_secs(5);
/// Maximum number of remembered packets.
const REMEMBERED: usize = 64;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The shared connection of a client.
    All,
    /// Filters that cannot share another connection.
    Filters,
    /// Publications of its client in quarantine, one at a time.
    Quarantine,
    /// A single subscription: it is in quarantine, or its messages are counted.
    Trial,
    /// A single subscription whose caller acknowledges its messages.
    Held,
}

/// Packets that no stream waits for, but over which the broker may still close the connection.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<RecentPacket>);

#[derive(Debug)]
struct RecentPacket {
    suspect: Suspect,
    at: Time,
    /// The position of its end in the byte stream.
    end: u64,
}

impl Recent {
    /// A packet was sent; `end` is the position of its end in the byte stream.
    pub(super) fn push(&mut self, suspect: Suspect, at: Time, end: u64) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(RecentPacket { suspect, at, end });
    }

    /// Packets after the position `read` that are at most [`MOMENT`] old.
    fn unread(&self, now: Time, read: u64) -> impl Iterator<Item = Suspect> {
        let unread = move |left: &&RecentPacket| left.end > read && now.since(left.at) <= MOMENT;
        self.0.iter().filter(unread).map(|left| left.suspect)
    }
}

impl Connection {
    /// Remembers the packets of a stream that is removed before the broker answered them.
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
        let filters = subscriber.pending_requests().take(REMEMBERED);
        filters
            .map(|(_, request)| self.namer.filter(request.filter.as_str()))
            .collect()
    }

    /// The broker closed the connection, with a reason code if it sent one: reports the packets in
    /// flight to the quarantine. Returns whether a message in quarantine is the cause.
    pub(super) fn accuse(&mut self, env: &mut Env<'_, '_>, code: Option<ReasonCode>) -> bool {
        let alone = matches!(
            self.purpose,
            Purpose::Quarantine | Purpose::Trial | Purpose::Held
        );
        let cause = match code.map_or(Some(Cause::Unknown), cause_of) {
            _ if self.phase != Phase::Ready => return false,
            // It was the only packet in flight.
            Some(Cause::Unknown) if alone => Cause::Alone,
            Some(cause) => cause,
            None => return false,
        };
        if cause == Cause::Packet {
            // Resuming the session would send the packet again.
            self.session.discard();
        }
        let suspects = self.under_way(env.cx.now(), env.streams);
        let quarantine = &mut env.shared.quarantine;
        quarantine.accuse(env.cx.now(), &self.namer, &suspects, cause);
        self.purpose == Purpose::Quarantine && !suspects.is_empty()
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
        suspects.extend(self.recent.unread(now, self.session.ids.read_up_to()));
        suspects.sort_unstable();
        suspects.dedup();
        suspects.truncate(REMEMBERED);
        suspects
    }

    /// Whether a publication or a subscription must use a separate connection.
    pub(super) fn is_suspect(&self, env: &mut Env<'_, '_>, key: usize) -> bool {
        let quarantine = &mut env.shared.quarantine;
        if quarantine.is_empty(env.cx.now()) {
            return false;
        }
        let mut holds = |name: &str, suspect| quarantine.holds(env.cx, &self.namer, suspect, name);
        match env.streams.get(key).map(|stream| &stream.kind) {
            Some(Kind::Publish(publication)) => {
                let topic = publication.topic();
                holds(topic, self.namer.message(topic))
            }
            Some(Kind::Subscribe(subscriber)) if !subscriber.accepted => {
                let mut requests = subscriber
                    .pending_requests()
                    .map(|(_, request)| request.filter.as_str());
                requests.any(|filter| holds(filter, self.namer.filter(filter)))
            }
            _ => false,
        }
    }

    /// Whether a message in quarantine is in flight. The next one waits for it.
    pub(super) const fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Sends a message in quarantine. A `QoS` 0 message is done when the broker has answered the
    /// PINGREQ after it.
    pub(super) fn try_message(
        &mut self,
        env: &mut Env<'_, '_>,
        suspect: Suspect,
        plain: Option<Origin>,
    ) {
        self.trial = Some(suspect);
        self.tried = plain;
        if plain.is_some() {
            self.ping(env);
        }
    }

    /// The broker answered a message in quarantine, with success or failure.
    pub(super) fn acquit(&mut self, env: &mut Env<'_, '_>) {
        if let Some(suspect) = self.trial.take() {
            env.shared.quarantine.acquit(suspect);
        }
    }

    /// The broker answered a subscription in quarantine.
    pub(super) fn acquit_filters(&self, env: &mut Env<'_, '_>) {
        if !matches!(self.purpose, Purpose::Trial | Purpose::Held) {
            return;
        }
        for key in &self.streams {
            if let Some((_, subscriber)) = env.streams.subscriber(*key) {
                for (_, request) in subscriber.all() {
                    let suspect = self.namer.filter(request.filter.as_str());
                    env.shared.quarantine.acquit(suspect);
                }
            }
        }
    }
}

/// What the reason code of a DISCONNECT means (MQTT 5.0, 3.14.2.1); `None` if it does not concern a
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
