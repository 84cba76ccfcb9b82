//! The topics on which messages were seen, for `list_topics`.

use std::collections::BTreeMap;

use bytestring::ByteString;
use tidegate_engine::Time;

/// Maximum number of topics. Beyond it, the topic that was silent for longest is removed.
const TOPICS_MAX: usize = 2_000;
/// Maximum size of all topics, in bytes: one can have 64 KiB. Beyond it, the same.
const BYTES_MAX: usize = 1 << 20;

/// Topics with the time of their last message.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The time of the last message, and its number.
    topics: BTreeMap<ByteString, (Time, u64)>,
    /// The topics by the number of their last message.
    order: BTreeMap<u64, ByteString>,
    next: u64,
    /// Size of the topics.
    bytes: usize,
}

impl Seen {
    /// A message arrived on a topic.
    pub(crate) fn observe(&mut self, topic: &str, now: Time) {
        let number = self.next;
        self.next += 1;
        let topic = if let Some((at, last)) = self.topics.get_mut(topic) {
            *at = now;
            let before = std::mem::replace(last, number);
            self.order.remove(&before)
        } else {
            // A copy: the text of the message is part of a larger buffer.
            let topic = ByteString::from(topic);
            self.bytes += topic.len();
            self.topics.insert(topic.clone(), (now, number));
            Some(topic)
        };
        if let Some(topic) = topic {
            self.order.insert(number, topic);
        }
        while (self.topics.len() > TOPICS_MAX || self.bytes > BYTES_MAX)
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.topics.remove(&oldest);
        }
    }

    /// The topics and the time of their last message, in alphabetical order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, Time)> {
        let topics = self.topics.iter();
        topics.map(|(topic, (at, _))| (&**topic, *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::Duration;

    #[test]
    fn the_topic_that_was_silent_for_longest_is_removed() {
        let mut seen = Seen::default();
        let at = |seconds| Time::default() + Duration::from_secs(seconds);
        seen.observe("first", at(0));
        seen.observe("second", at(1));
        seen.observe("first", at(2));
        for number in 0..TOPICS_MAX - 1 {
            seen.observe(&format!("t/{number}"), at(3));
        }
        let topics: Vec<_> = seen.topics().collect();
        assert_eq!(topics.len(), TOPICS_MAX);
        assert_eq!(seen.order.len(), TOPICS_MAX);
        assert_eq!(topics.first(), Some(&("first", at(2))));
        assert!(!topics.iter().any(|(topic, _)| *topic == "second"));
    }
    #[test]
    fn the_size_of_all_topics_is_bounded() {
        let mut seen = Seen::default();
        let long = "t".repeat(60_000);
        for number in 0..100 {
            seen.observe(&format!("{number}/{long}"), Time::default());
        }
        let bytes: usize = seen.topics().map(|(topic, _)| topic.len()).sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX - 70_000, "{bytes}");
        assert_eq!((bytes, seen.topics.len()), (seen.bytes, seen.order.len()));
        let newest = format!("99/{long}");
        assert!(seen.topics().any(|(topic, _)| topic == newest));
    }
}
