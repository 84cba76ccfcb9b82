//! `receive`: the messages of a filter, until there are enough of them or the time is over.

use bytestring::ByteString;
use tidegate_json::Parts;
use tidegate_streams::Data;
use tidegate_streams::mqtt::MqttSubscribe;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use crate::arguments::Reception;
use crate::json_text::{JsonText, small};
use crate::message::{Arrival, Assembly, Message};
use crate::result::{Answer, Failure};
use crate::subscribe;
use crate::work::Step;

const HEAD: &str = "{\"content\":[{\"type\":\"text\",\"text\":\"[";
const MIDDLE: &str = "]\"}],\"structuredContent\":{\"messages\":[";
const TAIL: &str = "]}}";
/// What stands behind the messages in the text.
const BEHIND: usize = MIDDLE.len() + TAIL.len();
/// What a message takes beside its topic and its payload, in most cases.
const KEYS: usize = 96;

/// A piece of a payload stays in the buffer in which it came from this size on. A smaller one is
/// copied, since it waits for the other messages and would keep all of a large buffer with it.
const KEPT: usize = 4 * 1024;

impl Reception {
    /// The BEGIN of its stream. Of a shared subscription no more is taken than is given.
    pub(crate) fn begin(&self, client_id: Option<ByteString>) -> MqttSubscribe {
        let limit = if self.filter.is_shared() {
            self.limit
        } else {
            0
        };
        subscribe::begin(client_id, self.filter.text(), limit)
    }
}

/// A collection under way.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) filter: TopicFilter,
    limit: u32,
    /// The broker is asked for no more.
    ending: bool,
    assembly: Assembly,
    messages: Messages,
    pub(crate) confirmed: bool,
}

impl Receive {
    /// A collection whose result has up to `bound` bytes.
    pub(crate) fn new(reception: Reception, bound: usize) -> Self {
        Self {
            filter: reception.filter,
            limit: reception.limit,
            ending: false,
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

    /// The caller waits for no more. What the broker has given to this member of a group until it is
    /// told so, some give to nobody else: it is awaited.
    pub(crate) fn enough(&mut self) -> Step {
        if !self.confirmed || !self.filter.is_shared() || self.ending {
            return self.finish();
        }
        self.ending = true;
        Step::Enough
    }

    /// There is nothing more to come.
    pub(crate) fn finish(&mut self) -> Step {
        let messages = std::mem::take(&mut self.messages);
        let taken = if self.filter.is_shared() {
            messages.count
        } else {
            0
        };
        Step::Answer(Answer::ok(messages.into_parts()).giving(taken))
    }

    /// What has come was taken from the broker and would be lost with an error. Of a shared
    /// subscription it may come to another sharer too: better twice than never.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        if self.messages.count > 0 {
            return self.finish();
        }
        Step::Answer(Answer::tool_error(&format!(
            "Receiving from '{}' failed: {}.",
            shown(self.filter.as_str()),
            failure.why
        )))
    }

    pub(crate) fn overdue(&mut self) -> Step {
        if self.confirmed {
            self.enough()
        } else {
            Step::Wait
        }
    }
}

/// Messages as a JSON array that grows, never beyond what makes a result of `bound` bytes. It is
/// written twice, as structured content and escaped as the text of it. A payload of some size that
/// needs no escape stays in the buffers in which it came.
#[derive(Debug, Default)]
struct Messages {
    /// The result up to the end of the last message in the text.
    text: JsonText,
    array: JsonText,
    count: u32,
    bound: usize,
}

impl Messages {
    fn new(bound: usize) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    /// Appends a message; whether it had room.
    fn push(&mut self, message: &Message) -> bool {
        let (text, array) = (self.text.mark(), self.array.mark());
        if self.count == 0 {
            let room = message.topic.len() + small(&message.payload, KEPT) + KEYS;
            self.array.reserve(room);
            self.text.reserve(HEAD.len() + 2 * room + BEHIND);
            self.text.raw(HEAD);
        }
        self.write(message);
        if self.text.len() + self.array.len() + BEHIND > self.bound {
            self.text.truncate(text);
            self.array.truncate(array);
            return false;
        }
        self.count += 1;
        true
    }

    fn write(&mut self, message: &Message) {
        let text = message.is_text();
        if self.count > 0 {
            self.raw(",", ",");
        }
        self.raw("{\"topic\":\"", "{\\\"topic\\\":\\\"");
        let topic = message.topic.as_bytes();
        self.array.escaped_twice(&mut self.text, topic, usize::MAX);
        self.raw("\",\"payload\":\"", "\\\",\\\"payload\\\":\\\"");
        if text {
            for chunk in &message.payload {
                self.array.escaped_twice(&mut self.text, chunk, KEPT);
            }
        } else {
            // The alphabet of base64 has nothing to escape.
            self.array.base64(&message.payload);
            self.text.base64(&message.payload);
        }
        self.raw("\",\"qos\":", "\\\",\\\"qos\\\":");
        let qos = match message.qos {
            0 => "0",
            1 => "1",
            _ => "2",
        };
        self.raw(qos, qos);
        if message.retain {
            self.raw(",\"retain\":true", ",\\\"retain\\\":true");
        } else {
            self.raw(",\"retain\":false", ",\\\"retain\\\":false");
        }
        if !text {
            self.raw(
                ",\"encoding\":\"base64\"",
                ",\\\"encoding\\\":\\\"base64\\\"",
            );
        }
        self.raw("}", "}");
    }

    /// JSON, and the same escaped.
    fn raw(&mut self, json: &str, escaped: &str) {
        self.array.raw(json);
        self.text.raw(escaped);
    }

    fn into_parts(self) -> Parts {
        let mut json = self.text;
        if self.count == 0 {
            json.raw(HEAD);
        }
        json.raw(MIDDLE);
        json.append(self.array);
        json.raw(TAIL);
        json.into_parts()
    }
}
