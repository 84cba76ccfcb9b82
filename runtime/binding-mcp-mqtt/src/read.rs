//! `resources/read`: the first message of a topic.

use bytestring::ByteString;
use tidegate_streams::Data;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::shown;

use crate::json_text::{COPIED, JsonText, small};
use crate::message::{Arrival, Assembly, Message};
use crate::result::{Answer, Failure};
use crate::work::Step;

/// What a result takes beside the URI and the payload, in most cases.
const ROOM: usize = 128;

/// A read under way.
#[derive(Debug)]
pub(crate) struct Read {
    uri: ByteString,
    pub(crate) topic: ByteString,
    /// The message is one that others would have got.
    shared: bool,
    assembly: Assembly,
    bound: usize,
    pub(crate) confirmed: bool,
    /// After how many milliseconds the broker was asked for no more.
    ending: Option<u64>,
    /// The engine stops.
    stopping: bool,
}

impl Read {
    /// A read of a message of up to `bound` bytes; `uri` is repeated as the caller gave it.
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
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Wait
    }

    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self.assembly.add(data) {
            Arrival::Part => Step::Wait,
            Arrival::Whole(message) => self.answer(&message),
            Arrival::TooLarge(_) => self.too_large(),
        }
    }

    fn answer(&self, message: &Message) -> Step {
        let text = message.is_text();
        let usual = if text {
            "text/plain"
        } else {
            "application/octet-stream"
        };
        let mime_type = message.content_type.as_deref().unwrap_or(usual);
        let mut json = JsonText::new();
        json.reserve(self.uri.len() + small(&message.payload, COPIED) + ROOM);
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
        Step::Answer(Answer::read(json.into_parts()).giving(u32::from(self.shared)))
    }

    fn too_large(&self) -> Step {
        Step::Refuse(McpReset::new(
            McpResetKind::TooLarge,
            format!(
                "The message on topic '{}' is larger than a result may be ({} bytes).",
                shown(&self.topic),
                self.bound
            ),
        ))
    }

    pub(crate) fn ended(&self) -> Step {
        if let Some(milliseconds) = self.ending {
            return self.nothing_came(milliseconds);
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

    pub(crate) fn overdue(&mut self, milliseconds: u64) -> Step {
        if !self.confirmed {
            return Step::Wait;
        }
        if let Some(milliseconds) = self.ending {
            return self.nothing_came(milliseconds);
        }
        self.enough(milliseconds)
    }

    /// The engine stops. A message of which a part has come is awaited.
    pub(crate) fn stopping(&mut self) -> Step {
        if self.assembly.is_within_a_message() || self.ending.is_some() {
            return Step::Wait;
        }
        self.stopping = true;
        self.enough(0)
    }

    /// No message is waited for any longer.
    fn enough(&mut self, milliseconds: u64) -> Step {
        if !self.shared {
            return self.nothing_came(milliseconds);
        }
        // What the broker has given to this member of a group meanwhile, some give to nobody else.
        self.ending = Some(milliseconds);
        Step::Enough
    }

    fn nothing_came(&self, milliseconds: u64) -> Step {
        if self.stopping {
            return self.failed(&Failure::new("the gateway is stopping"));
        }
        let topic = &self.topic;
        Step::Refuse(McpReset::new(
            McpResetKind::TimedOut,
            format!("No message received on topic '{topic}' within {milliseconds}ms"),
        ))
    }
}
