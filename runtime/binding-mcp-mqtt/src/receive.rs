//! `receive`: the messages of a filter, until there are enough of them or the time is over.

use bytes::BytesMut;
use bytestring::ByteString;
use tidegate_json::Parts;
use tidegate_json::write::{push_escaped, push_escaped_bytes};
use tidegate_streams::Data;

use crate::json_text::{JsonText, encode_base64};
use crate::message::{Arrival, Assembly, Message};
use crate::result::{Answer, Failure, shown};
use crate::work::Step;

const HEAD: &str = "{\"content\":[{\"type\":\"text\",\"text\":\"";
const MIDDLE: &str = "\"}],\"structuredContent\":{\"messages\":";
const TAIL: &str = "}}";

/// A collection under way.
#[derive(Debug)]
pub(crate) struct Receive {
    filter: ByteString,
    limit: usize,
    assembly: Assembly,
    messages: Messages,
    pub(crate) confirmed: bool,
}

impl Receive {
    /// A collection of up to `limit` messages whose result has up to `bound` bytes.
    pub(crate) fn new(filter: ByteString, limit: usize, bound: usize) -> Self {
        Self {
            filter,
            limit,
            assembly: Assembly::new(bound),
            messages: Messages::new(bound),
            confirmed: false,
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Wait
    }

    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self.assembly.add(data) {
            Arrival::Part => Step::Wait,
            Arrival::TooLarge(topic) => self.full(&topic),
            Arrival::Whole(message) => {
                if !self.messages.push(&message) {
                    return self.full(&message.topic);
                }
                if self.messages.count >= self.limit {
                    return self.finish();
                }
                Step::Wait
            }
        }
    }

    /// The next message has no room in the result.
    fn full(&mut self, topic: &str) -> Step {
        if self.messages.count > 0 {
            return self.finish();
        }
        let bound = self.messages.bound;
        Step::Answer(Answer::tool_error(&format!(
            "A message on topic '{}' is larger than a result may be ({bound} bytes); receive from a \
             topic with smaller messages.",
            shown(topic)
        )))
    }

    /// There is nothing more to come, or nobody waits for it.
    pub(crate) fn finish(&mut self) -> Step {
        Step::Answer(Answer::ok(std::mem::take(&mut self.messages).into_parts()))
    }

    /// What has come was taken from the broker and would be lost with an error.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        if self.messages.count > 0 {
            return self.finish();
        }
        Step::Answer(Answer::tool_error(&format!(
            "Receiving from '{}' failed: {}.",
            shown(&self.filter),
            failure.why
        )))
    }

    pub(crate) fn overdue(&mut self, milliseconds: u64) -> Step {
        if self.confirmed {
            return self.finish();
        }
        self.failed(&Failure::new(format!(
            "the broker did not confirm the subscription within {milliseconds}ms"
        )))
    }
}

/// Messages as a JSON array that grows, never beyond what makes a result of `bound` bytes.
#[derive(Debug, Default)]
struct Messages {
    array: BytesMut,
    /// Characters of the array that need an escape when the array is itself a string.
    quotes: usize,
    count: usize,
    bound: usize,
}

impl Messages {
    fn new(bound: usize) -> Self {
        Self {
            array: BytesMut::from("["),
            quotes: 0,
            count: 0,
            bound,
        }
    }

    /// Appends a message; whether it had room.
    fn push(&mut self, message: &Message) -> bool {
        let start = self.array.len();
        write(&mut self.array, self.count > 0, message);
        let added = self.array.get(start..).unwrap_or_default();
        let quotes = self.quotes + added.iter().filter(|b| matches!(b, b'"' | b'\\')).count();
        // The array appears twice: as text, where it is escaped, and as structured content.
        let array = self.array.len() + 1;
        let fixed = HEAD.len() + MIDDLE.len() + TAIL.len();
        if fixed + 2 * array + quotes > self.bound {
            self.array.truncate(start);
            return false;
        }
        self.quotes = quotes;
        self.count += 1;
        true
    }

    fn into_parts(mut self) -> Parts {
        self.array.extend_from_slice(b"]");
        let array = self.array.freeze();
        let mut json = JsonText::new();
        json.raw(HEAD);
        json.escaped(&array);
        json.raw(MIDDLE);
        json.part(array);
        json.raw(TAIL);
        json.into_parts()
    }
}

fn write(out: &mut BytesMut, behind_another: bool, message: &Message) {
    let text = message.is_text();
    out.extend_from_slice(if behind_another { b",{" } else { b"{" });
    out.extend_from_slice(b"\"topic\":\"");
    push_escaped(out, &message.topic);
    out.extend_from_slice(b"\",\"payload\":\"");
    if text {
        for chunk in &message.payload {
            push_escaped_bytes(out, chunk);
        }
    } else {
        encode_base64(out, &message.payload);
    }
    out.extend_from_slice(b"\",\"qos\":");
    out.extend_from_slice(match message.qos {
        0 => b"0",
        1 => b"1",
        _ => b"2",
    });
    out.extend_from_slice(b",\"retain\":");
    out.extend_from_slice(if message.retain { b"true" } else { b"false" });
    out.extend_from_slice(if text {
        b"}"
    } else {
        b",\"encoding\":\"base64\"}"
    });
}
