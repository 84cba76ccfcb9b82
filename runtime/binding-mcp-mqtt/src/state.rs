//! The state machine of an exchange: its states, and the step that each event leads to.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::WallTime;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpChallenge, McpReset, McpResourcesUpdated};
use tidegate_streams::mqtt::{MqttBeginEx, MqttPublish};

use crate::approve::Approval;
use crate::call::Call;
use crate::complete::Complete;
use crate::mcpmqtt::Collect;
use crate::publish::Publish;
use crate::published::Acknowledgement;
use crate::query::Query;
use crate::read::Read;
use crate::receive::Receive;
use crate::result::{Answer, Failure};
use crate::subscribe::{self, Subscribe, refusal};
use crate::taken::Taken;

/// The step that an exchange takes after an event.
#[derive(Debug)]
pub(crate) enum Step {
    /// Wait for further events.
    Wait,
    /// Begin the reply half.
    Begin,
    /// Send an update to the caller.
    Update(McpResourcesUpdated),
    /// Ask the mqtt stream to end after the messages that are already in flight.
    Unsubscribe,
    /// Open the publish stream of a query and send its request.
    Publish(MqttPublish),
    /// Ask the caller's client.
    Ask(McpChallenge),
    /// Send the result.
    Answer(Answer),
    /// Reset the stream of the caller.
    Refuse(McpReset),
    /// End the reply half.
    EndReply,
    /// Terminate both streams.
    Abort,
}

/// The state of an exchange.
#[derive(Debug)]
pub(crate) enum State {
    /// Receiving the `params` of a call.
    Call(Call),
    Publish(Publish),
    /// Boxed, as are `Read` and `Query`: much larger than the other states, and rarer.
    Receive(Box<Receive>),
    Read(Box<Read>),
    /// `mqtt_subscribe` or `mqtt_read` of mcpMQTT.
    Collect(Box<Collect>),
    Query(Box<Query>),
    Complete(Box<Complete>),
    /// A message that waits for approval.
    Approval(Box<Approval>),
    Subscribe(Subscribe),
    /// A session with this identifier.
    Session(ByteString),
    /// The subscription or session is ending: the reply half ends after the mqtt stream.
    Closing,
    /// Answered or refused; the streams are still to end.
    Answered,
}

impl State {
    /// The mqtt stream's reply half has begun.
    pub(crate) fn begun(&mut self, begin: &MqttBeginEx) -> Step {
        if let Some(failure) = refusal(begin) {
            return self.failed(&failure);
        }
        match self {
            Self::Receive(receive) => receive.confirmed(),
            Self::Read(read) => read.confirmed(),
            Self::Collect(collect) => collect.confirmed(),
            Self::Query(query) => query.confirmed(),
            Self::Complete(complete) => complete.confirmed(),
            Self::Subscribe(subscribe) => subscribe.confirmed(),
            _ => Step::Wait,
        }
    }

    /// The mqtt stream delivered a message or a part of one, at this time.
    pub(crate) fn data(&mut self, data: Data, at: WallTime) -> Step {
        match self {
            Self::Receive(receive) => receive.data(data),
            Self::Read(read) => read.data(data),
            Self::Collect(collect) => collect.data(data, at),
            Self::Query(query) => query.data(data),
            Self::Complete(complete) => complete.data(&data),
            Self::Approval(approval) => approval.data(data),
            Self::Subscribe(subscribe) => subscribe.data(&data),
            _ => Step::Wait,
        }
    }

    /// The connection to the broker was lost for this time, in milliseconds, and is open again;
    /// messages may have been missed.
    pub(crate) fn gap(&mut self, milliseconds: u64) -> Step {
        match self {
            Self::Subscribe(subscribe) => subscribe.gap(),
            Self::Receive(receive) => {
                receive.gap(milliseconds);
                Step::Wait
            }
            _ => Step::Wait,
        }
    }

    /// The mqtt stream's reply half ended (END).
    pub(crate) fn ended(&mut self, acknowledgement: Acknowledgement) -> Step {
        match self {
            Self::Publish(publish) => publish.ended(acknowledgement),
            Self::Receive(receive) => receive.finish(),
            Self::Read(read) => read.ended(),
            Self::Collect(collect) => {
                collect.failed(&Failure::new("the broker ended the subscription"))
            }
            Self::Query(query) => query.failed(&Failure::new("the broker ended the subscription")),
            Self::Complete(complete) => complete.finish(),
            Self::Approval(approval) => approval.without_value(),
            Self::Subscribe(subscribe) => subscribe.ended(),
            Self::Closing => Step::EndReply,
            Self::Call(_) | Self::Session(_) | Self::Answered => Step::Wait,
        }
    }

    /// The mqtt stream was reset or aborted, or could not be opened.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        match self {
            Self::Publish(publish) => publish.failed(failure),
            Self::Receive(receive) => receive.failed(failure),
            Self::Read(read) => read.failed(failure),
            Self::Collect(collect) => collect.failed(failure),
            Self::Query(query) => query.failed(failure),
            // What was seen before is an answer too.
            Self::Complete(complete) => complete.finish(),
            Self::Approval(approval) => approval.without_value(),
            Self::Subscribe(subscribe) => subscribe.failed(failure),
            Self::Closing => Step::EndReply,
            // The next operation of a session opens another stream.
            Self::Call(_) | Self::Session(_) | Self::Answered => Step::Wait,
        }
    }

    /// The wait for messages expired after `milliseconds`. If the mqtt stream is not confirmed yet, it
    /// has the same deadline and is about to report the reason.
    pub(crate) fn expired(&mut self, milliseconds: u64) -> Step {
        match self {
            Self::Receive(receive) => receive.expired(milliseconds),
            Self::Read(read) => read.expired(milliseconds),
            Self::Collect(collect) => collect.expired(),
            Self::Complete(complete) => complete.finish(),
            Self::Approval(approval) => approval.without_value(),
            Self::Query(query) => query.expired(milliseconds),
            // The opener of the stream enforces the time to send params; the mqtt stream enforces the
            // time that the broker takes.
            Self::Call(_) | Self::Publish(_) | Self::Subscribe(_) => Step::Wait,
            Self::Session(_) | Self::Closing | Self::Answered => Step::Abort,
        }
    }

    /// The engine is shutting down: stops waiting for messages. An operation that waits for the broker
    /// is answered when the broker answers or `mqtt · client` times out.
    pub(crate) fn stopping(&mut self) -> Step {
        match self {
            Self::Receive(receive) if receive.confirmed => receive.stop(),
            Self::Read(read) if read.confirmed => read.stopping(),
            Self::Collect(collect) if collect.confirmed => collect.stopping(),
            Self::Complete(complete) => complete.finish(),
            Self::Approval(approval) => approval.stop(),
            Self::Query(query) if query.is_confirmed() => query.stop("the gateway stopped"),
            _ => Step::Wait,
        }
    }

    /// The publish stream of a query ended (END).
    pub(crate) fn request_ended(&mut self, acknowledgement: Acknowledgement) -> Step {
        match self {
            Self::Query(query) => query.published(acknowledgement),
            _ => Step::Wait,
        }
    }

    /// The publish stream of a query was reset or aborted, or could not be opened.
    pub(crate) fn request_failed(&self, failure: &Failure) -> Step {
        match self {
            Self::Query(query) => query.request_failed(failure),
            _ => Step::Wait,
        }
    }

    /// The topic, topic filter or resource of the operation, and its `QoS`.
    pub(crate) fn subject(&self) -> (ByteString, u8) {
        match self {
            Self::Publish(publish) => (publish.topic.clone(), publish.qos),
            Self::Receive(receive) => (receive.filter.text(), subscribe::QOS),
            Self::Read(read) => (read.topic.clone(), subscribe::QOS),
            Self::Collect(collect) => (collect.filter.text(), subscribe::QOS),
            Self::Query(query) => (query.request.topic.clone(), query.request.qos),
            Self::Complete(complete) => (complete.filter.text(), subscribe::QOS),
            Self::Approval(approval) => (approval.topic.clone(), approval.qos),
            Self::Subscribe(subscribe) => (subscribe.uri.clone(), subscribe::QOS),
            Self::Call(call) => {
                let refused = call.refused.as_deref();
                (
                    refused.map_or_else(ByteString::new, |it| it.topic.clone()),
                    0,
                )
            }
            _ => (ByteString::new(), 0),
        }
    }

    /// The option of the config whose patterns refused the topic, if they did.
    pub(crate) const fn refused_by(&self) -> Option<&'static str> {
        match self {
            Self::Call(Call {
                refused: Some(refused),
                ..
            }) => Some(refused.option),
            _ => None,
        }
    }

    /// Number of messages in the result, if an audit log wants it.
    pub(crate) fn messages(&self) -> u32 {
        let taken = match self {
            Self::Receive(receive) => receive.audited.as_deref(),
            Self::Read(read) => read.audited.as_deref(),
            Self::Collect(collect) => collect.audited.as_deref(),
            _ => None,
        };
        taken.map_or(0, Taken::count)
    }

    /// The payload that was published, or those of a result that was `answered`, if an audit log wants
    /// it.
    pub(crate) fn take_payload(&mut self, answered: bool) -> Option<Vec<Bytes>> {
        let published = |publish: &mut Publish| {
            let payload = publish.audited.take()?;
            Some((*payload).into_iter().collect())
        };
        let taken = match self {
            Self::Publish(publish) => return published(publish),
            Self::Query(query) => return published(&mut query.request),
            Self::Receive(receive) if answered => receive.audited.take()?,
            Self::Read(read) if answered => read.audited.take()?,
            Self::Collect(collect) if answered => collect.audited.take()?,
            _ => return None,
        };
        taken.into_payload()
    }

    /// Whether the mqtt stream of a refused operation is confirmed, so that it is closed with END;
    /// otherwise it is terminated. A call is never refused once it has one: its errors are results.
    pub(crate) const fn is_confirmed(&self) -> bool {
        match self {
            Self::Read(read) => read.confirmed,
            Self::Subscribe(subscribe) => subscribe.confirmed,
            _ => true,
        }
    }
}
