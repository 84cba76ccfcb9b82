//! `receive`: collects the messages of a filter until the limit on messages, bytes or time is reached.

use bytestring::ByteString;
use tidegate_json::Parts;
use tidegate_streams::Data;
use tidegate_streams::mqtt::MqttSubscribe;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use crate::arguments::ReceiveArguments;
use crate::json_text::{JsonText, small};
use crate::message::{Assembled, Assembly, Message};
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::subscribe;
use crate::taken::Taken;

const HEAD: &str = "{\"content\":[{\"type\":\"text\",\"text\":\"[";
const MIDDLE: &str = "]\"}],\"structuredContent\":{\"messages\":[";
const TAIL: &str = "]}}";
/// Size of the result after the messages in the text, in bytes.
const AFTER_TEXT: usize = MIDDLE.len() + TAIL.len();
/// Typical size of a message without its topic and payload, in bytes.
const OVERHEAD: usize = 96;

/// A part of a payload of this size or larger stays in its receive buffer. A smaller part is copied,
/// because it would keep a whole receive buffer in memory until the other messages arrive.
const UNCOPIED: usize = 4 * 1024;

impl ReceiveArguments {
    /// The BEGIN of the subscribe stream. A shared subscription takes no more messages than the result
    /// can hold.
    pub(crate) fn begin(&self, client_id: Option<ByteString>) -> MqttSubscribe {
        let limit = if self.filter.is_shared() {
            self.limit
        } else {
            0
        };
        subscribe::begin(client_id, self.filter.text(), limit)
    }
}

/// A receive in progress.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) filter: TopicFilter,
    limit: u32,
    /// UNSUBSCRIBE was requested; the last messages may still arrive.
    ending: bool,
    assembly: Assembly,
    messages: Messages,
    pub(crate) confirmed: bool,
    /// The messages of the result, if an audit log wants them.
    pub(crate) audited: Option<Box<Taken>>,
}

impl Receive {
    /// `bound` is the maximum size of the result, in bytes.
    pub(crate) fn new(arguments: ReceiveArguments, bound: usize) -> Self {
        Self {
            filter: arguments.filter,
            limit: arguments.limit,
            ending: false,
            assembly: Assembly::new(bound),
            messages: Messages::new(bound),
            confirmed: false,
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
            Assembled::TooLarge(topic) => self.full(&topic),
            Assembled::Complete(message) => {
                if !self.messages.push(&message) {
                    return self.full(&message.topic);
                }
                if let Some(taken) = &mut self.audited {
                    taken.add(&message);
                }
                if self.messages.count >= self.limit {
                    return self.finish();
                }
                Step::Wait
            }
        }
    }

    /// The message does not fit into the result.
    fn full(&mut self, topic: &str) -> Step {
        if self.messages.count > 0 {
            return self.finish();
        }
        let bound = self.messages.bound;
        Step::Answer(Answer::tool_error(&format!(
            "A message on topic '{}' exceeds the result limit of {bound} bytes (receiveBytes); receive \
             from a topic with smaller messages.",
            shown(topic)
        )))
    }

    /// Stops receiving. A message that the broker has already sent to this member of a group may not
    /// be sent to another one, so a shared subscription waits for the messages in flight.
    pub(crate) fn stop(&mut self) -> Step {
        if !self.confirmed || !self.filter.is_shared() || self.ending {
            return self.finish();
        }
        self.ending = true;
        Step::Unsubscribe
    }

    /// Answers with the messages received so far.
    pub(crate) fn finish(&mut self) -> Step {
        let messages = std::mem::take(&mut self.messages);
        let taken = if self.filter.is_shared() {
            messages.count
        } else {
            0
        };
        Step::Answer(Answer::ok(messages.into_parts()).taking(taken))
    }

    /// The stream failed. Messages that were received are returned, because an error would lose them.
    /// The broker may send those of a shared subscription to another subscriber too.
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

    pub(crate) fn expired(&mut self) -> Step {
        if self.confirmed {
            self.stop()
        } else {
            Step::Wait
        }
    }
}

/// The messages of a result of at most `bound` bytes, as a JSON array that is written twice: as
/// structured content, and escaped as text content. A payload of at least `UNCOPIED` bytes that needs
/// no escaping is not copied.
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

    /// Appends a message. Returns `false` if it does not fit.
    fn push(&mut self, message: &Message) -> bool {
        let (text, array) = (self.text.mark(), self.array.mark());
        if self.count == 0 {
            let room = message.topic.len() + small(&message.payload, UNCOPIED) + OVERHEAD;
            self.array.reserve(room);
            self.text.reserve(HEAD.len() + 2 * room + AFTER_TEXT);
            self.text.raw(HEAD);
        }
        self.write(message);
        if self.text.len() + self.array.len() + AFTER_TEXT > self.bound {
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
                self.array.escaped_twice(&mut self.text, chunk, UNCOPIED);
            }
        } else {
            // Base64 needs no escaping.
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

    /// Appends `json` to the array, and `escaped`, its escaped form, to the text.
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
