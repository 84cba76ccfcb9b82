//! What is going on in an exchange, and what each event leads to.

use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpReset, McpResourcesUpdated};
use tidegate_streams::mqtt::MqttBeginEx;

use crate::call::Call;
use crate::publish::Publish;
use crate::read::Read;
use crate::receive::Receive;
use crate::result::{Answer, Failure};
use crate::subscribe::{self, Subscribe, refusal};

/// What an event leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing yet.
    Wait,
    /// The reply half begins.
    Begin,
    /// The caller is told of an update.
    Update(McpResourcesUpdated),
    /// The mqtt stream is to end behind what is on its way.
    Enough,
    /// The operation is done.
    Answer(Answer),
    /// The operation is refused.
    Refuse(McpReset),
    /// The reply half ends as the caller asked.
    Leave,
    /// Whatever is left of it is given up.
    Drop,
}

/// What is going on in an exchange.
#[derive(Debug)]
pub(crate) enum Work {
    /// A call's `params` are coming in.
    Call(Call),
    Publish(Publish),
    /// Larger than the others, and far fewer.
    Receive(Box<Receive>),
    Read(Read),
    Subscribe(Subscribe),
    /// A session of this identity.
    Session(ByteString),
    /// The caller has left; the reply half ends when the mqtt stream has.
    Leaving,
    /// Answered: the streams are to close.
    Answered,
}

impl Work {
    /// The mqtt stream's reply half has begun.
    pub(crate) fn begun(&mut self, begin: &MqttBeginEx) -> Step {
        if let Some(failure) = refusal(begin) {
            return self.failed(&failure);
        }
        match self {
            Self::Receive(receive) => receive.confirmed(),
            Self::Read(read) => read.confirmed(),
            Self::Subscribe(subscribe) => subscribe.confirmed(),
            _ => Step::Wait,
        }
    }

    /// The mqtt stream brought a message or a part of one.
    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self {
            Self::Receive(receive) => receive.data(data),
            Self::Read(read) => read.data(data),
            Self::Subscribe(subscribe) => subscribe.data(&data),
            _ => Step::Wait,
        }
    }

    /// The mqtt stream's reply half ended in order.
    pub(crate) fn ended(&mut self) -> Step {
        match self {
            Self::Publish(publish) => publish.ended(),
            Self::Receive(receive) => receive.finish(),
            Self::Read(read) => read.ended(),
            Self::Subscribe(subscribe) => subscribe.ended(),
            Self::Leaving => Step::Leave,
            Self::Call(_) | Self::Session(_) | Self::Answered => Step::Wait,
        }
    }

    /// The mqtt stream failed, or there is none.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        match self {
            Self::Publish(publish) => publish.failed(failure),
            Self::Receive(receive) => receive.failed(failure),
            Self::Read(read) => read.failed(failure),
            Self::Subscribe(subscribe) => subscribe.failed(failure),
            Self::Leaving => Step::Leave,
            // The next operation of a session opens another stream.
            Self::Call(_) | Self::Session(_) | Self::Answered => Step::Wait,
        }
    }

    /// The messages have been waited for long enough, `milliseconds` of it. Where their stream is not
    /// confirmed yet, its own deadline has passed, and the reason is about to come from there.
    pub(crate) fn overdue(&mut self, milliseconds: u64) -> Step {
        match self {
            Self::Receive(receive) => receive.overdue(),
            Self::Read(read) => read.overdue(milliseconds),
            // Whoever opened the stream keeps the time of what it sends, and the mqtt stream that of
            // what the broker does.
            Self::Call(_) | Self::Publish(_) | Self::Subscribe(_) => Step::Wait,
            Self::Session(_) | Self::Leaving | Self::Answered => Step::Drop,
        }
    }

    /// The engine stops: what waits for messages waits no longer. What waits for the broker is answered
    /// when the broker does, or when `mqtt · client` gives that up.
    pub(crate) fn stopping(&mut self) -> Step {
        match self {
            Self::Receive(receive) if receive.confirmed => receive.enough(),
            Self::Read(read) if read.confirmed => read.stopping(),
            _ => Step::Wait,
        }
    }

    /// Which topic, topic filter or resource it is about, and at which `QoS`.
    pub(crate) fn subject(&self) -> (ByteString, u8) {
        match self {
            Self::Publish(publish) => (publish.topic.clone(), publish.qos),
            Self::Receive(receive) => (receive.filter.text(), subscribe::QOS),
            Self::Read(read) => (read.topic.clone(), subscribe::QOS),
            Self::Subscribe(subscribe) => (subscribe.uri.clone(), subscribe::QOS),
            _ => (ByteString::new(), 0),
        }
    }

    /// Whether the mqtt stream is in order, so that an END is the way to leave it.
    pub(crate) const fn is_settled(&self) -> bool {
        match self {
            Self::Publish(_) => false,
            Self::Receive(receive) => receive.confirmed,
            Self::Read(read) => read.confirmed,
            Self::Subscribe(subscribe) => subscribe.confirmed,
            _ => true,
        }
    }
}
