//! `resources/read`: the first message of a topic.

use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::shown;

use crate::json_text::{COPIED, JsonText, small};
use crate::message::{Assembled, Assembly, Message};
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::taken::Taken;

/// Typical size of a result without the URI and the payload, in bytes.
const OVERHEAD: usize = 128;

/// A read in progress.
#[derive(Debug)]
pub(crate) struct Read {
    uri: ByteString,
    pub(crate) topic: ByteString,
    /// The subscription is shared: the message is taken from its other subscribers.
    shared: bool,
    assembly: Assembly,
    bound: usize,
    pub(crate) confirmed: bool,
    /// How long the read had waited, in milliseconds, when it unsubscribed; `None` before that.
    ending: Option<u64>,
    /// The engine is shutting down.
    stopping: bool,
    /// The message of the result, if an audit log wants it.
    pub(crate) audited: Option<Box<Taken>>,
}

impl Read {
    /// Reads a message of up to `bound` bytes. The result repeats `uri` as the caller wrote it.
    pub(crate) const fn new(
        uri: ByteString,
        topic: ByteString,
        shared: bool,
        bound: usize,
    ) -> Self {
        Self {
            uri,
            topic,
            shared,
            assembly: Assembly::new(bound),
            bound,
            confirmed: false,
            ending: None,
            stopping: false,
            audited: None,
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Wait
    }

    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self.assembly.add(data) {
            Assembled::Incomplete => Step::Wait,
            Assembled::Complete(message) => self.answer(&message),
            Assembled::TooLarge(_) => self.too_large(),
        }
    }

    fn answer(&mut self, message: &Message) -> Step {
        let text = message.is_text();
        let default = if text {
            "text/plain"
        } else {
            "application/octet-stream"
        };
        let mime_type = message.content_type.as_deref().unwrap_or(default);
        let mut json = JsonText::new();
        json.reserve(self.uri.len() + small(&message.payload, COPIED) + OVERHEAD);
        json.raw("{\"contents\":[{\"uri\":\"");
        json.escaped(self.uri.as_bytes());
        json.raw("\",\"mimeType\":\"");
        json.escaped(mime_type.as_bytes());
        if text {
            json.raw("\",\"text\":\"");
            for chunk in &message.payload {
                json.escaped_part(chunk);
            }
        } else {
            json.raw("\",\"blob\":\"");
            json.base64(&message.payload);
        }
        json.raw("\"}]}");
        if json.len() > self.bound {
            return self.too_large();
        }
        if let Some(taken) = &mut self.audited {
            taken.add(message);
        }
        Step::Answer(Answer::read(json.into_parts()).taking(u32::from(self.shared)))
    }

    fn too_large(&self) -> Step {
        Step::Refuse(McpReset::new(
            McpResetKind::TooLarge,
            format!(
                "The message on topic '{}' exceeds the result limit of {} bytes (receiveBytes).",
                shown(&self.topic),
                self.bound
            ),
        ))
    }

    pub(crate) fn ended(&self) -> Step {
        if let Some(milliseconds) = self.ending {
            return self.no_message(milliseconds);
        }
        self.failed(&Failure::new("the broker ended the subscription"))
    }

    pub(crate) fn failed(&self, failure: &Failure) -> Step {
        Step::Refuse(McpReset::new(
            McpResetKind::Unavailable,
            format!(
                "Topic '{}' could not be read: {}.",
                shown(&self.topic),
                failure.why
            ),
        ))
    }

    pub(crate) fn expired(&mut self, milliseconds: u64) -> Step {
        if !self.confirmed {
            return Step::Wait;
        }
        if let Some(milliseconds) = self.ending {
            return self.no_message(milliseconds);
        }
        self.stop(milliseconds)
    }

    /// The engine is shutting down. Waits for the rest of a message that was received in part.
    pub(crate) fn stopping(&mut self) -> Step {
        if self.assembly.is_within_a_message() || self.ending.is_some() {
            return Step::Wait;
        }
        self.stopping = true;
        self.stop(0)
    }

    /// Stops waiting for a message.
    fn stop(&mut self, milliseconds: u64) -> Step {
        if !self.shared {
            return self.no_message(milliseconds);
        }
        // A message that the broker has already sent to this member of the group may not be sent to
        // another one: wait for it.
        self.ending = Some(milliseconds);
        Step::Unsubscribe
    }

    fn no_message(&self, milliseconds: u64) -> Step {
        if self.stopping {
            return self.failed(&Failure::new("the gateway is stopping"));
        }
        let topic = shown(&self.topic);
        let why = if self.shared {
            "no message was delivered to this member of the group"
        } else {
            "it has no retained message and nothing was published"
        };
        Step::Refuse(McpReset::new(
            McpResetKind::TimedOut,
            format!(
                "No message received on topic '{topic}' within {milliseconds}ms: {why}. To wait \
                 longer, use the tool 'receive' with a longer 'timeout'."
            ),
        ))
    }
}
