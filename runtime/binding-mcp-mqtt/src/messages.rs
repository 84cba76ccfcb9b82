//! Messages as the result of a tool.

use tidegate_json::Parts;
use tidegate_streams::shown;

use crate::json_text::{JsonText, small};
use crate::message::Message;
use crate::result::Answer;

/// Typical size of a message without its topic and payload, in bytes.
const OVERHEAD: usize = 96;

/// A part of a payload of this size or larger stays in its receive buffer. A smaller part is copied,
/// because it would keep a whole receive buffer in memory until the other messages arrive.
const UNCOPIED: usize = 4 * 1024;

/// The JSON around messages: before them in the text, between them there and in the structured content,
/// and after them.
#[derive(Debug)]
struct Frame {
    head: &'static str,
    /// Ends the text.
    text_end: &'static str,
    /// Ends the content and begins the structured content.
    middle: &'static str,
    tail: &'static str,
}

const LIST: Frame = Frame {
    head: "{\"content\":[{\"type\":\"text\",\"text\":\"[",
    text_end: "]\"}",
    middle: "],\"structuredContent\":{\"messages\":[",
    tail: "]}}",
};

const SINGLE: Frame = Frame {
    head: "{\"content\":[{\"type\":\"text\",\"text\":\"",
    text_end: "\"}",
    middle: "],\"structuredContent\":",
    tail: "}",
};

impl Frame {
    /// Size of the result after the messages in the text, in bytes.
    const fn after_text(&self) -> usize {
        self.text_end.len() + self.middle.len() + self.tail.len()
    }
}

/// The messages of a result of at most `bound` bytes, as JSON that is written twice: as structured
/// content, and escaped as text content. A payload of at least `UNCOPIED` bytes that needs
/// no escaping is not copied.
#[derive(Debug)]
pub(crate) struct Messages {
    frame: &'static Frame,
    /// The result up to the end of the last message in the text.
    text: JsonText,
    array: JsonText,
    count: u32,
    bound: usize,
}

impl Default for Messages {
    fn default() -> Self {
        Self::list(0)
    }
}

impl Messages {
    /// A list of messages.
    pub(crate) fn list(bound: usize) -> Self {
        Self::within(&LIST, bound)
    }

    /// A single message.
    pub(crate) fn single(bound: usize) -> Self {
        Self::within(&SINGLE, bound)
    }

    fn within(frame: &'static Frame, bound: usize) -> Self {
        Self {
            frame,
            text: JsonText::new(),
            array: JsonText::new(),
            count: 0,
            bound,
        }
    }

    /// Number of messages.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// The error for a message that does not fit.
    pub(crate) fn too_large(&self, topic: &str) -> Answer {
        let bound = self.bound;
        Answer::tool_error(&format!(
            "A message on topic '{}' exceeds the result limit of {bound} bytes (receiveBytes); receive \
             from a topic with smaller messages.",
            shown(topic)
        ))
    }

    /// Appends a message. Returns `false` if it does not fit.
    pub(crate) fn push(&mut self, message: &Message) -> bool {
        let (text, array) = (self.text.mark(), self.array.mark());
        if self.count == 0 {
            let room = message.topic.len() + small(&message.payload, UNCOPIED) + OVERHEAD;
            self.array.reserve(room);
            let Frame { head, .. } = self.frame;
            let around = head.len() + self.frame.after_text();
            self.text.reserve(around + 2 * room);
            self.text.raw(head);
        }
        self.write(message);
        if self.text.len() + self.array.len() + self.frame.after_text() > self.bound {
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
        if let Some(traceparent) = &message.traceparent {
            self.raw(",\"traceparent\":\"", ",\\\"traceparent\\\":\\\"");
            // Digits and signs need no escaping.
            self.raw(traceparent, traceparent);
            self.raw("\"", "\\\"");
        }
        self.raw("}", "}");
    }

    /// Appends `json` to the array, and `escaped`, its escaped form, to the text.
    fn raw(&mut self, json: &str, escaped: &str) {
        self.array.raw(json);
        self.text.raw(escaped);
    }

    /// The result, with a further sentence for the model if there is one.
    pub(crate) fn into_parts(self, sentence: Option<&str>) -> Parts {
        let mut json = self.text;
        if self.count == 0 {
            json.raw(self.frame.head);
        }
        json.raw(self.frame.text_end);
        if let Some(sentence) = sentence {
            json.raw(",{\"type\":\"text\",\"text\":\"");
            json.escaped(sentence.as_bytes());
            json.raw("\"}");
        }
        json.raw(self.frame.middle);
        json.append(self.array);
        json.raw(self.frame.tail);
        json.into_parts()
    }
}
