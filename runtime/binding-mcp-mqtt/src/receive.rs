//! `receive`: the messages of a filter, until there are enough of them or the time is over.

use bytestring::ByteString;
use tidegate_json::Parts;
use tidegate_streams::Data;

use crate::json_text::JsonText;
use crate::message::{Arrival, Assembly, Message};
use crate::result::{Answer, Failure, shown};
use crate::work::Step;

const HEAD: &str = "{\"content\":[{\"type\":\"text\",\"text\":\"";
const MIDDLE: &str = "\"}],\"structuredContent\":{\"messages\":";
const TAIL: &str = "}}";

/// A piece of a payload stays in the buffer in which it came from this size on. A smaller one is
/// copied, since it waits for the other messages and would keep all of a large buffer with it.
const KEPT: usize = 4 * 1024;

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

/// Messages as a JSON array that grows, never beyond what makes a result of `bound` bytes. A payload
/// of some size that needs no escape stays in the buffers in which it came.
#[derive(Debug, Default)]
struct Messages {
    array: JsonText,
    /// The newest message, until it is known to have room.
    newest: JsonText,
    /// Characters of the array that need an escape when the array is itself a string.
    quotes: usize,
    count: usize,
    bound: usize,
}

impl Messages {
    fn new(bound: usize) -> Self {
        let mut array = JsonText::new();
        array.raw("[");
        Self {
            array,
            newest: JsonText::new(),
            quotes: 0,
            count: 0,
            bound,
        }
    }

    /// Appends a message; whether it had room.
    fn push(&mut self, message: &Message) -> bool {
        write(&mut self.newest, self.count > 0, message);
        let quotes = self.quotes + self.newest.pieces().map(quotes).sum::<usize>();
        // The array appears twice: as text, where it is escaped, and as structured content.
        let array = self.array.len() + self.newest.len() + 1;
        let fixed = HEAD.len() + MIDDLE.len() + TAIL.len();
        if fixed + 2 * array + quotes > self.bound {
            self.newest.clear();
            return false;
        }
        self.array.append(&mut self.newest);
        self.quotes = quotes;
        self.count += 1;
        true
    }

    fn into_parts(mut self) -> Parts {
        self.array.raw("]");
        let array = self.array.into_parts();
        let mut json = JsonText::new();
        json.raw(HEAD);
        array.iter().for_each(|part| json.escaped_part(part));
        json.raw(MIDDLE);
        array.into_iter().for_each(|part| json.piece(part));
        json.raw(TAIL);
        json.into_parts()
    }
}

fn quotes(text: &[u8]) -> usize {
    text.iter()
        .filter(|byte| matches!(byte, b'"' | b'\\'))
        .count()
}

fn write(out: &mut JsonText, behind_another: bool, message: &Message) {
    let text = message.is_text();
    out.raw(if behind_another { ",{" } else { "{" });
    out.raw("\"topic\":\"");
    out.escaped(message.topic.as_bytes());
    out.raw("\",\"payload\":\"");
    if text {
        for chunk in &message.payload {
            if chunk.len() < KEPT {
                out.escaped(chunk);
            } else {
                out.escaped_part(chunk);
            }
        }
    } else {
        out.base64(&message.payload);
    }
    out.raw("\",\"qos\":");
    out.raw(match message.qos {
        0 => "0",
        1 => "1",
        _ => "2",
    });
    out.raw(if message.retain {
        ",\"retain\":true"
    } else {
        ",\"retain\":false"
    });
    out.raw(if text {
        "}"
    } else {
        ",\"encoding\":\"base64\"}"
    });
}
